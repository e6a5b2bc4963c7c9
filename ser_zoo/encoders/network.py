"""What the encoder networks share: the loop over the transformer blocks, and masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """The part of a pre-trained encoder that the chosen hidden states need.

    Hidden state 0 is the input of the first block, k the output of block k; ``depth`` counts the blocks of
    the full checkpoint, of which only those up to the highest chosen layer are kept.

    Attributes:
        layers: the chosen hidden states, from 0 to ``depth``.
        depth: number of blocks of the full checkpoint.
        width: D of the states.
        description: JSON-able, what besides the weights decides the states.
    """

    layers: tuple[int, ...]
    depth: int
    width: int
    description: dict[str, object]

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


def run_blocks(
    blocks: Iterable[nn.Module],
    hidden: Tensor,
    mask: Tensor | None,
    layers: Sequence[int],
    final: nn.Module | None = None,
) -> Tensor:
    """Hidden states ``layers`` of a stack of transformers' blocks.

    Args:
        blocks: the blocks; called as ``block(hidden, attention_mask=mask)``.
        hidden: (B, T, D) input of the first block.
        mask: (B, 1, 1, T) bool, True where valid; None when every frame is.
        layers: which states, 0 being ``hidden`` itself.
        final: layer norm over the output of the last of ``blocks``.

    Returns:
        (B, L, T, D).
    """
    states = [hidden]
    for block in blocks:
        hidden = first(block(hidden, attention_mask=mask))
        states.append(hidden)
    if final is not None:
        states[-1] = final(hidden)
    return torch.stack([states[layer] for layer in layers], dim=1)


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states in a block's output, which is a tuple in some versions of transformers."""
    return output[0] if isinstance(output, tuple) else output


def valid(lengths: Tensor, size: int) -> Tensor:
    """(B, ``size``) bool mask, True where valid, from (B,) ``lengths``."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
