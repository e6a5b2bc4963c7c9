from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.turev_db import TurEVDB
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.turev_db import write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "turev_db", seconds=None)


def test_a_complete_release_gives_every_utterance_and_no_warning(complete: Path) -> None:
    rows = read_complete(TurEVDB(complete))
    assert len(rows) == 1735
    assert Counter(row.label for row in rows) == TurEVDB.counts
    assert Counter(row.label for row in rows if row.speaker == "1157") == {"anger": 77, "sadness": 73}
    assert len({row.text for row in rows}) == 82
    assert {row.gender for row in rows} == {None}


def test_classes_and_speakers_are_those_counted(complete: Path) -> None:
    assert_agrees(read_complete(TurEVDB(complete)), card("turevdb"))


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/Sound Source/Sad/7895_hl_ogul1.wav")
    assert TurEVDB("x").parse(path) == Utterance(
        id="7895_hl_ogul1",
        path=path,
        speaker="7895",
        label="sadness",
        original_label="Sad",
        text="ogul",
        repetition="1",
        language="tr",
    )


@pytest.mark.parametrize("spelling", ["sound source/happy/{}.wav", "SOUND SOURCE/HAPPY/{}.WAV", "Sound Source/Happy/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("1234_mt_soba")
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 1735 utterances\. Missing: anger 487 of 487; "):
        assert [row.path for row in TurEVDB(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(TurEVDB, write(tmp_path / "turev_db", None, words=1), "Sound Source")


@pytest.mark.parametrize("name", ["1234_xx_acik", "9999_kz_acik", "1234_kz", "1234_kz_Acik", "1234_kz_acik (1)"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"TurEV-DB: unexpected file name .* Expected names like 1234_kz_acik\.wav"):
        TurEVDB("x").parse(Path("x/Sound Source/Angry") / f"{name}.wav")


def test_a_recording_in_the_folder_of_another_emotion_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, None, ["1234"], words=1)
    (root / "Sound Source" / "Angry" / "1234_mt_acik.wav").touch()
    with pytest.raises(CorpusError, match=r"1234_mt_acik\.wav is in folder .*Angry, but its name says Happy\. Expected"):
        TurEVDB(root).utterances()
