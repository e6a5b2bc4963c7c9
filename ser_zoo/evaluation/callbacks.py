"""Callbacks that every training or test here has: what it draws, when it ends, how long it took, what it gave."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import lightning as L
import numpy as np
import torch.distributed
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ser_zoo.models.base import Predictions

STOPPED = "stopped"  # of a checkpoint: its training had been told to end


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


class EndTogether(Callback):
    """Ends all processes at the same place of a training when one of them gets SIGTERM.

    Lightning's own handler calls the others from within whatever it interrupts, which may be a call to them already: then all
    wait for each other without end, or those that are left fail at what they were doing. Here the signal is only noted; before
    each batch of a training and at the end of a stage all of them agree on it, by one number that they exchange.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen; the trainer gives the signal back at its end."""
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    on_sanity_check_start = on_validation_start = on_predict_start = on_test_start = on_train_start

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """End before this batch."""
        self._agree(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End before the next stage."""
        self._agree(trainer)

    on_predict_end = on_test_end = on_train_end

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise; within a training the epoch is saved first."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._agree(trainer)

    def _note(self, *_: object) -> None:
        self.asked = True

    def _agree(self, trainer: L.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            raise SIGTERMException


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
    """Ends a resumed training at once that had been told to stop; Lightning, which forgets that, would train on."""

    def __init__(self) -> None:
        self.stopped = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note whether the end was asked for, which min_epochs and min_steps may put off; `StopAfter` asks anew by itself."""
        bounded = any(isinstance(callback, StopAfter) for callback in vars(trainer)["callbacks"])
        checkpoint[STOPPED] = trainer.should_stop and not bounded

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take that up; checkpoints from before it was noted do not have it."""
        self.stopped = checkpoint.get(STOPPED, False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask for the end where it was asked for, or the patience had run out."""
        waited = any(stopping.wait_count >= max(1, stopping.patience) for stopping in trainer.early_stopping_callbacks)
        trainer.should_stop = trainer.should_stop or self.stopped or waited
