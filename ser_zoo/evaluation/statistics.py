"""How sure a number is: intervals, comparisons of models and spread over people, all from stored predictions.

Speakers, not utterances, are the independent units: the utterances of one person are right or wrong together. So everything
here starts from one confusion matrix per speaker (S, C, C), and a bootstrap draws whole speakers (Field & Welsh, "Bootstrapping
clustered data", J. R. Stat. Soc. B 69, 2007). What an interval says is how the number would move with other test speakers from
the same population. It says nothing about other seeds or other training speakers (``seed_spread`` does), and of a protocol that
trains on its test speakers nothing about new people.

Ten thousand resamples of 1,440 utterances, 24 speakers and 8 classes take 15 ms for the intervals of all three metrics, and
44 ms for a comparison of two models with its p, on one thread (``benchmarks/intervals.py``, which measures the rates below).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from ser_zoo import metrics
from ser_zoo.errors import RunError, SERZooError

if TYPE_CHECKING:
    from ser_zoo.evaluation.result import Predicted, Row

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "no difference shown"]

SIGNIFICANT = 0.05  # two-sided; the intervals are those of 95 %
RESAMPLES = 10_000
FEW_SPEAKERS = 20  # below it the percentile interval is visibly too narrow; see ``bootstrap_interval``
DRAWN_AT_ONCE = 2_000_000  # indices; 16 MB
ALL_SWAPS = 40  # speakers up to whom all swaps of two models are counted: by two million sums, which take 0.2 s; 8192 with 24
EQUAL = 1e-12  # differences that are no farther apart differ by the order in which they were summed
INSTALL = "pip install 'ser-zoo[report]'"


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval.

    Attributes:
        value: of the test as it is; for a ``Comparison`` the first model's value minus the second's.
        low: 2.5th percentile over the resamples; None where there is no interval.
        high: 97.5th percentile.
        speakers: S, the number of units that were drawn.
        lacking: resamples in which some class of the test had no utterance, so that fewer classes were averaged.
        note: why there is no interval, or why it is too narrow; None when nothing is to be said.
    """

    value: float
    low: float | None
    high: float | None
    speakers: int
    lacking: int
    note: str | None


@dataclass(frozen=True)
class Comparison(Interval):
    """A difference of two models on the same utterances.

    Attributes:
        p: two-sided, of no difference.
    """

    p: float


@dataclass(frozen=True)
class McNemar:
    """Where two models differ in being right.

    Attributes:
        only_one: utterances that only the first model has right.
        only_other: utterances that only the second has right.
        p: two-sided, exact.
        mid_p: two-sided, less conservative.
    """

    only_one: int
    only_other: int
    p: float
    mid_p: float


@dataclass(frozen=True)
class SignedRank:
    """Two models over several corpora and seeds.

    Attributes:
        one: name of the first model.
        other: name of the second.
        pairs: (corpus, seed) pairs that both have.
        corpora: how many corpora those are. Seeds of one corpus share its test speakers, so with one corpus the test speaks of
            seeds alone.
        unpaired: (corpus, seed) pairs that one of the two lacks; they do not count.
        median: of the differences, first minus second.
        p: two-sided; None with too few pairs.
        adjusted: p after Holm's correction for all comparisons that have one.
        note: why there is no p.
    """

    one: str
    other: str
    pairs: int
    corpora: int
    unpaired: int
    median: float | None
    p: float | None
    adjusted: float | None
    note: str | None


@dataclass(frozen=True)
class SpeakerScore:
    """UA of one person, over the classes that the person has, and the utterances it stands on."""

    speaker: str
    ua: float
    utterances: int


@dataclass(frozen=True)
class Spread:
    """What a mean hides.

    Attributes:
        recalls: per label; None without support.
        genders: UA of each gender with its interval; speakers of unknown gender stand under ``unknown``.
        speakers: everybody, worst UA first.
        worst: the worst of those with at least ``minimum`` utterances; None without any.
        deviation: of UA over those speakers (n - 1); None with fewer than two.
        minimum: utterances that a speaker needs to count in ``worst`` and ``deviation``.
        too_few: speakers with fewer.
    """

    recalls: dict[str, float | None]
    genders: dict[str, Interval]
    speakers: list[SpeakerScore]
    worst: SpeakerScore | None
    deviation: float | None
    minimum: int
    too_few: int


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (n - 1; None with one value) of ``count`` values."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class SeedSpread:
    """How a metric moves with the seed, and how with the fold.

    Attributes:
        over_seeds: per metric, over one value per seed: that of the folds' summed confusion matrices.
        over_folds: per metric, over one value per fold: its mean over the seeds.
    """

    over_seeds: dict[str, Moments]
    over_folds: dict[str, Moments]


def speaker_confusions(labels: Counts, predicted: Counts, speakers: Sequence[str], classes: int) -> Counts:
    """One confusion matrix per speaker.

    Args:
        labels: (N,) true class.
        predicted: (N,) predicted class.
        speakers: N names.
        classes: C.

    Returns:
        (S, C, C) counts, rows true, columns predicted; the speakers in sorted order.

    Raises:
        RunError: a row without a speaker; all such rows would pass for one person.
    """
    if nameless := sum(not speaker for speaker in speakers):
        raise RunError(
            f"{nameless} of {len(speakers)} predictions do not say who speaks. Intervals are drawn over speakers and need "
            "every name; test the model again to get predictions with speakers."
        )
    names, rows = np.unique(np.asarray(speakers), return_inverse=True)
    cells = (rows * classes + labels) * classes + predicted
    return np.bincount(cells, minlength=len(names) * classes**2).reshape(len(names), classes, classes)


def scores(confusions: Counts | Values) -> dict[str, Values]:
    """``wa``, ``ua`` and ``macro_f1`` of (..., C, C) counts, each (...), as ``ser_zoo.metrics`` defines them."""
    counts = torch.from_numpy(confusions)
    return {name: metric(counts).numpy() for name, metric in metrics.METRICS.items()}


def bootstrap_interval(confusions: Counts, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """95 % intervals of WA, UA and macro-F1 when speakers, not utterances, are the independent units.

    S speakers are drawn with replacement, their confusion matrices summed, and the metric taken of the sum. The interval goes
    from the 2.5th to the 97.5th percentile of these values (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993,
    chapter 13). Percentiles stay within 0 and 1 and need no formula for the variance of a mean of ratios.

    With few speakers the interval is too narrow (Cameron, Gelbach & Miller, "Bootstrap-based improvements for inference with
    clustered errors", Rev. Econ. Stat. 90, 2008), and BCa's correction is for skewness, not for that. Measured on tests drawn
    from a population of known UA, it holds that UA in 48 % of tests of 2 speakers, 80 % of 4, 86 % of 6, 89 % of 10, 92 % of
    15, 93 % of 20 to 24 and 94 % of 50. Drawing utterances instead of speakers holds it in two thirds, however many speakers.

    Summed over several seeds of the same test, ``confusions`` give the interval of the seeds' mean: exactly so for WA and UA.

    Args:
        confusions: (S, C, C) counts, one matrix per speaker, rows true, columns predicted.
        resamples: how many times the S speakers are drawn.
        seed: of the generator; the same seed gives the same interval.

    Returns:
        By the name of the metric. With one speaker there is no interval, and the note says so.
    """
    speakers = len(confusions)
    values = scores(confusions.sum(0))
    if speakers == 1:
        return {name: Interval(float(value), None, None, 1, 0, _note(1)) for name, value in values.items()}
    drawn, lacking = _resampled(confusions, resamples, seed)
    return {
        name: Interval(float(values[name]), *_percentiles(drawn[name]), speakers, lacking, _note(speakers)) for name in values
    }


def paired_bootstrap(one: Predicted, other: Predicted, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Comparison]:
    """Compare two models on the same utterances; see ``compare_confusions``.

    Raises:
        RunError: the two do not hold the same utterances with the same labels and speakers.
    """
    return compare_confusions(*paired_confusions(one, other), resamples, seed)


def paired_confusions(one: Predicted, other: Predicted) -> tuple[Counts, Counts]:
    """Confusion matrices of both models, (S, C, C) each, over the same utterances of the same speakers.

    Raises:
        RunError: the two do not hold the same utterances with the same labels and speakers.
    """
    first, second = (
        speaker_confusions(side.labels, side.probabilities.argmax(1), side.speakers, side.probabilities.shape[1])
        for side in _joined(one, other)
    )
    return first, second


def compare_confusions(one: Counts, other: Counts, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Comparison]:
    """Difference of two models in WA, UA and macro-F1, with interval and p, by drawing speakers for both at once.

    The interval is that of ``bootstrap_interval``; a resample takes the same speakers for both models, so that what is hard
    about a speaker cancels out. p is not read off it, because with few speakers the interval is too narrow: it is the share of
    swaps that give a difference as large as the one found, when each speaker's predictions are given to the wrong model by the
    toss of a coin (Noreen, "Computer-Intensive Methods for Testing Hypotheses", 1989). It keeps its level with any number of
    speakers, and with five it is 2 / 2**5 > 0.05 at best. In WA and UA, which are sums over speakers, all 2**S swaps count with
    up to ``ALL_SWAPS`` speakers, so that no rank hangs on a draw. Else they do where they are no more than ``resamples``, or
    that many are drawn, and the one found counts among them (Phipson & Smyth, "Permutation p-values should never be zero",
    Stat. Appl. Genet. Mol. Biol. 9, 2010). Of two equally good models ``verdict`` calls one better or worse
    in 2.2 % of tests of 6 speakers and 5.1 % of 10; by the interval alone it would in 13.5 % and 9.6 %.

    Args:
        one: (S, C, C) counts of the first model, as ``paired_confusions`` gives them; summed over seeds where there are
            several.
        other: (S, C, C) of the second, the same speakers.
        resamples: how many times the S speakers are drawn.
        seed: of the generator.

    Returns:
        By the name of the metric.
    """
    speakers = len(one)
    ours, theirs = scores(one.sum(0)), scores(other.sum(0))
    difference = {name: float(ours[name] - theirs[name]) for name in ours}
    if speakers == 1:
        return {name: Comparison(value, None, None, 1, 0, _note(1), 1.0) for name, value in difference.items()}
    (drawn, lacking), (drawn_other, _) = (_resampled(side, resamples, seed) for side in (one, other))
    swapped = _swapped(one, other, resamples, seed)
    shares = _shares_of_speakers(one, other) if speakers <= ALL_SWAPS else {}
    return {
        name: Comparison(
            value,
            *_percentiles(drawn[name] - drawn_other[name]),
            speakers,
            lacking,
            _note(speakers),
            _exact_share_as_large(shares[name])
            if name in shares
            else _share_as_large(swapped[name], value, exhaustive=len(swapped[name]) == 2**speakers),
        )
        for name, value in difference.items()
    }


def verdict(comparison: Comparison, p: float | None = None) -> Verdict:
    """What may be said of the first model against the second: never a win inside the interval.

    Args:
        comparison: of one metric.
        p: the comparison's p after ``holm`` when several are made; None takes its own.
    """
    p = comparison.p if p is None else p
    if comparison.low is None or comparison.high is None or comparison.low <= 0 <= comparison.high or p >= SIGNIFICANT:
        return "no difference shown"
    return "better" if comparison.low > 0 else "worse"


def mcnemar(one: Predicted, other: Predicted) -> McNemar:
    """McNemar's test: of the utterances that only one of two models has right, is each model's share a half?

    The exact p is that of the binomial distribution, computed in whole numbers and so at any count. The mid-p takes off half of
    what the observed table itself weighs on both sides; it keeps the level in practice and finds more (Fagerland, Lydersen &
    Laake, "The McNemar test for binary matched-pairs data", BMC Med. Res. Methodol. 13:91, 2013). Both take utterances as
    independent, which those of one speaker are not: where this test and the bootstrap over speakers disagree, believe the
    bootstrap.

    Raises:
        RunError: the two do not hold the same utterances with the same labels and speakers.
    """
    first, second = (side.probabilities.argmax(1) == side.labels for side in _joined(one, other))
    only_one, only_other = int((first & ~second).sum()), int((second & ~first).sum())
    fewer, total = min(only_one, only_other), only_one + only_other
    observed = tail = comb(total, fewer)
    term = observed
    for k in range(fewer, 0, -1):
        term = term * k // (total - k + 1)
        tail += term
    if only_one == only_other:
        return McNemar(only_one, only_other, 1.0, 1 - observed / 2 ** (total + 1))
    return McNemar(only_one, only_other, 2 * tail / 2**total, (2 * tail - observed) / 2**total)


def wilcoxon_holm(values: Mapping[str, Mapping[tuple[str, int], float]]) -> list[SignedRank]:
    """Every model against every other over corpora and seeds: Wilcoxon's signed-rank test with Holm's correction.

    The test for models over several data sets that Demšar recommends ("Statistical comparisons of classifiers over multiple
    data sets", JMLR 7, 2006). Pairs without a difference are left out, as Wilcoxon did. He takes the pairs as independent;
    several seeds on one corpus are not quite, which makes p too small: read it beside ``corpora``.

    Args:
        values: a metric (say UA of all folds together) by model and by (corpus, seed). Models are paired by these, never by
            position. Corpora of synthetic speech, or results of the as-published world, do not belong among others.

    Returns:
        One row per pair of models, in the order of ``values``. With fewer than six pairs even complete agreement has at best
        p = 2 / 2**5 > 0.05; such a row has no p, and its note says so.

    Raises:
        SERZooError: scipy is not installed.
    """
    try:
        from scipy.stats import wilcoxon
    except ImportError as error:
        raise SERZooError(
            f"Wilcoxon's test is done by the package scipy, which is not installed. Install it with {INSTALL}."
        ) from error

    rows = []
    for one, other in combinations(values, 2):
        common = sorted(values[one].keys() & values[other].keys())
        # In floats 0.8 - 0.7 and 0.7 - 0.6 are not the tie that they are.
        differences = np.round([values[one][key] - values[other][key] for key in common], 12)
        enough = 2 / 2 ** len(common) < SIGNIFICANT
        row = SignedRank(
            one=one,
            other=other,
            pairs=len(common),
            corpora=len({corpus for corpus, _ in common}),
            unpaired=len(values[one].keys() ^ values[other].keys()),
            median=float(np.median(differences)) if common else None,
            # By its own way of leaving them out scipy takes the normal distribution for few pairs.
            p=None if not enough else float(wilcoxon(differences[differences != 0]).pvalue) if differences.any() else 1.0,
            adjusted=None,
            note=None if enough else f"{len(common)} pairs of corpus and seed; the test needs 6 to show anything",
        )
        rows.append(row)
    adjusted = iter(holm([row.p for row in rows if row.p is not None]))
    return [row if row.p is None else replace(row, adjusted=next(adjusted)) for row in rows]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p, in the order given.

    The k-th smallest of m, counted from 0, is multiplied by m - k and is at least the one before it (Holm, "A simple
    sequentially rejective multiple test procedure", Scand. J. Stat. 6, 1979).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, least = [0.0] * len(p_values), 0.0
    for step, index in enumerate(order):
        least = adjusted[index] = max(least, min(1.0, (len(p_values) - step) * p_values[index]))
    return adjusted


def spread(predicted: Predicted, labels: Sequence[str], minimum: int = 10) -> Spread:
    """Per-class recall, and UA per gender and per speaker, so that a model that fails on some people cannot hide in a mean.

    Args:
        predicted: of all folds together.
        labels: names of the C classes.
        minimum: utterances below which a speaker's UA is chance rather than a finding; such a speaker is listed, but is neither
            the worst nor part of the deviation.

    Raises:
        RunError: a row without a speaker, or a speaker with two genders.
    """
    confusions = speaker_confusions(predicted.labels, predicted.probabilities.argmax(1), predicted.speakers, len(labels))
    recalls = metrics.recalls(torch.from_numpy(confusions.sum(0))).tolist()
    names = sorted(set(predicted.speakers))
    people = [
        SpeakerScore(name, float(ua), int(matrix.sum()))
        for name, ua, matrix in zip(names, scores(confusions)["ua"], confusions, strict=True)
    ]
    people.sort(key=lambda person: (person.ua, person.speaker))
    counted = [person for person in people if person.utterances >= minimum]
    gender_of = _genders(predicted)
    return Spread(
        recalls={label: None if np.isnan(recall) else recall for label, recall in zip(labels, recalls, strict=True)},
        genders={
            gender: bootstrap_interval(confusions[[gender_of[name] == gender for name in names]])["ua"]
            for gender in sorted(set(gender_of.values()))
        },
        speakers=people,
        worst=counted[0] if counted else None,
        deviation=float(np.std([person.ua for person in counted], ddof=1)) if len(counted) > 1 else None,
        minimum=minimum,
        too_few=len(people) - len(counted),
    )


def seed_spread(rows: Sequence[Row]) -> SeedSpread:
    """How the metrics of one model, corpus, protocol and encoder move with the seed, and how with the fold.

    Args:
        rows: one per fold and seed.

    Raises:
        RunError: a fold and seed came twice, or the seeds do not have the same folds, whose means would not compare.
    """
    confusions: dict[int, dict[int, Counts]] = {}
    for row in rows:
        folds = confusions.setdefault(row["seed"], {})
        if row["fold"] in folds:
            raise RunError(f"Fold {row['fold']} of seed {row['seed']} came twice. Expected one row per fold and seed.")
        folds[row["fold"]] = np.array(row["metrics"]["confusion"])
    first, *others = confusions
    for seed in others:
        if odd := sorted(confusions[first].keys() ^ confusions[seed].keys()):
            raise RunError(
                f"Seeds {first} and {seed} do not have the same folds: only one of them has fold "
                f"{', '.join(map(str, odd))}. Run what is missing, or leave the incomplete seed out."
            )
    common = sorted(confusions[first])
    matrices = np.array([[confusions[seed][fold] for fold in common] for seed in confusions])  # (seeds, folds, C, C)
    per_seed, per_fold = scores(matrices.sum(1)), scores(matrices)
    return SeedSpread(
        over_seeds={name: _moments(values) for name, values in per_seed.items()},
        over_folds={name: _moments(values.mean(0)) for name, values in per_fold.items()},
    )


def _resampled(confusions: Counts, resamples: int, seed: int) -> tuple[dict[str, Values], int]:
    """Each metric (R,) over resamples of the speakers, and in how many of these a class of the test is lacking."""
    classes = confusions.shape[1]
    flat = confusions.reshape(len(confusions), -1).astype(np.float64)  # BLAS; counts below 2**53 stay exact
    summed = np.concatenate([weights @ flat for weights in _weights(len(flat), resamples, seed)])
    summed = summed.reshape(resamples, classes, classes)
    tested = confusions.sum((0, 2)) > 0
    return scores(summed), int((summed.sum(-1)[:, tested] == 0).any(1).sum())


def _weights(speakers: int, resamples: int, seed: int) -> Iterator[Values]:
    """How often each speaker was drawn, (R, S) in pieces.

    The indices are those that ``scipy.stats.bootstrap`` draws from a generator of the same seed.
    """
    generator = np.random.default_rng(seed)
    piece = max(1, DRAWN_AT_ONCE // speakers)
    for start in range(0, resamples, piece):
        size = min(piece, resamples - start)
        cells = generator.integers(0, speakers, (size, speakers)) + speakers * np.arange(size)[:, None]
        yield np.bincount(cells.ravel(), minlength=size * speakers).reshape(size, speakers).astype(np.float64)


def _swapped(one: Counts, other: Counts, resamples: int, seed: int) -> dict[str, Values]:
    """Each metric's difference (R,) when the two models are swapped for some speakers: in all 2**S ways, or in random ones."""
    speakers, classes = len(one), one.shape[1]
    moved = (other - one).reshape(speakers, -1).astype(np.float64)
    change = np.concatenate([swaps @ moved for swaps in _swaps(speakers, resamples, seed)]).reshape(-1, classes, classes)
    ours, theirs = scores(one.sum(0) + change), scores(other.sum(0) - change)
    return {name: ours[name] - theirs[name] for name in ours}


def _swaps(speakers: int, resamples: int, seed: int) -> Iterator[Values]:
    """1 where a speaker's predictions change hands, else 0; (R, S) in pieces."""
    if 2**speakers <= resamples:
        yield (np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1).astype(np.float64)
        return
    generator = np.random.default_rng(seed)
    piece = max(1, DRAWN_AT_ONCE // speakers)
    for start in range(0, resamples, piece):
        yield generator.integers(0, 2, (min(piece, resamples - start), speakers)).astype(np.float64)


def _share_as_large(differences: Values, found: float, exhaustive: bool) -> float:
    """Two-sided p of the difference found; among all swaps it is one itself, among random ones it is added."""
    # Without rounding, equal differences that were summed in another order would not count as equal.
    as_large = int((np.abs(differences).round(12) >= round(abs(found), 12)).sum())
    return as_large / len(differences) if exhaustive else (1 + as_large) / (1 + len(differences))


def _shares_of_speakers(one: Counts, other: Counts) -> dict[str, Values]:
    """What each of S speakers adds to the difference in WA and UA, (S,); a swap turns its sign.

    Both models are tested on the same utterances, so that what a hit counts does not depend on who made it.
    """
    hits = np.diagonal(one - other, axis1=1, axis2=2)
    utterances = one.sum((0, 2))
    tested = utterances > 0
    return {"wa": hits.sum(1) / utterances.sum(), "ua": (hits[:, tested] / utterances[tested]).mean(1)}


def _exact_share_as_large(shares: Values) -> float:
    """Two-sided p of the sum of ``shares`` (S,) among those of all 2**S choices of their signs.

    A choice for the first half of the speakers and one for the second: every sum of two is counted by its place among the
    sorted sums of the second half, so that 2**(S / 2) sums are made.
    """
    least = float(abs(shares.sum())) - EQUAL
    if least <= 0:
        return 1.0
    first, second = (_signed_sums(half) for half in np.array_split(shares, 2))
    second.sort()
    as_large = len(second) * len(first) - int(np.searchsorted(second, least - first).sum())
    return float(as_large / 2 ** (len(shares) - 1))  # each has its opposite


def _signed_sums(values: Values) -> Values:
    """Sums of ``values`` (N,) with all 2**N choices of their signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _percentiles(values: Values) -> tuple[float, float]:
    # Rounded, as the difference of equal models comes out as 1e-17 now and then, and 0 is where a verdict is decided.
    low, high = np.quantile(values, [SIGNIFICANT / 2, 1 - SIGNIFICANT / 2]).round(12)
    return float(low), float(high)


def _note(speakers: int) -> str | None:
    if speakers == 1:
        return "one speaker: there is nobody else to draw, so no interval can be given"
    if speakers < FEW_SPEAKERS:
        return f"{speakers} speakers: with fewer than {FEW_SPEAKERS} the interval is narrower than 95 % asks for"
    return None


def _joined(one: Predicted, other: Predicted) -> tuple[Predicted, Predicted]:
    """Both in the order of the utterance ids.

    Raises:
        RunError: they do not hold the same utterances with the same labels and speakers.
    """
    for side, name in ((one, "first"), (other, "second")):
        if twice := [key for key, count in Counter(side.ids).items() if count > 1]:
            raise RunError(
                f"The {name} model's predictions hold {_some(twice)} more than once. A paired comparison needs each utterance "
                "once; compare protocols that test everybody once, and one seed at a time."
            )
    alone, missing = sorted(set(one.ids) - set(other.ids)), sorted(set(other.ids) - set(one.ids))
    if alone or missing:
        parts = [f"{_some(ids)} only in the {name}" for ids, name in ((alone, "first"), (missing, "second")) if ids]
        raise RunError(
            f"The two models were not tested on the same utterances: {', '.join(parts)}. Compare complete runs of the same "
            "corpus and protocol."
        )
    classes, others = one.probabilities.shape[1], other.probabilities.shape[1]
    if classes != others:
        raise RunError(f"The first model has {classes} classes and the second {others}. Compare models of the same task.")
    one, other = _sorted(one), _sorted(other)
    first, second = (list(zip(side.ids, side.labels, side.speakers, strict=True)) for side in (one, other))
    if changed := [ours[0] for ours, theirs in zip(first, second, strict=True) if ours != theirs]:
        raise RunError(
            f"The two models' predictions give another label or speaker for {_some(changed)}. Compare runs of the same corpus, "
            "task and release."
        )
    return one, other


def _sorted(predicted: Predicted) -> Predicted:
    order = sorted(range(len(predicted.ids)), key=lambda index: predicted.ids[index])
    return predicted._replace(
        ids=[predicted.ids[index] for index in order],
        speakers=[predicted.speakers[index] for index in order],
        genders=[predicted.genders[index] for index in order],
        labels=predicted.labels[order],
        probabilities=predicted.probabilities[order],
    )


def _some(ids: Sequence[str]) -> str:
    """``3 utterances (a, b, c)``, at most five of them by name."""
    named = ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")
    return f"{len(ids)} utterance{'s' if len(ids) > 1 else ''} ({named})"


def _genders(predicted: Predicted) -> dict[str, str]:
    """Each speaker's gender.

    Raises:
        RunError: a speaker has two.
    """
    found: dict[str, str] = {}
    for speaker, gender in zip(predicted.speakers, predicted.genders, strict=True):
        if found.setdefault(speaker, gender or "unknown") != (gender or "unknown"):
            raise RunError(
                f"Speaker {speaker} is {found[speaker]} in one prediction and {gender or 'unknown'} in another. Expected one "
                "gender per speaker; check that the predictions come from one release."
            )
    return found


def _moments(values: Values) -> Moments:
    return Moments(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None, len(values))
