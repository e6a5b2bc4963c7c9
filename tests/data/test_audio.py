from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ser_zoo.data import Preparation, content_hash, read_audio, resample
from ser_zoo.errors import AudioError


def sine(seconds: float = 0.5, rate: int = 16_000, frequency: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def quantised(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """As 16 bits keep it."""
    return np.rint(waveform * 2**15).astype(np.float32) / 2**15


# Decoding.


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("flac", "PCM_24")])
def test_a_recording_is_decoded_to_mono_float32(tmp_path: Path, rate: int, suffix: str, subtype: str) -> None:
    path, written = tmp_path / f"a.{suffix}", sine(rate=rate)
    soundfile.write(path, written, rate, subtype=subtype)
    waveform, found = read_audio(path)
    assert (found, waveform.dtype, waveform.shape) == (rate, np.float32, written.shape)
    np.testing.assert_allclose(waveform, written, atol=0 if subtype == "FLOAT" else 2**-15)


def test_sixteen_bits_are_scaled_to_one(tmp_path: Path) -> None:
    written = np.array([-(2**15), -1, 0, 1, 2**15 - 1], dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", written, 16_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], written / np.float32(2**15))


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sine(frequency=300), sine(frequency=500)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav")[0], (left + right) / 2, atol=1e-7)


def test_equal_channels_are_the_mono_recording(tmp_path: Path) -> None:
    mono = quantised(sine())
    soundfile.write(tmp_path / "a.wav", np.stack([mono, mono], axis=1), 16_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], mono)


@pytest.mark.parametrize("form", ["AIFF", "FLAC"])
def test_the_format_is_told_by_the_content(tmp_path: Path, form: str) -> None:
    written = quantised(sine())
    soundfile.write(tmp_path / "a.wav", written, 16_000, format=form)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], written)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [(0.0, None, 0, 8000), (0.1, 0.3, 1600, 4800), (0.25, None, 4000, 8000), (0.4, 0.55, 6400, 8000)],
)
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_stretch_is_cut_out(tmp_path: Path, suffix: str, start: float, end: float | None, first: int, last: int) -> None:
    path, written = tmp_path / f"a.{suffix}", quantised(sine())
    soundfile.write(path, written, 16_000)
    np.testing.assert_array_equal(read_audio(path, start, end)[0], written[first:last])


@pytest.mark.parametrize(("suffix", "start"), [("ogg", 2.74), ("ogg", 2.85), ("mp3", 0.62), ("mp3", 2.17)])
def test_a_stretch_of_a_lossy_recording_is_that_of_the_whole(tmp_path: Path, suffix: str, start: float) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 48_000), 16_000)
    first, last = round(start * 16_000), round((start + 0.1) * 16_000)
    np.testing.assert_allclose(read_audio(path, start, start + 0.1)[0], read_audio(path)[0][first:last], atol=1e-6)


# What cannot be read.


@pytest.mark.parametrize(
    ("name", "size"), [("empty.wav", 0), ("magic.wav", 12), ("format.wav", 30), ("header.wav", 40), ("magic.flac", 20)]
)
def test_a_file_with_half_a_header_is_refused(tmp_path: Path, name: str, size: int) -> None:
    path = tmp_path / name
    soundfile.write(path, sine(), 16_000)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(AudioError, match=rf"Cannot read .*{name}: .* Expected a wav, flac, .* --data\.on_bad_audio skip\)\."):
        read_audio(path)


def test_half_a_flac_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.flac"
    soundfile.write(path, sine(2.0), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"Cannot read .*half\.flac"):
        read_audio(path)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au"])
def test_a_recording_that_is_cut_off_is_refused(tmp_path: Path, suffix: str) -> None:
    whole, part = tmp_path / f"whole.{suffix}", tmp_path / f"part.{suffix}"
    soundfile.write(whole, np.zeros(16_000), 16_000)
    part.write_bytes(whole.read_bytes()[:20_000])
    assert len(read_audio(whole)[0]) == 16_000
    with pytest.raises(AudioError, match=rf"part\.{suffix}: it is cut off.*: 199\d\d of the 3200\d bytes"):
        read_audio(part)


@pytest.mark.parametrize("announced", [32_008, 2**31 - 1, 2**32 - 1])
def test_a_header_that_knows_no_size_or_errs_by_some_bytes_is_no_cut(tmp_path: Path, announced: int) -> None:
    path = tmp_path / "streamed.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    content = path.read_bytes()
    assert content[36:40] == b"data"
    path.write_bytes(content[:40] + announced.to_bytes(4, "little") + content[44:])
    assert len(read_audio(path)[0]) == 16_000


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("Not a recording.\n" * 100)
    with pytest.raises(AudioError, match=r"Cannot read .*a\.wav"):
        read_audio(tmp_path / "a.wav")


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"Cannot read .*a\.wav: the file does not exist"):
        read_audio(tmp_path / "a.wav")


def test_a_recording_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, dtype=np.float32), 16_000)
    with pytest.raises(AudioError, match=r"Cannot use .*a\.wav: it holds no samples"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("start", "end", "stretch"), [(0.5, None, "0.5 s to its end"), (3.0, 4.0, "3 s to 4 s"), (0.3, 0.2, "0.3 s to 0.2 s")]
)
def test_a_stretch_without_samples_is_refused(tmp_path: Path, start: float, end: float | None, stretch: str) -> None:
    soundfile.write(tmp_path / "a.wav", sine(), 16_000)
    with pytest.raises(AudioError, match=rf"Cannot use .*a\.wav: it is 0\.5 s long, and holds no samples from {stretch}\."):
        read_audio(tmp_path / "a.wav", start, end)


@pytest.mark.parametrize(("start", "end"), [(0.0, 500.0), (0.25, 0.8)])
def test_a_stretch_most_of_which_is_beyond_the_recording_is_refused(tmp_path: Path, start: float, end: float) -> None:
    soundfile.write(tmp_path / "a.wav", sine(), 16_000)
    stretch = (
        f"it is 0.5 s long, and holds less than half of the stretch from {start:g} s to {end:g} s. Expected both in seconds"
    )
    with pytest.raises(AudioError, match=re.escape(stretch)):
        read_audio(tmp_path / "a.wav", start, end)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float, channels: int) -> None:
    waveform = np.repeat(sine()[:, None], channels, axis=1)
    waveform[100, 0] = value
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"Cannot use .*a\.wav: it holds values that are not finite"):
        read_audio(tmp_path / "a.wav")


# Preparation.


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone(rate: int) -> None:
    resampled = resample(sine(rate=rate), rate, 16_000)
    assert resampled.dtype == np.float32
    expected = sine()
    assert abs(len(resampled) - len(expected)) <= 1
    inner = slice(200, 7_800)  # the filter sees zeros beyond both ends
    np.testing.assert_allclose(resampled[inner], expected[inner], atol=5e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    resampled = resample(sine(rate=48_000, frequency=12_000), 48_000, 16_000)
    assert np.abs(resampled[200:-200]).max() < 0.01


def test_a_waveform_at_the_right_rate_is_left_alone() -> None:
    waveform = sine()
    assert resample(waveform, 16_000, 16_000) is waveform


def test_a_long_utterance_is_cut() -> None:
    waveform = sine()
    np.testing.assert_array_equal(Preparation(max_seconds=0.1)(waveform, 16_000), waveform[:1600])


def test_a_short_utterance_is_repeated_until_it_is_long_enough() -> None:
    waveform = sine(0.1)
    prepared = Preparation(min_seconds=0.25)(waveform, 16_000)
    np.testing.assert_array_equal(prepared, np.concatenate([waveform] * 3))


def test_an_utterance_that_is_long_enough_is_left_alone() -> None:
    waveform = sine(0.25)
    np.testing.assert_array_equal(Preparation(min_seconds=0.25, max_seconds=0.25)(waveform, 16_000), waveform)


def test_an_utterance_is_cut_at_the_new_rate() -> None:
    assert Preparation(sample_rate=8_000, max_seconds=0.1)(sine(rate=48_000), 48_000).shape == (800,)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_one_sample_is_enough(rate: int) -> None:
    assert len(Preparation(min_seconds=0.01)(np.ones(1, dtype=np.float32), rate)) >= 160
    assert len(Preparation()(np.ones(1, dtype=np.float32), rate)) >= 1


# Identical audio.


def test_the_same_samples_have_the_same_hash_in_wav_and_flac(tmp_path: Path) -> None:
    samples = (sine() * 2**15).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    soundfile.write(tmp_path / "b.flac", samples, 16_000)
    soundfile.write(tmp_path / "c.wav", np.stack([samples, samples], axis=1), 16_000)
    assert len({content_hash(read_audio(path)[0]) for path in tmp_path.iterdir()}) == 1


def test_one_other_sample_gives_another_hash() -> None:
    waveform = sine()
    changed = waveform.copy()
    changed[7] += 2**-15
    assert content_hash(changed) != content_hash(waveform)
    assert content_hash(waveform[:-1]) != content_hash(waveform)
