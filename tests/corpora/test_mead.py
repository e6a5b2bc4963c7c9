from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.mead import MEAD
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import GENDERS, assert_wrong_folders_are_refused, card
from tests.releases.mead import recordings, write


@pytest.fixture(scope="module")
def rows() -> list[Utterance]:
    """Of the complete release, without writing its 31729 files."""
    paths = (Path(speaker, "audio", emotion, level, f"{number}.m4a") for speaker, emotion, level, number in recordings())
    return [MEAD("x").parse(path) for path in paths]


def test_a_complete_release_gives_every_utterance(rows: list[Utterance]) -> None:
    assert len(rows) == len({row.id for row in rows}) == 31729
    assert MEAD("x").missing(rows) == []
    assert Counter(row.label for row in rows) == MEAD.counts
    assert {row.intensity for row in rows if row.label == "neutral"} == {"1"}
    assert Counter({row.speaker: row.gender for row in rows}.values()) == {"female": 21, "male": 27}


def test_a_speaker_who_is_there_is_read_completely(tmp_path: Path, rows: list[Utterance]) -> None:
    with pytest.warns(SERZooWarning):
        read = MEAD(write(tmp_path, None, ["W033"])).utterances()
    assert [row.id for row in read] == sorted(row.id for row in rows if row.speaker == "W033")


def test_classes_levels_speakers_and_genders_are_those_counted(rows: list[Utterance]) -> None:
    known = card("mead")
    assert Counter(row.original_label for row in rows) == known["classes"]
    assert Counter(row.intensity for row in rows) == known["levels"]
    speakers = {speaker: (entry["n"], GENDERS[entry["gender"]]) for speaker, entry in known["speakers"].items()}
    counts = Counter(row.speaker for row in rows)
    assert {row.speaker: (counts[row.speaker], row.gender) for row in rows} == speakers


@pytest.mark.parametrize(("task", "size"), [("7class", 27514), ("4class", 14709)])
def test_tasks_take_their_part_of_the_release(rows: list[Utterance], task: str, size: int) -> None:
    assert len(MEAD("x", task).task.select(rows)) == size


@pytest.mark.parametrize("spelling", ["W009/audio/angry/level_2/007.m4a", "w009/Audio/Angry/LEVEL_2/007.M4A"])
def test_a_row_says_what_its_folders_say_in_any_case(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 31729 utterances\. Missing: anger 4192 of 4193; "):
        rows = MEAD(tmp_path).utterances()
    assert rows == [
        Utterance(
            id="W009-angry-level-2-007",
            path=path,
            speaker="W009",
            label="anger",
            original_label="angry",
            gender="female",
            intensity="2",
            language="en",
        )
    ]


def test_of_an_m4a_and_its_wav_the_wav_is_read(tmp_path: Path) -> None:
    write(tmp_path, None, ["M003"], limit=2)
    write(tmp_path, None, ["M003"], limit=1, suffix=".wav")
    with pytest.warns(SERZooWarning):
        assert Counter(row.path.suffix for row in MEAD(tmp_path).utterances()) == {".m4a": 22, ".wav": 22}


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(MEAD, write(tmp_path / "mead", None, ["M003", "W009"], limit=1), "M003")


@pytest.mark.parametrize("name", ["000", "041", "1", "01", "001 (1)"])
def test_a_name_outside_the_grammar_is_refused(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, None, ["M003"], limit=1)
    (root / "M003" / "audio" / "sad" / "level_3" / f"{name}.m4a").touch()
    with pytest.raises(CorpusError, match=r"MEAD: unexpected file name .* in .*level_3\. Expected names like 001\.m4a"):
        MEAD(root).utterances()
