from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.polish import Polish
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.polish import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(Polish(write(tmp_path_factory.mktemp("complete") / "polish", seconds=None)))


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 450
    assert Counter(row.label for row in rows) == Polish.counts
    assert Counter(row.text for row in rows) == dict.fromkeys(("nie", "oddaj", "podaj", "stop", "tak", "trzymaj"), 75)


def test_classes_speakers_and_genders_are_those_counted(rows: list[Utterance]) -> None:
    assert_agrees(rows, card("polish"))


def test_a_row_says_what_its_file_name_says_and_s_is_fear() -> None:
    path = Path("x/m3.s_trzymaj_5.wav")
    assert Polish("x").parse(path) == Utterance(
        id="m3.s_trzymaj_5",
        path=path,
        speaker="m3",
        label="fear",
        original_label="s",
        gender="male",
        text="trzymaj",
        repetition="5",
        language="pl",
    )


@pytest.mark.parametrize("suffix", [".WAV", ".flac"])
def test_case_of_the_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m1.a_nie_2{suffix}"
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 450 utterances\. Missing: anger 149 of 150; neutral 150 of 150; "):
        assert [row.path for row in Polish(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(Polish, write(tmp_path / "polish", None, ["m1"]))


@pytest.mark.parametrize("name", ["m6.a_nie_2", "m1.x_nie_2", "m1.a_nein_2", "m1.a_nie_6", "m1_a_nie_2", "m1.a_nie"])
def test_a_name_outside_the_grammar_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.wav").touch()
    with pytest.raises(CorpusError, match=r"Emotions in Polish speech: unexpected file name .* names like m1\.a_nie_2\.wav"):
        Polish(tmp_path).utterances()
