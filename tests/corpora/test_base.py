"""What all readers share: where a release is looked for, and what is passed over in its folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser_zoo.corpora import CORPORA, corpus_class, create_corpus
from ser_zoo.corpora.base import audio_files, default_root, listing, short_list, subfolder
from ser_zoo.errors import UnknownNameError


@pytest.fixture(params=sorted(CORPORA))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Where a release is looked for.


def test_without_a_choice_the_root_is_below_the_working_directory(name: str) -> None:
    assert create_corpus(name).root == Path("data") / name


def test_the_environment_names_the_folder_of_all_corpora(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_DATA", "/corpora")
    assert create_corpus(name).root == Path("/corpora") / name


def test_a_root_that_is_given_comes_before_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_DATA", "/corpora")
    assert create_corpus(name, "/mine").root == Path("/mine")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_DATA", "")
    assert default_root("emo_db") == Path("data/emo_db")


def test_the_environment_is_read_when_a_corpus_is_made(emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not create_corpus("emo_db").found()
    monkeypatch.setenv("SER_ZOO_DATA", str(emo_db.parent))
    assert create_corpus("emo_db").found()


# The table.


def test_a_name_in_the_table_is_that_of_its_class(name: str) -> None:
    assert corpus_class(name).name == name


def test_a_class_says_what_the_listing_shows(name: str) -> None:
    cls = corpus_class(name)
    assert all((cls.title, cls.language, cls.licence, cls.url, cls.layout))
    assert cls.size > 0
    assert len(set(cls.labels)) == len(cls.labels) > 1


def test_only_the_demo_is_synthetic() -> None:
    assert [name for name in CORPORA if corpus_class(name).synthetic] == ["demo"]


def test_an_unknown_corpus_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown corpus 'emodb'. Did you mean emo_db"):
        create_corpus("emodb")


# The walk over the files.


def test_audio_files_are_sorted_and_nothing_else_is_taken(tmp_path: Path) -> None:
    for file in ("b.wav", "a.FLAC", "c.Wav", "._b.wav", ".DS_Store", "readme.txt", "d.mp3"):
        (tmp_path / file).touch()
    (tmp_path / "folder.wav").mkdir()
    assert [path.name for path in audio_files(tmp_path)] == ["a.FLAC", "b.wav", "c.Wav"]


def test_a_folder_that_is_missing_has_no_audio_files(tmp_path: Path) -> None:
    assert audio_files(tmp_path / "nowhere") == []


def test_a_subfolder_is_found_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "WAV").mkdir()
    assert subfolder(tmp_path, "wav") == tmp_path / "WAV"
    assert subfolder(tmp_path, "flac") == tmp_path / "flac"
    assert subfolder(tmp_path / "nowhere", "wav") == tmp_path / "nowhere" / "wav"


# Lists in messages.


def test_a_long_list_is_cut_and_says_by_how_much() -> None:
    assert short_list(["a", "b"], 2) == "a, b"
    assert short_list(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_a_listing_marks_folders_and_says_when_there_is_nothing(tmp_path: Path) -> None:
    assert listing(tmp_path) == "nothing"
    (tmp_path / "wav").mkdir()
    (tmp_path / "notes.txt").touch()
    assert listing(tmp_path) == "notes.txt, wav/"
