from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.emozionalmente import Emozionalmente
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card, read_complete
from tests.releases.emozionalmente import actor_id, write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(Emozionalmente(write(tmp_path_factory.mktemp("complete") / "emozionalmente", seconds=None)))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "emozionalmente", None, [0])


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 6902
    assert Counter(row.label for row in rows) == Emozionalmente.counts
    assert Counter({row.speaker: row.gender for row in rows}.values()) == {"female": 299, "male": 131, None: 1}
    assert len({row.text for row in rows}) == 18
    assert {sum((row.soft or {}).values()) for row in rows} == {5.0}
    assert {row.split for row in rows} == {None}


def test_classes_and_speakers_are_those_counted(rows: list[Utterance]) -> None:
    known = card("emozionalmente")
    assert Counter(row.original_label for row in rows) == known["classes"]
    assert len({row.speaker for row in rows}) == known["speakers"]["count"]


def test_a_row_says_what_the_tables_say(small: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"21 of 6902 utterances\. Missing: anger 983 of 986; "):
        rows = Emozionalmente(small).utterances()
    assert rows[9] == Utterance(
        id="1612800002958",
        path=small / "audio" / "1612800002958.wav",
        speaker=actor_id(0),
        label="happiness",
        original_label="joy",
        gender="female",
        text="Frase, la numero 0",
        language="it",
        soft={**dict.fromkeys(("anger", "disgust", "sadness", "surprise"), 0.0), "fear": 1.0, "happiness": 3.0, "neutral": 1.0},
    )


def test_four_classes_are_those_of_iemocap(rows: list[Utterance]) -> None:
    assert len(Emozionalmente("x", "4class").task.select(rows)) == 3944


def test_recordings_that_are_listed_but_not_there_are_counted(small: Path) -> None:
    (small / "audio" / "1612800002958.wav").unlink()
    with pytest.warns(SERZooWarning, match=r"20 of 6902 utterances\. .* happiness 984 of 986; "):
        Emozionalmente(small).utterances()


def test_case_and_the_folder_of_the_archive_do_not_matter(small: Path) -> None:
    inner = small / "Emozionalmente_Dataset"
    inner.mkdir()
    (small / "audio").rename(inner / "AUDIO")
    (small / "metadata").rename(inner / "Metadata")
    with pytest.warns(SERZooWarning):
        assert len(Emozionalmente(small).utterances()) == 21


def test_folders_that_are_not_the_release_are_refused(small: Path) -> None:
    assert_wrong_folders_are_refused(Emozionalmente, small, "audio")


@pytest.mark.parametrize("table", ["samples", "users", "evaluations"])
def test_a_missing_table_is_refused(small: Path, table: str) -> None:
    (small / "metadata" / f"{table}.csv").unlink()
    with pytest.raises(CorpusError, match=rf"there is no file .*{table}\.csv\. Expected the unpacked release"):
        Emozionalmente(small).utterances()


@pytest.mark.parametrize("table", ["samples", "users", "evaluations"])
@pytest.mark.parametrize("size", [0, 30, 300])
def test_a_table_that_is_cut_off_is_refused(small: Path, table: str, size: int) -> None:
    path = small / "metadata" / f"{table}.csv"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorpusError, match=r"line \d+: found .*, expected|recordings have no label"):
        Emozionalmente(small).utterances()


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("samples", ",joy\n", ",gioia\n", r"samples\.csv, line \d+: found emotion 'gioia', expected one of anger"),
        ("samples", f",{actor_id(0)},", ",nobody,", r"samples\.csv, line 2: found actor 'nobody', expected one of metadata"),
        ("evaluations", ",anger\n", ",Anger\n", r"evaluations\.csv, line \d+: found emotion 'Anger'"),
        ("users", ",female,", ",F,", r"users\.csv, line 2: found gender 'F', expected one of female, male, other"),
        ("users", ",gender,", ",sex,", r"users\.csv, line 1: found columns username, sex, .*, expected username, gender"),
    ],
)
def test_a_damaged_table_is_refused(small: Path, table: str, old: str, new: str, message: str) -> None:
    path = small / "metadata" / f"{table}.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CorpusError, match=message):
        Emozionalmente(small).utterances()


def test_a_recording_without_a_label_is_refused(small: Path) -> None:
    (small / "audio" / "1.wav").touch()
    with pytest.raises(CorpusError, match=r"1 of 22 recordings have no label: 1\.wav\. Expected one for each in metadata"):
        Emozionalmente(small).utterances()
