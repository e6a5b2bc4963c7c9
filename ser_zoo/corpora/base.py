"""What every corpus reader gives (Utterance rows) and what it shares (finding the root, the walk over the files).

A reader is one file: it states the release's folder layout and file-name grammar and nothing else. It imports no audio
library and opens no recording, so that listing corpora stays instant.
"""

from __future__ import annotations

import os
import re
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.labels import SPACES
from ser_zoo.errors import CorpusError, SERZooWarning
from ser_zoo.registry import lookup

AUDIO_SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled stretch of speech.

    Attributes:
        id: unique in the corpus; features, predictions and folds are joined by it.
        path: the recording.
        speaker: who speaks, as the release names the person.
        label: the emotion by its canonical name (``happiness``, not ``happy`` or ``F``), or by its class in a task.
        original_label: the emotion as the release writes it.
        gender: ``female`` or ``male``; None where the release does not say.
        session: the recording session, dialogue or broadcast that goes together; None where the corpus has none.
        text: id of the sentence that is spoken; None where it is not known.
        intensity: as the release names it; None where it is not varied.
        repetition: which take of the same text; None where there is one only.
        style: how it came to be said (``improvised``, ``scripted``, ``song``); None where it is not varied.
        language: ISO 639-1 code.
        split: ``train``, ``validation`` or ``test`` where the release itself says so.
        start: seconds from the start of the recording.
        end: seconds; None means up to the end of the recording.
        soft: what the annotators heard, canonical label -> share or number of votes; None where the release does not say.
        dimensions: ``valence``, ``arousal`` and ``dominance`` on the release's own scale; None where it has none.
    """

    id: str
    path: Path
    speaker: str
    label: str
    original_label: str
    gender: str | None = None
    session: str | None = None
    text: str | None = None
    intensity: str | None = None
    repetition: str | None = None
    style: str | None = None
    language: str | None = None
    split: str | None = None
    start: float = 0.0
    end: float | None = None
    soft: Mapping[str, float] | None = field(default=None, hash=False)
    dimensions: Mapping[str, float] | None = field(default=None, hash=False)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which utterances of a release are told apart, and into which classes.

    Attributes:
        name: as ``--data.task`` takes it.
        classes: canonical label of the release -> class; utterances of other labels are left out. The order of the classes is
            that of the model's outputs.
        where: attribute of an utterance -> values of those that are kept.
        source: who uses this task.
    """

    name: str
    classes: Mapping[str, str]
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, each once."""
        return tuple(dict.fromkeys(self.classes.values()))

    def select(self, utterances: Iterable[Utterance]) -> list[Utterance]:
        """The utterances of the task under the names of its classes, with votes for them alone, in the order given."""
        return [
            replace(row, label=self.classes[row.label], soft=None if row.soft is None else self._merged(row.soft))
            for row in utterances
            if row.label in self.classes and self._kept(row)
        ]

    def dropped(self, utterances: Iterable[Utterance]) -> dict[str, int]:
        """How many utterances of which label ``select`` leaves out, most first."""
        return dict(
            Counter(row.label for row in utterances if row.label not in self.classes or not self._kept(row)).most_common()
        )

    def _kept(self, row: Utterance) -> bool:
        return all(getattr(row, attribute) in values for attribute, values in self.where.items())

    def _merged(self, soft: Mapping[str, float]) -> dict[str, float]:
        merged: dict[str, float] = {}
        for label, votes in soft.items():
            if label in self.classes:
                merged[self.classes[label]] = merged.get(self.classes[label], 0.0) + votes
        return merged


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file that an openly licensed release consists of.

    Attributes:
        url: where it is.
        checksum: ``md5:<hex>`` or ``sha256:<hex>``; None where none is published.
        size: bytes; None where it is not known.
        folder: of the root, into which an archive is unpacked or a file is put.
    """

    url: str
    checksum: str | None = None
    size: int | None = None
    folder: str = "."


class Corpus(ABC):
    """A corpus in its official release on disk.

    Args:
        root: folder of the release. None means ``$SER_ZOO_DATA/<name>``, and without that variable ``data/<name>``
            below the working directory.
        task: name of one of the corpus's tasks; None means its first.
        labels: name of a label space that several corpora share (see ``ser_zoo.corpora.labels``), in place of a task.

    Attributes:
        task: which utterances are told apart, and into which classes.
        dropped: after ``utterances``, how many of which label the task leaves out.

    Raises:
        UnknownNameError: no such task or label space.
        CorpusError: both are given.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    language: ClassVar[str]
    """ISO 639-1 codes, with commas between them."""
    kind: ClassVar[str]
    """How the emotions came about, in a few words: ``acted``, ``acted and improvised dialogues``."""
    licence: ClassVar[str]
    url: ClassVar[str]
    """Where to get the release, or where to ask for it."""
    counts: ClassVar[Mapping[str, int]]
    """Canonical label -> utterances of the complete release; 0 where that is not known."""
    size: ClassVar[int | None] = None
    """Utterances of the complete release where ``counts`` do not say."""
    speakers: ClassVar[int | None]
    """How many people speak in it; None where that is not known."""
    hours: ClassVar[float | None] = None
    """Of all utterances; None where it is not known."""
    layout: ClassVar[str]
    """What the root must hold, in words for an error message."""
    tasks: ClassVar[tuple[Task, ...]] = ()
    """The default first. Without any, all labels are told apart."""
    downloads: ClassVar[tuple[Download, ...]] = ()
    """What ``ser-zoo prepare`` fetches; empty where the release must be asked for."""
    compressed: ClassVar[tuple[str, ...]] = ()
    """Suffixes of recordings that ``ser-zoo prepare`` turns into wav files beside them; ``files`` gives these too, where they
    have no wav file beside them yet (``prefer_wav``)."""
    synthetic: ClassVar[bool] = False
    published: str | None = None
    """Name and version of a release that was loaded by these; None for one in a folder."""

    def __init__(self, root: Path | str | None = None, task: str | None = None, labels: str | None = None) -> None:
        self.root = Path(root).expanduser() if root is not None else default_root(self.name)
        if task is not None and labels is not None:
            raise CorpusError(f"--data.task {task} and --data.labels {labels} both name the classes. Give one of them.")
        known = {known.name: known for known in self.known_tasks()}
        if labels is not None:
            self.task = common_task(labels)
        else:
            self.task = next(iter(known.values())) if task is None else lookup(known, task, f"task of {self.name}")
        self.dropped: dict[str, int] = {}

    def known_tasks(self) -> tuple[Task, ...]:
        """The tasks of this corpus, the default first."""
        every = Task(name=f"{len(self.counts)}class", classes={label: label for label in self.counts}, source="all labels")
        return self.tasks or (every,)

    @property
    def total(self) -> int:
        """Utterances of the complete release."""
        return self.size or sum(self.counts.values())

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the task, in the order of the model's outputs."""
        return self.task.labels

    @property
    def part(self) -> str:
        """What of the release is read, where that depends on the task or an option; a manifest is of one part."""
        return ""

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """The recordings where the release keeps them; empty where the layout is not that of the release."""

    @abstractmethod
    def rows(self) -> Iterable[Utterance]:
        """All utterances of the release that are there, under canonical labels, in any order.

        Raises:
            CorpusError: a name or a line breaks the grammar of the release.
        """

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """What the complete release has and this folder lacks, in words; empty when it is complete."""
        return shortfalls(utterances, self.counts)

    def prepare(self) -> None:  # noqa: B027 - optional on purpose
        """Make the release if this corpus is one that can be made; does nothing for recorded corpora."""

    def found(self) -> bool:
        """Whether the root looks like the release. Cheap: stops at the first recording."""
        return self.root.is_dir() and any(True for _ in self.files())

    def utterances(self) -> list[Utterance]:
        """The utterances of the task, sorted by id; warns when the release is not complete.

        Raises:
            CorpusError: see ``release``; or nothing in it belongs to the task.
        """
        release = self.release()
        utterances = self.task.select(release)
        self.dropped = self.task.dropped(release)
        if not utterances:
            found = ", ".join(f"{label} {count}" for label, count in self.dropped.items())
            if self.task.name in SPACES:
                advice = (
                    f"Take another label space ({', '.join(name for name in SPACES if name != self.task.name)}), or in a table "
                    f"of your own name labels as it does: {', '.join(self.task.classes)}."
                )
            else:
                advice = f"Take another task ({', '.join(task.name for task in self.known_tasks())})."
            raise CorpusError(
                f"{self.title} at {self.root} has no utterance of task {self.task.name} ({', '.join(self.labels)}): its labels "
                f"are {found}. {advice}"
            )
        return utterances

    def release(self) -> list[Utterance]:
        """All utterances of the release, sorted by id, whatever the task; warns when it is not complete.

        They are those of the manifest that ``ser-zoo prepare`` has written as long as it holds, else those of ``scan``.

        Raises:
            CorpusError: see ``scan``.
        """
        from ser_zoo.corpora.manifest import fresh_utterances  # which itself needs this file

        utterances = fresh_utterances(self)
        if utterances is None:
            utterances = self.scan()
        if missing := self.missing(utterances):
            warnings.warn(
                f"{self.title} at {self.root} is not complete: {len(utterances)} of {self.total} utterances. "
                f"Missing: {'; '.join(missing)}. Going on with what is there.",
                SERZooWarning,
                stacklevel=2,
            )
        return utterances

    def scan(self) -> list[Utterance]:
        """All utterances of the release, sorted by id, from its folders and label files.

        Raises:
            CorpusError: the folder is missing or is not the release, a name breaks the grammar, or two files or two entries
                of a label file have the same id.
        """
        if not self.root.is_dir():
            raise CorpusError(f"{self.title} not found: there is no folder {self.root}. {self._advice()}")
        rows: dict[str, Utterance] = {}
        for row in self.rows():
            if row.id in rows and rows[row.id].path == row.path:
                raise CorpusError(
                    f"{self.title}: two entries for utterance {row.id}, both of {row.path}. Expected one in the label files: "
                    "remove the other, or copy them from the release again."
                )
            if row.id in rows:
                raise CorpusError(
                    f"{self.title}: two files for utterance {row.id}: {rows[row.id].path} and {row.path}. Expected one "
                    "file per utterance. Remove one of them."
                )
            rows[row.id] = row
        if not rows:
            found = listing(self.root)
            raise CorpusError(f"{self.title} not found: {self.root} holds {found}. {self._advice()}")
        return [rows[key] for key in sorted(rows)]

    def _advice(self) -> str:
        return (
            f"Expected {self.layout}. Get it at {self.url}, then pass --data.root or set SER_ZOO_DATA to the folder "
            f"that holds {self.name}/."
        )


class FileNameCorpus(Corpus):
    """A corpus whose file names say everything."""

    @abstractmethod
    def parse(self, path: Path) -> Utterance | None:
        """The row of one recording; None for a file that the release has but no task uses.

        Raises:
            CorpusError: the name does not follow the release's grammar.
        """

    def rows(self) -> Iterator[Utterance]:
        """One per file that ``parse`` takes."""
        for path in self.files():
            row = self.parse(path)
            if row is not None:
                yield row


def default_root(name: str) -> Path:
    """``$SER_ZOO_DATA/<name>``, else ``data/<name>`` below the working directory."""
    return Path(os.environ.get("SER_ZOO_DATA") or "data") / name


def common_task(space: str) -> Task:
    """The task of a label space that corpora share: every label that the space has a class for.

    Raises:
        UnknownNameError: no such space.
    """
    return Task(name=space, classes=lookup(SPACES, space, "label space"), source="shared by corpora")


def keep(*labels: str, **merged: str) -> dict[str, str]:
    """Classes of a task: ``labels`` as they are, and label -> class of ``merged``.

    >>> keep("anger", "happiness", excitement="happiness")
    {'anger': 'anger', 'happiness': 'happiness', 'excitement': 'happiness'}
    """
    return {**{label: label for label in labels}, **merged}


def audio_files(folder: Path, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """The recordings directly in ``folder`` in the order of their names, any case of the suffix.

    Files that archives from macOS leave behind (``._x``, ``.DS_Store``) are passed over.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_recording(entry.name, suffixes) and entry.is_file())
    return [folder / name for name in names]


def walk(folder: Path, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> Iterator[Path]:
    """The recordings in ``folder`` and all folders below it, folder by folder in the order of their names.

    Hidden folders and ``__MACOSX`` are passed over, as hidden files are.
    """
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield from (Path(place, name) for name in sorted(names) if _is_recording(name, suffixes))


def _is_recording(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes)) and not name.startswith(".")


def prefer_wav(paths: Iterable[Path]) -> list[Path]:
    """``paths`` without those beside which a wav file of the same name stands, which ``ser-zoo prepare`` has made of them."""
    every = list(paths)
    converted = {path.with_suffix("") for path in every if path.suffix.lower() == ".wav"}
    return [path for path in every if path.suffix.lower() == ".wav" or path.with_suffix("") not in converted]


def subfolder(root: Path, name: str) -> Path:
    """The folder ``name`` of ``root`` in whatever case the disk has it; ``root / name`` when there is none."""
    if root.is_dir():
        for path in sorted(root.iterdir()):
            if path.is_dir() and path.name.lower() == name.lower():
                return path
    return root / name


def match_name(grammar: re.Pattern[str], path: Path, title: str, example: str) -> re.Match[str]:
    """Match a file's stem against the grammar of the release.

    Raises:
        CorpusError: it does not match.
    """
    match = grammar.fullmatch(path.stem)
    if match is None:
        raise CorpusError(
            f"{title}: unexpected file name {path.name} in {path.parent}. Expected names like {example}. "
            "Move files that are not of the release elsewhere."
        )
    return match


def short_list(items: Sequence[str], limit: int = 10) -> str:
    """``items`` joined by commas, cut after ``limit``, with how many were left out."""
    text = ", ".join(items[:limit])
    return f"{text} and {len(items) - limit} more" if len(items) > limit else text


def listing(folder: Path) -> str:
    """What is in ``folder``, for an error message."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return short_list(names, 6) if names else "nothing"


def shortfalls(utterances: Iterable[Utterance], expected: Mapping[str, int], attribute: str = "label") -> list[str]:
    """Per label, or per value of another attribute, how many utterances fewer than ``expected`` there are, in words."""
    counts = Counter(getattr(utterance, attribute) for utterance in utterances)
    what = "" if attribute == "label" else f"{attribute} "
    return [f"{what}{value} {count - counts[value]} of {count}" for value, count in expected.items() if counts[value] < count]
