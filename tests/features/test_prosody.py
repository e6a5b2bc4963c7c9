from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchaudio.functional import resample

from ser_zoo.features import Frames, Prosody, Spectrogram
from ser_zoo.features.prosody import REFERENCE

RATES = [16_000, 22_050]
HOP = 0.02


def pulses(pitch: float, rate: int, seconds: float = 0.5) -> Tensor:
    """(T,) cosines of equal strength at every multiple of ``pitch`` up to 4 kHz: a pulse train without aliasing."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    multiples = torch.arange(1, int(4_000 / pitch) + 1)[:, None]
    return 0.02 * torch.cos(2 * torch.pi * pitch * multiples * time).sum(0).float()


def tone(pitch: float, rate: int, seconds: float = 0.5) -> Tensor:
    """(T,) one sine."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return 0.3 * torch.sin(2 * torch.pi * pitch * time).float()


def vowel(pitch: float, rate: int, seconds: float = 0.5) -> Tensor:
    """(T,) pulses through resonances at 700 and 1200 Hz, which are much stronger than the fundamental."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    number = torch.arange(1, int(4_000 / pitch) + 1)[:, None]
    at = number * pitch
    gain = 1 / (1 + ((at - 700) / 80) ** 2) + 0.5 / (1 + ((at - 1_200) / 100) ** 2) + 0.01
    wave = (gain * torch.cos(2 * torch.pi * at * time + number)).sum(0)
    return (0.3 * wave / wave.abs().max()).float()


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def extract(waveform: Tensor, rate: int, **settings: float) -> Tensor:
    """(T, 4) prosody of one clip."""
    frames = Prosody(rate, HOP, **settings)(waveform[None], torch.tensor([len(waveform)]))
    values: Tensor = frames.values[0]
    assert len(values) == frames.lengths[0]
    return values


def hertz(values: Tensor) -> Tensor:
    """Pitch of the frames that do not reach over the ends of a clip of half a second."""
    inner = values[2:-2]
    assert inner[:, 3].all()
    return REFERENCE * 2 ** inner[:, 0]


# Pitch and voicing.


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("sound", [tone, pulses, vowel])
@pytest.mark.parametrize("pitch", [80.0, 101.3, 147.0, 220.0, 333.3, 480.0, 590.0])
def test_pitch_of_periodic_sounds_is_exact_to_half_a_percent(pitch: float, sound: object, rate: int) -> None:
    found = hertz(extract(sound(pitch, rate), rate))  # type: ignore[operator]
    torch.testing.assert_close(found, torch.full_like(found, pitch), rtol=0.005, atol=0)


@pytest.mark.parametrize("rate", RATES)
def test_a_gliding_pitch_is_followed(rate: int) -> None:
    time = torch.arange(rate) / rate
    phase = 2 * torch.pi * (100 * time + 50 * time.square())  # 100 Hz rising by 100 Hz a second
    wave = 0.1 * sum(torch.cos(number * phase) for number in range(1, 11))
    found = hertz(extract(wave, rate))
    centres = HOP * torch.arange(2, 2 + len(found))
    torch.testing.assert_close(found, 100 + 100 * centres, rtol=0.01, atol=0)


@pytest.mark.parametrize("rate", RATES)
def test_pitch_stands_noise_and_the_telephone(rate: int) -> None:
    clean = vowel(150.0, rate)
    noisy = clean + 0.3 * clean.std() / 0.1 * noise(len(clean))  # 10 dB
    wave = resample(resample(noisy, rate, 8_000), 8_000, rate)
    found = hertz(extract(wave, rate))
    torch.testing.assert_close(found, torch.full_like(found, 150.0), rtol=0.02, atol=0)


@pytest.mark.parametrize("rate", RATES)
def test_noise_and_silence_are_unvoiced(rate: int) -> None:
    values = extract(noise(2 * rate), rate)
    assert values[:, 3].mean() < 0.03
    assert not values[values[:, 3] == 0, 0].any()
    silent = extract(torch.zeros(rate), rate)
    assert not silent[:, [0, 2, 3]].any()


def test_a_faint_hum_beside_speech_is_unvoiced() -> None:
    wave = torch.cat([vowel(150.0, 16_000), 0.003 * pulses(100.0, 16_000)])
    values = extract(wave, 16_000)
    assert values[2:23, 3].all()
    assert not values[27:, 3].any()
    assert (values[27:-2, 2] > 0.9).all()  # which is not for want of periodicity


def test_a_soft_voice_beside_a_loud_one_is_voiced() -> None:
    values = extract(torch.cat([vowel(150.0, 16_000), 0.1 * vowel(150.0, 16_000)]), 16_000)
    assert values[27:-2, 3].all()


def test_a_loud_frame_is_voiced_by_a_periodicity_above_0_45() -> None:
    clean = vowel(150.0, 16_000)
    values = extract(clean + 1.15 * clean.std() / 0.1 * noise(len(clean)), 16_000)[2:-2]
    assert 0.05 < values[:, 3].mean() < 0.95
    assert torch.equal(values[:, 3] == 1, values[:, 2] > 0.45)


def test_periodicity_falls_as_noise_rises() -> None:
    clean = vowel(150.0, 16_000)
    levels = [0.0, 0.3, 1.0]
    means = [extract(clean + level * clean.std() / 0.1 * noise(len(clean)), 16_000)[2:-2, 2].mean() for level in levels]
    assert means[0] > 0.99
    # Equal at every lag but 0: the share of the periodic power (Boersma 1993, equation 4).
    torch.testing.assert_close(means[2], torch.tensor(0.5), atol=0.1, rtol=0)
    assert means[0] > means[1] > means[2]


def test_pitch_is_looked_for_between_floor_and_ceiling() -> None:
    wave = pulses(250.0, 16_000)
    assert hertz(extract(wave, 16_000, floor=150, ceiling=400)).sub(250).abs().max() < 1
    below = hertz(extract(wave, 16_000, floor=75, ceiling=200))
    torch.testing.assert_close(below, torch.full_like(below, 125.0), rtol=0.005, atol=0)


# Loudness.


def test_loudness_is_the_power_in_decibel() -> None:
    values = extract(tone(200.0, 16_000), 16_000)
    expected = 20 * torch.log10(torch.tensor(0.3 / 2**0.5))
    torch.testing.assert_close(values[2:-2, 1], expected.expand(len(values) - 4), atol=0.05, rtol=0)
    halved = extract(tone(200.0, 16_000) / 2, 16_000)
    torch.testing.assert_close(halved[2:-2, 1], values[2:-2, 1] - 6.02, atol=0.01, rtol=0)


def test_loudness_and_pitch_do_not_see_an_offset() -> None:
    clean, shifted = (extract(vowel(150.0, 16_000) + offset, 16_000)[2:-2] for offset in (0.0, 0.2))
    torch.testing.assert_close(shifted, clean, atol=0.01, rtol=0)


def test_loudness_reaches_80_decibel_down() -> None:
    values = extract(torch.cat([tone(200.0, 16_000), torch.zeros(8_000)]), 16_000)
    assert values[:, 1].max() - values[:, 1].min() == pytest.approx(80, abs=1e-3)


# A clip is the same in any company.


def test_a_clip_alone_is_the_clip_in_a_padded_and_permuted_batch() -> None:
    clips = [vowel(150.0, 16_000), noise(5_001), vowel(300.0, 16_000, 1.0), torch.ones(1), vowel(200.0, 16_000, 0.05)]
    lengths = torch.tensor([len(clip) for clip in clips])
    waveforms = nn.functional.pad(nn.utils.rnn.pad_sequence(clips, batch_first=True), (0, 777))
    prosody = Prosody(16_000, HOP)
    frames: Frames = prosody(waveforms, lengths)
    for values, count, clip in zip(frames.values, frames.lengths, clips, strict=True):
        torch.testing.assert_close(values[:count], extract(clip, 16_000), atol=1e-4, rtol=1e-4)
        assert not values[count:].any()
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(prosody(waveforms[order], lengths[order]).values, frames.values[order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 4_000])
def test_frames_are_those_of_a_spectrogram(samples: int) -> None:
    waveforms, lengths = noise(samples)[None], torch.tensor([samples])
    found, expected = Prosody(16_000, HOP)(waveforms, lengths), Spectrogram(16_000, 640, HOP)(waveforms, lengths)
    assert found.values.shape == (1, samples // 320 + 1, 4)
    assert torch.equal(found.lengths, expected.lengths)
    assert found.values.isfinite().all()


def test_clipping_is_finite() -> None:
    assert extract((1e4 * vowel(150.0, 16_000)).clamp(-1, 1), 16_000).isfinite().all()


def test_half_precision_waveforms_give_full_precision_values() -> None:
    waveform = vowel(150.0, 16_000).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        values = extract(waveform, 16_000)
    assert values.dtype == torch.float32
    assert torch.equal(values, extract(waveform.float(), 16_000))


def test_nothing_is_kept_in_a_checkpoint_and_settings_are_named() -> None:
    prosody = Prosody(16_000, HOP)
    assert not prosody.state_dict()
    others = [Prosody(16_000, 0.01), Prosody(8_000, 2 * HOP), Prosody(16_000, HOP, floor=60), Prosody(16_000, HOP, ceiling=700)]
    assert len({repr(p) for p in (prosody, *others)}) == 5
