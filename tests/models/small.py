"""Small settings of every architecture, for tests. A new architecture gets a line here."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ser_zoo.data import Batch
from ser_zoo.data.datamodule import collate
from ser_zoo.models import create_model, model_class
from ser_zoo.models.base import SERModule
from ser_zoo.models.layers import FusionBlock
from tests.tiny import tiny_encoder

SMALL: dict[str, dict[str, Any]] = {
    "area_attn": {"mels": 16, "parallel": 4, "channels": (4, 8)},
    "cnn_attn": {"channels": 16, "dense": 8, "reduction": 4},
    "co_attn": {"layers": (1, 3), "channels": 4, "lstm_hidden": 8, "lstm_layers": 1, "width": 16},
    "cross_attn": {
        "layers": (1, 3),
        "lstm_hidden": 8,
        "width": 16,
        "blocks": 1,
        "block_heads": 2,
        "feedforward": 16,
        "inner": 16,
        "heads": 2,
    },
    "cta_rnn": {"layers": (1, 3), "width": 8, "reduction": 4, "hidden": 8, "dense": 8},
    "probe": {"projection": 16},
    "eca_cnn": {"mels": 16, "channels": (4, 4, 8, 8, 8, 8)},
    "ecapa": {
        "channels": 16,
        "res2net_scale": 4,
        "se_channels": 8,
        "attention_channels": 8,
        "embedding": 8,
    },
    "egemaps": {},
    "hump_cat": {
        "layers": (1, 3),
        "lstm_hidden": 8,
        "lstm_layers": 1,
        "width": 16,
        "blocks": 1,
        "heads": 2,
        "feedforward": 16,
    },
    "mfcc_stats": {},
}
NEEDS_ENCODER = {name for name in SMALL if "encoder" in inspect.signature(model_class(name)).parameters}


def small_model(name: str, folder: Path, classes: int = 3, family: str = "wav2vec2-stable", **changes: Any) -> SERModule:
    """A small model of the architecture ``name``; its encoder, where it has one, is made in ``folder``."""
    arguments = dict(SMALL[name])
    if name in NEEDS_ENCODER:
        place = folder / family
        arguments["encoder"] = str(place if place.is_dir() else tiny_encoder(place, family))
    torch.manual_seed(0)
    return create_model(name, [f"class{number}" for number in range(classes)], **{**arguments, **changes})


def batch_of(model: SERModule, seconds: Sequence[float], classes: int = 3, seed: int = 0) -> Batch:
    """Noise of the given lengths at the model's sample rate."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [max(1, round(value * model.sample_rate)) for value in seconds]
    waveforms = [(0.1 * torch.randn(length, generator=generator)).numpy() for length in lengths]
    labels = [number % classes for number in range(len(seconds))]
    return collate(waveforms, [f"u{number}" for number in range(len(seconds))], labels)


def attend(block: FusionBlock, queries: Tensor, memory: Tensor) -> Tensor:
    """LN(Y + FFN(Y)), Y = LN(Q + Attention(Q, K, K)) of (T, D) and (S, D), head by head; what a `FusionBlock` computes."""
    attention = block.attention
    q, k, v = attention.query(queries), attention.key(memory), attention.value(memory)
    size = q.shape[-1] // attention.heads
    heads = [slice(at, at + size) for at in range(0, q.shape[-1], size)]
    joined = torch.cat([(q[:, head] @ k[:, head].T / size**0.5).softmax(-1) @ v[:, head] for head in heads], dim=-1)
    hidden = F.layer_norm(queries + attention.output(joined), queries.shape[-1:])
    return F.layer_norm(hidden + block.feedforward(hidden), hidden.shape[-1:])
