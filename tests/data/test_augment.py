from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchaudio.functional import lfilter

from ser_zoo.data import Preparation
from ser_zoo.data.augment import (
    PITCHES,
    SPEEDS,
    Augmenter,
    add_noise,
    add_white_noise,
    change_pitch,
    change_speed,
    perturb_vocal_tract,
    raise_pitch,
    reverberate,
    variants,
    warp_frequencies,
)

Signal = npt.NDArray[np.float32]
RATE = 16_000
EVERY = ("noise", "speed", "pitch", "vtlp", "reverb")


def tone(hertz: float, rate: int = RATE, seconds: float = 1.0) -> Signal:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def loudest(waveform: Signal, rate: int = RATE) -> float:
    """Hz of the highest line of the spectrum."""
    return float(np.abs(np.fft.rfft(waveform)).argmax() * rate / len(waveform))


def vowel(pitch: float = 125.0, formants: tuple[float, ...] = (700.0, 1200.0, 2600.0)) -> Signal:
    """Pulses through resonators 80 Hz wide."""
    signal = torch.zeros(RATE, dtype=torch.float64)
    signal[:: round(RATE / pitch)] = 1
    for formant in formants:
        radius, angle = math.exp(-math.pi * 80 / RATE), 2 * math.pi * formant / RATE
        poles = torch.tensor([1, -2 * radius * math.cos(angle), radius**2], dtype=torch.float64)
        signal = lfilter(signal, poles, torch.tensor([1.0, 0, 0], dtype=torch.float64), clamp=False)
    waveform: Signal = (0.3 * signal / signal.abs().max()).float().numpy()
    return waveform


def formants_of(waveform: Signal) -> npt.NDArray[np.float64]:
    """Resonances in Hz, by linear prediction of order 12."""
    correlation = correlation_of(waveform * np.hamming(len(waveform)))[:13]
    matrix = correlation[np.abs(np.subtract.outer(np.arange(12), np.arange(12)))]
    roots = np.roots(np.concatenate([[1], -np.linalg.solve(matrix, correlation[1:])]))
    sharp = roots[(roots.imag > 0) & (np.abs(roots) > 0.93)]
    return np.sort(np.angle(sharp) * RATE / (2 * np.pi))


def pitch_of(waveform: Signal) -> float:
    """Hz, by the autocorrelation between 80 and 250 Hz."""
    return RATE / (64 + int(correlation_of(waveform)[64:200].argmax()))


def correlation_of(waveform: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.fft.irfft(np.abs(np.fft.rfft(waveform, 2 * len(waveform))) ** 2)


def decibel(ratio: float) -> float:
    return float(10 * np.log10(ratio))


# One by one.


def test_noise_has_the_ratio_that_is_asked_for() -> None:
    clean = tone(300) * np.linspace(0, 1, RATE, dtype=np.float32)
    for snr in (-5.0, 0.0, 12.5):
        noise = add_white_noise(clean, snr, np.random.default_rng(0)) - clean
        assert decibel(np.square(clean).sum() / np.square(noise).sum()) == pytest.approx(snr, abs=0.01)


def test_speed_changes_tempo_and_pitch_together() -> None:
    factors = set()
    for seed in range(30):
        changed = change_speed(tone(400), np.random.default_rng(seed))
        factor = RATE / len(changed)
        assert loudest(changed) == pytest.approx(400 * factor, abs=2)
        factors.add(round(factor, 2))
    assert factors == {0.9, 0.95, 1.05, 1.1} == {step / 20 for step in SPEEDS}


def test_pitch_moves_by_up_to_two_semitones_at_the_same_length_and_loudness() -> None:
    steps = set()
    for seed in range(60):
        changed = change_pitch(tone(400), np.random.default_rng(seed))
        assert len(changed) == RATE
        assert np.linalg.norm(changed) == pytest.approx(np.linalg.norm(tone(400)), rel=1e-3)
        steps.add(round(loudest(changed) / 400 * 49))
    assert steps == set(PITCHES)
    assert max(abs(12 * np.log2(step / 49)) for step in steps) <= 2.001


@pytest.mark.parametrize("warp", [0.9, 1.0, 1.1])
def test_frequencies_are_warped_as_jaitly_and_hinton_write_it(warp: float) -> None:
    nyquist, boundary = RATE / 2, 4800.0
    frequencies = np.linspace(0, nyquist, 257)
    low = boundary * min(warp, 1)
    expected = np.where(
        frequencies <= low / warp,
        frequencies * warp,
        nyquist - (nyquist - low) / (nyquist - low / warp) * (nyquist - frequencies),
    )
    np.testing.assert_allclose(warp_frequencies(frequencies, RATE, warp), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 22_050])
@pytest.mark.parametrize("warp", [0.9, 1.1])
def test_warping_is_monotonic_and_keeps_the_ends_at_other_rates(rate: int, warp: float) -> None:
    frequencies = np.linspace(0, rate / 2, 200)
    warped = warp_frequencies(frequencies, rate, warp)
    assert (np.diff(warped) > 0).all()
    assert (warped[0], warped[-1]) == (0, rate / 2)
    assert warped[40] == pytest.approx(warp * frequencies[40])


@pytest.mark.parametrize("warp", [0.9, 1.1])
def test_vocal_tract_perturbation_moves_formants_and_keeps_the_pitch(warp: float) -> None:
    original = vowel()
    changed = perturb_vocal_tract(original, RATE, warp)
    assert len(changed) == len(original)
    assert pitch_of(changed) == pytest.approx(pitch_of(original), rel=0.01)
    before, after = formants_of(original), formants_of(changed)
    np.testing.assert_allclose(before, [700, 1200, 2600], rtol=0.05)
    np.testing.assert_allclose(after / before, warp, rtol=0.035)


def test_vocal_tract_perturbation_by_one_changes_nothing() -> None:
    np.testing.assert_allclose(perturb_vocal_tract(vowel(), RATE, 1.0), vowel(), atol=1e-5)


def test_reverberation_decays_by_sixty_decibel_in_its_time() -> None:
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    for seed in range(5):
        response = reverberate(click, RATE, np.random.default_rng(seed)).astype(np.float64)
        left = 10 * np.log10(np.square(response[1:])[::-1].cumsum()[::-1] + 1e-30)  # Schroeder's integral
        decay = left - left[0]
        fast, slow = (np.flatnonzero(decay < -level)[0] for level in (5, 25))
        assert 0.18 < 3 * (slow - fast) / RATE < 0.85
        direct = decibel(response[0] ** 2 / np.square(response[1:]).sum())
        assert -0.1 < direct < 10.1


def test_reverberation_keeps_length_loudness_and_onset() -> None:
    clean = np.concatenate([np.zeros(4000, np.float32), tone(500, seconds=0.5)])
    wet = reverberate(clean, RATE, np.random.default_rng(1))
    assert wet.shape == clean.shape
    assert np.linalg.norm(wet) == pytest.approx(np.linalg.norm(clean), rel=1e-4)
    assert np.abs(wet[:4000]).max() < 1e-5
    assert not np.allclose(wet, clean, atol=0.01)


SINGLE: dict[str, Callable[[Signal, int, np.random.Generator], Signal]] = {
    "noise": lambda waveform, rate, generator: add_white_noise(waveform, 3.0, generator),
    "speed": lambda waveform, rate, generator: change_speed(waveform, generator),
    "pitch": lambda waveform, rate, generator: change_pitch(waveform, generator),
    "vtlp": lambda waveform, rate, generator: perturb_vocal_tract(waveform, rate, 1.08),
    "reverb": reverberate,
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
@pytest.mark.parametrize("size", [1, 2, 100, 1_000])
def test_very_short_clips_survive(name: str, rate: int, size: int) -> None:
    clip = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    changed = SINGLE[name](clip, rate, np.random.default_rng(1))
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert len(changed) == size if name != "speed" else 0.89 * size - 1 <= len(changed) <= 1.12 * size + 1
    assert len(changed) > 0


@pytest.mark.parametrize("name", EVERY)
def test_silence_stays_silent(name: str) -> None:
    assert not SINGLE[name](np.zeros(4_000, np.float32), RATE, np.random.default_rng(0)).any()


@pytest.mark.parametrize("name", EVERY)
def test_the_original_stays_as_it_is_also_where_it_cannot_be_written(name: str, recwarn: pytest.WarningsRecorder) -> None:
    clip = tone(200, seconds=0.2)
    kept = clip.copy()
    clip.flags.writeable = False
    changed = SINGLE[name](clip, RATE, np.random.default_rng(0))
    np.testing.assert_array_equal(clip, kept)
    assert not np.array_equal(changed, kept)
    assert not [item for item in recwarn if "writ" in str(item.message)]


# All together.


def augmenter(*names: Any, probability: float = 1.0, preparation: Preparation | None = None) -> Augmenter:
    return Augmenter(names, probability, (0.0, 15.0), preparation or Preparation(RATE))


def test_each_is_chosen_with_its_probability_and_independently() -> None:
    generator = np.random.default_rng(0)
    drawn = [augmenter("noise", "pitch", probability=0.3).choose(generator) for _ in range(2_000)]
    both = sum(len(chosen) == 2 for chosen in drawn) / len(drawn)
    for name in ("noise", "pitch"):
        assert sum(name in chosen for chosen in drawn) / len(drawn) == pytest.approx(0.3, abs=0.03)
    assert both == pytest.approx(0.09, abs=0.02)


def test_the_same_generator_gives_the_same_waveform() -> None:
    def changed(seed: int) -> Signal:
        augment, generator = augmenter(*EVERY), np.random.default_rng(seed)
        chosen = augment.choose(generator)
        return augment(augment.respeed(vowel(), generator), chosen, generator)

    np.testing.assert_array_equal(changed(1), changed(1))
    assert changed(1).shape != changed(2).shape or not np.array_equal(changed(1), changed(2))


def test_what_is_not_chosen_is_not_done() -> None:
    clip = tone(200)
    np.testing.assert_array_equal(augmenter(*EVERY)(clip, frozenset(), np.random.default_rng(0)), clip)


def test_a_voice_is_changed_before_its_room_and_the_noise_of_the_microphone_comes_last() -> None:
    generator = np.random.default_rng(3)
    expected = perturb_vocal_tract(change_pitch(vowel(), generator), RATE, float(generator.uniform(0.9, 1.1)))
    expected = reverberate(expected, RATE, generator)
    expected = add_white_noise(expected, float(generator.uniform(0.0, 15.0)), generator)
    changed = augmenter("noise", "reverb", "vtlp", "pitch")(vowel(), frozenset(EVERY), np.random.default_rng(3))
    np.testing.assert_array_equal(changed, expected)


def test_noise_is_drawn_between_the_two_ratios() -> None:
    augment, found = Augmenter(("noise",), 1.0, (5.0, 8.0), Preparation(RATE)), []
    for seed in range(40):
        noise = augment(tone(200), frozenset(["noise"]), np.random.default_rng(seed)) - tone(200)
        found.append(decibel(np.square(tone(200)).sum() / np.square(noise).sum()))
    assert 5 <= min(found) < 5.5 < 7.5 < max(found) <= 8.01


def test_a_changed_speed_keeps_the_bounds_of_length() -> None:
    bounded = augmenter("speed", preparation=Preparation(RATE, min_seconds=1.0, max_seconds=1.0))
    for seed in range(10):  # slower: cut; faster: repeated, then cut
        assert RATE <= len(bounded.respeed(tone(200), np.random.default_rng(seed))) < 2 * RATE
    longest = {
        len(augmenter("speed", preparation=Preparation(RATE, 0.0, 1.0)).respeed(tone(200), np.random.default_rng(s)))
        for s in range(9)
    }
    assert max(longest) == RATE


# The rows of Lee & Nadeem.


def test_every_subset_of_the_augmentations_is_a_variant() -> None:
    assert variants(()) == [()]
    assert variants(("noise", "pitch")) == [(), ("noise",), ("pitch",), ("noise", "pitch")]


def test_noise_of_a_row_is_at_most_three_and_a_half_percent_of_the_peak() -> None:
    waveform = 0.2 * np.sin(np.arange(16_000, dtype=np.float32))
    levels = [float(np.std(add_noise(waveform, np.random.default_rng(seed)) - waveform)) / 0.2 for seed in range(30)]
    assert 0 < min(levels) < 0.005 < 0.03 < max(levels) < 0.036


def test_the_peak_that_noise_of_a_row_follows_may_be_a_negative_one() -> None:
    waveform = np.array([-1.0, 0.1, *[0.0] * 998], np.float32)
    noises = [add_noise(wave, np.random.default_rng(0)) - wave for wave in (waveform, -waveform)]
    np.testing.assert_allclose(*noises, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_raising_the_pitch_raises_a_tone_by_two_semitones(rate: int) -> None:
    raised = raise_pitch(tone(440, rate))
    assert len(raised) == rate
    assert loudest(raised, rate) == pytest.approx(440 * 2 ** (2 / 12), abs=2)
