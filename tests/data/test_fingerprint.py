from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from ser_zoo.data.audio import Waveform, resample
from ser_zoo.data.fingerprint import RATE, Fingerprint, candidates, find_copies, fingerprint, similarity


def voice(seed: int, seconds: float = 2.0) -> Waveform:
    """Harmonics of a wandering pitch through wandering resonances, syllable by syllable, between two pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE

    def course(low: float, high: float) -> np.ndarray:
        marks = np.arange(0, seconds + 0.15, 0.15)
        return np.interp(time, marks, rng.uniform(low, high, len(marks)))

    phase = 2 * np.pi * np.cumsum(course(100, 250)) / RATE
    formants, pitch = [course(300, 900), course(1000, 2500)], np.gradient(phase) * RATE / (2 * np.pi)
    wave = np.zeros_like(time)
    for harmonic in range(1, 20):
        gain = sum(1 / (1 + ((harmonic * pitch - formant) / 120) ** 2) for formant in formants)
        wave += gain * np.sin(harmonic * phase)
    spoken = course(0.05, 1) * ((time > 0.15) & (time < seconds - 0.15))
    return (0.2 * wave * spoken / np.abs(wave).max() + rng.normal(0, 1e-4, len(time))).astype(np.float32)


def encoded(waveform: Waveform, form: str, subtype: str) -> Waveform:
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE, format=form, subtype=subtype)
    file.seek(0)
    decoded: Waveform = soundfile.read(file, dtype="float32")[0]
    return decoded


CHANGES: dict[str, Callable[[Waveform], Waveform]] = {
    "louder": lambda wave: wave * 4,
    "fainter": lambda wave: wave / 4,
    "trimmed": lambda wave: wave[4000:-5333],
    "padded": lambda wave: np.pad(wave, (7000, 1000)),
    "resampled": lambda wave: resample(resample(wave, RATE, 24_000), 24_000, RATE),
    "telephone": lambda wave: resample(resample(wave, RATE, 8000), 8000, RATE),
    "flac": lambda wave: encoded(wave, "FLAC", "PCM_16"),
    "vorbis": lambda wave: encoded(wave, "OGG", "VORBIS"),
    "mp3": lambda wave: encoded(wave, "MP3", "MPEG_LAYER_III"),
    "noisy": lambda wave: wave + np.random.default_rng(9).normal(0, 0.01 * wave.std(), len(wave)).astype(np.float32),
    "mp3, trimmed and fainter": lambda wave: encoded(wave, "MP3", "MPEG_LAYER_III")[4000:-5333] / 4,
}


@pytest.fixture(scope="module")
def others() -> dict[str, Fingerprint]:
    return {f"other {seed}": fingerprint(voice(seed)) for seed in range(1, 9)}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(others: dict[str, Fingerprint], change: str) -> None:
    wave = voice(0)
    prints = {"original": fingerprint(wave), **others, "copy": fingerprint(CHANGES[change](wave))}
    assert [copy[:2] for copy in find_copies(prints)] == [("original", "copy")]


def test_different_recordings_are_no_copies(others: dict[str, Fingerprint]) -> None:
    assert find_copies(others) == []


def test_the_lag_is_how_much_later_the_second_has_it() -> None:
    wave = voice(0)
    prints = {"original": fingerprint(wave), "cut": fingerprint(wave[4000:]), "padded": fingerprint(np.pad(wave, (8000, 0)))}
    lags = {copy[:2]: copy.lag for copy in find_copies(prints)}
    assert lags == pytest.approx({("original", "cut"): -0.25, ("original", "padded"): 0.5, ("cut", "padded"): 0.75})


def test_a_part_is_found_in_the_whole() -> None:
    wave = voice(0, 4.0)
    found = find_copies({"whole": fingerprint(wave), "part": fingerprint(wave[16_000:40_000])})
    assert [(copy.first, copy.second, round(copy.lag, 2)) for copy in found] == [("whole", "part", -1.0)]


def test_half_a_second_of_sound_is_needed() -> None:
    wave = voice(0)[4000:10_000]
    short = fingerprint(wave)
    assert not short.comparable
    assert find_copies({"one": short, "other": fingerprint(wave / 2)}) == []
    assert fingerprint(voice(0)).comparable


@pytest.mark.parametrize("wave", [np.zeros(16_000, np.float32), np.full(16_000, 0.5, np.float32), np.zeros(1, np.float32)])
def test_what_does_not_change_resembles_nothing(wave: Waveform) -> None:
    still = fingerprint(wave)
    assert find_copies({"one": still, "other": still}) == []
    assert similarity(still, still, 0) == 0
    # Nor is it looked up: equal words of many silent clips would be candidates at every lag.
    assert not still.comparable
    assert not list(candidates([still, still]))


def test_nothing_has_no_copies() -> None:
    assert find_copies({}) == []


def test_clips_in_several_blocks_are_compared_with_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    waves = [voice(seed) for seed in range(4)]
    prints = {f"{half} {seed}": fingerprint(wave / half) for half in (1, 2) for seed, wave in enumerate(waves)}
    expected = [(f"1 {seed}", f"2 {seed}") for seed in range(4)]
    assert [copy[:2] for copy in find_copies(prints)] == expected
    monkeypatch.setattr("ser_zoo.data.fingerprint.BLOCK", 50)
    assert [copy[:2] for copy in find_copies(prints)] == expected
