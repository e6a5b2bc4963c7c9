from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.preprocessing
import torch
from torch import Tensor, nn

from ser_zoo.features import frame_mask
from ser_zoo.models.layers import (
    Condense,
    CrossAttention,
    FrameScaling,
    FusionBlock,
    LayerMix,
    MaskedBatchNorm,
    MaskedBiRNN,
    MaskedConv2d,
    PooledBatchNorm,
    SelfAttentionBlock,
    SinusoidalPositions,
    Standardise,
    average_frames,
    masked_max,
    masked_mean,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LENGTHS = torch.tensor([9, 4, 1, 7])
MASK = torch.arange(9) < LENGTHS[:, None]


# Self-attention.


@pytest.mark.parametrize("masked", [True, False])
def test_a_block_is_that_of_torch_in_training_and_evaluation(masked: bool) -> None:
    torch.manual_seed(0)
    block = SelfAttentionBlock(8, 2, 12, 0.0)
    oracle = nn.TransformerEncoderLayer(8, 2, 12, 0.0, nn.functional.gelu, batch_first=True)
    oracle.load_state_dict(block.state_dict())
    beyond = ~MASK if masked else None
    for training in (True, False):
        results = []
        for layer in (block.train(training), oracle.train(training)):
            values = draw(4, 9, 8).requires_grad_()
            output = layer(values, src_key_padding_mask=beyond)
            gradients = torch.autograd.grad(output[MASK].square().sum(), [values, *layer.parameters()])
            results.append([output[MASK], *gradients])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected)


def test_a_block_drops_in_training_alone() -> None:
    block, values = SelfAttentionBlock(8, 2, 12, 0.5), draw(4, 9, 8)
    assert not torch.equal(block(values), block(values))
    block.eval()
    assert torch.equal(block(values), block(values))


def test_a_block_drops_attention_weights_in_training() -> None:
    block, values = SelfAttentionBlock(8, 2, 12, 0.0), draw(4, 9, 8)
    block.self_attn.dropout = 1.0  # nothing is attended to
    hidden = block.norm1(values + block.self_attn.out_proj.bias)
    added = block.linear2(nn.functional.gelu(block.linear1(hidden)))
    torch.testing.assert_close(block(values), block.norm2(hidden + added))


def test_a_block_drops_what_attention_and_feed_forward_add() -> None:
    block, values = SelfAttentionBlock(8, 2, 12, 1.0), draw(4, 9, 8)
    block.self_attn.dropout = 0.0
    torch.testing.assert_close(block(values), block.norm2(block.norm1(values)))


def test_a_block_leaves_a_mask_of_pairs_to_torch() -> None:
    block, values = SelfAttentionBlock(8, 2, 12, 0.0), draw(4, 9, 8)
    past = nn.Transformer.generate_square_subsequent_mask(9)
    torch.testing.assert_close(block(values, past), block.eval()(values, past))


# Bidirectional LSTM and GRU.

every_cell = pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
Cell = type[nn.LSTM] | type[nn.GRU]


def torch_rnn(layer: MaskedBiRNN, cell: Cell, size: int, hidden: int, layers: int) -> nn.Module:
    """torch's bidirectional one with the same weights."""
    rnn = cell(size, hidden, layers, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for number in range(layers):
            for direction, suffix in ((layer.ahead[number], ""), (layer.back[number], "_reverse")):
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(rnn, f"{kind}_l{number}{suffix}").copy_(getattr(direction, f"{kind}_l0"))
    return rnn


@every_cell
@pytest.mark.parametrize("layers", [1, 2])
def test_the_birnn_is_the_packed_one_of_torch(cell: Cell, layers: int) -> None:
    layer = MaskedBiRNN(5, 3, layers, cell=cell)
    values = draw(4, 9, 5)
    packed = nn.utils.rnn.pack_padded_sequence(values, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(torch_rnn(layer, cell, 5, 3, layers)(packed)[0], batch_first=True)
    torch.testing.assert_close(layer(values, LENGTHS)[MASK], expected[MASK])


@every_cell
def test_the_birnn_without_lengths_reads_padding_like_signal(cell: Cell) -> None:
    layer = MaskedBiRNN(5, 3, cell=cell)
    values = draw(4, 9, 5)
    torch.testing.assert_close(layer(values, None), torch_rnn(layer, cell, 5, 3, 1)(values)[0])


@every_cell
def test_padding_does_not_reach_the_birnn(cell: Cell) -> None:
    layer = MaskedBiRNN(5, 3, layers=2, cell=cell)
    values = draw(4, 9, 5)
    noisy = torch.where(MASK[..., None], values, 100 * draw(4, 9, 5, seed=1))
    torch.testing.assert_close(layer(noisy, LENGTHS)[MASK], layer(values, LENGTHS)[MASK])


def test_the_birnn_drops_out_between_layers_in_training_only() -> None:
    layer = MaskedBiRNN(5, 3, layers=2, dropout=0.5)
    values = draw(4, 9, 5)
    assert not torch.equal(layer(values, LENGTHS), layer(values, LENGTHS))
    layer.eval()
    assert torch.equal(layer(values, LENGTHS), layer(values, LENGTHS))


# Attention.


@pytest.mark.parametrize("masked", [True, False])
def test_cross_attention_is_softmax_of_scaled_products(masked: bool) -> None:
    layer = CrossAttention(size=6, inner=8, heads=2)
    queries, memory = draw(4, 5, 6), draw(4, 9, 6, seed=1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        query, key, value = (
            part(given)[..., head] for part, given in ((layer.query, queries), (layer.key, memory), (layer.value, memory))
        )
        scores = query @ key.transpose(1, 2) / math.sqrt(4)
        if masked:
            scores = scores.masked_fill(~MASK[:, None, :], float("-inf"))
        heads.append(scores.softmax(-1) @ value)
    expected = layer.output(torch.cat(heads, dim=-1))
    torch.testing.assert_close(layer(queries, memory, MASK if masked else None), expected, atol=1e-5, rtol=1e-4)


def test_cross_attention_is_that_of_torch() -> None:
    layer = CrossAttention(size=8, inner=8, heads=4)
    oracle = nn.MultiheadAttention(8, 4, batch_first=True)
    parts = (layer.query, layer.key, layer.value)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        oracle.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        oracle.out_proj.weight.copy_(layer.output.weight)
        oracle.out_proj.bias.copy_(layer.output.bias)
    queries, memory = draw(4, 5, 8), draw(4, 9, 8, seed=1)
    expected, _ = oracle(queries, memory, memory, key_padding_mask=~MASK)
    torch.testing.assert_close(layer(queries, memory, MASK), expected, atol=1e-5, rtol=1e-4)


def test_a_fusion_drops_what_attention_and_feed_forward_add() -> None:
    block, queries = FusionBlock(8, 8, 2, 12, 1.0), draw(4, 5, 8)
    torch.testing.assert_close(block(queries, draw(4, 9, 8, seed=1), MASK), block.norm2(block.norm1(queries)))


# Positions.


@pytest.mark.parametrize("size", [2, 16])
def test_positions_are_those_of_the_paper(size: int) -> None:
    values = draw(2, 50, size)
    expected = values.clone()
    for position in range(50):
        for pair in range(size // 2):
            angle = position / 10_000 ** (2 * pair / size)
            expected[:, position, 2 * pair] += math.sin(angle)
            expected[:, position, 2 * pair + 1] += math.cos(angle)
    torch.testing.assert_close(SinusoidalPositions(size)(values), expected, atol=1e-4, rtol=1e-4)


def test_positions_keep_the_type_of_the_values() -> None:
    assert SinusoidalPositions(4)(torch.zeros(1, 3, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


# Condensed states.


@pytest.mark.parametrize("scaling", ["none", "frame", "squash"])
@pytest.mark.parametrize("stride", [1, 3, None])
def test_states_are_scaled_by_frame_and_averaged_within_their_clip(scaling: FrameScaling, stride: int | None) -> None:
    lengths = torch.tensor([7, 4])
    states = draw(2, 3, 7, 5) * frame_mask(lengths, 7)[:, None, :, None]
    condensed, counts = Condense(scaling, stride)(states, lengths)
    for row, length in enumerate(lengths.tolist()):
        valid = states[row, :, :length]
        if scaling != "none":
            valid = (valid - valid.mean(-1, keepdim=True)) / (valid.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        valid = valid.tanh() if scaling == "squash" else valid
        means = torch.stack([part.mean(1) for part in valid.split(stride or length, dim=1)], dim=1)
        assert counts[row] == means.shape[1]
        torch.testing.assert_close(condensed[row, :, : counts[row]], means)
        assert not condensed[row, :, counts[row] :].any()


def test_what_condenses_in_another_way_has_another_repr() -> None:
    different = [Condense(scaling, stride) for scaling in ("none", "frame", "squash") for stride in (1, 4, None)]
    assert len({repr(condense) for condense in different}) == len(different)


# Mixture of layers.


def test_a_new_mixture_is_the_mean_of_the_layers() -> None:
    states = draw(2, 3, 5, 4)
    torch.testing.assert_close(LayerMix(3)(states), states.mean(1))


def test_a_mixture_weighs_by_softmax() -> None:
    mix, states = LayerMix(3), draw(2, 3, 5, 4)
    assert mix.weights is not None
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, math.log(2), math.log(5)]))
    torch.testing.assert_close(mix(states), (states[:, 0] + 2 * states[:, 1] + 5 * states[:, 2]) / 8)


def test_one_layer_passes_through_and_learns_nothing() -> None:
    mix, states = LayerMix(1), draw(2, 1, 5, 4)
    assert torch.equal(mix(states), states[:, 0])
    assert not list(mix.parameters())


# Batch normalisation.


def test_masked_batch_norm_takes_statistics_of_valid_frames() -> None:
    layer, oracle = MaskedBatchNorm(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        for norm in (layer.norm, oracle):
            norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
            norm.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    for step in range(3):
        values = 4 + 2 * draw(4, 9, 3, seed=step)
        found = layer(values, MASK)
        torch.testing.assert_close(found[MASK], oracle(values[MASK]))
        assert not found[~MASK].any()
    torch.testing.assert_close(layer.norm.running_mean, oracle.running_mean)
    torch.testing.assert_close(layer.norm.running_var, oracle.running_var)


def test_masked_batch_norm_evaluates_with_running_statistics() -> None:
    layer = MaskedBatchNorm(3)
    layer(4 + 2 * draw(4, 9, 3), MASK)
    layer.eval()
    values = draw(4, 9, 3, seed=7)
    found = layer(values, MASK)
    torch.testing.assert_close(found[MASK], layer.norm(values[MASK]))
    assert not found[~MASK].any()


@pytest.mark.parametrize("mask", [None, torch.tensor([[True]]), torch.tensor([[True, False]])], ids=["no mask", "all", "one"])
def test_masked_batch_norm_trains_on_a_single_frame_with_running_statistics(mask: Tensor | None) -> None:
    layer = MaskedBatchNorm(3)
    layer(4 + 2 * draw(4, 9, 3), MASK)
    before = layer.norm.running_mean.clone()
    values = draw(1, 1 if mask is None else mask.shape[1], 3, seed=7)
    found = layer(values, mask)
    torch.testing.assert_close(layer.norm.running_mean, before)
    torch.testing.assert_close(found, layer.eval()(values, mask))


@pytest.mark.parametrize("training", [True, False])
def test_padding_does_not_reach_masked_batch_norm(training: bool) -> None:
    layer = MaskedBatchNorm(3).train(training)
    values = draw(4, 9, 3)
    noisy = torch.where(MASK[..., None], values, torch.full_like(values, 1e4))
    torch.testing.assert_close(layer(noisy, MASK), layer(values, MASK))


def test_masked_batch_norm_of_a_grid_is_torch_batch_norm_of_its_valid_frames() -> None:
    layer = MaskedBatchNorm(3)
    values = draw(4, 9, 5, 3)
    expected = nn.BatchNorm2d(3)(values[MASK].permute(0, 2, 1)[..., None]).squeeze(-1).permute(0, 2, 1)
    output = layer(values, MASK)
    torch.testing.assert_close(output[MASK], expected)
    assert (output[~MASK] == 0).all()


# Convolution over frames and bands.


@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (4, 1)])
@pytest.mark.parametrize("pool", [True, False])
def test_a_clip_is_convolved_in_a_batch_as_alone(kernel: tuple[int, int], pool: bool) -> None:
    layer = MaskedConv2d(2, 3, kernel, pool).eval()
    values = draw(4, 2, 9, 6) * MASK[:, None, :, None]
    together, counts = layer(values, LENGTHS)
    assert together.shape == ((4, 3, 4, 3) if pool else (4, 3, 9, 6))
    assert counts.tolist() == (LENGTHS // 2 if pool else LENGTHS).tolist()
    for row, length in enumerate(LENGTHS.tolist()):
        count = int(counts[row])
        assert (together[row, :, count:] == 0).all()
        if count:
            alone, _ = layer(values[row : row + 1, :, :length], LENGTHS[row : row + 1])
            torch.testing.assert_close(together[row, :, :count], alone[0])


def test_masked_convolution_is_convolution_batch_norm_relu_and_pooling() -> None:
    layer = MaskedConv2d(2, 3, (3, 5), pool=True)
    values = draw(2, 2, 8, 6)
    convolved = nn.functional.conv2d(values, layer.convolution.weight, padding=(1, 2))
    expected = nn.functional.max_pool2d(nn.BatchNorm2d(3)(convolved).relu(), 2)
    torch.testing.assert_close(layer(values, torch.tensor([8, 8]))[0], expected)


def test_an_even_kernel_sees_one_more_after_than_before() -> None:
    layer = MaskedConv2d(1, 1, (2, 4)).eval()
    with torch.no_grad():
        layer.convolution.weight.fill_(1.0)
    values = torch.arange(30.0).view(1, 1, 5, 6)
    seen = layer(values, torch.tensor([5]))[0][0, 0, 2, 2] * (1 + layer.norm.norm.eps) ** 0.5
    torch.testing.assert_close(seen, values[0, 0, 2:4, 1:5].sum())


# Standardisation.


@pytest.mark.parametrize("blocks", [[100], [1, 99], [7, 50, 43], [100, 0]])
def test_standardise_is_the_standard_scaler(blocks: list[int]) -> None:
    rows = draw(100, 4) * torch.tensor([1.0, 10.0, 0.1, 0.0]) + torch.tensor([0.0, -5.0, 1000.0, 3.0])
    layer = Standardise(4)
    layer.fit(rows.split(blocks))
    scaler = sklearn.preprocessing.StandardScaler().fit(rows.double().numpy())
    np.testing.assert_allclose(layer.mean.numpy(), scaler.mean_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.deviation.numpy(), scaler.scale_, rtol=1e-3)
    np.testing.assert_allclose(layer(rows).numpy(), scaler.transform(rows.double().numpy()), atol=2e-3)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_standardise_keeps_the_scale_of_a_column_that_is_constant_but_for_its_last_digit(value: float) -> None:
    layer = Standardise(1)
    layer.fit([torch.tensor([[value], [value * (1 + 2**-23)]])])
    assert layer.deviation.tolist() == [1.0]


def test_standardise_scales_each_entry_of_several_dimensions() -> None:
    rows = 3 + 2 * draw(50, 4, 5)
    layer = Standardise(4, 5)
    layer.fit([rows])
    scaled = layer(rows)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(4, 5))


def test_standardise_that_was_not_fitted_changes_nothing() -> None:
    values = draw(3, 4)
    assert torch.equal(Standardise(4)(values), values)


def test_standardise_keeps_its_statistics_in_the_checkpoint() -> None:
    layer, other = Standardise(4), Standardise(4)
    layer.fit([draw(20, 4)])
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(draw(3, 4)), layer(draw(3, 4)))


@pytest.mark.parametrize("rows", [[], [torch.zeros(0, 4)]])
def test_standardise_refuses_to_fit_nothing(rows: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="no training rows"):
        Standardise(4).fit(rows)


# Pooling.


def test_mean_and_maximum_are_over_valid_frames() -> None:
    values = torch.where(MASK[..., None], draw(4, 9, 3), 1e4)
    for row, length in enumerate(LENGTHS):
        valid = values[row, :length]
        torch.testing.assert_close(masked_mean(values, MASK)[row], valid.mean(0))
        torch.testing.assert_close(masked_max(values, MASK)[row], valid.amax(0))


def test_the_mean_of_a_clip_without_a_frame_is_a_number() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    assert torch.equal(masked_mean(torch.ones(2, 2, 3), mask), torch.tensor([[1.0] * 3, [0.0] * 3]))


def test_pooled_batch_norm_is_that_of_torch_but_for_a_batch_of_one() -> None:
    norm, plain = PooledBatchNorm(4), nn.BatchNorm1d(4)
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(values), plain(values))
    alone = norm(values[:1])  # in training, where torch's refuses
    torch.testing.assert_close(alone, plain.eval()(values[:1]))
    torch.testing.assert_close(norm.running_mean, plain.running_mean)


def test_frames_are_averaged_within_each_clip() -> None:
    values = torch.arange(10.0).view(1, 5, 2).repeat(2, 1, 1)
    averaged, counts = average_frames(values, torch.tensor([5, 3]), 2)
    assert counts.tolist() == [3, 2]
    assert averaged[0].tolist() == [[1, 2], [5, 6], [8, 9]]
    assert averaged[1].tolist() == [[1, 2], [4, 5], [0, 0]]
