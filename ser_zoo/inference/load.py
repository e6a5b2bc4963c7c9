"""From a checkpoint file to a model, without a pickle and without knowing its architecture beforehand."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch

from ser_zoo.corpora.base import short_list
from ser_zoo.data import SERDataModule
from ser_zoo.errors import EncoderError, MismatchError, RunError, SERZooError
from ser_zoo.models import model_class
from ser_zoo.models.base import CHECKPOINT_KEY, SERModule

# What must be as in training; a different version of a protocol has a different hash.
IDENTITY = ("corpus", "protocol", "protocol_hash", "fold", "labels")


class Checkpoint(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
        model: name of the architecture.
        labels: class names in the order of the outputs.
        trained_on: corpus, protocol, fold ... (``SERDataModule.identity``), and who was ``heard``; None when it was trained on
            plain loaders.
        arguments: of the architecture's class.
        data: arguments of the data module; empty when there was none.
    """

    model: str
    labels: list[str]
    trained_on: dict[str, Any] | None
    arguments: dict[str, Any]
    data: dict[str, Any]


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read what a checkpoint says of itself; builds no model.

    Raises:
        RunError: the file is missing, damaged, or not a checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        # What was tested: after a refit that model, with monitor last the newest epoch, else the chosen one.
        names = ("refit.ckpt", "best.ckpt", "last.ckpt")
        folder, pattern = (path, "**/{}") if path.is_dir() else (path.parent, "{}")
        near = [found for name in names for found in sorted(folder.glob(pattern.format(name)))]
        others = len({found.parent for found in near}) - 1
        if not near:
            hint = "Expected a .ckpt file, such as RUN/fold-1/checkpoints/best.ckpt."
        elif others > 0:
            hint = f"Below it are those of {others + 1} folds, such as {near[0]}. Name one of them."
        else:
            hint = f"Did you mean {near[0]}?"
        raise RunError(f"There is no checkpoint file {path}. {hint}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        content = dict(content)  # a tensor would warn of the key before it refuses it
        identity, arguments = content[CHECKPOINT_KEY], content["hyper_parameters"]
        model, labels, trained_on = identity["model"], identity["labels"], identity["trained_on"]
    except OSError as error:
        raise RunError(f"The checkpoint {path} cannot be read: {error}.") from error
    except (RuntimeError, UnpicklingError, KeyError, TypeError, ValueError) as error:  # their words are about pickles
        raise RunError(
            f"{path} is not a checkpoint of ser-zoo, or is damaged. Expected a .ckpt file that ser-zoo fit has written, such "
            "as RUN/fold-1/checkpoints/best.ckpt."
        ) from error
    return Checkpoint(model, labels, trained_on, arguments, content.get("datamodule_hyper_parameters", {}))


def check_identity(checkpoint: Checkpoint, data: SERDataModule, allow: bool = False) -> str:
    """Refuse to test on other data than the checkpoint was trained to be tested on.

    Args:
        checkpoint: what it says of itself.
        data: that it is to be tested on.
        allow: the user knows, and takes other data, whose labels the checkpoint has all.

    Returns:
        What differs, in words; empty if nothing does. By it the protocol's word that no speaker is heard twice does not hold.

    Raises:
        MismatchError: something differs, or test speakers were heard in the training; labels that the checkpoint has not are
            never allowed, as no output means them.
    """
    found = data.identity()
    expected = checkpoint.trained_on or {}
    same_labels = checkpoint.labels == data.labels or (allow and set(data.labels) <= set(checkpoint.labels))
    if not same_labels:
        raise MismatchError(
            f"The checkpoint tells {', '.join(checkpoint.labels)} apart, but {data.corpus.name} here has "
            f"{', '.join(data.labels)}. Expected the same labels."
        )
    differing = [key for key in IDENTITY if expected.get(key) != found[key]]
    changes = "; ".join(f"{key} was {expected.get(key)}, is {found[key]}" for key in differing)
    if differing and not allow:
        raise MismatchError(
            f"The checkpoint was not trained for this test ({changes}), so it may have been trained on these speakers. "
            "Leave out the arguments that differ; if you know that they are new to it, ser-zoo test takes --allow-mismatch."
        )
    # Under the same protocol a table, or what there is of a release, may have other sides than it had, or a training went on.
    if not differing and (heard := set(expected.get("heard", ()))):
        tested = {row.speaker for row in data.split.test}
        if known := sorted(tested & heard):
            changes = (
                f"it has heard {len(known)} of the {len(tested)} test speakers, {short_list(known, 5)}, as the data at "
                f"{data.corpus.root} are not those of its training, or not all of them"
            )
            if not allow:
                raise MismatchError(
                    f"The checkpoint was not trained for this test: {changes}. Test it on speakers who are new to it; "
                    "if speakers of the same names are others, ser-zoo test takes --allow-mismatch."
                )
    return changes


def load_model(path: Path | str, encoder: str | None = None, device: torch.device | str = "cpu") -> SERModule:
    """A trained model, ready to predict.

    Args:
        path: the checkpoint.
        encoder: hub name or folder of the encoder, where it is no longer at the place the training found it.
        device: where the model is put, as ``find_device`` takes it.

    Returns:
        The model in evaluation mode; its attribute ``labels`` names the outputs.

    Raises:
        RunError: not a readable checkpoint of this package.
        EncoderError: the encoder cannot be found, is another one than that of the training, or the model has none.
        SERZooError: there is no such device.
    """
    device = find_device(device)
    checkpoint = read_checkpoint(path)
    architecture = model_class(checkpoint.model)
    changed = {"encoder": encoder} if encoder is not None else {}
    if changed and "encoder" not in inspect.signature(architecture).parameters:
        raise EncoderError(f"{checkpoint.model} has no encoder, but --encoder {encoder} names one. Leave it out.")
    try:
        model = architecture.load_from_checkpoint(path, map_location=device, weights_only=True, strict=True, **changed)
    except EncoderError as error:
        # The advice is that for a training; whoever loads a checkpoint names its encoder by another option.
        raise EncoderError(re.sub(r"--model\.encoder\b", "--encoder", str(error))) from error
    return model.to(device).eval()


def find_device(name: torch.device | str) -> torch.device:
    """A device that this machine has.

    Args:
        name: as torch names it (cpu, cuda, cuda:1, mps ...), or ``auto``, the machine's accelerator if it has one, else cpu.

    Raises:
        SERZooError: it cannot be used here.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        torch.zeros(1, device=name).cpu()  # torch knows the names of many devices that it cannot use
    except (RuntimeError, AssertionError, ImportError) as error:  # which one depends on what torch was built for
        reason = re.split(r"\.\s|\n", str(error))[0]
        known = "cpu" if accelerator is None else f"cpu and {accelerator.type}"
        raise SERZooError(
            f"--device {name} cannot be used here (torch: {reason}). This machine has {known}; expected that, or auto."
        ) from error
    found = torch.device(name)
    if found.type == "cpu" and found.index:  # torch computes there, and cannot load a checkpoint to it
        raise SERZooError(f"--device {name} cannot be used here. This machine has one cpu; expected that, or auto.")
    return found
