"""eca_cnn: a six-layer CNN with efficient channel attention on a log-mel spectrogram of high frequency resolution.

Source
    Kim, Kwon: "Searching for Effective Preprocessing Method and CNN-based Architecture with Efficient Channel Attention on
    Speech Emotion Recognition", arXiv 2409.04007, and Scientific Reports 15, 2025, doi 10.1038/s41598-025-19887-7. The
    attention is ECA (Wang et al., CVPR 2020, arXiv 1910.03151).

Equations (X: C channels x frames x bands, the output of a layer)
    layer   X  = ReLU(BN(conv_3x3(.)))
    ECA     s  = mean over frames and bands of X,   X' = X * sigmoid(conv1d_k(s))     along the channels, without bias
            k  = the odd number nearest to log2(C) / 2 + 1 / 2 (gamma 2, b 1 there), the larger of two
    head    z  = W Drop(mean over frames and bands of X')

Known, from the two abstracts
    A CNN of six layers on log-mel spectrograms; eight settings of the STFT are compared, and more frequency resolution does
    better; ECA belongs after deep layers, and two blocks of it suffice; as augmentation every training utterance is used in
    all eight settings ("multiple STFT"). IEMOCAP: UA 79.37 and WA 79.68, with that augmentation 80.28 and 80.46.
    A published summary of the first version adds that a layer is convolution, batch normalisation and ReLU, and that the
    windows of the eight settings are 15 to 50 ms long.

Our choices, because the full text was not at hand
    Windows of 50 ms, the longest, every 25 ms; 128 bands; 32, 32, 64, 64, 128, 128 channels; a maximum over 2 x 2 after
    each of the first three layers, so that a position of the later ones is 0.2 s and 8 bands; ECA after layers 5 and 6;
    mean pooling; dropout 0.5; Adam 1e-3, batch 32, 50 epochs.
    ``windows`` with several entries is the multiple-STFT augmentation: in training each clip is read through a window drawn
    anew at each step, so that on average it is read through all equally often; evaluation reads it through the first. All
    windows have the same hop.
    Any length: means and batch statistics are taken over valid frames only, and a clip shorter than eight frames is
    continued with zeros to eight. Each band of each window is scaled to zero mean and unit variance by statistics of the
    training side.
    Windows are zero-padded to 128 ms, because the lowest of 128 mel bands are narrower than the 20 Hz between the bins of
    50 ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_zoo.data import Batch
from ser_zoo.errors import SERZooError
from ser_zoo.features import Frames, FrontEnd, Spectrogram, fine_points, frame_mask
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import expect_between
from ser_zoo.models.layers import MaskedConv2d, Scaler, Standardise, masked_mean
from ser_zoo.models.optim import Optim

POOLS = 3  # layers with pooling
POOLED = 2**POOLS  # frames and bands that become one position
LONGEST = 60  # seconds of a window, whose spectrum is one column


class EfficientChannelAttention(nn.Module):
    """Efficient channel attention (Wang et al. 2020): weighs channels by their means and those of neighbouring channels.

    Args:
        channels: number of channels, which decides the width of the kernel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = int(math.log2(channels) / 2 + 1 / 2)
        width += 1 - width % 2
        self.convolution = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, values: Tensor, counts: Tensor) -> Tensor:
        """(B, C, T, F), (B,) valid frames -> (B, C, T, F)."""
        weights = self.convolution(grid_mean(values, counts)[:, None]).sigmoid()[:, 0]
        weighed: Tensor = values * weights[:, :, None, None]
        return weighed


def grid_mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean over valid frames and all bands: (B, C, T, F), (B,) -> (B, C)."""
    return masked_mean(values.mean(3).transpose(1, 2), frame_mask(counts, values.shape[2]))


class EcaCNNNetwork(nn.Module):
    """The network; the arguments are those of ``EcaCNN``."""

    def __init__(
        self,
        classes: int,
        sample_rate: int,
        mels: int,
        hop: float,
        windows: Sequence[float],
        channels: Sequence[int],
        eca: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        points = fine_points(sample_rate, *windows)
        self.front_end = FrontEnd(*(Spectrogram(sample_rate, points, hop, window, mels) for window in windows))
        self.standardise = Standardise(len(windows), mels)
        self.convolutions = nn.ModuleList(
            MaskedConv2d(size, width, pool=number < POOLS)
            for number, (size, width) in enumerate(zip([1, *channels], channels, strict=False))
        )
        self.attention = nn.ModuleDict({str(layer): EfficientChannelAttention(channels[layer - 1]) for layer in eca})
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels[-1], classes)

    def forward(self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None = None) -> Tensor:
        """(B, T) waveforms, (B,) samples -> logits (B, C); ``frames`` is the front end's output if it is known."""
        stacked, counts = self.stack(self.front_end(waveforms, lengths) if frames is None else frames)
        values = self._choose(self.standardise(stacked)) * frame_mask(counts, stacked.shape[1])[..., None]
        values = F.pad(values, (0, 0, 0, max(0, POOLED - values.shape[1])))[:, None]
        counts = counts.clamp(min=POOLED)
        for number, convolution in enumerate(self.convolutions, start=1):
            values, counts = convolution(values, counts)
            if str(number) in self.attention:
                values = self.attention[str(number)](values, counts)
        logits: Tensor = self.classifier(self.dropout(grid_mean(values, counts)))
        return logits

    def stack(self, frames: Sequence[Frames]) -> Frames:
        """One `Frames` per window -> (B, T, W, mels), what is standardised."""
        return Frames(torch.stack([values for values, _ in frames], dim=2), frames[0].lengths)

    def _choose(self, stacked: Tensor) -> Tensor:
        """(B, T, W, mels) -> (B, T, mels): a random window for each clip in training, the first in evaluation."""
        clips, windows = stacked.shape[0], stacked.shape[2]
        if not self.training or windows == 1:
            return stacked[:, :, 0]
        chosen = torch.randint(windows, (clips,), device=stacked.device)
        return stacked[torch.arange(clips, device=stacked.device), :, chosen]


class EcaCNN(SERModule):
    """Six-layer CNN with efficient channel attention on log-mel.

    Args:
        labels: class names in the order of the outputs.
        mels: bands of the spectrogram.
        hop: seconds between its frames.
        windows: seconds that a frame sees. Of several, each training clip is read through one at random, and evaluation uses
            the first.
        channels: of the layers; the first three are followed by pooling.
        eca: numbers of the layers, from 1, that channel attention follows; none leaves it out.
        dropout: before the classifier.
        sample_rate: Hz.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a number makes no sense, there are too few bands or layers for the pooling, or ``eca`` names no layer.
    """

    name: ClassVar[str] = "eca_cnn"
    published: ClassVar[Mapping[str, object]] = {"data.batch_size": 32, "trainer.max_epochs": 50}

    def __init__(
        self,
        labels: Sequence[str],
        mels: int = 128,
        hop: float = 0.025,
        windows: Sequence[float] = (0.05,),
        channels: Sequence[int] = (32, 32, 64, 64, 128, 128),
        eca: Sequence[int] = (5, 6),
        dropout: float = 0.5,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=1e-3, optimizer="adam", weight_decay=0.0),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        for number in channels:
            expect_between(1, channels=number)
        expect_between(0, 1, dropout=dropout)
        expect_between(1 / sample_rate, hop=hop)
        if not windows or not all(1 / sample_rate <= window <= LONGEST for window in windows):
            raise SERZooError(
                f"--model.windows {list(windows)} makes no sense; expected one or more lengths in seconds, none of them "
                f"shorter than a sample ({1 / sample_rate:g}) or longer than {LONGEST} s."
            )
        if mels < POOLED or len(channels) < POOLS:
            raise SERZooError(
                f"eca_cnn got {mels} bands and {len(channels)} layers; its pooling needs {POOLED} bands (--model.mels) and "
                f"{POOLS} layers (--model.channels) or more."
            )
        expect_between(POOLED, mels=mels)
        if not set(eca) <= set(range(1, len(channels) + 1)):
            raise SERZooError(f"--model.eca {list(eca)} names a layer that is not there; expected 1 to {len(channels)}.")
        self.save_hyperparameters()
        self.network: EcaCNNNetwork = EcaCNNNetwork(
            classes=len(labels),
            sample_rate=sample_rate,
            mels=mels,
            hop=hop,
            windows=windows,
            channels=channels,
            eca=eca,
            dropout=dropout,
        )

    def scalers(self) -> list[tuple[Scaler, Callable[[Batch], Tensor]]]:
        """With that of the features."""
        return [*super().scalers(), (self.network.standardise, self._rows)]

    def _rows(self, batch: Batch) -> Tensor:
        """(N, W, mels) valid frames of a batch."""
        stacked, counts = self.network.stack(self.frames(batch))
        return stacked[frame_mask(counts, stacked.shape[1])]
