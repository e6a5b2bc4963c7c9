from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from ser_zoo.data import Batch, SERDataModule
from ser_zoo.encoders import EncoderOutput, FeatureStore
from ser_zoo.errors import SERZooError
from ser_zoo.evaluation.callbacks import StepSeed
from ser_zoo.models import create_model
from ser_zoo.models.augment import change_batch, change_features
from ser_zoo.models.base import SERModule
from ser_zoo.models.kept import ENCODER_PREFIX
from ser_zoo.models.optim import Optim
from tests.models.small import SMALL, batch_of, small_model
from tests.releases import write_emo_db

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


def test_a_class_without_training_rows_weighs_as_a_row_does_on_average(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, emotions="WN", takes=1)
    write_emo_db(root, speakers=["03"], emotions="T", takes=1)
    data = SERDataModule("emo_db", str(root), sample_rate=22_050)
    model = small_cnn(data, class_weights="balanced", label_smoothing=0.5)
    L.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0, **QUIET).fit(model, datamodule=data)
    assert data.class_counts() == [8, 8, 0]
    torch.testing.assert_close(model.class_weights, torch.tensor([16 / 24, 16 / 24, 1.0]))
    # Its share of smoothed labels must not outweigh the class that a row has.
    right, never_trained = (model.criterion(torch.tensor([logits]), torch.tensor([0])) for logits in ([2.0, 0, 0], [0, 0, 2.0]))
    assert right < never_trained


def test_balanced_class_weights_need_a_data_module(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, optim=Optim(class_weights="balanced"))
    with pytest.raises(SERZooError, match="counts the classes of a SERDataModule"):
        L.Trainer(max_epochs=1, **QUIET).fit(model, train_dataloaders=[batch_of(model, [0.5, 0.5])])


@pytest.mark.parametrize("choice", [{"optimizer": "sgd"}, {"schedule": "linear"}, {"loss": "ce"}, {"class_weights": "equal"}])
def test_an_unknown_choice_is_refused(choice: dict[str, Any]) -> None:
    ((name, value),) = choice.items()
    with pytest.raises(SERZooError, match=rf"--model\.optim\.{name} '{value}' is unknown\. Expected one of "):
        Optim(**choice)


# The loss.

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.1, -3.0], [-1.0, 1.0, 4.0]])
LABELS = torch.tensor([0, 2, 2])
SOFT = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])


def loss_of(folder: Path, logits: torch.Tensor, labels: torch.Tensor, **optim: Any) -> torch.Tensor:
    model = small_model("cnn_attn", folder, optim=Optim(**optim))
    model.class_weights.copy_(torch.tensor([1.0, 2.0, 0.5]))
    return model.criterion(logits, labels)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["hard", "soft"])
def test_loss_is_the_weighted_sum_over_the_classes(loss: str, smoothing: float, labels: torch.Tensor, tmp_path: Path) -> None:
    targets = (1 - smoothing) * (SOFT if labels is SOFT else torch.eye(3)[LABELS]) + smoothing / 3
    probabilities, weights, gamma = LOGITS.softmax(1), [1.0, 2.0, 0.5], 2.0 if loss == "focal" else 0.0
    rows = [
        sum(w * float(t) * (1 - float(p)) ** gamma * -math.log(p) for w, t, p in zip(weights, target, row, strict=True))
        for target, row in zip(targets, probabilities, strict=True)
    ]
    found = loss_of(tmp_path, LOGITS, labels, loss=loss, label_smoothing=smoothing)
    assert float(found) == pytest.approx(sum(rows) / 3, rel=1e-5)


def test_focal_loss_of_one_label_is_that_of_lin_et_al(tmp_path: Path) -> None:
    certain = LOGITS.softmax(1)[torch.arange(3), LABELS]
    weights = torch.tensor([1.0, 2.0, 0.5])[LABELS]
    expected = (-weights * (1 - certain) ** 0.5 * certain.log()).mean()
    torch.testing.assert_close(loss_of(tmp_path, LOGITS, LABELS, loss="focal", focal_gamma=0.5), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_of_a_certain_clip_has_a_finite_gradient(gamma: float, tmp_path: Path) -> None:
    logits = torch.tensor([[40.0, 0.0, 0.0], [0.0, 0.0, 40.0]], requires_grad=True)
    loss_of(tmp_path, logits, torch.tensor([0, 0]), loss="focal", focal_gamma=gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_validation_loss_is_the_mean_over_utterances(small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=4, sample_rate=22_050)
    model = small_cnn(data)
    (found,) = L.Trainer(**QUIET).validate(model, datamodule=data, verbose=False)
    batches = list(data.val_dataloader())
    sizes = [len(batch.ids) for batch in batches]
    assert len(set(sizes)) > 1
    with torch.no_grad():
        losses = [float(model.eval().criterion(model(batch), batch.labels)) for batch in batches]
    mean = sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / sum(sizes)
    assert found["val/loss"] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_scores_are_of_one_pass_over_a_side(stage: str, small_emo_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not of those before it, such as the epochs so far."""
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    model, trainer, found = small_cnn(data), L.Trainer(**QUIET), []
    for right in (False, True):
        monkeypatch.setattr(SERModule, "forward", lambda _, batch, right=right: _certain(batch.labels, right))
        (scores,) = getattr(trainer, stage)(model, datamodule=data, verbose=False)
        found.append([value for name, value in scores.items() if name.endswith(("/wa", "/ua", "/macro_f1"))])
    assert found == [[0.0] * 3, [1.0] * 3]


def _certain(labels: torch.Tensor, right: bool) -> torch.Tensor:
    """Logits of these labels, or of others."""
    return torch.nn.functional.one_hot(labels if right else (labels + 1) % 3, 3).float()


def test_trains_on_soft_labels(tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path, optim=Optim(loss="focal", label_smoothing=0.1)).train()
    batch = batch_of(model, [0.5, 0.6, 0.7])
    hard, soft = model.loss(batch), model.loss(batch._replace(labels=SOFT))
    assert soft.isfinite()
    assert float(soft.detach()) != float(hard.detach())


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_the_one_that_is_asked_for(name: Any, kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path, optim=Optim(optimizer=name, lr=0.5, weight_decay=0.25))
    optimizer = model.configure_optimizers()
    assert type(optimizer) is kind
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.5, 0.25)]


def test_gradients_may_be_clipped_under_mixed_precision(small_emo_db: Path) -> None:
    """Which Lightning refuses for an optimiser that scales them by itself, as fused ones could."""
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    mixed = {"precision": "bf16-mixed", "gradient_clip_val": 1.0, "limit_train_batches": 1, "limit_val_batches": 0}
    trainer = L.Trainer(max_epochs=1, **mixed, **QUIET)
    trainer.fit(small_cnn(data), datamodule=data)
    assert trainer.global_step == 1


@pytest.mark.parametrize(("corpus", "kept"), [("emo_db", True), ("ravdess", False)])
def test_who_was_heard_before_counts_where_it_was_of_the_same_corpus(corpus: str, kept: bool, small_emo_db: Path) -> None:
    """Speakers of others are other people, who may have the same names."""
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    model = small_cnn(data)
    model._trained_on = {"corpus": corpus, "heard": ["someone"]}
    L.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0, **QUIET).fit(model, datamodule=data)
    assert ("someone" in model._trained_on["heard"]) is kept


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


def test_a_cosine_schedule_over_batches_that_cannot_be_counted_needs_a_number_of_steps(tmp_path: Path) -> None:
    class Stream(IterableDataset[Batch]):
        def __iter__(self) -> Iterator[Batch]:
            return iter([batch])

    model = small_model("cross_attn", tmp_path, finetune_from=None, optim=Optim(schedule="cosine"))
    batch, loader = batch_of(model, [0.5, 0.9]), DataLoader(Stream(), batch_size=None)
    with pytest.raises(SERZooError, match=r"max_epochs 3 nobody knows .*batches that can be counted, or --trainer\.max_steps"):
        L.Trainer(max_epochs=3, **QUIET).fit(model, loader)
    L.Trainer(max_epochs=3, max_steps=2, **QUIET).fit(model, loader)


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


def test_a_text_is_no_list_of_labels() -> None:
    with pytest.raises(SERZooError, match="needs a list of two or more different labels; found 'abcd'"):
        create_model("mfcc_stats", "abcd")


@pytest.mark.parametrize("known", [["sadness", "neutral", "happiness", "anger"], ["anger", "sadness"]])
def test_data_that_number_the_classes_otherwise_are_refused(small_emo_db: Path, known: list[str]) -> None:
    data, trainer = SERDataModule("emo_db", str(small_emo_db)), L.Trainer(max_epochs=1, **QUIET)
    for use in (trainer.fit, trainer.validate, trainer.test):
        with pytest.raises(SERZooError, match=f"mfcc_stats tells {', '.join(known)} apart, in this order, but emo_db"):
            use(create_model("mfcc_stats", known), datamodule=data)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_weights_of_16_bits_are_refused_by_any_trainer(small_emo_db: Path, precision: Any) -> None:
    data = SERDataModule("emo_db", str(small_emo_db))
    with pytest.raises(SERZooError, match=f"precision {precision} does not go with these models"):
        L.Trainer(max_epochs=1, precision=precision, **QUIET).fit(create_model("mfcc_stats", data.labels), datamodule=data)


def test_a_model_and_its_data_can_be_copied_and_pickled_after_a_training(small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db))
    model = create_model("probe", data.labels, encoder="pico")
    trainer = L.Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, datamodule=data)
    expected = trainer.test(model, datamodule=data, verbose=False)
    for copied, again in ((deepcopy(model), deepcopy(data)), pickle.loads(pickle.dumps((model, data)))):
        assert L.Trainer(**QUIET).test(copied, datamodule=again, verbose=False) == expected


@pytest.mark.parametrize(("name", "settings"), [("probe", {"state_scaling": "squash"}), ("cta_rnn", {"stride": 4})])
def test_condensed_states_are_kept_and_are_those_of_the_encoder(
    name: str, settings: dict[str, object], small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    data, model = SERDataModule("emo_db", str(small_emo_db), batch_size=16), small_model(name, tmp_path, **settings)
    read: list[str] = []
    monkeypatch.setattr(
        FeatureStore, "get", lambda store, ids, *rest, get=FeatureStore.get: read.extend(ids) or get(store, ids, *rest)
    )
    trainer = L.Trainer(max_epochs=2, num_sanity_val_steps=0, **QUIET)
    trainer.fit(model, datamodule=data)
    rows = [*data.split.train, *data.split.validation]
    assert sorted(read) == sorted(row.id for row in rows)  # once each, in two epochs
    batch = next(iter(data.train_dataloader()))
    kept = model.eval().encode(batch)
    with torch.no_grad():
        live = model.condense(*model.encoder(batch.waveforms, batch.lengths))
    assert torch.equal(kept.lengths, live.lengths)
    torch.testing.assert_close(kept.states, live.states, atol=2e-3, rtol=2e-3)
    assert len(read) == len(rows)


@pytest.mark.parametrize("loop", ["validate", "test", "predict"])
def test_every_evaluation_reads_what_is_kept(
    loop: str, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    model, live = small_model("cross_attn", tmp_path, finetune_from=None), []
    assert model.encoder is not None
    model.encoder.register_forward_hook(lambda *_: live.append(1))
    getattr(L.Trainer(**QUIET), loop)(model, datamodule=SERDataModule("emo_db", str(small_emo_db), batch_size=16))
    assert model._store is not None
    assert not live


def test_models_that_condense_states_of_the_same_data_in_other_ways_keep_their_own(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    for stride in (1, 4):
        model = small_model("cta_rnn", tmp_path, stride=stride)
        L.Trainer(**QUIET).predict(model, datamodule=data)
        batch = next(iter(data.predict_dataloader()))
        kept = model.encode(batch)
        with torch.no_grad():
            live = model.condense(*model.encoder(batch.waveforms, batch.lengths))
        assert torch.equal(kept.lengths, live.lengths)
        torch.testing.assert_close(kept.states, live.states, atol=2e-3, rtol=2e-3)


def test_models_with_other_features_of_the_same_data_keep_their_own(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    for mels in (16, 24):
        model = small_model("eca_cnn", tmp_path, mels=mels)
        L.Trainer(**QUIET).predict(model, datamodule=data)
        batch = next(iter(data.predict_dataloader()))
        (kept,), (live,) = model.frames(batch), model.front_end(batch.waveforms, batch.lengths)
        assert torch.equal(kept.lengths, live.lengths)
        torch.testing.assert_close(kept.values, live.values, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "changes", "silent"),
    [
        ("probe", {}, True),
        ("cta_rnn", {"optim": Optim(schedule="cosine")}, True),
        ("probe", {"finetune_from": 2}, False),
        ("cross_attn", {}, False),
    ],
)
def test_waveforms_are_spared_where_only_kept_states_are_read(
    name: str, changes: dict[str, Any], silent: bool, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    trained = []
    for spared in (True, False):
        data, model = SERDataModule("emo_db", str(small_emo_db), batch_size=16, seed=0), small_model(name, tmp_path, **changes)
        if not spared:
            monkeypatch.setattr(type(model), "reads_states_alone", False)
        widths: list[int] = []  # of the waveforms of all batches that the model reads
        whole = model.inputs
        monkeypatch.setattr(
            model, "inputs", lambda batch, whole=whole, widths=widths: widths.append(batch.waveforms.shape[1]) or whole(batch)
        )
        L.seed_everything(1, verbose=False)
        trainer = L.Trainer(max_epochs=2, **QUIET)
        trainer.fit(model, datamodule=data)
        assert {width == 1 for width in widths} == {silent and spared}
        trained.append({key: value.clone() for key, value in model.state_dict().items()})
        del widths[:]
        trainer.test(model, datamodule=data, verbose=False)
        assert min(widths) > 1
    assert all(torch.equal(value, trained[1][key]) for key, value in trained[0].items())


def test_what_lies_below_the_trained_blocks_is_computed_once(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    data, model = (
        SERDataModule("emo_db", str(small_emo_db), batch_size=16),
        small_model("cross_attn", tmp_path, finetune_from=2),
    )
    assert model.encoder is not None
    live: list[int] = []
    model.encoder.register_forward_hook(lambda *_: live.append(1))
    L.Trainer(max_epochs=1, num_sanity_val_steps=0, **QUIET).fit(model, datamodule=data)
    assert not live
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        kept = model.eval().encode(batch)
        expected = model.encoder(batch.waveforms, batch.lengths)
    assert torch.equal(kept.lengths, expected.lengths)
    torch.testing.assert_close(kept.states, expected.states, atol=5e-3, rtol=5e-3)
    varying = SERDataModule("emo_db", str(small_emo_db), batch_size=16, augment=["noise"])
    model = small_model("cross_attn", tmp_path, finetune_from=2)
    L.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1, **QUIET).fit(model, datamodule=varying)
    assert model._store is None


def test_other_recordings_under_the_same_names_have_features_of_their_own(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    other = write_emo_db(tmp_path / "longer", emotions="WTN", takes=2, seconds=0.3)
    model = small_model("probe", tmp_path)
    logits = []
    for root in (small_emo_db, other):
        data = SERDataModule("emo_db", str(root), batch_size=16)
        trainer = L.Trainer(**QUIET)
        predicted = trainer.predict(model, datamodule=data)
        kept = model._store
        model._store, model._kept_of = None, None
        (batch,) = [batch for batch in data.predict_dataloader() if batch.ids == predicted[0]["ids"]]
        with torch.no_grad():
            live = model.eval().network(batch.waveforms, batch.lengths)
        model._store, model._kept_of = kept, data.waveforms
        torch.testing.assert_close(predicted[0]["logits"], live, atol=2e-3, rtol=2e-3)
        logits.append(predicted[0]["logits"])
    assert not torch.allclose(*logits, atol=2e-2)


def test_a_training_that_goes_on_keeps_the_statistics_it_began_with(small_emo_db: Path, tmp_path: Path) -> None:
    """Those of the encoder as it is by then would scale its states in another way than those of the steps before."""

    def trained(epochs: int, start: Path | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        model = small_model("probe", tmp_path, finetune_from=1, state_scaling="training", optim=Optim(lr=1e-2))
        data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
        trainer = L.Trainer(max_epochs=epochs, limit_val_batches=0, **QUIET)
        trainer.fit(model, datamodule=data, ckpt_path=start, weights_only=True)
        trainer.save_checkpoint(tmp_path / "newest.ckpt")
        mean: torch.Tensor = model.network.mix.standardise.mean.clone()
        return mean

    begun = trained(1)
    assert begun.abs().max() > 0
    assert torch.equal(trained(2, tmp_path / "newest.ckpt"), begun)


def test_statistics_are_taken_without_dropout(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("probe", tmp_path, finetune_from=1, state_scaling="training")
    modes: list[tuple[bool, bool]] = []
    fit = type(model.network.mix.standardise).fit

    def watched(self: Any, rows: Any) -> None:
        modes.append((model.training, model.encoder.training))
        fit(self, rows)

    monkeypatch.setattr(type(model.network.mix.standardise), "fit", watched)
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    L.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0, **QUIET).fit(model, datamodule=data)
    assert modes == [(False, False)]
    assert model.network.training


def test_a_rate_of_zero_leaves_a_trained_encoder_as_it_is(small_emo_db: Path, tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, finetune_from=1, optim=Optim(lr=1e-2, encoder_lr=0.0))
    before = [p.clone() for p in model._encoder_parameters()]
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    L.Trainer(max_epochs=1, limit_val_batches=0, **QUIET).fit(model, datamodule=data)
    assert all(map(torch.equal, before, model._encoder_parameters()))


@pytest.mark.parametrize("first", [1, 2])
def test_a_resting_encoder_stays_as_it_is_until_its_share_of_the_steps_is_over(
    small_emo_db: Path, tmp_path: Path, first: int
) -> None:
    optim = Optim(lr=1e-2, schedule="cosine", encoder_rest=0.5)
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=12)
    model = small_model("cross_attn", tmp_path, finetune_from=first, optim=optim)

    class Watch(L.Callback):
        """Sums of the trained encoder's and of the head's parameters before each step."""

        def __init__(self) -> None:
            self.seen: list[tuple[float, float]] = []

        def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
            assert isinstance(pl_module, SERModule)
            own = pl_module._encoder_parameters()
            head = [p for p in pl_module.parameters() if p.requires_grad and not any(p is other for other in own)]
            self.seen.append(tuple(sum(float(p.detach().double().abs().sum()) for p in part) for part in (own, head)))

    watch = Watch()
    trainer = L.Trainer(max_epochs=2, callbacks=[watch], num_sanity_val_steps=0, **QUIET)
    trainer.fit(model, datamodule=data)
    steps = trainer.global_step
    assert steps >= 4
    encoder, head = zip(*watch.seen, strict=True)
    rest = round(0.5 * steps)
    assert len(set(encoder[: rest + 1])) == 1
    assert len(set(encoder[rest:])) == steps - rest
    assert len(set(head)) == steps


def test_adapters_rest_and_are_trained_after_it(small_emo_db: Path, tmp_path: Path) -> None:
    optim = Optim(lr=1e-2, schedule="cosine", encoder_rest=0.5)
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=12)
    model = small_model("probe", tmp_path, finetune_from=2, encoder_options={"lora_rank": 2}, optim=optim)
    seen: list[torch.Tensor] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, *_: object) -> None:
            seen.append(torch.cat([p.detach().flatten() for p in model._encoder_parameters()]))

    L.Trainer(max_epochs=2, limit_val_batches=0, callbacks=[Watch()], **QUIET).fit(model, datamodule=data)
    rest = round(0.5 * len(seen))
    assert rest >= 2
    assert all(torch.equal(adapters, seen[0]) for adapters in seen[:rest])
    assert not torch.equal(seen[rest], seen[0])


class Heads(L.Callback):
    """What is trained beside the encoder before each step, and how often the encoder's blocks had been computed by then."""

    def __init__(self, model: SERModule) -> None:
        assert model.encoder is not None
        self.head = [p for key, p in model.named_parameters() if not key.startswith(ENCODER_PREFIX) and p.requires_grad]
        self.seen: list[torch.Tensor] = []
        self.computed: list[int] = []
        self.count = 0
        model.encoder.network.register_forward_hook(lambda *_: self.one_more())

    def one_more(self) -> None:
        self.count += 1

    def on_train_batch_start(self, *_: object) -> None:
        self.seen.append(torch.cat([p.detach().flatten() for p in self.head]))
        self.computed.append(self.count)


def test_a_resting_encoder_is_read_as_a_frozen_one(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))

    def trained(first: int | None, **more: Any) -> Heads:
        optim = Optim(lr=1e-2, schedule="cosine", linear_delta=0.5, mixup=0.3, **more)
        data = SERDataModule("emo_db", str(small_emo_db), batch_size=12, seed=0)
        L.seed_everything(1, verbose=False)
        model = small_model("cta_rnn", tmp_path, finetune_from=first, optim=optim)
        heads = Heads(model)
        L.Trainer(max_epochs=2, limit_val_batches=0, callbacks=[heads, StepSeed(1)], **QUIET).fit(model, datamodule=data)
        return heads

    frozen, resting = trained(None), trained(1, encoder_rest=0.5)
    steps = len(resting.seen)
    rest = round(0.5 * steps)
    assert rest >= 2
    for one, other in zip(resting.seen[: rest + 1], frozen.seen, strict=False):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(resting.seen[-1], frozen.seen[-1], atol=1e-5)
    # Its blocks are computed only when they change.
    assert resting.computed == [*[0] * (rest + 1), *range(1, steps - rest)]
    assert len(set(frozen.computed)) == 1
    # Changes below the trained blocks begin with their training.
    below = trained(2, encoder_rest=0.5, change_below=True)
    for one, other in zip(below.seen[: rest + 1], frozen.seen, strict=False):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_what_the_trained_blocks_read_is_changed_in_place_of_what_they_give(small_emo_db: Path, tmp_path: Path) -> None:
    optim = Optim(linear_delta=0.5, mixup=0.3, time_masks=2, time_width=0.3, change_below=True)
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=12)
    model = small_model("cross_attn", tmp_path, finetune_from=2, optim=optim)
    L.Trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1, **QUIET).fit(model, datamodule=data)
    batch = next(iter(data.train_dataloader()))
    changed = change_batch(batch, len(model.labels), 0.3, (2, 0.3), (0, 0.0), delta=0.5)
    assert changed.change is not None
    assert model.encoder is not None
    assert model._store is not None
    model.eval()
    with torch.no_grad():
        encoded = model.inputs(changed)["encoded"]
        below = EncoderOutput(*change_features(*model._store.get(batch.ids), changed.change))
        expected = model.encoder.resume(below)
        assert expected is not None
        torch.testing.assert_close(encoded.states, expected.states)
        plain = model.inputs(batch)["encoded"]
        assert not torch.allclose(encoded.states[:, :, : plain.states.shape[2]], plain.states, atol=1e-2)
        # What lies on no kept state is changed above the encoder, as everything is without the option.
        model._store = None
        live = model.inputs(changed)["encoded"]
        torch.testing.assert_close(live.states, change_features(*plain, changed.change)[0], atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize(("first", "augment"), [(None, None), (1, None), (2, ["noise"])])
def test_a_change_of_states_that_are_not_kept_is_refused(
    small_emo_db: Path, tmp_path: Path, first: int | None, augment: list[str] | None
) -> None:
    model = small_model("cross_attn", tmp_path, finetune_from=first, optim=Optim(mixup=0.3, change_below=True))
    data = SERDataModule("emo_db", str(small_emo_db), augment=augment or ())
    with pytest.raises(SERZooError, match="change_below: nothing that the trained blocks of cross_attn read is kept"):
        L.Trainer(max_epochs=1, **QUIET).fit(model, datamodule=data)


def test_a_place_of_changes_without_changes_is_refused() -> None:
    with pytest.raises(SERZooError, match="change_below says where features are changed, and nothing changes them"):
        Optim(change_below=True)


def test_a_rest_in_which_the_encoder_is_never_trained_is_refused() -> None:
    with pytest.raises(SERZooError, match=r"--model\.optim\.encoder_rest 1 lets the encoder rest in all steps"):
        Optim(schedule="cosine", encoder_rest=1.0)


def test_a_rest_that_would_have_no_effect_is_refused(small_emo_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SERZooError, match=r"encoder_rest.*schedule cosine"):
        Optim(encoder_rest=0.5)
    model = small_model("cross_attn", tmp_path, finetune_from=None, optim=Optim(schedule="cosine", encoder_rest=0.5))
    with pytest.raises(SERZooError, match="encoder_rest: cross_attn has no encoder that is trained"):
        L.Trainer(max_epochs=1, **QUIET).fit(model, datamodule=SERDataModule("emo_db", str(small_emo_db)))


@pytest.mark.parametrize("rate", [0.0, 1e-5])
def test_a_learning_rate_of_an_encoder_that_is_not_trained_is_refused(tmp_path: Path, rate: float) -> None:
    model = small_model("cross_attn", tmp_path, finetune_from=None, optim=Optim(encoder_lr=rate))
    with pytest.raises(SERZooError, match=r"optim\.encoder_lr: cross_attn has no encoder that is trained"):
        model.setup("fit")
