from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.savee import SAVEE
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.savee import write


@pytest.fixture(scope="module", params=[False, True], ids=["folders", "flat"])
def complete(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "savee", None, flat=request.param)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(SAVEE(complete))
    assert Counter(row.label for row in rows) == SAVEE.counts
    assert Counter(row.speaker for row in rows) == dict.fromkeys(("DC", "JE", "JK", "KL"), 120)
    assert rows[0].id == "DC_a01"


def test_names_and_counts_are_those_published(complete: Path) -> None:
    assert_agrees(read_complete(SAVEE(complete)), card("savee"))


@pytest.mark.parametrize("path", ["x/AudioData/JK/su07.wav", "x/JK_su07.wav"])
def test_a_row_says_what_its_path_says(path: str) -> None:
    assert SAVEE("x").parse(Path(path)) == Utterance(
        id="JK_su07",
        path=Path(path),
        speaker="JK",
        label="surprise",
        original_label="su",
        gender="male",
        language="en",
    )


@pytest.mark.parametrize(("task", "count"), [("7class", 480), ("6class", 420), ("4class", 300)])
def test_tasks_take_their_part_of_the_release(complete: Path, task: str, count: int) -> None:
    assert len(read_complete(SAVEE(complete, task))) == count


@pytest.mark.parametrize("spelling", ["audiodata/dc/sa01.wav", "AUDIODATA/DC/sa01.WAV", "DC_sa01.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [(row.path, row.speaker, row.id) for row in SAVEE(tmp_path).utterances()] == [(path, "DC", "DC_sa01")]


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    root = write(tmp_path, None, speakers=["DC", "JE", "JK"])
    with pytest.warns(SERZooWarning, match=r"360 of 480 utterances. Missing: anger 15 of 60; .* neutral 30 of 120; "):
        SAVEE(root).utterances()


@pytest.mark.parametrize("inside", ["AudioData", "AudioData/DC"])
def test_folders_that_are_not_the_release_are_refused(tmp_path: Path, inside: str) -> None:
    root = write(tmp_path / "savee", None, ["DC"])
    if inside == "AudioData":
        assert_wrong_folders_are_refused(SAVEE, root, inside)
    else:
        with pytest.raises(CorpusError, match=r"unexpected file name a01\.wav .*Expected names like DC_sa01\.wav"):
            SAVEE(root / inside).utterances()


def test_both_layouts_at_once_are_refused(tmp_path: Path) -> None:
    write(write(tmp_path, None, ["DC"]), None, ["DC"], flat=True)
    with pytest.raises(CorpusError, match=r"two files for utterance DC_a01: .*AudioData/DC/a01\.wav and .*DC_a01\.wav"):
        SAVEE(tmp_path).utterances()


@pytest.mark.parametrize(
    "path", ["AudioData/DC/s01", "AudioData/DC/x01", "AudioData/DC/sa1", "AudioData/DC/DC_sa01", "XX_sa01"]
)
def test_a_name_outside_the_grammar_is_refused(path: str) -> None:
    with pytest.raises(CorpusError, match=r"SAVEE: unexpected file name .* Expected names like (DC_)?sa01\.wav"):
        SAVEE("x").parse(Path(f"x/{path}.wav"))
