"""wav2vec 2.0 and its relatives: convolutions over the waveform, transformer blocks.

The blocks are transformers' own; the way to them is written here, because padding would leak into a clip in
three places of transformers' version: the statistics of the group norm in the first convolution
(wav2vec2-base, hubert-base, wavlm-base: differences of 0.09 to 0.33 in the states), the later ones of stacked
positional convolutions (data2vec-audio), and a batch norm before the positional convolution (mHuBERT-147).
WavLM's attention is written here too: transformers reads the weights of its projections without calling them,
which would pass by adapters, and makes the attention weights, which nobody reads.

Sources: Baevski et al., "wav2vec 2.0", 2020; Hsu et al., "HuBERT", 2021; Chen et al., "WavLM", 2022; Baevski
et al., "data2vec", 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ser_zoo.encoders.attention import attend, use_in
from ser_zoo.encoders.network import Network, first
from ser_zoo.features import frame_mask

if TYPE_CHECKING:
    from ser_zoo.encoders.checkpoint import Checkpoint

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")


class WaveformNetwork(Network):
    """Front end, projection, positional convolution, blocks.

    With group norm in the first convolution, its mean and variance are taken over each clip's valid frames.

    Args:
        checkpoint: of one of the model types `FAMILIES`.
        layers: hidden states to return, from 0 to the number of blocks.
    """

    def __init__(self, checkpoint: Checkpoint, layers: tuple[int, ...]) -> None:
        super().__init__()
        model, config = checkpoint.encoder, checkpoint.config
        use_in(model)
        self.layers, self.depth, self.width = layers, config.num_hidden_layers, config.hidden_size
        kept = max(layers)
        self.convolutions: nn.ModuleList = model.feature_extractor.conv_layers
        self.projection = model.feature_projection
        self.positions = model.encoder.pos_conv_embed
        self.dropout = model.encoder.dropout
        self.blocks = model.encoder.layers[:kept]
        # The one layer norm of the encoder stands before the blocks, or, in the "stable" variant, after them.
        norm, after = model.encoder.layer_norm, bool(getattr(config, "do_stable_layer_norm", False))
        self.norm_before: nn.Module | None = None if after else norm
        self.norm_after: nn.Module | None = norm if after and kept == self.depth else None
        self.relative = config.model_type == "wavlm"
        self.longest = 0 if self.relative else float("inf")  # the bias of a relative position is made by the first block
        if self.relative:
            for block in self.blocks:
                attention: Any = block.attention
                attention.torch_multi_head_self_attention = partial(biased_attention, attention)
        for part in (self.convolutions, self.positions):
            for convolution in part.modules():
                if isinstance(convolution, nn.Conv1d):
                    convolution.forward = partial(convolve, convolution)  # type: ignore[method-assign]
        self.normalize = bool(checkpoint.extractor.do_normalize)
        self.strides = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.description = {
            "family": config.model_type,
            "heads": config.num_attention_heads,
            "activations": [config.feat_extract_activation, config.hidden_act],
            "convolutions": [list(pair) for pair in self.strides],
            "stable_layer_norm": after,
            "normalize": self.normalize,
        }

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) samples to (B, L, T', D) states, one per 20 ms in published checkpoints; see `Network`."""
        if self.normalize:
            waveforms = normalized(waveforms, lengths)
        shortest = self._shortest()
        waveforms = functional.pad(waveforms, (0, max(0, shortest - waveforms.shape[1])))
        lengths = lengths.clamp(min=shortest)
        hidden, frames = self._front(waveforms, lengths)
        # Under autocast the blocks add to what this is, and a sum in half precision loses what they add.
        hidden = first(self.projection(hidden.transpose(1, 2))).float()
        mask = frame_mask(frames, hidden.shape[1])
        keep = None if bool(mask.all()) else mask
        hidden = hidden if keep is None else hidden * keep[:, :, None]
        hidden = hidden + self._positions(hidden, keep)
        if self.norm_before is not None:
            hidden = self.norm_before(hidden)
        hidden = self.dropout(hidden)
        if self.relative:
            return self._relative(hidden, keep), frames
        bias = None if keep is None else keep[:, None, None]
        return self.run_blocks(hidden, bias), frames

    def final_norm(self) -> nn.Module | None:
        """See `Network`."""
        return self.norm_after

    def stages(self) -> list[list[nn.Module]]:
        """See `Network`."""
        between = [self.projection, self.positions, self.dropout]
        if self.norm_before is not None:
            between.append(self.norm_before)
        stages: list[list[nn.Module]] = [[self.convolutions], *([block] for block in self.blocks)]
        if self.norm_after is not None:
            stages[-1].append(self.norm_after)
        return [stages[0], between + stages[1], *stages[2:]] if len(stages) > 1 else [stages[0], between]

    def _front(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The front end, which pads nothing: (B, T) to (B, C, T') and the valid frames."""
        hidden = waveforms[:, None]
        for layer, (kernel, stride) in zip(self.convolutions, self.strides, strict=True):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                convolution, activation = layer.get_submodule("conv"), layer.get_submodule("activation")
                hidden = activation(masked_group_norm(convolution(hidden), norm, lengths))
            else:
                hidden = layer(hidden)
        return hidden, lengths

    def _positions(self, hidden: Tensor, keep: Tensor | None) -> Tensor:
        """Positional convolutions of (B, T, D) ``hidden``, zero beyond the clip before each of them."""
        if keep is None:
            return first(self.positions(hidden))
        hidden = hidden.transpose(1, 2)
        stack = self.positions.layers if hasattr(self.positions, "layers") else [self.positions]
        for layer in stack:
            if (norm := getattr(layer, "batch_norm", None)) is not None:
                hidden = norm(hidden)
            hidden = layer.padding(layer.conv(hidden * keep[:, None]))
            if (norm := getattr(layer, "layer_norm", None)) is not None:
                hidden = norm(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = layer.activation(hidden)
        return hidden.transpose(1, 2)

    def _relative(self, hidden: Tensor, keep: Tensor | None) -> Tensor:
        """`run_blocks` for WavLM, whose first block makes the relative position bias that the others use."""
        states, bias = [hidden], None
        for block in self.blocks:
            hidden, bias = block(hidden, attention_mask=keep, position_bias=bias)[:2]
            states.append(hidden)
        if self.norm_after is not None:
            states[-1] = self.norm_after(hidden)
        return self.side_by_side([states[layer] for layer in self.layers])

    def _shortest(self) -> int:
        """Samples that give one frame."""
        samples = 1
        for kernel, stride in reversed(self.strides):
            samples = (samples - 1) * stride + kernel
        return samples


def convolve(convolution: nn.Conv1d, hidden: Tensor) -> Tensor:
    """``convolution`` in place of its ``forward``.

    Where it is trained in bfloat16 on a processor, the channels of a frame lie side by side in memory, and it is computed
    as products of matrices if it has one group, otherwise as torch has it for images of one row: both passes of the
    positional convolution of wav2vec2-base take four fifths of the time so.

    Args:
        convolution: with one group and no padding, or with several groups and padding of so many frames; without dilation.
        hidden: (B, C, T).

    Returns:
        (B, C', T').
    """
    low = hidden.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not (low and torch.is_grad_enabled() and convolution.weight.requires_grad):
        return nn.Conv1d.forward(convolution, hidden)
    size, stride = convolution.kernel_size[0], convolution.stride[0]
    if convolution.groups > 1:
        row = hidden[:, :, None].contiguous(memory_format=torch.channels_last)
        weight = convolution.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        padding, groups = int(convolution.padding[0]), convolution.groups
        return functional.conv2d(row, weight, convolution.bias, (1, stride), (0, padding), groups=groups)[:, :, 0]
    if convolution.in_channels == 1:  # windows of a waveform are small enough to be copied
        made = functional.linear(hidden[:, 0].unfold(1, size, stride), convolution.weight[:, 0], convolution.bias)
    else:
        by_frame = hidden.transpose(1, 2).to(torch.get_autocast_dtype("cpu")).contiguous()
        made = Products.apply(by_frame, convolution.weight, stride)
        made = made if convolution.bias is None else made + convolution.bias.to(made.dtype)
    return made.transpose(1, 2)


class Products(torch.autograd.Function):
    """A convolution as products of matrices, one per stride of the kernel, in which no window of a full stride is copied.

    The gradient of a slice is as large as what it was cut from and zero elsewhere; here all parts of the kernel write theirs
    into one tensor.
    """

    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, stride: int) -> Tensor:
        """(B, T, C) frames and (C', C, K) weights to (B, T', C'), in the precision of the frames."""
        ctx.save_for_backward(frames, weight)
        ctx.stride = stride
        made = frames.new_empty(len(frames), (frames.shape[1] - weight.shape[2]) // stride + 1, len(weight))
        for start, taps, matrix in parts(weight, stride, frames.dtype):
            for clip, row in zip(frames, made, strict=True):
                read = windows(clip, start, taps, stride, len(row))
                torch.mm(read, matrix, out=row) if start == 0 else row.addmm_(read, matrix)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Gradients of the frames and the weights, the latter summed over clips in the weights' precision."""
        frames, weight = ctx.saved_tensors
        stride, gradient = ctx.stride, gradients[0].contiguous()
        covered = gradient.shape[1] * stride  # what the kernel's first stride reads, if it is as long as that
        to_frames = torch.empty_like(frames)
        to_frames[:, covered if weight.shape[2] >= stride else 0 :] = 0
        to_weight = torch.empty_like(weight)
        for start, taps, matrix in parts(weight, stride, frames.dtype):
            total = torch.zeros_like(matrix, dtype=weight.dtype)
            for clip, row, target in zip(frames, gradient, to_frames, strict=True):
                total += windows(clip, start, taps, stride, len(row)).t() @ row
                written = windows(target, start, taps, stride, len(row))
                if start == 0 and taps == stride:
                    torch.mm(row, matrix.t(), out=written)
                else:
                    written.addmm_(row, matrix.t())
            to_weight[:, :, start : start + taps] = total.view(taps, weight.shape[1], len(weight)).permute(2, 1, 0)
        return to_frames, to_weight, None


def parts(weight: Tensor, stride: int, dtype: torch.dtype) -> Iterator[tuple[int, int, Tensor]]:
    """Of a kernel (C', C, K): start and taps of each part of at most ``stride`` taps, and its matrix (taps * C, C')."""
    for start in range(0, weight.shape[2], stride):
        part = weight[:, :, start : start + stride]
        yield start, part.shape[2], part.permute(2, 1, 0).flatten(0, 1).to(dtype)


def windows(clip: Tensor, start: int, taps: int, stride: int, count: int) -> Tensor:
    """A view (count, taps * C) of the contiguous (T, C) ``clip``: its frames from ``start``, each ``stride`` on."""
    width = clip.shape[1]
    return clip.as_strided((count, taps * width), (stride * width, 1), clip.storage_offset() + start * width)


def normalized(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Each clip with zero mean and unit variance over its valid samples, zeros beyond.

    Equal to ``Wav2Vec2FeatureExtractor`` with ``do_normalize``.

    Args:
        waveforms: (B, T), zero beyond each length.
        lengths: (B,) int64, at least 1.
    """
    keep, count = frame_mask(lengths, waveforms.shape[1]), lengths[:, None]
    centred = (waveforms - waveforms.sum(1, keepdim=True) / count) * keep
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / torch.sqrt(variance + 1e-7)


def biased_attention(attention: Any, hidden: Tensor, keep: Tensor | None, bias: Tensor, *_: object) -> tuple[Tensor, None]:
    """Self-attention of WavLM, in place of its method ``torch_multi_head_self_attention``.

    Args:
        attention: the module.
        hidden: (B, T, D).
        keep: (B, T) bool, True where valid; None when every frame is.
        bias: (B * H, T, T), added to the scores of the H heads.

    Returns:
        (B, T, D), and no attention weights.
    """
    batch, size, width = hidden.shape
    query, key, value = (
        projection(hidden).view(batch, size, attention.num_heads, -1).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    bias = bias.view(batch, attention.num_heads, size, size)
    if keep is not None:
        bias = bias.masked_fill(~keep[:, None, None], float("-inf"))
    mixed = attend(query, key, value, bias.to(query.dtype), dropout=attention.dropout if attention.training else 0.0)
    return attention.out_proj(mixed.transpose(1, 2).reshape(batch, size, width)), None


def masked_group_norm(hidden: Tensor, norm: nn.GroupNorm, lengths: Tensor) -> Tensor:
    """``norm`` with its statistics over each row's valid frames only; zeros beyond.

    Args:
        hidden: (B, C, T).
        norm: applied to each row by itself, unless all have the same length.
        lengths: (B,) int64 valid frames.
    """
    size, counts = hidden.shape[2], lengths.tolist()
    if min(counts) > 1 and hidden.stride(1) == 1 and norm.num_groups == norm.num_channels:
        # Of channels that lie side by side in memory, each a group, torch has this with a backward pass six times as fast. It
        # refuses a single frame.
        normed = (
            functional.batch_norm(clip[:count], None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
            for clip, count in zip(hidden.transpose(1, 2).unbind(), counts, strict=True)
        )
        padded = (clip if len(clip) == size else functional.pad(clip, (0, 0, 0, size - len(clip))) for clip in normed)
        return torch.stack(list(padded)).transpose(1, 2)
    if min(counts) == size:
        result: Tensor = norm(hidden)
        return result
    rows = zip(torch.split(hidden, 1), counts, strict=True)
    return torch.cat([functional.pad(norm(row[:, :, :count]), (0, size - count)) for row, count in rows])
