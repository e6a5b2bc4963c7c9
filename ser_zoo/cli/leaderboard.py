"""``ser-zoo leaderboard``: run a grid, render reports of its rows, show them on W&B."""

from __future__ import annotations

import argparse
import math
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from ser_zoo.cli.tables import table
from ser_zoo.errors import SERZooError

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningArgumentParser

    from ser_zoo.leaderboard.execute import Outcome

Number = TypeVar("Number", int, float)

ACTIONS = {
    "run": "run the cells of a grid that have no row yet",
    "report": "render reports and the README's tables from the rows",
    "wandb": "write a W&B report from the rows",
}
RUN = """Run every fold of a grid of models, corpora, protocols, encoders and seeds, each in a process of its own, and keep its
row. A cell whose row is there already under the same fingerprint is not run again; one that was interrupted goes on from its
last epoch; one that fails is reported and stops no other. Repeat the command to go on."""
REPORT = "Render leaderboard.md, leaderboard.csv and leaderboard.html from the rows below a folder."
WANDB = """Write a W&B report from the rows below a folder: their tables, and the curves and predictions of the runs that
fit --wandb has sent. The tables stand in it as they are now: repeat the command, with --url, when there are new rows."""
RESULTS = Path("benchmarks/leaderboard")
PROJECT = "ser-zoo"  # on W&B
INTERRUPTS = (signal.SIGTERM, signal.SIGHUP)  # of a scheduler whose time is up, and of a terminal that is closed


def run(argv: Sequence[str]) -> int:
    """Dispatch the actions."""
    lines = "".join(f"  {name:<8}{text}\n" for name, text in ACTIONS.items())
    parser = argparse.ArgumentParser(
        prog="ser-zoo leaderboard",
        description=f"actions:\n{lines}\nHelp on one: ser-zoo leaderboard ACTION --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=tuple(ACTIONS), metavar="ACTION", help=", ".join(ACTIONS))
    action = parser.parse_args(argv[:1]).action
    return {"run": _run, "report": _report, "wandb": _wandb}[action](argv[1:])


def resolve(arguments: Sequence[str]) -> dict[str, Any]:
    """All arguments that ``ser-zoo fit`` would run with, for those of a command line with ``--config=FILE``.

    Raises:
        SERZooError: the parser refuses them.
    """
    from ser_zoo.cli.fit import named, value_of

    name = named(arguments, "model")
    if name is None:
        config = value_of(arguments, "--config")
        raise SERZooError(f"The configuration {config} names no model. Expected model: {{name: NAME}}.")
    parser = _fit_parser(name, named(arguments, "data"))
    try:
        text = parser.dump(parser.parse_args(list(arguments)), skip_none=False)
    except argparse.ArgumentError as error:
        raise SERZooError(f"ser-zoo fit refuses the arguments {' '.join(arguments)}: {error}") from error
    resolved: dict[str, Any] = yaml.safe_load(text)
    return resolved


@cache
def _fit_parser(model: str, corpus: str | None) -> LightningArgumentParser:
    from ser_zoo.cli.fit import build_parser

    parser = build_parser(model, corpus)
    parser.exit_on_error = False
    return parser


def _run(argv: Sequence[str]) -> int:
    parser = _run_parser()
    options = parser.parse_args(argv)
    on_ray = options.executor == "ray"
    if not on_ray and (named := [name for name in ("address", "cpus_per_task", "gpus_per_task") if getattr(options, name)]):
        parser.error(f"--{named[0]} is for --executor ray")
    if options.address and options.jobs:
        parser.error("--jobs is the size of a cluster started here; that at --address has its own")
    from ser_zoo.leaderboard.execute import Settings, estimates, inspect, run_local
    from ser_zoo.leaderboard.grid import read_grid, shard

    jobs, cpus = options.jobs or 1, options.cpus_per_task or 1.0
    threads = options.threads or max(1, int(cpus) if on_ray else (os.cpu_count() or 1) // jobs)
    grid = read_grid(options.grid, resolve, options.only, write=not options.dry_run)
    results = options.results or options.grid.with_suffix("")
    settings = Settings(results.absolute(), options.runs.absolute(), threads, options.rerun == "stale")
    cells = shard(grid.cells, options.shard) if options.shard else grid.cells
    states = {cell.id: inspect(cell, settings) for cell in cells}
    known = estimates([settings.results, *grid.durations])
    wanted = ("run", "resume", *(["stale"] if settings.rerun_stale else []))
    run = [cell for cell in cells if states[cell.id][0] in wanted]

    from rich.console import Console

    from ser_zoo.leaderboard.board import Board, remaining, words

    if options.dry_run:
        left = remaining(run, known, jobs)
        table([{"cell": id, "state": state, "why": why or None} for id, (state, why) in states.items()])
        counts = Counter(state for state, _ in states.values())
        time = "of unknown duration" if left is None else f"about {words(left)} with {jobs} at once"
        print(f"{', '.join(f'{count} {state}' for state, count in counts.items())}. To be run: {len(run)} cells, {time}.")
        return 0
    kept = [cell for cell in cells if states[cell.id][0] == "stale" and not settings.rerun_stale]
    for cell in kept:
        print(f"stale: {cell.id} ({states[cell.id][1]}); --rerun stale runs it again")
    where = f"rows go to {settings.results}, runs and logs to {settings.runs}"
    print(f"{len(run)} of {len(cells)} cells are to be run; {where}", flush=True)
    if on_ray:
        from ser_zoo.leaderboard.ray_executor import run_ray

        execute = partial(
            run_ray, settings=settings, jobs=jobs, address=options.address, cpus=cpus, gpus=options.gpus_per_task or 0.0
        )
    else:
        execute = partial(run_local, settings=settings, jobs=jobs)
    failed: list[Outcome] = []
    console = Console(markup=False, emoji=False)  # an encoder's folder may have brackets in its name
    board = Board([cell for cell in cells if cell not in kept], run, settings, known, jobs, console)
    try:
        with _interruptible():
            board.follow(execute(run))
            print(f"{board.summary()}.")
            failed += board.failed
            # Rows come first: they can be read while this goes on.
            if measure := [cell for cell in cells if inspect(cell, settings)[0] == "measure"]:
                print(f"{len(measure)} cells are to be measured", flush=True)
                board = Board(measure, measure, settings, {}, jobs, console)
                board.follow(execute(measure))
                print(f"{board.summary()}.")
                failed += board.failed
    except KeyboardInterrupt:
        print(f"{board.summary()}. Interrupted; what ran has been stopped. Repeat the command to go on.")
        return 130
    for outcome in failed:  # once more, as much may have followed; the end of its log stands above
        reason = outcome.detail.partition("\n")[0]
        print(f"failed: {outcome.cell}: {reason}")
    return 1 if failed else 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Answer the signals by which a scheduler or a closed terminal ends a process as Ctrl-C is answered."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="ser-zoo leaderboard report", description=REPORT, allow_abbrev=False)
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="folder of the rows (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the reports (default: that of the rows)")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="also write the tables between the markers of this file")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the tables in --readme are not those of the rows"
    )
    options = parser.parse_args(argv)
    if options.check and options.readme is None:
        parser.error("--check needs --readme, the file whose tables are checked")
    from ser_zoo.leaderboard.report import update_readme, write_report

    if not options.check:
        for path in write_report(options.results, options.output or options.results):
            print(path)
    if options.readme is not None:
        update_readme(options.readme, options.results, options.check)
    return 0


def _wandb(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="ser-zoo leaderboard wandb", description=WANDB, allow_abbrev=False)
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="folder of the rows (default: %(default)s)")
    parser.add_argument("--project", help=f"of the runs and the report (default: $WANDB_PROJECT, else {PROJECT})")
    parser.add_argument("--entity", help="user or team that the project belongs to (default: that of the login)")
    parser.add_argument("--title", default="ser-zoo leaderboard", help="of the report (default: %(default)s)")
    parser.add_argument("--url", help="an earlier report, whose content and title are replaced; default: a new one")
    options = parser.parse_args(argv)
    from ser_zoo.leaderboard.wandb import write_wandb

    project = options.project or os.environ.get("WANDB_PROJECT") or PROJECT
    print(write_wandb(options.results, project, options.entity, options.title, options.url))
    return 0


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ser-zoo leaderboard run", description=RUN, allow_abbrev=False)
    parser.add_argument("grid", type=Path, help="YAML file, such as benchmarks/leaderboard.yaml")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="cells with these names in their id, * for any: probe, emo_db/*/probe, fold-1; may be repeated",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the cells, their state and an estimate; run and write nothing"
    )
    parser.add_argument("--shard", metavar="I/N", help="part I of N of the cells, for job arrays")
    parser.add_argument(
        "--rerun", choices=("stale",), help="run cells again whose row has another fingerprint; the old row moves"
    )
    parser.add_argument("--jobs", type=_positive(int), metavar="N", help="cells at once (default: 1)")
    parser.add_argument("--threads", type=_positive(int), metavar="N", help="of a cell's process (default: processors / jobs)")
    parser.add_argument("--executor", choices=("local", "ray"), default="local", help="where cells run (default: local)")
    parser.add_argument("--address", help="ray: a running cluster (auto, HOST:PORT); default: one is started on this machine")
    parser.add_argument("--cpus_per_task", type=_positive(float), metavar="N", help="ray: processors of a cell (default: 1)")
    parser.add_argument("--gpus_per_task", type=_positive(float), metavar="N", help="ray: devices of a cell (default: none)")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="where rows are kept (default: beside the file, named as it is)"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/leaderboard"), metavar="DIR", help="runs and logs (default: %(default)s)"
    )
    return parser


def _positive(kind: Callable[[str], Number]) -> Callable[[str], Number]:
    def positive(text: str) -> Number:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    return positive
