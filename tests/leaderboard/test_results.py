from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ser_zoo.errors import RunError
from ser_zoo.leaderboard.results import read_entries, same_but_seed
from tests.leaderboard.rows import LABELS, write_row


def test_folds_are_put_together_wherever_they_stand(tmp_path: Path) -> None:
    write_row(tmp_path / "x" / "fold-2", fold=2, utterances=8)
    write_row(tmp_path / "y" / "z" / "fold-1", fold=1, utterances=12)
    (entry,) = read_entries(tmp_path)
    assert (entry.model, entry.corpus, entry.encoder, entry.seed, entry.world) == (
        "probe",
        "emo_db",
        "whisper-base",
        1,
        "honest",
    )
    assert entry.folds == [1, 2]
    assert entry.labels == list(LABELS)
    assert not entry.synthetic
    assert entry.predicted.ids == [f"fold1-{n:03}" for n in range(12)] + [f"fold2-{n:03}" for n in range(8)]
    assert entry.predicted.probabilities.shape == (20, 4)
    assert entry.fold_of.tolist() == [1] * 12 + [2] * 8
    assert np.mean(entry.predicted.probabilities.argmax(1) == entry.predicted.labels) == pytest.approx(0.7, abs=0.1)


def test_an_entry_is_complete_with_all_folds_of_the_protocol_it_names(tmp_path: Path) -> None:
    for fold in range(1, 10):
        write_row(tmp_path / f"fold-{fold}", fold)
    (entry,) = read_entries(tmp_path)
    assert entry.folds_expected == 10
    assert not entry.complete
    write_row(tmp_path / "fold-10", 10)
    assert read_entries(tmp_path)[0].complete


@pytest.mark.parametrize("change", [{"hash": "0" * 12}, {"name": "older"}])
def test_a_protocol_that_is_not_this_one_is_never_complete(tmp_path: Path, change: dict[str, str]) -> None:
    protocol = write_row(tmp_path / "known")["protocol"]
    write_row(tmp_path / "other" / "1", protocol=protocol | change)
    (other,) = read_entries(tmp_path / "other")
    assert other.folds_expected is None
    assert not other.complete


def test_settings_encoders_and_seeds_are_apart_and_seeds_can_be_put_together(tmp_path: Path) -> None:
    write_row(tmp_path / "1")
    write_row(tmp_path / "2", seed=2)
    write_row(tmp_path / "3", config={"model": {"lr": 0.1}})
    write_row(tmp_path / "4", encoder={"name": "whisper-tiny", "weights": "1" * 64})
    entries = read_entries(tmp_path)
    assert len(entries) == 4
    assert sorted(len(group) for group in same_but_seed(entries)) == [1, 1, 2]
    (pair,) = (group for group in same_but_seed(entries) if len(group) == 2)
    assert [entry.seed for entry in pair] == [1, 2]
    assert len({entry.settings for entry in pair}) == 1


def test_a_fold_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_row(tmp_path / "1")
    write_row(tmp_path / "2")
    with pytest.raises(RunError, match=r"2/result\.json and .*1/result\.json are both fold 1 of probe on emo_db"):
        read_entries(tmp_path)


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"No result\.json below"):
        read_entries(tmp_path)


def test_predictions_that_are_not_those_of_the_row_are_refused(tmp_path: Path) -> None:
    row = write_row(tmp_path / "1")
    row["metrics"]["confusion"][0][0] += 1
    (tmp_path / "1" / "result.json").write_text(json.dumps(row))
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match="another confusion matrix than its row"):
        _ = entry.predicted
