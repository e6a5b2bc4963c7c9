from __future__ import annotations

import inspect
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from ser_zoo import __version__
from ser_zoo.cli import corpora, main, models, tables
from ser_zoo.corpora import CORPORA
from ser_zoo.errors import InterruptedRunError, SERZooError, SERZooWarning
from ser_zoo.models import list_models, model_class
from tests.cli.commands import cells
from tests.releases import write_emo_db


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_verb(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    printed = [line.split(maxsplit=1)[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    verbs = "fit search test robustness predict profile models corpora prepare audit leaderboard"
    assert printed[: len(verbs.split())] == verbs.split()


def test_the_package_runs_as_the_command_does() -> None:
    command = [sys.executable, "-m", "ser_zoo", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"ser-zoo {__version__}\n"


@pytest.mark.parametrize("arguments", ["--help", "corpora --help", "corpora", "corpora --format=json"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_closed_our_output_is_told_nothing(arguments: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ser_zoo", *arguments.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    try:
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    finally:
        os.close(writer)
    assert ended.stderr == ""
    # Not 0: a training may not have come to its end. argparse makes nothing of a help that it cannot write.
    assert ended.returncode == (0 if (arguments, unbuffered) == ("corpora --help", "1") else 141)


@pytest.mark.parametrize("arguments", ["--help", "models", "models cnn_attn", "corpora --format=json"])
def test_output_that_is_closed_is_not_written(arguments: str) -> None:
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'ser_zoo', *sys.argv[1:]])"
    ended = subprocess.run([sys.executable, "-c", code, *arguments.split()], stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_mistake_that_nobody_reads_of_keeps_its_status() -> None:
    code = "import os, sys; os.close(2); os.execv(sys.executable, [sys.executable, '-m', 'ser_zoo', *sys.argv[1:]])"
    ended = subprocess.run([sys.executable, "-c", code, "models", "nothing"], stdout=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", ["--help", "models --help", "corpora --format=json"])
def test_output_that_goes_to_a_full_disk_is_told_of_in_one_line(arguments: str) -> None:
    command = [sys.executable, "-m", "ser_zoo", *arguments.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert ended.stderr.startswith("ser-zoo: error: Cannot write: No space left on device. Expected room")
    assert (ended.stderr.count("\n"), ended.returncode) == (1, 1)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (SERZooError("No such thing."), 1, "error: No such thing."),
        (KeyboardInterrupt(), 130, "interrupted"),
        (InterruptedRunError("Interrupted. Repeat the command."), 130, "error: Interrupted. Repeat the command."),
        (MemoryError(), 1, "error: Not enough memory here (of Python). Expected room for the network and a batch"),
        (RuntimeError("CUDA out of memory. Tried"), 1, "error: Not enough memory here (CUDA out of memory. Tried). Expected"),
        (
            RuntimeError("Could not determine home directory."),
            1,
            "error: A path begins with ~ and a name that no user has",
        ),
        (OSError(28, "No space left on device"), 1, "error: Cannot write: No space left on device. Expected room"),
        (PermissionError(13, "Permission denied", "/a/b"), 1, "error: Cannot use /a/b: Permission denied. Expected a place"),
    ],
)
def test_what_ends_a_verb_is_told_on_stderr_with_its_exit_status(
    error: BaseException, status: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(_: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(models, "run", end)
    assert main(["models"]) == status
    printed = capsys.readouterr()
    assert printed.err.startswith(f"ser-zoo: {told}")
    assert not printed.out


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), RuntimeError("size mismatch")])
def test_an_error_that_is_no_mistake_of_the_user_is_not_explained(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(models, "run", end)
    with pytest.raises(type(error), match=r"Cannot allocate memory|size mismatch"):
        main(["models"])


def test_each_warning_is_told_once_in_a_command_and_those_of_others_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[str] = []

    def warn(_: Sequence[str]) -> int:
        for told in ("Something is missing.", "Something else is.", "Something is missing."):
            warnings.warn(told, SERZooWarning, stacklevel=1)
        warnings.warn("Something is old.", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(models, "run", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_: others.append(str(message)))
        for _ in range(2):
            assert main(["models"]) == 0
            expected = "ser-zoo: warning: Something is missing.\nser-zoo: warning: Something else is.\n"
            assert capsys.readouterr().err == expected
    assert others == ["Something is old."] * 2


def test_no_verb_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().out


def test_unknown_verb_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model"]) == 2
    assert "Did you mean models" in capsys.readouterr().err


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list_models()
    assert all(row["parameters"] > 0 and row["source"] for row in rows)


@pytest.mark.parametrize("name", list_models())
def test_arguments_of_a_model_are_those_of_its_class_that_can_be_set(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", name, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    cls = model_class(name)
    known = {key: of for key, of in inspect.signature(cls).parameters.items() if key != "labels"}
    names = {**vars(sys.modules[cls.__module__]), "Literal": Literal}
    types = {row["argument"]: eval(row["type"], names) for row in rows}
    assert types == {key: eval(of.annotation, names) for key, of in known.items()}
    defaults = [eval(row["default"], names) for row in rows]
    assert defaults == [of.default for of in known.values()]
    assert all(row["meaning"].endswith(".") for row in rows)  # whole, and no heading of what follows


def test_a_model_is_described_by_its_card_and_a_table_of_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "mfcc_stats"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mfcc_stats: ")
    assert [row[:3] for row in cells(printed)][:2] == [
        ["head", "Literal['svm', 'logistic']", "'svm'"],
        ["sample_rate", "int", "16000"],
    ]


def test_choices_are_written_out_wherever_they_have_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "probe", "--format", "json"]) == 0
    types = {row["argument"]: row["type"] for row in json.loads(capsys.readouterr().out)}
    assert types["state_scaling"] == "Literal['none', 'training', 'frame', 'squash']"
    assert types["layers"] == "Sequence[int] | None"


def test_corpora_as_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpora", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == sorted(CORPORA)
    assert all(row["licence"] and row["url"] for row in rows)
    assert [row["name"] for row in rows if row["synthetic"]] == ["demo"]
    assert [row["name"] for row in rows if row["classes"] is None] == ["audformat", "csv"]
    assert main(["corpora"]) == 0
    assert "CC0-1.0" in capsys.readouterr().out


def test_the_list_of_corpora_fits_a_usual_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tables, "WIDE", 80)
    assert main(["corpora"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert [row[0] for row in cells(printed) if row[0]] == sorted(CORPORA)  # no name is broken
    assert len(cells(printed)) < 2 * len(CORPORA)


@pytest.mark.parametrize(
    "call",
    [
        ["audit", "--data=emo_db"],
        ["predict", "--ckpt_path=x", "y"],
        ["profile", "--model=probe"],
        ["robustness", "--ckpt_path=x"],
        ["test", "--ckpt_path=x"],
    ],
)
def test_a_folder_is_refused_as_output_before_the_work(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*call, f"--output={tmp_path}"])
    assert ended.value.code == 2
    assert f"argument --output: {tmp_path} is a folder; expected the name of a file" in capsys.readouterr().err


def test_a_corpus_is_found_where_it_is(small_emo_db, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpora", "emo_db", "--root", str(small_emo_db), "--format", "json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert row["found"] is True
    assert [protocol["protocol"] for protocol in row["protocols"]] == [
        "loso10",
        "pairs5",
        "text_independent",
        "emobox",
        "as_cnn_attn",
        "as_cross_attn",
        "as_co_attn",
        "random5",
    ]


@pytest.mark.parametrize("option", ["--root", "--plot"])
def test_what_is_said_of_one_corpus_needs_its_name(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["corpora", option, "x.png"])
    assert ended.value.code == 2
    assert "--root and --plot go with the name of one corpus" in capsys.readouterr().err


def test_hours_of_a_corpus_are_shown_with_two_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpora", "iemocap"]) == 0
    assert ["hours", "12.00"] in cells(capsys.readouterr().out)


def test_utterances_are_counted_by_speaker_and_class_and_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["corpora", "emo_db", "--root", str(write_emo_db(tmp_path / "emo_db", ["03", "08"], "WF", 2))]
    assert main(command) == 0
    printed = capsys.readouterr().out
    speakers, total = [["03", "2", "2", "4"], ["08", "2", "2", "4"]], ["all 2", "4", "4", "8"]
    assert cells(printed)[-3:] == [*speakers, total]
    assert printed.endswith("Call ser-zoo prepare emo_db for its hours and sample rates.\n")
    monkeypatch.setattr(corpora, "MOST_SPEAKERS", 1)
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert cells(printed)[-1] == total
    assert not any(speaker in cells(printed) for speaker in speakers)
    assert "--format json lists the speakers." in printed


def test_a_table_has_numbers_to_the_right_and_signs_for_what_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    first = {"name": "a", "of_all": 1234567, "found": True, "share": 0.5, "url": None, "kinds": ["x", "y"]}
    tables.table([first, {"name": "x" * 300, "of_all": 1, "found": False, "share": 12.25, "url": "z", "kinds": []}], "Title")
    title, _, heads, _, *rows, _ = capsys.readouterr().out.splitlines()
    assert title == "Title"
    assert [head.strip() for head in heads.split("┃")[1:-1]] == ["name", "of all", "found", "share", "url", "kinds"]
    assert [row.split("│")[2:-1] for row in rows] == [
        [" 1,234,567 ", " yes   ", "  0.5000 ", " -   ", " x, y  "],
        ["         1 ", " no    ", " 12.2500 ", " z   ", "       "],
    ]
    assert "x" * 300 in rows[1]  # a pipe is as wide as it needs to be


def test_json_has_words_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show([{"title": "Ægir"}], "json")
    assert "Ægir" in capsys.readouterr().out


def test_notices_are_printed_once_and_those_of_lightning_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    for _ in range(2):
        tables.quiet_lightning()
    logging.getLogger("ser_zoo.data").info("a notice")
    assert capsys.readouterr().err == "a notice\n"
    assert not logging.getLogger("lightning.pytorch.utilities").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("verb", ["models", "corpora"])
def test_an_unknown_name_is_explained(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "nothing"]) == 1
    assert "Unknown" in capsys.readouterr().err


def test_a_table_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    tables.table([{"of[b]": "take[b].wav"}, {"of[b]": "[/b].wav"}, {"of[b]": ":smile:"}, {"of[b]": "a_b"}], "x[red]")
    tables.table([{"model.optim.weight_decay": 0.1, "test_rows": 1}])
    shown = capsys.readouterr().out
    assert shown.startswith("x[red]\n")
    for name in ("of[b]", "take[b].wav", "[/b].wav", ":smile:", "a_b", "model.optim.weight_decay", "test rows"):
        assert f" {name} " in shown
