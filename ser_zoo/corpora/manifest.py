"""The manifest of a release: what ``ser-zoo prepare`` has found in it, so that later runs need not walk its folders.

It is one CSV file. Its first line is a comment, a JSON object that says of which corpus and reader it is, and how many bytes
with which SHA-256 follow; a file that is cut off, edited or of another format is refused as a whole. Below come the rows:

- ``utterance``: all fields of an Utterance, size and time of change of its recording, and what decoding it has shown. None is
  an empty cell; a text that is empty or begins with a quotation mark is written as JSON, as mappings are. Paths are relative to
  the root where they lie in it.
- ``extra``: a recording in the root that no utterance uses.
- ``folder`` and ``file``: the other things that what was read depends on.

A manifest is fresh, and used, as long as the sources of the readers are those it was written by, every folder below the root
has its time of change (a file that is added, removed or renamed changes that of its folder), and every recording and every
other file that may hold labels has its size and time of change. That is one look at each, and no folder is listed but the root
itself, whose names are compared because the manifest itself changes its time. What such a look cannot see is a file that was
changed within the same tick of the clock, or whose time was set back.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from ser_zoo.cache import atomic_path, cache_root
from ser_zoo.corpora.base import AUDIO_SUFFIXES, Corpus, Utterance, short_list
from ser_zoo.errors import CorpusError, SERZooWarning

NAME = "ser_zoo_manifest"
MARK = "# ser-zoo manifest "
FORMAT = 1

# No reader takes labels from these, so their change in place is of no interest.
MEDIA = frozenset(
    f".{suffix}"
    for kind in (
        "wav flac aif aiff m4a mp3 ogg opus wma",
        "avi flv mkv mov mp4 mpg webm wmv",
        "bmp gif jpeg jpg pdf png",
        "7z bz2 gz rar tar tgz xz zip",
    )
    for suffix in kind.split(" ")
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a change of a file or folder shows: its size and the time of its last change in nanoseconds."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path | str) -> Stamp:
        """The stamp of what is at ``path``.

        Raises:
            OSError: nothing is, or it may not be looked at.
        """
        status = os.stat(path)  # noqa: PTH116 - of strings, which are half the cost of Path objects
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Measured:
    """What decoding an utterance has shown.

    Attributes:
        seconds: its length; 0 where it is damaged.
        sample_rate: Hz of the recording; 0 where it is damaged.
        content: hash of its samples; empty where it is damaged.
        fault: why it cannot be used; None where it can.
    """

    seconds: float
    sample_rate: int
    content: str
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An utterance, its recording as it was found, and what was found in it."""

    utterance: Utterance
    stamp: Stamp
    measured: Measured


@dataclass
class Manifest:
    """What a release holds.

    Attributes:
        entries: its utterances, sorted by id.
        extra: recordings in the root that no utterance uses.
        folders: of the root, with their stamps; the root itself is not among them.
        files: others that may hold labels, with their stamps.
        names: digest of the names in the root.
        reader: digest of the sources of the readers.
        notes: what the reader warned of, which is repeated whenever the manifest is used.
        path: where it was read from or written to.
    """

    entries: list[Entry]
    extra: list[Path]
    folders: dict[Path, Stamp]
    files: dict[Path, Stamp]
    names: str
    reader: str
    notes: list[str] = field(default_factory=list)
    path: Path = field(default_factory=Path)

    @property
    def utterances(self) -> list[Utterance]:
        """Sorted by id."""
        return [entry.utterance for entry in self.entries]

    @property
    def hours(self) -> float:
        """Of all utterances that can be decoded."""
        return sum(entry.measured.seconds for entry in self.entries) / 3600

    @property
    def sample_rates(self) -> dict[int, int]:
        """Hz -> utterances, the most frequent first."""
        return dict(Counter(entry.measured.sample_rate for entry in self.entries if not entry.measured.fault).most_common())

    @property
    def damaged(self) -> dict[str, str]:
        """Utterance id -> why it cannot be used."""
        return {entry.utterance.id: entry.measured.fault for entry in self.entries if entry.measured.fault}

    @property
    def duplicates(self) -> list[list[str]]:
        """Ids of the utterances that have the same audio, group by group."""
        groups = defaultdict(list)
        for entry in self.entries:
            if not entry.measured.fault:
                groups[entry.measured.content].append(entry.utterance.id)
        return [group for group in groups.values() if len(group) > 1]

    def changed(self, corpus: Corpus) -> str | None:
        """What is no longer as it was when this was written, in words; None when it is fresh."""
        if self.reader != sources():
            return "it was written by another version of the readers"
        if corpus.root.is_dir() and self.names != digest_of_names(corpus.root):
            return f"what lies in {corpus.root} is not what did"
        recordings = {entry.utterance.path: entry.stamp for entry in self.entries}
        for known in (self.folders, self.files, recordings):
            for path, stamp in known.items():
                try:
                    now = Stamp.of(path)
                except OSError:
                    return f"{path} is gone"
                if now != stamp if known is not self.folders else now.mtime_ns != stamp.mtime_ns:
                    return f"{path} has changed"
        return None


def fresh_utterances(corpus: Corpus) -> list[Utterance] | None:
    """The utterances of the release by its manifest; None where the folders must be walked, with a warning if one is there."""
    manifest = fresh(corpus)
    if manifest is None:
        return None
    for note in manifest.notes:
        warnings.warn(note, SERZooWarning, stacklevel=2)
    return manifest.utterances


def fresh(corpus: Corpus) -> Manifest | None:
    """The manifest of the release if it has one that holds; warns of one that does not."""
    for path in places(corpus):
        if path.is_file():
            try:
                manifest = load(path, corpus)
            except CorpusError as error:
                fault = str(error)
            else:
                change = manifest.changed(corpus)
                if change is None:
                    return manifest
                fault = f"The manifest {path} is out of date: {change}."
            warnings.warn(
                f"{fault} Reading the release itself instead; ser-zoo prepare {corpus.name} writes the manifest anew.",
                SERZooWarning,
                stacklevel=2,
            )
    return None


def earlier(corpus: Corpus) -> Manifest | None:
    """The manifest of the release if there is a whole one, fresh or not; what is not is passed over, to be written anew."""
    for path in places(corpus):
        if path.is_file():
            try:
                return load(path, corpus)
            except CorpusError:
                continue
    return None


def places(corpus: Corpus) -> list[Path]:
    """Where the manifest of the release may be: in its root, and for a root that cannot be written to in the cache."""
    part = f".{corpus.part}" if corpus.part else ""
    key = hashlib.sha256(os.fsencode(os.path.realpath(corpus.root))).hexdigest()[:16]
    cached = cache_root() / "manifests" / f"{corpus.name}-{key}{part}.csv"
    return [corpus.root / f"{NAME}{part}.csv", cached] if corpus.root.is_dir() else [cached]


def survey(corpus: Corpus) -> Manifest:
    """A manifest of the release as it is now, which has no entries yet; ``extra`` are all recordings in the root.

    It is made before the release is read, so that what changes meanwhile makes the manifest stale.
    """
    manifest = Manifest([], [], {}, {}, "", sources())
    if corpus.root.is_file():  # a table, which names its recordings
        manifest.files[corpus.root] = Stamp.of(corpus.root)
    if not corpus.root.is_dir():
        return manifest
    manifest.names = digest_of_names(corpus.root)
    below, seen = [corpus.root], set()
    while below:
        folder = below.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            continue
        seen.add((status.st_dev, status.st_ino))
        if folder != corpus.root:
            manifest.folders[folder] = Stamp(0, status.st_mtime_ns)
        with os.scandir(folder) as found:
            for item in found:
                if _hidden(item.name):
                    continue
                suffix = os.path.splitext(item.name)[1].lower()  # noqa: PTH122 - before a Path is made
                if item.is_dir():
                    below.append(Path(item.path))
                elif suffix in AUDIO_SUFFIXES:
                    manifest.extra.append(Path(item.path))
                elif suffix not in MEDIA and item.is_file():
                    manifest.files[Path(item.path)] = Stamp.of(item.path)
    return manifest


def digest_of_names(folder: Path) -> str:
    """Of what lies in a folder, without manifests and what readers pass over."""
    names = sorted(name for name in os.listdir(folder) if not _hidden(name))  # noqa: PTH208 - names alone
    return hashlib.sha256(os.fsencode("/".join(names))).hexdigest()[:16]


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX", NAME))


@lru_cache(maxsize=1)
def sources() -> str:
    """Digest of the sources of all readers, since some share files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


# Reading and writing.

TEXT: tuple[Callable[[Any], str], Callable[[str], Any]] = (
    lambda text: json.dumps(text) if not text or text.startswith('"') else text,
    lambda cell: json.loads(cell) if cell[0] == '"' else cell,
)
JSON: tuple[Callable[[Any], str], Callable[[str], Any]] = (lambda mapping: json.dumps(dict(mapping)), json.loads)
NUMBER: tuple[Callable[[Any], str], Callable[[str], Any]] = (repr, float)
# Field of an Utterance -> how it is written and read; its path stands in a column that all rows have.
CELLS = {
    item.name: {"start": NUMBER, "end": NUMBER, "soft": JSON, "dimensions": JSON}.get(item.name, TEXT)
    for item in fields(Utterance)
    if item.name != "path"
}
COLUMNS = ("kind", "path", "size", "mtime_ns", *CELLS, "seconds", "sample_rate", "content", "fault")


def write(manifest: Manifest, corpus: Corpus) -> Path:
    """Write the manifest into the root, or into the cache where that cannot be written to.

    Returns:
        Its path.

    Raises:
        CorpusError: neither can be.
    """
    body = io.StringIO(newline="")
    writer = csv.writer(body)
    writer.writerow(COLUMNS)
    writer.writerows(_rows(manifest, _base(corpus)))
    text = body.getvalue().encode(errors="surrogateescape")
    header = {
        "format": FORMAT,
        "corpus": corpus.name,
        "part": corpus.part,
        "names": manifest.names,
        "reader": manifest.reader,
        "notes": manifest.notes,
        "bytes": len(text),
        "sha256": hashlib.sha256(text).hexdigest(),
    }
    faults = []
    for path in places(corpus):
        if path.parent.is_dir() and not path.parent.stat().st_mode & 0o222:  # which does not stop an administrator
            faults.append(f"nobody may write to {path.parent}")
            continue
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(f"{MARK}{json.dumps(header)}\n".encode() + text)
        except OSError as error:
            faults.append(str(error))
        else:
            manifest.path = path
            return path
    raise CorpusError(
        f"The manifest of {corpus.title} cannot be written: {'; '.join(faults)}. Set SER_ZOO_CACHE to a folder that can be "
        "written to."
    )


def _rows(manifest: Manifest, base: Path) -> Iterator[list[object]]:
    blank = [""] * (len(COLUMNS) - 4)
    for entry in manifest.entries:
        values = (getattr(entry.utterance, name) for name in CELLS)
        cells = ["" if value is None else put(value) for value, (put, _) in zip(values, CELLS.values(), strict=True)]
        measured = entry.measured
        found = [repr(measured.seconds), measured.sample_rate, measured.content, measured.fault or ""]
        place = _relative(entry.utterance.path, base)
        yield ["utterance", place, entry.stamp.size, entry.stamp.mtime_ns, *cells, *found]
    for path in manifest.extra:
        yield ["extra", _relative(path, base), "", "", *blank]
    for kind, known in (("folder", manifest.folders), ("file", manifest.files)):
        for path, stamp in known.items():
            yield [kind, _relative(path, base), stamp.size, stamp.mtime_ns, *blank]


def load(path: Path, corpus: Corpus) -> Manifest:
    """Read a manifest.

    Raises:
        CorpusError: it is no manifest, is cut off or has been edited, or is of another corpus or format.
    """
    head, _, body = path.read_bytes().partition(b"\n")
    try:
        if not head.startswith(MARK.encode()):
            raise ValueError
        header = json.loads(head[len(MARK) :])
        told = header["format"], header["corpus"], header["part"]
        whole = (header["bytes"], header["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        names, reader, notes = str(header["names"]), str(header["reader"]), [str(note) for note in header["notes"]]
    except (ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path} is no manifest: its first line is not that of one. Remove the file.") from error
    expected = FORMAT, corpus.name, corpus.part
    if told != expected:
        raise CorpusError(f"The manifest {path} is of {_told(*told)}. Expected {_told(*expected)}.")
    if not whole:
        raise CorpusError(
            f"The manifest {path} is damaged: it has {len(body)} bytes below its first line, which names {header['bytes']} and "
            "another content."
        )
    base = _base(corpus)
    rows = _lines(body.decode(errors="surrogateescape"))
    if tuple(next(rows, ())) != COLUMNS:
        raise CorpusError(f"The manifest {path} has other columns than this version writes.")
    manifest = Manifest([], [], {}, {}, names, reader, notes, path)
    gets = [get for _, get in CELLS.values()]
    for kind, place, size, mtime, *cells in rows:
        where = base / place
        if kind == "utterance":
            values: list[Any] = [get(cell) if cell else None for cell, get in zip(cells, gets, strict=False)]
            seconds, rate, content, fault = cells[len(gets) :]
            manifest.entries.append(
                Entry(
                    Utterance(path=where, **dict(zip(CELLS, values, strict=True))),
                    Stamp(int(size), int(mtime)),
                    Measured(float(seconds), int(rate), content, fault or None),
                )
            )
        elif kind == "extra":
            manifest.extra.append(where)
        else:
            (manifest.folders if kind == "folder" else manifest.files)[where] = Stamp(int(size), int(mtime))
    return manifest


def _lines(text: str) -> Iterator[list[str]]:
    usual = csv.field_size_limit(len(text) + 1)  # what a release says of an utterance may be longer
    try:
        yield from csv.reader(io.StringIO(text, newline=""))
    finally:
        csv.field_size_limit(usual)


def _told(form: object, name: object, part: object) -> str:
    return f"corpus {name}{f', part {part}' if part else ''}, format {form}"


def _base(corpus: Corpus) -> Path:
    return corpus.root if corpus.root.is_dir() else corpus.root.parent


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path.absolute())


# What a manifest tells.


def by_class_and_speaker(utterances: Iterable[Utterance], labels: Sequence[str] = ()) -> Mapping[str, Mapping[str, int]]:
    """Speaker -> label -> utterances: speakers sorted, every label for each, those of ``labels`` first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in utterances:
        counts[row.speaker][row.label] += 1
    present = {label for counter in counts.values() for label in counter}
    order = [label for label in labels if label in present] + sorted(present.difference(labels))
    return {speaker: {label: counts[speaker][label] for label in order} for speaker in sorted(counts)}


def rates(found: Mapping[int, int]) -> str:
    """Sample rates in words.

    >>> rates({48000: 1440})
    '48,000 Hz'
    >>> rates({16000: 10, 44100: 2})
    '16,000 Hz (10), 44,100 Hz (2)'
    """
    if len(found) == 1:
        return f"{next(iter(found)):,} Hz"
    return short_list([f"{rate:,} Hz ({count})" for rate, count in found.items()])
