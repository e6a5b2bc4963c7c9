from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import Wav2Vec2FeatureExtractor

from ser_zoo.encoders.waveform import Products, convolve, masked_group_norm, normalized


@pytest.mark.parametrize("level", [1.0, 1e-3, 1e-5, 0.0])
def test_clips_of_any_level_are_normalised_as_by_transformers(level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clips = [level * (0.1 + torch.randn(size, generator=generator)) for size in (400, 250)]
    found = normalized(nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([400, 250]))
    for row, clip in zip(found, clips, strict=True):
        expected = Wav2Vec2FeatureExtractor()(clip.numpy(), sampling_rate=16_000, return_tensors="pt").input_values[0]
        torch.testing.assert_close(row[: len(clip)], expected, atol=1e-5, rtol=1e-4)
        assert not row[len(clip) :].any()


@pytest.mark.parametrize(("size", "stride"), [(10, 5), (3, 2), (2, 2), (4, 3), (7, 2), (1, 1)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("length", [53, 54, 55])
def test_products_of_matrices_are_the_convolution(size: int, stride: int, bias: bool, length: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv1d(8, 6, size, stride, bias=bias)
    # Values that bfloat16 holds exactly, so that only the sums are rounded.
    for parameter in convolution.parameters():
        parameter.data = parameter.data.bfloat16().float()
    waveforms, upstream = torch.randn(2, 8, length).bfloat16().float(), torch.randn(2, 6, length).bfloat16()
    outputs = []
    for low in (False, True):
        inputs = waveforms.clone().requires_grad_()
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            result = convolve(convolution, inputs)
        result.backward(upstream[:, :, : result.shape[2]].to(result.dtype))
        assert result.dtype == (torch.bfloat16 if low else torch.float32)
        outputs.append([result.float(), inputs.grad, *(parameter.grad for parameter in convolution.parameters())])
    for expected, found in zip(*outputs, strict=True):
        assert expected is not None
        assert found is not None
        torch.testing.assert_close(found, expected, atol=0.02 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("size", [5, 8])
def test_a_positional_convolution_is_torchs(size: int) -> None:
    torch.manual_seed(0)
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 8, size, padding=size // 2, groups=2), dim=2)
    hidden, upstream, outputs = torch.randn(3, 8, 11), torch.randn(3, 8, 11 + 1 - size % 2), []
    for forward in (nn.Conv1d.forward, convolve):
        inputs = hidden.clone().requires_grad_()
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            result = forward(convolution, inputs)
        result.backward(upstream.to(result.dtype))
        assert result.dtype == torch.bfloat16
        outputs.append([result, inputs.grad, *(parameter.grad for parameter in convolution.parameters())])
    assert outputs[1][0].stride(1) == 1
    assert outputs[0][0].stride(1) != 1  # the other way of computing it was taken
    for expected, found in zip(*outputs, strict=True):
        torch.testing.assert_close(found, expected, atol=0.02 * float(expected.detach().abs().max()), rtol=0)


@pytest.mark.parametrize("channels", [1, 8])
def test_torchs_convolution_stays_where_nothing_is_trained(channels: int) -> None:
    convolution = nn.Conv1d(channels, 6, 3, 2).requires_grad_(channels == 1)
    waveforms = torch.randn(2, channels, 31)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(convolve(convolution, waveforms), nn.Conv1d.forward(convolution, waveforms), atol=0, rtol=0)


@pytest.mark.parametrize(("size", "stride"), [(10, 5), (3, 2), (4, 3), (2, 3), (1, 1)])
@pytest.mark.parametrize("length", [22, 23, 24])
def test_gradients_of_products_are_right(size: int, stride: int, length: int) -> None:
    torch.manual_seed(0)
    frames = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *inputs: Products.apply(*inputs, stride), (frames, weight))


@pytest.mark.parametrize("lengths", [[9, 9, 9], [9, 4, 7], [5, 4, 8]])
@pytest.mark.parametrize("groups", [6, 2])
def test_a_group_norm_does_not_depend_on_what_lies_side_by_side(lengths: list[int], groups: int) -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, 6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    by_channel, upstream = torch.randn(3, 6, 9), torch.randn(3, 6, 9)
    results = []
    for hidden in (by_channel, by_channel.transpose(1, 2).contiguous().transpose(1, 2)):
        inputs = hidden.clone().requires_grad_()
        assert inputs.stride() == hidden.stride()
        norm.zero_grad()
        result = masked_group_norm(inputs, norm, torch.tensor(lengths))
        result.backward(upstream)
        results.append([result, inputs.grad, norm.weight.grad, norm.bias.grad])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    for row, length in zip(results[1][0], lengths, strict=True):
        assert not row[:, length:].any()


def test_one_frame_of_several_clips_is_normalised() -> None:
    norm = nn.GroupNorm(6, 6)
    normed = masked_group_norm(torch.randn(3, 1, 6).transpose(1, 2), norm, torch.ones(3, dtype=torch.int64))
    assert normed.abs().max() < 1e-3  # each value is its own mean
