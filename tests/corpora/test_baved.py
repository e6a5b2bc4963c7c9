from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance, create_corpus
from ser_zoo.corpora.baved import BAVED
from ser_zoo.corpora.labels import SPACES
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import GENDERS, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.baved import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(BAVED(write(tmp_path_factory.mktemp("complete") / "baved", seconds=None)))


def test_a_complete_release_gives_every_utterance_but_the_copies(rows: list[Utterance]) -> None:
    assert len(rows) == 1935 - 21
    assert Counter(row.label for row in rows) == BAVED.counts
    assert Counter({row.speaker: row.gender for row in rows}.values()) == {"female": 16, "male": 43}
    assert {row.text for row in rows} == set("0123456")


def test_levels_speakers_and_genders_are_those_counted(rows: list[Utterance]) -> None:
    known = card("baved")
    copies = known["speakers"].pop("53")["n"]
    assert Counter(row.original_label for row in rows) == {level: n - copies // 3 for level, n in known["classes"].items()}
    speakers = {speaker: (entry["n"], GENDERS[entry["gender"]]) for speaker, entry in known["speakers"].items()}
    counts = Counter(row.speaker for row in rows)
    assert {row.speaker: (counts[row.speaker], row.gender) for row in rows} == speakers


@pytest.mark.parametrize("space", SPACES)
def test_levels_are_not_taken_for_categories(rows: list[Utterance], space: str) -> None:
    assert create_corpus("baved", "x", labels=space).task.select(rows) == []


@pytest.mark.parametrize("folder", ["0", "6"])
def test_a_row_says_what_its_file_name_says_whatever_the_folder(folder: str) -> None:
    path = Path(folder) / "49-m-23-6-1-201.wav"
    assert BAVED("x").parse(path) == Utterance(
        id="49-m-23-6-1-201",
        path=path,
        speaker="49",
        label="level_1",
        original_label="1",
        gender="male",
        text="6",
        language="ar",
    )


@pytest.mark.parametrize("spelling", ["0/{}.WAV", "Basic-Arabic-Vocal-Emotions-Dataset-master/0/{}.wav"])
def test_case_and_the_folder_of_the_archive_do_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("0-m-21-0-1-105")
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 1914 utterances\. Missing: level_0 578 of 578; level_1 664 of 665; "):
        assert [row.path for row in BAVED(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(BAVED, write(tmp_path / "baved", None, [0]), "0")


@pytest.mark.parametrize("name", ["0-x-21-0-1-105", "0-m-21-7-1-105", "0-m-21-0-3-105", "0-m-21-0-1", "0-m-21-0-1-105 (1)"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"BAVED: unexpected file name .* Expected names like 0-m-21-0-1-105\.wav"):
        BAVED("x").parse(Path("0") / f"{name}.wav")
