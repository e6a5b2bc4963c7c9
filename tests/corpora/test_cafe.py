from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.cafe import CaFE
from ser_zoo.data.audio import read_audio
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.corpora.checks import assert_agrees, card, read_complete
from tests.releases.cafe import write


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("complete") / "cafe", seconds=None)


def test_a_complete_release_gives_every_utterance(complete: Path) -> None:
    rows = read_complete(CaFE(complete))
    assert Counter(row.label for row in rows) == CaFE.counts
    assert Counter(row.intensity for row in rows) == {"weak": 432, "strong": 432, None: 72}
    assert Counter(row.text for row in rows) == {str(text): 156 for text in range(1, 7)}


def test_names_and_counts_are_those_published(complete: Path) -> None:
    assert_agrees(read_complete(CaFE(complete)), card("cafe"), lambda row: row.original_label.lower())


def test_a_row_says_what_its_file_name_says() -> None:
    path = Path("x/anything/10-J-2-6.wav")
    assert CaFE("x").parse(path) == Utterance(
        id="10-J-2-6",
        path=path,
        speaker="10",
        label="happiness",
        original_label="J",
        gender="female",
        text="6",
        intensity="strong",
        language="fr",
    )


def test_the_edition_of_192_khz_is_aiff(tmp_path: Path) -> None:
    write(tmp_path, 0.01, ["01"], ".aiff")
    with pytest.warns(SERZooWarning, match="78 of 936"):
        rows = CaFE(tmp_path).utterances()
    assert read_audio(rows[0].path)[1] == 192_000


@pytest.mark.parametrize("folder", ["Colère/Faible", "Cole\u0300re/FAIBLE", "Col\udc8are/Faible", "192k/1", "."])
@pytest.mark.parametrize("suffix", [".wav", ".WAV", ".AIFF", ".aif", ".flac"])
def test_neither_folders_nor_the_case_of_the_suffix_matter(tmp_path: Path, folder: str, suffix: str) -> None:
    path = tmp_path / folder / f"01-C-1-1{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.warns(SERZooWarning):
        assert [(row.path, row.label) for row in CaFE(tmp_path).utterances()] == [(path, "anger")]


@pytest.mark.parametrize(("task", "count"), [("7class", 936), ("6class", 792), ("4class", 504)])
def test_tasks_take_their_part_of_the_release(complete: Path, task: str, count: int) -> None:
    assert len(read_complete(CaFE(complete, task))) == count


def test_the_folder_above_is_the_same_release_and_one_inside_is_a_part_of_it(tmp_path: Path, complete: Path) -> None:
    root = shutil.copytree(complete, tmp_path / "cafe")
    assert len(read_complete(CaFE(tmp_path))) == 936
    with pytest.warns(SERZooWarning, match=r"144 of 936 utterances. Missing: anger 144 of 144; disgust 144 of 144; neutral 72"):
        CaFE(root / "Joie").utterances()


@pytest.mark.parametrize(("folder", "found"), [("empty", "holds nothing"), ("nowhere", "there is no folder")])
def test_folders_without_recordings_are_refused(tmp_path: Path, folder: str, found: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=rf"CaFE not found: .*{found}.* Expected the unpacked release in one edition"):
        CaFE(tmp_path / folder).utterances()


def test_two_editions_at_once_are_refused(tmp_path: Path) -> None:
    write(write(tmp_path / "48k", None, ["01"]).parent / "192k", None, ["01"], ".aiff")
    with pytest.raises(CorpusError, match=r"two files for utterance 01-.*\.aiff and .*\.wav"):
        CaFE(tmp_path).utterances()


@pytest.mark.parametrize("name", ["13-C-1-1", "01-A-1-1", "01-C-3-1", "01-C-1-7", "1-C-1-1", "01-C-1"])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match=r"CaFE: unexpected file name .* Expected names like 01-C-1-1\.wav"):
        CaFE("x").parse(Path("x") / f"{name}.wav")
