from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch

from ser_zoo.data import SERDataModule
from ser_zoo.errors import SERZooError
from ser_zoo.features import frame_mask
from ser_zoo.models import create_model
from tests.models.small import batch_of, small_model


def test_flat_layout_has_the_released_parameter_count() -> None:
    model = create_model("cnn_attn", [f"e{number}" for number in range(7)], layout="flat")
    network = model.network
    length = 108 * 20
    assert network.convolution1.weight.numel() + network.convolution1.bias.numel() == 2_048
    assert network.convolution2.weight.numel() + network.convolution2.bias.numel() == 459_008
    assert sum(p.numel() for p in network.channel.parameters()) == 8_464
    assert sum(p.numel() for p in network.spatial.parameters()) == 14
    assert network.dense.weight.numel() == 256 * (length - 12) * 64
    assert sum(p.numel() for p in network.classifier.parameters()) == 455


def test_flat_layout_reads_two_and_a_half_seconds_from_0_6(tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path, layout="flat").eval()
    batch = batch_of(model, [4.0])
    changed = batch.waveforms.clone()
    rate = model.sample_rate
    changed[:, : round(0.55 * rate)] = 0.3
    changed[:, round(3.2 * rate) :] = 0.3
    with torch.no_grad():
        before, after = model(batch), model(batch._replace(waveforms=changed))
    torch.testing.assert_close(before, after)


def test_features_are_scaled_by_the_augmented_training_rows_only(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16, sample_rate=22_050, augment=["noise"])
    model = small_model("cnn_attn", tmp_path)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, datamodule=data)
    rows = []
    for batch in data.statistics_dataloader():
        ((values, counts),) = model.network.front_end(batch.waveforms, batch.lengths)
        rows.append(values[frame_mask(counts, values.shape[1])])
    frames = torch.cat(rows)
    torch.testing.assert_close(model.network.standardise.mean, frames.mean(0), atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(model.network.standardise.deviation, frames.std(0, correction=0), atol=1e-2, rtol=1e-3)


def test_needs_a_data_module_for_its_statistics(tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path)
    loader = [batch_of(model, [0.5, 0.5])]
    trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    with pytest.raises(SERZooError, match="SERDataModule"):
        trainer.fit(model, train_dataloaders=loader)


def test_l2_penalty_is_added_to_the_loss(tmp_path: Path) -> None:
    with_penalty, without = (small_model("cnn_attn", tmp_path, l2=l2).eval() for l2 in (1e-3, 0.0))
    batch = batch_of(without, [0.6, 0.6])
    kernels = without.network.penalised()
    expected = without.loss(batch) + 1e-3 * sum(kernel.square().sum() for kernel in kernels)
    torch.testing.assert_close(with_penalty.loss(batch), expected)
