"""Rows that a protocol makes before it splits: constants with ids of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_zoo.data import SERDataModule
from ser_zoo.data.augment import raise_pitch
from ser_zoo.errors import SERZooError
from ser_zoo.evaluation import protocol_of

pytestmark = pytest.mark.filterwarnings("ignore:EMO-DB at")


def module(root: Path, **arguments: Any) -> SERDataModule:
    return SERDataModule("emo_db", str(root), protocol="as_cnn_attn", batch_size=16, **arguments)


@pytest.fixture(scope="module")
def data(small_emo_db: Path) -> SERDataModule:
    """Not to be changed."""
    return module(small_emo_db)


def test_every_utterance_has_four_rows_in_training_and_test_together(data: SERDataModule) -> None:
    split = data.split
    assert (len(split.train), len(split.test)) == (192, 48)  # 60 utterances
    assert split.validation == split.test
    key = data.utterances[0].id
    made = {row.id for side in split for row in side if row.id.split("+")[0] == key}
    assert made == {key, f"{key}+noise", f"{key}+pitch", f"{key}+pitch+noise"}


def test_rows_hold_what_their_ids_say(data: SERDataModule) -> None:
    key = data.utterances[0].id
    _ = data.split
    original, noise, pitch, both = (data.waveforms[key + row] for row in ("", "+noise", "+pitch", "+pitch+noise"))
    np.testing.assert_array_equal(pitch, raise_pitch(original))
    for changed, clean in ((noise, original), (both, pitch)):
        level = np.std(changed - clean) / np.abs(clean).max()
        assert 0 < level < 0.05  # at most 0.035, but for the chance of few samples


def test_rows_are_whole_and_the_same_in_every_epoch_of_training_and_in_evaluation(data: SERDataModule) -> None:
    loaders = {"train": data.train_dataloader(), "validation": data.val_dataloader(), "test": data.test_dataloader()}
    for side, loader in loaders.items():
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            ids = []
            for batch in loader:
                assert batch.whole
                ids += batch.ids
                for key, waveform, length in zip(batch.ids, batch.waveforms, batch.lengths, strict=True):
                    np.testing.assert_array_equal(waveform[:length].numpy(), data.waveforms[key])
            assert sorted(ids) == sorted(row.id for row in getattr(data.split, side))


def test_noise_is_drawn_once_for_each_row_and_follows_the_seed(small_emo_db: Path) -> None:
    def noises(seed: int) -> list[bytes]:
        data = module(small_emo_db, seed=seed)
        noisy = sorted(row.id for side in data.split for row in side if row.id.endswith("+noise"))
        return [
            (data.waveforms[key] - data.waveforms[key.removesuffix("+noise")])[:500].tobytes() for key in dict.fromkeys(noisy)
        ]

    one, other = noises(1), noises(2)
    assert noises(1) == one
    assert not set(one) & set(other)
    assert len(set(one)) == 120


def test_no_two_rows_have_the_same_noise(data: SERDataModule) -> None:
    keys = [row.id for row in data.split.train if row.id.endswith("+noise")][:20]
    noises = [(data.waveforms[key] - data.waveforms[key.removesuffix("+noise")])[:500] for key in keys]
    alike = np.abs(np.corrcoef(noises) - np.eye(len(keys)))
    assert alike.max() < 0.3


def test_the_share_of_leaking_test_rows_is_in_the_protocol_of_the_row(data: SERDataModule) -> None:
    protocol = protocol_of(data)
    trained = {row.path for row in data.split.train}
    expected = sum(row.path in trained for row in data.split.test) / 48
    assert protocol["test_rows_with_utterance_in_training"] == expected > 0.9
    assert protocol["declared_leaks"] == ["speaker", "recording", "validation is test"]
    honest = SERDataModule("emo_db", data.hparams["root"])
    assert protocol_of(honest)["test_rows_with_utterance_in_training"] == 0


def test_an_honest_protocol_makes_no_rows(small_emo_db: Path) -> None:
    honest = SERDataModule("emo_db", str(small_emo_db), augment_rows=["noise"])
    list(honest.train_dataloader())
    assert honest.waveforms.keys() == {utterance.id for utterance in honest.utterances}


def test_augmenting_what_is_augmented_already_is_refused(small_emo_db: Path) -> None:
    with pytest.raises(
        SERZooError, match=r"as_cnn_attn makes itself, .*\(noise, pitch, pitch\+noise\).* --data\.augment_rows '\[\]'"
    ):
        module(small_emo_db, augment_rows=["noise"])
