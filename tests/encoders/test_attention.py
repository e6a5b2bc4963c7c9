from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ser_zoo.encoders import attention
from ser_zoo.encoders.attention import attend


def tensors(frames: int = 7) -> tuple[Tensor, ...]:
    """Query, key and value of 2 clips, 3 heads, 4 channels."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, frames, 4, generator=generator, requires_grad=True) for _ in range(3))


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("longest", [512, 0], ids=["products", "fused"])
def test_values_and_gradients_are_those_of_torch(
    kind: str, scale: float | None, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONGEST", longest)
    keep = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, None, None]
    mask = {"none": None, "bool": keep, "float": torch.randn(2, 3, 7, 7).masked_fill(~keep, float("-inf"))}[kind]
    inputs = tensors()
    found, wanted = attend(*inputs, mask, scale), F.scaled_dot_product_attention(*inputs, mask, scale=scale)
    torch.testing.assert_close(found, wanted)
    found_gradients = torch.autograd.grad(found.square().sum(), inputs)
    wanted_gradients = torch.autograd.grad(wanted.square().sum(), inputs)
    torch.testing.assert_close(found_gradients, wanted_gradients)
    with torch.no_grad():
        torch.testing.assert_close(attend(*inputs, mask, scale), wanted)


def test_dropout_sets_attention_weights_to_zero() -> None:
    query, key, _ = tensors(frames=50)
    value = torch.eye(50).expand(2, 3, 50, 50)  # the result is the weights themselves
    torch.manual_seed(0)
    found, whole = attend(query, key, value, dropout=0.25), attend(query, key, value)
    assert 0.2 < (found == 0).float().mean() < 0.3
    torch.testing.assert_close(found[found != 0], whole[found != 0] / 0.75)


@pytest.mark.parametrize("masked", [True, False])
def test_without_gradients_bfloat16_gives_what_torch_gives_but_for_its_rounding(masked: bool) -> None:
    query, key, value = (tensor.detach().bfloat16() for tensor in tensors(frames=50))
    mask = torch.arange(50).expand(2, 1, 1, 50) < torch.tensor([50, 31])[:, None, None, None] if masked else None
    wanted = F.scaled_dot_product_attention(*(tensor.float() for tensor in (query, key, value)), mask)
    found = attend(query, key, value, mask)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.02, rtol=0)
