from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from ser_zoo.data import SERDataModule
from ser_zoo.data.batch import Batch, FeatureChange
from ser_zoo.encoders import EncoderOutput
from ser_zoo.errors import SERZooError
from ser_zoo.evaluation.callbacks import StepSeed
from ser_zoo.features import frame_mask
from ser_zoo.models import create_model, list_models
from ser_zoo.models.augment import change_batch, change_features
from ser_zoo.models.base import SERModule
from ser_zoo.models.optim import Optim
from tests.models.small import batch_of, small_model
from tests.releases import write_emo_db

pytestmark = pytest.mark.filterwarnings("ignore:EMO-DB at")

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}
NOTHING = torch.zeros(4, 0, 2)
LENGTHS = torch.tensor([10, 4, 7, 1])


def features(*inner: int) -> Tensor:
    """(4, ..., 10, 6), zero beyond the lengths."""
    generator = torch.Generator().manual_seed(0)
    mask = frame_mask(LENGTHS, 10).view(4, *[1] * len(inner), 10, 1)
    return (3 + torch.randn(4, *inner, 10, 6, generator=generator)) * mask


def plain(labels: Tensor | None = None) -> Batch:
    return Batch(torch.zeros(4, 9), LENGTHS, torch.tensor([0, 2, 1, 1]) if labels is None else labels, list("abcd"))


def drawn(batch: Batch, seed: int = 0, **settings: Any) -> Batch:
    torch.manual_seed(seed)
    return change_batch(batch, 3, **{"mixup": 0.0, "time": (0, 0.1), "channels": (0, 0.3), **settings})


# Mixup.


@pytest.mark.parametrize("inner", [(), (2,)], ids=["frames", "states"])
def test_mixup_adds_the_partner_repeated_to_the_longer_length(inner: tuple[int, ...]) -> None:
    values, partner, share = features(*inner), torch.tensor([1, 0, 3, 3]), torch.tensor([0.25, 0.5, 0.9, 0.3])
    mixed, lengths = change_features(values, LENGTHS, FeatureChange(partner, share, NOTHING, NOTHING))
    assert lengths.tolist() == [10, 10, 7, 1]
    assert mixed.shape == values.shape
    for row, (other, weight, length) in enumerate(zip(partner.tolist(), share.tolist(), lengths.tolist(), strict=True)):
        for frame in range(10):
            own, its = (values[clip, ..., frame % int(LENGTHS[clip]), :] for clip in (row, other))
            expected = weight * own + (1 - weight) * its if frame < length else torch.zeros_like(own)
            torch.testing.assert_close(mixed[row, ..., frame, :], expected)


def test_labels_are_mixed_in_the_shares_of_the_features() -> None:
    batch = drawn(plain(), mixup=0.5)
    assert batch.change is not None
    assert batch.change.partner is not None
    assert sorted(batch.change.partner.tolist()) == [0, 1, 2, 3]
    assert ((batch.change.share >= 0) & (batch.change.share <= 1)).all()
    hard = torch.eye(3)[plain().labels]
    share = batch.change.share[:, None]
    torch.testing.assert_close(batch.labels, share * hard + (1 - share) * hard[batch.change.partner])


def test_soft_labels_are_mixed_too() -> None:
    soft = torch.tensor([[0.5, 0.5, 0], [0, 1, 0], [0.2, 0.2, 0.6], [1, 0, 0]])
    batch = drawn(plain(soft), mixup=1.0)
    assert batch.change is not None
    share = batch.change.share[:, None]
    torch.testing.assert_close(batch.labels, share * soft + (1 - share) * soft[batch.change.partner])


def test_shares_have_the_distribution_of_zhang_et_al() -> None:
    torch.manual_seed(0)
    many = Batch(torch.zeros(20_000, 1), torch.ones(20_000, dtype=torch.int64), torch.zeros(20_000).long(), [""] * 20_000)
    for alpha in (0.2, 1.0, 4.0):
        change = change_batch(many, 3, alpha, (0, 0.1), (0, 0.1)).change
        assert change is not None
        assert float(change.share.mean()) == pytest.approx(0.5, abs=0.01)
        assert float(change.share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)  # of Beta(alpha, alpha)


def test_a_clip_without_frames_can_be_mixed() -> None:
    change = FeatureChange(torch.tensor([1, 0]), torch.full((2,), 0.5), NOTHING[:2], NOTHING[:2])
    mixed, lengths = change_features(torch.zeros(2, 3, 5), torch.tensor([0, 0]), change)
    assert lengths.tolist() == [0, 0]
    assert not mixed.any()


def test_gradients_pass_through_both_clips_of_a_pair() -> None:
    values = features().requires_grad_()
    change = FeatureChange(torch.tensor([1, 0, 3, 2]), torch.full((4,), 0.5), NOTHING, NOTHING)
    mixed, _ = change_features(values, LENGTHS, change)
    mixed[0].sum().backward()
    assert values.grad is not None
    # Clip 1 has four frames, and so is repeated to ten: two frames come three times, two of them twice.
    assert values.grad[0, :, 0].tolist() == [0.5] * 10
    assert values.grad[1, :4, 0].tolist() == [1.5, 1.5, 1.0, 1.0]


def test_alpha_may_be_a_whole_number() -> None:
    one, other = (drawn(plain(), mixup=alpha).change for alpha in (1, 1.0))
    assert one is not None
    assert other is not None
    assert torch.equal(one.share, other.share)


# Differences within a class.


@pytest.mark.parametrize("inner", [(), (2,)], ids=["frames", "states"])
def test_a_clip_moves_by_the_difference_of_two_others(inner: tuple[int, ...]) -> None:
    values, pairs = features(*inner), torch.tensor([[2, 3], [3, 2], [1, 1], [0, 1]])
    change = FeatureChange(None, torch.ones(4), NOTHING, NOTHING, pairs, 0.5)
    moved, lengths = change_features(values, LENGTHS, change)
    assert torch.equal(lengths, LENGTHS)
    means = [values[row, ..., : LENGTHS[row], :].mean(-2) for row in range(4)]
    for row, (one, other) in enumerate(pairs.tolist()):
        valid = int(LENGTHS[row])
        shift = 0.5 * (means[one] - means[other])
        torch.testing.assert_close(moved[row, ..., :valid, :], values[row, ..., :valid, :] + shift[..., None, :])
        assert not moved[row, ..., valid:, :].any()


def test_differences_are_of_clips_that_are_not_mixed_yet() -> None:
    """As their labels are not, of which pairs of one class were drawn."""
    values, pairs = features(), torch.tensor([[2, 3], [3, 2], [1, 1], [0, 1]])
    partner, share = torch.tensor([1, 0, 3, 2]), torch.tensor([0.25, 0.5, 0.9, 0.3])
    moved = change_features(values, LENGTHS, FeatureChange(None, share, NOTHING, NOTHING, pairs, 0.5))
    expected = change_features(*moved, FeatureChange(partner, share, NOTHING, NOTHING))
    both = change_features(values, LENGTHS, FeatureChange(partner, share, NOTHING, NOTHING, pairs, 0.5))
    torch.testing.assert_close(both, expected)


def test_differences_are_those_of_two_clips_of_one_class() -> None:
    labels = torch.tensor([0, 1, 1, 2, 1, 0])
    batch = Batch(torch.zeros(6, 1), torch.ones(6).long(), labels, list("abcdef"))
    seen = set()
    for seed in range(200):
        change = drawn(batch, seed, delta=1.0).change
        assert change is not None
        assert change.delta is not None
        seen |= set(map(tuple, change.delta.tolist()))
    assert seen == {(0, 5), (5, 0), (1, 2), (2, 1), (1, 4), (4, 1), (2, 4), (4, 2)}


def test_soft_labels_count_as_their_largest_share() -> None:
    soft = torch.tensor([[0.5, 0.3, 0.2], [0, 1, 0], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
    change = drawn(plain(soft), delta=1.0).change
    assert change is not None
    assert change.delta is not None
    assert {tuple(sorted(pair)) for pair in change.delta.tolist()} == {(1, 3)}


def test_no_class_twice_in_a_batch_changes_nothing() -> None:
    batch = drawn(plain(torch.tensor([0, 1, 2, 3])), delta=1.0)
    assert batch.change is not None
    values, _ = change_features(features(2), LENGTHS, batch.change)
    assert torch.equal(values, features(2))


# Masks.


def test_what_is_hidden_has_the_mean_of_its_channel() -> None:
    values = features(2)
    time = torch.tensor([[[0.2, 0.5]], [[0.0, 0.0]], [[0.0, 0.99]], [[0.0, 0.0]]])
    channels = torch.tensor([[[0.0, 0.0]], [[0.5, 0.84]], [[0.0, 0.0]], [[0.0, 0.0]]])
    hidden, lengths = change_features(values, LENGTHS, FeatureChange(None, torch.ones(4), time, channels))
    assert torch.equal(lengths, LENGTHS)
    mean = torch.stack([values[:, layer][frame_mask(LENGTHS, 10)].mean(0) for layer in range(2)])
    expected = values.clone()
    expected[0, :, 2:5] = mean[:, None]
    expected[1, :, :4, 3:6] = mean[:, None, 3:6]
    expected[2, :, :7] = mean[:, None]
    torch.testing.assert_close(hidden, expected)


def test_masks_lie_within_the_clip_and_the_width() -> None:
    change = drawn(plain(), time=(50, 0.9), channels=(50, 0.9)).change
    assert change is not None
    for spans in (change.time, change.channels):
        assert spans.min() >= 0
        assert 0.9 < spans.max() <= 1


def test_what_is_hidden_passes_no_gradient() -> None:
    values, time = features().requires_grad_(), torch.zeros(4, 1, 2)
    time[0, 0, 1] = 0.5
    hidden, _ = change_features(values, LENGTHS, FeatureChange(None, torch.ones(4), time, NOTHING))
    hidden[0].sum().backward()
    assert values.grad is not None
    assert values.grad[0, :, 0].tolist() == [0.0] * 5 + [1.0] * 5
    assert not values.grad[1:].any()


def test_masks_are_no_longer_than_said_and_hide_that_much_on_average() -> None:
    size, rows = 200, 500
    lengths = torch.full((rows,), size)
    torch.manual_seed(0)
    batch = Batch(torch.zeros(rows, 1), lengths, torch.zeros(rows).long(), [""] * rows)
    change = change_batch(batch, 3, 0.0, (1, 0.2), (2, 0.1)).change
    assert change is not None
    hidden, _ = change_features(torch.eye(size).expand(rows, size, size), lengths, change)
    frames = (hidden.diagonal(dim1=1, dim2=2) != 1).sum(1).float()
    assert frames.max() <= 0.2 * size + 1 + 2 * (0.1 * size + 1)
    # A mask of a uniform width hides half the widest on average; one of each kind may hide the same.
    expected = 1 - (1 - 0.1) * (1 - 0.05) ** 2
    assert float(frames.mean()) / size == pytest.approx(expected, abs=0.02)


def test_all_features_hide_the_same_stretch_of_a_clip() -> None:
    batch = drawn(plain(), time=(1, 0.5))
    assert batch.change is not None
    shares = []
    for frames in (400, 1000):
        lengths = torch.full((4,), frames)
        hidden, _ = change_features(torch.rand(4, frames, 3), lengths, batch.change)
        shares.append((hidden == hidden.mode(1, keepdim=True).values).all(-1).float().mean(1))
    torch.testing.assert_close(shares[0], shares[1], atol=0.01, rtol=0)


def test_frames_beyond_a_clip_stay_zero() -> None:
    for seed in range(5):
        batch = drawn(plain(), seed, mixup=1.0, time=(2, 0.9), channels=(2, 0.9))
        assert batch.change is not None
        values, lengths = change_features(features(2), LENGTHS, batch.change)
        assert not values[~frame_mask(lengths, 10)[:, None].expand(4, 2, 10)].any()


def test_without_settings_nothing_changes() -> None:
    batch = drawn(plain())
    assert batch.change is not None
    assert torch.equal(batch.labels, plain().labels)
    values, lengths = change_features(features(2), LENGTHS, batch.change)
    assert torch.equal(values, features(2))
    assert torch.equal(lengths, LENGTHS)


def test_pieces_of_clips_are_refused() -> None:
    batch = drawn(plain(), mixup=1.0)
    assert batch.change is not None
    with pytest.raises(SERZooError, match=r"4 clips are read as 7 pieces.*Leave --model\.optim\.mixup"):
        change_features(torch.zeros(7, 3, 2), torch.ones(7), batch.change)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("mixup", -1.0),
        ("linear_delta", -0.5),
        ("time_masks", -1),
        ("time_width", 1.5),
        ("channel_width", -0.1),
        ("label_smoothing", 2.0),
        ("lr", -1.0),
        ("lr", float("nan")),
        ("encoder_lr", -1e-5),
        ("weight_decay", float("inf")),
        ("focal_gamma", -1.0),
        ("warmup", 5.0),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SERZooError, match=rf"--model\.optim\.{setting} {value:g} makes no sense"):
        Optim(**{setting: value})


def test_smoothing_that_leaves_nothing_to_learn_is_refused() -> None:
    with pytest.raises(SERZooError, match=r"label_smoothing 1 leaves nothing to learn"):
        Optim(label_smoothing=1.0)


# In training.

CHANGED = Optim(lr=1e-3, mixup=0.4, linear_delta=0.5, time_masks=2, channel_masks=1)


@pytest.mark.parametrize("name", list_models())
def test_every_model_trains_with_changed_features(name: str, tmp_path: Path) -> None:
    masks = 0 if name in ("egemaps", "mfcc_stats") else 2  # which read no frames
    model = small_model(name, tmp_path, optim=replace(CHANGED, time_masks=masks)).train()
    batch = drawn(batch_of(model, [0.6, 1.0, 0.8]), mixup=0.4, time=(masks, 0.2), channels=(1, 0.3))
    loss = model.loss(batch)
    assert loss.isfinite()
    assert not torch.equal(loss, model.loss(batch_of(model, [0.6, 1.0, 0.8])))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_network_is_given_the_changed_features(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path).eval()
    batch = batch_of(model, [0.6, 1.0, 0.8])
    before, after = (model.inputs(item) for item in (batch, drawn(batch, mixup=0.4, time=(1, 0.3))))
    change = drawn(batch, mixup=0.4, time=(1, 0.3)).change
    assert change is not None
    for found, original in ((after["encoded"], before["encoded"]), (after["frames"][0], before["frames"][0])):
        torch.testing.assert_close(tuple(found), change_features(*original, change))


@pytest.mark.parametrize("resting", [True, False])
def test_a_trained_encoders_output_is_changed_once(resting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("cross_attn", tmp_path, finetune_from=2, optim=Optim(change_below=True, time_masks=2)).eval()
    monkeypatch.setattr(type(model), "_resting", resting)
    batch = batch_of(model, [0.6, 1.0, 0.8])
    changed = drawn(batch, time=(2, 0.5))
    assert changed.change is not None
    expected = change_features(*model.encode(batch), changed.change)
    torch.testing.assert_close(tuple(model.inputs(changed)["encoded"]), expected)


def test_a_training_step_changes_what_optim_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optim = Optim(mixup=0.4, linear_delta=0.5, time_masks=2, time_width=0.2, channel_masks=1, channel_width=0.6)
    model = small_model("cnn_attn", tmp_path, optim=optim)
    batch, read = batch_of(model, [0.6, 1.0, 0.8, 0.7]), []
    monkeypatch.setattr(model, "loss", read.append)
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    torch.manual_seed(0)
    model.training_step(batch, 0)
    expected = drawn(batch, mixup=0.4, time=(2, 0.2), channels=(1, 0.6), delta=0.5)
    torch.testing.assert_close(read[0].change, expected.change)
    torch.testing.assert_close(read[0].labels, expected.labels)


def test_evaluation_changes_nothing(tmp_path: Path) -> None:
    model, unchanged = (small_model("cross_attn", tmp_path, optim=optim).eval() for optim in (CHANGED, Optim()))
    batch = batch_of(model, [0.6, 1.0, 0.8])
    with torch.no_grad():
        torch.testing.assert_close(model(batch), unchanged(batch))


def test_frozen_features_are_changed_without_running_the_encoder(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    model = small_model("cross_attn", tmp_path, finetune_from=None, optim=CHANGED)
    assert model.encoder is not None
    clips = []
    model.encoder.network.register_forward_hook(lambda module, inputs, output: clips.append(len(inputs[0])))
    L.Trainer(max_epochs=2, **QUIET).fit(model, datamodule=data)
    assert sum(clips) == len(data.utterances)


def trained(root: Path, folder: Path, epochs: int, start: Path | None = None, seed: int = 3) -> SERModule:
    data = SERDataModule(
        "emo_db", str(root), batch_size=16, sample_rate=22_050, seed=seed, augment=["noise", "speed"], balanced=True
    )
    model = small_model("cnn_attn", folder, optim=CHANGED)
    trainer = L.Trainer(max_epochs=epochs, callbacks=[StepSeed(seed)], **QUIET)
    trainer.fit(model, datamodule=data, ckpt_path=start, weights_only=True)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_resumed_training_ends_like_one_that_was_not_stopped(small_emo_db: Path, tmp_path: Path) -> None:
    whole = trained(small_emo_db, tmp_path, 2)
    assert same(whole, trained(small_emo_db, tmp_path, 2))
    assert not same(whole, trained(small_emo_db, tmp_path, 2, seed=4))
    half = trained(small_emo_db, tmp_path, 1)
    assert not same(whole, half)
    assert same(whole, trained(small_emo_db, tmp_path, 2, start=tmp_path / "1.ckpt"))


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"augment": ["noise"]}, r"--data\.augment"),
        ({"augment_rows": ["noise"]}, r"--data\.augment_rows"),
        ({"crop_seconds": 0.1, "augment": ["speed"]}, r"--data\.augment and --data\.crop_seconds"),
    ],
)
def test_waveforms_that_vary_are_refused_under_a_frozen_encoder(
    small_emo_db: Path, tmp_path: Path, arguments: dict[str, Any], named: str
) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), **arguments)
    frozen = small_model("cross_attn", tmp_path, finetune_from=None)
    with pytest.raises(SERZooError, match=rf"{named}: training waveforms would differ .* frozen.* fine-tune"):
        L.Trainer(max_epochs=1, **QUIET).fit(frozen, datamodule=data)


def test_there_is_no_stretch_of_a_mean_to_hide(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db))
    probe = small_model("probe", tmp_path, optim=Optim(time_masks=1))
    with pytest.raises(SERZooError, match=r"time_masks: probe reads the mean of a clip.*Leave it out"):
        L.Trainer(max_epochs=1, **QUIET).fit(probe, datamodule=data)


def test_functionals_of_a_clip_have_no_stretch_to_hide() -> None:
    with pytest.raises(SERZooError, match=r"time_masks: mfcc_stats reads functionals of the whole clip.*Leave it out"):
        create_model("mfcc_stats", ["a", "b"], optim=Optim(time_masks=1))


def test_stretches_can_be_hidden_below_trained_blocks_of_which_a_mean_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_emo_db(tmp_path / "emo_db", emotions="WTN", takes=2, seconds=0.5)
    data = SERDataModule("emo_db", str(root), batch_size=16)
    probe = small_model("probe", tmp_path, finetune_from=2, optim=Optim(time_masks=1, time_width=0.5, change_below=True))
    encoder = probe.encoder
    assert encoder is not None
    hidden: list[bool] = []

    def resume(kept: EncoderOutput) -> EncoderOutput | None:
        # A hidden stretch is the mean of its clip, and so one frame as the next.
        same = (kept.states[:, :, 1:] == kept.states[:, :, :-1]).all(3).all(1)
        hidden.append(bool((same & frame_mask(kept.lengths - 1, same.shape[1])).any()))
        return type(encoder).resume(encoder, kept)

    monkeypatch.setattr(encoder, "resume", resume)
    L.Trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1, num_sanity_val_steps=0, **QUIET).fit(
        probe, datamodule=data
    )
    assert hidden == [True, True, False]  # of two batches in training, and none in validation


def test_a_frozen_encoder_keeps_what_it_gives_of_copies(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), speeds=[0.9])
    frozen = small_model("cross_attn", tmp_path, finetune_from=None)
    L.Trainer(max_epochs=1, **QUIET).fit(frozen, datamodule=data)
    assert frozen._store is not None
    assert all(row.id in frozen._store for row in data.training_rows)
    assert len(data.training_rows) == 2 * len(data.split.train)


def test_waveforms_may_vary_under_a_trained_encoder_and_in_a_test(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), augment=["noise"], crop_seconds=0.1)
    trained = small_model("cross_attn", tmp_path, finetune_from=3)
    trainer = L.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1, **QUIET)
    trainer.fit(trained, datamodule=data)
    assert trainer.global_step == 1
    frozen = small_model("cross_attn", tmp_path, finetune_from=None)
    (scores,) = L.Trainer(limit_test_batches=1, **QUIET).test(frozen, datamodule=data, verbose=False)
    assert 0 <= scores["test/ua"] <= 1


class Bare(SERModule):
    """Reads nothing but waveforms."""

    name = "bare"

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 3)

        def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
            logits: Tensor = self.linear(waveforms.abs().mean(1, keepdim=True))
            return logits

    def __init__(self, optim: Optim) -> None:
        super().__init__(["a", "b", "c"], optim, 16_000)
        self.network = self.Network()


def test_a_model_without_features_has_none_to_change() -> None:
    model = Bare(Optim(mixup=0.2))
    with pytest.raises(SERZooError, match="bare has neither"):
        L.Trainer(max_epochs=1, **QUIET).fit(model, train_dataloaders=[batch_of(model, [0.2, 0.2])])


def test_classes_are_not_balanced_twice(small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), balanced=True)
    with pytest.raises(SERZooError, match="Take one of them"):
        L.Trainer(max_epochs=1, **QUIET).fit(Bare(Optim(class_weights="balanced")), datamodule=data)
