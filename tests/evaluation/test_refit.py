from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer

from ser_zoo.cli import main
from ser_zoo.data import SERDataModule
from ser_zoo.errors import ProtocolError, RunError
from ser_zoo.evaluation import Row, Run, pool, read_predictions, read_result, run_fold, run_folds, score_checkpoint
from ser_zoo.evaluation import run as room
from ser_zoo.evaluation.robustness import read_robustness
from ser_zoo.inference import load_model
from ser_zoo.models.base import CHECKPOINT_KEY, SERModule
from ser_zoo.models.optim import Optim
from tests.cli.commands import fit_command
from tests.models.small import SMALL
from tests.tiny import tiny_encoder

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": 6,
}


def small_run(*callbacks: Callback, **changes: Any) -> Run:
    optim = Optim(lr=0.01, schedule="cosine")
    run = Run("cnn_attn", {**SMALL["cnn_attn"], "optim": optim}, {**QUIET, "callbacks": [*callbacks]}, seed=3)
    return replace(run, **{"refit": True, **changes})


def small_data(root: Path, **changes: Any) -> SERDataModule:
    return SERDataModule("emo_db", str(root), **{"sample_rate": 22_050, "seed": 0, "batch_size": 4, **changes})


class Witness(Callback):
    """Notes who trains in each epoch of each training, at which rate, and whether anybody validates."""

    def __init__(self) -> None:
        self.trained: list[list[set[str]]] = []
        self.rates: list[list[float]] = []
        self.validated: list[int] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.trained.append([])
        self.rates.append([])
        self.validated.append(0)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.trained[-1].append(set())
        self.rates[-1].append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.trained[-1][-1].update(batch.ids)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.validated:  # not the check of a few batches before the training
            self.validated[-1] += 1


@pytest.fixture(scope="module")
def finished(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row, Witness]:
    """Folder, row and witness of a fold with a refit."""
    witness, folder = Witness(), tmp_path_factory.mktemp("refit") / "fold-1"
    row = run_fold(small_run(witness), small_data(small_emo_db), folder)
    assert row is not None
    return folder, row, witness


def ids(rows: Any) -> set[str]:
    return {row.id for row in rows}


def stored(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, weights_only=True)[CHECKPOINT_KEY]
    return content


def test_the_validation_side_trains_and_the_test_side_never(finished: tuple[Path, Row, Witness], small_emo_db: Path) -> None:
    _, row, witness = finished
    train, validation, test = small_data(small_emo_db).split
    first, second = witness.trained
    assert all(seen == ids(train) for seen in first)
    assert all(seen == ids(train) | ids(validation) for seen in second)
    assert not (ids(train) | ids(validation)) & ids(test)
    assert (row["data"]["train"], row["data"]["validation"], row["data"]["test"]) == tuple(map(len, (train, validation, test)))


def test_it_lasts_as_long_as_was_chosen_under_the_schedule_of_the_whole(finished: tuple[Path, Row, Witness]) -> None:
    _, row, witness = finished
    chosen = row["selection"]["epoch"] + 1
    assert 1 <= chosen <= row["selection"]["epochs"] == 6
    assert (len(witness.trained[0]), len(witness.trained[1])) == (6, chosen)
    assert (witness.validated[0], witness.validated[1]) == (6, 0)
    assert witness.rates[1] == pytest.approx(witness.rates[0][:chosen], rel=0.2)  # more rows, so steps a little shorter


def test_an_epoch_that_was_chosen_early_ends_it_early(small_emo_db: Path, tmp_path: Path) -> None:
    witness = Witness()
    # Nothing is learned at this rate, so that the first of equal epochs is chosen.
    encoder = str(tiny_encoder(tmp_path / "encoder", "wav2vec2-stable"))
    arguments = {**SMALL["probe"], "encoder": encoder, "optim": Optim(lr=0.0)}
    least = {"min_epochs": 4, "min_steps": 40}
    run = Run("probe", arguments, {**QUIET, "callbacks": [witness], **least}, patience=4, refit=True)
    row = run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path / "f")
    assert row is not None
    assert row["selection"]["epoch"] == 0
    assert [len(epochs) for epochs in witness.trained] == [5, 1]


@pytest.mark.parametrize(
    ("bound", "epochs", "steps"),
    [
        ({"max_steps": 9, "max_epochs": 20}, 3, 12),
        ({"max_steps": 10, "max_epochs": 20}, 4, 14),
        ({"max_steps": 9, "max_epochs": 20, "limit_train_batches": 100}, 3, 12),
        ({"max_steps": 2, "max_epochs": 20, "limit_train_batches": 0.5}, 2, 4),
        ({"max_steps": 4, "max_epochs": 20, "accumulate_grad_batches": 3}, 4, 8),
        ({"max_time": "00:00:00:30", "max_epochs": 2}, 2, 8),
        ({"callbacks": Timer("00:00:00:30"), "max_epochs": 2}, 2, 8),
    ],
)
def test_what_bounds_the_first_training_does_not_cut_it_short(
    bound: dict[str, Any], epochs: int, steps: int, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its epochs have more steps, four in place of three here, and take longer."""
    witness = Witness()
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: 60.0 if len(witness.trained) > 1 else 1.0)
    run = small_run(witness, monitor="last")
    further = [bound["callbacks"]] if "callbacks" in bound else []
    run = replace(run, trainer={**run.trainer, **bound, "callbacks": [witness, *further]})
    assert run_fold(run, small_data(small_emo_db, batch_size=16), tmp_path) is not None
    assert [len(training) for training in witness.trained] == [epochs, epochs]
    checkpoint = torch.load(tmp_path / "checkpoints" / "refit.ckpt", weights_only=True)
    assert checkpoint["global_step"] == steps


def test_it_does_not_wait_for_validation_scores_to_stop(small_emo_db: Path, tmp_path: Path) -> None:
    run = small_run(EarlyStopping("val/loss"), Witness())
    assert run_fold(run, small_data(small_emo_db), tmp_path / "f") is not None


def test_what_is_chosen_and_calibrated_is_as_without_it(
    finished: tuple[Path, Row, Witness], small_emo_db: Path, tmp_path: Path
) -> None:
    folder, row, _ = finished
    plain = run_fold(small_run(Witness(), refit=False), small_data(small_emo_db), tmp_path / "f")
    assert plain is not None
    assert row["selection"] == plain["selection"]
    assert row["calibration"] == plain["calibration"]
    assert row["protocol"] == plain["protocol"]
    assert {**row["config"], "refit": False} == plain["config"]
    kept = stored(folder / "checkpoints" / "refit.ckpt")["calibration"]
    assert kept["temperature"] == row["calibration"]["temperature"]
    assert not (tmp_path / "f" / "checkpoints" / "refit.ckpt").exists()


def test_the_new_model_is_what_is_tested(
    finished: tuple[Path, Row, Witness], small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, row, _ = finished
    predicted = read_predictions(folder / "predictions.csv", row["labels"])
    for name, same in (("refit", True), ("best", False)):
        checkpoint = folder / "checkpoints" / f"{name}.ckpt"
        scored = score_checkpoint(load_model(checkpoint), small_data(small_emo_db), {"accelerator": "cpu"})
        assert scored.ids == predicted.ids
        assert np.allclose(scored.probabilities, predicted.probabilities, atol=1e-6) is same
    output = tmp_path / "t.json"
    command = ["test", f"--ckpt_path={folder}/checkpoints/refit.ckpt", "--accelerator=cpu", f"--output={output}"]
    assert main(command) == 0
    assert "cnn_attn on emo_db, loso10, refit, fold 1" in capsys.readouterr().out
    assert json.loads(output.read_text())["metrics"] == row["metrics"]
    assert (stored(folder / "checkpoints" / "refit.ckpt")["trained_on"]["refit"], row["config"]["refit"]) == (True, True)
    assert stored(folder / "checkpoints" / "best.ckpt")["trained_on"]["refit"] is False


class Stop(Callback):
    """Ends the second training after so many epochs, as a user does."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.trainings = epochs, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.trainings += 1

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.trainings == 2 and trainer.current_epoch == self.epochs:
            raise KeyboardInterrupt


class Slow(Callback):
    """Makes the first epoch of each training last a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:
            time.sleep(1)
            self.seconds += 1


def test_an_interrupted_one_goes_on_and_ends_like_one_that_was_not(small_emo_db: Path, tmp_path: Path) -> None:
    run, folder = small_run(monitor="last"), tmp_path / "stopped"
    whole = run_fold(run, small_data(small_emo_db), tmp_path / "whole")
    with pytest.raises(RunError, match="Interrupted"):
        run_fold(small_run(Stop(2), monitor="last"), small_data(small_emo_db), folder)
    assert not (folder / "result.json").exists()
    witness = Witness()
    resumed = run_fold(small_run(witness, monitor="last"), small_data(small_emo_db), folder, resume=True)
    assert whole is not None
    assert resumed is not None
    assert [len(epochs) for epochs in witness.trained if epochs] == [4]  # of six, and none of the first training
    assert (folder / "predictions.csv").read_text() == (tmp_path / "whole" / "predictions.csv").read_text()
    assert (resumed["selection"], resumed["calibration"]) == (whole["selection"], whole["calibration"])


def test_one_that_was_stopped_before_it_began_ends_like_one_that_was_not(
    finished: tuple[Path, Row, Witness], small_emo_db: Path, tmp_path: Path
) -> None:
    folder, row, _ = finished
    shutil.copytree(folder, tmp_path / "f")
    for name in ("result.json", "checkpoints/refit.ckpt"):
        (tmp_path / "f" / name).unlink()
    again = run_fold(small_run(Witness()), small_data(small_emo_db), tmp_path / "f", resume=True)
    assert again is not None
    assert again["metrics"] == row["metrics"]
    assert (tmp_path / "f" / "predictions.csv").read_text() == (folder / "predictions.csv").read_text()


def test_its_time_is_that_of_both_trainings(finished: tuple[Path, Row, Witness]) -> None:
    folder, row, _ = finished
    files = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "refit"))
    clocks = [torch.load(file, weights_only=True)["callbacks"]["Clock"]["seconds"] for file in files]
    assert row["durations"]["fit"] >= sum(clocks)


def test_the_time_for_features_is_that_of_both_models(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([2.0, 0.5])
    create = room.create_model

    def create_slow(*given: Any, **how: Any) -> SERModule:
        model = create(*given, **how)
        model.feature_seconds = next(seconds)
        return model

    monkeypatch.setattr(room, "create_model", create_slow)
    run = Run("mfcc_stats", trainer={**QUIET, "max_epochs": 1}, refit=True)
    row = run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)
    assert row is not None
    assert row["durations"]["features"] == 2.5
    assert min(row["durations"].values()) > 0


def test_what_was_trained_before_an_interruption_counts_in_its_time(small_emo_db: Path, tmp_path: Path) -> None:
    slow = Slow()
    with pytest.raises(RunError, match="Interrupted"):
        run_fold(small_run(slow, Stop(2), monitor="last"), small_data(small_emo_db), tmp_path)
    row = run_fold(small_run(monitor="last"), small_data(small_emo_db), tmp_path, resume=True)
    assert row is not None
    assert row["durations"]["fit"] > slow.seconds
    (tmp_path / "result.json").unlink()
    again = run_fold(small_run(monitor="last"), small_data(small_emo_db), tmp_path, resume=True)
    assert again is not None
    assert again["durations"]["fit"] > slow.seconds


def test_one_that_was_stopped_before_its_row_is_not_trained_further(
    finished: tuple[Path, Row, Witness], small_emo_db: Path, tmp_path: Path
) -> None:
    folder, row, _ = finished
    shutil.copytree(folder, tmp_path / "f")
    (tmp_path / "f" / "result.json").unlink()
    before = torch.load(tmp_path / "f" / "checkpoints" / "refit.ckpt", weights_only=True)["global_step"]
    witness = Witness()
    again = run_fold(small_run(witness), small_data(small_emo_db), tmp_path / "f", resume=True)
    assert again is not None
    assert not any(witness.trained)
    assert torch.load(tmp_path / "f" / "checkpoints" / "refit.ckpt", weights_only=True)["global_step"] == before
    assert (again["metrics"], again["calibration"]) == (row["metrics"], row["calibration"])


def test_a_damaged_checkpoint_is_named_with_what_to_do(small_emo_db: Path, tmp_path: Path) -> None:
    folder, data = tmp_path / "r" / "fold-1", small_data(small_emo_db)
    run_fold(small_run(), data, folder)
    (folder / "result.json").unlink()
    what_to_do = rf"Remove {folder} and pass --run_dir {folder.parent} --ckpt_path last"
    for name in ("last", "best", "refit"):
        damaged = folder / "checkpoints" / f"{name}.ckpt"
        whole = damaged.read_bytes()
        for kept in (0, len(whole) // 2):
            damaged.write_bytes(whole[:kept])
            with pytest.raises(RunError, match=rf"{damaged} is missing or damaged \(\w+\)\. {what_to_do}"):
                run_fold(small_run(), data, folder, resume=True)
        damaged.write_bytes(whole)


def test_a_protocol_that_validates_on_its_test_is_refused_before_the_training(small_emo_db: Path, tmp_path: Path) -> None:
    data = small_data(small_emo_db, protocol="as_cnn_attn")
    with pytest.raises(ProtocolError, match=r"--refit .* as_cnn_attn is its test side"):
        run_fold(small_run(monitor="last"), data, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_the_command_says_what_it_did(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    command = fit_command(small_emo_db, tmp_path / "r", "--folds=1,2", "--refit")
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert not [str(warning.message) for warning in recwarn if "not empty" in str(warning.message)]
    assert "cnn_attn on emo_db, loso10, refit, fold 2, seed 7" in printed
    assert "cnn_attn on emo_db, loso10, refit, 2 folds pooled, seed 7" in printed
    assert read_result(tmp_path / "r" / "fold-1" / "result.json")["config"]["refit"] is True
    curves = (tmp_path / "r" / "fold-1" / "refit-curves" / "version_0" / "metrics.csv").read_text()
    assert "train/loss" in curves
    assert "val/" not in curves
    assert main([item for item in command if item != "--refit"] + ["--ckpt_path=last"]) == 1
    assert "refit was True, is False" in capsys.readouterr().err


def test_robustness_asks_for_the_checkpoint_that_was_tested(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", "--refit=true", "--monitor=last", epochs=1)) == 0
    folder = tmp_path / "r" / "fold-1"
    command = ["robustness", "--perturbations", "crop", "--ckpt_path"]
    assert main([*command, str(folder / "checkpoints" / "last.ckpt")]) == 1
    assert "which has refit False, not True" in capsys.readouterr().err
    assert main([*command, str(folder / "checkpoints" / "refit.ckpt")]) == 0
    assert "cnn_attn on emo_db, loso10, refit, fold 1" in capsys.readouterr().out
    assert read_robustness(folder / "robustness.json")["refit"] is True


def test_folds_share_what_is_decoded_and_pool_as_refit(small_emo_db: Path, tmp_path: Path) -> None:
    data = small_data(small_emo_db, speeds=[0.9])
    data.setup()
    rows = run_folds(small_run(), data, [1, 2], tmp_path, lambda fold: "", False, lambda row: None)
    assert pool(rows)["refit"] is True
    again = data.for_fold(2).for_refit()
    assert again.waveforms is data.waveforms
    # The copies of who validates train too.
    assert ids(again.training_rows) == {f"{key}{speed}" for key in ids(again.split.train) for speed in ("", "+speed0.9")}
    assert sum(again.class_counts()) == len(again.split.train)
    assert again.certificate == data.for_fold(2).certificate
