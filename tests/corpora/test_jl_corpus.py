from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.jl_corpus import JLCorpus
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.jl_corpus import FOLDER, write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "jl_corpus", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(JLCorpus(complete))
    assert Counter(row.label for row in rows) == JLCorpus.counts
    assert Counter(row.gender for row in rows) == {"female": 1200, "male": 1200}
    assert Counter(row.repetition for row in rows) == {"1": 1200, "2": 1200}
    assert len({row.text for row in rows}) == 30


def test_names_and_counts_are_those_published(complete: Path) -> None:
    assert_agrees(read_complete(JLCorpus(complete)), card("jlcorpus"))


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path(f"x/{FOLDER}/male2_excited_10a_2.wav")
    assert JLCorpus("x").parse(path) == Utterance(
        id="male2_excited_10a_2",
        path=path,
        speaker="male2",
        label="excitement",
        original_label="excited",
        gender="male",
        text="10a",
        repetition="2",
        language="en",
    )


@pytest.mark.parametrize(("task", "count", "happy"), [("10class", 2400, 240), ("5class", 1200, 240), ("4class", 1200, 480)])
def test_tasks_take_their_part_of_the_release(complete: Path, task: str, count: int, happy: int) -> None:
    rows = read_complete(JLCorpus(complete, task))
    assert len(rows) == count
    assert Counter(row.label for row in rows)["happiness"] == happy


def test_transcripts_beside_the_recordings_are_passed_over(tmp_path: Path) -> None:
    with pytest.warns(SERZooWarning, match=r"20 of 2400 utterances. Missing: anger 238 of 240; "):
        assert len(JLCorpus(write(tmp_path, None, ["male1"], ["1a"], transcripts=True)).utterances()) == 20


def test_the_partial_copy_in_lower_case_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, None, ["male1"], ["1a", "1b"])
    copy = tmp_path / FOLDER.lower()
    if copy.exists():
        pytest.skip("names that differ in case are one file here")
    write(tmp_path / "copy", None, ["male1"], ["1a"])
    (tmp_path / "copy" / FOLDER).parent.rename(copy.parent)
    with pytest.warns(SERZooWarning):
        rows = JLCorpus(tmp_path).utterances()
    assert len(rows) == 40
    assert {row.path.parent for row in rows} == {tmp_path / FOLDER}


@pytest.mark.parametrize("spelling", [f"{FOLDER.upper()}/{{}}.wav", f"{FOLDER.lower()}/{{}}.WAV", f"{FOLDER}/{{}}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("female1_angry_10a_1")
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in JLCorpus(tmp_path).utterances()] == [path]


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(JLCorpus, write(tmp_path / "jl_corpus", None, ["male1"], ["1a"]), FOLDER)


@pytest.mark.parametrize("name", ["male3_sad_1a_1", "male1_bored_1a_1", "male1_sad_1c_1", "male1_sad_1a_3", "male1_sad_1a"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"JL-Corpus: unexpected file name .* Expected names like female1_angry_10a_1\.wav"):
        JLCorpus("x").parse(Path("x") / f"{name}.wav")
