"""Augmentations of training waveforms. Validation and test speakers are never augmented.

Three kinds. ``Augmenter`` changes a row anew in every epoch. ``set_speed`` makes further rows that stay as they are, so that
what a frozen encoder gives of them can be kept. ``variants`` with ``add_noise`` and ``raise_pitch`` is the released scheme of
Lee & Nadeem 2025, which adds rows instead.

Costs are of one core at 16 kHz, per second of audio that is changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchaudio import functional as audio

from ser_zoo.data.audio import Preparation, Waveform, resample

Augmentation = Literal["noise", "speed", "pitch", "vtlp", "reverb"]
RowAugmentation = Literal["noise", "pitch"]
Hertz = npt.NDArray[np.float64]

# Ko et al. 2015 train on speeds 0.9, 1.0 and 1.1. In twentieths, with the steps between, the resampling kernels are small.
SPEED_RATE = 20
SPEEDS = (18, 19, 21, 22)
# torchaudio's pitch_shift uses the rate only to resample by int(rate * 2 ** (steps / 12)) : rate. As 55 : 49, two semitones to
# 0.02 cents, that is a small kernel; with the true rate it is one of gigabytes, and takes seconds an utterance.
PITCH_RATE = 49
# Up to two semitones either way (ours, after the source's +2), in steps of about a third.
PITCHES = (44, 45, 46, 47, 48, 50, 51, 52, 53, 54, 55)
# Jaitly & Hinton 2013: warp factors 0.9 to 1.1, linear up to 4800 Hz at 16 kHz.
WARP = (0.9, 1.1)
WARP_HERTZ = 4800.0
WARP_WINDOW = 0.032  # seconds, a usual window of speech (ours)
# From a furnished room to a hall, with the speaker nearer or farther (both ours).
REVERBERATION_SECONDS = (0.2, 0.8)
DIRECT_TO_REVERBERANT_DB = (0.0, 10.0)

# Lee & Nadeem 2025 (released notebooks): x + 0.035 * U(0, 1) * max(x) * N(0, 1). Here max |x|, so that it does not depend on
# which way round the microphone was wired (ours).
NOISE_LEVEL = 0.035
# Their EMO-DB and EMOVO notebooks raise the pitch by two semitones.
PITCH_SEMITONES = 2


@dataclass(frozen=True)
class Augmenter:
    """Changes training waveforms at random.

    A generator that is seeded by run, epoch and row makes the same of a waveform in every run and process.

    Attributes:
        names: what may be done. The order is always that of the sound's way: voice, room, microphone.
        probability: of each, independently.
        snr_db: lowest and highest signal-to-noise ratio of ``noise``.
        preparation: sample rate, and the bounds of length that a changed speed must keep.
    """

    names: tuple[Augmentation, ...]
    probability: float
    snr_db: tuple[float, float]
    preparation: Preparation

    def choose(self, generator: np.random.Generator) -> frozenset[Augmentation]:
        """Which are done to one row."""
        return frozenset(name for name in self.names if generator.random() < self.probability)

    def respeed(self, waveform: Waveform, generator: np.random.Generator) -> Waveform:
        """``speed``, the only one that changes the length, and so done before a crop: (T,) -> (T',)."""
        return self.preparation(change_speed(waveform, generator), self.preparation.sample_rate)

    def __call__(self, waveform: Waveform, chosen: frozenset[Augmentation], generator: np.random.Generator) -> Waveform:
        """All that is ``chosen`` but ``speed``: (T,) -> (T,)."""
        rate = self.preparation.sample_rate
        if "pitch" in chosen:
            waveform = change_pitch(waveform, generator)
        if "vtlp" in chosen:
            waveform = perturb_vocal_tract(waveform, rate, float(generator.uniform(*WARP)))
        if "reverb" in chosen:
            waveform = reverberate(waveform, rate, generator)
        if "noise" in chosen:
            waveform = add_white_noise(waveform, float(generator.uniform(*self.snr_db)), generator)
        return waveform


def change_speed(waveform: Waveform, generator: np.random.Generator) -> Waveform:
    """Tempo and pitch together, by a factor of 0.9 to 1.1 (Ko et al. 2015): (T,) -> (T',)."""
    return set_speed(waveform, int(generator.choice(SPEEDS)) / SPEED_RATE)


def set_speed(waveform: Waveform, speed: float) -> Waveform:
    """Tempo and pitch together ``speed`` times as high, to a hundredth: (T,) -> (T / speed,). About 0.4 ms."""
    ratio = speed_ratio(speed)
    return resample(np.array(waveform), ratio.numerator, ratio.denominator)


def speed_ratio(speed: float) -> Fraction:
    """What ``set_speed`` makes of a speed: the nearest ratio of small numbers, whose resampling kernel is small."""
    return Fraction(speed).limit_denominator(100)


def change_pitch(waveform: Waveform, generator: np.random.Generator) -> Waveform:
    """Pitch and formants up to two semitones higher or lower at the same tempo: (T,) -> (T,). About 6 ms."""
    ratio = int(generator.choice(PITCHES)) / PITCH_RATE
    # A little more, or rounding would take the next smaller step for the resampling.
    return _as_loud(_shift_pitch(waveform, 12 * math.log2(ratio + 1e-6)), waveform)


def perturb_vocal_tract(waveform: Waveform, rate: int, warp: float) -> Waveform:
    """Vocal-tract length perturbation (Jaitly & Hinton 2013): (T,) -> (T,). About 6 ms.

    The frequency axis of the short-time spectrum is warped piecewise linearly by ``warp_frequencies``. Jaitly & Hinton warp
    mel bands, which are too wide to show harmonics. Here the same is done to the envelope by linear prediction, and the fine
    structure stays: formants move as with another vocal tract, the pitch does not, and the phases still fit.

    Args:
        waveform: to change.
        rate: Hz.
        warp: factor of the formants' frequencies.
    """
    points = 2 ** round(math.log2(WARP_WINDOW * rate))
    hop, window = points // 4, torch.hann_window(points)
    spectrum = torch.stft(torch.tensor(waveform), points, hop, window=window, pad_mode="constant", return_complex=True)
    order = 2 + rate // 1000  # a resonance per kHz, and the tilt (Markel & Gray 1976)
    correlation = torch.fft.irfft(spectrum.abs().double().square(), points, dim=0)[: order + 1]
    # A floor 60 dB below the frame keeps the equations solvable; in silence it is all there is.
    correlation[0] = correlation[0] * (1 + 1e-6) + 1e-30
    lags = torch.arange(order)
    equations = correlation[(lags[:, None] - lags).abs()].permute(2, 0, 1)
    predictor = torch.linalg.solve(equations, correlation[1:].T).T
    whitening = torch.cat([torch.ones_like(predictor[:1]), -predictor]).to(torch.complex128)  # 1 / envelope
    frequencies = np.linspace(0, rate / 2, points // 2 + 1)
    # What is heard at a frequency afterwards stood at the frequency that is warped to it.
    source = np.interp(frequencies, warp_frequencies(frequencies, rate, warp), frequencies)
    here, there = (np.exp(-2j * np.pi / rate * np.outer(hertz, np.arange(order + 1))) for hertz in (frequencies, source))
    gain = (torch.from_numpy(here) @ whitening).abs() / (torch.from_numpy(there) @ whitening).abs()
    return _as_loud(torch.istft(spectrum * gain.float(), points, hop, window=window, length=len(waveform)), waveform)


def warp_frequencies(frequencies: Hertz, rate: int, warp: float) -> Hertz:
    """Where frequencies go when formants are ``warp`` times as high (Jaitly & Hinton 2013, section 2).

    Linear up to 4800 Hz (less where that is above 0.6 of the highest frequency), then straight to the highest frequency, which
    stays.

    Args:
        frequencies: Hz.
        rate: Hz of the waveform.
        warp: the factor.
    """
    top, knee = rate / 2, min(WARP_HERTZ, 0.3 * rate) * min(warp, 1.0)
    warped: Hertz = np.interp(frequencies, [0.0, knee / warp, top], [0.0, knee, top])
    return warped


def reverberate(waveform: Waveform, rate: int, generator: np.random.Generator) -> Waveform:
    """Reverberation of a made-up room: (T,) -> (T,), as loud as before. About 2.5 ms.

    The impulse response is the direct sound and white noise that decays by 60 dB in the reverberation time (Polack 1988).
    """
    seconds = generator.uniform(*REVERBERATION_SECONDS)
    times = np.arange(1, round(seconds * rate) + 1) / rate
    tail = generator.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    ratio = 10 ** (generator.uniform(*DIRECT_TO_REVERBERANT_DB) / 20)
    # Filled up with silence, so that the transforms inside have a power of two of points: others may take ten times as long.
    points = 2 ** (len(waveform) + len(tail) - 1).bit_length()
    response = torch.zeros(points - len(waveform) + 1)
    response[0], response[1 : len(tail) + 1] = 1.0, torch.tensor(tail / (ratio * np.linalg.norm(tail)))
    return _as_loud(audio.fftconvolve(torch.tensor(waveform), response)[: len(waveform)], waveform)


def add_white_noise(waveform: Waveform, snr_db: float, generator: np.random.Generator) -> Waveform:
    """White noise at a signal-to-noise ratio over the whole clip: (T,) -> (T,). About 0.6 ms. Silence stays silent."""
    noise = torch.from_numpy(generator.standard_normal(len(waveform), dtype=np.float32))
    noisy: Waveform = audio.add_noise(torch.tensor(waveform), noise, torch.tensor(snr_db)).numpy()
    return noisy


def variants(augmentations: Sequence[RowAugmentation]) -> list[tuple[RowAugmentation, ...]]:
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
    raised: Waveform = _shift_pitch(waveform, PITCH_SEMITONES).numpy()
    return raised


def _shift_pitch(waveform: Waveform, semitones: float) -> Tensor:
    # The transform inside reflects 256 samples, so that shorter clips need company.
    padded = np.pad(waveform, (0, max(0, 257 - len(waveform))))
    shifted: Tensor = audio.pitch_shift(torch.from_numpy(padded), PITCH_RATE, semitones)
    return shifted[: len(waveform)]


def _as_loud(changed: Tensor, original: Waveform) -> Waveform:
    """``changed`` with the power of ``original``: what an augmentation does to the level is not meant."""
    before, after = float(np.linalg.norm(original)), float(changed.norm())
    levelled: Waveform = (changed * (before / max(after, 1e-30))).numpy()
    return levelled
