from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.nemo import NEMO
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.nemo import write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "nemo", seconds=None)


def test_a_complete_release_gives_every_utterance_and_no_warning(complete: Path) -> None:
    rows = read_complete(NEMO(complete))
    assert len(rows) == 4481
    assert Counter(row.label for row in rows) == NEMO.counts
    assert len({row.text for row in rows}) == 90
    assert {row.speaker for row in rows if row.label == "surprise"} == {row.speaker for row in rows} - {"MK0"}


def test_classes_speakers_and_genders_are_those_counted(complete: Path) -> None:
    assert_agrees(read_complete(NEMO(complete)), card("nemo"))


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/samples/WR0_surprised_64.wav")
    assert NEMO("x").parse(path) == Utterance(
        id="WR0_surprised_64",
        path=path,
        speaker="WR0",
        label="surprise",
        original_label="surprised",
        gender="male",
        text="64",
        language="pl",
    )


@pytest.mark.parametrize(("task", "size"), [("5class", 3812), ("4class", 3076)])
def test_tasks_take_their_part_of_the_release(complete: Path, task: str, size: int) -> None:
    assert len(read_complete(NEMO(complete, task))) == size


@pytest.mark.parametrize("spelling", ["Samples/{}.wav", "SAMPLES/{}.WAV", "samples/{}.flac", "nEMO-main/samples/{}.wav"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("EB0_anger_1")
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 4481 utterances\. Missing: anger 748 of 749; fear"):
        assert [row.path for row in NEMO(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(NEMO, write(tmp_path / "nemo", None, ["EB0"], texts=1), "samples")


@pytest.mark.parametrize("name", ["EB0_surprise_1", "XX0_anger_1", "EB0_anger_91", "EB0_anger_0", "EB0_anger", "EB0_anger_01"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"nEMO: unexpected file name .* Expected names like EB0_anger_1\.wav"):
        NEMO("x").parse(Path("x/samples") / f"{name}.wav")
