"""The folders of a run: which one it takes, and that nothing in it is ever overwritten.

A run's folder::

    runs/emo_db-cross_attn-loso10-seed1/
        fold-1/
            config.yaml           everything needed to repeat it
            .lock                 while a command is at work there
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

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ser_zoo.cache import alone, atomic_path
from ser_zoo.errors import InterruptedRunError, RunError, SERZooError
from ser_zoo.evaluation.checkpoints import LAST
from ser_zoo.evaluation.processes import further
from ser_zoo.evaluation.result import ROW

CONFIG = "config.yaml"
LOCK = ".lock"
SECONDS_OF_WORKERS = 10.0  # those of a loader that was killed hold its lock until they notice: torch has them look every 5 s
ROOT_VARIABLE = "SER_ZOO_RUN_ROOT"  # tells Lightning's further processes the folder that the first one has chosen


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
    if further():
        # The first process has chosen, and has begun to write there.
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


@contextmanager
def claimed(trainer: L.Trainer, folder: Path, config: str, resume: bool) -> Iterator[None]:
    """Hold the folder of a fold, and give it back where its training is refused before the first step.

    What is given back are the folders that were not there before, so that the command can be repeated when it is mended.

    Raises:
        RunError: another command is at work there, or has taken or ended the fold while this one was decoding.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as held:
        if trainer.is_global_zero:
            if not resume:
                _take(folder)
            busy = RunError(f"Another command is at work in {folder}. Nothing was changed. Repeat this one when it has ended.")
            held.enter_context(alone(folder / LOCK, busy, SECONDS_OF_WORKERS, required=False))
            if (folder / ROW).exists():
                raise RunError(f"{folder} has been ended by another command since this one began. Repeat it to see its row.")
            with atomic_path(folder / CONFIG) as temporary:
                temporary.write_text(config, encoding="utf-8")
        try:
            yield
        except (SERZooError, MisconfigurationException, OSError) as error:  # OSError: a logger that may not write as told
            begun = trainer.global_step > 0 or any((folder / "checkpoints").glob("*.ckpt"))  # egemaps takes no steps
            refused = not begun and not isinstance(error, InterruptedRunError)
            if refused and trainer.is_global_zero and folder in made:
                shutil.rmtree(folder, ignore_errors=True)
                for parent in made[1:]:
                    with suppress(OSError):  # others have put something there meanwhile
                        parent.rmdir()
            raise


def _take(folder: Path) -> None:
    """Make a ``config.yaml``, by which a fold is taken.

    Raises:
        RunError: another command, begun while this one was decoding, has taken it first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / CONFIG).touch(exist_ok=False)
    except FileExistsError as error:
        raise RunError(
            f"{folder} has been taken by another command since this one began. Repeat it; it will take another folder."
        ) from error


def _siblings(base: Path) -> list[Path]:
    return [path for path in (base, *base.parent.glob(f"{base.name}-[0-9]*")) if path.is_dir()]


def _trained(root: Path, folds: Sequence[int]) -> bool:
    return any(any((fold_folder(root, fold) / "checkpoints").glob("*.ckpt")) for fold in folds)


def _number(base: Path, path: Path) -> int:
    suffix = path.name.removeprefix(base.name).removeprefix("-")
    return int(suffix) if suffix.isdigit() else 1
