from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_zoo.encoders import EncoderOutput
from ser_zoo.errors import SERZooError
from ser_zoo.models import create_model
from ser_zoo.models.layers import average_frames
from ser_zoo.models.optim import Optim
from tests.models.small import batch_of, small_model
from tests.tiny import tiny_encoder


def linear(layer: nn.Module, values: Tensor) -> Tensor:
    return F.linear(values, layer.weight, layer.bias)


def reference(network: nn.Module, states: Tensor) -> Tensor:
    """Logits of one clip with (L, T, D) states, written out as the model card has it."""
    projections = network.fusion.projections

    def scaled(values: Tensor) -> Tensor:
        normalised = F.layer_norm(values, values.shape[-1:])
        return normalised.tanh() if network.condense.scaling == "squash" else normalised

    if network.fusion.fusion == "concatenate":
        frames = torch.cat([linear(p, scaled(w)) for p, w in zip(projections, states, strict=True)], dim=-1)
    else:
        normalised = torch.stack([scaled(w) for w in states])
        weights = {
            "last": lambda: torch.tensor([0.0] * (len(states) - 1) + [1.0]),
            "mean": lambda: torch.full((len(states),), 1 / len(states)),
            "learned": lambda: network.fusion.mix.weights.softmax(0),
        }[network.fusion.fusion]()
        frames = linear(projections[0], torch.einsum("l,ltd->td", weights, normalised))
    if network.channel is not None:
        first, second = network.channel.shared[0], network.channel.shared[2]
        squeezed = [linear(second, linear(first, value).relu()) for value in (frames.mean(0), frames.amax(0))]
        frames = frames * (squeezed[0] + squeezed[1]).sigmoid()
    ahead = network.rnn.ahead[0](frames[None])[0][0]
    back = network.rnn.back[0](frames.flip(0)[None])[0][0].flip(0)
    hidden = torch.cat([ahead, back], dim=-1)
    if network.temporal is None:
        pooled = hidden.mean(0)
    else:
        score = linear(network.temporal.score[0], hidden).tanh() @ network.temporal.score[2].weight[0]
        pooled = score.softmax(0) @ hidden
    return linear(network.classifier, linear(network.dense, pooled).relu())


@pytest.mark.parametrize("fusion", ["concatenate", "last", "mean", "learned"])
@pytest.mark.parametrize("attention", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("squash", [True, False])
def test_logits_are_those_of_the_equations(fusion: str, attention: tuple[bool, bool], squash: bool, tmp_path: Path) -> None:
    channel, temporal = attention
    options = {"channel_attention": channel, "temporal_attention": temporal, "squash": squash}
    model = small_model("cta_rnn", tmp_path, fusion=fusion, **options).eval()
    assert model.network.condense.scaling == ("squash" if squash else "frame")
    if fusion == "learned":
        nn.init.normal_(model.network.fusion.mix.weights)
    batch = batch_of(model, [0.5, 1.2])
    with torch.no_grad():
        states, lengths = model.encoder(batch.waveforms, batch.lengths)
        logits = model(batch)
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(logits[row], reference(model.network, states[row, :, :length]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fusion", ["last", "mean", "learned"])
def test_what_follows_has_the_same_size_with_every_fusion(fusion: str, tmp_path: Path) -> None:
    def rest(kind: str) -> int:
        network = small_model("cta_rnn", tmp_path, fusion=kind).network
        return sum(p.numel() for key, p in network.named_parameters() if not key.startswith(("encoder.", "fusion.")))

    assert rest(fusion) == rest("concatenate")


def test_without_attention_there_are_no_weights_for_it(tmp_path: Path) -> None:
    model = small_model("cta_rnn", tmp_path, channel_attention=False, temporal_attention=False)
    assert not [key for key, _ in model.named_parameters() if "channel" in key or "temporal" in key]


def test_defaults_are_those_of_the_model_card(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "e", "whisper", encoder_layers=6)
    model = create_model("cta_rnn", ["a", "b", "c", "d"], encoder=str(encoder))
    network = model.network
    assert network.encoder.layers == (2, 4, 6)
    assert network.encoder.frozen
    assert [layer.out_features for layer in network.fusion.projections] == [128, 128, 128]
    assert [layer.out_features for layer in (network.channel.shared[0], network.channel.shared[2])] == [48, 384]
    assert [(rnn.input_size, rnn.hidden_size) for rnn in (*network.rnn.ahead, *network.rnn.back)] == [(384, 128)] * 2
    assert (network.dense.in_features, network.dense.out_features) == (256, 128)
    assert model.optim == Optim(lr=1e-3, optimizer="adam", weight_decay=1e-4)


@pytest.mark.parametrize("stride", [2, 3, 50])
def test_neighbouring_frames_are_averaged_within_each_clip(stride: int) -> None:
    lengths = torch.tensor([7, 1, 4])
    states = torch.randn(3, 2, 7, 5) + 100 * (torch.arange(7) >= lengths[:, None])[:, None, :, None]
    averaged, counts = average_frames(states, lengths, stride)
    for row, length in enumerate(lengths.tolist()):
        parts = [part.mean(1) for part in states[row, :, :length].split(stride, dim=1)]
        assert counts[row] == len(parts)
        torch.testing.assert_close(averaged[row, :, : len(parts)], torch.stack(parts, dim=1))


def test_with_stride_and_batch_norm_a_clip_has_the_same_logits_alone_and_padded(tmp_path: Path) -> None:
    model = small_model("cta_rnn", tmp_path, stride=4, batch_norm=True).train()
    with torch.no_grad():
        model(batch_of(model, [0.5, 1.2, 0.8]))  # statistics of a batch, so that the norm does something
        model.eval()
        together, alone = model(batch_of(model, [0.5, 1.2])), model(batch_of(model, [0.5]))
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=0)


def test_what_is_pooled_is_normalised_over_the_training_batch_where_asked_for(tmp_path: Path) -> None:
    for batch_norm in (False, True):
        model = small_model("cta_rnn", tmp_path, batch_norm=batch_norm).train()
        pooled: list[Tensor] = []
        model.network.dense.register_forward_pre_hook(lambda _, given, pooled=pooled: pooled.append(given[0].detach()))
        model(batch_of(model, [0.3, 0.5, 0.4]))
        assert bool((pooled[0].mean(0).abs() < 1e-5).all()) is batch_norm


def test_clip_dropout_drops_a_channel_in_all_frames(tmp_path: Path) -> None:
    fusion = small_model("cta_rnn", tmp_path, clip_dropout=0.5).network.fusion.train()
    kept: list[Tensor] = []
    fusion.projections[0].register_forward_pre_hook(lambda module, given: kept.append(given[0] != 0))
    fusion(torch.randn(2, 2, 6, 32))
    assert torch.equal(kept[0].any(1), kept[0].all(1))
    assert not kept[0].all()
    assert not torch.equal(kept[0][0], kept[0][1])


def test_given_states_are_used_instead_of_the_encoder(tmp_path: Path) -> None:
    model = small_model("cta_rnn", tmp_path).eval()
    batch = batch_of(model, [0.5])
    with torch.no_grad():
        states, lengths = model.encode(batch)
        other = model.network(batch.waveforms, batch.lengths, EncoderOutput(states.flip(2), lengths))
    assert not torch.allclose(other, model(batch))


def test_members_give_the_mean_of_their_probabilities(tmp_path: Path) -> None:
    model = small_model("cta_rnn", tmp_path, members=3, fusion="learned").eval()
    network = model.network
    batch = batch_of(model, [0.5, 1.2])
    with torch.no_grad():
        states, lengths = model.encoder(batch.waveforms, batch.lengths)
        probabilities = model(batch).softmax(-1)
        alone = model(batch_of(model, [0.5])).softmax(-1)
    for member in network.others:  # what all of them read
        member.condense = network.condense
    for row, length in enumerate(lengths.tolist()):
        each = [reference(member, states[row, :, :length]).softmax(-1) for member in (network, *network.others)]
        assert not torch.allclose(each[0], each[1], atol=1e-3)
        assert not torch.allclose(each[1], each[2], atol=1e-3)
        torch.testing.assert_close(probabilities[row], torch.stack(each).mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone, probabilities[:1], atol=1e-5, rtol=1e-4)


def test_each_member_learns_by_its_own_loss(tmp_path: Path) -> None:
    model = small_model("cta_rnn", tmp_path, members=2, dropout=0.0)
    batch = batch_of(model, [0.5, 1.2])
    first, second = model.network.member_logits(**model.inputs(batch)).detach()
    loss = model.loss(batch)
    torch.testing.assert_close(loss, (F.cross_entropy(first, batch.labels) + F.cross_entropy(second, batch.labels)) / 2)
    loss.backward()
    # Gradients of a member are those that it has beside any other: here, half of those of its own loss.
    (found,) = torch.autograd.grad(model.loss(batch), model.network.classifier.bias)
    mine = (first.softmax(-1) - F.one_hot(batch.labels, first.shape[-1])).mean(0) / 2
    torch.testing.assert_close(found, mine, atol=1e-5, rtol=1e-4)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_names_of_the_first_member_are_those_of_one_alone(tmp_path: Path) -> None:
    one, three = (small_model("cta_rnn", tmp_path, members=count).network.state_dict() for count in (1, 3))
    own = {name for name in one if not name.startswith("encoder.")}
    assert three.keys() - one.keys() == {f"others.{number}.{name}" for number in (0, 1) for name in own}


def test_members_weigh_time_each_by_itself(tmp_path: Path) -> None:
    weights = (
        small_model("cta_rnn", tmp_path, members=2).eval().attention(batch_of(small_model("cta_rnn", tmp_path), [0.9, 0.5]))
    )
    assert weights is not None
    torch.testing.assert_close(weights.values.sum(1), torch.ones(2, 2))
    assert not torch.allclose(weights.values[..., 0], weights.values[..., 1])


@pytest.mark.parametrize("members", [0, 1001])
def test_there_are_one_to_a_thousand_members(members: int, tmp_path: Path) -> None:
    with pytest.raises(SERZooError, match=rf"--model.members {members} makes no sense; expected 1 to 1,000"):
        small_model("cta_rnn", tmp_path, members=members)


def test_one_alone_learns_through_the_forward_that_may_be_compiled(tmp_path: Path) -> None:
    model = small_model("cta_rnn", tmp_path)
    calls: list[Tensor] = []
    model.network.register_forward_hook(lambda module, given, logits: calls.append(logits))
    model.loss(batch_of(model, [0.5]))
    assert len(calls) == 1
