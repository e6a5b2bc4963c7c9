from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.esd import ESD
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.esd import paths, write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Of the complete release, whose 35000 files are not written: the reader opens none."""
    root = tmp_path_factory.mktemp("esd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ESD, "files", lambda _: paths(root))
        return read_complete(ESD(root))


def test_a_complete_release_gives_every_utterance(rows: list[Utterance]) -> None:
    assert Counter(row.label for row in rows) == ESD.counts
    assert Counter(row.split for row in rows) == {"train": 30_000, "validation": 2_000, "test": 3_000}
    assert Counter(row.language for row in rows) == {"zh": 17_500, "en": 17_500}
    assert Counter(row.text for row in rows) == {str(text): 100 for text in range(1, 351)}


def test_names_and_counts_are_those_published(rows: list[Utterance]) -> None:
    assert_agrees(rows, card("esd"))


def test_folders_of_the_splits_change_nothing_but_the_paths(tmp_path: Path) -> None:
    texts = (1, 20, 21, 50, 51, 350)
    with pytest.warns(SERZooWarning):
        plain = ESD(write(tmp_path / "plain", None, ["0001"], texts)).utterances()
    with pytest.warns(SERZooWarning):
        split = ESD(write(tmp_path / "split", None, ["0001"], texts, splits=True)).utterances()
    assert [(row.id, row.label, row.split) for row in split] == [(row.id, row.label, row.split) for row in plain]
    folders = {"validation": "evaluation", "test": "test", "train": "train"}
    assert all(row.path.parent.name == folders[str(row.split)] for row in split)
    assert [row.split for row in split[:6]] == ["validation", "validation", "test", "test", "train", "train"]


def test_a_row_says_what_its_number_says() -> None:
    path = Path("x/0013/Angry/0013_000700.wav")
    assert ESD("x").parse(path) == Utterance(
        id="0013_000700",
        path=path,
        speaker="0013",
        label="anger",
        original_label="Angry",
        gender="male",
        text="350",
        language="en",
        split="train",
    )


@pytest.mark.parametrize(
    ("number", "label", "text"),
    [(1, "neutral", "1"), (350, "neutral", "350"), (351, "anger", "1"), (1401, "surprise", "1"), (1750, "surprise", "350")],
)
def test_blocks_of_numbers_are_emotions(number: int, label: str, text: str) -> None:
    row = ESD("x").parse(Path(f"x/0020/0020_{number:06d}.wav"))
    assert (row.label, row.text) == (label, text)


@pytest.mark.parametrize(("task", "count"), [("4class", 80), ("english", 50), ("mandarin", 50)])
def test_tasks_take_their_part_of_the_release(tmp_path: Path, task: str, count: int) -> None:
    write(tmp_path, None, ["0001", "0011"], range(1, 11))
    with pytest.warns(SERZooWarning, match=r"100 of 35000 utterances. Missing: neutral 6980 of 7000"):
        assert len(ESD(tmp_path, task).utterances()) == count


@pytest.mark.parametrize("spelling", ["0001/ANGRY/{}.wav", "0001/angry/Train/{}.WAV", "0001/Angry/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("0001_000400")
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in ESD(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(ESD, write(tmp_path / "esd", None, ["0001"], [1]), "0001")


def test_the_same_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    write(write(tmp_path, None, ["0001"], [1]), None, ["0001"], [1], splits=True)
    with pytest.raises(CorpusError, match=r"two files for utterance 0001_000"):
        ESD(tmp_path).utterances()


@pytest.mark.parametrize(
    "name", ["0001_000000", "0001_001751", "0001_002000", "0021_000001", "0000_000001", "0001_00001", "0001"]
)
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"ESD: unexpected file name .* Expected names like 0011_000351\.wav"):
        ESD("x").parse(Path("x/0001/Angry") / f"{name}.wav")
