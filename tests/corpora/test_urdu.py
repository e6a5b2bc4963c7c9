from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.urdu import URDU
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import SHARED, assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.urdu import write

IDS = SHARED / "corpora" / "emobox_other_overlapping_test_ids.csv.gz"


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "urdu", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(URDU(complete))
    assert Counter(row.label for row in rows) == URDU.counts
    assert len({row.speaker for row in rows}) == URDU.speakers
    assert Counter(row.gender for row in rows) == {"female": 56, "male": 344}


def test_names_and_counts_are_those_published(complete: Path) -> None:
    known = card("urdu")
    rows = read_complete(URDU(complete))
    assert_agrees(rows, known)
    cells = Counter((row.speaker, row.original_label) for row in rows)
    assert cells == {(who, code): count for who, row in known["speaker_x_class"].items() for code, count in row.items()}


@pytest.mark.skipif(not IDS.is_file(), reason=f"the ids of EmoBox are not at {IDS}")
def test_the_ids_are_those_of_the_release(complete: Path) -> None:
    with gzip.open(IDS, "rt") as file:
        published = {row["id"] for row in csv.DictReader(file) if row["corpus"] == "urdu"}
    assert len(published) == 100
    assert published <= {row.id for row in read_complete(URDU(complete))}


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/Sad/SF11_F21_S021.wav")
    assert URDU("x").parse(path) == Utterance(
        id="SF11_F21_S021",
        path=path,
        speaker="SF11",
        label="sadness",
        original_label="S",
        gender="female",
        language="ur",
    )


@pytest.mark.parametrize("spelling", ["ANGRY/{}.wav", "angry/{}.WAV", "Angry/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("SM1_F1_A01")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in URDU(tmp_path).utterances()] == [path]


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"80 of 400 utterances. Missing: anger 100 of 100; happiness 92 of 100; neutral 28"):
        URDU(write(tmp_path, None, ["SM5"])).utterances()


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(URDU, write(tmp_path / "urdu", None, ["SM3"]), "Angry")


@pytest.mark.parametrize("name", ["SX1_F1_A01", "SM1_F1_B01", "SM1_A01", "SM1_F1_A", "SM_F1_A01", "SM1_F1_A01 (1)"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"URDU: unexpected file name .* Expected names like SM1_F1_A01\.wav"):
        URDU("x").parse(Path("x/Angry") / f"{name}.wav")
