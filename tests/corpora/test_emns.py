from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.emns import EMNS, EMOTIONS
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card, read_complete
from tests.releases.emns import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(EMNS(write(tmp_path_factory.mktemp("complete") / "emns", seconds=None)))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "emns", None, limit=2)


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 1181
    assert Counter(row.label for row in rows) == EMNS.counts
    assert Counter(row.speaker for row in rows) == {"3": 1181}


def test_classes_and_the_speaker_are_those_counted(rows: list[Utterance]) -> None:
    known = card("emns")
    assert Counter(row.original_label.replace("Surprised", "Surprise") for row in rows) == known["classes"]
    assert Counter(row.speaker for row in rows) == {speaker: entry["n"] for speaker, entry in known["speakers"].items()}


def test_excited_counts_as_happy_among_four_classes(rows: list[Utterance]) -> None:
    four = EMNS("x", "4class").task.select(rows)
    assert Counter(row.label for row in four) == {"anger": 126, "happiness": 307, "neutral": 149, "sadness": 147}


def test_a_row_says_what_the_table_says(small: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"16 of 1181 utterances\. Missing: anger 124 of 126; "):
        rows = EMNS(small).utterances()
    assert rows[1] == Utterance(
        id="recorded_audio_A000001",
        path=small / "cleaned_webm" / "recorded_audio_A000001.webm",
        speaker="3",
        label="anger",
        original_label="Angry",
        gender="female",
        intensity="1",
        language="en",
    )


def test_recordings_that_need_updating_are_left_out(small: Path) -> None:
    (small / "cleaned_webm" / "recorded_audio_x000000.webm").touch()
    with pytest.warns(SERZooWarning, match="16 of 1181"):
        assert len(EMNS(small).utterances()) == 16


def test_of_a_webm_and_its_wav_the_wav_is_read(small: Path) -> None:
    write(small, None, limit=1, suffix=".wav")
    write(small, None, limit=2)
    with pytest.warns(SERZooWarning):
        assert Counter(row.path.suffix for row in EMNS(small).utterances()) == {".wav": 8, ".webm": 8}


@pytest.mark.parametrize("folder", ["Cleaned_WEBM", "raw_webm"])
def test_case_and_kind_of_the_folder_do_not_matter(small: Path, folder: str) -> None:
    (small / "cleaned_webm").rename(small / folder)
    with pytest.warns(SERZooWarning):
        assert len(EMNS(small).utterances()) == 16


def test_folders_that_are_not_the_release_are_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(EMNS, small, "cleaned_webm")


def test_a_missing_table_is_refused(small: Path) -> None:
    (small / "metadata.csv").unlink()
    with pytest.raises(CorpusError, match=r"EMNS: there is no file .*metadata\.csv\. Expected the release, with metadata\.csv"):
        EMNS(small).utterances()


@pytest.mark.parametrize("size", [0, 30, 300, 1000])
def test_a_table_that_is_cut_off_is_refused(small: Path, size: int) -> None:
    path = small / "metadata.csv"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorpusError, match=r"line \d+: found .*, expected|recordings have no label"):
        EMNS(small).utterances()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("|Angry|", "|Cross|", rf"line 2: found emotion 'Cross', expected one of {', '.join(EMOTIONS)}"),
        ("|status|", "|state|", r"line 1: found columns id, .*, expected emotion, status"),
        ("|Angry|", "|", r"line 2: found 10 fields, expected 11 as in the header"),
    ],
)
def test_a_damaged_table_is_refused(small: Path, old: str, new: str, message: str) -> None:
    path = small / "metadata.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CorpusError, match=rf"EMNS: .*metadata\.csv, {message}"):
        EMNS(small).utterances()
