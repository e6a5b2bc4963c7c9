"""Rows below a folder, put together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ser_zoo.errors import RunError
from ser_zoo.leaderboard.results import read_entries, same_but_seed
from tests.leaderboard.rows import LABELS, PER_SPEAKER, write_entry


def test_folds_are_put_together_wherever_they_stand(tmp_path: Path) -> None:
    (first, second) = write_entry(tmp_path, folds=[1, 2], encoder={"name": "whisper-base", "weights": "0" * 64})
    shutil.move(second.parent, tmp_path / "x" / "y")
    (entry,) = read_entries(tmp_path)
    assert (entry.model, entry.corpus, entry.encoder, entry.seed) == ("probe", "emo_db", "whisper-base", 1)
    assert (entry.world, entry.synthetic, entry.labels) == ("honest", False, LABELS)
    assert entry.folds == [1, 2]
    assert entry.paths == (first, tmp_path / "x" / "y" / "result.json")
    assert entry.predicted.speakers == ["03"] * PER_SPEAKER + ["08"] * PER_SPEAKER
    assert entry.fold_of.tolist() == [1] * PER_SPEAKER + [2] * PER_SPEAKER
    assert entry.predicted.probabilities.shape == (2 * PER_SPEAKER, len(LABELS))
    assert np.mean(entry.predicted.probabilities.argmax(1) == entry.predicted.labels) == pytest.approx(0.7, abs=0.2)


def test_an_entry_is_complete_with_all_folds_of_the_protocol_it_names(tmp_path: Path) -> None:
    write_entry(tmp_path, folds=range(1, 10))
    (entry,) = read_entries(tmp_path)
    assert entry.folds_expected == 10
    assert not entry.complete
    write_entry(tmp_path, folds=[10])
    assert read_entries(tmp_path)[0].complete


@pytest.mark.parametrize("change", [{"hash": "0" * 12}, {"name": "pairs5", "hash": "0" * 12}])
def test_a_protocol_that_is_not_this_one_is_never_complete(tmp_path: Path, change: dict[str, str]) -> None:
    write_entry(tmp_path, protocol=change)
    (entry,) = read_entries(tmp_path)
    assert entry.folds_expected is None
    assert not entry.complete


def test_settings_encoders_and_seeds_are_apart_and_seeds_can_be_put_together(tmp_path: Path) -> None:
    write_entry(tmp_path / "1", folds=[1])
    write_entry(tmp_path / "2", folds=[1], seed=2)
    write_entry(tmp_path / "3", folds=[1], config={"model": {"lr": 0.1}})
    write_entry(tmp_path / "4", folds=[1], encoder={"name": "whisper-tiny", "weights": "1" * 64})
    entries = read_entries(tmp_path)
    groups = same_but_seed(entries)
    assert len(entries) == 4
    assert sorted(len(group) for group in groups) == [1, 1, 2]
    (pair,) = (group for group in groups if len(group) == 2)
    assert [entry.seed for entry in pair] == [1, 2]
    assert len({entry.settings for entry in pair}) == 1


def test_folds_of_a_fine_tuned_encoder_are_one_line(tmp_path: Path) -> None:
    paths = [
        *write_entry(tmp_path / "1", folds=[1], encoder={"name": "pico", "weights": "1" * 64}),
        *write_entry(tmp_path / "2", folds=[2], encoder={"name": "pico", "weights": "2" * 64}),
    ]
    assert len(read_entries(tmp_path)) == 2
    for path in paths:
        row = json.loads(path.read_text())
        row["config"]["model"]["finetune_from"] = 1
        path.write_text(json.dumps(row))
    (entry,) = read_entries(tmp_path)
    assert entry.folds == [1, 2]


def test_a_fold_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_entry(tmp_path / "1", folds=[1])
    write_entry(tmp_path / "2", folds=[1])
    with pytest.raises(
        RunError, match=r"2/probe/.*result\.json and .*1/probe/.*result\.json are both fold 1 of probe on emo_db"
    ):
        read_entries(tmp_path)


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"No result\.json below"):
        read_entries(tmp_path)


def test_predictions_that_are_not_those_of_the_row_are_refused(tmp_path: Path) -> None:
    (path,) = write_entry(tmp_path, folds=[1])
    row = json.loads(path.read_text())
    row["metrics"]["confusion"][0][0] += 1
    path.write_text(json.dumps(row))
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match="another confusion matrix than its row"):
        _ = entry.predicted
