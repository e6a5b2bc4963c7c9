"""Layers that several architectures use; all of them give a clip the same output alone and in a padded batch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_zoo.encoders import EncoderOutput
from ser_zoo.encoders.attention import attend
from ser_zoo.features import frame_mask

FrameScaling = Literal["none", "frame", "squash"]
StateScaling = Literal["none", "training", "frame", "squash"]


class MaskedBiRNN(nn.Module):
    """Bidirectional LSTM or GRU over padded clips, equal to a packed one and several times faster on a CPU.

    The backward direction reads each clip reversed within its own length, so padding stays behind the end for both
    directions and never reaches a valid frame. With ``lengths=None`` padding is read like signal, as released code that
    masks nothing does.

    Args:
        size: width of the input.
        hidden: width per direction.
        layers: how many, each on the output of the one before.
        dropout: between layers.
        cell: of both directions.
    """

    def __init__(
        self,
        size: int,
        hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM,
    ) -> None:
        super().__init__()
        widths = [size] + [2 * hidden] * (layers - 1)
        self.ahead = nn.ModuleList(cell(width, hidden, batch_first=True) for width in widths)
        self.back = nn.ModuleList(cell(width, hidden, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T, size), (B,) frames -> (B, T, 2 * hidden)."""
        if values.device.type == "cpu":
            # In bfloat16 the backward pass takes four times as long there (LSTM of 1024 to 512, 300 frames of 4 clips).
            with torch.autocast("cpu", enabled=False):
                return self._both_ways(values.float(), lengths)
        return self._both_ways(values, lengths)

    def _both_ways(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        steps = torch.arange(values.shape[1], device=values.device)
        ends = torch.full_like(steps[:1], values.shape[1]) if lengths is None else lengths
        # Position t of a clip of length n goes to n - 1 - t; positions past the end stay. Its own inverse.
        flip = torch.where(steps < ends[:, None], ends[:, None] - 1 - steps, steps).expand(len(values), -1)
        for layer, (ahead, back) in enumerate(zip(self.ahead, self.back, strict=True)):
            values = self.dropout(values) if layer else values
            first, _ = ahead(values)
            second, _ = back(_reorder(values, flip))
            values = torch.cat([first, _reorder(second, flip)], dim=-1)
        return values


def _reorder(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


class SelfAttentionBlock(nn.TransformerEncoderLayer):
    """torch's encoder block (Vaswani et al. 2017, section 3.1, with GELU), whose training costs a processor less.

    In training it attends by `attend`, in evaluation it is torch's own; names and shapes of its weights are those of torch.

    Args:
        width: of input and output.
        heads: number of heads.
        feedforward: hidden width.
        dropout: of attention weights, of the hidden width, and of what attention and feed-forward add.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__(width, heads, feedforward, dropout, F.gelu, batch_first=True)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """(B, T, width) -> (B, T, width); ``src_key_padding_mask`` (B, T) is True beyond a clip's end."""
        if not self.training or src_mask is not None:
            return super().forward(src, src_mask, src_key_padding_mask, is_causal)
        valid = None if src_key_padding_mask is None else ~src_key_padding_mask[:, None, None]
        hidden = self.norm1(src + self.dropout1(self._attended(src, valid)))
        widened = self.dropout(F.gelu(self.linear1(hidden)))
        output: Tensor = self.norm2(hidden + self.dropout2(self.linear2(widened)))
        return output

    def _attended(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, width), and (B, 1, 1, T) or None where all is valid -> (B, T, width)."""
        attention = self.self_attn
        packed = F.linear(values, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = packed.view(*values.shape[:2], 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind()
        mixed = attend(query, key, value, valid, dropout=attention.dropout)
        output: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
        return output


class CrossAttention(nn.Module):
    """Multi-head attention of one sequence over another.

    Args:
        size: width of both sequences and of the output.
        inner: width over all heads.
        heads: number of heads.
    """

    def __init__(self, size: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(size, inner)
        self.key = nn.Linear(size, inner)
        self.value = nn.Linear(size, inner)
        self.output = nn.Linear(inner, size)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, size) over (B, S, size); mask (B, S) is True where ``memory`` is valid -> (B, T, size)."""
        query, key, value = (
            self._split(self.query(queries)),
            self._split(self.key(memory)),
            self._split(self.value(memory)),
        )
        bias = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        output: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return output

    def weights(self, queries: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """What each query takes of each frame of ``memory``, (B, heads, T, S); ``forward`` never holds it."""
        query, key = self._split(self.query(queries)), self._split(self.key(memory))
        scores: Tensor = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        scores = scores if mask is None else scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        return scores.softmax(-1)

    def _split(self, values: Tensor) -> Tensor:
        return values.view(*values.shape[:2], self.heads, -1).transpose(1, 2)


class FusionBlock(nn.Module):
    """Cross-attention and feed-forward, each with residual and LayerNorm after it.

    Args:
        width: of both sequences.
        inner: attention width over all heads.
        heads: number of heads.
        feedforward: hidden width.
        dropout: after attention and after the feed-forward.
        residual: add the queries to what they attend to; without them they only choose it.
    """

    def __init__(self, width: int, inner: int, heads: int, feedforward: int, dropout: float, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.attention = CrossAttention(width, inner, heads)
        self.norm1 = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width))
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, width), (B, S, width), (B, S) -> (B, T, width)."""
        attended = self.dropout(self.attention(queries, memory, mask))
        fused = self.norm1(queries + attended if self.residual else attended)
        output: Tensor = self.norm2(fused + self.dropout(self.feedforward(fused)))
        return output


class ChannelAttention(nn.Module):
    """Weighs channels by their mean and maximum over time (CBAM, Woo et al. 2018, section 3.1).

    Args:
        channels: number of channels.
        hidden: width of the shared two-layer network.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, C), (B, T) or None where all is valid -> (B, T, C)."""
        weights = self.shared(masked_mean(values, mask)) + self.shared(masked_max(values, mask))
        weighed: Tensor = values * weights.sigmoid()[:, None]
        return weighed


class SinusoidalPositions(nn.Module):
    """Adds the positions of Vaswani et al. 2017 (section 3.5) to (B, T, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
        self.rates: Tensor
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """(B, T, size) -> (B, T, size)."""
        angles = torch.arange(values.shape[1], device=values.device)[:, None] * self.rates
        positions = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return values + positions.to(values.dtype)


class ClipDropout(nn.Dropout):
    """Dropout of whole channels of a clip: the same for all its frames, (B, T, D) -> (B, T, D)."""

    def forward(self, values: Tensor) -> Tensor:
        """Drop channels in training; pass through in evaluation."""
        return values * F.dropout(values.new_ones(len(values), 1, values.shape[-1]), self.p, self.training)


class Condense(nn.Module):
    """What can be made of an encoder's states before the first trained parameter: each frame scaled, and frames averaged.

    With a frozen encoder `SERModule` keeps the outcome per utterance, so that an epoch does not read every frame again.

    Args:
        scaling: none; frame: each frame of each layer to zero mean and unit variance over its dimensions; squash: the tanh
            of that.
        stride: frames that are averaged to one; None: all of a clip.
    """

    def __init__(self, scaling: FrameScaling, stride: int | None) -> None:
        super().__init__()
        self.scaling = scaling
        self.stride = stride

    def extra_repr(self) -> str:
        """Every setting, by which kept values are told apart."""
        return f"{self.scaling}, {self.stride}"

    def forward(self, states: Tensor, lengths: Tensor) -> EncoderOutput:
        """(B, L, T, D) states, (B,) frames -> (B, L, ceil(T / stride), D), zero beyond each length, and (B,) frames."""
        states = scale_frames(states, self.scaling)
        if self.stride != 1:
            states, lengths = average_frames(states, lengths, self.stride or states.shape[2])
        return EncoderOutput(states, lengths)


def scale_frames(states: Tensor, scaling: StateScaling) -> Tensor:
    """States (..., D), each frame scaled as ``Condense`` says; "training" leaves them as they are."""
    if scaling not in ("frame", "squash"):
        return states
    states = F.layer_norm(states, states.shape[-1:])
    return states.tanh() if scaling == "squash" else states


class LayerMix(nn.Module):
    """Learned softmax-weighted sum over an encoder's layers (SUPERB, Yang et al. 2021); one layer passes through.

    Args:
        layers: how many hidden states come in.
        size: their width.
        scaling: of the states before: none; training: each dimension of each layer to zero mean and unit variance over the
            training side; frame: each frame of each layer to zero mean and unit variance over its dimensions; squash: the tanh
            of that.

    Attributes:
        standardise: the scaling by the training side, which `SERModule` fits before the first step; else None.
    """

    def __init__(self, layers: int, size: int = 0, scaling: StateScaling = "none") -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers)) if layers > 1 else None
        self.standardise = Standardise(layers, size) if scaling == "training" else None
        self.scaling = scaling

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, T, D) -> (B, T, D)."""
        standardise = self.standardise
        states = scale_frames(states, self.scaling)
        if self.weights is None:
            return states[:, 0] if standardise is None else standardise(states.transpose(1, 2))[:, :, 0]
        weights = self.weights.softmax(0)
        scale = weights if standardise is None else weights[:, None] / standardise.deviation
        # One pass over each layer's states, the largest tensor here; einsum takes seven times as long on a CPU.
        mixed = states[:, 0] * scale[0]
        for layer in range(1, len(weights)):
            mixed = torch.addcmul(mixed, states[:, layer], scale[layer])
        return mixed if standardise is None else mixed - (scale * standardise.mean).sum(0)


class PooledBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (B, D) rows; a training batch of one row is normalised as in evaluation."""

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        if self.training and len(values) == 1:  # its variance would be 0; the last batch of an epoch may be that small
            return F.batch_norm(values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(values)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation of (B, T, ..., size) whose statistics are taken over valid frames only.

    A training batch with one valid row, of a clip so short that a frame is left of it, is normalised as in evaluation.

    Args:
        size: channels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = PooledBatchNorm(size)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, ..., size), (B, T) or None where all is valid -> (B, T, ..., size); what is not valid comes out as zero."""
        if mask is None or (self.training and mask.all()):  # there is no need to pick frames
            return self._normalise(values)
        if not self.training:  # pointwise
            return self._normalise(values) * mask.view(*mask.shape, *[1] * (values.dim() - 2))
        output = torch.zeros_like(values)
        valid = values[mask]
        output[mask] = self._normalise(valid).to(values.dtype)
        return output

    def _normalise(self, values: Tensor) -> Tensor:
        normalised: Tensor = self.norm(values.flatten(0, -2)).view_as(values)
        return normalised


class MaskedConv2d(nn.Module):
    """Convolution over frames and bands, batch normalisation, ReLU, and where asked the maximum over 2 x 2.

    The frames beyond a clip's end are zero before and after, as the edge of a clip alone is, and the batch statistics do not
    see them. The convolution has no bias: the normalisation would take it away.

    Args:
        size: channels of the input.
        channels: of the output.
        kernel: frames and bands that the convolution sees; of an even number one more lies after than before, as in Keras.
        pool: halve frames and bands; an odd last one is dropped.
    """

    def __init__(self, size: int, channels: int, kernel: tuple[int, int] = (3, 3), pool: bool = False) -> None:
        super().__init__()
        frames, bands = kernel
        self.edge = (0, 1 - bands % 2, 0, 1 - frames % 2)
        padding = ((frames - 1) // 2, (bands - 1) // 2)
        # With channels last in memory the normalisation picks whole frames: a training step takes three quarters of the time.
        self.convolution = nn.Conv2d(size, channels, kernel, padding=padding, bias=False).to(memory_format=torch.channels_last)
        self.norm = MaskedBatchNorm(channels)
        self.pool = pool

    def forward(self, values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, size, T, F) zero beyond (B,) valid frames -> (B, channels, T or T // 2, F or F // 2), and their valid frames."""
        values = self.convolution(F.pad(values, self.edge) if any(self.edge) else values)
        values = self.norm(values.permute(0, 2, 3, 1), frame_mask(counts, values.shape[2])).permute(0, 3, 1, 2).relu()
        if not self.pool:
            return values, counts
        values, counts = F.max_pool2d(values, 2), counts // 2
        return values * frame_mask(counts, values.shape[2])[:, None, :, None], counts


class Scaler(Protocol):
    """A module that scales by statistics of the training side."""

    def fit(self, rows: Iterable[Tensor], /) -> None:
        """Take the statistics of (N, ...) blocks of rows."""


class Standardise(nn.Module):
    """Zero mean and unit variance by statistics of the training side, like scikit-learn's ``StandardScaler``.

    Args:
        size: the last dimensions, each of whose entries is scaled by itself.
    """

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    @torch.no_grad()
    def fit(self, rows: Iterable[Tensor]) -> None:
        """Take the statistics of (N, *size) blocks of rows; a constant column keeps deviation 1.

        Raises:
            ValueError: there are no rows.
        """
        count = 0
        # Joined on the processor: Apple's GPUs have no float64.
        mean, spread = torch.zeros(2, *self.mean.shape, dtype=torch.float64)
        for block in rows:
            if len(block) == 0:
                continue
            variance, centre = (moment.cpu().double() for moment in torch.var_mean(block, dim=0, correction=0))
            # Chan, Golub & LeVeque 1979: the statistics of two parts joined, without the loss of summed squares.
            share = len(block) / (count + len(block))
            step = centre - mean
            mean += step * share
            spread += variance * len(block) + step.square() * count * share
            count += len(block)
        if count == 0:
            raise ValueError("no training rows to take statistics of")
        deviation = (spread / count).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """(..., *size) -> (..., *size)."""
        return (values - self.mean) / self.deviation


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the valid frames: (B, T, D), (B, T) or None where all is valid -> (B, D)."""
    if mask is None:
        return values.sum(1) / values.shape[1]
    weights = mask[..., None].to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1)


def masked_max(values: Tensor, mask: Tensor | None) -> Tensor:
    """Maximum over the valid frames: (B, T, D), (B, T) or None where all is valid -> (B, D)."""
    if mask is None:  # by pooling, which remembers where it was; amax looks for it again
        return F.adaptive_max_pool1d(values.transpose(1, 2), 1)[..., 0]
    return values.masked_fill(~mask[..., None], float("-inf")).amax(1)


def average_frames(values: Tensor, lengths: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Means of ``stride`` consecutive frames, the last one of what is left of the clip.

    (B, ..., T, D), (B,) valid frames -> (B, ..., ceil(T / stride), D), zero beyond each clip's end, and (B,) valid frames.
    """
    each = (len(values), *[1] * (values.dim() - 3), -1, 1)  # (B, T) against (B, ..., T, D)
    values = values * frame_mask(lengths, values.shape[-2]).view(each)
    values = F.pad(values, (0, 0, 0, -values.shape[-2] % stride))
    values = values.view(*values.shape[:-2], -1, stride, values.shape[-1]).sum(-2)
    starts = torch.arange(values.shape[-2], device=values.device) * stride
    counts = (lengths[:, None] - starts).clamp(1, stride)
    return values / counts.view(each), (lengths + stride - 1) // stride
