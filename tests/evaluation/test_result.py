from __future__ import annotations

import copy
import csv
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ser_zoo.corpora import Utterance
from ser_zoo.errors import RunError
from ser_zoo.evaluation import pool, read_predictions, read_result, summarise
from ser_zoo.evaluation.result import SCHEMA, commit, content_of, score, search_of, write_result
from ser_zoo.models.base import Predictions
from ser_zoo.protocols import Split
from tests.leaderboard.rows import SEARCH


def batch(ids: list[str], labels: list[int], predicted: list[int]) -> Predictions:
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float() * 5
    return {"ids": ids, "logits": logits, "labels": torch.tensor(labels)}


TESTED = [
    Utterance(id=id, path=Path(id), speaker=speaker, label="x", original_label="x", gender=gender)
    for id, speaker, gender in (("a", "1", "female"), ("b", "2", None), ("c", "1", "female"))
]


@pytest.fixture
def scored():
    return score([batch(["b", "a"], [0, 1], [0, 2]), batch(["c"], [1], [1])])


@pytest.fixture
def row(scored) -> dict:
    labels = ["x", "y", "z"]
    return {
        "schema": 1,
        "model": "cnn_attn",
        "parameters": {"total": 2, "trained": 1},
        "corpus": "emo_db",
        "synthetic": False,
        "labels": labels,
        "data": {"train": 1, "validation": 1, "test": 3, "content": "0" * 16, "excluded": []},
        "protocol": {"name": "p", "version": 1, "hash": "0" * 12, "world": "honest", "declared_leaks": []},
        "fold": 1,
        "seed": 1,
        "config": {},
        "encoder": None,
        "selection": {"monitor": "val/ua", "value": 0.5, "epoch": 0, "epochs": 1},
        "metrics": summarise(scored.confusion, labels),
        "predictions": "predictions.csv",
        "durations": {"features": 0.0, "fit": 1.0, "test": 0.1},
        "versions": {"torch": "2"},
        "commit": None,
    }


def test_batches_are_joined_by_id(scored) -> None:
    assert scored.ids == ["a", "b", "c"]
    assert scored.labels.tolist() == [1, 0, 1]
    assert scored.confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_an_utterance_that_comes_twice_is_an_error() -> None:
    with pytest.raises(RunError, match="a was tested twice"):
        score([batch(["a"], [0], [0]), batch(["a"], [0], [0])])


def test_recall_of_a_class_without_support_is_null(row: dict) -> None:
    assert row["metrics"]["recalls"] == {"x": 1.0, "y": 0.5, "z": None}
    assert row["metrics"]["ua"] == 0.75


def test_a_written_row_reads_back_with_its_predictions(row: dict, scored, tmp_path: Path) -> None:
    write_result(tmp_path, row, scored, TESTED)
    assert read_result(tmp_path / "result.json") == row
    with (tmp_path / row["predictions"]).open() as file:
        lines = list(csv.DictReader(file))
    assert [line["id"] for line in lines] == ["a", "b", "c"]
    assert [line["predicted"] for line in lines] == ["z", "x", "y"]
    for line in lines:
        assert sum(float(line[f"probability_{label}"]) for label in row["labels"]) == pytest.approx(1)
    ids, speakers, genders, classes, probabilities = read_predictions(tmp_path / row["predictions"], row["labels"])
    assert (ids, speakers, genders) == (["a", "b", "c"], ["1", "2", "1"], ["female", "", "female"])
    assert classes.tolist() == scored.labels.tolist()
    assert probabilities == pytest.approx(scored.probabilities.numpy(), rel=1e-7)


def test_predictions_of_a_speaker_with_a_carriage_return_in_the_name_read_back(row: dict, scored, tmp_path: Path) -> None:
    write_result(tmp_path, row, scored, [replace(utterance, speaker="1\r") for utterance in TESTED])
    assert read_predictions(tmp_path / row["predictions"], row["labels"]).speakers == ["1\r"] * 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("speaker,", ""), "has the columns id, gender, label"),
        (lambda text: text.replace("probability_z", "probability_w"), "expected .*probability_z"),
        (lambda text: text.replace("a,1,female,y", "a,1,female,w"), "Cannot read .*KeyError"),
        (lambda text: text[:-20], "Cannot read"),
        (lambda _: "", "has the columns none"),
    ],
)
def test_damaged_predictions_are_refused(row: dict, scored, tmp_path: Path, change, told: str) -> None:
    write_result(tmp_path, row, scored, TESTED)
    path = tmp_path / row["predictions"]
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=told):
        read_predictions(path, row["labels"])


def test_a_row_is_never_overwritten(row: dict, scored, tmp_path: Path) -> None:
    write_result(tmp_path, row, scored, TESTED)
    with pytest.raises(RunError, match="never overwritten"):
        write_result(tmp_path, row, scored, TESTED)


@pytest.mark.parametrize(
    ("path", "value"),
    [(("fold",), 0), (("metrics", "ua"), 1.5), (("protocol", "hash"), "zz"), (("labels",), ["one"]), (("extra",), 1)],
)
def test_a_row_that_breaks_the_schema_is_refused(row: dict, path: tuple[str, ...], value: object) -> None:
    broken = copy.deepcopy(row)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(RunError, match="does not fit the schema"):
        SCHEMA.check(broken, "row")


def test_every_key_is_required(row: dict) -> None:
    for key in row:
        with pytest.raises(RunError, match=key):
            SCHEMA.check({name: value for name, value in row.items() if name != key}, "row")


def test_a_truncated_row_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"schema": 1')
    with pytest.raises(RunError, match="Cannot read"):
        read_result(tmp_path / "result.json")


def test_pooling_counts_every_utterance_once(row: dict) -> None:
    other = json.loads(json.dumps(row))
    other["fold"], other["metrics"] = 2, summarise(torch.tensor([[0, 2, 0], [0, 4, 0], [0, 0, 1]]), row["labels"])
    pooled = pool([row, other])
    assert pooled["folds"] == [1, 2]
    assert pooled["pooled"]["confusion"] == [[1, 2, 0], [0, 5, 1], [0, 0, 1]]
    assert pooled["pooled"]["ua"] == pytest.approx((1 / 3 + 5 / 6 + 1) / 3)
    assert pooled["mean"]["wa"] == pytest.approx((2 / 3 + 5 / 7) / 2)
    assert pooled["deviation"]["wa"] == pytest.approx(abs(2 / 3 - 5 / 7) / 2**0.5)


LEAKY = {"world": "as_published", "declared_leaks": ["speaker"], "test_rows_with_utterance_in_training": 0.25}


@pytest.mark.parametrize(
    "change",
    [
        {"declared_leaks": ["speaker"]},
        {"test_rows_with_utterance_in_training": 0.1},
        {**LEAKY, "declared_leaks": ["nothing"]},
        {**LEAKY, "test_rows_with_utterance_in_training": 1.5},
        {"world": "as_published"},
    ],
    ids=["honest with a leak", "honest with a shared utterance", "unknown leak", "share above 1", "published without a share"],
)
def test_a_row_that_hides_a_leak_is_refused(row: dict, change: dict) -> None:
    row["protocol"].update(change)
    with pytest.raises(RunError, match=r"does not fit the schema of result rows at \$\.protocol"):
        SCHEMA.check(row, "row")


def test_a_row_says_what_it_leaks(row: dict, scored, tmp_path: Path) -> None:
    row["protocol"].update(LEAKY)
    write_result(tmp_path, row, scored, TESTED)
    assert read_result(tmp_path / "result.json")["protocol"] == row["protocol"]


def test_pooling_takes_the_share_over_all_test_rows(row: dict) -> None:
    row["protocol"].update(LEAKY)
    other = copy.deepcopy(row)
    other["data"]["test"], other["protocol"]["test_rows_with_utterance_in_training"] = 9, 1.0
    protocol = pool([row, other])["protocol"]
    assert protocol == {**row["protocol"], "test_rows_with_utterance_in_training": (0.25 * 3 + 9) / 12}


def test_pooling_takes_older_rows_without_the_share(row: dict) -> None:
    assert pool([row, copy.deepcopy(row)])["protocol"] == row["protocol"]


def test_the_content_of_a_row_is_its_ids_labels_and_audio() -> None:
    def content(rows: list[Utterance], audio: dict[str, str]) -> str:
        return content_of(SimpleNamespace(split=Split(rows, [], []), waveforms=SimpleNamespace(content=audio)))

    first, *others = TESTED
    audio = {row.id: f"hash of {row.id}" for row in TESTED}
    known = content(TESTED, audio)
    assert content([*others, first], audio) == known
    assert content(others, audio) != known
    assert content([replace(first, label="y"), *others], audio) != known
    assert content(TESTED, audio | {first.id: "another"}) != known


def test_a_commit_is_marked_for_changes_of_the_package_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    module, row = tmp_path / "package" / "evaluation" / "result.py", tmp_path / "rows" / "result.json"
    for path in (module, row):
        path.parent.mkdir(parents=True)
        path.write_text("1")
    monkeypatch.setattr("ser_zoo.evaluation.result.__file__", str(module))
    assert commit.__wrapped__() is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    row.write_text("2")
    clean = commit.__wrapped__()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    module.write_text("2")
    assert commit.__wrapped__() == f"{clean}-dirty"


def test_a_row_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="Cannot read the result row"):
        read_result(tmp_path / "result.json")


@pytest.mark.parametrize(("corpus", "scored"), [("emo_db", ["1"]), ("ravdess", None)])
def test_speakers_of_a_search_are_known_in_a_test_of_the_same_corpus_alone(corpus: str, scored: list[str] | None) -> None:
    data = SimpleNamespace(corpus=SimpleNamespace(name="emo_db"), split=Split([], [], TESTED))
    search = {**SEARCH, "corpus": corpus, "validation_speakers": ["1", "9"]}
    assert search_of(search, data)["test_speakers_validated"] == scored
