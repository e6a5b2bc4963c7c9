from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.emov_db import EmoVDB
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.emov_db import write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "emov_db", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(EmoVDB(complete))
    assert len(rows) == 6887
    assert Counter(row.label for row in rows) == EmoVDB.counts
    assert {row.label for row in rows if row.speaker == "josh"} == {"amusement", "neutral", "sleepiness"}


def test_names_and_counts_are_those_published(complete: Path) -> None:
    known = card("emovdb")
    words = {"amused": "Amused", "anger": "Angry", "disgust": "Disgust", "neutral": "Neutral", "sleepiness": "Sleepy"}
    rows = read_complete(EmoVDB(complete))
    assert_agrees(rows, known, lambda row: words[row.original_label.lower()])
    cells = Counter((row.speaker, words[row.original_label.lower()]) for row in rows)
    assert cells == {(who, word): count for who, row in known["speaker_x_class"].items() for word, count in row.items()}


@pytest.mark.parametrize(
    ("path", "label", "written"),
    [
        ("sam_Disgusted/Disgust_1-28_0007.wav", "disgust", "Disgust"),
        ("sam_Angry/anger_1_28_0007.wav", "anger", "anger"),
        ("sam_Sleepy/sleepiness_1-28_0007.wav", "sleepiness", "sleepiness"),
    ],
)
def test_a_row_says_what_folder_and_file_name_say(path: str, label: str, written: str) -> None:
    file = Path("x") / path
    assert EmoVDB("x").parse(file) == Utterance(
        id=f"sam_{file.stem}",
        path=file,
        speaker="sam",
        label=label,
        original_label=written,
        gender="male",
        text="0007",
        language="en",
    )


def test_a_sentence_of_two_sessions_is_two_utterances(tmp_path: Path) -> None:
    write(tmp_path, None, ["bea"], takes=1)
    (tmp_path / "bea_Amused" / "amused_1-15_0001.wav").touch()
    with pytest.warns(SERZooWarning):
        rows = [row for row in EmoVDB(tmp_path).utterances() if row.label == "amusement"]
    assert [(row.id, row.text) for row in rows] == [("bea_amused_1-15_0001", "0001"), ("bea_amused_1-28_0001", "0001")]


@pytest.mark.parametrize("spelling", ["BEA_AMUSED/{}.wav", "bea_amused/{}.WAV", "bea_Amused/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("amused_1-15_0001")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [(row.path, row.speaker) for row in EmoVDB(tmp_path).utterances()] == [(path, "bea")]


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"861 of 6887 utterances. Missing: amusement 1019 of 1315; anger 1267 of 1267; "):
        EmoVDB(write(tmp_path, None, ["josh"])).utterances()


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(EmoVDB, write(tmp_path / "emov_db", None, ["bea"], 1), "bea_Amused")


@pytest.mark.parametrize(
    "name", ["amused_0001", "bored_1-28_0001", "amused_1-28_001", "amused_1-28_0001 (1)", "angry_1-28_0001"]
)
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"EmoV-DB: unexpected file name .* Expected names like amused_1-15_0001\.wav"):
        EmoVDB("x").parse(Path("x/bea_Amused") / f"{name}.wav")
