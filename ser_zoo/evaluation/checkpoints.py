"""The checkpoints of a run: which epochs they are of, that they are whole, and what is read of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from ser_zoo.cache import atomic_path
from ser_zoo.errors import RunError

BEST, LAST, REFIT = "best", "last", "refit"


def keep_best(folder: Path, monitor: str) -> ModelCheckpoint:
    """Keeps ``checkpoints/best.ckpt`` of a fold: the epoch that is best by a metric."""
    return Checkpoints(
        folder / "checkpoints",
        filename=BEST,
        monitor=monitor,
        mode=mode_of(monitor),
        enable_version_counter=False,
    )


def keep_newest(folder: Path, name: str = LAST) -> ModelCheckpoint:
    """Keeps ``checkpoints/last.ckpt`` of a fold, or one of another name: the newest epoch."""
    # After the epoch is over, not after its validation, or a resumed run would begin in the middle of that epoch.
    return Checkpoints(folder / "checkpoints", filename=name, save_on_train_epoch_end=True, enable_version_counter=False)


def mode_of(monitor: str) -> str:
    """Which end of a metric is the good one, ``min`` or ``max``."""
    return "min" if monitor.endswith("loss") else "max"


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


def epoch_of(checkpoint: Path) -> int:
    """The epoch after which a checkpoint of a run was written, from 0; the error is that of ``read_entry``."""
    return int(read_entry(checkpoint, "epoch"))


def read_entry(checkpoint: Path, key: str) -> Any:
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
