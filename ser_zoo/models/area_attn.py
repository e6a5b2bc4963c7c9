"""area_attn: a CNN on log-mel whose positions attend to areas of several sizes.

Source
    Xu, Zhang, Cui, Zhang: "Speech Emotion Recognition with Multiscale Area Attention and Data Augmentation", ICASSP 2021,
    arXiv 2102.01813, and the authors' released code (TensorFlow). Area attention is that of Li, Kaiser, Bengio, Si, ICML 2019,
    arXiv 1810.10126.

Equations (x: log-mel, frames x bands; G: the T' x F' grid of vectors g_p that five convolutions make of it)
    G    = C5(C4(pool(C3(pool(C2([C1a(x), C1b(x)]))))))      C = ReLU(BN(conv)), pool = maximum over 2 x 2
    k_a  = mean_{p in a} g_p,      v_a = sum_{p in a} g_p    for every rectangle a of up to 3 x 3 positions
    h_p  = sum_a Drop(softmax_a(g_p k_a)) v_a
    z    = W [mean_t h_(t,1) .. mean_t h_(t,F')]

Known
    The abstract: IEMOCAP, WA 79.34 and UA 77.54.
    The released code: 128 mel bands at 16 kHz, windows of 50 ms every 25 ms, log10 without normalisation. C1a and C1b in
    parallel, 16 channels each, 10 bands x 2 frames and 2 bands x 8 frames; C2 to C5 with 32, 48, 64, 80 channels, 3 x 3.
    Queries, keys and values are the grid itself, products are not scaled, half of the weights are dropped. Adam 1e-4 (with
    a decay of 1e-6 a step, left out here), batch 32, 100 epochs, cross-entropy. Four classes of IEMOCAP's improvised part
    in segments of 2 s, a new one each second in training and each 0.4 s in evaluation, where the mean of the segments'
    probabilities decides; shorter utterances are skipped. A VTLP row beside each training row, warped by 0.8 to 1.2 up to
    4800 Hz. A random 80 % of the utterances train, whatever their speaker, and the best epoch is chosen on the other 20 %,
    which are the test.
    What else the release does: the parallel outputs are stacked along the bands, not as channels; the height of the grid is
    not passed on, so that each row of bands attends to stretches of itself and an area's extent in frequency has no effect;
    the weights are dropped in evaluation too; batch normalisation is called without its training flag, so that its
    statistics stay those of the start. The training script as it stands sets areas of one position, which is ordinary
    attention; the network's own default, and the name of the script's log, are areas of 3 x 3.
    A published reproduction of the paper (CENG502, METU, 2022): keys of an area are its mean, maximum or a sample around
    the mean, values its sum, mean or maximum; areas of up to 3 x 3 are best with augmentation, of up to 4 x 4 without.

Deviations and our choices
    ``layout="grid"`` is two-dimensional areas taken at their word: the parallel outputs are joined as channels (as in the
    same authors' earlier release, head_fusion), and areas extend over time and frequency. ``layout="released"`` stacks
    along the bands and attends within rows. In both, weights are dropped in training only and batch normalisation
    normalises.
    Any length: the source flattens the grid of its 2 s into the dense layer; here the outputs are averaged over time first,
    and the bands stay apart. Segments are a random crop of 2 s in training, and evaluation reads the whole utterance at
    once. Areas that reach beyond the end of a clip are left out, and batch statistics are taken over valid frames only. A
    clip shorter than four frames is continued with zeros to four. Convolutions have no bias, which batch normalisation
    would take away. Initial weights, momentum and epsilon of the batch normalisation, and Adam's epsilon are PyTorch's
    defaults, not those of Keras.
    Levels are in dB, at most 80 below the clip's loudest value; the release takes the log10 of the power as it is. Each band is
    then scaled to zero mean and unit variance by statistics of the training side. The mel formula is HTK, the
    release's Slaney; at 128 bands its lowest ones are narrower than the 20 Hz between the bins of 50 ms, so frames are
    zero-padded to 128 ms. ``--data.augment '[vtlp]'`` warps half of the rows, drawn anew in each epoch, by 0.9 to 1.1.
    The time that the grid takes grows with the square of a clip's length, and in training with dropped weights so does its
    memory: at the defaults 10 s are 3,200 positions and 27,600 areas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

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

Layout = Literal["grid", "released"]
Key = Literal["mean", "max", "sample"]
Value = Literal["sum", "mean", "max"]
WINDOW = 0.05  # seconds
POOLED = 4  # frames and bands that become one position
SAMPLE_EPSILON = 1e-6  # under the root of the deviation, as in the release of Li et al.


class AreaAttention(nn.Module):
    """Each position of a grid attends to all rectangles of neighbouring positions up to a size (Li et al. 2019).

    Args:
        max_area: frames and bands of the largest rectangle.
        key: of a rectangle; sample is its mean, and in training a draw from the normal distribution with the rectangle's
            mean and deviation.
        value: of a rectangle.
        dropout: of attention weights.
    """

    def __init__(self, max_area: tuple[int, int], key: Key, value: Value, dropout: float) -> None:
        super().__init__()
        self.max_area = max_area
        self.key = key
        self.value = value
        self.dropout = dropout

    def forward(self, grid: Tensor, counts: Tensor) -> Tensor:
        """(B, C, T, F) grid, (B,) valid frames, one at least -> (B, C, T, F), whatever beyond each clip's end."""
        frames, bands = grid.shape[2:]
        items = grid.permute(0, 2, 3, 1).contiguous()  # the fused kernels of attention want the channels last in memory too
        sums = self.areas(items, torch.add)
        keys = self._pool(items, sums, self.key)
        values = keys if self.key == self.value else self._pool(items, sums, self.value)
        inside = [
            frame_mask(counts - height + 1, area.shape[1])[..., None].expand(area.shape[:3]).flatten(1)
            for (height, _), area in sums.items()
        ]
        attended = F.scaled_dot_product_attention(
            items.flatten(1, 2)[:, None],
            keys[:, None],
            values[:, None],
            attn_mask=torch.cat(inside, dim=1)[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
            scale=1.0,
        )
        return attended.view(-1, frames, bands, attended.shape[-1]).permute(0, 3, 1, 2)

    def areas(self, items: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> dict[tuple[int, int], Tensor]:
        """(B, T, F, C) -> by height and width the (B, T - height + 1, F - width + 1, C) rectangles, their positions joined."""
        rectangles = {}
        tall = items
        for height in range(1, min(self.max_area[0], items.shape[1]) + 1):
            tall = items if height == 1 else join(tall[:, :-1], items[:, height - 1 :])
            wide = tall
            for width in range(1, min(self.max_area[1], items.shape[2]) + 1):
                wide = tall if width == 1 else join(wide[:, :, :-1], tall[:, :, width - 1 :])
                rectangles[height, width] = wide
        return rectangles

    def _pool(self, items: Tensor, sums: dict[tuple[int, int], Tensor], how: Key | Value) -> Tensor:
        """One (C,) vector per rectangle, (B, A, C), in the order of ``sums``."""
        if how == "max":
            return _flat(self.areas(items, torch.maximum))
        if how == "sum":
            return _flat(sums)
        mean = _flat({size: area / math.prod(size) for size, area in sums.items()})
        if how == "mean" or not self.training:
            return mean
        squares = self.areas(items.square(), torch.add)
        square = _flat({size: area / math.prod(size) for size, area in squares.items()})
        deviation = ((square - mean.square()).abs() + SAMPLE_EPSILON).sqrt()
        return mean + deviation * torch.randn_like(deviation)


def _flat(areas: dict[tuple[int, int], Tensor]) -> Tensor:
    return torch.cat([area.flatten(1, 2) for area in areas.values()], dim=1)


class AreaAttnNetwork(nn.Module):
    """The network; the arguments are those of ``AreaAttn``."""

    def __init__(
        self,
        classes: int,
        sample_rate: int,
        mels: int,
        hop: float,
        parallel: int,
        channels: Sequence[int],
        layout: Layout,
        max_area: tuple[int, int],
        key: Key,
        value: Value,
        dropout: float,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.front_end = FrontEnd(Spectrogram(sample_rate, fine_points(sample_rate, WINDOW), hop, WINDOW, mels))
        self.standardise = Standardise(mels)
        self.frequency = MaskedConv2d(1, parallel, (2, 10))
        self.time = MaskedConv2d(1, parallel, (8, 2))
        sizes = [parallel if layout == "released" else 2 * parallel, *channels]
        self.convolutions = nn.ModuleList(
            MaskedConv2d(size, width, pool=number < 2)
            for number, (size, width) in enumerate(zip(sizes, channels, strict=False))
        )
        self.attention = AreaAttention(max_area, key, value, dropout)
        bands = (2 * mels if layout == "released" else mels) // POOLED
        self.classifier = nn.Linear(channels[-1] * bands, classes)

    def forward(self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None = None) -> Tensor:
        """(B, T) waveforms, (B,) samples -> logits (B, C); ``frames`` is the front end's output if it is known."""
        ((values, counts),) = self.front_end(waveforms, lengths) if frames is None else frames
        values = self.standardise(values) * frame_mask(counts, values.shape[1])[..., None]
        values = F.pad(values, (0, 0, 0, max(0, POOLED - values.shape[1])))[:, None]
        counts = counts.clamp(min=POOLED)
        parallel = [self.frequency(values, counts)[0], self.time(values, counts)[0]]
        joined = torch.cat(parallel, dim=1 if self.layout == "grid" else 3)
        for convolution in self.convolutions:
            joined, counts = convolution(joined, counts)
        attended = self._attend(joined, counts).permute(0, 2, 3, 1).flatten(2)
        logits: Tensor = self.classifier(masked_mean(attended, frame_mask(counts, attended.shape[1])))
        return logits

    def _attend(self, grid: Tensor, counts: Tensor) -> Tensor:
        """(B, C, T, F), (B,) valid frames -> (B, C, T, F)."""
        if self.layout == "grid":
            attended: Tensor = self.attention(grid, counts)
            return attended
        rows = grid.permute(0, 3, 1, 2)
        attended = self.attention(rows.flatten(0, 1)[..., None], counts.repeat_interleave(grid.shape[3]))
        return attended.reshape(rows.shape).permute(0, 2, 3, 1)


class AreaAttn(SERModule):
    """CNN on log-mel with multiscale area attention.

    Args:
        labels: class names in the order of the outputs.
        mels: bands of the spectrogram.
        hop: seconds between its frames.
        parallel: channels of each of the two parallel convolutions.
        channels: of the convolutions after them; the first two are followed by pooling.
        layout: grid (areas over time and frequency) or released (each row of bands attends to stretches of itself).
        max_area: positions in time and in frequency of the largest area; a position stands for four frames by four bands.
        key: mean or maximum of an area's positions, or in training a sample around their mean.
        value: sum, mean or maximum of them.
        dropout: of attention weights.
        sample_rate: Hz.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a number makes no sense, there are too few bands for the pooling, or no two convolutions.
    """

    name: ClassVar[str] = "area_attn"
    published: ClassVar[Mapping[str, object]] = {
        "data.batch_size": 32,
        "data.crop_seconds": 2.0,
        "data.augment": ["vtlp"],
        "trainer.max_epochs": 100,
    }

    def __init__(
        self,
        labels: Sequence[str],
        mels: int = 128,
        hop: float = 0.025,
        parallel: int = 16,
        channels: Sequence[int] = (32, 48, 64, 80),
        layout: Layout = "grid",
        max_area: tuple[int, int] = (3, 3),
        key: Key = "mean",
        value: Value = "sum",
        dropout: float = 0.5,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=1e-4, optimizer="adam", weight_decay=0.0),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        expect_between(1, parallel=parallel)
        for number in channels:
            expect_between(1, channels=number)
        expect_between(0, 1, dropout=dropout)
        expect_between(1 / sample_rate, hop=hop)
        if mels < POOLED:
            raise SERZooError(f"--model.mels {mels} is too few: area_attn pools {POOLED} bands to one; pass {POOLED} or more.")
        expect_between(POOLED, mels=mels)
        if len(channels) < 2 or min(max_area) < 1:
            raise SERZooError(
                f"area_attn got channels {list(channels)} and max_area {list(max_area)}; pass two or more convolutions as "
                "--model.channels, and as --model.max_area one position or more each way."
            )
        self.save_hyperparameters()
        self.network: AreaAttnNetwork = AreaAttnNetwork(
            classes=len(labels),
            sample_rate=sample_rate,
            mels=mels,
            hop=hop,
            parallel=parallel,
            channels=channels,
            layout=layout,
            max_area=max_area,
            key=key,
            value=value,
            dropout=dropout,
        )

    def scalers(self) -> list[tuple[Scaler, Callable[[Batch], Tensor]]]:
        """With that of the features."""
        return [*super().scalers(), (self.network.standardise, self._rows)]

    def _rows(self, batch: Batch) -> Tensor:
        """(N, mels) valid frames of a batch."""
        ((values, counts),) = self.frames(batch)
        return values[frame_mask(counts, values.shape[1])]
