"""The weights over time that networks with attention give: those that ``forward`` uses, at their time, of each clip alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ser_zoo.models.base import SERModule
from ser_zoo.models.layers import CrossAttention
from tests.models.small import NEEDS_ENCODER, batch_of, small_model

WEIGHING = ["cnn_attn", "co_attn", "cross_attn", "cta_rnn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoder")


def weighing(name: str, folder: Path, **changes: Any) -> SERModule:
    return small_model(name, folder, **changes).eval()


@pytest.mark.parametrize("name", WEIGHING)
def test_weights_of_a_clip_are_the_same_alone_and_in_a_padded_batch(name: str, folder: Path) -> None:
    model = weighing(name, folder)
    both = model.attention(batch_of(model, [0.9, 0.5]))
    # The same noise: the second clip follows the first one in the generator.
    batch = batch_of(model, [0.9, 0.5])
    end = int(batch.lengths[1])
    alone = model.attention(batch._replace(waveforms=batch.waveforms[1:, :end], lengths=batch.lengths[1:], ids=["u1"]))
    assert both is not None
    assert alone is not None
    steps = int(both.lengths[1])
    assert steps == int(alone.lengths[0]) < int(both.lengths[0]) == both.values.shape[1]
    torch.testing.assert_close(both.values[1, :steps], alone.values[0], rtol=1e-4, atol=1e-5)
    assert not both.values[1, steps:].any()
    assert both.values.min() >= 0


@pytest.mark.parametrize("name", sorted(NEEDS_ENCODER & set(WEIGHING)))
def test_softmax_weights_sum_to_one_over_a_clip(name: str, folder: Path) -> None:
    weights = weighing(name, folder).attention(batch_of(weighing(name, folder), [0.9, 0.5]))
    assert weights is not None
    heads = 2 if name == "cross_attn" else 1
    torch.testing.assert_close(weights.values.sum(1), torch.ones(2, heads))


def test_cross_attention_weights_give_what_torch_gives() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(6, 8, 2)
    queries, memory, mask = torch.randn(2, 5, 6), torch.randn(2, 7, 6), torch.arange(7) < torch.tensor([[7], [4]])
    weights = layer.weights(queries, memory, mask)
    value = layer.value(memory).view(2, 7, 2, 4).transpose(1, 2)
    attended = layer.output((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attended, layer(queries, memory, mask))
    assert not weights[1, ..., 4:].any()


def test_cta_rnn_pools_by_its_weights(folder: Path) -> None:
    model = weighing("cta_rnn", folder)
    given: list[tuple[Any, torch.Tensor]] = []
    model.network.temporal.register_forward_hook(lambda _, inputs, output: given.append((inputs, output)))
    batch = batch_of(model, [0.9, 0.5])
    with torch.no_grad():
        model(batch)
    (hidden, _), pooled = given[0]
    torch.testing.assert_close((model.attention(batch).values * hidden).sum(1), pooled)


def test_co_attn_gives_the_weights_of_its_forward(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = weighing("co_attn", folder)
    used: list[torch.Tensor] = []
    normalise = model.network.attention._normalise

    def noted(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        used.append(normalise(scores, mask))
        return used[-1]

    monkeypatch.setattr(model.network.attention, "_normalise", noted)
    batch = batch_of(model, [0.9, 0.5])
    with torch.no_grad():
        model(batch)
    torch.testing.assert_close(model.attention(batch).values[..., 0], used[0])


def test_cnn_attn_gives_the_weights_of_its_forward_at_their_time(folder: Path) -> None:
    model = weighing("cnn_attn", folder)
    given: list[tuple[Any, torch.Tensor]] = []
    model.network.spatial.register_forward_hook(lambda _, inputs, output: given.append((inputs, output)))
    batch = batch_of(model, [0.9])
    with torch.no_grad():
        model(batch)
    (values, _), weighed = given[0]
    weights = model.attention(batch)
    inner = F.pad(weighed, (0, 0, 6, 6)), F.pad(values, (0, 0, 6, 6))
    torch.testing.assert_close(inner[1] * weights.values, inner[0])
    (frames,) = model.front_end(batch.waveforms, batch.lengths)
    assert int(weights.lengths) == int(frames.lengths)  # the edges are there, without weight


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cnn_attn", {"attention": "channel"}),
        ("cnn_attn", {"layout": "flat"}),
        ("cta_rnn", {"temporal_attention": False}),
        ("eca_cnn", {}),
        ("probe", {}),
    ],
)
def test_a_network_without_attention_over_time_gives_none(name: str, changes: dict[str, Any], folder: Path) -> None:
    model = weighing(name, folder, **changes)
    assert model.attention(batch_of(model, [3.0])) is None
