"""``ser-zoo search``: settings of an architecture by a sweep file, on validation speakers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ser_zoo.cli.fit import data_of, dump, expand_names, parse, parse_folds, plan_of, value_of
from ser_zoo.cli.report import corpus_text
from ser_zoo.cli.tables import quiet_lightning, table
from ser_zoo.corpora.base import short_list
from ser_zoo.data import SERDataModule
from ser_zoo.errors import SERZooError
from ser_zoo.evaluation.run import make_trainer
from ser_zoo.evaluation.search import (
    BEST,
    Planned,
    Trial,
    ranked,
    read_sweep,
    run_search,
    sample_values,
)
from ser_zoo.settings import PASSING, as_arguments, deciding

DESCRIPTION = """Train with settings that are drawn from a W&B sweep file, score them on the validation speakers of a fold, or
of several, and write the best into best.yaml, a configuration of fit. Test speakers are never evaluated. Arguments that are not
listed here are those of fit, and the same for all trials; the command in the sweep file may give some. A repeated command goes
on with the trials that are there."""
SHOWN = 5  # of the best trials
OF_FIT_ALONE = ("--ckpt_path", "--run_dir", "--validate_only")
# What decides who is validated, and on which classes: the account of a search has it once for all trials.
HEARD = tuple(f"data.{name}" for name in ("corpus", "root", "test", "shots", "task", "labels", "protocol", "fold"))


def run(argv: Sequence[str]) -> int:
    """Search settings."""
    quiet_lightning()
    options, rest = _parser().parse_known_args(argv)
    if Path(argv[0]) != options.sweep:
        raise SERZooError(f"ser-zoo search {' '.join(argv[:2])} ...: expected the sweep file first, and options after it.")
    given = expand_names(rest)
    for option in OF_FIT_ALONE:
        if option in given or value_of(given, option) is not None:
            raise SERZooError(f"{option} is of ser-zoo fit, not of a search. Leave it out; --study names a folder.")
    sweep = read_sweep(options.sweep)
    if fixed := [key for key in sweep.space if key in (*HEARD, *PASSING, "refit")]:
        raise SERZooError(
            f"{options.sweep}, parameters: {fixed[0]} cannot be searched. Expected settings, which all trials try on the same "
            f"validation speakers; pass --{fixed[0]} behind the sweep file, and search for each of its values with a --study."
            if fixed[0] in HEARD
            else f"{options.sweep}, parameters: {fixed[0]} decides no score, and cannot be searched. Leave it out."
        )
    base = [*expand_names(sweep.base), *given]
    # What no parser, run or trainer accepts ends it here, and not as a failed trial in a study.
    (parser, settings), *_ = [parse([*base, *as_arguments(values)]) for values in sample_values(sweep)]
    make_trainer({**plan_of(parser, settings).trainer, "logger": False, "enable_checkpointing": False})
    if str(settings.trainer.devices) not in ("auto", "1") or settings.trainer.num_nodes != 1:
        raise SERZooError("A search trains on one device. Leave --trainer.devices and --trainer.num_nodes out.")
    parser, settings = parse(base)
    data = data_of(settings)
    folds, asked = [data.fold], settings.folds if options.folds is None else options.folds
    if asked is not None:
        folds = parse_folds(str(asked), data.protocol.folds_of(data.utterances))
    folder = options.study or Path("runs") / f"search-{data.corpus.name}-{settings.model.name}"
    same = deciding(yaml.safe_load(dump(parser, settings, data.fold)))

    print(f"{_title(settings.model.name, data, folds)}: {options.trials} trials in {folder}")

    def report(trial: Trial, ended: Sequence[Trial]) -> None:
        best = ranked(ended, sweep.metric)
        result = f"{sweep.metric} {trial.value:.4f}" if trial.value is not None else trial.state
        top = f", best {best[0].value:.4f} (trial {best[0].number})" if best else ""
        why = "" if trial.error is None else f": {trial.error.splitlines()[0]}"
        count = f"{len(ended)}/{options.trials}"
        print(f"{count} trial {trial.number}: {result}{top}; {_words(trial.values)}; {trial.seconds:.0f} s{why}", flush=True)

    trials, account = run_search(sweep, _planner(base, data), data, folds, options.trials, options.seed, folder, same, report)
    rows = [
        {"trial": trial.number, sweep.metric: trial.value, **{key: str(value) for key, value in trial.values.items()}}
        for trial in ranked(trials, sweep.metric)[:SHOWN]
    ]
    states = ", ".join(f"{account[state]} {state}" for state in ("finished", "pruned", "failed"))
    table(rows, f"{_title(settings.model.name, data, folds)}: the best of {len(trials)} trials ({states})")
    speakers = account["validation_speakers"]
    print(
        f"Scored on the validation speakers {short_list(speakers, 10)}. Other folds may test them; a row says which of its "
        "test speakers are among them."
    )
    print(f"best settings: {folder / BEST}")
    return 0


def _planner(base: Sequence[str], data: SERDataModule) -> Callable[[Mapping[str, Any]], Planned]:
    """What makes trainings of values; data that they leave as it is are decoded once."""
    kept = data

    def plan(values: Mapping[str, Any]) -> Planned:
        nonlocal kept
        parser, settings = parse([*base, *as_arguments(values)], exit_on_error=False)
        wanted = data_of(settings)
        if dict(wanted.hparams) != dict(kept.hparams):
            kept = wanted
        run = plan_of(parser, settings)
        # One process makes all trials; with several devices Lightning would start the whole search once more for each.
        run = replace(run, trainer={**run.trainer, "devices": 1})
        return Planned(run, kept, lambda fold: dump(parser, settings, fold))

    return plan


def _title(model: str, data: SERDataModule, folds: Sequence[int]) -> str:
    corpus = corpus_text(data.corpus.name, data.corpus.synthetic)
    numbers = ", ".join(map(str, folds))
    return f"{model} on {corpus}, {data.protocol.name}, validation speakers of fold{'s' if len(folds) > 1 else ''} {numbers}"


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ser-zoo search",
        usage="ser-zoo search SWEEP [OPTIONS] [ARGUMENTS OF FIT]",
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="W&B sweep file, such as recipes/sweeps/probe.yaml")
    parser.add_argument("--trials", type=_count, default=20, help="how many, those of earlier calls included (default: 20)")
    parser.add_argument(
        "--folds",
        help="all, or folds like 1,3 or 2-5, whose mean is the score (default: those of the sweep file, or --data.fold, 1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn; trainings have --seed_everything (default: 0)")
    parser.add_argument("--study", type=Path, metavar="DIR", help="folder (default: runs/search-<corpus>-<model>)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of trials; expected 1 or more")
    return int(text)
