from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.tess import TESS
from ser_zoo.data.audio import read_audio
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, assert_wrong_folders_are_refused, card, read_complete
from tests.releases.tess import AIFF, ODD_WORDS, write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "tess", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(TESS(complete))
    assert Counter(row.label for row in rows) == TESS.counts
    assert Counter(row.speaker for row in rows) == {"OAF": 1400, "YAF": 1400}
    assert len({row.text for row in rows}) == 200


def test_names_and_counts_are_those_published(tmp_path: Path) -> None:
    known = card("tess")
    rows = read_complete(TESS(write(tmp_path, None, words=known["words"])))
    assert_agrees(rows, known)
    assert sorted({row.path.parent.name for row in rows}) == sorted(known["folders"])
    assert all((tmp_path / name).is_file() for name in known["bad"]["aiff_with_wav_extension"])


def test_all_files_in_one_folder_are_the_same_release(tmp_path: Path, complete: Path) -> None:
    flat = read_complete(TESS(write(tmp_path, None, flat=True)))
    assert [(row.id, row.label) for row in flat] == [(row.id, row.label) for row in read_complete(TESS(complete))]


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/YAF_sad/YAF_back_ps.wav")
    assert TESS("x").parse(path) == Utterance(
        id="YAF_back_ps",
        path=path,
        speaker="YAF",
        label="surprise",
        original_label="ps",
        gender="female",
        text="back",
        language="en",
    )


def test_the_misnamed_file_is_by_the_older_actress() -> None:
    row = TESS("x").parse(Path("x/OAF_neutral/OA_bite_neutral.wav"))
    assert (row.id, row.speaker, row.text, row.label) == ("OA_bite_neutral", "OAF", "bite", "neutral")


def test_aiff_under_the_name_of_a_wav_is_read(tmp_path: Path) -> None:
    write(tmp_path, 0.1, words=ODD_WORDS)
    with pytest.warns(SERZooWarning):
        rows = {row.id: row for row in TESS(tmp_path).utterances()}
    for name in AIFF:
        assert rows[name].path.read_bytes()[:4] == b"FORM"
        waveform, rate = read_audio(rows[name].path)
        assert rate == 24_414
        assert len(waveform) >= 0.1 * rate
    assert read_audio(rows["OAF_food_fear"].path)[1] == 96_000


@pytest.mark.parametrize(("task", "count"), [("7class", 2800), ("6class", 2400), ("4class", 1600)])
def test_tasks_take_their_part_of_the_release(complete: Path, task: str, count: int) -> None:
    assert len(read_complete(TESS(complete, task))) == count


@pytest.mark.parametrize("spelling", ["oaf_ANGRY/{}.wav", "OAF_angry/{}.WAV", "{}.flac"])
def test_case_of_folder_and_suffix_does_not_matter(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / spelling.format("OAF_back_angry")
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [row.path for row in TESS(tmp_path).utterances()] == [path]


def test_a_partial_release_names_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, None, words=["bite"])
    shutil.rmtree(tmp_path / "OAF_Sad")
    with pytest.warns(SERZooWarning, match=r"13 of 2800 utterances. Missing: anger 398 of 400; .*; sadness 399 of 400\."):
        TESS(tmp_path).utterances()


def test_folders_that_are_not_the_release_are_refused(tmp_path: Path) -> None:
    assert_wrong_folders_are_refused(TESS, write(tmp_path / "tess", None, words=["bite"]))


def test_one_folder_of_the_release_is_read_as_a_part_of_it(tmp_path: Path) -> None:
    root = write(tmp_path, None, words=["bite"])
    with pytest.warns(SERZooWarning, match=r"1 of 2800 utterances"):
        TESS(root / "OAF_Fear").utterances()


def test_files_in_folders_and_flat_at_once_are_refused(tmp_path: Path) -> None:
    write(write(tmp_path, None, words=["bite"]), None, words=["bite"], flat=True)
    with pytest.raises(CorpusError, match="two files for utterance OAF_bite_"):
        TESS(tmp_path).utterances()


@pytest.mark.parametrize("name", ["OAF_back_surprised", "AF_back_sad", "OAF_back", "OAF_Back_sad", "751testOAF_back_sad48"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"TESS: unexpected file name .* Expected names like OAF_back_angry\.wav"):
        TESS("x").parse(Path("x/OAF_sad") / f"{name}.wav")
