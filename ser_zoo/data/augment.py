"""Augmentations of training waveforms. Validation and test speakers are never augmented."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from torchaudio.functional import pitch_shift

from ser_zoo.data.audio import Waveform

Augmentation = Literal["noise", "pitch"]

# Lee & Nadeem 2025 (released notebooks): x + 0.035 * U(0, 1) * max(x) * N(0, 1).
NOISE_LEVEL = 0.035
# Their EMO-DB and EMOVO notebooks raise the pitch by two semitones.
PITCH_SEMITONES = 2
# torchaudio uses the rate only to resample by int(rate * 2 ** (2 / 12)) : rate. As 55 : 49, two semitones to 0.02 cents, that
# is a small kernel; with the true rate it is one of gigabytes, and takes seconds an utterance.
PITCH_RATE = 49


def variants(augmentations: Sequence[Augmentation]) -> list[tuple[Augmentation, ...]]:
    """Every subset of ``augmentations``, the empty one first; each training utterance appears once as each.

    With noise and pitch these are the four rows a file that Lee & Nadeem train on.
    """
    return [subset for size in range(len(augmentations) + 1) for subset in combinations(augmentations, size)]


def add_noise(waveform: Waveform, generator: np.random.Generator) -> Waveform:
    """White noise of a random level relative to the peak: (T,) -> (T,)."""
    level = NOISE_LEVEL * generator.random() * np.abs(waveform).max()
    noise = generator.standard_normal(len(waveform), dtype=np.float32)
    return waveform + np.float32(level) * noise


def raise_pitch(waveform: Waveform) -> Waveform:
    """The utterance two semitones higher at the same length: (T,) -> (T,)."""
    # The transform inside reflects 256 samples, so that shorter clips need company.
    padded = np.pad(waveform, (0, max(0, 257 - len(waveform))))
    shifted: Waveform = pitch_shift(torch.from_numpy(padded), PITCH_RATE, PITCH_SEMITONES).numpy()
    return shifted[: len(waveform)]
