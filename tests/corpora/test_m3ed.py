from __future__ import annotations

import re
import shutil
import warnings
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.m3ed import M3ED
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card
from tests.releases import m3ed as fake

PARTS = {"train": "train", "val": "validation", "test": "test"}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """All utterances of a complete release."""
    root = fake.write(tmp_path_factory.mktemp("m3ed") / "m3ed", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return M3ED(root).release()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three utterances of each emotion in each part."""
    return fake.write(tmp_path / "m3ed", None, limit=3)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_complete_release_has_the_known_counts(complete: list[Utterance]) -> None:
    assert len({row.id for row in complete}) == len(complete) == M3ED("x").total == 24_437
    assert Counter(row.label for row in complete) == M3ED.counts
    assert len({row.speaker for row in complete}) == M3ED.speakers == 635
    assert len(M3ED("x", "4class").task.select(complete)) == 21_495


@pytest.mark.parametrize(("part", "split"), PARTS.items())
def test_each_part_is_as_published(complete: list[Utterance], part: str, split: str) -> None:
    known = card("m3ed")
    rows = [row for row in complete if row.split == split]
    assert Counter(row.original_label for row in rows) == known["split"][part]["classes"]
    assert len({row.speaker for row in rows}) == known["split"][part]["speakers"]
    assert not {row.speaker for row in rows} & {row.speaker for row in complete if row.split != split}
    grammar = re.compile(known["path_regex"])
    assert all(grammar.search(row.path.name) for row in rows)


def test_a_row_says_what_its_annotation_says(small: Path) -> None:
    edit(small / "annotation.json", '"final_main_emo": "', '"final_main_emo": "Fear", "was": "')
    with pytest.warns(SERZooWarning):
        row = next(row for row in M3ED(small).release() if row.id == "A_trainaa_1_1")
    assert row == Utterance(
        id="A_trainaa_1_1",
        path=small / "modality_speech" / "A_trainaa_1_1.wav",
        speaker="trainaa_人0",
        label="fear",
        original_label="Fear",
        gender="female",
        session="trainaa_1",
        language="zh",
        split="train",
        soft=row.soft,
    )


def test_votes_are_those_of_one_emotion(small: Path) -> None:
    with pytest.warns(SERZooWarning):
        rows = M3ED(small).release()
    assert {sum((row.soft or {}).values()) for row in rows} == {2.0, 3.0}
    assert all((row.soft or {})[row.label] >= 2 for row in rows)


def test_clips_may_be_in_any_folder(tmp_path: Path) -> None:
    root = fake.write(tmp_path / "a", None, limit=1, folder="Audio/clips")
    (root / "splitInfo").rename(root / "SplitInfo")
    with pytest.warns(SERZooWarning, match="21 of 24437"):
        M3ED(root).release()


def test_missing_clips_are_counted_by_split(small: Path) -> None:
    for path in (small / "modality_speech").glob("?_val*"):
        path.unlink()
    with pytest.warns(SERZooWarning, match=r"42 of 24437 .*; split validation 2819 of 2819; "):
        M3ED(small).release()


def test_clips_without_annotation_are_warned_of(small: Path) -> None:
    (small / "modality_speech" / "A_mine_1_1.wav").touch()
    with pytest.warns(SERZooWarning) as caught:
        M3ED(small).release()
    assert "1 of 64 clips are not in annotation.json and are left out: A_mine_1_1." in str(caught[0].message)


def test_a_folder_above_or_below_the_root_is_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(M3ED, small, "modality_speech")


@pytest.mark.parametrize("gone", ["annotation.json", "modality_speech"])
def test_a_missing_part_is_refused(small: Path, gone: str) -> None:
    shutil.rmtree(small / gone) if (small / gone).is_dir() else (small / gone).unlink()
    with pytest.raises(CorpusError, match=r"M3ED not found: .* holds .* Expected annotation\.json, the folder splitInfo/"):
        M3ED(small).release()


def test_a_series_without_split_is_refused(small: Path) -> None:
    edit(small / "splitInfo" / "movie_list_train.txt", "trainaa\n", "")
    with pytest.raises(CorpusError, match=r"series trainaa of .* is in none of the lists movie_list_train\.txt"):
        M3ED(small).release()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"SpeakerInfo": {', '"SpeakerInfo": ', r"annotation\.json, line \d+: found Expecting ',' delimiter, expected JSON"),
        ('"Dialog"', '"Dialogue"', r"found no entry as expected \(KeyError: 'Dialog'\)"),
        ('"Speaker": "A"', '"Speaker": "C"', r"at trainaa_1_1: found no entry as expected \(KeyError: 'C'\)"),
        (
            '"final_main_emo": "',
            '"final_main_emo": "Very',
            r"utterance trainaa_1_1: found final_main_emo 'Very.*', expected one of",
        ),
    ],
)
def test_a_damaged_annotation_is_refused(small: Path, old: str, new: str, message: str) -> None:
    edit(small / "annotation.json", old, new)
    with pytest.raises(CorpusError, match=message):
        M3ED(small).release()


def test_a_truncated_annotation_is_refused(small: Path) -> None:
    path = small / "annotation.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(CorpusError, match=r"annotation\.json, line \d+: found .*, expected JSON"):
        M3ED(small).release()
