"""All prepared waveforms of a corpus: decoded and resampled once, kept in memory or in one file on disk, bounded.

Cost: 4 bytes a sample, 64 kB a second at 16 kHz (RAVDESS: 340 MB). The disk cache is a flat float32 file that is memory
mapped, so that several processes share its pages; it is keyed by the preparation and by name, size and time of change
of every recording.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_zoo.cache import atomic_path, cache_root, no_room
from ser_zoo.corpora.base import Utterance
from ser_zoo.data.audio import Preparation, Waveform, content_hash
from ser_zoo.data.recordings import decoded
from ser_zoo.errors import AudioError, CorpusError

GIB = 2**30
Index = dict[str, dict[str, Any]]


@dataclass
class Waveforms(Mapping[str, Waveform]):
    """Utterance id -> prepared waveform (T,).

    Attributes:
        arrays: the waveforms.
        content: utterance id -> hash of the decoded recording, before preparation.
        bad: utterance id -> why its recording was left out.
        derived: what later stages keep of these waveforms, by a key that says all that decides it. It lives as long as
            they do, so all folds of a run share it.
    """

    arrays: dict[str, Waveform]
    content: dict[str, str]
    bad: dict[str, str]
    derived: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Waveform:
        return self.arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def load_waveforms(
    utterances: Sequence[Utterance],
    preparation: Preparation,
    cache: Literal["memory", "disk"] = "memory",
    cache_gib: float = 8.0,
    skip_bad: bool = False,
) -> Waveforms:
    """Decode and prepare every utterance, or map what an earlier run has kept.

    Args:
        utterances: whose recordings are wanted.
        preparation: what is done to each.
        cache: ``memory`` decodes in every process; ``disk`` once for all runs.
        cache_gib: bound of the cache in GiB.
        skip_bad: leave recordings out that cannot be decoded, instead of stopping.

    Raises:
        AudioError: a recording cannot be decoded and ``skip_bad`` is False.
        CorpusError: the waveforms exceed ``cache_gib``, or cannot be written.
    """
    if cache == "disk":
        return _disk(utterances, preparation, cache_gib, skip_bad)
    arrays, content, bad, size = {}, {}, {}, 0
    for utterance, loaded in _prepared(utterances, preparation, skip_bad):
        if isinstance(loaded, AudioError):
            bad[utterance.id] = str(loaded)
            continue
        arrays[utterance.id], content[utterance.id] = loaded
        size = _bounded(size + loaded[0].nbytes, cache_gib)
    return Waveforms(arrays, content, bad)


def _prepared(
    utterances: Sequence[Utterance], preparation: Preparation, skip_bad: bool
) -> Iterator[tuple[Utterance, tuple[Waveform, str] | AudioError]]:
    """Each utterance with its waveform and content hash, or with the reason why it cannot be used."""

    def prepare(waveform: Waveform, rate: int) -> tuple[Waveform, str]:
        return preparation(waveform, rate), content_hash(waveform)

    return decoded(utterances, prepare, skip_bad, "reading")


def _bounded(size: int, cache_gib: float) -> int:
    if size > cache_gib * GIB:
        raise CorpusError(f"The waveforms take more than the {cache_gib:g} GiB that --data.cache_gib allows. Raise it.")
    return size


def _disk(utterances: Sequence[Utterance], preparation: Preparation, cache_gib: float, skip_bad: bool) -> Waveforms:
    """Map the cache of exactly these recordings; make it first if it is not there."""
    samples_file = cache_root() / "waveforms" / f"{_key(utterances, preparation, skip_bad)}.f32"
    index_file = samples_file.with_suffix(".json")
    index = _whole(samples_file, index_file)
    if index is None:
        try:
            with atomic_path(samples_file) as temporary:
                index = _write(temporary, utterances, preparation, cache_gib, skip_bad)
            with atomic_path(index_file) as temporary:
                temporary.write_text(json.dumps(index), encoding="utf-8")
        except OSError as error:
            raise CorpusError(no_room("Waveforms", samples_file.parent, error)) from error
        _evict(samples_file, cache_gib)
    with suppress(OSError):  # of a cache that somebody else has filled, and that may only be read
        os.utime(samples_file)  # the time of the last use, by which old ones are evicted
    # An empty file, of a release all of whose recordings are bad, cannot be mapped.
    samples = np.memmap(samples_file, dtype=np.float32, mode="r") if index["spans"] else np.zeros(0, np.float32)
    arrays = {key: samples[start:stop] for key, (start, stop) in index["spans"].items()}
    return Waveforms(arrays, index["content"], index["bad"])


def _whole(samples_file: Path, index_file: Path) -> Index | None:
    """The index of a cache; None where there is none, or where samples were deleted or, by a power cut, are not all there.

    It is written last, so that a writer who was killed leaves none.
    """
    try:
        index: Index = json.loads(index_file.read_text(encoding="utf-8"))
        samples = samples_file.stat().st_size // np.dtype(np.float32).itemsize
    except (FileNotFoundError, ValueError):
        return None
    return index if samples == max((stop for _, stop in index["spans"].values()), default=0) else None


def _write(path: Path, utterances: Sequence[Utterance], preparation: Preparation, cache_gib: float, skip_bad: bool) -> Index:
    """Write all samples one after the other; returns where each utterance stands, its content hash, and the bad ones."""
    index: Index = {"spans": {}, "content": {}, "bad": {}}
    position = 0
    with path.open("wb") as file:
        for utterance, loaded in _prepared(utterances, preparation, skip_bad):
            if isinstance(loaded, AudioError):
                index["bad"][utterance.id] = str(loaded)
                continue
            waveform, index["content"][utterance.id] = loaded
            file.write(waveform.tobytes())  # tofile would not say what is wrong with a full disk
            index["spans"][utterance.id] = (position, position + len(waveform))
            position += len(waveform)
            _bounded(position * waveform.itemsize, cache_gib)
    return index


def _key(utterances: Sequence[Utterance], preparation: Preparation, skip_bad: bool) -> str:
    digest = hashlib.sha256(json.dumps([asdict(preparation), skip_bad]).encode())
    for row in utterances:
        stat = row.path.stat() if row.path.exists() else None
        state = (stat.st_size, stat.st_mtime_ns) if stat else ()
        digest.update(repr((row.id, str(row.path.absolute()), row.start, row.end, state)).encode())
    return digest.hexdigest()[:16]


def _evict(keep: Path, cache_gib: float) -> None:
    """Remove the caches that were used longest ago until all together keep the bound."""
    # What a running writer has not finished has a hidden name, which the pattern does not match.
    files = sorted(keep.parent.glob("[!.]*.f32"), key=lambda path: path.stat().st_mtime)
    sizes = {path: path.stat().st_size for path in files}
    for path in files:
        if sum(sizes.values()) <= cache_gib * GIB:
            return
        if path != keep:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            del sizes[path]
