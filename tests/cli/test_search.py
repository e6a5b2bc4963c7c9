"""Searches from the command line on a fake EMO-DB, and what a sweep's agent would run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ser_zoo.cli import main
from ser_zoo.cli.fit import parse
from ser_zoo.data import SERDataModule
from ser_zoo.evaluation import read_result
from ser_zoo.evaluation.search import as_arguments, first_values, read_sweep
from ser_zoo.models.base import SERModule
from tests.cli.commands import QUICK, SMALL_CNN, fit_command

pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[2]
SWEEP: dict[str, Any] = {
    "method": "bayes",
    "metric": {"name": "val/ua", "goal": "maximize"},
    "command": ["ser-zoo", "fit", "--validate_only", "--wandb", *SMALL_CNN, *QUICK, "--trainer.max_epochs=1", "${args}"],
    "parameters": {
        "model.optim.lr": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0e-1},
        "model.dense": {"values": [4, 8]},
    },
}


def search_command(folder: Path, root: Path, *more: str, **changes: Any) -> list[str]:
    """Arguments of a search on the fake EMO-DB at ``root``, with a study in ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, **changes}))
    data = ["--data=emo_db", f"--data.root={root}"]
    return ["search", str(folder / "sweep.yaml"), *data, f"--study={folder / 's'}", "--trials=2", *more]


@pytest.fixture(scope="module")
def study(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of two trials on fold 2."""
    folder = tmp_path_factory.mktemp("search")
    assert main(search_command(folder, small_emo_db, "--folds=2", "--seed=1")) == 0
    return folder / "s"


def test_no_test_speaker_is_evaluated(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the test side was asked for")

    seen: set[str] = set()
    step = SERModule.validation_step
    monkeypatch.setattr(SERDataModule, "test_dataloader", never)
    monkeypatch.setattr(SERDataModule, "predict_dataloader", never)
    monkeypatch.setattr(SERModule, "test_step", never)
    monkeypatch.setattr(SERModule, "predict_step", never)
    monkeypatch.setattr(SERModule, "validation_step", lambda *given: (seen.update(given[1].ids), step(*given))[1])
    assert main(search_command(tmp_path, small_emo_db, "--folds=2", "--trials=1")) == 0
    data = SERDataModule("emo_db", str(small_emo_db), fold=2)
    assert seen == {row.id for row in data.split.validation}
    assert not [*tmp_path.rglob("result.json"), *tmp_path.rglob("predictions.csv")]


def test_the_best_settings_are_a_configuration_whose_rows_tell_of_the_search(
    study: Path, small_emo_db: Path, tmp_path: Path
) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    account = best["search"]
    assert account["values"] == {"model.optim.lr": best["model"]["optim"]["lr"], "model.dense": best["model"]["dense"]}
    assert (account["folds"], account["seed"], account["trials"], account["finished"]) == ([2], 1, 2, 2)
    assert best["trainer"]["devices"] == "auto"  # a trial has one, which decides nothing about a later training
    assert not list(study.rglob("*.ckpt"))

    # Fold 2 was searched: its validation speakers are among the test speakers of another fold, and not among its own.
    folds = {fold: SERDataModule("emo_db", str(small_emo_db), fold=fold).split for fold in range(1, 11)}
    validated = {row.speaker for row in folds[2].validation}
    other = next(fold for fold, split in folds.items() if validated & {row.speaker for row in split.test})
    command = ["fit", "--config", str(study / "best.yaml"), f"--run_dir={tmp_path / 'r'}", f"--folds=2,{other}"]
    assert main(command) == 0
    rows = {fold: read_result(tmp_path / "r" / f"fold-{fold}" / "result.json") for fold in (2, other)}
    assert rows[2]["search"] == {**account, "test_speakers_validated": []}
    assert rows[other]["search"]["test_speakers_validated"] == sorted(validated)
    assert rows[2]["config"]["model"]["dense"] == account["values"]["model.dense"]
    # The score of the search is what the row's training found on the validation speakers.
    assert rows[2]["selection"]["value"] == pytest.approx(account["value"])


def test_a_row_without_a_search_does_not_speak_of_one(small_emo_db: Path, tmp_path: Path) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", epochs=1)) == 0
    assert "search" not in read_result(tmp_path / "r" / "fold-1" / "result.json")


def test_an_account_that_no_search_has_written_is_refused_before_the_training(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    del best["search"]["folds"]
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(best))
    assert main(["fit", "--config", str(tmp_path / "changed.yaml"), f"--run_dir={tmp_path / 'r'}"]) == 1
    assert "'folds' is a required property" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_finished_search_makes_no_further_trial_and_says_the_same(
    study: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (study / "best.yaml").read_text()
    assert main(search_command(study.parent, small_emo_db, "--folds=2", "--seed=1")) == 0
    assert (study / "best.yaml").read_text() == before
    assert not (study / "trial-2").exists()
    assert "the best of 2 trials (2 finished, 0 pruned, 0 failed)" in capsys.readouterr().out


def test_a_study_is_not_gone_on_with_under_other_conditions(
    study: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, change in (("--folds=3", "folds was [2], is [3]"), ("--data.batch_size=8", "data.batch_size was 16, is 8")):
        assert main(search_command(study.parent, small_emo_db, "--folds=2", "--seed=1", more)) == 1
        assert change in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--run_dir=r"], "--run_dir is of ser-zoo fit"),
        (["--trainer.devices=2"], "on one device"),
        (["--seed=-1"], "--seed -1 makes no sense"),
        (["--seed_everything=-1"], "--seed_everything -1 makes no sense"),
        (["--trainer.accelerator=foo"], "The trainer refuses its arguments"),
    ],
)
def test_what_makes_no_search_is_refused(
    more: list[str], told: str, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(search_command(tmp_path, small_emo_db, *more)) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_the_sweep_file_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--data", "emo_db", "sweep.yaml"]) == 1
    assert "expected the sweep file first" in capsys.readouterr().err


def test_an_unknown_argument_in_a_sweep_ends_it_before_any_trial(small_emo_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(search_command(tmp_path, small_emo_db, parameters={"model.optim.rate": {"values": [1.0]}}))
    assert ended.value.code == 2
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_for_sweeps_name_arguments_that_fit_has(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sweep = read_sweep(path)
    _, options = parse([*sweep.base, *as_arguments(first_values(sweep))])
    assert options.model.name == path.stem
    assert options.model.optim.lr == pytest.approx(sweep.space["model.optim.lr"]["min"])
    recipe = yaml.safe_load(path.read_text())
    assert {"--validate_only", "--wandb"} < set(recipe["command"])


def test_the_command_of_a_sweeps_agent_ends_with_validation_metrics_in_w_and_b(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.setenv("WANDB_MODE", "offline")
    drawn = {"args": {"model.optim.lr": {"value": 0.001}, "model.dense": {"value": 4}}}
    arguments = utils.create_sweep_command_args(drawn)["args"]
    command = [part for given in SWEEP["command"] for part in (arguments if given == "${args}" else [given])]
    data = ["--data=emo_db", f"--data.root={small_emo_db}", f"--run_dir={tmp_path / 'r'}"]
    assert main([*command[1:], *data]) == 0
    assert "validation speakers" in capsys.readouterr().out
    fold = tmp_path / "r" / "fold-1"
    assert not (fold / "result.json").exists()
    assert yaml.safe_load((fold / "config.yaml").read_text())["model"]["dense"] == 4
    (log,) = fold.glob("wandb/offline-run-*/run-*.wandb")
    written = log.read_bytes()
    assert b"val/ua" in written
    assert b"test/" not in written
