from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.shemo import ShEMO
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, card, read_complete
from tests.releases.shemo import write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "shemo", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(ShEMO(complete))
    assert len(rows) == 3000
    assert Counter(row.label for row in rows) == ShEMO.counts
    assert Counter(row.gender for row in rows) == {"female": 1263, "male": 1737}
    assert len({row.speaker for row in rows}) == 87


def test_names_and_counts_are_those_published(complete: Path) -> None:
    known = card("shemo")
    rows = read_complete(ShEMO(complete))
    assert Counter(row.original_label for row in rows) == known["release"]["file_name_labels"]
    assert Counter(row.gender for row in rows) == {gender: known["release"][gender] for gender in ("female", "male")}
    assert {row.speaker for row in rows} == set(known["speakers"])


@pytest.mark.parametrize(
    ("name", "speaker", "gender", "label", "letter"),
    [
        ("F31F102", "F31", "female", "fear", "F"),
        ("F01W02", "F01", "female", "surprise", "W"),
        ("M56S10", "M56", "male", "sadness", "S"),
    ],
)
def test_a_row_says_what_its_file_name_says(name: str, speaker: str, gender: str, label: str, letter: str) -> None:
    path = Path(f"x/{gender}/{name}.wav")
    assert ShEMO("x").parse(path) == Utterance(
        id=name,
        path=path,
        speaker=speaker,
        label=label,
        original_label=letter,
        gender=gender,
        language="fa",
    )


@pytest.mark.parametrize(("task", "count"), [("6class", 3000), ("5class", 2962), ("4class", 2737)])
def test_tasks_take_their_part_of_the_release(complete: Path, task: str, count: int) -> None:
    assert len(read_complete(ShEMO(complete, task))) == count


@pytest.mark.parametrize("spelling", ["Female/{}.wav", "FEMALE/{}.WAV", "female/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("F01A02")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in ShEMO(tmp_path).utterances()] == [path]


def test_one_archive_of_two_is_not_complete(tmp_path: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"of 3000 utterances. Missing: anger \d+ of 1059; fear "):
        ShEMO(write(tmp_path, None, ["F01", "F02"])).utterances()


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(ShEMO, write(tmp_path / "shemo", None, ["F01"]), "female")


@pytest.mark.parametrize("name", ["F32A01", "M57A01", "F00A01", "F01X01", "F01A1", "F01A0001", "X01A01", "F01A01 (1)"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"ShEMO: unexpected file name .* Expected names like F01A02\.wav"):
        ShEMO("x").parse(Path("x/female") / f"{name}.wav")
