from __future__ import annotations

from itertools import product
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from ser_zoo.data import SERDataModule
from ser_zoo.errors import SERZooError
from ser_zoo.features import Frames
from ser_zoo.models import create_model
from ser_zoo.models.area_attn import AreaAttention
from tests.models.small import batch_of, small_model


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def plain_attention(grid: Tensor, max_area: tuple[int, int], key: str, value: str) -> Tensor:
    """The attention of one clip's (C, T, F) grid, written out."""
    summary = {
        "mean": lambda area: area.mean((1, 2)),
        "max": lambda area: area.amax((1, 2)),
        "sum": lambda area: area.sum((1, 2)),
    }
    frames, bands = grid.shape[1:]
    areas = [
        grid[:, t : t + height, f : f + width]
        for height, width in product(range(1, max_area[0] + 1), range(1, max_area[1] + 1))
        for t, f in product(range(frames - height + 1), range(bands - width + 1))
    ]
    keys = torch.stack([summary[key](area) for area in areas])
    values = torch.stack([summary[value](area) for area in areas])
    output = torch.empty_like(grid)
    for t, f in product(range(frames), range(bands)):
        output[:, t, f] = (keys @ grid[:, t, f]).softmax(0) @ values
    return output


@pytest.mark.parametrize("key", ["mean", "max"])
@pytest.mark.parametrize("value", ["sum", "mean", "max"])
def test_positions_attend_to_every_area_of_the_valid_frames(key: str, value: str) -> None:
    counts = torch.tensor([5, 2, 1])
    grid = draw(3, 4, 5, 3)
    attended = AreaAttention((3, 2), key, value, dropout=0.5).eval()(grid, counts)
    for row, count in enumerate(counts.tolist()):
        torch.testing.assert_close(attended[row, :, :count], plain_attention(grid[row, :, :count], (3, 2), key, value))


def test_areas_of_one_position_are_ordinary_attention() -> None:
    grid = draw(2, 4, 5, 3)
    items = grid.flatten(2).transpose(1, 2)
    expected = ((items @ items.transpose(1, 2)).softmax(-1) @ items).transpose(1, 2).unflatten(2, (5, 3))
    attended = AreaAttention((1, 1), "mean", "sum", 0.0)(grid, torch.tensor([5, 5]))
    torch.testing.assert_close(attended, expected)


def test_a_sampled_key_is_the_mean_in_evaluation_and_scatters_by_the_deviation_in_training() -> None:
    attention = AreaAttention((3, 3), "sample", "sum", 0.0)
    items = draw(1, 3, 3, 2000)
    sums = attention.areas(items, torch.add)
    sampled = attention.train()._pool(items, sums, "sample")[0, -1]  # of the one rectangle of all nine positions
    centred = (sampled - items[0].mean((0, 1))) / items[0].std((0, 1), correction=0)
    assert centred.mean().abs() < 0.1
    assert (centred.std() - 1).abs() < 0.1
    torch.testing.assert_close(attention.eval()._pool(items, sums, "sample")[0, -1], items[0].mean((0, 1)))


def test_dropout_acts_on_the_weights_in_training_only() -> None:
    attention = AreaAttention((2, 2), "mean", "sum", 0.5)
    grid, counts = draw(1, 4, 5, 3), torch.tensor([5])
    assert not torch.equal(attention.train()(grid, counts), attention(grid, counts))
    assert torch.equal(attention.eval()(grid, counts), attention(grid, counts))


def test_released_layout_has_the_released_kernels() -> None:
    network = create_model("area_attn", list("abcd"), layout="released").network
    convolutions = [network.frequency, network.time, *network.convolutions]
    # (channels, channels of the input, frames, bands)
    assert [tuple(layer.convolution.weight.shape) for layer in convolutions] == [
        (16, 1, 2, 10),
        (16, 1, 8, 2),
        (32, 16, 3, 3),
        (48, 32, 3, 3),
        (64, 48, 3, 3),
        (80, 64, 3, 3),
    ]
    assert network.classifier.in_features == 80 * 64  # a row of two times 128 / 4 bands; the release has 20 frames of them


def test_released_layout_attends_within_rows_of_bands_only(tmp_path: Path) -> None:
    network = small_model("area_attn", tmp_path, layout="released").eval().network
    grid, counts = draw(2, 8, 6, 5), torch.tensor([6, 3])
    attended = network._attend(grid, counts)
    for row, count in enumerate(counts.tolist()):
        for band in range(5):
            expected = plain_attention(grid[row, :, :count, band : band + 1], (3, 1), "mean", "sum")
            torch.testing.assert_close(attended[row, :, :count, band : band + 1], expected)


def test_bands_stay_apart_in_the_classifier(tmp_path: Path) -> None:
    model = small_model("area_attn", tmp_path, mels=16, channels=(4, 4))
    assert model.network.classifier.in_features == 4 * 4


def test_bands_are_scaled_by_the_training_rows(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    model = small_model("area_attn", tmp_path)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, datamodule=data)
    frames = torch.cat([model._rows(batch) for batch in data.statistics_dataloader()])
    standardised = model.network.standardise(frames)
    torch.testing.assert_close(standardised.mean(0), torch.zeros(frames.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(standardised.std(0, correction=0), torch.ones(frames.shape[1]), atol=1e-3, rtol=0)


def test_no_band_of_the_default_spectrogram_is_empty() -> None:
    (spectrogram,) = create_model("area_attn", ["a", "b"]).network.front_end.extractors
    impulse = torch.zeros(1, 4000)
    impulse[0, 2000] = 1.0  # its power is the same in all bins
    loudest = spectrogram(impulse, torch.tensor([4000])).values[0].amax(0)
    assert (loudest > loudest.max() - 40).all()


def test_a_change_beyond_the_end_changes_nothing(tmp_path: Path) -> None:
    model = small_model("area_attn", tmp_path).eval()
    batch = batch_of(model, [0.5, 1.0])
    ((values, counts),) = model.network.front_end(batch.waveforms, batch.lengths)
    changed = values.clone()
    changed[0, counts[0] :] = 50.0
    with torch.no_grad():
        before, after = (
            model.network(batch.waveforms, batch.lengths, (type(model.frames(batch)[0])(rows, counts),))
            for rows in (values, changed)
        )
    torch.testing.assert_close(before, after)


def test_a_clip_shorter_than_a_position_is_continued_with_silent_frames(tmp_path: Path) -> None:
    network = small_model("area_attn", tmp_path).eval().network
    values = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    short = Frames(values, torch.tensor([1]))
    long = Frames(nn.functional.pad(values, (0, 0, 0, 3)), torch.tensor([4]))
    with torch.no_grad():
        one, other = (network(torch.zeros(1, 1), torch.ones(1).long(), (frames,)) for frames in (short, long))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("changes", [{"mels": 3}, {"channels": (4,)}, {"max_area": (0, 3)}])
def test_impossible_sizes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SERZooError, match="area_attn"):
        create_model("area_attn", ["a", "b"], **changes)
