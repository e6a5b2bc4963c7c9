from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from ser_zoo.corpora import CORPORA, Utterance
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.data import Batch, SERDataModule, read_audio, recordings
from ser_zoo.data.augment import add_noise, raise_pitch, set_speed, variants
from ser_zoo.data.datamodule import UtteranceDataset, collate, soft_targets
from ser_zoo.errors import AudioError, CorpusError, LeakError, ProtocolError, SERZooError, SERZooWarning, UnknownNameError
from tests.releases import write_emo_db

pytestmark = pytest.mark.filterwarnings("ignore:EMO-DB at")


def module(root: Path, **arguments: Any) -> SERDataModule:
    return SERDataModule("emo_db", str(root), batch_size=8, **arguments)


@pytest.fixture(scope="session")
def data(small_emo_db: Path) -> SERDataModule:
    """Fold 1 without crops and augmentation. Not to be changed."""
    return module(small_emo_db)


@pytest.fixture
def own(tmp_path: Path, small_emo_db: Path) -> Path:
    """A release that a test may change."""
    return Path(shutil.copytree(small_emo_db, tmp_path / "emo_db"))


def batches(loader: DataLoader[Batch], epoch: int = 0) -> list[Batch]:
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return list(loader)


def rows(given: Iterable[Batch]) -> dict[str, list[np.ndarray[Any, np.dtype[np.float32]]]]:
    """Utterance id -> its waveforms, one per variant."""
    found: dict[str, list[Any]] = {}
    for batch in given:
        for key, waveform, length in zip(batch.ids, batch.waveforms, batch.lengths, strict=True):
            found.setdefault(key, []).append(waveform[:length].numpy())
    return found


def same(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> bool:
    return one.keys() == other.keys() and all(
        len(one[key]) == len(other[key]) and all(map(np.array_equal, one[key], other[key])) for key in one
    )


# The batch.


def test_a_batch_has_the_shapes_and_types_it_says(data: SERDataModule) -> None:
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        for batch in loader:
            size, longest = len(batch.ids), int(batch.lengths.max())
            assert (batch.waveforms.dtype, batch.waveforms.shape) == (torch.float32, (size, longest))
            assert (batch.lengths.dtype, batch.lengths.shape) == (torch.int64, (size,))
            assert (batch.labels.dtype, batch.labels.shape) == (torch.int64, (size,))
            assert batch.whole


def test_the_test_has_waveforms_where_training_and_validation_do_without(small_emo_db: Path) -> None:
    data = module(small_emo_db)
    data.silent = True
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.predict_dataloader())
    assert [bool(next(iter(loader)).waveforms.isnan().all()) for loader in loaders] == [True, True, False, False]


def test_padding_is_zero_and_behind_the_waveform(data: SERDataModule) -> None:
    for batch in data.train_dataloader():
        for key, waveform, length in zip(batch.ids, batch.waveforms, batch.lengths, strict=True):
            np.testing.assert_array_equal(waveform[:length].numpy(), data.waveforms[key])
            assert not waveform[length:].any()


def test_labels_index_the_names(data: SERDataModule) -> None:
    label = {utterance.id: utterance.label for utterance in data.utterances}
    for batch in data.test_dataloader():
        assert [data.labels[number] for number in batch.labels] == [label[key] for key in batch.ids]


def test_loaders_give_the_utterances_of_their_side(data: SERDataModule) -> None:
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    for side, loader in zip(data.split, loaders, strict=True):
        assert Counter(key for batch in loader for key in batch.ids) == Counter(row.id for row in side)
    assert [row.speaker for row in data.split.test] == ["03"] * 6
    assert rows(data.predict_dataloader()).keys() == rows(data.test_dataloader()).keys()


def test_without_labels_they_are_minus_one() -> None:
    batch = collate([np.ones(3, np.float32), np.ones(1, np.float32)], ["a", "b"])
    assert batch.labels.tolist() == [-1, -1]
    assert batch.waveforms.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.lengths.tolist() == [3, 1]


# Labels and counts.


def test_classes_without_utterances_are_left_out(data: SERDataModule) -> None:
    assert data.labels == ["anger", "neutral", "sadness"]


def test_labels_of_a_complete_release_keep_the_corpus_order(emo_db: Path) -> None:
    assert module(emo_db).labels == ["anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness"]


def test_a_class_that_training_lacks_keeps_its_place(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, emotions="WN", takes=1)
    write_emo_db(root, speakers=["03"], emotions="T", takes=1)
    data = module(root)
    assert data.labels == ["anger", "neutral", "sadness"]
    assert data.class_counts() == [8, 8, 0]


def test_class_counts_are_those_of_the_training_side(data: SERDataModule) -> None:
    assert data.class_counts() == [16, 16, 16]


def test_class_counts_are_in_the_order_of_the_labels(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, emotions="W", takes=2)
    write_emo_db(root, emotions="TN", takes=1)
    data = module(root)
    data.number_as(["sadness", "anger", "neutral"])
    assert data.class_counts() == [8, 16, 8]


def test_labels_need_no_decoding(small_emo_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(recordings, "read_audio")
    assert len(module(small_emo_db).labels) == 3


# Training order.


def test_training_is_shuffled_by_the_seed_and_the_epoch(small_emo_db: Path) -> None:
    def order(seed: int, epoch: int) -> list[list[str]]:
        return [batch.ids for batch in batches(module(small_emo_db, seed=seed).train_dataloader(), epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_the_seed_is_that_of_seed_everything(small_emo_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module(small_emo_db).seed == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert module(small_emo_db).seed == 17
    assert module(small_emo_db, seed=3).seed == 3


# Crops.


def test_training_takes_crops_and_evaluation_takes_all(small_emo_db: Path, data: SERDataModule) -> None:
    cropped = module(small_emo_db, crop_seconds=0.05)
    for batch in cropped.train_dataloader():
        assert batch.waveforms.shape[1] == 800
        assert batch.lengths.tolist() == [800] * len(batch.ids)
        assert not batch.whole
    assert same(rows(cropped.val_dataloader()), rows(data.val_dataloader()))
    assert same(rows(cropped.test_dataloader()), rows(data.test_dataloader()))
    assert all(batch.whole for batch in cropped.test_dataloader())


def test_a_crop_is_a_stretch_of_its_utterance(small_emo_db: Path) -> None:
    cropped = module(small_emo_db, crop_seconds=0.05)
    starts = set()
    for key, (crop,) in rows(cropped.train_dataloader()).items():
        stretches = np.lib.stride_tricks.sliding_window_view(cropped.waveforms[key], 800)
        (found,) = np.flatnonzero((stretches == crop).all(1))
        starts.add(int(found))
    assert len(starts) > 10


def test_a_crop_may_begin_anywhere_and_end_with_the_utterance(data: SERDataModule) -> None:
    row = data.split.train[0]
    cropped = UtteranceDataset([row], data.labels, {row.id: np.arange(5, dtype=np.float32)}, crop=3)
    assert {int(cropped[epoch, [0]].waveforms[0, 0]) for epoch in range(50)} == {0, 1, 2}


def test_crops_change_with_the_epoch_and_follow_the_seed(small_emo_db: Path) -> None:
    one, other = (module(small_emo_db, crop_seconds=0.05).train_dataloader() for _ in range(2))
    assert same(rows(batches(one, 1)), rows(batches(other, 1)))
    assert not same(rows(batches(one, 1)), rows(batches(one, 2)))


def test_an_utterance_shorter_than_the_crop_is_taken_whole(small_emo_db: Path, data: SERDataModule) -> None:
    cropped = module(small_emo_db, crop_seconds=9.0)
    assert same(rows(cropped.train_dataloader()), rows(data.train_dataloader()))


# Rows of Lee & Nadeem.


def test_training_has_every_utterance_once_per_variant(small_emo_db: Path) -> None:
    augmented = module(small_emo_db, augment_rows=["noise", "pitch"])
    found = rows(augmented.train_dataloader())
    assert found.keys() == {row.id for row in augmented.split.train}
    for key, given in found.items():
        assert len(given) == 4
        assert sum(np.array_equal(waveform, augmented.waveforms[key]) for waveform in given) == 1
        assert {len(waveform) for waveform in given} == {len(augmented.waveforms[key])}
    assert not any(batch.whole for batch in augmented.train_dataloader())


def test_evaluation_is_never_augmented(small_emo_db: Path, data: SERDataModule) -> None:
    augmented = module(small_emo_db, augment_rows=["noise", "pitch"])
    assert same(rows(augmented.val_dataloader()), rows(data.val_dataloader()))
    assert same(rows(augmented.test_dataloader()), rows(data.test_dataloader()))
    assert all(batch.whole for batch in (*augmented.val_dataloader(), *augmented.test_dataloader()))


def test_noise_changes_with_the_epoch_and_follows_the_seed(small_emo_db: Path) -> None:
    def noisy(seed: int, epoch: int) -> dict[str, list[Any]]:
        found = rows(batches(module(small_emo_db, augment_rows=["noise"], seed=seed).train_dataloader(), epoch))
        return {key: sorted(given, key=lambda waveform: waveform.tobytes()) for key, given in found.items()}

    assert same(noisy(1, 1), noisy(1, 1))
    assert not same(noisy(1, 1), noisy(1, 2))
    assert not same(noisy(1, 1), noisy(2, 1))


def test_augmentation_leaves_the_kept_waveforms_as_they_are(small_emo_db: Path, data: SERDataModule) -> None:
    augmented = module(small_emo_db, augment_rows=["noise", "pitch"])
    list(augmented.train_dataloader())
    assert all(np.array_equal(augmented.waveforms[key], data.waveforms[key]) for key in data.waveforms)


def test_a_row_is_fixed_by_seed_epoch_and_number(data: SERDataModule) -> None:
    utterance, waveforms = data.split.train[:1], data.waveforms
    (key,) = (row.id for row in utterance)
    pitched = {key: raise_pitch(waveforms[key])}
    dataset = UtteranceDataset(
        utterance, data.labels, waveforms, variants=variants(["noise", "pitch"]), pitched=pitched, seed=9
    )
    found = [
        waveform[:length].numpy()
        for batch in [dataset[4, [0, 1, 2, 3]]]
        for waveform, length in zip(batch.waveforms, batch.lengths, strict=True)
    ]
    expected = [
        waveforms[key],
        add_noise(waveforms[key], np.random.default_rng((9, 4, 1))),
        pitched[key],
        add_noise(pitched[key], np.random.default_rng((9, 4, 3))),
    ]
    assert all(map(np.array_equal, found, expected))


def test_statistics_see_every_training_row_once_in_the_same_order(small_emo_db: Path) -> None:
    augmented = module(small_emo_db, augment_rows=["noise"])
    one, other = (list(augmented.statistics_dataloader()) for _ in range(2))
    assert [batch.ids for batch in one] == [batch.ids for batch in other]
    assert Counter(key for batch in one for key in batch.ids) == {row.id: 2 for row in augmented.split.train}


def test_statistics_see_every_training_row_in_each_of_several_processes(
    data: SERDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"is_initialized": True, "get_world_size": 2, "get_rank": 1}.items():
        monkeypatch.setattr(f"torch.distributed.{name}", lambda value=value: value)
    assert {key for batch in data.statistics_dataloader() for key in batch.ids} == {row.id for row in data.split.train}
    assert sum(len(batch.ids) for batch in data.test_dataloader()) < len(data.split.test)


# Copies at other speeds.


def test_copies_at_other_speeds_are_rows_of_their_own_that_never_change(small_emo_db: Path) -> None:
    data = module(small_emo_db, speeds=[1.1, 0.9])
    data.setup("fit")
    one, other = (rows(batches(data.train_dataloader(), epoch)) for epoch in (1, 2))
    trained = {row.id for row in data.split.train}
    assert one.keys() == {f"{key}{ending}" for key in trained for ending in ("", "+speed0.9", "+speed1.1")}
    assert same(one, other)
    for key in trained:
        plain = data.waveforms[key]
        assert np.array_equal(one[key][0], plain)
        for speed in (0.9, 1.1):
            (copy,) = one[f"{key}+speed{speed}"]
            assert len(copy) == pytest.approx(len(plain) / speed, abs=1)
            assert np.linalg.norm(copy) == pytest.approx(np.linalg.norm(plain) / speed**0.5, rel=0.1)
    assert all(batch.whole for batch in data.train_dataloader())
    assert data.varying == []


def test_a_copy_is_higher_by_its_speed() -> None:
    time = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    faster = set_speed(tone, 1.25)
    assert len(faster) == 12_800
    assert np.abs(np.fft.rfft(faster)).argmax() * 16_000 / len(faster) == pytest.approx(550, abs=2)


def test_only_training_has_copies_and_folds_share_them(small_emo_db: Path, data: SERDataModule) -> None:
    copied = module(small_emo_db, speeds=[0.9])
    assert same(rows(copied.val_dataloader()), rows(data.val_dataloader()))
    assert same(rows(copied.test_dataloader()), rows(data.test_dataloader()))
    copied.setup("test")
    assert copied.waveforms.keys() == data.waveforms.keys()
    copied.setup("fit")
    assert copied.class_counts() == data.class_counts()
    assert copied.split == data.split
    other = copied.for_fold(2)
    assert other.waveforms is copied.waveforms
    assert {row.id for row in other.training_rows} == {
        key for row in other.split.train for key in (row.id, f"{row.id}+speed0.9")
    }


def test_copies_keep_the_bounds_of_length_and_take_labels_along(small_emo_db: Path) -> None:
    data = module(small_emo_db, speeds=[0.5], max_seconds=0.05)
    copies = data.training_rows[len(data.split.train) :]
    assert {len(data.waveforms[row.id]) for row in copies} == {800}
    assert [(row.label, row.speaker) for row in copies] == [(row.label, row.speaker) for row in data.split.train]


# Augmentation anew in each epoch.

EVERY = ["noise", "speed", "pitch", "vtlp", "reverb"]


@pytest.mark.parametrize("name", EVERY)
def test_training_is_augmented_and_evaluation_is_not(small_emo_db: Path, data: SERDataModule, name: str) -> None:
    augmented = module(small_emo_db, augment=[name])
    given = batches(augmented.train_dataloader())
    assert not any(batch.whole for batch in given)
    found, known = rows(given), rows(data.train_dataloader())
    assert found.keys() == known.keys()
    assert {len(waveforms) for waveforms in found.values()} == {1}
    changed = sum(not np.array_equal(found[key][0], known[key][0]) for key in known) / len(known)
    assert 0.25 < changed < 0.75  # with a probability of a half, of 48 utterances
    for loader, original in (
        (augmented.val_dataloader(), data.val_dataloader()),
        (augmented.test_dataloader(), data.test_dataloader()),
    ):
        assert same(rows(loader), rows(original))
        assert all(batch.whole for batch in loader)


def test_probability_one_changes_every_row(small_emo_db: Path, data: SERDataModule) -> None:
    found = rows(module(small_emo_db, augment=["noise"], augment_probability=1.0).train_dataloader())
    assert not any(np.array_equal(found[key][0], data.waveforms[key]) for key in found)


def test_augmentation_is_fixed_by_seed_and_epoch_and_by_nothing_else(small_emo_db: Path) -> None:
    def found(seed: int, epoch: int, **more: Any) -> dict[str, list[Any]]:
        return rows(batches(module(small_emo_db, augment=EVERY, seed=seed, **more).train_dataloader(), epoch))

    assert same(found(1, 2), found(1, 2))
    assert same(found(1, 2), found(1, 2, num_workers=1, cache="disk"))
    assert not same(found(1, 2), found(1, 3))
    assert not same(found(1, 2), found(2, 2))


def test_batches_of_changed_speed_have_the_lengths_they_say(small_emo_db: Path, data: SERDataModule) -> None:
    ratios = set()
    for batch in module(small_emo_db, augment=["speed"], augment_probability=1.0).train_dataloader():
        assert batch.waveforms.shape[1] == batch.lengths.max()
        for key, waveform, length in zip(batch.ids, batch.waveforms, batch.lengths, strict=True):
            assert not waveform[length:].any()
            assert waveform[length - 20 : length].any()
            ratios.add(round(20 * len(data.waveforms[key]) / int(length)))
    assert ratios == {18, 19, 21, 22}


def test_a_crop_of_a_changed_speed_has_its_length(small_emo_db: Path) -> None:
    for batch in module(small_emo_db, augment=["speed"], augment_probability=1.0, crop_seconds=0.05).train_dataloader():
        assert batch.lengths.tolist() == [800] * len(batch.ids)


def test_what_makes_rows_differ_from_the_utterances_is_named(small_emo_db: Path, data: SERDataModule) -> None:
    assert data.varying == []
    assert module(small_emo_db, augment_rows=["noise"], crop_seconds=1.0).varying == ["augment_rows", "crop_seconds"]
    assert module(small_emo_db, augment=["vtlp"]).varying == ["augment"]


# Balanced sampling.


def test_balanced_training_has_each_class_equally_often(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, emotions="W", takes=3)
    write_emo_db(root, emotions="TN", takes=1)
    data = module(root, balanced=True)
    assert data.class_counts() == [24, 8, 8]
    for epoch in range(3):
        labels = [int(label) for batch in batches(data.train_dataloader(), epoch) for label in batch.labels]
        assert sorted(Counter(labels).values()) == [13, 13, 14]
    for loader in (data.val_dataloader(), data.test_dataloader(), data.statistics_dataloader()):
        assert len({key for batch in loader for key in batch.ids}) == sum(len(batch.ids) for batch in loader)


def test_repetitions_of_a_row_are_augmented_in_other_ways(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, emotions="W", takes=4)
    write_emo_db(root, emotions="T", takes=1)
    found = rows(module(root, balanced=True, augment=["noise"], augment_probability=1.0).train_dataloader())
    repeated = [given for given in found.values() if len(given) > 1]
    assert repeated
    assert not any(np.array_equal(given[0], given[1]) for given in repeated)


# Soft labels.


class VotedEmoDB(EmoDB):
    """An EMO-DB to which annotators have listened; nobody has heard neutral speech as such."""

    def utterances(self) -> list[Utterance]:
        votes = {
            "anger": {"anger": 3, "sadness": 1, "contempt": 5},
            "sadness": {"sadness": 0.5, "neutral": 0.5},
            "neutral": {"anger": 1},
        }
        return [replace(row, soft=votes[row.label]) for row in super().utterances()]


@pytest.fixture
def voted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CORPORA, "emo_db", f"{__name__}:VotedEmoDB")


@pytest.mark.usefixtures("voted")
def test_soft_labels_are_the_targets_of_training_alone(small_emo_db: Path) -> None:
    data = module(small_emo_db, soft_labels=True, augment_rows=["noise"])
    data.setup()
    assert data.labels == ["anger", "neutral", "sadness"]
    expected = {"anger": [0.75, 0.0, 0.25], "neutral": [1.0, 0.0, 0.0], "sadness": [0.0, 0.5, 0.5]}
    label = {row.id: row.label for row in data.utterances}
    for batch in data.train_dataloader():
        assert batch.labels.dtype == torch.float32
        assert batch.labels.tolist() == [expected[label[key]] for key in batch.ids]
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert all(batch.labels.dtype == torch.int64 for batch in loader)


@pytest.mark.usefixtures("voted")
def test_copies_at_other_speeds_have_the_soft_labels_of_their_utterances(small_emo_db: Path) -> None:
    data = module(small_emo_db, soft_labels=True, speeds=[0.9])
    targets: dict[str, list[float]] = {}
    for batch in data.train_dataloader():
        targets |= dict(zip(batch.ids, batch.labels.tolist(), strict=True))
    assert len(targets) == 2 * len(data.split.train)
    assert all(targets[f"{row.id}+speed0.9"] == targets[row.id] for row in data.split.train)


@pytest.mark.parametrize("soft", [{"anger": 3.0, "sadness": -1.0}, {"anger": 0.0}, {"contempt": 1.0}])
def test_soft_labels_that_are_no_shares_are_refused(data: SERDataModule, soft: dict[str, float]) -> None:
    odd = replace(data.split.train[0], soft=soft)
    with pytest.raises(SERZooError, match=rf"1 of 1 training utterances have no distribution .*: {odd.id}\."):
        soft_targets([odd], data.labels)


@pytest.mark.usefixtures("voted")
def test_without_asking_the_one_label_is_the_target(small_emo_db: Path) -> None:
    assert all(batch.labels.dtype == torch.int64 for batch in module(small_emo_db).train_dataloader())


@pytest.mark.usefixtures("voted")
def test_rows_with_soft_labels_can_be_hashed(small_emo_db: Path) -> None:
    assert len(set(module(small_emo_db).utterances)) == 60


def test_soft_labels_that_a_corpus_does_not_have_are_refused(small_emo_db: Path) -> None:
    data = module(small_emo_db, soft_labels=True)
    with pytest.raises(SERZooError, match=r"48 of 48 training utterances have no distribution .*leave --data\.soft_labels out"):
        data.setup("fit")
    data.setup("test")


# Recordings that cannot be decoded.


def test_a_bad_recording_stops_the_setup(own: Path) -> None:
    (own / "wav" / "03a01Wa.wav").write_text("damaged")
    with pytest.raises(AudioError, match=r"03a01Wa\.wav.* --data\.on_bad_audio skip"):
        module(own).setup()


def test_a_bad_recording_can_be_skipped_and_is_listed(own: Path) -> None:
    (own / "wav" / "03a01Wa.wav").write_text("damaged")
    data = module(own, on_bad_audio="skip")
    with pytest.warns(SERZooWarning, match=r"1 of 60 recordings cannot be used and are left out.*03a01Wa"):
        data.setup()
    assert list(data.waveforms.bad) == ["03a01Wa"]
    assert "03a01Wa" not in {row.id for side in data.split for row in side}
    assert sum(map(len, data.split)) == 59
    assert "03a01Wa" not in rows(data.test_dataloader())


def test_a_side_all_of_whose_recordings_are_bad_is_refused(own: Path) -> None:
    for path in (own / "wav").glob("03*"):
        path.write_text("damaged")
    with pytest.raises(ProtocolError, match="has no test utterances"):
        module(own, on_bad_audio="skip").setup()


# Leaks.


def test_the_same_audio_of_two_speakers_is_a_leak(own: Path) -> None:
    shutil.copy(own / "wav" / "03a01Wa.wav", own / "wav" / "08a02Wa.wav")
    with pytest.raises(LeakError, match=r"same audio is in validation and in test: \w{16} \(08a02Wa, 03a01Wa\)"):
        module(own).setup()


def test_the_same_audio_under_another_coding_is_a_leak(own: Path) -> None:
    waveform, rate = read_audio(own / "wav" / "03a01Wa.wav")
    soundfile.write(own / "wav" / "10a02Wa.flac", np.stack([waveform, waveform], axis=1), rate, subtype="PCM_24")
    (own / "wav" / "10a02Wa.wav").unlink()
    with pytest.raises(LeakError, match=r"same audio is in train and in test: \w{16} \(10a02Wa, 03a01Wa\)"):
        module(own).setup()


def test_the_same_audio_twice_by_one_speaker_is_no_leak(own: Path) -> None:
    shutil.copy(own / "wav" / "03a01Wa.wav", own / "wav" / "03a02Wa.wav")
    data = module(own)
    data.setup()
    assert {"03a01Wa", "03a02Wa"} <= {utterance.id for utterance in data.split.test}


# What is refused.


def test_a_class_that_nobody_teaches_is_warned_of(tmp_path: Path) -> None:
    write_emo_db(tmp_path, ["03", "08", "09"], "WN", 1)
    write_emo_db(tmp_path, ["03"], "F", 1)
    with pytest.warns(UserWarning, match=r"Fold 1 of protocol loso10: class never trained \(happiness\)"):
        assert len(module(tmp_path).certificate) == 12


@pytest.mark.parametrize("fold", [0, 11])
def test_a_fold_that_does_not_exist_is_refused_at_once(small_emo_db: Path, fold: int) -> None:
    with pytest.raises(ProtocolError, match=f"loso10 of emo_db has folds 1 to 10; fold {fold} was asked for"):
        module(small_emo_db, fold=fold)


@pytest.mark.parametrize("name", ["cache", "on_bad_audio"])
def test_a_choice_that_there_is_not_is_refused_at_once(small_emo_db: Path, name: str) -> None:
    with pytest.raises(SERZooError, match=rf"--data\.{name} 'neither' is unknown\. Expected one of "):
        SERDataModule("emo_db", str(small_emo_db), **{name: "neither"})


@pytest.mark.parametrize("name", ["batch_size", "sample_rate", "max_seconds", "crop_seconds", "cache_gib"])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_sizes_that_make_no_sense_are_refused_at_once(small_emo_db: Path, name: str, value: float) -> None:
    with pytest.raises(SERZooError, match=rf"--data\.{name} {value} makes no sense; expected more than 0"):
        SERDataModule("emo_db", str(small_emo_db), **{name: value})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"augment": ["noize"]}, r"Unknown --data\.augment 'noize'. Did you mean noise"),
        ({"speeds": [0.9, 1.0]}, r"--data\.speeds 1 makes no sense; expected factors from 0\.5 to 2 other than 1"),
        ({"min_seconds": -1.0}, r"--data\.min_seconds -1 makes no sense; expected 0 or more"),
        ({"num_workers": -1}, r"--data\.num_workers -1 makes no sense"),
        ({"min_seconds": math.nan}, r"--data\.min_seconds nan makes no sense; expected 0 or more, and a finite number"),
        ({"max_seconds": math.inf}, r"--data\.max_seconds inf makes no sense; expected more than 0, and a finite number"),
        ({"crop_seconds": 1e-5}, r"--data\.crop_seconds 1e-05 makes no sense; at 16000 Hz that is less than a sample"),
        (
            {"speeds": [1.001]},
            r"--data\.speeds 1\.001 makes no sense; expected .* other than 1 \(to half a hundredth\)",
        ),
        ({"speeds": [0.9, 0.9001]}, r"--data\.speeds \[0\.9, 0\.9001\] has speeds that are one"),
        ({"speeds": [3.0]}, r"--data\.speeds 3 makes no sense"),
        ({"augment_rows": ["speed"]}, r"Unknown --data\.augment_rows 'speed'"),
        ({"augment_probability": 0.0}, r"--data\.augment_probability 0 makes no sense"),
        ({"augment_probability": 1.5}, r"--data\.augment_probability 1.5 makes no sense"),
        ({"snr_db": (10.0, 5.0)}, r"--data\.snr_db \[10.0, 5.0\] makes no sense"),
        ({"snr_db": (0.0, math.inf), "augment": ["noise"]}, r"--data\.snr_db \[0.0, inf\] makes no sense"),
        (
            {"snr_db": (1.0, 2.0), "augment": ["speed"]},
            r"--data\.snr_db has nothing to act on, as --data\.augment \['speed",
        ),
        ({"augment_probability": 0.9}, r"--data\.augment_probability has nothing to act on"),
        ({"augment": ["noise", "noise"]}, r"--data\.augment \['noise', 'noise'\] names one of them twice"),
        ({"min_seconds": 5.0, "max_seconds": 2.0}, r"--data\.min_seconds 5 is more than --data\.max_seconds 2"),
    ],
)
def test_augmentations_that_make_no_sense_are_refused_at_once(
    small_emo_db: Path, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SERZooError, match=expected):
        module(small_emo_db, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"snr_db": (10.0, 10.0), "augment": ["noise"]},
        {"augment_probability": 1.0, "augment": ["noise"]},
        {"min_seconds": 2.0, "max_seconds": 2.0},
        {"speeds": [0.5, 2.0]},
        {"cache_gib": math.inf},
        {"crop_seconds": 1 / 16_000},
    ],
)
def test_the_outermost_arguments_that_make_sense_are_taken(small_emo_db: Path, arguments: dict[str, Any]) -> None:
    assert arguments.items() <= module(small_emo_db, **arguments).hparams.items()


def test_unknown_names_are_refused_at_once(small_emo_db: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean emo_db"):
        SERDataModule("emodb")
    with pytest.raises(UnknownNameError, match="Did you mean pairs5"):
        module(small_emo_db, protocol="pairs")


def test_a_missing_release_is_refused_at_setup(tmp_path: Path) -> None:
    data = module(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="EMO-DB not found"):
        data.setup()


def test_a_fold_whose_speakers_are_missing_is_refused(tmp_path: Path) -> None:
    root = write_emo_db(tmp_path, speakers=["03", "08", "09"], emotions="WN", takes=1)
    module(root, fold=1).setup()
    with pytest.raises(ProtocolError, match="Fold 3 of protocol loso10 has no validation utterances: speaker 10"):
        module(root, fold=3).setup()


# Folds and processes.


def test_another_fold_shares_what_is_decoded(small_emo_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(small_emo_db, augment_rows=["pitch"], crop_seconds=0.05, seed=4)
    list(data.train_dataloader())
    monkeypatch.delattr(recordings, "read_audio")
    other = data.for_fold(3)
    other.setup()
    assert other.waveforms is data.waveforms
    assert other.hparams == {**data.hparams, "fold": 3}
    assert {row.speaker for row in other.split.test} == {"09"}
    assert {row.speaker for row in data.split.test} == {"03"}


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_worker_gives_the_same_batches(small_emo_db: Path, cache: str) -> None:
    alone = module(small_emo_db, augment_rows=["noise"], cache=cache)
    helped = module(small_emo_db, augment_rows=["noise"], cache=cache, num_workers=1)
    assert same(rows(batches(helped.train_dataloader(), 1)), rows(batches(alone.train_dataloader(), 1)))


# What a checkpoint keeps.


def test_the_identity_is_plain_json_without_a_path(data: SERDataModule) -> None:
    identity = data.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity == {
        "corpus": "emo_db",
        "protocol": "loso10",
        "protocol_version": data.protocol.version,
        "protocol_hash": data.protocol.hash,
        "world": "honest",
        "fold": 1,
        "labels": ["anger", "neutral", "sadness"],
        "refit": False,
    }


def test_the_identity_has_the_version_of_the_rule(small_emo_db: Path) -> None:
    data = module(small_emo_db)
    before = data.identity()
    data.protocol = replace(data.protocol, version=7)
    after = data.identity()
    assert {key for key in before if before[key] != after[key]} == {"protocol_version", "protocol_hash"}
    assert after["protocol_version"] == 7


def test_preparation_follows_the_arguments(small_emo_db: Path) -> None:
    data = module(small_emo_db, sample_rate=8_000, min_seconds=0.11, max_seconds=0.12)
    assert {len(waveform) for waveform in data.waveforms.values()} <= set(range(880, 961))
    assert max(len(waveform) for waveform in module(small_emo_db, max_seconds=0.12).waveforms.values()) == 1920
