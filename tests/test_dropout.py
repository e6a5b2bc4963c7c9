from __future__ import annotations

import pytest
import torch
from torch import nn

from ser_zoo.dropout import EntryDropout, use_in


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.999999, 1.0])
def test_dropout_drops_its_share_and_scales_the_rest(share: float) -> None:
    torch.manual_seed(0)
    layer, values = EntryDropout(share), torch.ones(3, 1001, 67, requires_grad=True)  # no multiple of four entries
    output = layer(values)
    kept = output != 0
    assert abs(kept.float().mean().item() - (1 - share)) < 0.005
    torch.testing.assert_close(output[kept], torch.full((int(kept.sum()),), 1 / (1 - share) if share < 1 else 1.0))
    output.sum().backward()
    assert torch.equal(values.grad, output)
    torch.manual_seed(0)
    assert torch.equal(layer(values), output)
    assert torch.equal(layer.eval()(values), values)


def test_every_dropout_of_a_module_is_replaced_and_nothing_else() -> None:
    class Own(nn.Dropout):
        pass

    inner = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.25))
    whole = nn.ModuleDict({"inner": inner, "own": Own(0.5), "channels": nn.Dropout1d(0.5)})
    use_in(whole)
    assert isinstance(inner[1], EntryDropout)
    assert inner[1].p == 0.25
    assert [type(part) for name, part in whole.items() if name != "inner"] == [Own, nn.Dropout1d]
    assert isinstance(inner[0], nn.Linear)
