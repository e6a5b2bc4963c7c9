"""Recordings on disk -> mono float32 at one sample rate, and the hash that tells identical audio."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile

from ser_zoo.errors import AudioError

if TYPE_CHECKING:  # imported where it is used, so that recordings can be verified without waiting for torch
    from torchaudio.transforms import Resample

Waveform = npt.NDArray[np.float32]
# As libsndfile's log names a chunk of samples that is shorter than its header announces. That is 2 or 4 GiB where whoever wrote
# it could not go back to correct it.
CUT = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
UNKNOWN_SIZE = 2**31 - 1
LEAST = 0.5  # share of a stretch that must be there; ends are rounded, or set a little late, and milliseconds are no seconds
MISSING = 0.01  # share of the samples that may be missing, as a header may count some bytes too many
# Where libsndfile does not begin as it would have gone on: mp3 lacks the bits that frames borrow from those before them, and in
# the last page of an ogg it takes another place. So decoding begins some seconds earlier, which is more than a page.
INEXACT, LEAD = ("MP3", "OGG"), 10
ADVICE = "Restore the file, or leave it out (in training with --data.on_bad_audio skip)."


@dataclass(frozen=True)
class Preparation:
    """What is done to every utterance before a model sees it, in training and in prediction alike.

    Attributes:
        sample_rate: Hz.
        min_seconds: shorter utterances are repeated until they are at least this long; 0 leaves them.
        max_seconds: what lies beyond is cut off.
    """

    sample_rate: int = 16_000
    min_seconds: float = 0.0
    max_seconds: float = 30.0

    def __call__(self, waveform: Waveform, rate: int) -> Waveform:
        """Prepare one utterance: (T,) at ``rate`` Hz -> (T',) at ``sample_rate`` Hz, T' >= 1."""
        resampled = resample(waveform, rate, self.sample_rate)
        shortest = round(self.min_seconds * self.sample_rate)
        if len(resampled) < shortest:
            resampled = np.tile(resampled, -(-shortest // len(resampled)))
        return resampled[: max(1, round(self.max_seconds * self.sample_rate))]


def read_audio(path: Path, start: float = 0.0, end: float | None = None) -> tuple[Waveform, int]:
    """Decode a recording, or the stretch from ``start`` to ``end`` seconds of it, to mono.

    The format is told by the content, not by the suffix (some corpora have AIFF inside ``.wav``). Channels are averaged.

    Returns:
        (T,) float32, in [-1, 1] but where floats are stored beyond it, and the sample rate in Hz.

    Raises:
        AudioError: the file is missing, damaged, cut off (told of wav, aiff, au and flac), in no known format, empty, holds
            values that are not finite, or has less than half of the stretch.
    """
    # soundfile would encode a name strictly, and some names are not UTF-8; elsewhere names are no bytes.
    name = os.fsencode(path) if os.name == "posix" else path
    try:
        with soundfile.SoundFile(name) as file:
            rate = int(file.samplerate)
            seconds = file.frames / rate
            first = min(round(start * rate), file.frames)
            lead = min(first, LEAD * rate) if file.format in INEXACT else 0
            file.seek(first - lead)
            frames = -1 if end is None else lead + max(0, round(end * rate) - first)
            samples = file.read(frames, dtype="float32", always_2d=True)[lead:]
            cut = CUT.search(file.extra_info)
    except (OSError, TypeError, soundfile.SoundFileError) as error:  # TypeError: headerless formats such as .raw
        found = str(error).removeprefix(f"Error opening {name!r}: ").rstrip(".")
        reason = found if path.exists() else "the file does not exist"
        raise AudioError(f"Cannot read {path}: {reason}. Expected a wav, flac, ogg, mp3 or aiff recording. {ADVICE}") from error
    waveform: Waveform = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if cut is not None and int(cut[2]) < (1 - MISSING) * int(cut[1]) and int(cut[1]) < UNKNOWN_SIZE:
        raise AudioError(
            f"Cannot use {path}: it is cut off, as by a download that did not end: {cut[2]} of the {cut[1]} bytes of audio "
            f"that its header announces are there. {ADVICE}"
        )
    stretch = f"from {start:g} s to {'its end' if end is None else f'{end:g} s'}"
    if len(waveform) == 0 and seconds > 0 and (start, end) != (0.0, None):
        raise AudioError(f"Cannot use {path}: it is {seconds:g} s long, and holds no samples {stretch}. {ADVICE}")
    if end is not None and seconds > 0 and len(waveform) < LEAST * (end - start) * rate:
        raise AudioError(
            f"Cannot use {path}: it is {seconds:g} s long, and holds less than half of the stretch {stretch}. Expected both in "
            f"seconds, and no end where that of the recording is meant. {ADVICE}"
        )
    if len(waveform) == 0 or not np.isfinite(waveform).all():
        fault = "it holds no samples" if len(waveform) == 0 else "it holds values that are not finite"
        raise AudioError(f"Cannot use {path}: {fault}. {ADVICE}")
    return np.ascontiguousarray(waveform), rate


def resample(waveform: Waveform, rate: int, target: int) -> Waveform:
    """Resample (T,) from ``rate`` to ``target`` Hz by windowed-sinc interpolation (torchaudio's defaults)."""
    if rate == target:
        return waveform
    import torch

    resampled: Waveform = _resampler(rate, target)(torch.from_numpy(waveform)).numpy()
    return resampled


@lru_cache(maxsize=16)
def _resampler(rate: int, target: int) -> Resample:
    from torchaudio.transforms import Resample

    # The module keeps the interpolation kernel, which costs more to make than to apply.
    return Resample(rate, target)


def content_hash(waveform: Waveform) -> str:
    """16 hex digits that are equal for equal samples, whatever the file is called and however it is coded."""
    return hashlib.blake2b(np.ascontiguousarray(waveform).data, digest_size=8).hexdigest()
