from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ser_zoo.cli import main
from ser_zoo.cli.robustness import show
from ser_zoo.errors import RunError
from ser_zoo.evaluation import read_result
from ser_zoo.evaluation.robustness import PERTURBATIONS, find_origin, pool_robustness, read_robustness
from tests.cli.commands import cells, fit_command
from tests.evaluation.test_robustness import report_of
from tests.releases import write_emo_db


@pytest.fixture(scope="module")
def trained(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "r"
    assert main(fit_command(small_emo_db, folder, "--folds=1,2")) == 0
    return folder


@pytest.fixture
def run_dir(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    shutil.copytree(trained, tmp_path / "r")
    return tmp_path / "r"


def checkpoint(run_dir: Path, fold: int = 1) -> Path:
    return run_dir / f"fold-{fold}" / "checkpoints" / "best.ckpt"


def test_every_perturbation_is_measured_and_kept_beside_the_row(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["robustness", "--ckpt_path", str(checkpoint(run_dir))]) == 0
    printed = capsys.readouterr().out
    report, row = read_robustness(run_dir / "fold-1" / "robustness.json"), read_result(run_dir / "fold-1" / "result.json")
    assert list(report["perturbations"]) == list(PERTURBATIONS)
    for key in ("model", "corpus", "synthetic", "labels", "fold", "seed", "protocol"):
        assert report[key] == row[key]
    assert report["epoch"] == row["selection"]["epoch"]
    assert report["clean"]["confusion"] == row["metrics"]["confusion"]
    assert report["clean"]["ua"] == row["metrics"]["ua"]
    for measured in report["perturbations"].values():
        assert sum(map(sum, measured["confusion"])) == row["data"]["test"] == report["test"]
        assert measured["title"] in printed
    assert "cnn_attn on emo_db, loso10, fold 1, 6 test utterances" in printed


def test_folds_of_a_run_can_be_pooled(run_dir: Path) -> None:
    for fold in (1, 2):
        assert (
            main(
                [
                    "robustness",
                    "--ckpt_path",
                    str(checkpoint(run_dir, fold)),
                    "--perturbations",
                    "white_0",
                    "crop",
                    "--seed",
                    "3",
                ]
            )
            == 0
        )
    pooled = pool_robustness([read_robustness(run_dir / f"fold-{fold}" / "robustness.json") for fold in (1, 2)])
    assert pooled["folds"] == [1, 2]
    assert pooled["test"] == 12
    assert pooled["perturbation_seed"] == 3


def test_a_report_is_never_overwritten(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["robustness", "--ckpt_path", str(checkpoint(run_dir)), "--perturbations", "crop"]
    assert main(command) == 0
    before = (run_dir / "fold-1" / "robustness.json").read_bytes()
    with pytest.raises(RunError, match="exists already"):
        find_origin(checkpoint(run_dir))  # before anything is measured
    assert main(command) == 1
    assert "robustness.json exists already" in capsys.readouterr().err
    assert (run_dir / "fold-1" / "robustness.json").read_bytes() == before
    assert main([*command, "--output", str(run_dir / "again.json")]) == 0
    assert (run_dir / "again.json").read_bytes() == before


def test_the_checkpoint_must_be_the_one_that_the_row_tested(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_dir / "fold-1" / "result.json"
    row = json.loads(path.read_text())
    row["selection"]["epoch"] += 1
    path.write_text(json.dumps(row))
    command = ["robustness", "--ckpt_path", str(checkpoint(run_dir)), "--perturbations", "crop"]
    assert main(command) == 1
    assert f"which has epoch {row['selection']['epoch'] - 1}, not {row['selection']['epoch']}" in capsys.readouterr().err
    assert not (run_dir / "fold-1" / "robustness.json").exists()
    path.unlink()
    assert main(command) == 1
    assert "There is no result row" in capsys.readouterr().err
    assert main([*command, "--output", str(run_dir / "alone.json")]) == 0
    assert read_robustness(run_dir / "alone.json")["seed"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "eca_cnn"}, "model cnn_attn, not eca_cnn"),
        ({"corpus": "ravdess"}, "corpus emo_db, not ravdess"),
        ({"fold": 2}, "fold 1, not 2"),
        ({"protocol": {"hash": "0" * 12}}, "protocol_hash [0-9a-f]{12}, not 0{12}"),
    ],
)
def test_the_row_of_another_fold_model_or_protocol_is_not_that_of_the_checkpoint(
    change: dict[str, Any], said: str, run_dir: Path
) -> None:
    path = run_dir / "fold-1" / "result.json"
    row = json.loads(path.read_text())
    protocol = {**row["protocol"], **change.get("protocol", {})}
    path.write_text(json.dumps({**row, **change, "protocol": protocol}))
    with pytest.raises(RunError, match=rf"was computed from another checkpoint than .*, which has {said}\."):
        find_origin(checkpoint(run_dir))


def test_another_fold_than_that_of_the_training_is_refused(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint(run_dir), weights_only=True)
    content["datamodule_hyper_parameters"]["fold"] = 2
    torch.save(content, checkpoint(run_dir))
    assert main(["robustness", "--ckpt_path", str(checkpoint(run_dir))]) == 1
    assert "fold was 1, is 2" in capsys.readouterr().err
    del content["datamodule_hyper_parameters"]
    torch.save(content, checkpoint(run_dir))
    assert main(["robustness", "--ckpt_path", str(checkpoint(run_dir))]) == 1
    assert "trained on plain data loaders" in capsys.readouterr().err


def test_another_release_is_refused(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_emo_db(tmp_path / "emo_db", emotions="WTNF", takes=1)
    assert main(["robustness", "--ckpt_path", str(checkpoint(run_dir)), "--data.root", str(root)]) == 1
    assert "anger, neutral, sadness apart" in capsys.readouterr().err


def test_mistakes_of_the_call_are_explained(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["robustness", "--ckpt_path", str(checkpoint(run_dir)), "--perturbations", "telefone"]) == 1
    assert "Did you mean telephone" in capsys.readouterr().err
    assert main(["robustness", "--ckpt_path", str(run_dir)]) == 1
    assert f"such as {checkpoint(run_dir)}. Name one of them." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["robustness", "--ckpt_path", str(checkpoint(run_dir)), "--seed", "-1"])
    assert "expected 0 or more" in capsys.readouterr().err


def test_what_no_person_spoke_and_what_leaks_is_called_so(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["robustness", "--ckpt_path", str(checkpoint(run_dir)), "--perturbations", "crop"]) == 0
    report = read_robustness(run_dir / "fold-1" / "robustness.json")
    report["synthetic"], report["protocol"]["world"] = True, "as_published"
    capsys.readouterr()
    show(report)
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed
    assert "AS PUBLISHED" in printed


def test_a_loss_of_ua_is_printed_as_a_negative_change(capsys: pytest.CaptureFixture[str]) -> None:
    show(report_of(1, [[3, 1], [0, 2]], [[1, 3], [1, 1]]))
    assert cells(capsys.readouterr().out) == [
        ["as recorded", "0.8333", "0.8750", "-"],
        ["white noise at 0 dB SNR", "0.3333", "0.3750", "-0.5000"],
    ]
