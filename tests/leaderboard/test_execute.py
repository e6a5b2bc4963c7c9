"""Scheduling, with a command in place of ``fit`` that does what it is told by files in a folder."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ser_zoo.errors import RunError, SERZooError
from ser_zoo.leaderboard import execute, lock
from ser_zoo.leaderboard.execute import Outcome, Settings, estimates, inspect, run_cell, run_local
from ser_zoo.leaderboard.grid import Cell
from ser_zoo.leaderboard.lock import Holder, Lock, Process, take

FIT = """
import json, sys, time
from pathlib import Path

verb, options = sys.argv[1], dict(argument[2:].split("=", 1) for argument in sys.argv[2:])
if verb != "fit":
    run = Path(options["ckpt_path"]).parents[1]
    control = run.parents[6] / "control"
    with (control / "calls").open("a") as calls:
        print(verb, run.name, Path(options["ckpt_path"]).name, file=calls)
    if (control / f"fail-{verb}").exists():
        sys.exit("it cannot be measured")
    Path(options.get("output", run / f"{verb}.json")).write_text(json.dumps(verb))
    sys.exit()
fold, root, control = options["folds"], Path(options["run_dir"]), Path(options["control"])
folder = root / f"fold-{fold}"
with (control / "calls").open("a") as calls:
    print(fold, options.get("ckpt_path", "new"), file=calls)
assert folder.exists() == ("ckpt_path" in options), "fit refuses a folder that is there, and one to go on with that is not"
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
(folder / "checkpoints" / "last.ckpt").touch()
print("trained an epoch", flush=True)
while (control / f"hold-{fold}").exists():
    time.sleep(0.02)
if (control / f"fail-{fold}").exists():
    print("Traceback of something\\nValueError: no good")
    sys.exit(3)
version = len(list(folder.glob("curves/version_*")))
(folder / "curves" / f"version_{version}").mkdir(parents=True)
(folder / "curves" / f"version_{version}" / "metrics.csv").write_text("epoch,train/loss\\n0,1.5\\n")
(folder / "predictions.csv").write_text("id\\n")
row = {"model": "egemaps", "corpus": "emo_db", "protocol": {"hash": "abc"}, "fold": int(fold), "seed": 1}
row["durations"] = {"features": 0, "fit": 1.0, "test": 0.5}
(folder / "result.json").write_text(json.dumps(row))
"""
GROUP = "emo_db/loso10/egemaps/none/seed-1"


class Bench:
    """A folder with the command, what tells it what to do, and what it has done."""

    def __init__(self, folder: Path) -> None:
        self.control = folder / "control"
        self.control.mkdir()
        (folder / "fit.py").write_text(FIT)
        self.settings = Settings(folder / "results", folder / "runs", command=(sys.executable, str(folder / "fit.py")))

    def cell(self, fold: int, **config: object) -> Cell:
        parts = {
            "config": {"model.name": "egemaps", "seed_everything": 1, **config},
            "corpus": {"name": "emo_db", "manifest": "0"},
            "protocol": {"name": "loso10", "hash": "abc"},
            "fold": fold,
        }
        return Cell(GROUP, fold, (f"--control={self.control}",), parts)

    def measured(self, fold: int) -> Cell:
        return replace(self.cell(fold), measures=("profile", "robustness"))

    def tell(self, order: str) -> Path:
        path = self.control / order
        path.touch()
        return path

    @property
    def calls(self) -> list[str]:
        path = self.control / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, cells: Sequence[Cell], jobs: int = 2, **changes: Any) -> dict[str, Outcome]:
        outcomes = run_local(cells, replace(self.settings, run=os.urandom(4).hex(), **changes), jobs)
        return {outcome.cell: outcome for outcome in outcomes if outcome is not None}

    def result(self, fold: int) -> Path:
        return self.settings.results / GROUP / f"fold-{fold}"

    def lock(self, fold: int) -> Path:
        return self.settings.results / GROUP / f".fold-{fold}.lock"

    def training(self, fold: int) -> Process:
        """The process of a fold, once it has trained an epoch."""
        last = self.settings.runs / GROUP / f"fold-{fold}" / "checkpoints" / "last.ckpt"
        until(lambda: last.exists() and (holder := lock.read(self.lock(fold))) is not None and holder.training is not None)
        holder = lock.read(self.lock(fold))
        assert holder is not None
        assert holder.training is not None
        return holder.training


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until the test has ended."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_rows_are_kept_with_their_fingerprint_and_not_made_again(bench: Bench) -> None:
    cells = [bench.cell(fold) for fold in (1, 2, 3)]
    assert [inspect(cell, bench.settings) for cell in cells] == [("run", "")] * 3
    first = bench.run(cells)
    assert {outcome.result for outcome in first.values()} == {"done"}
    names = {"result.json", "predictions.csv", "metrics.csv", "cell.json"}
    assert {path.name for path in bench.result(2).iterdir()} == names
    stored = json.loads((bench.result(2) / "cell.json").read_text())
    assert (stored["fingerprint"], stored["parts"]) == (cells[1].fingerprint, cells[1].parts)
    assert [inspect(cell, bench.settings) for cell in cells] == [("done", "")] * 3
    assert {outcome.result for outcome in bench.run(cells).values()} == {"was done"}
    assert sorted(bench.calls) == ["1 new", "2 new", "3 new"]
    assert not list(bench.settings.results.rglob(".*"))  # no lock, nothing unfinished


def test_a_failing_cell_tells_of_its_log_and_stops_no_other(bench: Bench) -> None:
    order = bench.tell("fail-1")
    cells = [bench.cell(fold) for fold in (1, 2, 3)]
    outcomes = bench.run(cells, jobs=1)
    assert [outcome.result for outcome in outcomes.values()] == ["failed", "done", "done"]
    detail = outcomes[cells[0].id].detail
    log = bench.settings.runs / f"{GROUP}/fold-1.log"
    assert detail.startswith(f"exit status 3; log {log}\n")
    assert detail.endswith("ValueError: no good")
    assert "$ ser-zoo fit" in log.read_text()
    assert not bench.result(1).exists()
    order.unlink()
    assert bench.run(cells)[cells[0].id].result == "done"
    assert sorted(bench.calls) == ["1 last", "1 new", "2 new", "3 new"]


def test_a_cell_computes_with_the_threads_it_is_given(bench: Bench) -> None:
    command = (sys.executable, "-c", "import os, sys; sys.exit(os.environ['OMP_NUM_THREADS'])")
    assert bench.run([bench.cell(1)], threads=3, command=command)[bench.cell(1).id].detail.endswith("\n    3")


def test_empty_lines_of_a_log_leave_room_for_others(bench: Bench) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('the cause' + 30 * '\\n' + 'the end')")
    detail = bench.run([bench.cell(1)], command=command)[bench.cell(1).id].detail
    assert detail.endswith("\n    the cause\n    the end")


def test_a_killed_training_goes_on_where_it_stopped(bench: Bench) -> None:
    order = bench.tell("hold-1")
    outcomes: dict[str, Outcome] = {}
    thread = threading.Thread(target=lambda: outcomes.update(bench.run([bench.cell(1)])))
    thread.start()
    os.kill(bench.training(1).pid, signal.SIGKILL)
    thread.join(60)
    assert outcomes[bench.cell(1).id].detail.startswith("signal 9")
    assert inspect(bench.cell(1), bench.settings) == ("resume", "")
    order.unlink()
    assert bench.run([bench.cell(1)])[bench.cell(1).id].result == "done"
    assert bench.calls == ["1 new", "1 last"]


def test_what_runs_is_ended_when_the_command_is_interrupted(bench: Bench) -> None:
    orders = [bench.tell(f"hold-{fold}") for fold in (1, 2)]
    cells = [bench.cell(fold) for fold in (1, 2, 3)]
    outcomes = run_local(cells, bench.settings, jobs=2)
    while not (bench.lock(1).exists() and bench.lock(2).exists() and len(bench.calls) == 2):
        assert next(outcomes) is None
    trainings = [bench.training(fold) for fold in (1, 2)]
    outcomes.close()
    assert not any(training.alive for training in trainings)
    assert not bench.lock(1).exists()
    assert [inspect(cell, bench.settings)[0] for cell in cells] == ["resume", "resume", "run"]
    for order in orders:
        order.unlink()
    assert {outcome.result for outcome in bench.run(cells).values()} == {"done"}
    assert sorted(bench.calls) == ["1 last", "1 new", "2 last", "2 new", "3 new"]


def test_a_training_that_does_not_heed_its_interruption_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "GRACE", 0.2)
    deaf = ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + FIT,)
    bench.tell("hold-1")
    outcomes = run_local([bench.cell(1)], replace(bench.settings, command=(sys.executable, "-c", *deaf)), jobs=1)
    while not bench.calls:
        assert next(outcomes) is None
    training = bench.training(1)
    outcomes.close()
    assert not training.alive


def test_what_is_measured_stands_beside_the_row(bench: Bench) -> None:
    assert [bench.run([bench.measured(1)])[bench.cell(1).id].result for _ in range(3)] == ["done", "measured", "was done"]
    assert bench.calls == ["1 new", "profile fold-1 last.ckpt", "robustness fold-1 last.ckpt"]
    for name in ("profile", "robustness"):
        assert json.loads((bench.result(1) / f"{name}.json").read_text()) == name
    assert inspect(bench.measured(1), bench.settings) == ("done", "")


@pytest.mark.parametrize("there", [("best",), ("best", "refit")])
def test_a_row_without_its_measures_is_measured_and_not_trained_again(bench: Bench, there: tuple[str, ...]) -> None:
    bench.run([bench.cell(1)])
    for name in there:
        (bench.settings.runs / GROUP / "fold-1" / "checkpoints" / f"{name}.ckpt").touch()
    row = (bench.result(1) / "result.json").stat()
    assert inspect(bench.measured(1), bench.settings) == ("measure", "profile, robustness missing")
    assert bench.run([bench.measured(1)])[bench.cell(1).id].result == "measured"
    tested = f"{there[-1]}.ckpt"
    assert bench.calls == ["1 new", f"profile fold-1 {tested}", f"robustness fold-1 {tested}"]
    assert inspect(bench.measured(1), bench.settings) == ("done", "")
    assert (bench.result(1) / "result.json").stat() == row


def test_a_measure_that_fails_leaves_the_row_and_the_other_measures(bench: Bench) -> None:
    order = bench.tell("fail-robustness")
    bench.run([bench.cell(1)])
    outcome = bench.run([bench.measured(1)])[bench.cell(1).id]
    assert outcome.result == "failed"
    assert "it cannot be measured" in outcome.detail
    assert inspect(bench.measured(1), bench.settings) == ("measure", "robustness missing")
    order.unlink()
    assert bench.run([bench.measured(1)])[bench.cell(1).id].result == "measured"
    assert bench.calls[-2:] == ["robustness fold-1 last.ckpt"] * 2


def test_a_row_is_not_measured_by_the_run_of_another(bench: Bench) -> None:
    bench.run([bench.cell(1)])
    row = bench.settings.runs / GROUP / "fold-1" / "result.json"
    row.write_text(row.read_text().replace('"fit": 1.0', '"fit": 2.0'))  # that of a later training, kept somewhere else
    outcome = bench.run([bench.measured(1)])[bench.cell(1).id]
    assert outcome.result == "failed"
    assert "is not the run of this row" in outcome.detail
    assert bench.calls == ["1 new"]


def test_a_row_whose_run_is_gone_cannot_be_measured(bench: Bench) -> None:
    bench.run([bench.cell(1)])
    (bench.settings.runs / GROUP / "fold-1" / "checkpoints" / "last.ckpt").unlink()
    outcome = bench.run([bench.measured(1)])[bench.cell(1).id]
    assert outcome.result == "failed"
    assert "profile needs the checkpoint of the run, and there is none" in outcome.detail
    assert (bench.result(1) / "result.json").is_file()


def test_a_row_under_another_fingerprint_is_stale_and_moves_only_when_asked(bench: Bench) -> None:
    old, new = bench.cell(1, monitor="last"), bench.cell(1, monitor="val/ua")
    bench.run([old])
    assert inspect(new, bench.settings) == ("stale", "monitor was last, is val/ua")
    assert bench.run([new])[new.id].result == "stale"
    assert bench.run([new], rerun_stale=True)[new.id].result == "done"
    assert inspect(new, bench.settings) == ("done", "")
    moved = bench.settings.runs / "stale" / old.id
    assert json.loads((moved / "cell.json").read_text())["fingerprint"] == old.fingerprint
    assert (moved / "result.json").is_file()
    assert bench.calls == ["1 new", "1 new"]
    assert len(list(bench.settings.results.rglob("result.json"))) == 1
    bench.run([old], rerun_stale=True)  # a second one finds its place beside the first
    assert {path.name for path in moved.parent.iterdir()} == {"fold-1", "fold-1-2"}


def test_a_setting_that_came_after_a_row_sets_it_apart_only_where_it_is_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ser_zoo.settings.ADDED", {"model.gain": 0.0})
    bench.run([bench.cell(1)])
    assert inspect(bench.cell(1, **{"model.gain": 0.0}), bench.settings) == ("done", "")
    assert inspect(bench.cell(1, **{"model.gain": 0.5}), bench.settings) == ("stale", "model.gain was 0.0, is 0.5")
    assert inspect(bench.cell(1, **{"model.loss": 0.0}), bench.settings) == ("stale", "model.loss was None, is 0.0")


def test_of_many_differences_three_are_told_and_the_others_counted() -> None:
    before, now = ({"config": {f"model.{name}": value for name in "edcba"}} for value in (0, 1))
    told = "; ".join(f"model.{name} was 0, is 1" for name in "abc")
    assert execute.difference(before, now) == f"{told}; and 2 more"


def test_a_row_without_its_fingerprint_is_stale(bench: Bench) -> None:
    bench.run([bench.cell(1)])
    (bench.result(1) / "cell.json").unlink()
    assert inspect(bench.cell(1), bench.settings) == ("stale", "its row has no cell.json, so nobody knows what it was made of")


def test_a_row_of_another_cell_is_stale(bench: Bench) -> None:
    bench.run([bench.cell(1)])
    file = bench.result(1) / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model": "probe", "seed": 5, "fold": 2}))
    assert inspect(bench.cell(1), bench.settings) == ("stale", "its result.json is of model probe, fold 2, seed 5")


def test_a_run_that_was_begun_under_another_fingerprint_is_not_gone_on_with(bench: Bench) -> None:
    order = bench.tell("fail-1")
    bench.run([bench.cell(1, monitor="last")])
    order.unlink()
    assert bench.run([bench.cell(1, monitor="val/ua")])[bench.cell(1).id].result == "done"
    assert bench.calls == ["1 new", "1 new"]
    assert (bench.settings.runs / GROUP / "fold-1.before").is_dir()


def test_a_run_that_is_older_than_a_setting_is_gone_on_with(bench: Bench) -> None:
    order = bench.tell("fail-1")
    bench.run([bench.cell(1)])
    order.unlink()
    now = bench.cell(1, **{"refit": False})  # as it was before there was such a setting
    assert now.fingerprint != bench.cell(1).fingerprint
    assert inspect(now, bench.settings) == ("resume", "")
    assert bench.run([now])[now.id].result == "done"
    assert bench.calls == ["1 new", "1 last"]


def test_a_finished_run_whose_row_was_not_kept_is_not_repeated(bench: Bench) -> None:
    bench.run([bench.cell(1)])
    for path in bench.result(1).iterdir():
        path.unlink()
    bench.result(1).rename(bench.result(1).with_name(".fold-1.new"))  # as a command leaves it that is killed while it copies
    assert bench.run([bench.cell(1)])[bench.cell(1).id].result == "done"
    assert bench.calls == ["1 new"]
    assert (bench.result(1) / "result.json").is_file()


def test_a_row_of_something_else_is_refused(bench: Bench) -> None:
    cell = bench.cell(1)
    other = replace(cell, parts={**cell.parts, "protocol": {"name": "loso10", "hash": "def"}})
    outcome = bench.run([other])[cell.id]
    assert outcome.result == "failed"
    assert "is of protocol hash, fold and seed ('abc', 1, 1); expected ('def', 1, 1)" in outcome.detail
    assert not bench.result(1).exists()


def test_a_full_disk_is_the_failure_of_a_cell(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execute, "_keep", full)
    assert "No space left" in bench.run([bench.cell(1)])[bench.cell(1).id].detail
    assert not bench.lock(1).exists()


def test_two_commands_at_once_run_each_cell_once(bench: Bench) -> None:
    cells = [bench.cell(fold) for fold in range(1, 9)]
    found: list[dict[str, Outcome]] = []
    threads = [
        threading.Thread(target=lambda order=order: found.append(bench.run(order))) for order in (cells, list(reversed(cells)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    results = sorted(outcome.result for outcomes in found for outcome in outcomes.values())
    assert results.count("done") == 8
    assert set(results) <= {"done", "was done", "held"}
    assert sorted(bench.calls) == [f"{fold} new" for fold in range(1, 9)]


def test_a_cell_that_is_held_tells_by_whom(bench: Bench, sleeper: subprocess.Popen[bytes]) -> None:
    holder = Holder(lock.socket.gethostname(), Process.of(sleeper.pid), "another")
    write_lock(bench.lock(1), holder)
    outcome = bench.run([bench.cell(1)])[bench.cell(1).id]
    assert (outcome.result, bench.calls) == ("held", [])
    assert f"process {sleeper.pid} on " in outcome.detail


def test_a_training_that_outlives_its_command_is_waited_for(bench: Bench) -> None:
    order = bench.tell("hold-1")
    command = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from tests.leaderboard.test_execute import *;"
        "bench = Bench.__new__(Bench); bench.control = Path(sys.argv[2]) / 'control';"
        "bench.settings = Settings(Path(sys.argv[2]) / 'results', Path(sys.argv[2]) / 'runs',"
        "command=(sys.executable, str(Path(sys.argv[2]) / 'fit.py')));"
        "run_cell(bench.cell(1), bench.settings)"
    )
    root = Path(__file__).resolve().parents[2]
    first = subprocess.Popen([sys.executable, "-c", command, str(root), str(bench.control.parent)])
    training = bench.training(1)
    first.kill()
    first.wait()
    assert training.alive
    outcomes: dict[str, Outcome] = {}
    second = threading.Thread(target=lambda: outcomes.update(bench.run([bench.cell(1)])))
    second.start()
    until(lambda: (holder := lock.read(bench.lock(1))) is not None and holder.process.pid == os.getpid())
    order.unlink()
    second.join(60)
    assert outcomes[bench.cell(1).id].result == "done"
    assert bench.calls == ["1 new"]  # its row was taken, and nothing trained again


# Locks.


def write_lock(path: Path, holder: Holder) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(holder)))


HERE = lock.socket.gethostname()


def test_a_lock_is_given_once_and_again_when_released(tmp_path: Path) -> None:
    first = take(tmp_path / "a.lock", "one")
    assert isinstance(first, Lock)
    assert take(tmp_path / "a.lock", "two") == first.holder
    first.release()
    assert isinstance(take(tmp_path / "a.lock", "two"), Lock)


def test_of_many_threads_one_takes_an_abandoned_lock(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for number in range(20):
        path = tmp_path / f"{number}.lock"
        write_lock(path, Holder(HERE, Process(dead.pid, 1), "old"))
        start, taken = threading.Barrier(8), []

        def one(path: Path = path, start: threading.Barrier = start, taken: list[object] = taken) -> None:
            start.wait()
            taken.append(take(path, "new"))

        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(item, Lock) for item in taken) == 1


def test_a_number_that_was_given_anew_does_not_hold(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    now = Process.of(sleeper.pid)
    assert now.started is not None
    write_lock(tmp_path / "a.lock", Holder(HERE, now, "old"))
    assert isinstance(take(tmp_path / "a.lock", "new"), Holder)
    write_lock(tmp_path / "a.lock", Holder(HERE, replace(now, started=now.started - 1), "old"))
    assert isinstance(take(tmp_path / "a.lock", "new"), Lock)


def test_a_process_that_nobody_waits_for_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.of(sleeper.pid)
    assert process.alive
    sleeper.kill()  # and not waited for, it keeps its number
    until(lambda: not process.alive)


@pytest.mark.parametrize(
    ("age", "run", "given"), [(0, "new", False), (600, "new", False), (2000, "new", True), (0, "old", True)]
)
def test_on_another_host_a_holder_is_dead_when_it_is_silent_or_its_own_command_says_so(
    tmp_path: Path, age: float, run: str, given: bool
) -> None:
    path = tmp_path / "a.lock"
    write_lock(path, Holder("elsewhere", Process(1, None), "old", Process(2, None)))
    os.utime(path, (time.time() - age,) * 2)
    found = take(path, run)
    assert isinstance(found, Lock) == given
    if isinstance(found, Lock):
        assert found.holder.training is None


def test_a_damaged_lock_is_held_until_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("{")
    assert isinstance(take(path, "new"), Holder)
    os.utime(path, (1, 1))
    assert isinstance(take(path, "new"), Lock)


def test_a_holder_touches_its_lock_and_does_not_remove_that_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.lock"
    mine = take(path, "mine")
    assert isinstance(mine, Lock)
    os.utime(path, (1, 1))
    mine.touch()
    assert path.stat().st_mtime == 1  # not that often
    monkeypatch.setattr(lock, "BEAT", -1.0)
    mine.touch()
    assert path.stat().st_mtime > 1
    write_lock(path, replace(mine.holder, run="theirs"))
    mine.release()
    assert path.exists()


# What is kept, and what is made of it.


def test_learning_curves_of_a_resumed_run_are_joined_by_epoch(tmp_path: Path) -> None:
    for version, text in (
        ("0", "epoch,loss\n0,3\n1,2\n2,1.9\n"),
        ("2", "epoch,ua,loss\n2,,1.5\n2,0.5,\n"),
        ("10", "loss,epoch\n1,3\n"),
    ):
        (tmp_path / "curves" / f"version_{version}").mkdir(parents=True)
        (tmp_path / "curves" / f"version_{version}" / "metrics.csv").write_text(text)
    rows = list(csv.DictReader(io.StringIO(execute._curves(tmp_path))))
    assert [(row["epoch"], row["loss"], row["ua"]) for row in rows] == [
        ("0", "3", ""),
        ("1", "2", ""),
        ("2", "1.5", ""),
        ("2", "", "0.5"),
        ("3", "1", ""),
    ]


@pytest.mark.parametrize("cut", ["2", "2,1.", "2,1.5,0"])
def test_a_line_of_learning_curves_that_a_full_disk_has_cut_is_left_out(tmp_path: Path, cut: str) -> None:
    (tmp_path / "curves" / "version_0").mkdir(parents=True)
    (tmp_path / "curves" / "version_0" / "metrics.csv").write_text(f"epoch,loss,ua\n0,3,\n1,2,\n{cut}")
    assert execute._curves(tmp_path) == "epoch,loss,ua\n0,3,\n1,2,\n"


def test_durations_come_from_cells_else_from_rows(bench: Bench) -> None:
    bench.run([bench.cell(1), bench.cell(2)])
    (bench.result(1) / "cell.json").unlink()
    content = json.loads((bench.result(2) / "cell.json").read_text())
    (bench.result(2) / "cell.json").write_text(json.dumps({**content, "seconds": 7.0}))
    assert estimates([bench.settings.results, bench.control]) == {("egemaps", "emo_db"): [1.5, 7.0]}
    (bench.result(1) / "result.json").write_text("{}")
    with pytest.raises(RunError, match=r"fold-1/result\.json is no result row: .* remove .*fold-1, and"):
        estimates([bench.settings.results])


# Ray.


def test_ray_does_the_cell_of_a_killed_worker_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from ser_zoo.leaderboard.ray_executor import run_ray

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    order = bench.tell("hold-2")
    cells = [bench.cell(fold) for fold in (1, 2, 3)]
    outcomes = run_ray(cells, bench.settings, jobs=2, address=None, cpus=1, gpus=0)
    found: dict[str, Outcome] = {}
    killed = False
    for outcome in outcomes:
        if outcome is not None:
            found[outcome.cell] = outcome
        if not killed and "2 new" in bench.calls:
            training, holder = bench.training(2), lock.read(bench.lock(2))
            assert holder is not None
            assert holder.process.pid != os.getpid()
            os.kill(holder.process.pid, signal.SIGKILL)
            os.kill(training.pid, signal.SIGKILL)
            killed = True
            order.unlink()
    assert killed
    assert {cell: outcome.result for cell, outcome in found.items()} == {cell.id: "done" for cell in cells}
    assert sorted(bench.calls) == ["1 new", "2 last", "2 new", "3 new"]
    assert {path.parent.name for path in bench.settings.results.rglob("result.json")} == {"fold-1", "fold-2", "fold-3"}


def test_ray_ends_a_task_of_a_command_in_the_background(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from ser_zoo.leaderboard.ray_executor import run_ray

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    order = bench.tell("hold-1")
    unheard = threading.Timer(20, order.unlink)  # so that it goes on to its end
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what is followed by &
    try:
        outcomes = run_ray([bench.cell(1)], bench.settings, 1, None, 1, 0)
        while "1 new" not in bench.calls:
            next(outcomes)
        training = bench.training(1)
        unheard.start()
        outcomes.close()
    finally:
        signal.signal(signal.SIGINT, before)
        unheard.cancel()
    assert order.exists()
    assert not training.alive
    assert not bench.result(1).exists()
    assert not bench.lock(1).exists()


def test_a_missing_ray_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from ser_zoo.leaderboard import ray_executor

    monkeypatch.setattr(ray_executor, "find_spec", lambda _: None)
    with pytest.raises(SERZooError, match=r"pip install 'ser-zoo\[ray\]'"):
        next(ray_executor.run_ray([bench.cell(1)], bench.settings, 1, None, 1, 0))


def test_a_cluster_that_is_not_there_is_named(bench: Bench) -> None:
    pytest.importorskip("ray")
    from ser_zoo.leaderboard.ray_executor import run_ray

    with pytest.raises(SERZooError, match=r"cannot be joined at --address localhost:1: .*refused.* HOST:PORT"):
        next(run_ray([bench.cell(1)], bench.settings, 1, "localhost:1", 1, 0))


def test_a_cell_is_not_begun_once_the_command_is_stopped(bench: Bench) -> None:
    assert run_cell(bench.cell(1), bench.settings, lambda: True).result == "interrupted"
    assert bench.calls == []
