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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ser_zoo.errors import CorpusError, SERZooWarning

AUDIO_SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled stretch of speech.

    Attributes:
        id: unique in the corpus; features, predictions and folds are joined by it.
        path: the recording.
        speaker: who speaks, as the release names the person.
        label: the emotion by its canonical name (``happiness``, not ``happy`` or ``F``).
        original_label: the emotion as the release writes it.
        gender: ``female`` or ``male``; None where the release does not say.
        session: the recording session; None where the corpus has none.
        text: id of the sentence that is spoken; None where it is not known.
        intensity: as the release names it; None where it is not varied.
        repetition: which take of the same text; None where there is one only.
        language: ISO 639-1 code.
        start: seconds from the start of the recording.
        end: seconds; None means up to the end of the recording.
        soft: what the annotators heard, canonical label -> share or number of votes; None where the release does not say.
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
    language: str | None = None
    start: float = 0.0
    end: float | None = None
    soft: Mapping[str, float] | None = field(default=None, hash=False)


class Corpus(ABC):
    """A corpus in its official release on disk.

    Args:
        root: folder of the release. None means ``$SER_ZOO_DATA/<name>``, and without that variable ``data/<name>``
            below the working directory.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    language: ClassVar[str]
    licence: ClassVar[str]
    url: ClassVar[str]
    labels: ClassVar[tuple[str, ...]]
    """Canonical labels of the complete release, in the order of the model's outputs."""
    size: ClassVar[int]
    """Number of utterances of the complete release."""
    layout: ClassVar[str]
    """What the root must hold, in words for an error message."""
    synthetic: ClassVar[bool] = False

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root).expanduser() if root is not None else default_root(self.name)

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """The recordings where the release keeps them; empty where the layout is not that of the release."""

    @abstractmethod
    def parse(self, path: Path) -> Utterance | None:
        """The row of one recording; None for a file that the release has but this task does not use.

        Raises:
            CorpusError: the name does not follow the release's grammar.
        """

    @abstractmethod
    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """What the complete release has and this folder lacks, in words; empty when it is complete."""

    def prepare(self) -> None:  # noqa: B027 - optional on purpose
        """Make the release if this corpus is one that can be made; does nothing for recorded corpora."""

    def found(self) -> bool:
        """Whether the root looks like the release. Cheap: stops at the first recording."""
        return self.root.is_dir() and any(True for _ in self.files())

    def utterances(self) -> list[Utterance]:
        """All utterances, sorted by id; warns when the release is not complete.

        Raises:
            CorpusError: the folder is missing or is not the release, a name breaks the grammar, or two files have the
                same id.
        """
        if not self.root.is_dir():
            raise CorpusError(f"{self.title} not found: there is no folder {self.root}. {self._advice()}")
        rows: dict[str, Utterance] = {}
        for path in self.files():
            row = self.parse(path)
            if row is None:
                continue
            if row.id in rows:
                raise CorpusError(
                    f"{self.title}: two files for utterance {row.id}: {rows[row.id].path} and {path}. Expected one "
                    "file per utterance. Remove one of them."
                )
            rows[row.id] = row
        if not rows:
            found = listing(self.root)
            raise CorpusError(f"{self.title} not found: {self.root} holds {found}. {self._advice()}")
        utterances = [rows[key] for key in sorted(rows)]
        if missing := self.missing(utterances):
            warnings.warn(
                f"{self.title} at {self.root} is not complete: {len(utterances)} of {self.size} utterances. "
                f"Missing: {'; '.join(missing)}. Going on with what is there.",
                SERZooWarning,
                stacklevel=2,
            )
        return utterances

    def _advice(self) -> str:
        return (
            f"Expected {self.layout}. Get it at {self.url}, then pass --data.root or set SER_ZOO_DATA to the folder "
            f"that holds {self.name}/."
        )


def default_root(name: str) -> Path:
    """``$SER_ZOO_DATA/<name>``, else ``data/<name>`` below the working directory."""
    return Path(os.environ.get("SER_ZOO_DATA") or "data") / name


def audio_files(folder: Path) -> list[Path]:
    """The .wav and .flac files directly in ``folder`` in the order of their names, any case of the suffix.

    Files that archives from macOS leave behind (``._x``, ``.DS_Store``) are passed over.
    """
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


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


def label_shortfalls(utterances: Iterable[Utterance], expected: dict[str, int]) -> list[str]:
    """Per label, how many utterances fewer than ``expected`` there are, in words."""
    counts = Counter(utterance.label for utterance in utterances)
    return [f"{label} {count - counts[label]} of {count}" for label, count in expected.items() if counts[label] < count]
