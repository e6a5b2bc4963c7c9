from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.thorsten import STYLES, Thorsten
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_wrong_folders_are_refused, read_complete
from tests.releases.thorsten import write

DIGITS = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return read_complete(Thorsten(write(tmp_path_factory.mktemp("complete") / "thorsten", seconds=None)))


def test_a_complete_release_gives_every_utterance_and_no_warning(rows: list[Utterance]) -> None:
    assert len(rows) == 2399
    assert Counter(row.original_label for row in rows) == {**dict.fromkeys(STYLES, 300), "whisper": 299}
    assert Counter(Counter(row.text for row in rows).values()) == {8: 299, 7: 1}
    assert {row.speaker for row in rows} == {"thorsten"}


@pytest.mark.parametrize("spelling", ["sleepy/{}.wav", "SLEEPY/{}.WAV", "thorsten-emotional_v02/sleepy/{}.wav"])
def test_a_row_says_what_its_folder_says_in_any_case(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format(DIGITS)
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning, match=r"1 of 2399 utterances\. Missing: amusement 300 of 300; "):
        rows = Thorsten(tmp_path).utterances()
    assert rows == [
        Utterance(
            id=f"sleepy-{DIGITS}",
            path=path,
            speaker="thorsten",
            label="sleepiness",
            original_label="sleepy",
            gender="male",
            text=DIGITS,
            language="de",
        )
    ]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(Thorsten, write(tmp_path / "thorsten", None, texts=1), "amused")


@pytest.mark.parametrize("name", [DIGITS[:-1], DIGITS.upper(), "satz 1"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"Thorsten emotional: unexpected file name .* Expected names like 0123"):
        Thorsten("x").parse(Path("amused") / f"{name}.wav")
