from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.data import Preparation, content_hash, read_audio, recordings
from ser_zoo.data.waveforms import Waveforms, load_waveforms
from ser_zoo.errors import AudioError, CorpusError
from tests.releases import write_emo_db

pytestmark = pytest.mark.filterwarnings("ignore:EMO-DB at")
AS_IT_IS = Preparation()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the disk cache, empty."""
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "waveforms"


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    """Eight recordings that a test may change."""
    return EmoDB(write_emo_db(tmp_path / "emo_db", speakers=["03", "08"], emotions="WT", takes=2)).utterances()


def same(one: Waveforms, other: Waveforms) -> bool:
    return (
        list(one) == list(other)
        and all(np.array_equal(one[key], other[key]) for key in one)
        and (one.content, one.bad) == (other.content, other.bad)
    )


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir()) if folder.exists() else []


# What is loaded.


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_each_utterance_is_decoded_and_prepared(rows: list[Utterance], cache: Path, kind: str) -> None:
    preparation = Preparation(sample_rate=8_000, min_seconds=0.15, max_seconds=0.12)
    loaded = load_waveforms(rows, preparation, kind)  # type: ignore[arg-type]
    assert list(loaded) == [row.id for row in rows]
    assert len(loaded) == 8
    for row in rows:
        waveform, rate = read_audio(row.path)
        np.testing.assert_array_equal(loaded[row.id], preparation(waveform, rate))
        assert loaded.content[row.id] == content_hash(waveform)


def test_memory_and_disk_give_the_same(rows: list[Utterance], cache: Path) -> None:
    rows[0].path.write_text("damaged")
    assert same(load_waveforms(rows, AS_IT_IS, "memory", skip_bad=True), load_waveforms(rows, AS_IT_IS, "disk", skip_bad=True))


def test_stretches_of_one_recording_are_kept_apart(rows: list[Utterance]) -> None:
    whole = rows[0].path
    halves = [
        Utterance("first", whole, "03", "anger", "W", end=0.05),
        Utterance("second", whole, "03", "anger", "W", start=0.05),
    ]
    loaded = load_waveforms(halves, AS_IT_IS)
    np.testing.assert_array_equal(np.concatenate([loaded["first"], loaded["second"]]), read_audio(whole)[0])
    assert loaded.content["first"] != loaded.content["second"]


def test_more_recordings_than_are_decoded_ahead_keep_their_order(
    rows: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "CHUNK", 3)
    loaded = load_waveforms(rows, AS_IT_IS)
    assert list(loaded) == [row.id for row in rows]
    assert all(np.array_equal(loaded[row.id], read_audio(row.path)[0]) for row in rows)


# What is kept on disk.


def test_a_second_run_decodes_nothing(rows: list[Utterance], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_waveforms(rows, AS_IT_IS, "disk")

    def fail(*_: object) -> None:
        raise AssertionError("decoded once more")

    monkeypatch.setattr(recordings, "read_audio", fail)
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), first)
    assert files(cache) == [".f32", ".json"]


def test_memory_leaves_no_files(rows: list[Utterance], cache: Path) -> None:
    load_waveforms(rows, AS_IT_IS, "memory")
    assert not cache.exists()


def test_a_recording_that_has_changed_is_decoded_again(rows: list[Utterance], cache: Path) -> None:
    before = load_waveforms(rows, AS_IT_IS, "disk")
    shutil.copy(rows[1].path, rows[0].path)
    os.utime(rows[0].path, ns=(0, 1))  # another time, whatever the clock's resolution
    after = load_waveforms(rows, AS_IT_IS, "disk")
    assert after.content[rows[0].id] == before.content[rows[1].id] != before.content[rows[0].id]


def test_a_recording_that_has_changed_but_not_in_size_is_decoded_again(rows: list[Utterance], cache: Path) -> None:
    load_waveforms(rows, AS_IT_IS, "disk")
    waveform, rate = soundfile.read(rows[0].path, dtype="int16")
    soundfile.write(rows[0].path, waveform[::-1], rate)
    os.utime(rows[0].path, ns=(0, 1))
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), load_waveforms(rows, AS_IT_IS))


def test_another_stretch_of_a_recording_is_decoded_again(rows: list[Utterance], cache: Path) -> None:
    whole = load_waveforms(rows[:1], AS_IT_IS, "disk")[rows[0].id]
    for start, end in ((0.0, 0.05), (0.05, None)):
        stretch = load_waveforms([replace(rows[0], start=start, end=end)], AS_IT_IS, "disk")[rows[0].id]
        expected = whole[:800] if end else whole[800:]
        np.testing.assert_array_equal(stretch, expected)


def test_another_preparation_has_its_own_cache(rows: list[Utterance], cache: Path) -> None:
    load_waveforms(rows, AS_IT_IS, "disk")
    other = load_waveforms(rows, Preparation(max_seconds=0.05), "disk")
    assert all(len(waveform) == 800 for waveform in other.values())
    assert len(list(cache.glob("*.f32"))) == 2


def test_a_cache_whose_samples_were_deleted_is_made_again(rows: list[Utterance], cache: Path) -> None:
    first = load_waveforms(rows, AS_IT_IS, "disk")
    next(cache.glob("*.f32")).unlink()
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), first)


@pytest.mark.parametrize("suffix", ["f32", "json"])
def test_a_cache_that_lost_its_end_is_made_again(rows: list[Utterance], cache: Path, suffix: str) -> None:
    load_waveforms(rows, AS_IT_IS, "disk")
    path = next(cache.glob(f"*.{suffix}"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 8 * 4])
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), load_waveforms(rows, AS_IT_IS))


def test_waveforms_on_disk_cannot_be_written_to(rows: list[Utterance], cache: Path) -> None:
    loaded = load_waveforms(rows, AS_IT_IS, "disk")
    with pytest.raises(ValueError, match="read-only"):
        loaded[rows[0].id][0] = 1.0


# The bound.


def gib(rows: list[Utterance]) -> float:
    """What the waveforms take."""
    return sum(waveform.nbytes for waveform in load_waveforms(rows, AS_IT_IS).values()) / 2**30


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_more_than_the_bound_is_refused(rows: list[Utterance], cache: Path, kind: str) -> None:
    size = gib(rows)
    load_waveforms(rows[:-1], AS_IT_IS, kind, cache_gib=size * 0.99)  # type: ignore[arg-type]
    kept = files(cache)
    with pytest.raises(CorpusError, match=r"take more than the .* GiB that --data\.cache_gib allows"):
        load_waveforms(rows, AS_IT_IS, kind, cache_gib=size * 0.99)  # type: ignore[arg-type]
    assert files(cache) == kept


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_what_takes_all_of_the_bound_is_kept(rows: list[Utterance], cache: Path, kind: str) -> None:
    size = gib(rows)
    assert len(load_waveforms(rows, AS_IT_IS, kind, cache_gib=size)) == 8  # type: ignore[arg-type]
    assert files(cache) == ([".f32", ".json"] if kind == "disk" else [])


def test_what_another_run_is_writing_is_not_evicted(rows: list[Utterance], cache: Path) -> None:
    cache.mkdir(parents=True)
    unfinished = cache / ".other.0123456789ab.tmp.f32"
    unfinished.write_bytes(b"\0" * 1000)
    os.utime(unfinished, (1, 1))
    load_waveforms(rows, AS_IT_IS, "disk", gib(rows))
    assert unfinished.exists()


def test_the_cache_that_was_used_longest_ago_is_evicted(rows: list[Utterance], cache: Path) -> None:
    bound = 2.5 * gib(rows)

    def use(seconds: float) -> Path:
        """The cache of this preparation, which counts as used this many seconds after 1970."""
        before = set(cache.glob("*.f32"))
        load_waveforms(rows, Preparation(max_seconds=seconds), "disk", bound)
        (new,) = set(cache.glob("*.f32")) - before
        os.utime(new, (seconds, seconds))
        return new

    first, second = use(1.0), use(2.0)
    load_waveforms(rows, Preparation(max_seconds=1.0), "disk", bound)  # so that the second is now the oldest
    third = use(3.0)
    assert set(cache.iterdir()) == {path.with_suffix(suffix) for path in (first, third) for suffix in (".f32", ".json")}
    assert not second.exists()


def test_an_evicted_cache_that_is_still_mapped_stays_readable(rows: list[Utterance], cache: Path) -> None:
    size = gib(rows)
    first = load_waveforms(rows, Preparation(max_seconds=1.0), "disk", 1.5 * size)
    load_waveforms(rows, Preparation(max_seconds=2.0), "disk", 1.5 * size)
    assert files(cache) == [".f32", ".json"]
    assert same(first, load_waveforms(rows, Preparation(max_seconds=1.0)))


# What cannot be decoded.


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_damaged_recording_stops_the_loading(rows: list[Utterance], cache: Path, kind: str) -> None:
    rows[3].path.write_text("damaged")
    with pytest.raises(AudioError, match=rf"Cannot read .*{rows[3].path.name}"):
        load_waveforms(rows, AS_IT_IS, kind)  # type: ignore[arg-type]
    assert files(cache) == []


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_bad_recordings_can_be_left_out_and_are_listed(rows: list[Utterance], cache: Path, kind: str) -> None:
    rows[3].path.write_text("damaged")
    rows[5].path.unlink()
    loaded = load_waveforms(rows, AS_IT_IS, kind, skip_bad=True)  # type: ignore[arg-type]
    assert list(loaded.bad) == [rows[3].id, rows[5].id]
    assert rows[3].path.name in loaded.bad[rows[3].id]
    assert "does not exist" in loaded.bad[rows[5].id]
    assert set(loaded) == set(loaded.content) == {row.id for row in rows} - set(loaded.bad)


def test_a_recording_that_was_mended_is_no_longer_left_out(rows: list[Utterance], cache: Path) -> None:
    good = rows[3].path.read_bytes()
    rows[3].path.write_text("damaged")
    load_waveforms(rows, AS_IT_IS, "disk", skip_bad=True)
    rows[3].path.write_bytes(good)
    assert not load_waveforms(rows, AS_IT_IS, "disk", skip_bad=True).bad


def test_a_cache_without_bad_recordings_does_not_hide_them_from_a_run_that_stops_at_them(
    rows: list[Utterance], cache: Path
) -> None:
    rows[3].path.write_text("damaged")
    load_waveforms(rows, AS_IT_IS, "disk", skip_bad=True)
    with pytest.raises(AudioError, match=rf"Cannot read .*{rows[3].path.name}"):
        load_waveforms(rows, AS_IT_IS, "disk")


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_all_recordings_may_be_bad(rows: list[Utterance], cache: Path, kind: str) -> None:
    for row in rows:
        row.path.write_text("damaged")
    loaded = load_waveforms(rows, AS_IT_IS, kind, skip_bad=True)  # type: ignore[arg-type]
    assert (len(loaded), len(loaded.bad)) == (0, 8)


# Interruptions.


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_writing_leaves_nothing_that_looks_whole(
    rows: list[Utterance], cache: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(path: Path, *stretch: float | None) -> object:
        if path == rows[5].path:
            raise error
        return read_audio(path, *stretch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(recordings, "read_audio", interrupted)
        with pytest.raises(error):
            load_waveforms(rows, AS_IT_IS, "disk")
    assert files(cache) == []
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), load_waveforms(rows, AS_IT_IS))


def test_samples_without_an_index_are_not_trusted(rows: list[Utterance], cache: Path) -> None:
    load_waveforms(rows, AS_IT_IS, "disk")
    next(cache.glob("*.json")).unlink()  # a writer that was killed between the two
    next(cache.glob("*.f32")).write_bytes(b"\0" * 8)
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), load_waveforms(rows, AS_IT_IS))


def test_waveforms_that_find_no_room_are_refused_with_the_place_and_the_reason(rows: list[Utterance], cache: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(CorpusError, match=r"Waveforms cannot be written to .*waveforms: .*File too large.*SER_ZOO_CACHE"):
            load_waveforms(rows, AS_IT_IS, "disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(cache) == []
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), load_waveforms(rows, AS_IT_IS, "memory"))


def test_a_cache_that_may_only_be_read_is_read(rows: list[Utterance], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    kept = load_waveforms(rows, AS_IT_IS, "disk")
    monkeypatch.setattr(os, "utime", refused)
    assert same(load_waveforms(rows, AS_IT_IS, "disk"), kept)
