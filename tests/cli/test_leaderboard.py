from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from rich.console import Console

from ser_zoo.cli import main
from ser_zoo.cli.leaderboard import resolve
from ser_zoo.data import SERDataModule
from ser_zoo.evaluation import read_result
from ser_zoo.leaderboard import execute
from ser_zoo.leaderboard.board import Board, remaining, words
from ser_zoo.leaderboard.execute import Outcome, Settings
from ser_zoo.leaderboard.grid import Cell
from ser_zoo.leaderboard.results import read_entries

RECIPE = {
    "model": {"name": "cnn_attn", "channels": 16, "dense": 8, "optim": {"lr": 0.01}},
    "data": {"corpus": "emo_db", "augment_rows": []},
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_model_summary": False},
}
GROUP = "emo_db/pairs5/cnn_attn/none/seed-2"
ENDS = (signal.SIGTERM, signal.SIGHUP)  # of a scheduler whose time is up, and of a terminal that is closed


@pytest.fixture
def grid(tmp_path: Path, small_emo_db: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folds of a small model, to be run in a folder of their own."""
    (tmp_path / "recipes" / "emo_db").mkdir(parents=True)
    (tmp_path / "recipes" / "emo_db" / "cnn_attn.yaml").write_text(yaml.safe_dump(RECIPE))
    run = {"models": ["cnn_attn"], "corpora": ["emo_db"], "protocols": ["pairs5"], "folds": [1, 2], "seeds": [2]}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"runs": [run]}))
    (tmp_path / "emo_db").symlink_to(small_emo_db)
    monkeypatch.setenv("SER_ZOO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "grid.yaml"


def lengthen(folder: Path, epochs: int) -> None:
    recipe = {**RECIPE, "trainer": {**RECIPE["trainer"], "max_epochs": epochs}}
    (folder / "recipes" / "emo_db" / "cnn_attn.yaml").write_text(yaml.safe_dump(recipe))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.filterwarnings("ignore:.*is not complete")
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_command_that_is_ended_ends_what_it_runs_and_says_how_to_go_on(
    executor: str, grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if executor == "ray":  # which has an answer of its own to the signal
        pytest.importorskip("ray")
    folder = grid.parent
    before = files(folder)
    assert main(["leaderboard", "run", "grid.yaml", "--dry-run"]) == 0
    assert "2 run. To be run: 2 cells, of unknown duration." in capsys.readouterr().out
    assert files(folder) == before

    lengthen(folder, 400)
    command = [sys.executable, "-c", "import sys; from ser_zoo.cli import main; sys.exit(main())", "leaderboard", "run"]
    more = ["grid.yaml", "--only=fold-2", f"--executor={executor}"]
    process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)
    last = folder / "runs" / "leaderboard" / GROUP / "fold-2" / "checkpoints" / "last.ckpt"
    end = time.monotonic() + 200
    while not last.exists():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 left. Interrupted; what ran has been stopped. Repeat the command to go on." in printed
    assert not list((folder / "grid").rglob("*.json"))
    assert not list((folder / "grid").rglob(".*.lock"))

    assert main(["leaderboard", "run", "grid.yaml", "--dry-run"]) == 0
    assert "1 run, 1 resume. To be run: 2 cells" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_rows_of_a_grid_are_those_of_fit_and_are_read_as_one_entry(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = grid.parent
    content = yaml.safe_load(grid.read_text())
    grid.write_text(yaml.safe_dump({**content, "measure": ["profile"]}))
    assert main(["leaderboard", "run", "grid.yaml", "--threads=1", "--shard=1/2"]) == 0
    assert "1 done.\n1 cells are to be measured\n" in capsys.readouterr().out
    assert json.loads((folder / "grid" / GROUP / "fold-1" / "profile.json").read_text())["model"] == "cnn_attn"
    assert main(["leaderboard", "run", "grid.yaml", "--threads=1"]) == 0
    printed = capsys.readouterr().out
    assert f"[2/2] done: {GROUP}/fold-2 in " in printed
    assert printed.endswith("1 done.\n")
    (entry,) = read_entries(folder / "grid")
    assert (entry.folds, entry.seed, entry.protocol["name"]) == ([1, 2], 2, "pairs5")
    assert len(entry.predicted.ids) == sum(row["data"]["test"] for row in entry.rows)
    cell = json.loads((folder / "grid" / GROUP / "fold-1" / "cell.json").read_text())
    row = read_result(folder / "grid" / GROUP / "fold-1" / "result.json")
    assert (
        cell["parts"]["protocol"]["hash"] == row["protocol"]["hash"] == SERDataModule("emo_db", protocol="pairs5").protocol.hash
    )
    assert str(folder) not in json.dumps(cell)
    assert (folder / "grid" / GROUP / "fold-2" / "metrics.csv").read_text().count("\n") > 1
    assert main(["leaderboard", "run", "grid.yaml", "--dry-run"]) == 0
    assert "2 done. To be run: 0 cells" in capsys.readouterr().out

    lengthen(folder, 2)
    assert main(["leaderboard", "run", "grid.yaml"]) == 0
    printed = capsys.readouterr().out
    assert f"stale: {GROUP}/fold-1 (trainer.max_epochs was 1, is 2); --rerun stale runs it again" in printed


class Executed(NamedTuple):
    """What the executor was given, and whether the signals of a scheduler would have ended it well."""

    cells: list[str]
    settings: Settings
    jobs: int
    interruptible: bool


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Executed]:
    """Calls of an executor that runs nothing; of a second one, which would measure, every cell fails."""
    seen: list[Executed] = []

    def run_local(cells: Sequence[Cell], settings: Settings, jobs: int) -> Iterator[Outcome | None]:
        ready = all(callable(signal.getsignal(number)) for number in ENDS)
        seen.append(Executed([cell.id for cell in cells], settings, jobs, ready))
        yield from (Outcome(cell.id, "failed", "exit status 1; log x") for cell in cells if len(seen) > 1)

    monkeypatch.setattr(execute, "run_local", run_local)
    return seen


def keep_stale(folder: Path) -> None:
    """A row of the first fold, of which nothing says what it was made of."""
    row = folder / "grid" / GROUP / "fold-1" / "result.json"
    row.parent.mkdir(parents=True)
    row.write_text(json.dumps({"model": "cnn_attn", "corpus": "emo_db", "durations": {"fit": 1, "test": 1}}))


@pytest.mark.filterwarnings("ignore:.*is not complete")
@pytest.mark.parametrize(("arguments", "folds"), [([], [2]), (["--rerun=stale"], [1, 2])])
def test_a_stale_row_is_made_again_where_that_is_asked_for(
    arguments: list[str], folds: list[int], grid: Path, executed: list[Executed]
) -> None:
    keep_stale(grid.parent)
    assert main(["leaderboard", "run", "grid.yaml", *arguments]) == 0
    assert executed[0].cells == [f"{GROUP}/fold-{fold}" for fold in folds]
    assert executed[0].settings.rerun_stale == bool(arguments)


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_signals_are_answered_as_before_once_a_grid_has_been_run(grid: Path, executed: list[Executed]) -> None:
    before = [signal.getsignal(number) for number in ENDS]
    assert main(["leaderboard", "run", "grid.yaml"]) == 0
    assert executed[0].interruptible
    assert [signal.getsignal(number) for number in ENDS] == before


@pytest.mark.filterwarnings("ignore:.*is not complete")
@pytest.mark.parametrize(
    ("arguments", "jobs", "threads"),
    [([], 1, 8), (["--jobs=3"], 3, 2), (["--jobs=9"], 9, 1), (["--jobs=3", "--threads=5"], 3, 5)],
)
def test_cells_at_once_share_the_processors(
    arguments: list[str],
    jobs: int,
    threads: int,
    grid: Path,
    executed: list[Executed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert main(["leaderboard", "run", "grid.yaml", *arguments]) == 0
    assert (executed[0].jobs, executed[0].settings.threads) == (jobs, threads)


@pytest.mark.filterwarnings("ignore:.*is not complete")
@pytest.mark.parametrize(
    ("arguments", "results", "runs"),
    [([], "grid", "runs/leaderboard"), (["--results=kept", "--runs=/elsewhere"], "kept", "/elsewhere")],
)
def test_rows_and_runs_go_where_they_should(
    arguments: list[str],
    results: str,
    runs: str,
    grid: Path,
    executed: list[Executed],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["leaderboard", "run", "grid.yaml", *arguments]) == 0
    settings = executed[0].settings
    assert (settings.results, settings.runs) == (grid.parent / results, grid.parent / runs)
    assert f"2 of 2 cells are to be run; rows go to {settings.results}, runs and logs to {settings.runs}" in (
        capsys.readouterr().out
    )


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_a_row_that_cannot_be_measured_is_a_failure(
    grid: Path, executed: list[Executed], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(execute, "inspect", lambda *_: ("measure", "profile missing"))
    assert main(["leaderboard", "run", "grid.yaml", "--only=fold-2"]) == 1
    assert [call.cells for call in executed] == [[], [f"{GROUP}/fold-2"]]
    assert capsys.readouterr().out.endswith(f"1 failed.\nfailed: {GROUP}/fold-2: exit status 1; log x\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--gpus_per_task=1"], "--gpus_per_task is for --executor ray"),
        (["--address=auto"], "--address is for --executor ray"),
        (["--executor=ray", "--address=auto", "--jobs=2"], "--jobs is the size of a cluster started here"),
        (["--jobs=0"], "argument --jobs: invalid"),
        (["--threads=-1"], "argument --threads: invalid"),
        (["--executor=ray", "--cpus_per_task=nan"], "argument --cpus_per_task: invalid"),
        (["--executor=ray", "--cpus_per_task=inf"], "argument --cpus_per_task: invalid"),
    ],
)
def test_wrong_calls_are_refused(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "run", "grid.yaml", *arguments])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\xff", "Cannot read the configuration"), (b"", "is empty"), (b"data: {corpus: emo_db}", "names no model")],
)
def test_a_configuration_of_a_grid_that_cannot_be_used_is_named(
    content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    (tmp_path / "grid.yaml").write_text("runs: [{config: c.yaml}]\nseeds: [1]\n")
    assert main(["leaderboard", "run", str(tmp_path / "grid.yaml"), "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "grid.yaml, run 1: " in error
    assert str(tmp_path / "c.yaml") in error


def test_a_grid_without_a_name_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "run", ""]) == 1
    assert "Cannot read the grid ." in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_the_end_of_the_log_of_a_cell_that_fails_is_printed_once(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {**RECIPE, "model": {**RECIPE["model"], "channels": -1}}
    (grid.parent / "recipes" / "emo_db" / "cnn_attn.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["leaderboard", "run", "grid.yaml", "--threads=1", "--only=fold-1"]) == 1
    printed = capsys.readouterr().out
    log = grid.parent / "runs" / "leaderboard" / GROUP / "fold-1.log"
    (told,) = [line for line in log.read_text().splitlines() if "--model.channels -1 makes no sense" in line]
    assert printed.count(told) == 1
    assert printed.endswith(f"failed: {GROUP}/fold-1: exit status 1; log {log}\n")


def test_a_missing_file_is_an_explained_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "run", "nothing.yaml"]) == 1
    assert "Cannot read the grid nothing.yaml" in capsys.readouterr().err


def test_help_names_the_actions_and_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["leaderboard", "--help"])
    printed = capsys.readouterr().out
    assert all(action in printed for action in ("run", "report", "wandb"))
    code = "import sys; from ser_zoo.cli import main\ntry: main(['leaderboard', 'run', '--help'])\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'lightning', 'numpy') if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


# What is shown.


def cell(model: str, fold: int) -> Cell:
    return Cell(f"emo_db/{model}", fold, (), {"config": {"model.name": model}, "corpus": {"name": "emo_db"}})


def test_what_is_left_is_estimated_by_architecture_and_corpus() -> None:
    known = {("a", "emo_db"): [10.0, 20.0], ("b", "emo_db"): [60.0]}
    assert remaining([cell("a", 1), cell("b", 1)], known, 1) == 75
    assert remaining([cell("a", 1), cell("a", 2)], known, 2) == 15
    assert remaining([cell("c", 1)], known, 1) == 30  # the mean of all
    assert remaining([cell("a", 1)], {}, 1) is None
    assert [words(seconds) for seconds in (0.4, 99, 101, 3600, 7300)] == ["0 s", "99 s", "2 min", "1 h 0 min", "2 h 2 min"]


def outcomes(*given: Outcome | None):  # type: ignore[no-untyped-def]
    yield from given


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_table_on_a_terminal_and_lines_elsewhere(tmp_path: Path, terminal: bool) -> None:
    cells = [cell("a", 1), cell("a", 2), cell("b", 1), cell("b", 2), cell("b", 3)]
    settings = Settings(tmp_path, tmp_path)
    (tmp_path / "emo_db" / "b").mkdir(parents=True)
    (tmp_path / "emo_db" / "b" / ".fold-2.lock").touch()
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, height=30, _environ={})
    board = Board(cells, cells[1:], settings, {("a", "emo_db"): [60.0]}, 1, console)
    board.follow(
        outcomes(None, Outcome(cells[1].id, "done", seconds=30), Outcome(cells[2].id, "failed", "exit status 1"), None)
    )
    printed = text.getvalue()
    assert "[2/5] done: emo_db/a/fold-2 in 30 s; left about 2 min" in printed
    assert "[3/5] failed: emo_db/b/fold-1 (exit status 1)" in printed
    assert ("elapsed" in printed) == terminal
    assert board.summary() == "1 done, 1 failed; 2 left"
    drawn = Console(file=(plain := io.StringIO()), width=120)
    drawn.print(board.table())
    rows = [[part.strip() for part in line.split("│")[1:-1]] for line in plain.getvalue().splitlines() if line.startswith("│")]
    assert rows == [["all", "2", "1", "1", "1"], ["emo_db/b", "0", "1", "1", "1"]]


def board_of(
    folder: Path, cells: list[Cell], known: Mapping[tuple[str, str], list[float]], jobs: int = 1
) -> tuple[Board, io.StringIO]:
    """A board of cells that are all to be run, and what it prints."""
    console = Console(file=(text := io.StringIO()), width=120)
    return Board(cells, cells, Settings(folder, folder), known, jobs, console), text


def test_a_cell_that_is_interrupted_is_still_left(tmp_path: Path) -> None:
    board, text = board_of(tmp_path, [cell("a", 1)], {})
    board.tell(Outcome(board.cells["emo_db/a/fold-1"].id, "interrupted"))
    assert board.summary() == "nothing was run; 1 left"
    assert not text.getvalue()


def test_what_was_measured_tells_its_time_and_the_last_one_that_nothing_is_left(tmp_path: Path) -> None:
    cells = [cell("a", 1), cell("a", 2)]
    board, text = board_of(tmp_path, cells, {})
    for each in cells:
        board.tell(Outcome(each.id, "measured", seconds=30))
    assert text.getvalue().splitlines() == [
        "[1/2] measured: emo_db/a/fold-1 in 30 s; left about 30 s",
        "[2/2] measured: emo_db/a/fold-2 in 30 s",
    ]


@pytest.mark.parametrize(("jobs", "running", "left"), [(2, 0, "30 s"), (2, 1, "30 s"), (1, 3, "20 s")])
def test_the_time_that_is_left_is_that_of_as_many_at_once_as_run(jobs: int, running: int, left: str, tmp_path: Path) -> None:
    cells = [cell("a", fold) for fold in range(1, 8)]
    (tmp_path / "emo_db" / "a").mkdir(parents=True)
    for fold in range(1, running + 1):
        (tmp_path / "emo_db" / "a" / f".fold-{fold}.lock").touch()
    board, text = board_of(tmp_path, cells, {("a", "emo_db"): [10.0]}, jobs)
    board.tell(Outcome(cells[-1].id, "failed"))
    assert text.getvalue().endswith(f"; left about {left}\n")


def test_what_runs_stands_before_what_waits(tmp_path: Path) -> None:
    (tmp_path / "emo_db" / "b").mkdir(parents=True)
    (tmp_path / "emo_db" / "b" / ".fold-1.lock").touch()
    board, _ = board_of(tmp_path, [cell("a", 1), cell("b", 1)], {})
    assert list(board.table().columns[0].cells) == ["all", "emo_db/b", "emo_db/a"]


def test_words_of_a_log_are_printed_as_they_are(tmp_path: Path) -> None:
    board, text = board_of(tmp_path, [cell("a", 1)], {})
    board.tell(Outcome("emo_db/a/fold-1", "failed", "KeyError: '[/bold]' of [red]"))
    assert "(KeyError: '[/bold]' of [red])" in text.getvalue()


def test_what_runs_is_ended_when_its_outcome_cannot_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, _ = board_of(tmp_path, [cell("a", 1)], {})
    running = outcomes(Outcome("emo_db/a/fold-1", "done"), None)

    def interrupt(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(board, "tell", interrupt)
    with pytest.raises(KeyboardInterrupt):
        board.follow(running)
    assert next(running, "ended") == "ended"


@pytest.mark.parametrize("arguments", [[], ["--data.corpus=demo"]])
def test_a_grid_has_the_same_encoder_by_default_as_fit(arguments: list[str], tmp_path: Path) -> None:
    config = tmp_path / "probe.yaml"
    config.write_text(yaml.safe_dump({"model": {"name": "probe"}, "data": {"corpus": "emo_db" if arguments else "demo"}}))
    assert resolve([f"--config={config}", *arguments])["model"]["encoder"] == "pico"
    config.write_text(yaml.safe_dump({"model": {"name": "probe"}, "data": {"corpus": "emo_db"}}))
    assert resolve([f"--config={config}"])["model"]["encoder"] == "facebook/wav2vec2-base"
