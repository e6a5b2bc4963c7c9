"""MFCC, log-mel and linear spectrograms of padded batches.

They are modules, so they run where the model runs. A clip gives the same frames alone and in a padded batch: beyond its end
a clip is zeros in both cases, framing pads with zeros (the default of librosa since 0.10), and the dB floor is per clip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchaudio.functional import amplitude_to_DB, create_dct, melscale_fbanks, preemphasis

TOP_DB = 80.0  # librosa's default range below the loudest value
AMIN = 1e-10  # librosa's default floor of power


class Frames(NamedTuple):
    """Frame-level features: (B, T, D) values, zero beyond each clip's end, and (B,) valid frames."""

    values: Tensor
    lengths: Tensor


class Spectrogram(nn.Module):
    """Log power spectrogram in dB, of linear or mel bands.

    Args:
        sample_rate: Hz of the waveforms.
        n_fft: points of the transform.
        window: seconds of the Hann window; None means ``n_fft`` points.
        hop: seconds between frames.
        mels: number of mel bands (HTK formula); None keeps the ``n_fft // 2 + 1`` linear bands.
        emphasis: coefficient of the pre-emphasis; 0 leaves the waveform.
    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        hop: float,
        window: float | None = None,
        mels: int | None = None,
        emphasis: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop = round(hop * sample_rate)
        self.emphasis = emphasis
        points = n_fft if window is None else round(window * sample_rate)
        self.window: Tensor
        self.bank: Tensor | None
        self.register_buffer("window", torch.hann_window(points), persistent=False)
        bank = None
        if mels is not None:
            bank = melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, mels, sample_rate)
        self.register_buffer("bank", bank, persistent=False)
        self.size = n_fft // 2 + 1 if mels is None else mels
        self.sample_rate = sample_rate

    def extra_repr(self) -> str:
        """Every setting, by which kept values are told apart."""
        return f"{self.sample_rate}, {self.n_fft}, {len(self.window)}, {self.hop}, {self.size}, {self.emphasis}"

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, T // hop + 1, bands) in dB."""
        # In float32 under any precision: half of it costs c0 a fifth of its spread.
        with torch.autocast(waveforms.device.type, enabled=False):
            return self._float32(waveforms.float(), lengths)

    def _float32(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        if self.emphasis:
            # The filter leaks one sample past the end of a clip.
            waveforms = preemphasis(waveforms, self.emphasis) * frame_mask(lengths, waveforms.shape[1])
        spectrum = torch.stft(
            waveforms,
            self.n_fft,
            self.hop,
            win_length=len(self.window),
            window=self.window.float(),
            pad_mode="constant",
            return_complex=True,
        )
        # A sum over the last dimension, of two, takes six times as long.
        real, imaginary = torch.view_as_real(spectrum.transpose(1, 2)).unbind(-1)
        power = torch.addcmul(real.square(), imaginary, imaginary)
        if self.bank is not None:
            power = power @ self.bank.float()
        counts = lengths // self.hop + 1
        mask = frame_mask(counts, power.shape[1])[..., None]
        # With a channel dimension the floor below the loudest value is taken per clip, not over the batch. Frames past the
        # end still reach back into the clip, and must not raise its floor.
        decibel = amplitude_to_DB((power * mask)[:, None], 10.0, AMIN, 0.0, TOP_DB)[:, 0]
        return Frames(decibel * mask, counts)


class MFCC(nn.Module):
    """Mel-frequency cepstral coefficients (orthonormal DCT-II of the dB mel spectrogram).

    Args:
        sample_rate: Hz of the waveforms.
        coefficients: how many are kept, from the 0th.
        hop: seconds between frames.
        n_fft: points of the transform and of its Hann window (librosa's default is 2048).
        mels: mel bands (librosa's default is 128).
        emphasis: coefficient of the pre-emphasis.
    """

    def __init__(
        self,
        sample_rate: int,
        coefficients: int,
        hop: float,
        n_fft: int = 2048,
        mels: int = 128,
        emphasis: float = 0.0,
    ) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(sample_rate, n_fft, hop, mels=mels, emphasis=emphasis)
        self.dct: Tensor
        self.register_buffer("dct", create_dct(coefficients, mels, norm="ortho"), persistent=False)
        self.size = coefficients

    def extra_repr(self) -> str:
        """Every setting that its spectrogram does not name."""
        return f"{self.size}"

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, T // hop + 1, coefficients)."""
        decibel, counts = self.spectrogram(waveforms, lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            return Frames(decibel @ self.dct.float(), counts)


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """(B,) valid frames -> (B, frames) bool, True where valid."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def normalise_per_clip(frames: Frames) -> Frames:
    """Cepstral mean and variance normalisation: zero mean, unit variance per clip and band over its valid frames."""
    mask = frame_mask(frames.lengths, frames.values.shape[1])[..., None]
    count = frames.lengths.clamp(min=1)[:, None, None]
    mean = (frames.values * mask).sum(1, keepdim=True) / count
    centred = (frames.values - mean) * mask
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    return Frames(centred / (deviation + 1e-5), frames.lengths)
