"""Label and probabilities of recordings."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from tqdm import tqdm

from ser_zoo.corpora.base import short_list
from ser_zoo.data import read_audio
from ser_zoo.data.audio import Waveform
from ser_zoo.data.datamodule import collate
from ser_zoo.errors import AudioError, SERZooError, SERZooWarning
from ser_zoo.models.base import SERModule
from ser_zoo.registry import expect_known

FRAME = 0.025  # seconds; what the encoders here, and most spectrograms, make their shortest frame of
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")


class Prediction(NamedTuple):
    """What the model says of one recording.

    Attributes:
        path: the recording.
        label: the most probable class.
        probability: of that class.
        probabilities: per class name.
        temperature: that calibrated them, softmax(logits / temperature); None: they are the uncalibrated softmax(logits).
    """

    path: Path
    label: str
    probability: float
    probabilities: dict[str, float]
    temperature: float | None


def audio_paths(inputs: Iterable[Path | str] | Path | str) -> list[Path]:
    """The recordings that files and folders, or one of them, stand for; folders are searched to any depth, and through links.

    Raises:
        AudioError: an input does not exist, or a folder holds no recording.
    """
    paths: list[Path] = []
    for item in map(Path, [inputs] if isinstance(inputs, Path | str) else inputs):
        if item.is_dir():
            found = sorted(_recordings(item))
            if not found:
                raise AudioError(f"The folder {item} holds no recording. Expected files with {', '.join(SUFFIXES)}.")
            paths += found
        elif item.exists() or item.is_symlink():
            paths.append(item)
        else:
            raise AudioError(f"There is no file or folder {item}.")
    return list(dict.fromkeys(paths))


def _recordings(folder: Path) -> Iterator[Path]:
    """What looks like one in ``folder`` and all below it, each folder once; a link to nothing is one that cannot be read."""

    def left_out(error: OSError) -> None:
        warnings.warn(
            f"The folder {error.filename} cannot be read ({error.strerror}), and is left out.", SERZooWarning, stacklevel=2
        )

    seen = set()
    for place, folders, names in os.walk(folder, onerror=left_out, followlinks=True):
        status = os.stat(place)  # noqa: PTH116 - of a string
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES and (path.is_file() or path.is_symlink()):
                yield path


def predict(
    model: SERModule,
    inputs: Iterable[Path | str] | Path | str,
    batch_size: int = 16,
    progress: bool = False,
    calibrated: bool = True,
    on_bad_audio: Literal["error", "skip"] = "error",
) -> list[Prediction]:
    """Classify recordings; warns of those that are cut, and of those whose probabilities mean nothing.

    Args:
        model: as ``load_model`` gives it.
        inputs: files and folders, or one of them.
        batch_size: recordings at a time.
        progress: show a bar, if stderr is a terminal.
        calibrated: apply the model's temperature, if it has one that validation speakers determined. Labels are the same
            without it.
        on_bad_audio: stop at a recording that cannot be decoded, or skip it with a warning.

    Returns:
        One prediction per recording that is not skipped, in the order of the inputs.

    Raises:
        AudioError: an input does not exist or cannot be decoded; with ``skip``, none can.
        SERZooError: an unknown ``on_bad_audio``, or ``batch_size`` is less than 1.
    """
    expect_known(predict, {"on_bad_audio": on_bad_audio}, "predict")
    if batch_size < 1:
        raise SERZooError(f"predict.batch_size {batch_size} makes no sense; expected 1 or more.")
    paths = audio_paths(inputs)
    fitted = model.calibration
    temperature = fitted.temperature if calibrated and fitted is not None and fitted.doubt is None else None
    bar = tqdm(total=len(paths), desc="predicting", unit="file", leave=False, delay=0.5, disable=None if progress else True)
    predictions: list[Prediction] = []
    bad: list[str] = []
    cut: list[str] = []
    empty: list[str] = []
    longest = model.preparation.max_seconds
    model.eval()
    with bar, torch.inference_mode():
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            clips: dict[Path, Waveform] = {}
            for path in chunk:
                try:
                    waveform, rate = read_audio(path)
                except AudioError as error:
                    if on_bad_audio == "error" or len(paths) == 1:
                        raise
                    bad.append(str(error))
                    continue
                if len(waveform) > longest * rate:
                    cut.append(str(path))
                used = waveform[: max(1, round(longest * rate))]
                if len(used) < FRAME * rate or used.min() == used.max():
                    empty.append(str(path))
                clips[path] = model.preparation(waveform, rate)
            if clips:
                predictions += _classify(model, clips, temperature)
            bar.update(len(chunk))
    for text in [*bad, *_notices(cut, empty, len(paths), longest)]:
        warnings.warn(text, SERZooWarning, stacklevel=2)
    if not predictions:
        raise AudioError(f"None of the {len(paths)} recordings can be used. Expected one at least.")
    return predictions


def _classify(model: SERModule, clips: Mapping[Path, Waveform], temperature: float | None) -> list[Prediction]:
    batch = collate(list(clips.values()), [str(path) for path in clips])
    logits = model(model.transfer_batch_to_device(batch, model.device, 0)).cpu().double()  # Apple's GPUs have no float64
    shares = (logits if temperature is None else logits / temperature).softmax(1)
    predictions = []
    for path, best, row in zip(clips, logits.argmax(1).tolist(), shares.tolist(), strict=True):
        probabilities, label = dict(zip(model.labels, row, strict=True)), model.labels[best]
        predictions.append(Prediction(path, label, probabilities[label], probabilities, temperature))
    return predictions


def _notices(cut: Sequence[str], empty: Sequence[str], total: int, longest: float) -> Iterator[str]:
    """What is to be known of recordings that can be read."""
    if cut:
        about = f"Longer than {longest:g} s, and cut to that as in training (--data.max_seconds)"
        yield f"{about}: {len(cut)} of {total} recordings, {short_list(cut, 5)}."
    if empty:
        about = f"Silent or shorter than {1000 * FRAME:g} ms, so that the probabilities mean nothing"
        yield f"{about}: {len(empty)} of {total} recordings, {short_list(empty, 5)}."
