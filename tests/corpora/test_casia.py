from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.casia import CASIA
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.casia import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(CASIA(write(tmp_path_factory.mktemp("complete") / "casia", seconds=None)))


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 1200
    assert Counter(row.label for row in rows) == CASIA.counts
    assert len({row.text for row in rows}) == 50
    assert len(CASIA("x", "4class").task.select(rows)) == 800


def test_classes_and_speakers_are_those_counted(rows: list[Utterance]) -> None:
    assert_agrees(rows, card("casia"))


@pytest.mark.parametrize("spelling", ["wangzhe/happy/207.wav", "WangZhe/Happy/207.WAV"])
def test_a_row_says_what_its_folders_say_in_any_case(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 1200 utterances\. Missing: anger 200 of 200; .*happiness 199 of 200; "):
        rows = CASIA(tmp_path).utterances()
    assert rows == [
        Utterance(
            id="wangzhe-happy-207",
            path=path,
            speaker="wangzhe",
            label="happiness",
            original_label="happy",
            text="207",
            language="zh",
        )
    ]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(CASIA, write(tmp_path / "casia", None, texts=1), "wangzhe")


@pytest.mark.parametrize("name", ["200", "251", "20", "301", "201 (1)"])
def test_a_name_outside_the_grammar_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, None, ["wangzhe"], texts=1)
    (tmp_path / "wangzhe" / "sad" / f"{name}.wav").touch()
    with pytest.raises(CorpusError, match=r"CASIA: unexpected file name .* in .*sad\. Expected names like 201\.wav"):
        CASIA(tmp_path).utterances()
