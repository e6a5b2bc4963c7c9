from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.aesdd import AESDD
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.aesdd import write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "aesdd", seconds=None)


def test_a_complete_release_gives_every_utterance_but_the_broken_one(complete: Path) -> None:
    rows = read_complete(AESDD(complete))
    assert len(rows) == 604
    assert Counter(row.label for row in rows) == AESDD.counts
    assert (complete / "sadness" / "s05 (3).wav").is_file()
    assert "s05 (3)" not in {row.id for row in rows}


def test_names_and_counts_are_those_published(complete: Path) -> None:
    known = card("aesdd")
    rows = read_complete(AESDD(complete))
    assert_agrees(rows, known)
    for fold in known["protocols"]["loso6"]["folds"].values():
        assert Counter(row.original_label for row in rows if row.speaker in fold["test"]) == fold["test_classes"]
    assert sum("(01)" in row.id for row in rows) == known["bad"]["speaker_written_01"]
    assert sum(row.repetition is not None for row in rows) == known["bad"]["suffix_a_or_b_takes"]


@pytest.mark.parametrize(
    ("name", "speaker", "text", "take"),
    [
        ("a03 (3)", "3", "03", None),
        ("a13 (01)", "1", "13", None),
        ("a06 (5)b", "5", "06", "b"),
        ("a01(2)", "2", "01", None),
    ],
)
def test_a_row_says_what_its_file_name_says(name: str, speaker: str, text: str, take: str | None) -> None:
    path = Path(f"x/anger/{name}.wav")
    assert AESDD("x").parse(path) == Utterance(
        id=name,
        path=path,
        speaker=speaker,
        label="anger",
        original_label="a",
        text=text,
        repetition=take,
        language="el",
    )


@pytest.mark.parametrize("spelling", ["ANGER/{}.wav", "Anger/{}.WAV", "anger/{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("a03 (3)")
    path.parent.mkdir()
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in AESDD(tmp_path).utterances()] == [path]


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"98 of 604 utterances. Missing: anger 101 of 121; .*; sadness 103 of 122\. "):
        AESDD(write(tmp_path, None, ["3"])).utterances()


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(AESDD, write(tmp_path / "aesdd", None, ["1"]), "anger")


@pytest.mark.parametrize("name", ["a03 (7)", "a03", "n03 (3)", "a3 (3)", "a03 (3) (1)", "a03_(3)"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"AESDD: unexpected file name .* Expected names like a03 \(3\)\.wav"):
        AESDD("x").parse(Path("x/anger") / f"{name}.wav")
