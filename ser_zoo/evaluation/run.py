"""One fold from start to finish: train, calibrate the best checkpoint on the validation speakers, test it, write the row.

With ``refit`` it is not that checkpoint which is tested: a new model is trained on training and validation speakers together,
for as many epochs as the validation speakers have chosen.

A run's folder::

    runs/emo_db-cross_attn-loso10-seed1/
        fold-1/
            config.yaml           everything needed to repeat it
            checkpoints/best.ckpt the epoch that was best on the validation speakers; not there with monitor last
            checkpoints/last.ckpt the newest epoch, from which an interrupted run goes on
            checkpoints/refit.ckpt with refit: the newest epoch of the second training, in the end what is tested
            curves/               learning curves, a version per start
            refit-curves/         likewise, of the second training
            wandb/                with tracking: W&B's files, a run per start
            predictions.csv       test speakers: id, speaker, gender, label, predicted, uncalibrated probabilities
            result.json           the row; written last
        pooled.json               over the folds of one command; kept by one that has fewer of them
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import numpy as np
import torch.distributed
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    ProgressBar,
    StochasticWeightAveraging,
    ThroughputMonitor,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from ser_zoo.cache import atomic_path
from ser_zoo.data import SERDataModule
from ser_zoo.errors import InterruptedRunError, RunError, SERZooError, SERZooWarning
from ser_zoo.evaluation.calibration import calibrate
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
    write_json,
    write_result,
)
from ser_zoo.evaluation.tracking import FoldTracker, Tracking
from ser_zoo.models import create_model
from ser_zoo.models.base import CHECKPOINT_KEY, Calibration, Predictions, SERModule

BEST, LAST, REFIT = "best", "last", "refit"
POOLED = "pooled.json"
ROOT_VARIABLE = "SER_ZOO_RUN_ROOT"  # tells Lightning's further processes the folder that the first one has chosen
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
IDLE: Mapping[type[Callback], str] = {  # callbacks that would act on nothing that is tested
    StochasticWeightAveraging: "averages weights when the last checkpoint is written; EMAWeightAveraging does so before",
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


@dataclass(frozen=True)
class Trained:
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


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one before, whose name it takes when it is whole.

    Lightning's writes it into the system's temporary folder, and copies it over the one before where that is on another disk:
    whoever is killed in between, or runs out of room, has neither.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write it; to another machine as Lightning does.

        Raises:
            RunError: it cannot be written here.
        """
        if "://" in str(path):  # of a further ModelCheckpoint, such as s3://
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            save_whole(checkpoint, Path(path))


class Checkpoints(ModelCheckpoint):
    """Lightning's, which forgets the best epoch when a run goes on in a folder that was moved, and would choose anew."""

    @property
    def state_key(self) -> str:
        """As of the base, under which runs that were begun before this class was have theirs."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the files are now what was noted where they were."""
        before, here = str(state_dict["dirpath"]), str(self.dirpath)

        def moved(path: str) -> str:
            return here + path.removeprefix(before) if path.startswith(before) else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        scores = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": scores, "dirpath": here})


class PredictionCollector(Callback):
    """Gathers what all processes give in a test or a prediction."""

    def __init__(self) -> None:
        self.batches: list[Predictions] = []

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self.batches = []

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what the step gave, off the device."""
        logits, labels = outputs["logits"].cpu(), outputs["labels"].cpu()
        self.batches.append({"ids": outputs["ids"], "logits": logits, "labels": labels})

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Exchange the batches, so that every process has all of them."""
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self.batches)
            self.batches = [batch for part in parts for batch in part]

    on_predict_start, on_predict_batch_end, on_predict_end = on_test_start, on_test_batch_end, on_test_end


class StepSeed(Callback):
    """Seeds each step by run seed, epoch and batch, so that a resumed run draws what an uninterrupted one would have drawn.

    Per epoch would not do: making a data loader's iterator draws too, and at another moment after a resumption.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed dropout; order, crops and noise are seeded by the data module in the same way."""
        step = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(step).generate_state(1, np.uint64)[0] >> 1))


class Clock(Callback):
    """How long a training took, with what its checkpoint took before it was interrupted."""

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Until now."""
        return self.before + time.perf_counter() - self.started

    def state_dict(self) -> dict[str, float]:
        """For the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """From a checkpoint that is gone on from."""
        self.before = state_dict["seconds"]


class StopAfter(Callback):
    """Ends a training after so many epochs, while its schedule stays that of the whole."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask for the end."""
        trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 >= self.epochs


class StayStopped(Callback):
    """Ends a resumed training at once that had been stopped early; Lightning would train one more epoch each time."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask for the end where the patience had run out."""
        waited = any(stopping.wait_count >= max(1, stopping.patience) for stopping in trainer.early_stopping_callbacks)
        trainer.should_stop = trainer.should_stop or waited


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
    trained = train_fold(run, data, folder, config, resume, [collector])
    model, trainer, chosen, tracker = trained.model, trained.trainer, trained.chosen, trained.tracker
    tested, epochs, features, fitted = (
        Path(chosen.best_model_path),
        trainer.current_epoch,
        model.feature_seconds,
        trained.seconds,
    )
    epoch = _epoch(tested)
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
    with _interruptible(trainer):
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
        "epoch": _epoch(tested),
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


def train_fold(
    run: Run, data: SERDataModule, folder: Path, config: str = "", resume: bool = False, callbacks: Sequence[Callback] = ()
) -> Trained:
    """Train on one fold; no test speaker is evaluated.

    Args:
        run: what is trained.
        data: the fold.
        folder: of this fold.
        config: text of ``config.yaml``.
        resume: go on from ``checkpoints/last.ckpt`` where there is one.
        callbacks: for the trainer, besides those of ``run``.

    Raises:
        RunError: the training was interrupted, or ended without a checkpoint, or the one to go on from is damaged.
        SERZooError: data and model do not fit.
    """
    last = folder / "checkpoints" / f"{LAST}.ckpt"
    if begun := resume and last.is_file():
        _epoch(last)
    L.seed_everything(run.seed, workers=True, verbose=False)
    data.prepare_data()
    data.setup()
    model = create_model(run.model, labels=data.labels, **run.arguments)
    newest = _newest(folder)
    chosen = newest if run.monitor == LAST else _best(folder, run.monitor)
    clock, tracker = Clock(), None
    trainer = _trainer(run, folder, [*dict.fromkeys((chosen, newest)), *callbacks, clock])
    with _claimed(trainer, folder, config, resume):
        if run.tracking is not None:  # not before the trainer has taken its arguments and the fold is ours
            tracker = FoldTracker(run.tracking, model, data, run.seed, settings(run, model, data), folder)
            tracker.follow(trainer)
        _fit(trainer, model, data, last if begun else None)
        seconds = clock.seconds
        if not chosen.best_model_path:
            if tracker is not None:
                tracker.fail()
            raise RunError(
                f"The training of {folder} ended without a checkpoint: no epoch was trained to its end and gave a value of "
                f"{run.monitor}. Expected at least one, with its validation: see --trainer.max_epochs, max_steps, "
                "fast_dev_run, check_val_every_n_epoch, and limit_train_batches and limit_val_batches."
            )
    return Trained(model, trainer, chosen, tracker, seconds)


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
        before = set(json.loads(file.read_text())["folds"])
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


def part_processes() -> None:
    """End the group of processes that trained together; nothing where there is none.

    Lightning does so for GPUs alone. On a CPU a group that outlives the interpreter now and then aborts a process that is done:
    a thread of gloo frees its last tensors when there is no interpreter any more (pytorch issue 190489).
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def make_trainer(arguments: Mapping[str, Any]) -> L.Trainer:
    """Lightning's trainer.

    Args:
        arguments: of ``lightning.Trainer``.

    Raises:
        RunError: it refuses its arguments, in its words.
    """
    try:
        return L.Trainer(**arguments)
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:  # it has no error of its own for some
        raise RunError(f"The trainer refuses its arguments: {error}") from error


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
    make_trainer({**trainer, **quiet, "callbacks": [collector]}).test(model, datamodule=data, verbose=False)
    return score(collector.batches)


def fold_folder(root: Path, fold: int) -> Path:
    """Where the files of a fold are."""
    return root / f"fold-{fold}"


def choose_root(
    name: str, folds: Sequence[int], chosen: Path | None, resume: bool, apart: Callable[[Path], str] = lambda root: ""
) -> Path:
    """The folder of a run, whose folds are all of one configuration; nothing that exists is ever overwritten.

    Args:
        name: of the run, below ``runs``.
        folds: that will be run.
        chosen: the user's own folder; None makes one of ``name``, with a number when the folds are there already.
        resume: take the newest run of that name instead of a new one; one of this configuration before others, and one that
            holds a checkpoint of these folds before one that does not, which a failed start may have left.
        apart: says which fold in a folder is of another configuration than what will be run; empty: none.

    Raises:
        RunError: a fold is in the chosen folder already, or folds of another configuration are; or there is nothing to resume.
    """
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        # A further process of the same run: the first one has chosen, and has begun to write there.
        if inherited := os.environ.get(ROOT_VARIABLE) or chosen:
            return Path(inherited)
        raise RunError("With an external launcher the processes cannot agree on a run folder. Pass --run_dir.")
    base = chosen or Path("runs") / name
    if resume:
        root = chosen or max(
            _siblings(base),
            key=lambda path: (not apart(path), _trained(path, folds), _number(base, path)),
            default=base,
        )
        if not root.is_dir():
            raise RunError(f"Nothing to resume: there is no run {root}. Leave --ckpt_path out to start it.")
        if other := apart(root):
            raise RunError(
                f"Cannot go on with {root}: it holds {other}. Repeat the command that began it, or leave --ckpt_path out to "
                "start a new run."
            )
    elif chosen is not None:
        root = chosen
        if taken := [fold for fold in folds if fold_folder(root, fold).exists()]:
            raise RunError(
                f"{root} holds fold {', '.join(map(str, taken))} already. Results are never overwritten: pass another "
                f"--run_dir, or --ckpt_path {LAST} to go on with that run."
            )
        if other := apart(root):
            raise RunError(f"{root} holds {other}. The folds of a run have one configuration: pass another --run_dir.")
    else:
        root, number = base, 1
        while any(fold_folder(root, fold).exists() for fold in folds) or apart(root):
            number += 1
            root = base.with_name(f"{base.name}-{number}")
    os.environ[ROOT_VARIABLE] = str(root.absolute())
    return root


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


@contextmanager
def _claimed(trainer: L.Trainer, folder: Path, config: str, resume: bool) -> Iterator[None]:
    """Hold the folder of a fold, and give it back where its training is refused before the first step.

    What is given back are the folders that were not there before, so that the command can be repeated when it is mended.

    Raises:
        RunError: as ``_claim``.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    if trainer.is_global_zero:
        _claim(folder, config, resume)
    try:
        yield
    except (SERZooError, MisconfigurationException, OSError) as error:  # OSError: a logger that may not write where it is told
        refused = trainer.global_step == 0 and not isinstance(error, InterruptedRunError)
        if refused and trainer.is_global_zero and folder in made:
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made[1:]:
                with suppress(OSError):  # others have put something there meanwhile
                    parent.rmdir()
        raise


def _claim(folder: Path, config: str, resume: bool) -> None:
    """Write ``config.yaml``; by it a fold is taken.

    Raises:
        RunError: another command, begun at nearly the same time, has taken it first.
    """
    file = folder / "config.yaml"
    if not resume:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file.touch(exist_ok=False)
        except FileExistsError as error:
            raise RunError(
                f"{folder} has been taken by another command since this one began. Repeat it; it will take another folder."
            ) from error
    with atomic_path(file) as temporary:
        temporary.write_text(config)


def _fit(trainer: L.Trainer, model: SERModule, data: SERDataModule, checkpoint: Path | None) -> None:
    for logger in trainer.loggers:
        logger.log_hyperparams({"data": dict(data.hparams)})
    try:
        with _interruptible(trainer):
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except ValueError as error:
        if "val_check_interval" not in str(error):
            raise
        raise RunError(f"The trainer refuses its arguments: {error}") from error  # it has no error of its own for this
    # It would answer every checkpoint that is loaded from now on by the weights that it has averaged, as for a training.
    given: list[Callback] = vars(trainer)["callbacks"]
    given[:] = [callback for callback in given if not isinstance(callback, WeightAveraging)]


@contextmanager
def _interruptible(trainer: L.Trainer) -> Iterator[None]:
    """Say how to go on where Ctrl-C ends what the trainer does."""
    try:
        yield
    except SystemExit as error:
        if trainer.interrupted:  # Lightning's answer to Ctrl-C
            raise InterruptedRunError(f"Interrupted. Repeat the command with --ckpt_path {LAST} to go on.") from error
        raise


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
    with _interruptible(trainer):
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
        # One that stops early watches what is not there.
        "callbacks": [own for own in _own_callbacks(run) if not isinstance(own, EarlyStopping)],
    }
    if (steps := run.trainer.get("max_steps", -1)) > 0:  # of the first training, whose epochs are shorter
        alone["max_steps"] = -(-steps * _steps_of_epoch(run, data) // _steps_of_epoch(run, first))
    again = without_summary(replace(run, patience=None, trainer={**run.trainer, **alone}))
    followed = [] if tracker is None else [tracker]
    clock = Clock()
    callbacks = [_newest(folder, REFIT), StopAfter(epochs), collector, *followed, clock]
    trainer = _trainer(again, folder, callbacks, "refit-curves")
    checkpoint = folder / "checkpoints" / f"{REFIT}.ckpt"
    begun = resume and checkpoint.is_file()
    if not begun or _epoch(checkpoint) + 1 < epochs:  # else it was interrupted after its end
        _fit(trainer, model, data, checkpoint if begun else None)
    else:
        clock.load_state_dict(_read(checkpoint, "callbacks").get(clock.state_key) or clock.state_dict())
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


def save_whole(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        RunError: it cannot be written, as on a full disk.
    """
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
    except (OSError, RuntimeError) as error:
        reason = error.__context__ if isinstance(error.__context__, OSError) else error  # torch's words are about zip files
        raise RunError(
            f"Cannot write the checkpoint {path}: {reason}. An older one there is still whole. Expected a place that can be "
            f"written and has room; then go on with --ckpt_path {LAST}."
        ) from error


def _epoch(checkpoint: Path) -> int:
    """The epoch after which a checkpoint of a run was written, from 0; the error is that of ``_read``."""
    return int(_read(checkpoint, "epoch"))


def _read(checkpoint: Path, key: str) -> Any:
    """What a checkpoint of a run has under a key.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        return torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)[key]
    except (OSError, RuntimeError, UnpicklingError, KeyError, TypeError) as error:
        folder = checkpoint.parents[1]
        raise RunError(
            f"Cannot go on with {folder}: {checkpoint} is missing or damaged ({type(error).__name__}). Remove {folder} and "
            f"pass --run_dir {folder.parent} --ckpt_path {LAST}; the fold is then trained from its beginning."
        ) from error


def _trainer(run: Run, folder: Path, callbacks: Sequence[Callback], curves: str = "curves") -> L.Trainer:
    arguments, own = dict(run.trainer), _own_callbacks(run)
    for kind, reason in IDLE.items():
        if any(isinstance(callback, kind) for callback in own):
            raise RunError(f"--trainer.callbacks {kind.__name__} would change no row: it {reason}. Leave it out.")
    added: list[Callback] = [*own, *callbacks, StepSeed(run.seed), StayStopped()]
    if run.patience is not None:
        # Not strict: where no epoch is validated, `train_fold` says so.
        added.append(EarlyStopping(run.monitor, patience=run.patience, mode=_mode(run.monitor), strict=False))
    logger = arguments.get("logger")
    if callable(logger):
        logger = logger()
    if logger is None or (logger is True and run.tracking is not None):
        logger = CSVLogger(folder, name=curves)  # a resumed training adds a version to it
    arguments["logger"] = logger
    trainer = make_trainer({**arguments, "callbacks": added})
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()
    # Lightning takes bfloat16 where a processor is asked for float16, and the row would say what was asked for.
    asked = str(arguments.get("precision"))
    if trainer.precision not in PRECISIONS or (trainer.precision == "bf16-mixed" and "bf16" not in asked):
        reason = "float16 is for GPUs" if trainer.precision == "bf16-mixed" else "weights are float32"
        raise RunError(
            f"--trainer.precision {asked} does not go with these models on {trainer.strategy.root_device.type}: {reason}. "
            "Expected 32-true, bf16-mixed, or on a GPU 16-mixed."
        )
    return trainer


def _best(folder: Path, monitor: str) -> ModelCheckpoint:
    return Checkpoints(
        folder / "checkpoints",
        filename=BEST,
        monitor=monitor,
        mode=_mode(monitor),
        enable_version_counter=False,
    )


def _newest(folder: Path, name: str = LAST) -> ModelCheckpoint:
    # After the epoch is over, not after its validation, or a resumed run would begin in the middle of that epoch.
    return Checkpoints(folder / "checkpoints", filename=name, save_on_train_epoch_end=True, enable_version_counter=False)


def _mode(monitor: str) -> str:
    return "min" if monitor.endswith("loss") else "max"


def _listed(folds: Iterable[int]) -> str:
    return ",".join(map(str, sorted(folds)))


def _siblings(base: Path) -> list[Path]:
    return [base, *base.parent.glob(f"{base.name}-[0-9]*")] if base.is_dir() else []


def _trained(root: Path, folds: Sequence[int]) -> bool:
    return any(any((fold_folder(root, fold) / "checkpoints").glob("*.ckpt")) for fold in folds)


def _number(base: Path, path: Path) -> int:
    suffix = path.name.removeprefix(base.name).removeprefix("-")
    return int(suffix) if suffix.isdigit() else 1
