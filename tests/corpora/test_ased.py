from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.ased import ASED
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import GENDERS, SHARED, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.ased import write

IDS = SHARED / "corpora" / "emobox_other_overlapping_test_ids.csv.gz"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(ASED(write(tmp_path_factory.mktemp("complete") / "ased", seconds=None)))


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 2474
    assert Counter(row.label for row in rows) == ASED.counts
    assert Counter(row.repetition for row in rows) == {"01": 1237, "02": 1237}
    assert len({row.text for row in rows}) == 35
    assert len(ASED("x", "4class").task.select(rows)) == 1964


def test_classes_speakers_and_genders_are_those_counted(rows: list[Utterance]) -> None:
    known = card("ased")
    assert Counter(row.original_label[0].lower() for row in rows) == known["classes"]
    speakers = {speaker: (entry["n"], GENDERS[entry["gender"]]) for speaker, entry in known["speakers"].items()}
    counts = Counter(row.speaker for row in rows)
    assert {row.speaker: (counts[row.speaker], row.gender) for row in rows} == speakers


@pytest.mark.skipif(not IDS.is_file(), reason=f"the published ids of ASED are not at {IDS}")
def test_the_ids_are_those_of_the_release(rows: list[Utterance]) -> None:
    with gzip.open(IDS, "rt") as file:
        published = {row["id"] for row in csv.DictReader(file) if row["corpus"] == "ased"}
    assert len(published) == 616
    assert published <= {row.id for row in rows}


@pytest.mark.parametrize(
    ("path", "speaker", "gender", "label", "text"),
    [
        ("05Angry/a5-02-01-01-33.wav", "33", "female", "anger", "a02"),
        ("04Sad/S4-04-01-01-29.wav", "29", "female", "sadness", "s04"),
        ("04Sad/s4-01-01-02-09.wav", "09", "female", "sadness", "s01"),
        ("03 Happy/h3-07-01-02-65.WAV", "65", "male", "happiness", "h07"),
    ],
)
def test_a_row_says_what_its_file_name_says(path: str, speaker: str, gender: str, label: str, text: str) -> None:
    row = ASED("x").parse(Path(path))
    assert row == Utterance(
        id=Path(path).stem,
        path=Path(path),
        speaker=speaker,
        label=label,
        original_label=row.original_label,
        gender=gender,
        text=text,
        repetition="01",
        language="am",
    )
    assert row.original_label == Path(path).parts[0][2:].strip()


@pytest.mark.parametrize("folder", ["05angry", "05 ANGRY", "ASED_V1-main/05Angry"])
def test_case_and_the_folder_of_the_archive_do_not_matter(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "a5-02-01-01-33.wav"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 2474 utterances\. Missing: neutral 522 of 522; "):
        assert [row.path for row in ASED(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(ASED, write(tmp_path / "ased", None, ["02"]), "01Neutral")


@pytest.mark.parametrize(
    "name", ["a1-02-01-01-33", "a5-08-01-01-33", "a5-02-03-01-33", "a5-02-01-03-33", "a5-02-01-01-66", "a5-02-01-01"]
)
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"ASED: unexpected file name .* Expected names like a5-02-01-01-33\.wav"):
        ASED("x").parse(Path("05Angry") / f"{name}.wav")


def test_a_recording_in_the_folder_of_another_emotion_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"a5-02-01-01-33\.wav is in folder 04Sad\. Expected it in 05Angry/"):
        ASED("x").parse(Path("04Sad/a5-02-01-01-33.wav"))
