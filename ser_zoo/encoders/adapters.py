"""LoRA: trained products of two narrow matrices beside the frozen projections of attention, by the peft package.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ser_zoo.errors import EncoderError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj", "o_proj")  # the last two are two names of the same
_MARK, _WRAPPED = ".lora_", ".base_layer."  # in the names that peft gives adapters, and what they stand beside


def add_adapters(modules: Iterable[nn.Module], rank: int, alpha: int) -> None:
    """Put an adapter beside every attention projection in ``modules``; it changes nothing until it is trained.

    Args:
        modules: transformer blocks; what has no such projections is left as it is.
        rank: width between the two matrices of an adapter.
        alpha: its output is multiplied by ``alpha / rank``.

    Raises:
        EncoderError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise EncoderError(
            "LoRA needs the package peft, which is not installed. Install it with pip install 'ser-zoo[lora]', or leave "
            "--model.encoder_options.lora_rank at 0."
        ) from error
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(PROJECTIONS))
    for module in modules:
        if any(name.rpartition(".")[2] in PROJECTIONS for name, _ in module.named_modules()):
            inject_adapter_in_model(config, module)


def is_adapter(name: str) -> bool:
    """Whether a parameter's name is one of an adapter."""
    return _MARK in name


def name_in_source(name: str) -> str:
    """The name that a parameter beside an adapter has without it."""
    return name.replace(_WRAPPED, ".")
