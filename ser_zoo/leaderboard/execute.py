"""Running the cells of a grid: what is done already, the process of a fold, and what is kept of it.

Below the folder of the runs::

    emo_db/loso10/probe/whisper-base-encoder/seed-1/
        fold-3/         the run itself, as ser-zoo fit makes it
        fold-3.json     the fingerprint under which it was begun
        fold-3.log      what fit has printed

and below that of the results, whole or not at all::

    emo_db/loso10/probe/whisper-base-encoder/seed-1/fold-3/
        result.json, predictions.csv, and where there are any metrics.csv (learning curves), robustness.json and profile.json
        cell.json       the fingerprint, what it is made of, and the seconds that the cell took
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ser_zoo.cache import atomic_path, write_json
from ser_zoo.errors import RunError
from ser_zoo.leaderboard.grid import MEASURES, Cell
from ser_zoo.leaderboard.lock import Holder, Lock, Process, take
from ser_zoo.settings import flat, settled

ROW, CELL, CURVES = "result.json", "cell.json", "metrics.csv"
KEPT = ROW, "predictions.csv"
TESTED = "refit", "best", "last"  # checkpoints of a run: the first of them that is there was tested
COMMAND = (sys.executable, "-c", "import sys; from ser_zoo.cli import main; sys.exit(main())")
TICK = 0.5  # seconds between two looks at what runs
GRACE = 10.0  # seconds in which an interrupted training may end by itself
TAIL = 15  # lines of a log that are shown of a cell that failed

State = Literal["done", "stale", "measure", "resume", "run"]
Result = Literal["done", "measured", "was done", "stale", "held", "failed", "interrupted"]


@dataclass(frozen=True)
class Settings:
    """How cells are run.

    Attributes:
        results: where rows are kept.
        runs: where the runs themselves go.
        threads: of the process of a cell.
        rerun_stale: run cells again whose row was made under another fingerprint.
        command: ``ser-zoo``, which trains, tests and measures.
        run: of this one command; see ``lock.Holder``.
    """

    results: Path
    runs: Path
    threads: int = 1
    rerun_stale: bool = False
    command: tuple[str, ...] = COMMAND
    run: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: its id.
        result: ``measured`` is one whose row was there; ``was done`` is by another command meanwhile, ``held`` is being run by
            one.
        detail: in words; of a failed cell with the last lines of its log.
        seconds: that it took.
    """

    cell: str
    result: Result
    detail: str = ""
    seconds: float = 0.0


def inspect(cell: Cell, settings: Settings) -> tuple[State, str]:
    """What is to be done for a cell, and of a stale one what sets its row apart, of one to be measured what is missing."""
    row = settings.results / cell.id / ROW
    if row.is_file():
        if apart := difference(_read(row.with_name(CELL)).get("parts"), cell.parts) or _other(_read(row), cell):
            return "stale", apart
        missing = [name for name in cell.measures if not row.with_name(f"{name}.json").is_file()]
        return ("measure", f"{', '.join(missing)} missing") if missing else ("done", "")
    run = settings.runs / cell.id
    return ("resume" if run.is_dir() and _begun(run, cell) else "run"), ""


def _other(row: Mapping[str, Any], cell: Cell) -> str:
    """Of what other cell a row is, in words; empty if it is of this one."""
    own = {"model": cell.kind[0], "fold": cell.fold, "seed": cell.parts["config"]["seed_everything"]}
    differing = ", ".join(f"{key} {row.get(key)}" for key, value in own.items() if row.get(key) != value)
    return f"its {ROW} is of {differing}" if differing else ""


def difference(before: object, now: Mapping[str, Any]) -> str:
    """What sets the parts of two cells apart, in words; empty if nothing does."""
    if not isinstance(before, dict):
        return f"its row has no {CELL}, so nobody knows what it was made of"
    old, new = ({**flat({**parts, "config": {}}), **settled(parts.get("config", {}))} for parts in (before, now))
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    told = "; ".join(f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys[:3])
    return told + (f"; and {len(keys) - 3} more" if len(keys) > 3 else "")


def lock_of(cell: Cell, settings: Settings) -> Path:
    """Who runs a cell holds this file."""
    folder = settings.results / cell.id
    return folder.with_name(f".{folder.name}.lock")


def run_cell(cell: Cell, settings: Settings, stopped: Callable[[], bool] = lambda: False) -> Outcome:
    """Run a cell unless it is done or somebody else runs it, and keep its row; or measure what is missing beside a row.

    Args:
        cell: the fold.
        settings: of the command.
        stopped: asked now and then; when true, the training is ended.
    """
    if stopped():
        return Outcome(cell.id, "interrupted")
    path = lock_of(cell, settings)
    try:
        lock = take(path, settings.run)
        if isinstance(lock, Holder):
            return Outcome(cell.id, "held", f"by {lock} (lock {path})")
        try:
            return _run_locked(cell, settings, stopped, lock)
        finally:
            lock.release()
    except OSError as error:  # a full disk, say; others may lie elsewhere or be done by then
        return Outcome(cell.id, "failed", str(error))


def run_local(cells: Sequence[Cell], settings: Settings, jobs: int) -> Generator[Outcome | None]:
    """Run cells in processes of this machine.

    Args:
        cells: to be run.
        settings: of the command.
        jobs: how many at once.

    Yields:
        Outcomes as they come, and None every ``TICK`` seconds. When it is closed, what runs is ended.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(run_cell, cell, settings, stop.is_set) for cell in cells}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=TICK, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                yield None
        finally:
            stop.set()


def estimates(folders: Sequence[Path]) -> dict[tuple[str, str], list[float]]:
    """Seconds per fold of the rows below these folders, by architecture and corpus.

    Raises:
        RunError: a file is no result row.
    """
    known: dict[tuple[str, str], list[float]] = {}
    for folder in folders:
        for path in sorted(folder.rglob(ROW)):
            row = _read(path)
            try:
                seconds = _read(path.with_name(CELL)).get("seconds") or row["durations"]["fit"] + row["durations"]["test"]
                known.setdefault((row["model"], row["corpus"]), []).append(float(seconds))
            except (KeyError, TypeError, ValueError) as error:
                raise RunError(
                    f"{path} is no result row: {error!r} is wrong or missing. Expected one that fit wrote; remove "
                    f"{path.parent}, and what is missing is run again."
                ) from error
    return known


# One cell.


def _run_locked(cell: Cell, settings: Settings, stopped: Callable[[], bool], lock: Lock) -> Outcome:
    started = time.monotonic()
    while lock.holder.training is not None and lock.holder.training.alive:
        # Its command was killed and it was not; two at once would write into one folder.
        if stopped():
            return Outcome(cell.id, "interrupted")
        time.sleep(TICK)
        lock.touch()
    state, detail = inspect(cell, settings)
    if state == "done":
        return Outcome(cell.id, "was done")
    if state == "stale" and not settings.rerun_stale:
        return Outcome(cell.id, "stale", detail)
    run, log = settings.runs / cell.id, settings.runs / f"{cell.id}.log"
    if state == "measure" and not _same_row(settings.results / cell.id / ROW, run / ROW):
        again = f"Remove {settings.results / cell.id} to have the cell trained again, or take the measure out of the grid."
        return Outcome(cell.id, "failed", f"{detail}, and what is in {run} is not the run of this row. {again}")
    if state == "measure":
        ended = _measure(cell, settings, stopped, lock, run, log)
        for name in cell.measures:
            if (made := run / f"{name}.json").is_file():
                with atomic_path(settings.results / cell.id / made.name) as temporary:
                    shutil.copyfile(made, temporary)
    else:
        ended = _train(cell, settings, stopped, lock, run, log)
        if ended is None:
            _keep(cell, settings, run, time.monotonic() - started)
    ended = ended or Outcome(cell.id, "measured" if state == "measure" else "done")
    return replace(ended, seconds=time.monotonic() - started)


def _same_row(kept: Path, made: Path) -> bool:
    return made.is_file() and made.read_bytes() == kept.read_bytes()


def _train(cell: Cell, settings: Settings, stopped: Callable[[], bool], lock: Lock, run: Path, log: Path) -> Outcome | None:
    """Train and test a fold that has no row yet; what came of it unless all went well."""
    if run.exists() and not _begun(run, cell):
        _set_aside(run, run.with_name(f"{run.name}.before"))
    if not (run / ROW).is_file():
        resumed = run.is_dir()
        write_json(run.with_name(f"{run.name}.json"), {"fingerprint": cell.fingerprint, "parts": cell.parts})
        arguments = [*cell.arguments, f"--folds={cell.fold}", f"--run_dir={(settings.runs / cell.group).absolute()}"]
        arguments += ["--trainer.enable_progress_bar=false", *(["--ckpt_path=last"] if resumed else [])]
        if failed := _call(cell, settings, stopped, lock, ["fit", *arguments], log):
            return failed
        if not (run / ROW).is_file():
            return Outcome(cell.id, "failed", f"fit ended well, but wrote no {run / ROW}; log {log}\n{_tail(log)}")
    row = _read(run / ROW)
    found = row.get("protocol", {}).get("hash"), row.get("fold"), row.get("seed")
    expected = cell.parts["protocol"]["hash"], cell.fold, cell.parts["config"]["seed_everything"]
    if found != expected:
        return Outcome(
            cell.id, "failed", f"{run / ROW} is of protocol hash, fold and seed {found}; expected {expected}. Remove {run}."
        )
    return None


def _measure(cell: Cell, settings: Settings, stopped: Callable[[], bool], lock: Lock, run: Path, log: Path) -> Outcome | None:
    """Measure what is missing beside the row of a run; what came of it unless all went well."""
    for name in cell.measures:
        if (run / f"{name}.json").is_file():
            continue
        checkpoints = [run / "checkpoints" / f"{which}.ckpt" for which in TESTED]
        tested = next((path for path in checkpoints if path.is_file()), None)
        if tested is None:
            return Outcome(
                cell.id,
                "failed",
                f"{name} needs the checkpoint of the run, and there is none in {run}. Remove {settings.results / cell.id} to "
                "have the cell trained again, or take the measure out of the grid.",
            )
        written = [f"--output={run / name}.json"] if name == "profile" else []  # robustness writes it there, having checked
        if failed := _call(cell, settings, stopped, lock, [name, f"--ckpt_path={tested}", *written], log):
            return failed
    return None


def _call(
    cell: Cell, settings: Settings, stopped: Callable[[], bool], lock: Lock, arguments: Sequence[str], log: Path
) -> Outcome | None:
    """Run a verb in a process of its own; what came of it unless it ended well."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads), "PYTHONUNBUFFERED": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        print(f"$ ser-zoo {shlex.join(arguments)}", file=file, flush=True)
        # In a session of its own it does not get the terminal's Ctrl-C, which is for us to answer.
        process = subprocess.Popen(
            [*settings.command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            lock.note(Process.of(process.pid))
            while not stopped():
                try:
                    code = process.wait(TICK)
                except subprocess.TimeoutExpired:
                    lock.touch()
                    continue
                if code == 0:
                    return None
                ended = f"signal {-code}" if code < 0 else f"exit status {code}"
                return Outcome(cell.id, "failed", f"{ended}; log {log}\n{_tail(log)}")
            return Outcome(cell.id, "interrupted")
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a training with all processes it has started."""
    if process.poll() is not None:
        return
    process.terminate()  # not by SIGINT, which whoever is started in the background, or by Ray, does not hear
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session, hence its own group
        process.wait()


def _keep(cell: Cell, settings: Settings, run: Path, seconds: float) -> None:
    """Copy what is kept of a run into the results; a row that is there moves out of them and is not deleted."""
    target = settings.results / cell.id
    new = target.with_name(f".{target.name}.new")
    if new.exists():  # of a command that was killed here
        shutil.rmtree(new)
    new.mkdir(parents=True)
    if curves := _curves(run):
        (new / CURVES).write_text(curves, encoding="utf-8")
    write_json(new / CELL, {"fingerprint": cell.fingerprint, "parts": cell.parts, "seconds": round(seconds, 1)})
    for name in (*(f"{measure}.json" for measure in MEASURES), *reversed(KEPT)):  # the row last: readers look for it
        if name in KEPT or (run / name).is_file():
            shutil.copyfile(run / name, new / name)
    if target.exists():
        _set_aside(target, settings.runs / "stale" / cell.id)
    new.rename(target)


def _set_aside(folder: Path, aside: Path) -> None:
    number, free = 1, aside
    while free.exists():
        number += 1
        free = aside.with_name(f"{aside.name}-{number}")
    free.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, free)


def _curves(run: Path) -> str:
    """Learning curves of a run as one CSV; of epochs that were begun again after an interruption the later ones."""
    rows: list[dict[str, str]] = []
    versions = sorted(run.glob(f"curves/version_*/{CURVES}"), key=lambda path: int(path.parent.name.removeprefix("version_")))
    for path in versions:
        with path.open(encoding="utf-8", newline="") as file:
            # A line without an end is one that a full disk has cut.
            new = list(csv.DictReader(line for line in file if line.endswith("\n")))
        if new:
            first = min(int(row["epoch"]) for row in new)
            rows = [row for row in rows if int(row["epoch"]) < first] + new
    if not rows:
        return ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    return "".join(",".join(line) + "\n" for line in lines)


def _begun(run: Path, cell: Cell) -> bool:
    """Whether a run was begun as what the cell is now."""
    return not difference(_read(run.with_name(f"{run.name}.json")).get("parts"), cell.parts)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-TAIL:])
