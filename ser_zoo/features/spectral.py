"""MFCC, log-mel and linear spectrograms of padded batches.

They are modules, so they run where the model runs. A clip gives the same frames alone and in a padded batch: beyond its end
a clip is zeros in both cases, framing pads with zeros (the default of librosa since 0.10), and the dB floor is per clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import create_dct, melscale_fbanks

TOP_DB = 80.0  # librosa's default range below the loudest value
AMIN = 1e-10  # librosa's default floor of power
MelNorm = Literal["slaney"] | None
FINE = 0.1  # seconds
BLOCK = 16  # mel bands that are made by one product: of the bins that all of them ignore, none is read


class Frames(NamedTuple):
    """Frame-level features: (B, T, D) values, zero beyond each clip's end, and (B,) valid frames."""

    values: Tensor
    lengths: Tensor


class Spectrogram(nn.Module):
    """Log power spectrogram in dB, of linear or mel bands.

    Args:
        sample_rate: Hz of the waveforms.
        n_fft: points of the transform.
        window: seconds of the window; None means ``n_fft`` points.
        hop: seconds between frames.
        mels: number of mel bands (HTK formula); None keeps the ``n_fft // 2 + 1`` linear bands.
        norm: slaney divides each mel band by its width, as librosa does by default; None leaves all filters as high as 1.
        emphasis: coefficient of the pre-emphasis; 0 leaves the waveform.
        shape: makes a window of so many points.
    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        hop: float,
        window: float | None = None,
        mels: int | None = None,
        emphasis: float = 0.0,
        shape: Callable[[int], Tensor] = torch.hann_window,
        norm: MelNorm = None,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop = round(hop * sample_rate)
        self.emphasis = emphasis
        self.points = n_fft if window is None else round(window * sample_rate)
        self.window: Tensor
        self.shape: str = shape.__name__
        before = (n_fft - self.points) // 2
        padded = F.pad(shape(self.points), (before, n_fft - self.points - before))
        self.register_buffer("window", padded, persistent=False)
        self.bands: list[tuple[int, int]] = []
        if mels is not None:
            bank = melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, mels, sample_rate, norm)
            for low, high, block in _blocks(bank.repeat_interleave(2, dim=0)):  # a bin's real and imaginary part both count
                self.register_buffer(f"bank{len(self.bands)}", block, persistent=False)
                self.bands.append((low, high))
        self.size = n_fft // 2 + 1 if mels is None else mels
        self.sample_rate = sample_rate
        self.norm = norm

    def extra_repr(self) -> str:
        """Every setting, by which kept values are told apart."""
        settings = (self.sample_rate, self.n_fft, self.points, self.hop, self.size, self.emphasis, self.shape)
        return ", ".join(map(str, settings if self.norm is None else (*settings, self.norm)))

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, T // hop + 1, bands) in dB."""
        # In float32 under any precision: half of it costs c0 a fifth of its spread.
        with torch.autocast(waveforms.device.type, enabled=False):
            return self._float32(waveforms.float(), lengths)

    def _float32(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        power = self._power(self._squares(waveforms, lengths))
        counts = lengths // self.hop + 1
        if _all_valid(counts, power.shape[1]):
            return Frames(self.decibel(power), counts)
        # As numbers: a product with truth values takes several times as long.
        mask = frame_mask(counts, power.shape[1])[..., None].to(power.dtype)
        # Frames past the end still reach back into the clip, and must not raise its floor.
        return Frames(self.decibel(power.mul_(mask)).mul_(mask), counts)

    def decibel(self, power: Tensor) -> Tensor:
        """`decibel` of power; subclasses may have another range."""
        return decibel(power)

    def _squares(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """(B, T // hop + 1, n_fft + 2): of each bin the squares of its real and its imaginary part, side by side.

        The transform is that of ``torch.stft``, which makes two more copies.
        """
        half = self.n_fft // 2
        padded = F.pad(waveforms, (half + 1, self.n_fft - half))
        if self.emphasis:
            padded = torch.sub(padded[:, 1:], padded[:, :-1], alpha=self.emphasis)
            # The filter leaks one sample past the end of a clip.
            padded.scatter_(1, (lengths + half)[:, None], 0.0)
        else:
            padded = padded[:, 1:]
        spectrum = torch.fft.rfft(padded.unfold(1, self.n_fft, self.hop) * self.window.float())
        return torch.view_as_real(spectrum).flatten(2).square_()

    def _power(self, squares: Tensor) -> Tensor:
        """(B, N, n_fft + 2) squares -> (B, N, bands)."""
        if not self.bands:  # a sum over a last dimension of two takes six times as long
            return squares[..., 0::2] + squares[..., 1::2]
        rows = squares.flatten(0, 1)
        banks = (getattr(self, f"bank{number}").float() for number in range(len(self.bands)))
        parts = [rows[:, low:high] @ bank for (low, high), bank in zip(self.bands, banks, strict=True)]
        return torch.cat(parts, dim=1).view(*squares.shape[:2], -1)


class MFCC(nn.Module):
    """Mel-frequency cepstral coefficients (orthonormal DCT-II of the dB mel spectrogram).

    Args:
        sample_rate: Hz of the waveforms.
        coefficients: how many are kept, from the 0th.
        hop: seconds between frames.
        n_fft: points of the transform and of its Hann window (librosa's default is 2048).
        mels: mel bands (librosa's default is 128).
        emphasis: coefficient of the pre-emphasis.
        norm: of the mel bands, as in `Spectrogram`.
    """

    def __init__(
        self,
        sample_rate: int,
        coefficients: int,
        hop: float,
        n_fft: int = 2048,
        mels: int = 128,
        emphasis: float = 0.0,
        norm: MelNorm = None,
    ) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(sample_rate, n_fft, hop, mels=mels, emphasis=emphasis, norm=norm)
        self.dct: Tensor
        self.register_buffer("dct", create_dct(coefficients, mels, norm="ortho"), persistent=False)
        self.size = coefficients

    def extra_repr(self) -> str:
        """Every setting that its spectrogram does not name."""
        return f"{self.size}"

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, T // hop + 1, coefficients)."""
        level, counts = self.spectrogram(waveforms, lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            return Frames(level @ self.dct.float(), counts)


def decibel(power: Tensor) -> Tensor:
    """(B, N, bands) power, zero beyond each clip's end -> the same in dB, at most ``TOP_DB`` below the clip's loudest."""
    level = power.clamp(min=AMIN).log10_().mul_(10)  # in place: to get memory takes longer than to compute
    return level.clamp_(min=level.amax((1, 2), keepdim=True) - TOP_DB)


def fine_points(sample_rate: int, *windows: float) -> int:
    """The least power of 2 that holds windows of so many seconds and parts the bands of the finest spectrograms here.

    The narrowest of 128 mel bands needs bins closer than 14 Hz, so at least ``FINE`` seconds, to which windows are zero-padded.
    """
    return 1 << (round(max(FINE, *windows) * sample_rate) - 1).bit_length()


def _blocks(bank: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Of a (rows, mels) filter bank, whose filters see few rows each: first row, last row + 1 and filters of each block."""
    for part in torch.split(bank, BLOCK, dim=1):
        rows = part.any(1).nonzero().flatten().tolist() or [0]
        yield rows[0], rows[-1] + 1, part[rows[0] : rows[-1] + 1].clone(memory_format=torch.contiguous_format)


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """(B,) valid frames -> (B, frames) bool, True where valid."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def _all_valid(counts: Tensor, frames: int) -> bool:
    """Whether none of ``frames`` is beyond its clip's end.

    False where to ask would wait for a device, or break a graph that is being captured, or put the answer into it.
    """
    captured = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return not captured and counts.device.type == "cpu" and bool((counts == frames).all())


def normalise_per_clip(frames: Frames) -> Frames:
    """Cepstral mean and variance normalisation: zero mean, unit variance per clip and band over its valid frames."""
    mask = frame_mask(frames.lengths, frames.values.shape[1])[..., None]
    count = frames.lengths.clamp(min=1)[:, None, None]
    mean = (frames.values * mask).sum(1, keepdim=True) / count
    centred = (frames.values - mean) * mask
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    return Frames(centred / (deviation + 1e-5), frames.lengths)
