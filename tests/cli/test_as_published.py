"""Runs of the world of what was published, from the command line to the stored row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ser_zoo.cli import main
from ser_zoo.cli.fit import build_parser
from ser_zoo.evaluation import read_result
from tests.cli.commands import fit_command

ROOT = Path(__file__).resolve().parents[2]
LEAKS = "declared leaks: speaker, recording, validation is test"


@pytest.fixture(scope="module")
def run(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over augmented rows, with the newest epoch tested."""
    folder = tmp_path_factory.mktemp("run") / "r"
    assert main(fit_command(small_emo_db, folder, "--data.protocol=as_cnn_attn", "--monitor=last", epochs=3)) == 0
    return folder / "fold-1"


def test_the_newest_epoch_is_tested_and_no_other_is_kept(run: Path) -> None:
    row = read_result(run / "result.json")
    assert row["selection"] == {"monitor": "last", "value": None, "epoch": 2, "epochs": 3}
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]


def test_the_row_says_what_leaks(run: Path) -> None:
    row = read_result(run / "result.json")
    assert row["protocol"]["world"] == "as_published"
    assert row["protocol"]["declared_leaks"] == ["speaker", "recording", "validation is test"]
    assert row["protocol"]["test_rows_with_utterance_in_training"] > 0.9
    assert (row["data"]["train"], row["data"]["validation"], row["data"]["test"]) == (192, 48, 48)
    assert sum(map(sum, row["metrics"]["confusion"])) == 48
    ids = [line.split(",")[0] for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    assert len(set(ids)) == 48
    assert any(key.endswith("+pitch+noise") for key in ids)


def test_leaks_are_printed_with_the_numbers(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, output = str(run / "checkpoints" / "last.ckpt"), tmp_path / "t.json"
    assert main(["test", "--ckpt_path", checkpoint, "--accelerator", "cpu", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    row = read_result(run / "result.json")
    assert f"as_cnn_attn (AS PUBLISHED; {LEAKS};" in printed
    assert "% of the test rows have their utterance in training)" in printed
    assert json.loads(output.read_text())["metrics"] == row["metrics"]
    assert json.loads(output.read_text())["protocol"] == row["protocol"]


def test_leaks_are_printed_over_folds_too(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = fit_command(small_emo_db, tmp_path / "r", "--data.protocol=as_co_attn", "--folds=1,2", epochs=1)
    assert main(command) == 0
    printed = capsys.readouterr().out
    # Each of the two folds, and both together.
    assert printed.count("as_co_attn (AS PUBLISHED; declared leaks: validation is test; 0.0% of the test rows") == 3
    pooled = json.loads((tmp_path / "r" / "pooled.json").read_text())
    assert pooled["protocol"]["declared_leaks"] == ["validation is test"]
    assert pooled["protocol"]["test_rows_with_utterance_in_training"] == 0


def test_a_run_that_stopped_before_its_test_goes_on_with_the_newest_epoch(run: Path, small_emo_db: Path) -> None:
    row, predictions = (run / "result.json").read_text(), (run / "predictions.csv").read_text()
    (run / "result.json").unlink()
    again = ["--data.protocol=as_cnn_attn", "--monitor=last", "--ckpt_path=last"]
    assert main(fit_command(small_emo_db, run.parent, *again, epochs=3)) == 0
    assert (run / "predictions.csv").read_text() == predictions
    assert read_result(run / "result.json")["selection"] == json.loads(row)["selection"]


def test_patience_needs_a_metric(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", "--monitor=last", "--patience=3")) == 1
    assert "--patience 3 waits for a metric to improve, but --monitor last names none" in capsys.readouterr().err


def test_the_protocols_of_a_corpus_are_listed_with_their_leaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpora", "emo_db", "--format", "json"]) == 0
    listed = {row["protocol"]: row for row in json.loads(capsys.readouterr().out)[0]["protocols"]}
    assert listed["loso10"]["declared_leaks"] == []
    assert listed["as_cross_attn"]["declared_leaks"] == ["speaker"]
    assert listed["as_cross_attn"]["world"] == "as_published"


def test_the_benchmark_has_the_released_network_and_tests_the_last_epoch() -> None:
    options = build_parser("cnn_attn").parse_args(["--config", str(ROOT / "benchmarks" / "as_published.yaml")])
    assert (options.model.layout, options.model.zero_crossings, options.model.attention) == ("flat", True, "both")
    assert (options.data.sample_rate, options.data.batch_size, options.monitor) == (22_050, 16, "last")
