"""Pitch, loudness and voicing per frame of padded batches.

The pitch is that of Boersma 1993 ("Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
of a sampled sound", IFA Proceedings 17:97-110) without the search for the best path through the clip: every frame stands for
itself. The autocorrelation of the windowed frame, divided by that of the window,

    r(tau) = [r_xw(tau) / r_xw(0)] / [r_w(tau) / r_w(0)],

is near 1 at the period whatever the window does to the signal, and its peak says how periodic the frame is. Of the peaks
between ``floor`` and ``ceiling`` the one of the highest r(tau) - OCTAVE_COST log2(floor tau) wins, and the frame is voiced if

    r(tau) > VOICING + max(0, 2 - (peak of frame / peak of clip) (1 + VOICING) / SILENCE).

``torchaudio.functional.detect_pitch_frequency`` is not used: it has no voicing, its lags are whole samples, its correlation is
divided by the energies instead of their root, and its median over 30 frames reaches from the padding into the clip.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ser_zoo.features.spectral import Frames, decibel, frame_mask

VOICING, SILENCE = 0.45, 0.03  # standard values of Boersma's program Praat
# Our choice, four times that of Praat, which has the path to guard it against jumps down an octave. With this value the fewest
# pitches of RAVDESS and EMO-DB lie far from those of Praat.
OCTAVE_COST = 0.04
PERIODS = 3  # of the lowest pitch in a Hann window (Boersma 1993, section 3)
OVERSAMPLING = 2  # of the lags: with a parabola through the peak it comes close to the sinc interpolation of the source
REFERENCE = 200.0  # Hz at which the pitch is 0 octaves; between the usual voices of men and women


class Prosody(nn.Module):
    """Four values per frame: pitch, loudness, periodicity, voicing.

    The pitch is in octaves above 200 Hz, and 0 where unvoiced. The loudness is the power of the frame in dB of full scale, at
    most 80 dB below the loudest frame of the clip. The periodicity is the peak of the normalised autocorrelation, from 0 to 1.
    The voicing is 1 or 0. Frames are centred at multiples of ``hop``, like those of `Spectrogram`.

    Args:
        sample_rate: Hz of the waveforms.
        hop: seconds between frames.
        floor: lowest pitch in Hz; a frame is three of its periods long.
        ceiling: highest pitch in Hz.
    """

    size = 4

    def __init__(self, sample_rate: int, hop: float, floor: float = 75.0, ceiling: float = 600.0) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.hop = round(hop * sample_rate)
        self.floor = floor
        self.ceiling = ceiling
        points = round(PERIODS * sample_rate / floor)
        # A circular correlation is a linear one at lags up to the zeros that follow the window.
        self.n_fft = 1 << (points + int(sample_rate / floor)).bit_length()
        # Peaks are looked for at these lags, in oversampled ones.
        self.first = math.ceil(OVERSAMPLING * sample_rate / ceiling)
        self.last = int(OVERSAMPLING * sample_rate / floor)
        self.window: Tensor
        self.correction: Tensor
        self.cost: Tensor
        window = torch.hann_window(points, periodic=False)
        periods = torch.arange(self.first, self.last + 1) / (OVERSAMPLING * sample_rate)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("correction", self._autocorrelation(window), persistent=False)
        self.register_buffer("cost", OCTAVE_COST * torch.log2(floor * periods), persistent=False)

    def extra_repr(self) -> str:
        """Every setting, by which kept values are told apart."""
        return f"{self.sample_rate}, {self.hop}, {self.floor}, {self.ceiling}"

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, T // hop + 1, 4)."""
        with torch.autocast(waveforms.device.type, enabled=False):
            return self._float32(waveforms.float(), lengths)

    def _float32(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        points = len(self.window)
        counts = lengths // self.hop + 1
        padded = nn.functional.pad(waveforms, (points // 2, points - points // 2))
        frames = padded.unfold(1, points, self.hop)
        mask = frame_mask(counts, frames.shape[1])
        frames = (frames - frames.mean(-1, keepdim=True)) * mask[..., None]

        window = self.window.float()
        power = (frames * window).square().sum(-1) / window.square().sum()
        loudness = decibel(power[..., None])[..., 0]

        period, periodicity = self._best_peak(frames * window)
        peaks = frames[..., points // PERIODS : -(points // PERIODS)].abs().amax(-1)  # of the middle: one lowest period
        share = peaks / peaks.amax(1, keepdim=True).clamp(min=torch.finfo(peaks.dtype).tiny)
        unvoiced = VOICING + (2 - share * (1 + VOICING) / SILENCE).clamp(min=0)
        voiced = periodicity > unvoiced
        pitch = torch.where(voiced, torch.log2(1 / (REFERENCE * period)), 0.0)
        values = torch.stack([pitch, loudness, periodicity, voiced.to(pitch.dtype)], dim=-1)
        return Frames(values * mask[..., None], counts)

    def _best_peak(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Period in seconds and r there, in [0, 1], of the best peak of windowed (B, N, points) frames; r is 0 without one."""
        r = self._autocorrelation(frames) / self.correction.float()
        before, here, behind = (r[..., self.first + step : self.last + 1 + step] for step in (-1, 0, 1))
        # The parabola through three neighbouring lags; it opens downwards wherever the middle one is a peak.
        slope, curve = (behind - before) / 2, 2 * here - before - behind
        peak = (here > before) & (here >= behind)
        height = torch.where(peak, here + slope.square() / (2 * curve), float("-inf"))
        strength, at = (height - self.cost.float()).max(-1, keepdim=True)
        shift = torch.where(strength.isfinite(), slope.gather(-1, at) / curve.gather(-1, at), 0.0)
        period = (self.first + at + shift) / (OVERSAMPLING * self.sample_rate)
        return period[..., 0], height.gather(-1, at)[..., 0].clamp(0, 1)

    def _autocorrelation(self, frames: Tensor) -> Tensor:
        """(..., points) -> (..., lags), 1 at lag 0; all zero for a frame without power."""
        spectrum = torch.fft.rfft(frames, self.n_fft)
        # A longer inverse transform interpolates between the samples.
        correlation = torch.fft.irfft(spectrum.abs().square(), OVERSAMPLING * self.n_fft)[..., : self.last + 2]
        power = correlation[..., :1]
        return torch.where(power > 0, correlation / torch.where(power > 0, power, 1.0), 0.0)
