"""cnn_attn: a 1D CNN on MFCC with channel and spatial attention.

Source
    Lee, Nadeem: "Toward Efficient Speech Emotion Recognition via Spectral Learning and Attention", arXiv 2507.03251 (its third
    version is a withdrawal), and the authors' released notebooks, from which every layer and figure here is taken. The
    attention is that of CBAM (Woo et al., ECCV 2018) in one dimension.

Equations (X: (L, 256) after two blocks Conv1D(256, 7, valid) - ReLU - BatchNorm, dropout 0.2 after the second)
    channel   X'  = X * sigmoid(f(mean_l X) + f(max_l X)),        f = W2 ReLU(W1 .), 256-16-256
    spatial   X'' = X' * sigmoid(k7 * [mean_c X'; max_c X'])
    head      z   = W (BN(ReLU(V pool(X''))) ),                   V to 64 units

Known from the notebooks
    2.5 s from 0.6 s on at 22 050 Hz, of which 20 MFCC (2048 points, hop 512, 128 mel bands) of 108 frames are read as one
    vector of 2160 values; in the EMO-DB and EMOVO files the 108 zero-crossing rates stand before them (2268 values). What a
    short clip lacks is 0. Standardised with statistics of the training rows. L2 penalty 1e-3 on the kernels of both
    convolutions and of the first dense layer; Adam, learning rate 1e-5, batch 16 (RAVDESS and CREMA-D: 32), 100 epochs,
    cross-entropy; each file as four rows: original, noise, pitch, pitch and noise. The max-pooling layers have size 1 and do
    nothing; they are left out.
    By the parameter counts of the saved runs, only those on EMO-DB and EMOVO have both attentions (37,434,661 with seven
    classes); that on RAVDESS has the channel attention alone, those on SAVEE and TESS the spatial one: ``attention``.
    Rows are split at random after the augmentation, the test rows validate, and the last epoch is reported: protocol
    ``as_cnn_attn`` of EMO-DB, EMOVO and TESS with ``monitor: last``. There every test row has, but for chance, a row of its
    own utterance in training. The pitch is raised by two semitones in the notebooks of EMO-DB and EMOVO; the general one,
    which lists the files of TESS among others, has 0.7. On TESS the fourth row of a file repeats the second. On SAVEE and
    RAVDESS a row is one of 256 slices of a spectrogram; how they were made, and from what the figure on CREMA-D comes, was
    not found.

Deviations and our choices
    ``layout="frames"`` (the default): the input is time x coefficient, the convolutions run over time with the 20
    coefficients as channels, and ``pool`` is the mean and the maximum over valid frames. Any length works, and padding
    changes nothing.
    ``layout="flat"`` is the released form: convolutions along the vector, everything flattened into the dense layer, whose
    35 M (with zero crossings 37 M) parameters are 99 % of the network.
    Under an honest protocol augmented rows are made of training speakers only, noise is drawn anew in every epoch, and
    evaluation uses one row per utterance. Under ``as_cnn_attn`` rows are constants, as released; on TESS too the fourth is
    pitch and noise, and the pitch two semitones higher. Noise and pitch change the whole clip, not the stretch that is read
    afterwards. The noise goes by the largest absolute sample, that of the source by the largest sample; the pitch is shifted by
    torchaudio's phase vocoder, in frames of 512 points. The mel formula of the source is librosa's default (Slaney); here it is
    HTK, as everywhere in this package, and bands are not divided by their widths. Initial weights, momentum and epsilon of the
    batch normalisation, and Adam's epsilon are PyTorch's defaults, not those of Keras. Batch-norm statistics are taken over
    valid frames only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_zoo.data import Batch
from ser_zoo.dropout import EntryDropout
from ser_zoo.features import MFCC, Frames, FrontEnd, frame_mask
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import expect_between
from ser_zoo.models.layers import (
    ChannelAttention,
    MaskedBatchNorm,
    PooledBatchNorm,
    Scaler,
    Standardise,
    masked_max,
    masked_mean,
)
from ser_zoo.models.optim import Optim

Layout = Literal["frames", "flat"]
Attention = Literal["both", "channel", "spatial"]
OFFSET, DURATION = 0.6, 2.5  # seconds; the stretch that the notebooks load
POINTS, HOP, MELS = 2048, 512, 128  # samples and bands, librosa's defaults
SIGN_LEVEL = 1e-10  # up to which librosa takes a sample for zero


def flat_frames(sample_rate: int) -> int:
    """Frames of the stretch that the notebooks load."""
    return round(DURATION * sample_rate) // HOP + 1


class ZeroCrossings(nn.Module):
    """Share of the samples of a frame whose sign differs from that of the sample before, as librosa counts them.

    Zero counts as positive. A frame's first sample has none before it, and the clip's first and last sample continue
    before and after the clip, so neither gives a crossing.

    Args:
        hop: samples between frames.
    """

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.size = 1

    def extra_repr(self) -> str:
        """Every setting."""
        return f"{POINTS}, {self.hop}"

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, T // hop + 1, 1), multiples of 1 / 2048."""
        negative = waveforms < -SIGN_LEVEL
        crossed = (negative[:, 1:] != negative[:, :-1]) & frame_mask(lengths - 1, waveforms.shape[1] - 1)
        # How many lie before each sample; the crossing into sample i stands at i - 1.
        before = F.pad(crossed.cumsum(1), (1, 0))
        first = torch.arange(waveforms.shape[1] // self.hop + 1, device=waveforms.device) * self.hop - POINTS // 2
        last = (first + POINTS - 1).clamp(0, waveforms.shape[1] - 1)
        rates = (before[:, last] - before[:, first.clamp(0, waveforms.shape[1] - 1)]) / POINTS
        counts = lengths // self.hop + 1
        return Frames((rates * frame_mask(counts, rates.shape[1]))[..., None], counts)


class Stretch(nn.Module):
    """Features of the stretch that the notebooks load, whatever comes before and after it.

    As librosa.load does with an offset: what is not there is not loaded. A clip that ends before the offset has no frame.

    Args:
        extractor: of the features.
        sample_rate: Hz.
    """

    def __init__(self, extractor: nn.Module, sample_rate: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.start, self.size = round(OFFSET * sample_rate), round(DURATION * sample_rate)

    def extra_repr(self) -> str:
        """Every setting that its extractor does not name."""
        return f"{self.start}, {self.size}"

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, at most 108, size)."""
        waveforms = waveforms[:, self.start : self.start + self.size]
        lengths = (lengths - self.start).clamp(0, self.size)
        frames: Frames = self.extractor(F.pad(waveforms, (0, self.size - waveforms.shape[1])), lengths)
        # A clip of no samples has a frame all the same, and MFCC of silence are not zero.
        return Frames(frames.values * (lengths > 0)[:, None, None], torch.where(lengths > 0, frames.lengths, 0))


class SpatialAttention(nn.Module):
    """Weighs positions by the mean and maximum over channels.

    Args:
        kernel: positions that the convolution sees.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(2, 1, kernel, padding="same", bias=False)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, C), (B, T) or None where all is valid -> (B, T, C)."""
        return values * self.weights(values, mask)

    def weights(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, C), (B, T) or None where all is valid -> (B, T, 1), each from 0 to 1."""
        # Pooling remembers where the maximum was; amax looks for it again, three times as long for both passes together.
        summary = torch.stack([values.sum(-1) / values.shape[-1], F.adaptive_max_pool1d(values, 1)[..., 0]], dim=1)
        if mask is not None:
            summary = summary * mask[:, None]
        weights: Tensor = self.convolution(summary).sigmoid().transpose(1, 2)
        return weights


class CNNAttnNetwork(nn.Module):
    """The network; the arguments are those of ``CNNAttn``."""

    def __init__(
        self,
        classes: int,
        sample_rate: int,
        coefficients: int,
        channels: int,
        kernel: int,
        reduction: int,
        dense: int,
        dropout: float,
        layout: Layout,
        zero_crossings: bool,
        attention: Attention,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.kernel = kernel
        extractors: list[nn.Module] = [MFCC(sample_rate, coefficients, HOP / sample_rate, n_fft=POINTS, mels=MELS)]
        if zero_crossings:
            extractors.insert(0, ZeroCrossings(HOP))
        if layout == "flat":
            extractors = [Stretch(extractor, sample_rate) for extractor in extractors]
        self.front_end = FrontEnd(*extractors)
        self.flat_frames = flat_frames(sample_rate)
        size = coefficients + zero_crossings
        flat = self.flat_frames * size
        self.standardise = Standardise(size if layout == "frames" else flat)
        self.convolution1 = nn.Conv1d(size if layout == "frames" else 1, channels, kernel)
        self.norm1 = MaskedBatchNorm(channels)
        self.convolution2 = nn.Conv1d(channels, channels, kernel)
        self.norm2 = MaskedBatchNorm(channels)
        self.dropout = EntryDropout(dropout)
        self.channel = ChannelAttention(channels, reduction) if attention != "spatial" else None
        self.spatial = SpatialAttention(kernel) if attention != "channel" else None
        pooled = 2 * channels if layout == "frames" else channels * (flat - 2 * (kernel - 1))
        self.dense = nn.Linear(pooled, dense)
        self.norm3 = PooledBatchNorm(dense)
        self.classifier = nn.Linear(dense, classes)

    def forward(self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None = None) -> Tensor:
        """(B, T) waveforms, (B,) samples -> logits (B, C); ``frames`` is the front end's output if it is known."""
        values, _, mask = self._convolved(waveforms, lengths, frames)
        if self.spatial is not None:
            values = self.spatial(values, mask)
        if self.layout == "frames":
            pooled = torch.cat([masked_mean(values, mask), masked_max(values, mask)], dim=-1)
        else:
            pooled = values.flatten(1)
        logits: Tensor = self.classifier(self.norm3(self.dense(pooled).relu()))
        return logits

    def time_weights(self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None = None) -> Frames | None:
        """The spatial attention's weights (B, T, 1), each from 0 to 1; None without it, and of a vector, which is not time.

        Where the convolutions would reach beyond the clip there is no weight: the first and last ``kernel - 1`` are 0.
        """
        if self.spatial is None or self.layout == "flat":
            return None
        values, counts, mask = self._convolved(waveforms, lengths, frames)
        weights = self.spatial.weights(values, mask) * frame_mask(counts, values.shape[1])[..., None]
        edge = self.kernel - 1
        return Frames(F.pad(weights, (0, 0, edge, edge)), counts + 2 * edge)

    def _convolved(
        self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the spatial attention weighs, (B, T, channels), its valid positions (B,), and their mask; None: all are."""
        values, counts = self.rows(self.front_end(waveforms, lengths) if frames is None else frames)
        values = self.standardise(values)
        if self.layout == "flat":
            values = values[..., None]
        else:
            values, counts = self._at_least(values * frame_mask(counts, values.shape[1])[..., None], counts)
        mask = None  # of a vector every position is valid
        for convolve, norm in ((self._convolve1, self.norm1), (self._convolve2, self.norm2)):
            values = convolve(values).relu()
            if self.layout == "frames":
                counts = counts - (self.kernel - 1)
                mask = frame_mask(counts, values.shape[1])
            values = norm(values, mask)
        values = self.dropout(values)
        if self.channel is not None:
            values = self.channel(values, mask)
        return values, counts, mask

    def rows(self, frames: Sequence[Frames]) -> Frames:
        """What is standardised: (B, T, size) frames, or (B, flat_frames * size) vectors, zero-filled, feature after feature."""
        counts = frames[0].lengths
        if self.layout == "frames":
            return Frames(torch.cat([values for values, _ in frames], dim=-1), counts)
        masked = [values * frame_mask(counts, values.shape[1])[..., None] for values, _ in frames]
        filled = [F.pad(values, (0, 0, 0, self.flat_frames - values.shape[1])) for values in masked]
        return Frames(torch.cat([values.flatten(1) for values in filled], dim=-1), counts)

    def penalised(self) -> list[Tensor]:
        """The kernels that the source puts its L2 penalty on."""
        return [self.convolution1.weight, self.convolution2.weight, self.dense.weight]

    def _at_least(self, values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        # Two valid convolutions shorten a clip by 2 (kernel - 1) frames; a shorter clip is continued with zeros.
        needed = 2 * (self.kernel - 1) + 1
        values = F.pad(values, (0, 0, 0, max(0, needed - values.shape[1])))
        return values, counts.clamp(min=needed)

    def _convolve1(self, values: Tensor) -> Tensor:
        # As a product of matrices: of few channels what the kernel reads is small, and the backward pass a quarter as long.
        windows = values.unfold(1, self.kernel, 1).flatten(2)
        return F.linear(windows, self.convolution1.weight.flatten(1), self.convolution1.bias)

    def _convolve2(self, values: Tensor) -> Tensor:
        # In two dimensions it reads (B, T, C) as it lies. In one it would copy, and take four times as long in bfloat16.
        image, weight = values.transpose(1, 2).unsqueeze(2), self.convolution2.weight.unsqueeze(2)
        return F.conv2d(image, weight, self.convolution2.bias).squeeze(2).transpose(1, 2)


class CNNAttn(SERModule):
    """1D CNN on MFCC with channel and spatial attention.

    Args:
        labels: class names in the order of the outputs.
        layout: frames (any length) or flat (the released form, 2.5 s).
        zero_crossings: add the zero-crossing rate of each frame, as the released EMO-DB and EMOVO features have it.
        attention: over channels, over positions, or both one after the other.
        coefficients: number of MFCC; 128 bands have no more.
        channels: of both convolutions.
        kernel: of both convolutions and of the spatial attention.
        reduction: hidden width of the channel attention, not a ratio; the source has channels // 16, which is 16 of its 256.
        dense: width of the dense layer.
        dropout: after the second convolution.
        l2: weight of the L2 penalty on the kernels.
        sample_rate: Hz.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a number makes no sense.
    """

    name: ClassVar[str] = "cnn_attn"
    published: ClassVar[Mapping[str, object]] = {
        "data.batch_size": 16,
        "data.sample_rate": 22_050,
        "data.augment_rows": ["noise", "pitch"],
        "trainer.max_epochs": 100,
        "monitor": "last",
    }

    def __init__(
        self,
        labels: Sequence[str],
        layout: Layout = "frames",
        zero_crossings: bool = False,
        attention: Attention = "both",
        coefficients: int = 20,
        channels: int = 256,
        kernel: int = 7,
        reduction: int = 16,
        dense: int = 64,
        dropout: float = 0.2,
        l2: float = 1e-3,
        sample_rate: int = 22_050,
        optim: Optim = Optim(lr=1e-5, optimizer="adam", weight_decay=0.0),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        self.save_hyperparameters()
        expect_between(1, MELS, coefficients=coefficients)
        expect_between(1, channels=channels, kernel=kernel, reduction=reduction, dense=dense)
        if layout == "flat":  # of which two valid convolutions must leave something
            expect_between(1, (flat_frames(sample_rate) * (coefficients + zero_crossings) + 1) // 2, kernel=kernel)
        expect_between(0, 1, dropout=dropout)
        expect_between(0, l2=l2)
        self.l2 = l2
        self.network: CNNAttnNetwork = CNNAttnNetwork(
            classes=len(labels),
            sample_rate=sample_rate,
            coefficients=coefficients,
            channels=channels,
            kernel=kernel,
            reduction=reduction,
            dense=dense,
            dropout=dropout,
            layout=layout,
            zero_crossings=zero_crossings,
            attention=attention,
        )

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy (or what ``optim`` says) and the L2 penalty of the source."""
        penalty = torch.zeros((), device=self.device)
        for kernel in self.network.penalised():
            square = torch.dot(kernel.flatten(), kernel.detach().flatten())
            # The gradient of dot(w, w) would be two products and their sum; this is one.
            penalty = penalty + 2 * square - square.detach()
        return super().loss(batch) + self.l2 * penalty

    def scalers(self) -> list[tuple[Scaler, Callable[[Batch], Tensor]]]:
        """With that of the features."""
        return [*super().scalers(), (self.network.standardise, self._rows)]

    def _rows(self, batch: Batch) -> Tensor:
        """(N, size) rows to standardise: valid frames, or whole vectors in the flat layout."""
        values, counts = self.network.rows(self.frames(batch))
        return values if self.network.layout == "flat" else values[frame_mask(counts, values.shape[1])]
