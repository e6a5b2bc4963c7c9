from __future__ import annotations

import math
from pathlib import Path

import lightning as L
import pytest
import torch

from ser_zoo.data import SERDataModule
from ser_zoo.errors import SERZooError
from ser_zoo.features import frame_mask
from ser_zoo.models import create_model
from ser_zoo.models.eca_cnn import EfficientChannelAttention
from tests.models.small import batch_of, small_model


@pytest.mark.parametrize(("channels", "width"), [(16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_the_kernel_grows_with_the_channels(channels: int, width: int) -> None:
    # Widths that the reference implementation of Wang et al. gives.
    assert EfficientChannelAttention(channels).convolution.kernel_size == (width,)


def test_channels_are_weighed_by_neighbouring_means_of_the_valid_frames() -> None:
    layer = EfficientChannelAttention(16)
    counts = torch.tensor([5, 2])
    values = torch.randn(2, 16, 5, 3, generator=torch.Generator().manual_seed(0))
    weighed = layer(values, counts)
    kernel = layer.convolution.weight[0, 0]
    for row, count in enumerate(counts.tolist()):
        means = torch.nn.functional.pad(values[row, :, :count].mean((1, 2)), (1, 1))
        for channel in range(16):
            weight = (kernel * means[channel : channel + 3]).sum().sigmoid()
            torch.testing.assert_close(weighed[row, channel], values[row, channel] * weight)


def test_six_layers_two_of_them_with_attention() -> None:
    network = create_model("eca_cnn", list("abcd")).network
    shapes = [tuple(layer.convolution.weight.shape) for layer in network.convolutions]
    assert len(shapes) == 6
    assert all(shape[2:] == (3, 3) for shape in shapes)
    assert {layer: sum(p.numel() for p in block.parameters()) for layer, block in network.attention.items()} == {"5": 5, "6": 5}


def test_attention_can_be_placed_elsewhere_or_left_out(tmp_path: Path) -> None:
    assert list(small_model("eca_cnn", tmp_path, eca=(1,)).network.attention) == ["1"]
    assert list(small_model("eca_cnn", tmp_path, eca=()).network.attention) == []


def test_evaluation_reads_the_first_of_several_windows(tmp_path: Path) -> None:
    several = small_model("eca_cnn", tmp_path, windows=(0.05, 0.015)).eval()
    batch = batch_of(several, [0.6, 0.9])
    first, second = several.frames(batch)
    blank = first._replace(values=torch.zeros_like(second.values))
    with torch.no_grad():
        expected = several(batch)
        assert torch.equal(several.network(batch.waveforms, batch.lengths, (first, blank)), expected)
        assert not torch.equal(several.network(batch.waveforms, batch.lengths, (blank, second)), expected)


def test_training_reads_each_clip_through_a_random_window(tmp_path: Path) -> None:
    network = small_model("eca_cnn", tmp_path, windows=(0.05, 0.03, 0.015)).train().network
    stacked = torch.arange(3.0).expand(300, 4, 3)[..., None]
    chosen = network._choose(stacked)
    assert chosen.shape == (300, 4, 1)
    assert (chosen == chosen[:, :1]).all()
    assert all(70 < (chosen[:, 0] == window).sum() < 130 for window in range(3))


def test_each_window_is_scaled_by_its_own_training_rows(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    model = small_model("eca_cnn", tmp_path, windows=(0.05, 0.015))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, datamodule=data)
    rows = []
    for batch in data.statistics_dataloader():
        for values, counts in [model.network.front_end(batch.waveforms, batch.lengths)[1]]:
            rows.append(values[frame_mask(counts, values.shape[1])])
    frames = torch.cat(rows)
    torch.testing.assert_close(model.network.standardise.mean[1], frames.mean(0), atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(model.network.standardise.deviation[1], frames.std(0, correction=0), atol=1e-2, rtol=1e-3)


def test_dropout_acts_in_training_only(tmp_path: Path) -> None:
    model = small_model("eca_cnn", tmp_path, dropout=0.5).train()
    values = torch.ones(4, 64)
    assert not torch.equal(model.network.dropout(values), values)
    assert torch.equal(model.eval().network.dropout(values), values)


@pytest.mark.parametrize(
    "changes",
    [
        {"windows": ()},
        {"windows": (0.05, 0.0)},
        {"windows": (0.05, 1e-5)},
        {"windows": (math.inf,)},
        {"windows": (1e5,)},
        {"mels": 7},
        {"channels": (4, 4)},
        {"eca": (0,)},
        {"eca": (7,)},
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SERZooError):
        create_model("eca_cnn", ["a", "b"], **changes)
