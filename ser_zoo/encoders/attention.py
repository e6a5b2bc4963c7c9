"""Attention of transformers' blocks, fast on a processor as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser_zoo.dropout import drop

NAME = "ser_zoo"
LONGEST = 512  # frames up to which the scores of all pairs are made and kept for the backward pass: 4 MiB per clip and block


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """softmax(scale * Q K^T + mask) V.

    torch's fused attention, except on a processor where gradients are wanted or in bfloat16. Its backward pass takes long
    there (measured with 8 clips of Whisper base in bfloat16: 28 and 60 ms for both passes at 60 and 200 frames, plain products
    7 and 29), with dropout it computes in float32, and in bfloat16 its forward pass alone takes up to twice as long (8 clips
    of 185 frames: 7.8 ms, plain products 4.0).

    Args:
        query: (B, H, T, d).
        key: (B, H, T, d).
        value: (B, H, T, d).
        mask: what can be broadcast to (B, H, T, T): bool, True where a key may be attended to, or added to the scores.
        scale: of the scores; None is 1 / sqrt(d).
        dropout: share of the attention weights that are set to zero.

    Returns:
        (B, H, T, d).
    """
    trained = torch.is_grad_enabled() and query.requires_grad
    if query.device.type != "cpu" or key.shape[2] > LONGEST or not (trained or query.dtype == torch.bfloat16):
        return functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scale)
    scale = query.shape[3] ** -0.5 if scale is None else scale
    scores = (query if scale == 1 else query * scale) @ key.transpose(2, 3)  # Whisper's are scaled already
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, float("-inf"))
    weights = (scores if mask is None else scores.add_(mask)).softmax(-1)
    return drop(weights, dropout) @ value


def use_in(encoder: nn.Module) -> None:
    """Let the blocks of a transformers model attend by `attend`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _interface)
    for module in encoder.modules():
        config: Any = getattr(module, "config", None)
        if config is not None:
            config._attn_implementation = NAME


def _interface(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """`attend` as transformers calls attention; the result is (B, T, H, d)."""
    return attend(query, key, value, attention_mask, scaling, dropout).transpose(1, 2).contiguous(), None
