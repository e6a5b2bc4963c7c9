"""One fold from start to finish: train, calibrate the best checkpoint on the validation speakers, test it, write the row.

With ``refit`` it is not that checkpoint which is tested: a new model is trained on training and validation speakers together,
for as many epochs as the validation speakers have chosen.
"""

from __future__ import annotations

import gc
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    ProgressBar,
    SpikeDetection,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor

from ser_zoo.cache import write_json
from ser_zoo.data import SERDataModule
from ser_zoo.errors import InterruptedRunError, RunError, SERZooWarning
from ser_zoo.evaluation.calibration import calibrate
from ser_zoo.evaluation.callbacks import Clock, EndTogether, PredictionCollector, StayStopped, StepSeed, StopAfter
from ser_zoo.evaluation.checkpoints import (
    LAST,
    REFIT,
    WholeCheckpoints,
    epoch_of,
    keep_best,
    keep_newest,
    mode_of,
    read_entry,
    save_whole,
)
from ser_zoo.evaluation.folders import claimed, fold_folder
from ser_zoo.evaluation.processes import launched
from ser_zoo.evaluation.result import (
    ROW,
    Row,
    Scored,
    commit,
    pool,
    processor,
    read_result,
    result_row,
    score,
    search_of,
    write_result,
)
from ser_zoo.evaluation.tracking import FoldTracker, Tracking
from ser_zoo.models import create_model
from ser_zoo.models.base import CHECKPOINT_KEY, Calibration, SERModule

POOLED = "pooled.json"
# A trainer's settings that change a number, and so belong in the row.
TRAINER_KEYS = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "max_time",
    "check_val_every_n_epoch",
    "val_check_interval",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "deterministic",
    "limit_train_batches",
    "limit_val_batches",
    "devices",
    "num_nodes",
    "sync_batchnorm",
    "callbacks",
)
WATCHING = DeviceStatsMonitor, LearningRateMonitor, ModelCheckpoint, ModelSummary, ProgressBar, ThroughputMonitor  # and no more
WHOLE = ("limit_test_batches", "limit_predict_batches")  # of the test, and of the pass that fits the temperature
COUNTS = ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval")  # Lightning divides by them unchecked
UNFIT: Mapping[type[Callback], str] = {  # callbacks that act on nothing that is tested, fail, or go by the machine
    BackboneFinetuning: "trains an attribute backbone; of an encoder --model.finetune_from and --model.optim.encoder_rest do",
    SpikeDetection: "wants another training loop; --trainer.gradient_clip_val 1 holds steps back",
    StochasticWeightAveraging: "averages weights when the last checkpoint is written; EMAWeightAveraging does so before",
    BatchSizeFinder: "takes what the memory of a machine holds, which would decide the result; --data.batch_size sets it",
    LearningRateFinder: "looks for a rate that it cannot set; ser-zoo search does so for --model.optim.lr",
}
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")  # of products; weights and features are float32


@dataclass(frozen=True)
class Run:
    """What is to be trained.

    Attributes:
        model: name of the architecture.
        arguments: of its class, without ``labels``.
        trainer: arguments of ``lightning.Trainer``. ``logger`` and ``callbacks`` may be functions that make them, for several
            trainings: most loggers write all that they are given into one run, and many callbacks remember what they have seen.
        seed: of weights, dropout, order and augmentation.
        monitor: the validation metric that chooses the epoch (``val/ua``, ``val/loss`` ...), or ``last``: no choice, the newest
            epoch is tested.
        patience: epochs without improvement after which training stops; None trains all.
        tracking: what is sent to W&B; None: nothing.
        search: where the settings were found by a search, what that was, for the row.
        refit: test a new model that was trained on training and validation speakers, for as many epochs as were chosen.

    Raises:
        RunError: patience without a metric to watch, a number out of its range, a test of a part of its utterances, or batches
            to overfit.
    """

    model: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 42
    monitor: str = "val/ua"
    patience: int | None = None
    tracking: Tracking | None = None
    search: Mapping[str, Any] | None = None
    refit: bool = False

    def __post_init__(self) -> None:
        given = {name: self.trainer.get(name) for name in WHOLE}  # an int counts batches, a float is a share of them
        if limited := [name for name, value in given.items() if isinstance(value, int) or value not in (None, 1.0)]:
            raise RunError(
                f"--trainer.{limited[0]} {self.trainer[limited[0]]} would make a row of a part of the utterances, which would "
                "pass for the fold. Leave it out; for a quick trial limit the training, with --trainer.limit_train_batches."
            )
        if overfit := self.trainer.get("overfit_batches"):
            raise RunError(
                f"--trainer.overfit_batches {overfit} does not go with the batches here, whose order the seed decides. Leave "
                "it out; for a quick trial limit the training, with --trainer.limit_train_batches."
            )
        counts = {name: self.trainer.get(name) for name in COUNTS}
        if wrong := [name for name, value in counts.items() if isinstance(value, int | float) and value <= 0]:
            raise RunError(f"--trainer.{wrong[0]} {self.trainer[wrong[0]]} makes no sense. Expected more than 0.")
        if (clip := self.trainer.get("gradient_clip_val")) is not None and clip < 0:
            raise RunError(f"--trainer.gradient_clip_val {clip} makes no sense. Expected 0 or more; 0 or null clips nothing.")
        if clip is None and (algorithm := self.trainer.get("gradient_clip_algorithm")) is not None:
            raise RunError(
                f"--trainer.gradient_clip_algorithm {algorithm} does nothing without --trainer.gradient_clip_val. Give both."
            )
        if self.patience is not None and self.patience < 0:
            raise RunError(f"--patience {self.patience} makes no sense. Expected 0 epochs or more, or null.")
        if not 0 <= self.seed < 2**32:
            raise RunError(f"--seed_everything {self.seed} makes no sense. Expected 0 to {2**32 - 1}.")
        if self.monitor == LAST and self.patience is not None:
            raise RunError(
                f"--patience {self.patience} waits for a metric to improve, but --monitor {LAST} names none. Expected "
                "--patience null, or a metric such as --monitor val/ua."
            )


class Trained(NamedTuple):
    """A trained fold.

    Attributes:
        model: as it is after the last epoch.
        trainer: that has trained it.
        chosen: knows the checkpoint that ``Run.monitor`` chooses, ``best_model_path``.
        tracker: of its W&B run, if it has one.
        seconds: that the training took, in all its parts where it was interrupted.
    """

    model: SERModule
    trainer: L.Trainer
    chosen: ModelCheckpoint
    tracker: FoldTracker | None
    seconds: float


def run_fold(run: Run, data: SERDataModule, folder: Path, config: str = "", resume: bool = False) -> Row | None:
    """Train on one fold, calibrate and test the checkpoint that ``run.monitor`` chooses, and write the row into ``folder``.

    With ``run.refit`` the temperature is still that of this checkpoint, which has not heard the validation speakers; the model
    that has is tested with it.

    Args:
        run: what is trained.
        data: the fold.
        folder: of this fold.
        config: text of ``config.yaml``.
        resume: go on from ``checkpoints/last.ckpt`` where there is one.

    Returns:
        The row; None in all processes but the first.

    Raises:
        RunError: the training was interrupted, ended without a checkpoint, or diverged; a checkpoint is damaged; or
            ``run.search`` is none.
        SERZooError: data and model do not fit, or the fold validates on its test side and that is to be trained on.
    """
    commit()  # of the code that trains, not of what the checkout has when the training ends; what it gives is kept
    search = None if run.search is None else search_of(run.search, data)
    collector = PredictionCollector()
    data.prepare_data()
    everyone = data.for_refit() if run.refit else data
    with train_fold(run, data, folder, config, resume, [collector]) as trained:
        model, trainer, chosen, tracker, fitted = trained
        tested, epochs, features = Path(chosen.best_model_path), trainer.current_epoch, model.feature_seconds
        epoch = epoch_of(tested)
        started = time.perf_counter()
        calibration = _calibrate(trainer, model, data, tested, collector)
        calibrated = time.perf_counter()
        if run.refit:
            model, trainer, tested, seconds = _refit(
                run, data, everyone, folder, resume, epoch + 1, calibration, collector, tracker
            )
            features += model.feature_seconds
            fitted += seconds
        started_test = time.perf_counter()
        with interruptible(trainer):
            trainer.test(model, datamodule=everyone, ckpt_path=tested, verbose=False, weights_only=True)
        durations = {
            "features": features,
            "fit": fitted,
            "calibration": calibrated - started,
            "test": time.perf_counter() - started_test,
        }
        if not trainer.is_global_zero:
            return None
        selection = {
            "monitor": run.monitor,
            "value": None if chosen.best_model_score is None else float(chosen.best_model_score),
            "epoch": epoch_of(tested),
            "epochs": epochs,
        }
        scored = score(collector.batches)
        row = result_row(
            model, data, scored, run.seed, settings(run, model, data), selection, calibration, durations, _machine(trainer)
        )
        if search is not None:
            row["search"] = search
        write_result(folder, row, scored, data.split.test)
        if tracker is not None:
            tracker.finish(trainer, row, scored)
        return row


@contextmanager
def train_fold(
    run: Run, data: SERDataModule, folder: Path, config: str = "", resume: bool = False, callbacks: Sequence[Callback] = ()
) -> Iterator[Trained]:
    """Train on one fold, whose folder no other command may take while the block runs; no test speaker is evaluated.

    Args:
        run: what is trained.
        data: the fold.
        folder: of this fold.
        config: text of ``config.yaml``.
        resume: go on from ``checkpoints/last.ckpt`` where there is one.
        callbacks: for the trainer, besides those of ``run``.

    Raises:
        RunError: the training was interrupted, or ended without a checkpoint, or the one to go on from is damaged; or another
            command is at work there.
        SERZooError: data and model do not fit.
    """
    last = folder / "checkpoints" / f"{LAST}.ckpt"
    if resume and last.is_file():
        epoch_of(last)
    L.seed_everything(run.seed, workers=True, verbose=False)
    data.prepare_data()
    # Whatever may be refused comes before all is decoded.
    model = create_model(run.model, labels=data.labels, **run.arguments)
    model.check_rate(data)
    newest = keep_newest(folder)
    chosen = newest if run.monitor == LAST else keep_best(folder, run.monitor)
    clock, tracker = Clock(), None
    trainer = _trainer(run, folder, [*dict.fromkeys((chosen, newest)), *callbacks, clock])
    data.setup()
    with claimed(trainer, folder, config, resume):
        if run.tracking is not None:  # not before the trainer has taken its arguments and the fold is ours
            tracker = FoldTracker(run.tracking, model, data, run.seed, settings(run, model, data), folder)
            tracker.follow(trainer)
        _fit(trainer, model, data, last if resume and last.is_file() else None)
        seconds = clock.seconds
        if not chosen.best_model_path:
            if tracker is not None:
                tracker.fail()
            raise RunError(
                f"The training of {folder} ended without a checkpoint: no epoch was trained to its end and gave a value of "
                f"{run.monitor}. Expected at least one, with its validation: see --trainer.max_epochs, max_steps, "
                "fast_dev_run, check_val_every_n_epoch, and limit_train_batches and limit_val_batches."
            )
        yield Trained(model, trainer, chosen, tracker, seconds)


def run_folds(
    run: Run,
    data: SERDataModule,
    folds: Sequence[int],
    root: Path,
    config: Callable[[int], str],
    resume: bool,
    report: Callable[[Row], None],
) -> list[Row]:
    """Run several folds one after the other; what is decoded for one serves them all.

    Args:
        run: what is trained.
        data: any fold of the protocol.
        folds: which.
        root: folder of the run.
        config: gives the text of a fold's ``config.yaml``.
        resume: keep finished folds, go on with an unfinished one.
        report: told each row as it comes.

    Returns:
        The rows; empty in all processes but the first.
    """
    rows: list[Row] = []
    for fold in folds:
        folder = fold_folder(root, fold)
        if resume and (folder / ROW).is_file():
            row: Row | None = rank_zero_only(read_result)(folder / ROW)
        else:
            data = data.for_fold(fold)
            row = run_fold(run, data, folder, config(fold), resume)
            run = without_summary(run)
            gc.collect()  # model and trainer know each other; what they have mapped would stay until the collector comes by
        if row is not None:
            report(row)
            rows.append(row)
    return rows


def without_summary(run: Run) -> Run:
    """The same without Lightning's summary of the model, which one training has shown for all that follow."""
    return replace(run, trainer={**run.trainer, "enable_model_summary": False})


def write_pooled(root: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """Pool the rows of one command, and write that as ``pooled.json``, unless the file is over folds that are not among them.

    Args:
        root: folder of the run.
        rows: of its folds.

    Returns:
        What these rows give together, written or not.
    """
    pooled, file = pool(rows), root / POOLED
    folds = set(pooled["folds"])
    try:
        before = set(json.loads(file.read_text(encoding="utf-8"))["folds"])
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or none that can be read
        before = set()
    if left_out := sorted(before - folds):
        warnings.warn(
            f"{file} stays as it was, over folds {_listed(before)}: this command has not {_listed(left_out)}. To pool all of "
            f"them pass --run_dir {root} --ckpt_path {LAST} --folds {_listed(before | folds)}.",
            SERZooWarning,
            stacklevel=2,
        )
    else:
        write_json(file, pooled)
    return pooled


def make_trainer(arguments: Mapping[str, Any], folder: Path | None = None) -> L.Trainer:
    """A trainer that takes its weights from nowhere but where it is told to.

    Under SLURM Lightning would begin any training or test with the ``hpc_ckpt_*.ckpt`` that stands in the trainer's folder, be
    it of another model or fold, and would write one before it has the job requeued.

    Args:
        arguments: of ``lightning.Trainer``.
        folder: for what it and its callbacks write, of this training alone; None: they write nothing.

    Raises:
        RunError: the trainer refuses its arguments, or they name a folder or a strategy that spawns processes.
    """
    if (given := arguments.get("default_root_dir")) is not None:
        raise RunError(
            f"--trainer.default_root_dir {given} would be shared by the folds of a run. All files of a fold go into its own "
            "folder, in runs or where --run_dir says. Leave it out."
        )
    try:
        trainer = L.Trainer(**{**arguments, "default_root_dir": os.devnull if folder is None else folder})
    except (ImportError, MisconfigurationException, RuntimeError, TypeError, ValueError) as error:  # not all are of its own
        raise RunError(f"The trainer refuses its arguments: {error}") from error
    environment = vars(trainer)["_accelerator_connector"].cluster_environment
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        name = getattr(trainer.strategy, "strategy_name", arguments.get("strategy"))
        raise RunError(
            f"--trainer.strategy {name} does not work here: its processes end with the training, and what they have tested is "
            "lost. Expected ddp, which runs the command in each process; in a notebook --trainer.devices 1."
        )
    return trainer


def score_checkpoint(model: SERModule, data: SERDataModule, trainer: Mapping[str, Any]) -> Scored:
    """Test a loaded model on the test speakers of ``data``.

    Args:
        model: as ``load_model`` gives it.
        data: the fold.
        trainer: arguments of ``lightning.Trainer``.

    Raises:
        RunError: the trainer refuses its arguments.
    """
    collector = PredictionCollector()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    tester = make_trainer({**trainer, **quiet, "callbacks": [collector]})
    with interruptible(tester, resumable=False):
        tester.test(model, datamodule=data, verbose=False)
    return score(collector.batches)


def settings(run: Run, model: SERModule, data: SERDataModule) -> dict[str, Any]:
    """The ``config`` of a row: everything that decides its number, and no local path."""
    arguments = {key: value for key, value in model.hparams.items() if key != "labels"}
    if "encoder" in arguments:
        arguments["encoder"] = Path(str(arguments["encoder"])).name
    arguments["optim"] = asdict(model.optim)
    if model.encoder is not None:
        arguments["encoder_options"] = asdict(model.encoder.options)
    preparation = {
        **asdict(data.preparation),
        "crop_seconds": data.crop_seconds,
        "augment": list(data.augment),
        "augment_probability": data.augment_probability,
        "snr_db": list(data.snr_db),
        "speeds": list(data.speeds),
        "augment_rows": list(data.augment_rows),
        "balanced": data.balanced,
        "soft_labels": data.soft_labels,
    }
    trainer = {key: run.trainer[key] for key in TRAINER_KEYS if run.trainer.get(key) is not None}
    if "max_time" in trainer:
        trainer["max_time"] = str(trainer["max_time"])
    if acting := [type(callback).__name__ for callback in _own_callbacks(run) if not isinstance(callback, WATCHING)]:
        trainer["callbacks"] = acting
    else:
        trainer.pop("callbacks", None)
    return {
        "model": arguments,
        "data": {"task": data.corpus.task.name, "batch_size": data.batch_size, **preparation},
        "trainer": trainer,
        "selection": {"monitor": run.monitor, "patience": run.patience},
        "refit": run.refit,
    }


def _fit(trainer: L.Trainer, model: SERModule, data: SERDataModule, checkpoint: Path | None) -> None:
    for logger in trainer.loggers:
        logger.log_hyperparams({"data": dict(data.hparams)})
    try:
        with interruptible(trainer):
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except (RuntimeError, ValueError) as error:  # it has no error of its own for these
        if not any(words in str(error) for words in ("val_check_interval", "conditioned on metric", "match the world size")):
            raise
        raise RunError(f"The trainer refuses its arguments: {error}") from error
    # Where nothing was left to train, as max_steps or max_time had ended it, the checkpoint's last epoch counts as begun alone.
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epochs.completed = epochs.processed
    # It would answer every checkpoint that is loaded from now on by the weights that it has averaged, as for a training.
    given: list[Callback] = vars(trainer)["callbacks"]
    given[:] = [callback for callback in given if not isinstance(callback, WeightAveraging)]


@contextmanager
def interruptible(trainer: L.Trainer, resumable: bool = True) -> Iterator[None]:
    """Say how to go on where Ctrl-C or SIGTERM ends what the trainer does.

    Where nothing can be gone on with, it is a Ctrl-C. Further processes end without a word, and with 0: when one fails,
    Lightning kills the first, which has the word. A scheduler ends the workers of a loader too, of whose end the trainer may be
    told before it looks for its own.
    """
    try:
        yield
    except (SystemExit, RuntimeError) as error:
        answered = trainer.interrupted if isinstance(error, SystemExit) else trainer.received_sigterm
        if not answered:
            raise
        if not trainer.is_global_zero:
            raise SystemExit(0) from error
        if not resumable:
            raise KeyboardInterrupt from error
        raise InterruptedRunError(f"Interrupted. Repeat the command with --ckpt_path {LAST} to go on.") from error


def _machine(trainer: L.Trainer) -> dict[str, Any]:
    """The ``machine`` of the row."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {**processor(), "device": name, "processes": trainer.world_size}


def _calibrate(
    trainer: L.Trainer, model: SERModule, data: SERDataModule, checkpoint: Path, collector: PredictionCollector
) -> dict[str, Any]:
    """Fit the temperature of a checkpoint by one more pass over its validation side, and store it in the file.

    All processes fit the same, and the first one writes. The cost is that pass, like that of a test, and one reading and
    writing of the file; the fit itself takes 0.1 s for 1,440 utterances of 8 classes.

    Returns:
        The ``calibration`` of the row.

    Raises:
        RunError: the model gives logits that are not finite.
    """
    with interruptible(trainer):
        loader = data.val_dataloader()
        trainer.predict(model, dataloaders=loader, ckpt_path=checkpoint, return_predictions=False, weights_only=True)
    rows = sorted(
        (key, label, row)
        for batch in collector.batches
        for key, label, row in zip(batch["ids"], batch["labels"].tolist(), batch["logits"].tolist(), strict=True)
    )
    logits = np.array([row for _, _, row in rows])
    if not np.isfinite(logits).all():
        raise RunError(
            f"The training diverged: {checkpoint} gives logits that are not finite numbers on the validation speakers. Train "
            "with a lower --model.optim.lr, or with --trainer.gradient_clip_val 1."
        )
    fitted = calibrate(logits, np.array([label for _, label, _ in rows]), data.protocol.validates_on_test)
    if fitted["at_bound"]:
        rank_zero_warn(
            f"Fold {data.fold}: no temperature suits the {len(rows)} validation utterances best, the search ended "
            f"at {fitted['temperature']:g}. Either the model has all of them right, or it knows nothing of them. Its "
            "probabilities stay uncalibrated.",
            category=SERZooWarning,
        )
    _store_calibration(trainer, checkpoint, fitted)
    return fitted


def _store_calibration(trainer: L.Trainer, checkpoint: Path, fitted: Mapping[str, Any]) -> None:
    """Write a temperature into a checkpoint, which is written anew, whole or not at all."""
    if trainer.is_global_zero:
        content = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)
        kept = Calibration(fitted["temperature"], fitted["at_bound"], fitted["validation_is_test"])
        content[CHECKPOINT_KEY]["calibration"] = asdict(kept)
        save_whole(content, checkpoint)
    trainer.strategy.barrier()


def _refit(
    run: Run,
    first: SERDataModule,
    data: SERDataModule,
    folder: Path,
    resume: bool,
    epochs: int,
    calibration: Mapping[str, Any],
    collector: PredictionCollector,
    tracker: FoldTracker | None,
) -> tuple[SERModule, L.Trainer, Path, float]:
    """Train a new model on what ``for_refit`` gives, validating on nobody.

    Args:
        run: of the first training, whose schedule holds here too.
        first: the fold as it was there.
        data: the fold, all of whose speakers but those of the test train.
        folder: of the fold.
        resume: go on from ``checkpoints/refit.ckpt`` where there is one.
        epochs: after which it ends.
        calibration: of the first training; its temperature is kept in the checkpoint.
        collector: for the test.
        tracker: of the W&B run, which is told of a failure.

    Returns:
        Model, trainer, checkpoint, and the seconds that it took, in all its parts where it was interrupted.
    """
    L.seed_everything(run.seed, workers=True, verbose=False)
    model = create_model(run.model, labels=data.labels, **run.arguments)
    alone: dict[str, Any] = {
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        **dict.fromkeys(("min_epochs", "min_steps", "max_time")),
        # One that stops early watches what is not there, and a timer would cut it short.
        "callbacks": [own for own in _own_callbacks(run) if not isinstance(own, EarlyStopping | Timer)],
    }
    if (steps := run.trainer.get("max_steps", -1)) > 0:  # of the first training, whose epochs are shorter
        alone["max_steps"] = -(-steps * _steps_of_epoch(run, data) // _steps_of_epoch(run, first))
    again = without_summary(replace(run, patience=None, trainer={**run.trainer, **alone}))
    followed = [] if tracker is None else [tracker]
    clock = Clock()
    callbacks = [keep_newest(folder, REFIT), StopAfter(epochs), collector, *followed, clock]
    trainer = _trainer(again, folder, callbacks, "refit-curves")
    checkpoint = folder / "checkpoints" / f"{REFIT}.ckpt"
    begun = resume and checkpoint.is_file()
    if not begun or epoch_of(checkpoint) + 1 < epochs:  # else it was interrupted after its end
        _fit(trainer, model, data, checkpoint if begun else None)
    else:
        clock.load_state_dict(read_entry(checkpoint, "callbacks").get(clock.state_key) or clock.state_dict())
    seconds = clock.seconds
    _store_calibration(trainer, checkpoint, calibration)
    return model, trainer, checkpoint, seconds


def _steps_of_epoch(run: Run, data: SERDataModule) -> int:
    """How often the weights change in an epoch."""
    batches, limit = len(data.train_dataloader()), run.trainer.get("limit_train_batches")
    if limit is not None:  # an int counts batches, a float is a share of them
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return -(-batches // (run.trainer.get("accumulate_grad_batches") or 1))


def _own_callbacks(run: Run) -> list[Callback]:
    """The user's callbacks for one training."""
    given = run.trainer.get("callbacks")
    given = given() if callable(given) else given
    return [given] if isinstance(given, Callback) else [*(given or ())]


def _trainer(run: Run, folder: Path, callbacks: Sequence[Callback], curves: str = "curves") -> L.Trainer:
    arguments, own = dict(run.trainer), _own_callbacks(run)
    for kind, reason in UNFIT.items():
        if any(isinstance(callback, kind) for callback in own):
            raise RunError(f"--trainer.callbacks {kind.__name__} does not work here: it {reason}. Leave it out.")
    for averaging in (callback for callback in own if isinstance(callback, WeightAveraging)):
        averages = vars(averaging)["_kwargs"]
        average = averages.get("avg_fn")
        if average is not None and getattr(average, "func", None) is not _exact:  # an instance may be given for several folds
            averages["avg_fn"] = partial(_exact, average)
    added: list[Callback] = [*own, *callbacks, StepSeed(run.seed), StayStopped(), EndTogether()]
    if run.patience is not None:
        # Not strict: where no epoch is validated, `train_fold` says so.
        added.append(EarlyStopping(run.monitor, patience=run.patience, mode=mode_of(run.monitor), strict=False))
    logger = arguments.get("logger")
    if callable(logger):
        logger = logger()
    if logger is None or (logger is True and run.tracking is not None):
        logger = CSVLogger(folder, name=curves)  # a resumed training adds a version to it
    arguments["logger"] = logger
    if arguments.get("devices", "auto") == "auto" and not launched():
        arguments["devices"] = 1  # all there are would take as many batches a step, and the same command give another result
    trainer = make_trainer({**arguments, "callbacks": added}, folder)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()
    # With max_steps it takes a checkpoint for one from within an epoch, and would pass over the next. Ours are of epochs' ends.
    vars(trainer.fit_loop)["_iteration_based_training"] = _by_epochs
    # Lightning takes bfloat16 where a processor is asked for float16, and the row would say what was asked for.
    asked = str(arguments.get("precision"))
    if trainer.precision not in PRECISIONS or (trainer.precision == "bf16-mixed" and "bf16" not in asked):
        reason = "float16 is for GPUs" if trainer.precision == "bf16-mixed" else "weights are float32"
        raise RunError(
            f"--trainer.precision {asked} does not go with these models on {trainer.strategy.root_device.type}: {reason}. "
            "Expected 32-true, bf16-mixed, or on a GPU 16-mixed."
        )
    return trainer


def _exact(average: Callable[..., Tensor], averaged: Tensor, current: Tensor, number: Tensor | int) -> Tensor:
    """An average that leaves equal values as they are, such as those of a frozen encoder, where its own would round them."""
    return torch.where(averaged == current, current, average(averaged, current, number))


def _by_epochs() -> bool:
    """The answer of Lightning's ``_iteration_based_training`` without max_steps; a function that further processes can get."""
    return False


def _listed(folds: Iterable[int]) -> str:
    return ",".join(map(str, sorted(folds)))
