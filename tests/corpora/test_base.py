"""What all readers share: where a release is looked for, and what is passed over in its folders."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from ser_zoo.corpora import CORPORA, Task, Utterance, corpus_class, create_corpus
from ser_zoo.corpora.base import audio_files, default_root, keep, listing, prefer_wav, short_list, subfolder, walk
from ser_zoo.corpora.labels import CANONICAL, SPACES
from ser_zoo.errors import CorpusError, SERZooWarning, UnknownNameError
from tests.releases import emns, iemocap, m3ed, msp_improv, msp_podcast, pavoque, write_emo_db

OPEN_ENDED = ("audformat", "csv")  # whose classes are those of the user's table


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
    assert all((cls.title, cls.language, cls.kind, cls.licence, cls.url, cls.layout))
    assert cls.speakers is None or cls.speakers > 0
    assert all(download.checksum is None or download.checksum.split(":")[0] in ("md5", "sha256") for download in cls.downloads)
    tasks = cls(Path("x")).known_tasks()
    assert len({task.name for task in tasks}) == len(tasks) > 0
    if name in OPEN_ENDED:
        assert (cls.counts, cls(Path("x")).total, cls(Path("x")).labels) == ({}, 0, ())
        return
    assert min(cls.counts.values()) >= 0
    assert cls(Path("x")).total > 0
    for task in tasks:
        assert task.source
        assert len(task.labels) > 1
        assert task.classes.keys() <= cls.counts.keys()


def test_only_the_demo_is_synthetic() -> None:
    assert [name for name in CORPORA if corpus_class(name).synthetic] == ["demo"]


def test_an_unknown_corpus_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown corpus 'emodb'. Did you mean emo_db"):
        create_corpus("emodb")


# Tasks and shared label spaces.


def utterance(label: str, **more: object) -> Utterance:
    return Utterance(id=label, path=Path("x.wav"), speaker="1", label=label, original_label=label, **more)


def test_a_task_merges_and_drops_labels_and_counts_what_it_drops() -> None:
    task = Task(name="2class", classes=keep("happiness", "anger", excitement="happiness"), where={"style": ("improvised",)})
    rows = [utterance(label, style="improvised") for label in ("anger", "excitement", "fear")] + [
        utterance("happiness", style="scripted")
    ]
    assert task.labels == ("happiness", "anger")
    assert [(row.id, row.label) for row in task.select(rows)] == [("anger", "anger"), ("excitement", "happiness")]
    assert task.dropped([*rows, rows[2]]) == {"fear": 2, "happiness": 1}


def test_votes_are_merged_as_the_labels_are() -> None:
    task = Task(name="2class", classes=keep("happiness", "anger", excitement="happiness"))
    row = utterance("anger", soft={"happiness": 1.0, "excitement": 2.0, "fear": 4.0, "anger": 3.0})
    assert task.select([row])[0].soft == {"happiness": 3.0, "anger": 3.0}


def test_a_space_is_a_task_of_every_corpus(emo_db: Path) -> None:
    corpus = create_corpus("emo_db", emo_db, labels="common6")
    assert corpus.labels == ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    assert len(corpus.utterances()) == 535 - 81
    assert corpus.task.dropped(corpus.release()) == {"boredom": 81}


def test_spaces_name_canonical_labels_alone() -> None:
    for space in SPACES.values():
        assert space.keys() <= set(CANONICAL)
        assert set(space.values()) <= space.keys()


def test_an_unknown_task_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown task of emo_db '4clas'. Did you mean 4class"):
        create_corpus("emo_db", task="4clas")


def test_a_task_and_a_space_exclude_each_other() -> None:
    with pytest.raises(CorpusError, match=r"--data\.task 4class and --data\.labels common4 both name the classes"):
        create_corpus("emo_db", task="4class", labels="common4")


def test_a_release_without_anything_of_the_task_is_refused(tmp_path: Path) -> None:
    write_emo_db(tmp_path, ["03"], "LE", 1)
    with (
        pytest.warns(SERZooWarning),
        pytest.raises(
            CorpusError,
            match=r"no utterance of task 4class .*its labels are disgust 1, boredom 1\. Take another task \(7class, 4class\)",
        ),
    ):
        create_corpus("emo_db", tmp_path, task="4class").utterances()


# The walk over the files.


def test_the_walk_goes_down_in_order_and_passes_over_what_is_hidden(tmp_path: Path) -> None:
    for file in ("b/x.wav", "a/y.wav", "z.wav", ".git/h.wav", "__MACOSX/a/y.wav", "a/._y.wav", "a/m.mp4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in walk(tmp_path)] == ["z.wav", "a/y.wav", "b/x.wav"]
    assert [path.name for path in walk(tmp_path, (".mp4",))] == ["m.mp4"]


def test_what_was_converted_comes_before_its_source() -> None:
    paths = [Path("a.mp4"), Path("a.wav"), Path("b.mp4"), Path("x/a.mp4")]
    assert prefer_wav(paths) == [Path("a.wav"), Path("b.mp4"), Path("x/a.mp4")]


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


# Files of labels.


@pytest.mark.parametrize(
    ("name", "release"), [("iemocap", iemocap), ("m3ed", m3ed), ("msp_improv", msp_improv), ("pavoque", pavoque)]
)
def test_label_files_may_have_a_byte_order_mark_and_line_ends_of_windows(
    tmp_path: Path, name: str, release: ModuleType
) -> None:
    corpus = create_corpus(name, release.write(tmp_path / name, None, limit=1))
    as_released = corpus.scan()
    for path in corpus.root.rglob("*"):
        if path.suffix in (".txt", ".json", ".yaml"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert corpus.scan() == as_released


@pytest.mark.parametrize(
    ("name", "release", "file"),
    [
        ("m3ed", m3ed, "annotation.json"),
        ("m3ed", m3ed, "splitInfo/movie_list_test.txt"),
        ("pavoque", pavoque, "pavoque-angry.yaml"),
    ],
)
def test_a_label_file_that_ends_within_a_character_is_refused(
    tmp_path: Path, name: str, release: ModuleType, file: str
) -> None:
    corpus = create_corpus(name, release.write(tmp_path / name, None, limit=1))
    path = corpus.root / file
    path.write_bytes(path.read_bytes() + "ä".encode()[:1])
    with pytest.raises(
        CorpusError, match=r"line \d+: found the byte 0xc3, expected text in UTF-8\. The file seems to be damaged"
    ):
        corpus.scan()


@pytest.mark.parametrize(
    ("name", "release", "table"), [("emns", emns, "metadata.csv"), ("msp_podcast", msp_podcast, "Labels/labels_consensus.csv")]
)
def test_a_second_line_for_a_recording_is_no_second_recording(
    tmp_path: Path, name: str, release: ModuleType, table: str
) -> None:
    corpus = create_corpus(name, release.write(tmp_path / name, None))
    path = corpus.root / table
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(
        CorpusError, match=r"two entries for utterance .*, both of .*\. Expected one in the label files: remove"
    ):
        corpus.scan()


# Lists in messages.


def test_a_long_list_is_cut_and_says_by_how_much() -> None:
    assert short_list(["a", "b"], 2) == "a, b"
    assert short_list(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_a_listing_marks_folders_and_says_when_there_is_nothing(tmp_path: Path) -> None:
    assert listing(tmp_path) == "nothing"
    (tmp_path / "wav").mkdir()
    (tmp_path / "notes.txt").touch()
    assert listing(tmp_path) == "notes.txt, wav/"
