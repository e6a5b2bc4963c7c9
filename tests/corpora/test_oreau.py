from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.oreau import Oreau
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.oreau import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(Oreau(write(tmp_path_factory.mktemp("complete") / "oreau", seconds=None)))


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 434
    assert Counter(row.label for row in rows) == Oreau.counts
    assert len(Oreau("x", "4class").task.select(rows)) == 254
    assert Counter({row.speaker: row.gender for row in rows}.values()) == {"female": 7, "male": 25}


def test_classes_speakers_and_genders_are_those_counted(rows: list[Utterance]) -> None:
    assert_agrees(rows, card("oreau"))


@pytest.mark.parametrize(
    ("path", "speaker", "gender", "label", "text"),
    [
        ("f/sessj/10a02Ja.wav", "10", "female", "happiness", "J02"),
        ("m/sesss/07z03Sa.wav", "07", "male", "surprise", "S03"),
        ("M/SESSP/38a12Pa.WAV", "38", "male", "fear", "P12"),
    ],
)
def test_a_row_says_what_its_file_name_says(path: str, speaker: str, gender: str, label: str, text: str) -> None:
    assert Oreau("x").parse(Path(path)) == Utterance(
        id=Path(path).stem,
        path=Path(path),
        speaker=speaker,
        label=label,
        original_label=text[0],
        gender=gender,
        text=text,
        repetition="a",
        language="fr",
    )


@pytest.mark.parametrize("folder", ["Or\u00e9auFR_02/", "Ore\u0301auFR_02/", "OR\u00c9AUFR_02/", ""])
def test_either_spelling_of_the_folder_will_do(tmp_path: Path, folder: str) -> None:
    path = tmp_path / f"{folder}F/SessJ/10a02Ja.wav"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 434 utterances\. Missing: anger 67 of 67; "):
        assert [row.path for row in Oreau(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(Oreau, write(tmp_path / "oreau", None, ["07"]), "Ore\u0301auFR_02/m")


@pytest.mark.parametrize("name", ["10b02Ja", "10a02Xa", "10a2Ja", "10a02J", "x10a02Ja"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"Oréau: unexpected file name .* Expected names like 10a02Ja\.wav"):
        Oreau("x").parse(Path("f/sessj") / f"{name}.wav")


def test_a_recording_in_the_session_of_another_emotion_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"10a02Ja\.wav is in folder f/sessc\. Expected its emotion J in sessj/"):
        Oreau("x").parse(Path("f/sessc/10a02Ja.wav"))
