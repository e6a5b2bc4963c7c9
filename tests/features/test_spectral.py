from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchaudio
from numpy.typing import NDArray
from torch import Tensor, nn

from ser_zoo.features import MFCC, Frames, Spectrogram, frame_mask, normalise_per_clip

RATE = 16_000
MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: Spectrogram(RATE, n_fft=400, hop=0.01),
    "short window": lambda: Spectrogram(RATE, n_fft=800, hop=0.01, window=0.04),
    "emphasis": lambda: Spectrogram(RATE, n_fft=512, hop=0.01, emphasis=0.97),
    "mel": lambda: Spectrogram(RATE, n_fft=512, hop=0.016, mels=40),
    "mfcc": lambda: MFCC(RATE, 40, hop=0.01),
    "mfcc of long hops": lambda: MFCC(RATE, 13, hop=0.032, n_fft=512, mels=40, emphasis=0.97),
}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> nn.Module:
    return MODULES[request.param]()


def clip(samples: int, seed: int = 0) -> Tensor:
    """(T,) a tone that swells, in noise."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0.01, 0.8, samples)
    return ramp * torch.sin(torch.arange(samples) * 0.3) + 0.01 * torch.randn(samples, generator=generator)


def alone(module: nn.Module, waveform: Tensor) -> Tensor:
    """(T, D) frames of one clip."""
    frames = module(waveform[None], torch.tensor([len(waveform)]))
    values: Tensor = frames.values[0, : frames.lengths[0]]
    return values


def padded(clips: list[Tensor], behind: int = 0) -> tuple[Tensor, Tensor]:
    batch = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return nn.functional.pad(batch, (0, behind)), torch.tensor([len(waveform) for waveform in clips])


# Against other implementations.


@pytest.mark.parametrize(
    ("coefficients", "n_fft", "hop", "mels"), [(40, 2048, 512, 128), (13, 512, 160, 40), (20, 400, 160, 23)]
)
def test_mfcc_are_those_of_torchaudio(coefficients: int, n_fft: int, hop: int, mels: int) -> None:
    oracle = torchaudio.transforms.MFCC(
        RATE, coefficients, melkwargs={"n_fft": n_fft, "hop_length": hop, "n_mels": mels, "pad_mode": "constant"}
    )
    waveform = clip(12_345)
    found = alone(MFCC(RATE, coefficients, hop / RATE, n_fft, mels), waveform)
    torch.testing.assert_close(found, oracle(waveform).T, atol=1e-3, rtol=1e-4)


def test_bands_divided_by_their_widths_are_those_of_librosa() -> None:
    import librosa  # here, because it takes a second

    waveform = clip(12_345)
    oracle = librosa.feature.mfcc(y=waveform.numpy(), sr=RATE, n_mfcc=40, hop_length=160, htk=True)
    found = alone(MFCC(RATE, 40, 160 / RATE, norm="slaney"), waveform)
    torch.testing.assert_close(found, torch.tensor(oracle.T), atol=5e-3, rtol=1e-3)
    assert repr(MFCC(RATE, 40, 0.01)) != repr(MFCC(RATE, 40, 0.01, norm="slaney"))


def spectrogram(waveform: NDArray[np.float64], n_fft: int, hop: int, points: int) -> NDArray[np.float64]:
    """(T, bands) by numpy's DFT, frame by frame."""
    window = np.zeros(n_fft)
    left = (n_fft - points) // 2
    window[left : left + points] = np.hanning(points + 1)[:-1]  # periodic
    around = np.pad(waveform, n_fft // 2)
    frames = [around[start : start + n_fft] * window for start in range(0, len(waveform) + 1, hop)]
    decibel = 10 * np.log10(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-10))
    return np.maximum(decibel, decibel.max() - 80)


@pytest.mark.parametrize(("n_fft", "hop", "window"), [(400, 160, None), (800, 160, 640), (512, 512, 320)])
def test_a_spectrogram_is_the_discrete_fourier_transform(n_fft: int, hop: int, window: int | None) -> None:
    waveform = clip(5_000)
    seconds = None if window is None else window / RATE
    found = alone(Spectrogram(RATE, n_fft, hop / RATE, seconds), waveform)
    expected = spectrogram(waveform.double().numpy(), n_fft, hop, window or n_fft)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.02)


def test_emphasis_is_the_filter_of_first_order() -> None:
    waveform = clip(5_000)
    samples = waveform.double().numpy()
    filtered = np.convolve(samples, [1, -0.97])[:-1]
    found = alone(Spectrogram(RATE, 512, 0.01, emphasis=0.97), waveform)
    np.testing.assert_allclose(found.numpy(), spectrogram(filtered, 512, 160, 512), atol=0.02)


def test_mel_bands_are_those_of_torchaudio() -> None:
    waveform = clip(5_000)
    oracle = torchaudio.transforms.MelSpectrogram(RATE, 512, hop_length=160, n_mels=40, pad_mode="constant")
    expected = torchaudio.transforms.AmplitudeToDB(top_db=80)(oracle(waveform)).T
    torch.testing.assert_close(alone(Spectrogram(RATE, 512, 0.01, mels=40), waveform), expected, atol=1e-3, rtol=1e-4)


# A clip is the same in any company.


def test_a_clip_alone_is_the_clip_in_a_padded_batch(module: nn.Module) -> None:
    clips = [clip(samples, seed) for seed, samples in enumerate((8_000, 12_345, 321, 5_999))]
    frames = module(*padded(clips, behind=777))
    for values, length, waveform in zip(frames.values, frames.lengths, clips, strict=True):
        torch.testing.assert_close(values[:length], alone(module, waveform), atol=1e-4, rtol=1e-4)
        assert not values[length:].any()


def test_rows_follow_a_permutation_of_the_batch(module: nn.Module) -> None:
    waveforms, lengths = padded([clip(samples, seed) for seed, samples in enumerate((8_000, 12_345, 321, 5_999))])
    order = torch.tensor([2, 0, 3, 1])
    frames, permuted = module(waveforms, lengths), module(waveforms[order], lengths[order])
    torch.testing.assert_close(permuted.values, frames.values[order], atol=1e-4, rtol=1e-4)
    assert torch.equal(permuted.lengths, frames.lengths[order])


@pytest.mark.parametrize("past", [0, 1, 158, 159])
def test_a_loud_end_does_not_raise_the_floor_when_padding_follows(module: nn.Module, past: int) -> None:
    """Frames behind the last valid one still reach the end of the clip."""
    waveform = 1e-4 * clip(3_200 + past)
    waveform[-1] = 1.0
    frames = module(*padded([waveform], behind=4_000))
    torch.testing.assert_close(frames.values[0, : frames.lengths[0]], alone(module, waveform), atol=1e-4, rtol=1e-4)


def test_a_graph_is_captured_whole_and_holds_for_padded_batches_too(module: nn.Module) -> None:
    """Of a clip by itself nothing is masked, which must not become a part of the graph."""
    torch.compiler.reset()
    captured = torch.compile(module, backend="eager", fullgraph=True)
    for clips in ([clip(8_000)], [clip(8_000), clip(5_999, 1)]):
        given = padded(clips)
        torch.testing.assert_close(captured(*given), module(*given), atol=1e-4, rtol=1e-4)


# Frames.


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 4_000])
def test_there_is_a_frame_per_hop_and_one_more(samples: int) -> None:
    frames = Spectrogram(RATE, 400, 0.01)(clip(samples)[None], torch.tensor([samples]))
    assert frames.values.shape == (1, samples // 160 + 1, 201)
    assert frames.lengths.tolist() == [samples // 160 + 1]


@pytest.mark.parametrize("samples", [219, 220, 221, 2_200])
def test_an_odd_number_of_points_gives_a_frame_per_hop_and_one_more(samples: int) -> None:
    """25 ms at 22 050 Hz are 551 points."""
    module = Spectrogram(22_050, 551, 0.01, emphasis=0.97)
    frames = module(clip(samples)[None], torch.tensor([samples]))
    assert frames.values.shape == (1, samples // 220 + 1, 276)
    in_batch = module(*padded([clip(samples)], behind=500))
    torch.testing.assert_close(frames.values, in_batch.values[:, : samples // 220 + 1], atol=1e-4, rtol=1e-4)


def test_a_hop_is_rounded_to_the_nearest_sample() -> None:
    assert len(alone(Spectrogram(22_050, 512, hop=0.015), clip(3_309))) == 3_309 // 331 + 1  # of 330.75 samples


def test_one_sample_has_one_frame(module: nn.Module) -> None:
    values = alone(module, torch.ones(1))
    assert values.shape == (1, module.size)
    assert values.isfinite().all()


def test_the_size_is_the_width(module: nn.Module) -> None:
    assert alone(module, clip(1_000)).shape[1] == module.size


def test_a_mask_is_true_where_frames_are_valid() -> None:
    assert frame_mask(torch.tensor([0, 1, 3]), 3).tolist() == [[False] * 3, [True, False, False], [True] * 3]


# Values.


def test_silence_is_finite(module: nn.Module) -> None:
    frames = normalise_per_clip(module(torch.zeros(2, 4_000), torch.tensor([4_000, 1])))
    assert frames.values.isfinite().all()


def test_half_precision_waveforms_give_full_precision_features(module: nn.Module) -> None:
    waveform = clip(4_000).bfloat16()
    values = alone(module, waveform)
    assert values.dtype == torch.float32
    assert torch.equal(values, alone(module, waveform.float()))


def test_features_under_autocast_are_finite(module: nn.Module) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert alone(module, clip(4_000)).isfinite().all()


def test_nothing_of_a_feature_is_kept_in_a_checkpoint(module: nn.Module) -> None:
    assert not module.state_dict()
    assert not list(module.parameters())


# Normalisation.


def test_normalisation_is_over_the_valid_frames_of_each_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    values = 5 + 3 * torch.randn(3, 50, 4, generator=generator)
    lengths = torch.tensor([50, 20, 7])
    normalised = normalise_per_clip(Frames(values, lengths))
    assert torch.equal(normalised.lengths, lengths)
    for row, given, length in zip(normalised.values, values, lengths, strict=True):
        expected = (given[:length] - given[:length].mean(0)) / given[:length].std(0, correction=0)
        torch.testing.assert_close(row[:length], expected, atol=1e-4, rtol=1e-4)
        assert not row[length:].any()


def test_one_frame_normalises_to_zero() -> None:
    assert not normalise_per_clip(Frames(torch.ones(1, 3, 2), torch.tensor([1]))).values.any()
