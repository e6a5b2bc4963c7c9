"""What the encoder networks share: the way through the transformer blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ser_zoo.features import frame_mask


class Network(nn.Module):
    """The part of a pre-trained encoder that the chosen hidden states need.

    Hidden state 0 is the input of the first block, k the output of block k; ``depth`` counts the blocks of
    the full checkpoint, of which only those up to the highest chosen layer are kept.

    Attributes:
        layers: the chosen hidden states, from 0 to ``depth``.
        depth: number of blocks of the full checkpoint.
        width: D of the states.
        description: JSON-able, what besides the weights decides the states.
        blocks: those transformer blocks that the chosen states need, or all.
        given_in: dtype to which `side_by_side` rounds the states, which saves passes over the largest tensor of all; None: as
            they are computed, as networks give them that run clip by clip.
        longest: frames up to which the states above a block follow from its output and mask alone (`resume`); 0: none do.
    """

    layers: tuple[int, ...]
    depth: int
    width: int
    description: dict[str, object]
    blocks: Sequence[nn.Module]
    given_in: torch.dtype | None = None
    longest: float = 0

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of B clips.

        Args:
            waveforms: (B, T) float32, zero beyond each length.
            lengths: (B,) int64 samples, at most T.

        Returns:
            (B, L, T', D) states, not yet zeroed beyond the valid frames, and (B,) int64 valid frames.
        """
        raise NotImplementedError

    def stages(self) -> list[list[nn.Module]]:
        """Modules by the highest ``finetune_from`` that trains them.

        Entry 0 is the convolutional front end; entry 1 is block 1 and everything between front end and
        blocks; entry k is block k; the final layer norm goes with the last block.
        """
        raise NotImplementedError

    def trained(self, finetune_from: int) -> tuple[list[nn.Module], list[nn.Parameter]]:
        """The modules to train, and those of their parameters that the chosen states depend on."""
        modules = [module for stage in self.stages()[finetune_from:] for module in stage]
        return modules, [parameter for module in modules for parameter in module.parameters()]

    def resume(self, hidden: Tensor, frames: Tensor, start: int) -> Tensor:
        """The chosen hidden states from ``start`` on, given that one.

        Args:
            hidden: (B, T, D) hidden state ``start``; T is at most ``longest``.
            frames: (B,) int64 valid frames.
            start: its number.

        Returns:
            (B, L', T, D).
        """
        mask = frame_mask(frames, hidden.shape[1])[:, None, None]
        return self.run_blocks(hidden, None if bool(mask.all()) else mask, start)

    def final_norm(self) -> nn.Module | None:
        """The layer norm over the output of the last block; None if there is none, or if that block is not kept."""
        return None

    def run_blocks(self, hidden: Tensor, mask: Tensor | None, start: int = 0) -> Tensor:
        """The chosen hidden states from ``start`` on, of blocks that are called as ``block(hidden, attention_mask=mask)``.

        Args:
            hidden: (B, T, D) hidden state ``start``, the input of the block after it.
            mask: (B, 1, 1, T) bool, True where valid; None when every frame is.
            start: number of that state.

        Returns:
            (B, L', T, D).
        """
        states = {start: hidden}
        for number, block in enumerate(self.blocks[start:], start + 1):
            hidden = states[number] = first(block(hidden, attention_mask=mask))
        if (norm := self.final_norm()) is not None:
            states[len(self.blocks)] = norm(hidden)
        return self.side_by_side([states[layer] for layer in self.layers if layer >= start])

    def side_by_side(self, states: Sequence[Tensor]) -> Tensor:
        """L' times (B, T, D) -> (B, L', T, D), in ``given_in``."""
        if self.given_in is None:
            return torch.stack(list(states), dim=1)
        batch, *shape = states[0].shape
        rounded = states[0].new_empty(batch, len(states), *shape, dtype=self.given_in)
        for place, state in enumerate(states):
            rounded[:, place].copy_(state)
        return rounded


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Let each of ``blocks`` be computed again in the backward pass, instead of keeping what it computed."""
    for block in blocks:
        block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states in a block's output, which is a tuple in some versions of transformers."""
    return output[0] if isinstance(output, tuple) else output
