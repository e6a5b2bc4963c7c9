"""The manifest: what is kept comes back, what has changed is noticed, what is damaged is refused as a whole."""

from __future__ import annotations

import csv
import json
import os
import shutil
import string
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.corpora.manifest import (
    Entry,
    Manifest,
    Measured,
    Stamp,
    by_class_and_speaker,
    fresh,
    fresh_utterances,
    load,
    places,
    survey,
    write,
)
from ser_zoo.corpora.ravdess import RAVDESS
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.releases import write_recording


def release(root: Path) -> EmoDB:
    """Two empty recordings, a label file and a further folder."""
    for name in ("03a01Fa", "08a01Wa"):
        write_recording(root / "wav" / f"{name}.wav", 0, 0, None)
    (root / "lablaut").mkdir()
    (root / "lablaut" / "03a01Fa.lablaut").write_text("labels")
    return EmoDB(root)


def keep(corpus: EmoDB, notes: tuple[str, ...] = ()) -> Manifest:
    """Write the manifest of a corpus, without decoding anything."""
    manifest = survey(corpus)
    manifest.entries = [Entry(row, Stamp.of(row.path), Measured(1.5, 16_000, row.id)) for row in corpus.scan()]
    manifest.extra = []
    manifest.notes = list(notes)
    write(manifest, corpus)
    return manifest


@pytest.fixture
def corpus(tmp_path: Path) -> EmoDB:
    return release(tmp_path / "emo_db")


# What is kept comes back.

TEXT = st.none() | st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=8)
SHARES = st.none() | st.dictionaries(
    st.text(string.ascii_letters, max_size=5), st.floats(allow_nan=False, allow_infinity=False)
)
SECONDS = st.floats(0, 1e6)
STRATEGIES = {
    "id": st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1),
    "path": st.just(Path("wav/x.wav")),
    "start": SECONDS,
    "end": st.none() | SECONDS,
    "soft": SHARES,
    "dimensions": SHARES,
}


@settings(max_examples=60, deadline=None)
@given(st.builds(Utterance, **{item.name: STRATEGIES.get(item.name, TEXT) for item in fields(Utterance)}))
def test_every_field_of_an_utterance_comes_back(tmp_path_factory: pytest.TempPathFactory, row: Utterance) -> None:
    corpus = EmoDB(tmp_path_factory.mktemp("root"))
    row = Utterance(**{**{item.name: getattr(row, item.name) for item in fields(row)}, "path": corpus.root / row.path})
    entry = Entry(row, Stamp(2**40, 2**60 + 1), Measured(0.1 + 0.2, 48_000, "ab", 'Cannot read "x", or y.\n'))
    path = write(Manifest([entry], [corpus.root / "y.wav"], {}, {}, "names", "reader", ["a note"]), corpus)
    found = load(path, corpus)
    assert found.entries == [entry]
    assert (found.extra, found.names, found.reader, found.notes) == ([corpus.root / "y.wav"], "names", "reader", ["a note"])


def test_a_text_beyond_what_csv_reads_by_itself_comes_back(corpus: EmoDB) -> None:
    row = Utterance(id="1", path=corpus.root / "x.wav", speaker="1", label="anger", original_label="W", text='"' + 50_000 * "ä")
    usual = csv.field_size_limit()
    path = write(Manifest([Entry(row, Stamp(0, 0), Measured(1, 1, ""))], [], {}, {}, "", ""), corpus)
    assert load(path, corpus).utterances == [row]
    assert csv.field_size_limit() == usual


def test_a_recording_outside_the_root_keeps_its_absolute_path(corpus: EmoDB, tmp_path: Path) -> None:
    row = Utterance(id="1", path=tmp_path / "x.wav", speaker="1", label="anger", original_label="W")
    path = write(Manifest([Entry(row, Stamp(0, 0), Measured(1, 1, ""))], [], {}, {}, "", ""), corpus)
    assert load(path, corpus).utterances == [row]


def test_a_manifest_moves_with_its_release(corpus: EmoDB, tmp_path: Path) -> None:
    keep(corpus)
    corpus.root.rename(tmp_path / "moved")
    moved = EmoDB(tmp_path / "moved")
    assert [row.path for row in fresh(moved).utterances] == [row.path for row in moved.scan()]


# It is used in place of the folders.


@pytest.fixture
def no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: EmoDB) -> None:
        raise AssertionError("the folders are walked")

    monkeypatch.setattr(EmoDB, "files", fail)


def test_later_runs_read_the_manifest_and_no_folder(corpus: EmoDB, request: pytest.FixtureRequest) -> None:
    with pytest.warns(SERZooWarning, match="not complete"):
        walked = corpus.release()
    keep(corpus)
    request.getfixturevalue("no_walk")
    with pytest.warns(SERZooWarning, match="2 of 535 utterances") as caught:
        assert corpus.release() == walked
    assert len(caught) == 1


def test_what_the_reader_warned_of_is_repeated(corpus: EmoDB) -> None:
    keep(corpus, notes=("two recordings are odd",))
    with pytest.warns(SERZooWarning, match="two recordings are odd"):
        fresh_utterances(corpus)


def test_without_a_manifest_there_is_neither_one_nor_a_warning(corpus: EmoDB, recwarn: pytest.WarningsRecorder) -> None:
    assert fresh(corpus) is None
    assert not recwarn.list


def test_the_cache_takes_the_manifest_of_a_root_that_cannot_be_written_to(
    corpus: EmoDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    written = Path.write_bytes

    def refuse(self: Path, data: bytes) -> int:
        if self.is_relative_to(corpus.root):
            raise PermissionError(13, "Permission denied", str(self))
        return written(self, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    manifest = keep(corpus)
    assert manifest.path.parent == tmp_path / "cache" / "manifests"
    assert fresh(corpus).path == manifest.path
    monkeypatch.setenv("SER_ZOO_CACHE", str(corpus.root / "cache"))
    with pytest.raises(CorpusError, match=r"cannot be written: .*Permission denied.* Set SER_ZOO_CACHE"):
        keep(corpus)


def test_a_root_that_nobody_may_write_to_stays_as_it_is(corpus: EmoDB) -> None:
    corpus.root.chmod(0o555)
    try:
        assert keep(corpus).path.parent.name == "manifests"
        assert fresh(corpus) is not None
    finally:
        corpus.root.chmod(0o755)


def test_parts_of_a_release_have_manifests_of_their_own(tmp_path: Path) -> None:
    names = [places(RAVDESS(tmp_path, task))[0].name for task in ("8class", "4class", "song", "speech_and_song")]
    assert names == [
        "ser_zoo_manifest.csv",
        "ser_zoo_manifest.csv",
        "ser_zoo_manifest.song.csv",
        "ser_zoo_manifest.speech+song.csv",
    ]


# What has changed is noticed.


def rewrite(path: Path) -> None:
    path.write_text("other")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a recording is added": (lambda root: (root / "wav" / "09a01Fa.wav").touch(), "wav has changed"),
    "a recording is removed": (lambda root: (root / "wav" / "03a01Fa.wav").unlink(), "wav has changed"),
    "a recording is renamed": (lambda root: (root / "wav/03a01Fa.wav").rename(root / "wav/03a02Fa.wav"), "wav has changed"),
    "a recording is written anew": (lambda root: rewrite(root / "wav" / "03a01Fa.wav"), "03a01Fa.wav has changed"),
    "a recording is touched": (lambda root: os.utime(root / "wav" / "03a01Fa.wav", ns=(1, 1)), "03a01Fa.wav has changed"),
    "a label file is edited": (lambda root: rewrite(root / "lablaut" / "03a01Fa.lablaut"), "03a01Fa.lablaut has changed"),
    "a folder is added": (lambda root: (root / "flac").mkdir(), "what lies in"),
    "a folder below is added": (lambda root: (root / "wav" / "more").mkdir(), "wav has changed"),
    "a folder is removed": (lambda root: shutil.rmtree(root / "lablaut"), "what lies in"),
    "a file is added to the root": (lambda root: (root / "labels.txt").touch(), "what lies in"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(corpus: EmoDB, change: str) -> None:
    keep(corpus)
    assert fresh(corpus) is not None
    act, said = CHANGES[change]
    act(corpus.root)
    with pytest.warns(SERZooWarning, match=rf"out of date: .*{said}.*ser-zoo prepare emo_db writes the manifest anew"):
        assert fresh(corpus) is None


def test_what_other_systems_leave_behind_is_no_change(corpus: EmoDB, recwarn: pytest.WarningsRecorder) -> None:
    keep(corpus)
    (corpus.root / ".DS_Store").touch()
    assert fresh(corpus) is not None
    assert not recwarn.list


def test_another_version_of_the_readers_makes_it_stale(corpus: EmoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(corpus)
    monkeypatch.setattr("ser_zoo.corpora.manifest.sources", lambda: "other")
    with pytest.warns(SERZooWarning, match="written by another version of the readers"):
        assert fresh(corpus) is None


def test_a_link_that_leads_back_ends_the_survey(corpus: EmoDB) -> None:
    (corpus.root / "wav" / "back").symlink_to(corpus.root)
    assert sorted(path.name for path in survey(corpus).extra) == ["03a01Fa.wav", "08a01Wa.wav"]


# What is damaged or foreign is refused as a whole.


def edited(path: Path, **header: object) -> None:
    head, _, body = path.read_bytes().partition(b"\n")
    told = json.loads(head.removeprefix(b"# ser-zoo manifest ")) | header
    path.write_bytes(b"# ser-zoo manifest " + json.dumps(told).encode() + b"\n" + body)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is damaged: it has .* bytes below its first line"),
    "cut off at a row": (lambda path: path.write_bytes(path.read_bytes().rsplit(b"\n", 2)[0] + b"\n"), "is damaged"),
    "cut off in its first line": (lambda path: path.write_bytes(path.read_bytes()[:60]), "is no manifest"),
    "edited": (lambda path: path.write_bytes(path.read_bytes().replace(b"anger", b"fears")), "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is no manifest"),
    "another file": (lambda path: path.write_text("path,label,speaker\nx.wav,anger,1\n"), "is no manifest"),
    "binary": (lambda path: path.write_bytes(b"\x00\xff" * 50), "is no manifest"),
    "not an object": (lambda path: path.write_text("# ser-zoo manifest []\n"), "is no manifest"),
    "of another corpus": (lambda path: edited(path, corpus="ravdess"), "corpus ravdess, format 1. Expected corpus emo_db"),
    "of another part": (lambda path: edited(path, part="song"), "is of corpus emo_db, part song, format 1"),
    "of another format": (
        lambda path: edited(path, format=2),
        "is of corpus emo_db, format 2. Expected corpus emo_db, format 1",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_manifest_that_is_not_whole_is_passed_over_with_a_warning(corpus: EmoDB, fault: str) -> None:
    path = keep(corpus).path
    act, said = BROKEN[fault]
    act(path)
    with pytest.raises(CorpusError, match=said):
        load(path, corpus)
    with pytest.warns(SERZooWarning, match=rf"{said}.* Reading the release itself instead"):
        assert fresh_utterances(corpus) is None


# What it tells.


def test_a_manifest_sums_up_what_was_found() -> None:
    def entry(key: str, measured: Measured) -> Entry:
        row = Utterance(id=key, path=Path(key), speaker=key[0], label="anger", original_label="W")
        return Entry(row, Stamp(0, 0), measured)

    same = Measured(1800.0, 16_000, "same")
    broken = Measured(0.0, 0, "", "Cannot read it.")
    manifest = Manifest(
        [entry("a1", same), entry("a2", broken), entry("b1", broken), entry("b2", same), entry("b3", Measured(0, 8000, "x"))],
        *([], {}, {}, "", ""),
    )
    assert manifest.hours == 1.0
    assert manifest.sample_rates == {16_000: 2, 8_000: 1}
    assert manifest.damaged == {"a2": "Cannot read it.", "b1": "Cannot read it."}
    assert manifest.duplicates == [["a1", "b2"]]


def test_counts_have_every_class_for_every_speaker() -> None:
    rows = [
        Utterance(id=str(number), path=Path("x"), speaker=speaker, label=label, original_label="")
        for number, (speaker, label) in enumerate([("2", "anger"), ("1", "fear"), ("1", "fear"), ("2", "calm")])
    ]
    counts = by_class_and_speaker(rows, ["fear", "sadness"])
    assert counts == {"1": {"fear": 2, "anger": 0, "calm": 0}, "2": {"fear": 0, "anger": 1, "calm": 1}}
    assert [list(row) for row in counts.values()] == [["fear", "anger", "calm"]] * 2
