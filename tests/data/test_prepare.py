"""A release made ready: fetched, converted, decoded once, and described by its manifest."""

from __future__ import annotations

import errno
import importlib.util
import io
import shutil
import signal
import subprocess
import sys
import tarfile
import wave
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.base import AUDIO_SUFFIXES, Download, prefer_wav, walk
from ser_zoo.corpora.csv_table import CSVTable
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.corpora.manifest import fresh
from ser_zoo.corpora.meld import MELD
from ser_zoo.corpora.msp_improv import MSPImprov
from ser_zoo.corpora.oreau import Oreau
from ser_zoo.corpora.ravdess import RAVDESS
from ser_zoo.data import download
from ser_zoo.data import prepare as module
from ser_zoo.data.audio import content_hash, read_audio
from ser_zoo.data.prepare import by_class, compressed, instructions, obtain, prepare, unpack_archives
from ser_zoo.errors import CorpusError
from tests.data.served import Served, serve
from tests.releases import write_emo_db, write_tone
from tests.releases.meld import FOLDERS
from tests.releases.meld import write as write_meld

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ravdess"


@pytest.fixture
def corpus(tmp_path: Path) -> EmoDB:
    return EmoDB(write_emo_db(tmp_path / "emo_db", ["03", "08"], "WF", 2))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the utterances that are decoded."""
    seen: list[str] = []
    measure = module.measure
    monkeypatch.setattr(module, "measure", lambda row: seen.append(row.id) or measure(row))
    return seen


# Verification and the manifest.


def test_the_manifest_says_what_decoding_has_shown(corpus: EmoDB) -> None:
    done = prepare(corpus)
    assert (done.decoded, done.manifest.path) == (8, corpus.root / "ser_zoo_manifest.csv")
    assert [entry.utterance for entry in fresh(corpus).entries] == corpus.scan()
    for entry in fresh(corpus).entries:
        waveform, rate = read_audio(entry.utterance.path)
        assert entry.measured.seconds == len(waveform) / rate
        assert (entry.measured.sample_rate, entry.measured.content) == (rate, content_hash(waveform))
    assert done.missing[0] == "anger 123 of 127"
    assert not done.sound
    assert by_class(corpus, done.manifest.utterances)[0] == {"class": "anger", "found": 4, "release": 127}


def test_how_many_of_a_class_a_release_has_may_be_unknown() -> None:
    rows = by_class(MSPImprov("/data/msp_improv"), [])
    assert rows
    assert {row["release"] for row in rows} == {None}


def test_a_release_that_has_not_changed_is_not_decoded_again(corpus: EmoDB, decoded: list[str]) -> None:
    prepare(corpus)
    decoded.clear()
    assert prepare(corpus).decoded == 0
    write_tone(corpus.root / "wav" / "03a01Wa.wav", 5, 5)
    write_tone(corpus.root / "wav" / "09a01Wa.wav", 0, 9)
    assert prepare(corpus).decoded == 2
    assert sorted(decoded) == ["03a01Wa", "09a01Wa"]
    assert prepare(corpus, again=True).decoded == 9


def test_damaged_empty_equal_and_unused_recordings_are_listed(corpus: EmoDB) -> None:
    wav = corpus.root / "wav"
    (wav / "03a01Wa.wav").write_bytes(b"RIFF")
    (wav / "03a02Wa.wav").write_bytes(b"")
    write_tone(wav / "03a01Fa.wav", 0, 0, seconds=0)
    shutil.copy(wav / "08a01Wa.wav", wav / "08a01Fa.wav")
    soundfile.write(wav / "08a02Fa.flac", *soundfile.read(wav / "08a02Wa.wav", dtype="int16"))
    (wav / "08a02Fa.wav").unlink()
    write_tone(corpus.root / "more" / "x.wav", 0, 0)
    manifest = prepare(corpus).manifest
    assert sorted(manifest.damaged) == ["03a01Fa", "03a01Wa", "03a02Wa"]
    assert "it holds no samples" in manifest.damaged["03a01Fa"]
    assert manifest.duplicates == [["08a01Fa", "08a01Wa"], ["08a02Fa", "08a02Wa"]]
    assert manifest.extra == [corpus.root / "more" / "x.wav"]
    assert fresh(corpus).damaged == manifest.damaged


def test_stretches_of_a_table_are_decoded_apart(tmp_path: Path) -> None:
    write_tone(tmp_path / "x.wav", 0, 0, seconds=1.0)
    (tmp_path / "x.csv").write_text(
        "path,label,speaker,start,end\nx.wav,anger,1,0,0.25\nx.wav,fear,1,0.25,0.75\nx.wav,fear,1,9,\n"
    )
    corpus = CSVTable(tmp_path / "x.csv")
    done = prepare(corpus)
    assert [entry.measured.seconds for entry in done.manifest.entries] == [0.25, 0.5, 0.0]
    assert list(done.manifest.damaged) == ["x_9.0_"]
    assert done.manifest.extra == done.missing == []
    assert done.manifest.path.parent.name == "manifests"
    assert prepare(CSVTable(tmp_path / "x.csv")).decoded == 0
    (tmp_path / "x.csv").write_text("path,label,speaker\nx.wav,anger,1\n")
    assert prepare(CSVTable(tmp_path / "x.csv")).decoded == 1


def test_what_the_reader_warns_of_is_noted(corpus: EmoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    from ser_zoo.errors import SERZooWarning

    def rows(self: EmoDB) -> Iterator[Utterance]:
        import warnings

        warnings.warn("one is odd", SERZooWarning, stacklevel=2)
        yield from (self.parse(path) for path in self.files())

    monkeypatch.setattr(EmoDB, "rows", rows)
    assert prepare(corpus).manifest.notes == ["one is odd"]
    assert fresh(corpus).notes == ["one is odd"]


def test_a_warning_of_others_is_passed_on_and_not_noted(corpus: EmoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(self: EmoDB) -> Iterator[Utterance]:
        import warnings

        warnings.warn("a package is old", DeprecationWarning, stacklevel=2)
        yield from (self.parse(path) for path in self.files())

    monkeypatch.setattr(EmoDB, "rows", rows)
    with pytest.warns(DeprecationWarning, match="a package is old"):
        assert prepare(corpus).manifest.notes == []


def test_a_wrong_folder_is_refused_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(CorpusError, match=r"EMO-DB not found: .* holds x/"):
        prepare(EmoDB(tmp_path))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the recordings of RAVDESS are not at {REAL}")
def test_the_recordings_of_ravdess_are_sound_but_for_the_known_pair(tmp_path: Path) -> None:
    (tmp_path / "ravdess").mkdir()
    for actor in ("Actor_06", "Actor_07"):
        (tmp_path / "ravdess" / actor).symlink_to(REAL / actor)
    manifest = prepare(RAVDESS(tmp_path / "ravdess")).manifest
    assert (len(manifest.entries), manifest.damaged, manifest.extra) == (120, {}, [])
    assert manifest.duplicates == [["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]]


# Compressed recordings.


class Clips(EmoDB):
    """EMO-DB as if it had come as videos."""

    compressed: ClassVar[tuple[str, ...]] = (".mp4", ".m4a", ".webm", ".avi")

    def files(self) -> Iterable[Path]:
        return prefer_wav(walk(self.root, (*AUDIO_SUFFIXES, *self.compressed)))


def write_clip(path: Path, channels: int = 1, seconds: float = 0.5, codec: str = "aac", rate: int = 44_100) -> None:
    """A tone of 440 Hz in the first channel and silence in the others."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate) * 0.5
    samples = np.zeros((channels, len(tone)), np.float32)
    samples[0] = tone
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("name", "channels"), [("03a01Fa.mp4", 1), ("03a01Fa.m4a", 2), ("03a01Fa.MP4", 6), ("03a01Fa.avi", 1)])
def test_a_clip_becomes_a_mono_wav_file_beside_it(tmp_path: Path, name: str, channels: int) -> None:
    write_clip(tmp_path / "wav" / name, channels)
    done = prepare(Clips(tmp_path))
    assert (done.converted, done.decoded, done.unconverted) == (1, 1, {})
    assert [entry.utterance.path for entry in done.manifest.entries] == [tmp_path / "wav" / "03a01Fa.wav"]
    with wave.open(str(tmp_path / "wav" / "03a01Fa.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 44_100)
    waveform, rate = read_audio(tmp_path / "wav" / "03a01Fa.wav")
    assert len(waveform) / rate == pytest.approx(0.5, abs=0.06)  # the codec pads to whole frames
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4]
    assert np.abs(middle).max() == pytest.approx(0.5 / channels, rel=0.15)  # the mean of all channels


def test_what_is_converted_is_not_converted_again(tmp_path: Path) -> None:
    write_clip(tmp_path / "wav" / "03a01Fa.mp4")
    prepare(Clips(tmp_path))
    before = (tmp_path / "wav" / "03a01Fa.wav").stat()
    write_clip(tmp_path / "wav" / "08a01Fa.mp4")
    assert [path.name for path in compressed(Clips(tmp_path))] == ["08a01Fa.mp4"]
    done = prepare(Clips(tmp_path))
    assert (done.converted, done.decoded) == (1, 1)
    assert (tmp_path / "wav" / "03a01Fa.wav").stat() == before


def test_damaged_clips_are_listed_and_leave_nothing_behind(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    write_clip(tmp_path / "wav" / "03a01Fa.mp4")
    (tmp_path / "wav" / "08a01Fa.mp4").write_bytes(b"\0" * 500)
    with av.open(str(tmp_path / "wav" / "09a01Fa.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    done = prepare(Clips(tmp_path))
    assert {path.name: fault.rsplit("/", 1)[1] for path, fault in done.unconverted.items()} == {
        "08a01Fa.mp4": "08a01Fa.mp4'.",
        "09a01Fa.mp4": "09a01Fa.mp4 has no sound track.",
    }
    assert not done.sound
    assert sorted(path.name for path in (tmp_path / "wav").iterdir()) == [
        "03a01Fa.mp4",
        "03a01Fa.wav",
        "08a01Fa.mp4",
        "09a01Fa.mp4",
    ]


def test_a_damaged_clip_is_listed_each_time(tmp_path: Path) -> None:
    write_clip(tmp_path / "wav" / "03a01Fa.mp4")
    (tmp_path / "wav" / "08a01Fa.mp4").write_bytes(b"\0" * 500)
    for _ in range(2):
        done = prepare(Clips(tmp_path))
        assert [path.name for path in done.unconverted] == ["08a01Fa.mp4"]
        assert not replace(done, missing=[]).sound


def test_without_pyav_its_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "03a01Fa.mp4").touch()
    find = importlib.util.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "av" else find(name))
    with pytest.raises(CorpusError, match=r"1 recordings \(03a01Fa\.mp4 \.\.\.\) .* pip install 'ser-zoo\[video\]'"):
        prepare(Clips(tmp_path))


# Fetching.


def zipped(root: Path, top: str = "") -> bytes:
    """The files below ``root`` as a zip archive, in the folder ``top`` of it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(root.rglob("*.wav")):
            file.write(path, top + path.relative_to(root).as_posix())
    return archive.getvalue()


def packed(*members: tuple[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return archive.getvalue()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one, two = (write_emo_db(tmp_path / name, [name], "W", 2) for name in ("03", "08"))
    files = {
        "one.zip": zipped(one),
        "two.zip": zipped(two),
        "inner.zip": zipped(one, "download/"),
        "deep.zip": zipped(one, "a/b/"),
        "nested.zip": packed(("download/03.zip", zipped(one)), ("download/08.zip", zipped(two))),
    }
    with serve({**files, "labels.txt": b"x"}) as server:
        yield server


def offered(root: Path, *downloads: Download) -> EmoDB:
    class Offered(EmoDB):
        pass

    Offered.downloads = downloads
    return Offered(root)


def test_a_release_in_several_archives_comes_into_one_root(served: Served, tmp_path: Path) -> None:
    downloads = [served.download("one.zip"), served.download("two.zip"), served.download("labels.txt", folder="text")]
    corpus = offered(tmp_path / "data" / "emo_db", *downloads)
    obtain(corpus)
    assert [row.id for row in corpus.scan()] == ["03a01Wa", "03a02Wa", "08a01Wa", "08a02Wa"]
    assert (corpus.root / "text" / "labels.txt").read_text() == "x"
    assert [path.name for path in corpus.root.parent.iterdir()] == ["emo_db"]


def test_a_folder_of_the_archive_itself_is_left_out(served: Served, tmp_path: Path) -> None:
    (tmp_path / "emo_db").mkdir()
    corpus = offered(tmp_path / "emo_db", served.download("inner.zip"))
    obtain(corpus)
    assert [path.name for path in corpus.root.iterdir()] == ["wav"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_root_that_is_a_link_stays_one_and_all_of_the_release_comes_where_it_leads(
    served: Served, tmp_path: Path, exists: bool
) -> None:
    (disk := tmp_path / "disk").mkdir()
    (tmp_path / "emo_db").symlink_to(disk / "release")
    if exists:
        (disk / "release").mkdir()
    corpus = offered(tmp_path / "emo_db", served.download("one.zip"))
    obtain(corpus)
    assert [row.id for row in corpus.scan()] == ["03a01Wa", "03a02Wa"]
    assert corpus.root.is_symlink()
    assert [path.name for path in disk.iterdir()] == ["release"]


def test_a_root_that_can_be_neither_removed_nor_replaced_is_filled(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path, *target: Path) -> Path | None:
        if volume in (path, *target):
            raise OSError(errno.EBUSY, "Device or resource busy", str(volume))
        return changed[bool(target)](path, *target)

    changed = [Path.rmdir, Path.rename]
    monkeypatch.setattr(Path, "rmdir", busy)
    monkeypatch.setattr(Path, "rename", busy)
    volume = tmp_path / "emo_db"
    (volume / ".unpacking-killed").mkdir(parents=True)
    corpus = offered(volume, served.download("inner.zip"))
    obtain(corpus)
    assert [row.id for row in corpus.scan()] == ["03a01Wa", "03a02Wa"]
    assert [path.name for path in volume.iterdir()] == ["wav"]
    assert not (tmp_path / ".emo_db-downloads").exists()


def test_archives_in_the_archive_are_unpacked(served: Served, tmp_path: Path) -> None:
    corpus = offered(tmp_path / "data" / "emo_db", served.download("nested.zip"))
    obtain(corpus)
    assert [row.id for row in corpus.scan()] == ["03a01Wa", "03a02Wa", "08a01Wa", "08a02Wa"]
    assert [path.name for path in corpus.root.rglob("*") if path.is_file() and path.suffix != ".wav"] == []


def test_another_layout_leaves_no_root_and_keeps_the_archive(served: Served, tmp_path: Path) -> None:
    corpus = offered(tmp_path / "data" / "emo_db", served.download("deep.zip"))
    with pytest.raises(CorpusError, match=r"What was unpacked for EMO-DB holds a/, expected the unpacked release"):
        obtain(corpus)
    assert [path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*")] == [
        ".emo_db-downloads",
        ".emo_db-downloads/1",
        ".emo_db-downloads/1/deep.zip",
    ]


def test_a_part_that_fails_leaves_no_root_and_is_gone_on_with(served: Served, tmp_path: Path) -> None:
    corpus = offered(tmp_path / "emo_db", served.download("one.zip"), served.download("two.zip"))
    two = served.files.pop("two.zip")
    with pytest.raises(CorpusError, match="answers 404"):
        obtain(corpus)
    assert not corpus.root.exists()
    served.files["two.zip"] = two
    obtain(corpus)
    assert len(corpus.scan()) == 4
    assert [path for path, _ in served.asked] == ["/one.zip", "/two.zip", "/two.zip"]


def test_what_is_in_the_root_is_not_touched(served: Served, tmp_path: Path) -> None:
    (tmp_path / "emo_db").mkdir()
    (tmp_path / "emo_db" / "mine.txt").touch()
    with pytest.raises(CorpusError, match=r"holds mine\.txt and not the unpacked release.* Nothing is overwritten"):
        obtain(offered(tmp_path / "emo_db", served.download("one.zip")))
    assert served.asked == []


def test_where_to_ask_is_said() -> None:
    text = instructions(EmoDB("/data/emo_db"))
    assert all(part in text for part in (EmoDB.url, "/data/emo_db holds the unpacked release", EmoDB.licence))


# Archives that the user has put into the root.


@pytest.fixture
def meld(tmp_path: Path) -> MELD:
    """The archive of a fake MELD as its owners pack it: one more archive per part, and two of the tables beside them."""
    release = write_meld(tmp_path / "release", dialogues=2)
    root = tmp_path / "data" / "meld"
    root.mkdir(parents=True)
    with tarfile.open(root / "MELD.Raw.tar.gz", "w:gz") as whole:
        for part, folder in FOLDERS.items():
            table = release / f"{part}_sent_emo.csv"
            with tarfile.open(tmp_path / f"{part}.tar.gz", "w:gz") as inner:
                inner.add(release / folder, folder)
                if part == "train":
                    inner.add(table, table.name)
            whole.add(tmp_path / f"{part}.tar.gz", f"MELD.Raw/{part}.tar.gz")
            if part != "train":
                whole.add(table, f"MELD.Raw/{table.name}")
    return MELD(root)


def test_the_archives_in_the_archive_of_meld_are_unpacked(meld: MELD, tmp_path: Path) -> None:
    (meld.root / ".DS_Store").touch()
    assert [path.name for path in unpack_archives(meld)] == ["MELD.Raw.tar.gz"]
    assert [row.id for row in meld.scan()] == [row.id for row in MELD(tmp_path / "release").scan()]
    there = {".DS_Store", "MELD.Raw.tar.gz", "train", "dev_sent_emo.csv", "test_sent_emo.csv", *list(FOLDERS.values())[1:]}
    assert {path.name for path in meld.root.iterdir()} == there


def test_unpacking_that_was_stopped_leaves_nothing_and_is_repeated(meld: MELD, monkeypatch: pytest.MonkeyPatch) -> None:
    place, calls = download._unpack_beside, []

    def stopped(archive: Path, *rest: object) -> None:
        calls.append(archive.name)
        if archive.name == "test.tar.gz":
            raise KeyboardInterrupt
        place(archive, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(download, "_unpack_beside", stopped)
        with pytest.raises(KeyboardInterrupt):
            unpack_archives(meld)
    assert calls == ["MELD.Raw.tar.gz", "train.tar.gz", "dev.tar.gz", "test.tar.gz"]
    assert [path.name for path in meld.root.iterdir()] == ["MELD.Raw.tar.gz"]
    assert unpack_archives(meld)
    assert meld.found()


KILLED = """
import os, signal, sys
from ser_zoo.corpora import create_corpus
from ser_zoo.data import download, prepare

def killed(*given):
    os.kill(os.getpid(), signal.SIGKILL) if {moment} else real(*given)

real, {place} = {place}, killed
prepare.unpack_archives(create_corpus("meld", sys.argv[1]))
"""


def killed(root: Path, place: str, moment: str) -> None:
    """Unpack in a process that is killed as it calls ``place`` in a ``moment`` that ``given`` tells."""
    code = KILLED.format(place=place, moment=moment)
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == -signal.SIGKILL


def test_what_a_killed_process_has_unpacked_is_removed_by_the_next(meld: MELD) -> None:
    killed(meld.root, "download._unpack_beside", "given[0].name == 'test.tar.gz'")
    left = [path for path in meld.root.iterdir() if path.is_dir()]
    assert len(left) == 1
    assert unpack_archives(meld)
    assert meld.found()
    assert not any(path.name.startswith(".") for path in meld.root.iterdir())


def test_moving_that_was_killed_is_gone_on_with(meld: MELD, tmp_path: Path) -> None:
    killed(meld.root, "download.Path.rename", "given[0].name == 'train'")
    assert meld.found()
    assert unpack_archives(meld)
    assert [row.id for row in meld.scan()] == [row.id for row in MELD(tmp_path / "release").scan()]
    assert not any(path.name.startswith(".") for path in meld.root.iterdir())
    assert unpack_archives(meld) == []


def test_two_processes_do_not_unpack_the_same_archives(meld: MELD, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack, refused = download.unpack_beside, []

    def second(archive: Path, folder: Path) -> None:
        with pytest.raises(CorpusError, match="Another ser-zoo prepare is at work on MELD in ") as caught:
            unpack_archives(meld)
        refused.append(caught.value)
        unpack(archive, folder)

    monkeypatch.setattr(download, "unpack_beside", second)
    assert unpack_archives(meld)
    assert len(refused) == 1
    assert meld.found()


def test_nothing_in_the_root_is_overwritten_by_its_archives(meld: MELD) -> None:
    (meld.root / "dev_sent_emo.csv").write_text("mine")
    with pytest.raises(CorpusError, match=r"MELD is not unpacked: .* has dev_sent_emo\.csv already"):
        unpack_archives(meld)
    assert (meld.root / "dev_sent_emo.csv").read_text() == "mine"
    assert not meld.found()


def test_what_macos_adds_to_archives_and_folders_is_in_nobody_s_way(corpus: EmoDB, tmp_path: Path) -> None:
    root = tmp_path / "put"
    (corpus.root / ".DS_Store").write_text("packed")
    shutil.make_archive(str(root / "emo_db"), "zip", tmp_path, "emo_db")
    (root / ".DS_Store").write_text("mine")
    assert unpack_archives(EmoDB(root))
    assert EmoDB(root).found()
    assert (root / ".DS_Store").read_text() == "mine"


def test_archives_of_something_else_leave_the_root_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "other.zip").write_bytes(packed(("a/x.txt", b"1")))
    with pytest.raises(CorpusError, match=r"What was unpacked for EMO-DB holds a/, expected .* The archives are in "):
        unpack_archives(EmoDB(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["other.zip"]
    assert unpack_archives(EmoDB(tmp_path / "none")) == []


def test_a_rar_archive_is_left_to_a_program_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "v2.rar").write_bytes(b"Rar!")
    with pytest.raises(CorpusError, match=r"Oréau is still packed: .*v2\.rar\. Python cannot unpack rar") as caught:
        unpack_archives(Oreau(tmp_path))
    assert f"\n  unrar x {tmp_path}/v2.rar {tmp_path}/\n" in str(caught.value)
    assert "\nThen call ser-zoo prepare oreau again." in str(caught.value)


def test_a_rar_archive_in_another_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "outer.zip").write_bytes(packed(("inner.rar", b"Rar!")))
    with pytest.raises(CorpusError, match=r"Oréau is packed twice, and inside is inner\.rar\. The archives are in ") as caught:
        unpack_archives(Oreau(tmp_path))
    assert f"\n  unrar x inner.rar {tmp_path}/\n" in str(caught.value)
