from __future__ import annotations

import pytest
import torch
from torch import nn

from ser_zoo.encoders.waveform import convolve


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


@pytest.mark.parametrize("channels", [1, 8])
def test_torchs_convolution_stays_where_nothing_is_trained(channels: int) -> None:
    convolution = nn.Conv1d(channels, 6, 3, 2).requires_grad_(channels == 1)
    waveforms = torch.randn(2, channels, 31)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(convolve(convolution, waveforms), nn.Conv1d.forward(convolution, waveforms), atol=0, rtol=0)
