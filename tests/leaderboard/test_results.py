"""Rows below a folder, put together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_zoo.errors import RunError
from ser_zoo.evaluation.result import SHARED, read_predictions
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
    assert entry.predicted.probabilities.shape == (2 * PER_SPEAKER, len(LABELS))
    assert np.mean(entry.predicted.probabilities.argmax(1) == entry.predicted.labels) == pytest.approx(0.7, abs=0.2)


def test_a_row_that_a_grid_was_killed_over_while_it_was_copied_is_not_read(tmp_path: Path) -> None:
    _, second = write_entry(tmp_path, folds=[1, 2])
    second.parent.rename(second.parent.with_name(".fold-2.new"))
    (entry,) = read_entries(tmp_path)
    assert entry.folds == [1]


def test_an_entry_is_complete_with_all_folds_of_the_protocol_it_names(tmp_path: Path) -> None:
    write_entry(tmp_path, folds=range(1, 10))
    (entry,) = read_entries(tmp_path)
    assert entry.folds_expected == 10
    assert not entry.complete
    write_entry(tmp_path, folds=[10])
    assert read_entries(tmp_path)[0].complete


def test_where_the_speakers_decide_the_number_of_folds_an_entry_is_complete_once_everybody_is_tested(tmp_path: Path) -> None:
    data = {"train": 2 * PER_SPEAKER, "validation": PER_SPEAKER, "test": PER_SPEAKER, "content": "0" * 16, "excluded": []}
    table = {"corpus": "csv", "protocol": {"name": "by_speaker"}, "data": data}
    write_entry(tmp_path, folds=[1, 2, 4], **table)
    (entry,) = read_entries(tmp_path)
    assert (entry.folds_expected, entry.complete) == (None, False)
    write_entry(tmp_path, folds=[3], **table)
    (entry,) = read_entries(tmp_path)
    assert (entry.folds_expected, entry.complete) == (4, True)


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


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            {"name": "as_cnn_attn", "world": "honest", "declared_leaks": [], SHARED: 0.0},
            r'protocol\.world "honest"; protocol as_cnn_attn of this version, whose hash the row names, has "as_published"',
        ),
        (
            {"name": "as_cnn_attn", "declared_leaks": ["speaker"]},
            r'declared_leaks \["speaker"\]; .* has \["speaker", "recording"',
        ),
        ({"declared_leaks": ["validation speaker"]}, r"protocol loso10 of this version, whose hash the row names, has \[\]"),
    ],
)
def test_a_row_that_says_otherwise_than_its_protocol_is_refused(said: dict[str, Any], found: str, tmp_path: Path) -> None:
    write_entry(tmp_path, folds=[1], protocol=said)
    with pytest.raises(RunError, match=found):
        read_entries(tmp_path)


def test_folds_that_differ_in_what_they_are_of_are_refused(tmp_path: Path) -> None:
    write_entry(tmp_path, folds=[1], protocol={"hash": "0" * 12}, synthetic=True)
    write_entry(tmp_path, folds=[2], protocol={"hash": "0" * 12})
    with pytest.raises(RunError, match=r"fold-2/result\.json has synthetic false; .*fold-1/result\.json has true"):
        read_entries(tmp_path)


def test_synthetic_speech_cannot_be_called_real(tmp_path: Path) -> None:
    write_entry(tmp_path, folds=[1], corpus="demo", protocol={"name": "pairs4"})
    with pytest.raises(RunError, match=r"has synthetic false; .* corpus demo has true"):
        read_entries(tmp_path)


def edited(path: Path, change: Callable[[Any], None]) -> None:
    row = json.loads(path.read_text())
    change(row)
    path.write_text(json.dumps(row))


@pytest.mark.parametrize(("protocol", "shared"), [("loso10", "utterances"), ("as_cross_attn", "predictions")])
def test_a_fold_that_is_a_copy_of_another_is_refused(protocol: str, shared: str, tmp_path: Path) -> None:
    one, other = write_entry(tmp_path, folds=[1, 2], protocol={"name": protocol})
    shutil.copytree(one.parent, other.parent, dirs_exist_ok=True)
    edited(other, lambda row: row.update(fold=2))
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match=f"fold-2/.* and .*fold-1/.* have the same {shared} in their test"):
        _ = entry.predicted


def test_folds_as_published_may_share_their_test(tmp_path: Path) -> None:
    one, other = write_entry(tmp_path, folds=[1, 2], protocol={"name": "as_cross_attn"})
    file = other.with_name("predictions.csv")
    file.write_text(file.read_text().replace("\n08a", "\n03a").replace(",08,", ",03,"))
    (entry,) = read_entries(tmp_path)
    assert entry.predicted.ids == 2 * read_predictions(one.with_name("predictions.csv"), LABELS).ids


def test_a_prediction_that_was_taken_out_is_missed(tmp_path: Path) -> None:
    (path,) = write_entry(tmp_path, folds=[1])
    file = path.with_name("predictions.csv")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match=r"has 23 lines of 23 utterances, its row result\.json beside it 24"):
        _ = entry.predicted


@pytest.mark.parametrize("value", [0.1234, float("nan")])
def test_metrics_that_are_not_those_of_the_confusion_matrix_are_refused(value: float, tmp_path: Path) -> None:
    (path,) = write_entry(tmp_path, folds=[1])
    edited(path, lambda row: row["metrics"].update(ua=value))
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match=rf"has ua {value}, but its confusion matrix gives 0\."):
        _ = entry.predicted


def test_a_fold_that_its_protocol_does_not_have_is_refused(tmp_path: Path) -> None:
    *_, last = write_entry(tmp_path)
    edited(last, lambda row: row.update(fold=12))
    with pytest.raises(RunError, match=r"fold-10/result\.json is of fold 12; protocol loso10 has folds 1 to 10"):
        read_entries(tmp_path)


@pytest.mark.parametrize(("most", "least"), [(7.5, 0.0), (1.5, -0.5), (0.9, 0.05)])
def test_numbers_that_are_no_probabilities_are_refused(most: float, least: float, tmp_path: Path) -> None:
    (path,) = write_entry(tmp_path, folds=[1])
    file = path.with_name("predictions.csv")
    heading, line, *others = file.read_text().splitlines()
    *names, predicted = line.split(",")[:5]
    numbers = [str(most if label == predicted else least) for label in LABELS]
    file.write_text("\n".join([heading, ",".join([*names, predicted, *numbers]), *others]) + "\n")
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match="gives 03a00 probabilities that are none"):
        _ = entry.predicted


def test_a_class_that_is_not_the_most_probable_is_refused(tmp_path: Path) -> None:
    (path,) = write_entry(tmp_path, folds=[1], right=1.0)
    file = path.with_name("predictions.csv")
    file.write_text(file.read_text().replace("male,anger,anger", "male,anger,sadness", 1))
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match=r"says that 03a\d+ was taken for sadness, which is not its most probable class"):
        _ = entry.predicted


def test_seeds_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for seed in (10, 2, 1):
        write_entry(tmp_path, seed=seed, folds=[1])
    assert [entry.seed for entry in read_entries(tmp_path)] == [1, 2, 10]


def test_an_utterance_that_stands_for_another_in_the_predictions_is_refused(tmp_path: Path) -> None:
    (path,) = write_entry(tmp_path, folds=[1])
    file = path.with_name("predictions.csv")
    head, first, second, *rest = file.read_text().splitlines()
    twice = ",".join([first.partition(",")[0], second.partition(",")[2]])
    file.write_text("\n".join([head, first, twice, *rest]) + "\n")
    (entry,) = read_entries(tmp_path)
    with pytest.raises(RunError, match=r"has 24 lines of 23 utterances"):
        _ = entry.predicted
