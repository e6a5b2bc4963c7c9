"""How an encoder is loaded, computed and trained, besides which encoder, which layers and from which block on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ser_zoo.errors import EncoderError

Precision = Literal["float32", "bfloat16"]
FeatureDtype = Literal["float16", "bfloat16", "float32"]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder is loaded, computed and trained.

    Attributes:
        revision: branch, tag or commit of an encoder on the hub; default: its newest.
        pad_to_30s: run Whisper on 30 s of padded audio, as it was trained, instead of on the clip's real length.
        precision: of the matrix products of a frozen encoder; bfloat16 is more than twice as fast where processor or GPU have
            it and slower elsewhere. A fine-tuned encoder follows the trainer's precision.
        feature_dtype: what the states of a frozen encoder are rounded to, and kept in.
        gradient_checkpointing: compute trained blocks a second time in the backward pass instead of keeping what they
            computed: less memory for more time.
        lora_rank: train adapters of this rank beside the attention projections of the trained blocks, and nothing else of
            the encoder (LoRA, Hu et al. 2022); 0 trains the blocks themselves.
        lora_alpha: the adapters' output is multiplied by lora_alpha / lora_rank.

    Raises:
        EncoderError: a choice is unknown, or rank and alpha of LoRA make no sense.
    """

    revision: str | None = None
    pad_to_30s: bool = False
    precision: Precision = "float32"
    feature_dtype: FeatureDtype = "float16"
    gradient_checkpointing: bool = False
    lora_rank: int = 0
    lora_alpha: int = 16

    def __post_init__(self) -> None:
        for name, kind in (("precision", Precision), ("feature_dtype", FeatureDtype)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise EncoderError(f"Unknown {name} {value!r}. Expected one of {', '.join(get_args(kind))}.")
        if self.lora_rank < 0 or self.lora_alpha <= 0:
            raise EncoderError(
                f"LoRA of rank {self.lora_rank} and alpha {self.lora_alpha} makes no sense. Expected a rank of 0 (no LoRA) "
                "or more, such as 8, and an alpha above 0, such as 16."
            )
