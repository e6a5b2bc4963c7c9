from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.subesco import SUBESCO
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.subesco import write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "subesco", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(SUBESCO(complete))
    assert Counter(row.label for row in rows) == SUBESCO.counts
    assert Counter(row.gender for row in rows) == {"female": 3500, "male": 3500}
    assert Counter(row.text for row in rows) == {str(text): 700 for text in range(1, 11)}
    assert Counter(row.repetition for row in rows) == {str(take): 1400 for take in range(1, 6)}


def test_names_and_counts_are_those_published(complete: Path) -> None:
    assert_agrees(read_complete(SUBESCO(complete)), card("subesco"), lambda row: row.original_label.lower())


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/M_10_ANY_S_10_HAPPY_4.wav")
    assert SUBESCO("x").parse(path) == Utterance(
        id="M_10_ANY_S_10_HAPPY_4",
        path=path,
        speaker="Male-10",
        label="happiness",
        original_label="HAPPY",
        gender="male",
        text="10",
        repetition="4",
        language="bn",
    )


def test_the_stray_bracket_is_no_part_of_the_id() -> None:
    path = Path("x/F_02_MONIKA_S_2_SURPRISE_3].wav")
    row = SUBESCO("x").parse(path)
    assert (row.id, row.path, row.repetition) == ("F_02_MONIKA_S_2_SURPRISE_3", path, "3")


def test_women_and_men_of_the_same_number_are_two_speakers(tmp_path: Path) -> None:
    write(tmp_path, None, ["F_01", "M_01"], [1])
    with pytest.warns(SERZooWarning, match=r"70 of 7000 utterances. Missing: anger 990 of 1000; "):
        rows = SUBESCO(tmp_path).utterances()
    assert {row.speaker for row in rows} == {"Female-01", "Male-01"}


def test_four_classes_are_those_of_iemocap(complete: Path) -> None:
    assert len(read_complete(SUBESCO(complete, "4class"))) == 4000


@pytest.mark.parametrize("spelling", ["{}.WAV", "{}.flac", "SUBESCO/{}.wav", "subesco/{}.wav"])
def test_folder_and_case_do_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("F_02_MONIKA_S_1_ANGRY_5")
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in SUBESCO(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(SUBESCO, write(tmp_path / "bangla", None, ["F_01"], [1]))


@pytest.mark.parametrize(
    "name",
    [
        "F_11_ANY_S_1_ANGRY_5",
        "F_00_ANY_S_1_ANGRY_5",
        "X_01_ANY_S_1_ANGRY_5",
        "F_01_ANY_S_11_ANGRY_5",
        "F_01_ANY_S_1_BORED_5",
        "F_01_ANY_S_1_ANGRY_6",
        "F_01_S_1_ANGRY_5",
    ],
)
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"SUBESCO: unexpected file name .* Expected names like F_02_MONIKA_S_1_ANGRY_5\.wav"):
        SUBESCO("x").parse(Path("x") / f"{name}.wav")
