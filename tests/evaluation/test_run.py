from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ser_zoo.data import Batch, SERDataModule
from ser_zoo.errors import InterruptedRunError, LeakError, RunError, SERZooError, SERZooWarning
from ser_zoo.evaluation import Run, folders, processes, read_result, run_fold, run_folds, score_checkpoint, summarise
from ser_zoo.evaluation import run as room
from ser_zoo.evaluation.callbacks import EndTogether, PredictionCollector, StepSeed
from ser_zoo.evaluation.checkpoints import WholeCheckpoints, keep_best, mode_of, save_whole
from ser_zoo.evaluation.folders import ROOT_VARIABLE, choose_root, claimed
from ser_zoo.evaluation.processes import FIRST_VARIABLE, end_with_first
from ser_zoo.evaluation.result import processor
from ser_zoo.evaluation.run import interruptible
from ser_zoo.inference import load_model, read_checkpoint
from ser_zoo.models.base import CHECKPOINT_KEY
from ser_zoo.models.optim import Optim
from tests.evaluation.test_refit import QUIET, small_data
from tests.models.small import SMALL, small_model
from tests.releases import write_tone


def test_a_run_that_was_stopped_early_stays_so(small_emo_db: Path, tmp_path: Path) -> None:
    """It may be interrupted after its training: Lightning would go on for an epoch, which could be chosen."""
    run = Run("mfcc_stats", {"optim": Optim(lr=0.0)}, QUIET, seed=3, patience=2)  # which never improves
    data = small_data(small_emo_db, sample_rate=16_000)
    first = run_fold(run, data, tmp_path)
    assert first is not None
    assert first["selection"]["epochs"] == 3
    (tmp_path / "result.json").unlink()
    again = run_fold(run, data, tmp_path, resume=True)
    assert again is not None
    assert (again["selection"], again["metrics"]) == (first["selection"], first["metrics"])


@pytest.mark.parametrize(("patience", "epochs"), [(0, 2), (1, 2)])
def test_a_run_without_patience_stops_at_the_first_epoch_that_is_no_better(
    patience: int, epochs: int, small_emo_db: Path, tmp_path: Path
) -> None:
    run = Run("mfcc_stats", {"optim": Optim(lr=0.0)}, QUIET, seed=3, patience=patience)
    data = small_data(small_emo_db, sample_rate=16_000)
    for resume in (False, True):
        row = run_fold(run, data, tmp_path, resume=resume)
        assert row is not None
        assert (row["selection"]["epoch"], row["selection"]["epochs"]) == (0, epochs)
        (tmp_path / "result.json").unlink()


class Heard(Callback):
    """Notes each batch of the training: epoch, utterances, and the sum of their samples, by which augmentation is told."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[str], float]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int) -> None:
        self.batches.append((trainer.current_epoch, batch.ids, float(batch.waveforms.sum())))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_goes_on_hears_what_it_would_have_heard(workers: int, small_emo_db: Path, tmp_path: Path) -> None:
    """Whoever makes the batches: Lightning has workers begin before it says with which epoch it goes on."""
    data = small_data(small_emo_db, sample_rate=16_000, num_workers=workers, augment=["noise"])

    def heard(epochs: int, folder: str) -> list[tuple[int, list[str], float]]:
        witness = Heard()
        trainer = {**QUIET, "max_epochs": epochs, "callbacks": witness}
        run = Run("mfcc_stats", {"optim": Optim(lr=0.01)}, trainer, seed=3, monitor="last")
        assert run_fold(run, data, tmp_path / folder, resume=True) is not None
        (tmp_path / folder / "result.json").unlink()
        return witness.batches

    whole = heard(3, "whole")
    assert heard(2, "part") + heard(3, "part") == whole
    assert [epoch for epoch, *_ in whole[:: len(whole) // 3]] == [0, 1, 2]
    assert whole[0][1:] != whole[len(whole) // 3][1:]


class EndAfterFirst(Callback):
    """Asks for the end after the first epoch, whatever the scores."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or trainer.current_epoch == 0


def above_nothing() -> Callback:
    """Ends after the first epoch by a threshold, of which no patience knows."""
    return EarlyStopping("val/loss", patience=9, stopping_threshold=1000.0)


@pytest.mark.parametrize(
    ("ending", "epochs"),
    [
        ({"max_steps": 5}, 2),
        ({"max_time": "00:00:00:30"}, 1),
        ({"callbacks": above_nothing}, 1),
        ({"callbacks": EndAfterFirst}, 1),
    ],
)
def test_a_run_that_was_interrupted_after_its_training_has_as_many_epochs(
    ending: dict[str, Any], epochs: int, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning leaves the last one out where nothing is left to train, and trains one more where a callback had ended it."""
    monkeypatch.setattr(Timer, "time_elapsed", lambda timer, *_: 60.0 if timer.start_time() or timer._offset else 0.0)
    data = small_data(small_emo_db, sample_rate=16_000, batch_size=16)  # three steps an epoch
    run, rows = Run("mfcc_stats", {"optim": Optim(lr=0.01)}, {**QUIET, **ending}, seed=3), []
    for resume in (False, True):
        row = run_fold(run, data, tmp_path, resume=resume)
        assert row is not None
        rows.append(row)
        (tmp_path / "result.json").unlink()
    assert rows[0]["selection"]["epochs"] == epochs
    assert rows[1]["selection"] == rows[0]["selection"]


def test_a_run_whose_end_is_put_off_ends_no_later_when_it_goes_on(small_emo_db: Path, tmp_path: Path) -> None:
    """By min_epochs, say: that the end was asked for holds on, though the scores may have improved since then."""
    data = small_data(small_emo_db, sample_rate=16_000, batch_size=16)
    bounds = {**QUIET, "min_epochs": 4, "callbacks": EndAfterFirst}
    whole = Run("mfcc_stats", {"optim": Optim(lr=0.01)}, bounds, seed=3, monitor="last")
    for max_epochs, expected in ((3, 3), (6, 4)):
        row = run_fold(replace(whole, trainer={**bounds, "max_epochs": max_epochs}), data, tmp_path, resume=True)
        assert row is not None
        assert row["selection"]["epochs"] == expected
        (tmp_path / "result.json").unlink()


def test_a_run_that_was_moved_keeps_its_best_epoch(small_emo_db: Path, tmp_path: Path) -> None:
    data = small_data(small_emo_db, sample_rate=16_000)
    first, second = (
        Run("mfcc_stats", {"optim": Optim(lr=0.0)}, {**QUIET, "max_epochs": epochs}, seed=3) for epochs in (2, 4)
    )  # no epoch is better than the first
    assert run_fold(first, data, tmp_path / "before") is not None
    (tmp_path / "before" / "result.json").unlink()
    (tmp_path / "before").rename(tmp_path / "after")
    row = run_fold(second, data, tmp_path / "after", resume=True)
    assert row is not None
    assert (row["selection"]["epoch"], row["selection"]["epochs"]) == (0, 4)
    assert not (tmp_path / "before").exists()


@pytest.mark.parametrize("refit", [False, True])
def test_a_run_whose_steps_are_bounded_goes_on_with_the_next_epoch(refit: bool, small_emo_db: Path, tmp_path: Path) -> None:
    """With max_steps, which probe has by default, Lightning passes over the epoch after the checkpoint that it goes on from."""
    data = small_data(small_emo_db, sample_rate=16_000)
    constant, bounded = {"optim": Optim(lr=0.01)}, {**QUIET, "max_epochs": 4, "max_steps": 1000}
    whole = Run("mfcc_stats", constant, bounded, seed=3, monitor="last", refit=refit)
    expected = run_fold(whole, data, tmp_path / "whole")
    assert run_fold(replace(whole, trainer={**whole.trainer, "max_epochs": 2}), data, tmp_path / "part") is not None
    (tmp_path / "part" / "result.json").unlink()
    row = run_fold(whole, data, tmp_path / "part", resume=True)
    assert row is not None
    assert expected is not None
    assert (row["selection"], row["calibration"]) == (expected["selection"], expected["calibration"])
    for name in ("last.ckpt", *(["refit.ckpt"] if refit else [])):
        one, other = (torch.load(tmp_path / run / "checkpoints" / name, weights_only=True) for run in ("whole", "part"))
        assert (one["epoch"], one["global_step"]) == (other["epoch"], other["global_step"])
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())


def test_a_run_does_not_go_on_where_the_data_now_test_speakers_who_trained_it(tmp_path: Path) -> None:
    def data(**sides: str) -> SERDataModule:
        rows = [f"{who}/{label}.wav,{label},{who},{side}" for who, side in sides.items() for label in ("anger", "fear")]
        (tmp_path / "table.csv").write_text("\n".join(["path,label,speaker,split", *rows]))
        return SERDataModule("csv", str(tmp_path / "table.csv"), protocol="official")

    for number, who in enumerate("abcd"):
        for emotion, label in enumerate(("anger", "fear")):
            write_tone(tmp_path / who / f"{label}.wav", emotion, number)
    run, folder = Run("mfcc_stats", trainer={**QUIET, "max_epochs": 1}, seed=3), tmp_path / "fold-1"
    run_fold(run, data(a="train", b="train", c="validation", d="test"), folder)
    (folder / "result.json").unlink()
    with pytest.raises(LeakError, match=r"has heard 1 of the 1 test speakers, b, .*Put those back, .*leave --ckpt_path out"):
        run_fold(run, data(a="train", d="train", c="validation", b="test"), folder, resume=True)
    assert not (folder / "result.json").exists()
    longer = replace(run, trainer={**QUIET, "max_epochs": 2})
    assert run_fold(longer, data(a="train", c="validation", d="test"), folder, resume=True) is not None
    assert (read_checkpoint(folder / "checkpoints" / "last.ckpt").trained_on or {})["heard"] == ["a", "b", "c"]


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before_as_it_was(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's temporary folder may be on another disk, from where it would be copied over the one before."""
    data, last = small_data(small_emo_db, sample_rate=16_000), tmp_path / "checkpoints" / "last.ckpt"
    run = Run("mfcc_stats", trainer={**QUIET, "max_epochs": 3}, seed=3, monitor="last")
    before: list[bytes] = []
    save = torch.save

    def saved(content: dict[str, Any], file: Any) -> None:
        save(content, file)
        if content["epoch"] == 1:
            before.append(last.read_bytes())
            file.truncate(100)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "move", shutil.copy)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", saved)
        with pytest.raises(
            RunError, match=r"Cannot write the checkpoint .*last\.ckpt: .*No space left on device.* --ckpt_path last"
        ):
            run_fold(run, data, tmp_path)
    assert [last.read_bytes()] == before
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    row = run_fold(run, data, tmp_path, resume=True)
    assert row is not None
    assert row["selection"]["epochs"] == 3


def test_a_full_disk_is_told_in_its_own_words_and_not_in_those_of_zip_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: dict[str, Any], file: Any) -> None:
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:664] unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"last\.ckpt: \[Errno 28\] No space left on device\. An older one there is still whole"):
        save_whole({}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_the_best_epoch_of_a_run_from_before_is_known_by_the_name_that_lightning_gives(tmp_path: Path) -> None:
    assert keep_best(tmp_path, "val/ua").state_key == ModelCheckpoint(monitor="val/ua", mode="max").state_key


def test_a_moved_run_takes_up_its_own_files_where_they_are_and_no_others(tmp_path: Path) -> None:
    before, after = (keep_best(tmp_path / name, "val/ua") for name in ("before", "after"))
    old, new = (str(tmp_path / name / "checkpoints" / "best.ckpt") for name in ("before", "after"))
    other = "/other/last.ckpt"
    noted = {"best_model_path": old, "kth_best_model_path": old, "last_model_path": other}
    after.load_state_dict({**before.state_dict(), **noted, "best_k_models": {old: torch.tensor(0.5)}})
    assert (after.best_model_path, after.kth_best_model_path, list(after.best_k_models)) == (new, new, [new])
    assert after.last_model_path == other


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("train/loss", "min"), ("val/ua", "max")])
def test_a_loss_is_best_where_it_is_least_and_other_metrics_where_they_are_most(monitor: str, mode: str) -> None:
    assert mode_of(monitor) == mode


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_training_whose_logits_are_no_numbers_has_diverged(value: float) -> None:
    trainer, data = SimpleNamespace(predict=lambda *_, **__: None), SimpleNamespace(val_dataloader=list)
    collector = PredictionCollector()
    collector.batches = [
        {"ids": ["a", "b"], "logits": torch.tensor([[value, 0.0], [0.0, 1.0]]), "labels": torch.tensor([0, 1])}
    ]
    with pytest.raises(RunError, match=r"The training diverged: last\.ckpt gives logits that are not finite"):
        room._calibrate(trainer, None, data, Path("last.ckpt"), collector)  # type: ignore[arg-type]


def test_a_temperature_that_nothing_determines_is_told_and_noted_in_the_checkpoint(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(
        predict=lambda *_, **__: None, is_global_zero=True, strategy=SimpleNamespace(barrier=lambda: None)
    )
    data: Any = SimpleNamespace(val_dataloader=list, fold=4, protocol=SimpleNamespace(validates_on_test=False))
    collector, checkpoint, model = PredictionCollector(), tmp_path / "best.ckpt", small_model("mfcc_stats", tmp_path)
    collector.batches = [{"ids": ["a", "b"], "logits": torch.tensor([[9.0, 0.0], [0.0, 9.0]]), "labels": torch.tensor([0, 1])}]
    torch.save({CHECKPOINT_KEY: {}}, checkpoint)
    with pytest.warns(SERZooWarning, match=r"Fold 4: no temperature suits the 2 validation utterances best"):
        row = room._calibrate(trainer, model, data, checkpoint, collector)
    stored = torch.load(checkpoint, weights_only=True)[CHECKPOINT_KEY]["calibration"]
    assert stored == {"temperature": row["temperature"], "at_bound": True, "validation_is_test": False}


def test_a_checkpoint_of_another_machine_is_written_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    WholeCheckpoints().save_checkpoint({"epoch": 1}, "memory://bucket/last.ckpt")
    assert WholeCheckpoints().load_checkpoint("memory://bucket/last.ckpt", weights_only=True) == {"epoch": 1}
    assert not list(tmp_path.iterdir())


def test_only_the_first_process_has_the_rows_of_finished_folds(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run("cnn_attn", {**SMALL["cnn_attn"]}, {**QUIET, "max_epochs": 1}, seed=3)
    data = small_data(small_emo_db)

    def resumed() -> list[object]:
        return [*run_folds(run, data, [1], tmp_path, lambda fold: "", True, lambda row: None)]

    assert resumed() == [read_result(tmp_path / "fold-1" / "result.json")] == resumed()
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert resumed() == []


def test_nothing_of_slurm_is_gone_on_with(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would begin with the checkpoint of whatever job was requeued in this folder, of another model or fold."""
    job = {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": "7", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.chdir(tmp_path)
    Path("hpc_ckpt_1.ckpt").write_text("of another fold")
    data = small_data(small_emo_db, sample_rate=16_000)
    row = run_fold(Run("mfcc_stats", trainer={**QUIET, "max_epochs": 1}), data, tmp_path / "fold-1")
    assert row is not None
    scored = score_checkpoint(load_model(tmp_path / "fold-1" / "checkpoints" / "best.ckpt"), data, QUIET)
    assert scored.confusion.tolist() == row["metrics"]["confusion"]
    environment = vars(room.make_trainer(QUIET))["_accelerator_connector"].cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue


def test_a_folder_that_folds_would_share_is_refused(small_emo_db: Path, tmp_path: Path) -> None:
    run = Run("mfcc_stats", trainer={**QUIET, "default_root_dir": "some"})
    with pytest.raises(RunError, match=r"--trainer\.default_root_dir some would be shared by the folds .* Leave it out\."):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path / "fold-1")
    assert not (tmp_path / "fold-1").exists()


@pytest.mark.parametrize(
    ("given", "variables", "devices"),
    [
        ({}, {}, 1),
        ({"devices": "auto"}, {}, 1),
        ({"devices": 2}, {}, 2),
        ({}, {"SLURM_NTASKS": "2"}, 1),
        ({}, {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "1"}, 1),
        ({}, {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}, "auto"),
        ({}, {"RANK": "0", "LOCAL_RANK": "0"}, "auto"),
    ],
)
def test_one_device_trains_unless_more_are_asked_for(
    given: dict[str, Any], variables: dict[str, str], devices: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each device takes batches of its own: as many as there are would give another result on each machine."""

    def make_trainer(arguments: dict[str, Any], folder: Path) -> None:
        assert arguments.get("devices", "auto") == devices
        raise KeyboardInterrupt

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(room, "make_trainer", make_trainer)
    with pytest.raises(KeyboardInterrupt):
        room._trainer(Run("mfcc_stats", trainer=given), tmp_path, [])


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_processes_that_end_with_the_training_are_refused(strategy: str) -> None:
    with pytest.raises(RunError, match=rf"^--trainer\.strategy {strategy} does not work here: .* Expected ddp, which"):
        room.make_trainer({**QUIET, "accelerator": "cpu", "devices": 2, "strategy": strategy})


def test_a_row_has_the_commit_that_its_training_began_with(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkout may be another one when it ends; what is asked first is kept."""
    asked: list[str] = []

    def train_fold(*_: object) -> None:
        asked.append("training")
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "commit", lambda: asked.append("commit"))
    monkeypatch.setattr(room, "train_fold", train_fold)
    with pytest.raises(KeyboardInterrupt):
        run_fold(Run("mfcc_stats"), small_data(small_emo_db), tmp_path)
    assert asked == ["commit", "training"]


def test_a_row_says_what_it_was_trained_on(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = run_fold(
        Run("mfcc_stats", trainer={**QUIET, "max_epochs": 1}), small_data(small_emo_db, sample_rate=16_000), tmp_path
    )
    assert row is not None
    assert row["machine"] == {**processor(), "device": "cpu", "processes": 1}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert processor() == {"processor": row["machine"]["processor"], "threads": 7}
    assert row["machine"]["processor"]


def test_a_row_names_the_accelerator_that_it_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    strategy = SimpleNamespace(root_device=torch.device("cuda", 1))
    machine = room._machine(SimpleNamespace(strategy=strategy, world_size=4))  # type: ignore[arg-type]
    assert machine == {**processor(), "device": "GPU of cuda:1", "processes": 4}


@pytest.mark.parametrize("precision", ["16-mixed", 16, "bf16-true", "64-true"])
def test_a_precision_that_would_not_be_what_the_row_says_is_refused(
    small_emo_db: Path, tmp_path: Path, precision: str | int
) -> None:
    run = Run("mfcc_stats", trainer={**QUIET, "precision": precision})
    with pytest.raises(RunError, match=rf"--trainer\.precision {precision} does not go with these models on cpu"):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trainer": {"limit_test_batches": 1}}, r"--trainer\.limit_test_batches 1 would make a row of a part"),
        ({"trainer": {"limit_predict_batches": 0.5}}, r"--trainer\.limit_predict_batches 0\.5 would make a row of a part"),
        ({"trainer": {"overfit_batches": 1}}, r"--trainer\.overfit_batches 1 does not go with the batches here"),
        ({"trainer": {"accumulate_grad_batches": 0}}, r"--trainer\.accumulate_grad_batches 0 makes no sense"),
        ({"trainer": {"check_val_every_n_epoch": 0}}, r"--trainer\.check_val_every_n_epoch 0 makes no sense"),
        ({"trainer": {"val_check_interval": 0.0}}, r"--trainer\.val_check_interval 0\.0 makes no sense"),
        ({"trainer": {"gradient_clip_val": -1.0}}, r"--trainer\.gradient_clip_val -1\.0 makes no sense"),
        (
            {"trainer": {"gradient_clip_algorithm": "value"}},
            r"--trainer\.gradient_clip_algorithm value does nothing without --trainer\.gradient_clip_val",
        ),
        ({"patience": -1}, r"--patience -1 makes no sense"),
        ({"seed": -1}, r"--seed_everything -1 makes no sense"),
        ({"seed": 2**32}, r"--seed_everything 4294967296 makes no sense"),
    ],
)
def test_a_run_that_could_give_no_row_of_the_fold_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(RunError, match=named):
        Run("mfcc_stats", **changes)


def test_a_clipping_may_be_off_in_a_search_whatever_its_kind() -> None:
    for value in (0, 0.0, 1.0):
        given = {"gradient_clip_val": value, "gradient_clip_algorithm": "norm"}
        assert Run("mfcc_stats", trainer=given).trainer == given


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"accelerator": "foo"}, "invalid accelerator name"),
        ({"strategy": "foo"}, "invalid strategy name"),
        ({"accelerator": "tpu"}, "'torch_xla"),
        ({"devices": 0}, "not a valid input"),
        ({"devices": -3}, "should be an int > 0"),
        ({"num_nodes": 0}, "must be a positive integer"),
        ({"max_epochs": -5}, "non-negative integer"),
        ({"callbacks": [EarlyStopping("val/ua"), EarlyStopping("val/ua")]}, "more than one stateful callback"),
    ],
)
def test_what_the_trainer_refuses_is_told_in_its_words(
    changes: dict[str, Any], told: str, small_emo_db: Path, tmp_path: Path
) -> None:
    run = Run("mfcc_stats", trainer={**QUIET, **changes})
    with pytest.raises(RunError, match=rf"The trainer refuses its arguments: .*{told}"):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_what_the_trainer_refuses_when_it_has_begun_is_told_as_well(small_emo_db: Path, tmp_path: Path) -> None:
    run = Run("mfcc_stats", trainer={**QUIET, "val_check_interval": 1000})
    with pytest.raises(RunError, match=r"The trainer refuses its arguments: .*`val_check_interval` \(1000\)"):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)


def test_a_metric_that_a_callback_watches_and_there_is_none_is_told_with_those_that_there_are(
    small_emo_db: Path, tmp_path: Path
) -> None:
    run = Run("mfcc_stats", trainer={**QUIET, "max_epochs": 1, "callbacks": [EarlyStopping("val_ua")]})
    with pytest.raises(RunError, match=r"The trainer refuses its arguments: .*`val_ua` which is not available.*`val/ua`"):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)


@pytest.mark.parametrize(("bound", "patience"), [({"max_epochs": 0}, None), ({"max_steps": 1, "limit_train_batches": 2}, 3)])
def test_a_training_without_an_epoch_says_what_may_be_the_cause(
    bound: dict[str, int], patience: int | None, small_emo_db: Path, tmp_path: Path
) -> None:
    run = Run("mfcc_stats", trainer={**QUIET, **bound}, patience=patience)
    with pytest.raises(RunError, match=r"no epoch was trained to its end.*--trainer\.max_epochs"):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)


def test_a_schedule_without_an_end_is_refused(small_emo_db: Path, tmp_path: Path) -> None:
    run = Run("mfcc_stats", {"optim": Optim(schedule="cosine")}, {**QUIET, "max_epochs": -1}, patience=1)
    with pytest.raises(SERZooError, match=r"schedule cosine falls to 0 .* --trainer\.max_epochs -1 nobody knows where"):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path / "f")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"optim": {"lr": -1.0}}, "lr -1 makes no sense"),
        ({"sample_rate": 8_000}, "expects 8000 Hz, but its data has 16000"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_a_recording_is_read(
    small_emo_db: Path, tmp_path: Path, arguments: dict[str, Any], told: str
) -> None:
    data = small_data(small_emo_db, sample_rate=16_000)
    with pytest.raises(SERZooError, match=told):
        run_fold(Run("mfcc_stats", arguments, trainer=QUIET), data, tmp_path)
    assert data._waveforms is None


UNFIT = [StochasticWeightAveraging(0.1), LearningRateFinder(), BackboneFinetuning(), SpikeDetection(), BatchSizeFinder()]


@pytest.mark.parametrize("callback", UNFIT)
def test_callbacks_that_would_change_no_row_or_fail_are_refused(callback: Callback, small_emo_db: Path, tmp_path: Path) -> None:
    run = Run("mfcc_stats", trainer={**QUIET, "callbacks": callback})
    with pytest.raises(RunError, match=rf"--trainer\.callbacks {type(callback).__name__} does not work here: it "):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)


def test_averaged_weights_that_are_chosen_are_also_tested(small_emo_db: Path, tmp_path: Path) -> None:
    data = small_data(small_emo_db, sample_rate=16_000)
    run = Run("mfcc_stats", {"optim": Optim(lr=0.1)}, {**QUIET, "callbacks": lambda: EMAWeightAveraging(decay=0.99)}, seed=3)
    row = run_fold(run, data, tmp_path)
    assert row is not None
    model = load_model(tmp_path / "checkpoints" / "best.ckpt")
    again = score_checkpoint(model, data, {"accelerator": "cpu"})
    assert row["metrics"] == summarise(again.confusion, model.labels)


def test_averaging_leaves_what_is_not_trained_as_it_is(small_emo_db: Path, tmp_path: Path) -> None:
    """Averages of equal numbers would be rounded: the row named another encoder, and a test of the checkpoint took another."""
    averaging = {**QUIET, "max_epochs": 2, "callbacks": lambda: EMAWeightAveraging(decay=0.8)}
    row = run_fold(Run("probe", {"encoder": "pico"}, averaging, seed=3), small_data(small_emo_db, sample_rate=16_000), tmp_path)
    assert row is not None
    assert row["encoder"] is not None
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert row["encoder"]["weights"] == best[CHECKPOINT_KEY]["encoder"]["weights"]
    assert not any("encoder" in key for part in ("state_dict", "current_model_state") for key in best[part])


def test_a_row_says_what_its_trainer_was_given_that_may_change_a_number(small_emo_db: Path, tmp_path: Path) -> None:
    given = {"min_steps": 1, "max_time": timedelta(hours=1), "val_check_interval": 1.0, "sync_batchnorm": True}
    given |= {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "norm", "limit_train_batches": 1, "num_nodes": 1}
    callbacks = [EMAWeightAveraging(decay=0.5), LearningRateMonitor()]
    run = Run("mfcc_stats", trainer={**QUIET, **given, "max_epochs": 1, "logger": None, "callbacks": callbacks}, seed=3)
    row = run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)
    assert row is not None
    told = {**given, "max_time": "1:00:00", "callbacks": ["EMAWeightAveraging"]}  # what only watches is left out
    assert {key: row["config"]["trainer"].get(key) for key in told} == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epochs", 3),
        ("min_epochs", 2),
        ("max_steps", 9),
        ("check_val_every_n_epoch", 2),
        ("accumulate_grad_batches", 2),
        ("precision", "bf16-mixed"),
        ("deterministic", True),
        ("limit_val_batches", 0.5),
        ("devices", 2),
    ],
)
def test_a_row_says_each_setting_of_its_trainer_and_none_that_only_shows(
    name: str, value: object, small_emo_db: Path, tmp_path: Path
) -> None:
    run = Run("cnn_attn", trainer={name: value, "enable_progress_bar": False, "default_root_dir": str(tmp_path)})
    assert room.settings(run, small_model("cnn_attn", tmp_path), small_data(small_emo_db))["trainer"] == {name: value}


def test_a_row_says_the_name_of_its_encoder_and_not_where_it_was(small_emo_db: Path, tmp_path: Path) -> None:
    model = small_model("probe", tmp_path)
    data = small_data(small_emo_db, sample_rate=16_000)
    told = room.settings(Run("probe", patience=4), model, data)
    assert told["model"]["encoder"] == Path(str(model.hparams["encoder"])).name
    assert str(tmp_path) not in json.dumps(told)
    assert told["data"]["task"] == data.corpus.task.name
    assert told["selection"] == {"monitor": "val/ua", "patience": 4}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("soft_labels", True),
        ("balanced", True),
        ("crop_seconds", 1.0),
        ("speeds", [0.9]),
        ("augment", ["reverb"]),
        ("augment_rows", ["noise"]),
        ("augment_probability", 0.25),
        ("snr_db", [5.0, 15.0]),
        ("batch_size", 3),
        ("max_seconds", 2.0),
    ],
)
def test_a_row_says_what_its_data_were_given_that_may_change_a_number(
    name: str, value: object, small_emo_db: Path, tmp_path: Path
) -> None:
    data = small_data(small_emo_db, **{"augment": ["noise"], name: value})
    told = room.settings(Run("cnn_attn"), small_model("cnn_attn", tmp_path), data)["data"]
    assert told[name] == value


def test_callbacks_that_a_function_makes_remember_nothing_of_the_fold_before(small_emo_db: Path, tmp_path: Path) -> None:
    """As those of the command line do; the loss of the first fold would be the one to beat in the second."""
    stopping = partial(EarlyStopping, "val/ua", patience=2, mode="max")
    run = Run("mfcc_stats", {"optim": Optim(lr=0.0)}, {**QUIET, "callbacks": stopping}, seed=3)
    data = small_data(small_emo_db, sample_rate=16_000)
    rows = run_folds(run, data, [1, 2], tmp_path, lambda fold: "", False, lambda row: None)
    assert [row["selection"]["epochs"] for row in rows] == [3, 3]


@pytest.mark.parametrize("stage", ["predict", "test"])
def test_an_interruption_after_the_training_says_how_to_go_on(
    stage: str, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(trainer: L.Trainer, *_: object, **__: object) -> None:
        trainer.state.status = TrainerStatus.INTERRUPTED
        raise SystemExit(1)

    monkeypatch.setattr(L.Trainer, stage, interrupted)
    run = Run("mfcc_stats", trainer={**QUIET, "max_epochs": 1})
    with pytest.raises(InterruptedRunError, match=r"Interrupted\. Repeat the command with --ckpt_path last"):
        run_fold(run, small_data(small_emo_db, sample_rate=16_000), tmp_path)


@pytest.mark.parametrize(
    ("error", "steps", "kept"),
    [
        (RunError("refused"), 0, False),
        (PermissionError("a logger may not write"), 0, False),
        (RunError("diverged"), 1, True),
        (InterruptedRunError("Ctrl-C"), 0, True),
        (KeyboardInterrupt(), 0, True),
    ],
)
def test_a_folder_is_given_back_where_its_training_is_refused_before_the_first_step(
    error: BaseException, steps: int, kept: bool, tmp_path: Path
) -> None:
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=steps)
    with pytest.raises(type(error)), claimed(trainer, tmp_path / "runs" / "r" / "fold-1", "text", resume=False):
        raise error
    assert (tmp_path / "runs" / "r" / "fold-1" / "config.yaml").exists() is (tmp_path / "runs").exists() is kept


def test_a_run_that_goes_on_loses_nothing_where_it_is_refused(tmp_path: Path) -> None:
    last = tmp_path / "fold-1" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=0)
    with pytest.raises(RunError, match="refused"), claimed(trainer, tmp_path / "fold-1", "text", resume=True):
        raise RunError("refused")
    assert last.exists()


def test_a_folder_with_a_checkpoint_is_kept_although_no_step_was_taken(tmp_path: Path) -> None:
    """What egemaps has learned is there, and a full disk keeps its row from being written."""
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=0)
    checkpoint = tmp_path / "fold-1" / "checkpoints" / "last.ckpt"

    def write_nothing() -> None:
        checkpoint.parent.mkdir()
        checkpoint.touch()
        raise OSError("full")

    with pytest.raises(OSError, match="full"), claimed(trainer, tmp_path / "fold-1", "text", resume=False):
        write_nothing()
    assert checkpoint.exists()


def test_a_fold_that_another_command_is_at_work_on_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=0)
    folder = tmp_path / "fold-1"
    monkeypatch.setattr(folders, "SECONDS_OF_WORKERS", 0.0)
    with claimed(trainer, folder, "of the first", resume=False):
        second = claimed(trainer, folder, "of the second", resume=True)
        with pytest.raises(RunError, match=r"^Another command is at work in .*fold-1\. Nothing was changed\. Repeat"), second:
            raise AssertionError("both are at work")
        further: Any = SimpleNamespace(is_global_zero=False, global_step=0)
        with claimed(further, folder, "of a further process of the first", resume=True):
            pass
        assert (folder / "config.yaml").read_text() == "of the first"
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    with claimed(trainer, folder, "of the second", resume=True):
        pass


def test_a_fold_that_another_command_has_ended_meanwhile_keeps_its_row(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=0)
    (tmp_path / "result.json").write_text("of the other")
    with (
        pytest.raises(RunError, match=r"has been ended by another command since this one began\. Repeat it to see its row\.$"),
        claimed(trainer, tmp_path, "text", resume=True),
    ):
        raise AssertionError("it is trained again")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "of the other"


def test_a_fold_is_held_until_its_row_is_written(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    monkeypatch.setattr(room, "write_result", lambda folder, *_: held.append((folder / ".lock").exists()))
    run_fold(Run("mfcc_stats", trainer={**QUIET, "max_epochs": 1}), small_data(small_emo_db, sample_rate=16_000), tmp_path)
    assert held == [True]
    assert not (tmp_path / ".lock").exists()


def test_the_newest_run_is_the_one_of_the_highest_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, "")
    for name in ("r", "r-2", "r-9", "r-10", "r-1x"):
        (tmp_path / "runs" / name / "fold-1" / "checkpoints").mkdir(parents=True)
        (tmp_path / "runs" / name / "fold-1" / "checkpoints" / "last.ckpt").touch()
    assert choose_root("r", [1], None, resume=True) == Path("runs/r-10")
    assert choose_root("r", [1], None, resume=False) == Path("runs/r-3")


def test_further_processes_of_a_run_write_where_the_first_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they are, and although a folder of that name is there by then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, "")
    (tmp_path / "runs" / "r" / "fold-1").mkdir(parents=True)
    root = choose_root("r", [1], None, resume=False)
    assert root == Path("runs/r-2")
    (tmp_path / "elsewhere").mkdir()
    (root / "fold-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    for chosen in (None, Path("runs/r")):
        assert choose_root("r", [1], chosen, resume=False) == tmp_path / "runs" / "r-2"


def test_a_process_that_lightning_has_started_ends_when_the_first_one_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait in a call that no signal ends, for half an hour, and hold the memory of its GPU."""
    parents, ended = [7, 7, 1], threading.Event()

    def end(status: int) -> None:
        ended.set()
        raise SystemExit(status)

    monkeypatch.setattr(processes, "SECONDS_OF_WATCH", 0.0)
    monkeypatch.setattr(os, "getppid", lambda: parents.pop(0))
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.delenv(FIRST_VARIABLE, raising=False)
    end_with_first()
    assert os.environ[FIRST_VARIABLE] == str(os.getpid())
    assert parents == [7, 7, 1]
    monkeypatch.setenv(FIRST_VARIABLE, "7")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    end_with_first()
    assert ended.wait(10)
    assert not parents


@pytest.mark.parametrize(("rank", "node"), [(1, "0"), (0, "1")])
def test_further_processes_that_were_told_of_no_folder_need_one(
    rank: int, node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of torchrun or srun, which set a rank, and the first of a further node that was begun by hand, which has the rank 0."""
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    monkeypatch.setenv("NODE_RANK", node)
    (tmp_path / "fold-1").mkdir()
    assert choose_root("r", [1], tmp_path, resume=False) == tmp_path
    with pytest.raises(RunError, match=r"the processes cannot agree on a run folder\. Pass --run_dir\."):
        choose_root("r", [1], None, resume=False)


def test_each_step_of_each_process_draws_its_own_and_the_same_when_it_is_repeated() -> None:
    def drawn(seed: int = 1, epoch: int = 0, batch: int = 0, rank: int = 0) -> float:
        trainer: Any = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        with torch.random.fork_rng(devices=[]):
            StepSeed(seed).on_train_batch_start(trainer, L.LightningModule(), None, batch)
            return float(torch.rand(()))

    values = [drawn(), drawn(seed=2), drawn(epoch=1), drawn(batch=1), drawn(rank=1)]
    assert len(set(values)) == 5
    assert drawn(epoch=1) == values[2]


@pytest.mark.parametrize("asked", [False, True])
def test_processes_end_before_a_batch_or_the_next_stage_and_never_between_an_epoch_and_its_checkpoint(asked: bool) -> None:
    def decide(decision: bool, **_: object) -> bool:
        decided.append(decision)
        return decision

    decided: list[bool] = []
    state = SimpleNamespace(fn="fit")
    trainer: Any = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce_boolean_decision=decide), state=state)
    end, model, answer = EndTogether(), L.LightningModule(), signal.getsignal(signal.SIGTERM)
    try:
        end.on_train_start(trainer, model)
        if asked:
            os.kill(os.getpid(), signal.SIGTERM)
        end.on_validation_end(trainer, model)
        assert not decided
        state.fn = "validate"
        for call in (
            partial(end.on_train_batch_start, trainer, model, None, 0),
            *(partial(hook, trainer, model) for hook in (end.on_train_end, end.on_validation_end, end.on_test_end)),
        ):
            with pytest.raises(SIGTERMException) if asked else nullcontext():
                call()
    finally:
        signal.signal(signal.SIGTERM, answer)
    assert decided == [asked] * 4


def test_a_single_process_ends_as_lightning_has_it() -> None:
    trainer: Any = SimpleNamespace(world_size=1)
    answer = signal.getsignal(signal.SIGTERM)
    EndTogether().on_train_start(trainer, L.LightningModule())
    assert signal.getsignal(signal.SIGTERM) is answer


def test_a_further_process_that_is_interrupted_leaves_the_word_to_the_first() -> None:
    """With another status than 0 Lightning kills the first, which may still be writing."""
    trainer: Any = SimpleNamespace(interrupted=True, is_global_zero=False)
    with pytest.raises(SystemExit) as ended, interruptible(trainer):
        raise SIGTERMException
    assert ended.value.code == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"folds": 3}'])
def test_a_damaged_pool_is_written_anew(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "pool", lambda rows: {"folds": [1]})
    (tmp_path / "pooled.json").write_text(text)
    assert room.write_pooled(tmp_path, []) == {"folds": [1]} == json.loads((tmp_path / "pooled.json").read_text())


def test_a_pool_of_more_folds_stays_and_is_told_with_what_pools_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "pool", lambda rows: {"folds": [2, 3]})
    (tmp_path / "pooled.json").write_text('{"folds": [1, 2, 10]}')
    told = r"stays as it was, over folds 1,2,10: this command has not 1,10\. .* --ckpt_path last --folds 1,2,3,10\.$"
    with pytest.warns(SERZooWarning, match=told):
        assert room.write_pooled(tmp_path, []) == {"folds": [2, 3]}
    assert (tmp_path / "pooled.json").read_text() == '{"folds": [1, 2, 10]}'


def test_a_fold_that_another_command_has_taken_is_left_alone(small_emo_db: Path, tmp_path: Path) -> None:
    """Both find no folder when they begin, and decode for a while before they write there."""
    (tmp_path / "config.yaml").write_text("of the other")
    with pytest.raises(RunError, match=r"has been taken by another command since this one began"):
        run_fold(Run("mfcc_stats", trainer=QUIET), small_data(small_emo_db, sample_rate=16_000), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "of the other"
