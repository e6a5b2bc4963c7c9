"""How often the intervals and verdicts of ``ser_zoo.evaluation.statistics`` are right, and how long they take.

    python benchmarks/intervals.py [--trials 1000]

Tests are drawn from a population whose UA is known: seven classes, eight utterances of each per speaker, and a chance of being
right of 0.7 at the median, which varies with the speaker, the class within the speaker and, for two models, the model within
both (normal in the logit, deviation 0.5 each). For several numbers of speakers this counts

coverage             how often the 95 % interval over speakers holds the population's UA
coverage_utterances  the same when utterances are drawn, as if those of a speaker were independent; up to 24 speakers
excludes_0           of two models that are equally good, how often the interval of their difference excludes 0
significant          ... how often p is below 0.05
verdict              ... how often the verdict is wrong, being better or worse

and the seconds of all three metrics' intervals and of a comparison, 1,440 utterances of 24 speakers and 8 classes, 10,000
resamples, in the fastest of 20 repetitions. Writes ``benchmarks/results/intervals.json``.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import circumstances, fastest, in_words, output_file, positive

from ser_zoo.cache import write_json
from ser_zoo.evaluation.statistics import SIGNIFICANT, Interval, bootstrap_interval, compare_confusions, verdict

RESULT = Path(__file__).resolve().parent / "results" / "intervals.json"
SPEAKERS = (2, 4, 6, 10, 15, 20, 24, 50)
MOST_FOR_UTTERANCES = 24
CLASSES, PER_CLASS, MEDIAN, DEVIATION = 7, 8, 0.7, 0.5
RESAMPLES = 1000  # as the percentiles are counted over many trials, each needs few

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=positive, default=1000)
    parser.add_argument("--output", type=output_file, default=RESULT)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    truth = float(chance(generator.normal(0, DEVIATION * math.sqrt(3), 4_000_000)).mean())
    rates = {}
    for speakers in SPEAKERS:
        rates[str(speakers)] = measure(generator, speakers, truth, options.trials)
        print(f"{speakers:3} speakers  ", *(f"{name} {rate:.3f}" for name, rate in rates[str(speakers)].items()), flush=True)
    seconds = speed(generator)
    print(*(f"{name} {value:.4f} s" for name, value in seconds.items()))
    about = {"trials": options.trials, "resamples": RESAMPLES, "population_ua": truth}
    write_json(options.output, {**about, "speakers": rates, "seconds": seconds, **circumstances()})


def measure(generator: np.random.Generator, speakers: int, truth: float, trials: int) -> dict[str, float]:
    """The rates of the module's docstring for tests of so many speakers."""
    counted = {"coverage": 0, "excludes_0": 0, "significant": 0, "verdict": 0}
    if speakers <= MOST_FOR_UTTERANCES:
        counted["coverage_utterances"] = 0
    for trial in range(trials):
        one, other = draw(generator, speakers, CLASSES, PER_CLASS)
        counted["coverage"] += holds(bootstrap_interval(one, RESAMPLES, trial)["ua"], truth)
        difference = compare_confusions(one, other, RESAMPLES, trial)["ua"]
        counted["excludes_0"] += not holds(difference, 0)
        counted["significant"] += difference.p < SIGNIFICANT
        counted["verdict"] += verdict(difference) != "no difference shown"
        if "coverage_utterances" in counted:
            counted["coverage_utterances"] += holds(bootstrap_interval(single(one), RESAMPLES, trial)["ua"], truth)
    return {name: count / trials for name, count in counted.items()}


def draw(generator: np.random.Generator, speakers: int, classes: int, per_class: int) -> tuple[Counts, Counts]:
    """Confusion matrices (S, C, C) of two equally good models; errors go to the next class."""
    # First what both models share of a speaker, then what is a class's, then what is a model's.
    shapes = (1, speakers, 1), (1, speakers, classes), (2, speakers, classes)
    effects: Array = sum((generator.normal(0, DEVIATION, shape) for shape in shapes), start=np.zeros(shapes[-1]))
    right = generator.binomial(per_class, chance(effects))
    confusions = np.zeros((2, speakers, classes, classes), np.int64)
    true = np.arange(classes)
    confusions[:, :, true, true] = right
    confusions[:, :, true, (true + 1) % classes] = per_class - right
    return confusions[0], confusions[1]


def chance(effects: Array) -> Array:
    """Of being right, for effects in the logit."""
    return 1 / (1 + np.exp(-effects) * (1 - MEDIAN) / MEDIAN)


def single(confusions: Counts) -> Counts:
    """(S, C, C) as (N, C, C), each utterance by itself."""
    classes = confusions.shape[-1]
    cells = np.repeat(np.arange(classes**2), confusions.sum(0).ravel())
    found: Counts = np.eye(classes**2, dtype=np.int64)[cells].reshape(-1, classes, classes)
    return found


def holds(interval: Interval, value: float) -> bool:
    """Whether the interval contains it."""
    return interval.low is not None and interval.high is not None and interval.low <= value <= interval.high


def speed(generator: np.random.Generator) -> dict[str, float]:
    """Seconds with the default number of resamples."""
    # 24 speakers with 60 utterances each, which is 8 of four classes and 7 of the others.
    (first, second), (third, fourth) = draw(generator, 24, 4, 8), draw(generator, 24, 4, 7)
    one, other = blocks(first, third), blocks(second, fourth)
    ways = {
        "interval": lambda seed: bootstrap_interval(one, seed=seed),
        "comparison": lambda seed: compare_confusions(one, other, seed=seed),
    }
    return fastest(ways, warm=0, work=0, repeats=20)


def blocks(first: Counts, second: Counts) -> Counts:
    """Confusion matrices of the classes of both, none of one taken for one of the other."""
    apart: Counts = np.concatenate([np.pad(first, ((0, 0), (0, 0), (0, 4))), np.pad(second, ((0, 0), (0, 0), (4, 0)))], 1)
    return apart


if __name__ == "__main__":
    in_words(main)
