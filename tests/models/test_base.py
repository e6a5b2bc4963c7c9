from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from ser_zoo.data import SERDataModule
from ser_zoo.errors import SERZooError
from ser_zoo.models import create_model
from ser_zoo.models.base import Optim
from tests.models.small import SMALL, batch_of, small_model

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def small_cnn(data: SERDataModule, **optim: Any):
    return create_model("cnn_attn", data.labels, **SMALL["cnn_attn"], optim=Optim(optimizer="adam", **optim))


@pytest.fixture
def data(emo_db: Path) -> SERDataModule:
    return SERDataModule("emo_db", str(emo_db), batch_size=64, sample_rate=22_050)


def test_balanced_class_weights_are_those_of_the_training_speakers(data: SERDataModule) -> None:
    model = small_cnn(data, class_weights="balanced")
    L.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1, **QUIET).fit(model, datamodule=data)
    counts = torch.tensor(data.class_counts(), dtype=torch.float32)
    assert counts.sum() == len(data.split.train)
    torch.testing.assert_close(model.class_weights, counts.sum() / (len(counts) * counts))


def test_balanced_class_weights_need_a_data_module(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, optim=Optim(class_weights="balanced"))
    with pytest.raises(SERZooError, match="counts the classes of a SERDataModule"):
        L.Trainer(max_epochs=1, **QUIET).fit(model, train_dataloaders=[batch_of(model, [0.5, 0.5])])


def test_cosine_schedule_rises_and_falls_to_zero(data: SERDataModule) -> None:
    model = small_cnn(data, lr=1e-2, schedule="cosine", warmup=0.25)
    rates: list[float] = []

    class Record(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    L.Trainer(max_epochs=2, limit_train_batches=4, limit_val_batches=1, callbacks=[Record()], **QUIET).fit(
        model, datamodule=data
    )
    assert max(rates) == pytest.approx(1e-2)
    assert rates[0] < rates[1]
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_works_with_a_plain_trainer_and_plain_loaders(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, finetune_from=None)
    batches = [batch_of(model, [0.5, 0.9, 0.7]), batch_of(model, [0.6, 0.4], seed=1)]
    loader = DataLoader(batches, batch_size=None)
    trainer = L.Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, train_dataloaders=loader, val_dataloaders=loader)
    assert 0 <= trainer.callback_metrics["val/ua"] <= 1
    assert [row["ids"] for row in trainer.predict(model, loader)] == [["u0", "u1", "u2"], ["u0", "u1"]]


def test_another_sample_rate_of_the_data_is_refused(emo_db: Path) -> None:
    data = SERDataModule("emo_db", str(emo_db), sample_rate=16_000)
    with pytest.raises(SERZooError, match="expects 22050 Hz, but its data has 16000 Hz"):
        L.Trainer(max_epochs=1, **QUIET).fit(small_cnn(data), datamodule=data)
