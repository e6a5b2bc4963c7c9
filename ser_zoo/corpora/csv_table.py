"""Any corpus as a table: a CSV file with a row per utterance.

Source of the format: RFC 4180, UTF-8 with or without a byte order mark, with a header; a file named ``.tsv`` has tabs in place
of commas. The root is the file, and paths in it are relative to the folder that it is in.

Columns: ``path``, ``label`` and ``speaker``, and where they are known ``id``, ``start`` and ``end`` (seconds), ``split``
(``train``, ``validation`` or ``test``), ``gender``, ``session``, ``text``, ``language``, ``style``, ``intensity``,
``soft_<label>`` (votes or shares), ``valence``, ``arousal`` and ``dominance``. Cells may be empty but for path, label and
speaker. Without ``id``, the id of an utterance is its path without suffix, and start and end where it has these.

A label that is a canonical name in some spelling of case (``Anger``) counts as that one, any other is taken as it is; where two
labels or speakers are spelt almost alike, a warning says so.
"""

from __future__ import annotations

import csv
import math
import unicodedata
import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Task, Utterance, short_list
from ser_zoo.corpora.labels import CANONICAL
from ser_zoo.errors import CorpusError, SERZooWarning

REQUIRED = ("path", "label", "speaker")
TEXTS = ("session", "text", "language", "style", "intensity")
DIMENSIONS = ("valence", "arousal", "dominance")
OPTIONAL = ("id", "start", "end", "split", "gender", *TEXTS, *DIMENSIONS)
SOFT = "soft_"
SPLITS = ("train", "validation", "test")
GENDERS = ("female", "male")


class TableCorpus(Corpus):
    """A corpus whose classes and counts are those of the user's own table, and so not known before it is read."""

    counts: ClassVar[Mapping[str, int]] = {}
    speakers: ClassVar[int | None] = None
    kind: ClassVar[str] = "any"
    language: ClassVar[str] = "any"
    licence: ClassVar[str] = "that of the recordings"

    @property
    @abstractmethod
    def table(self) -> list[Utterance]:
        """All utterances.

        Raises:
            CorpusError: the table is not there or is not as it should be.
        """

    def known_tasks(self) -> tuple[Task, ...]:
        """The one task of all labels in the table; of no label as long as there is no table."""
        labels = sorted({row.label for row in self.table}) if self.found() else []
        return (Task(name="all", classes={label: label for label in labels}, source="all labels of the table"),)

    @property
    def total(self) -> int:
        """Utterances of the table; 0 as long as there is none."""
        return len(self.table) if self.found() else 0

    def files(self) -> Iterable[Path]:
        """The recordings that the table names, each once."""
        return dict.fromkeys(row.path for row in self.table)

    def rows(self) -> Iterable[Utterance]:
        """Those of the table."""
        return self.table

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """Nothing: a recording that is named and not there is an error."""
        return []

    def scan(self) -> list[Utterance]:
        """All utterances, sorted by id.

        Raises:
            CorpusError: see ``table``.
        """
        return sorted(self.table, key=lambda row: row.id)


class CSVTable(TableCorpus):
    """Reader of a CSV file."""

    name: ClassVar[str] = "csv"
    title: ClassVar[str] = "Any table"
    url: ClassVar[str] = "https://www.rfc-editor.org/rfc/rfc4180"
    layout: ClassVar[str] = f"a CSV file with the columns {', '.join(REQUIRED)}"

    @cached_property
    def table(self) -> list[Utterance]:
        """The rows of the file in its order.

        Raises:
            CorpusError: there is no such file, a column is missing, or a cell has not what it should have; the text names the
                line and the column.
        """
        if not self.found():
            found = "is a folder" if self.root.is_dir() else "is not there"
            raise CorpusError(
                f"{self.title} not found: {self.root} {found}. Expected {self.layout}. Pass it with --data.root, or --root."
            )
        try:
            with self.root.open(encoding="utf-8-sig", newline="") as file:
                return self._read(file)
        except (UnicodeDecodeError, csv.Error) as error:
            raise CorpusError(f"{self.root} is no CSV file in UTF-8: {error}. Save it as one.") from error

    def found(self) -> bool:
        """Whether there is such a file."""
        return self.root.is_file()

    def _read(self, file: Iterable[str]) -> list[Utterance]:
        lines = csv.reader(file, delimiter="\t" if self.root.suffix.lower() == ".tsv" else ",")
        columns = [name.strip() for name in next(lines, [])]
        self._check(columns)
        found: dict[str, Utterance] = {}
        places: dict[str, int] = {}
        last = lines.line_num
        for fields in lines:
            line, last = last + 1, lines.line_num  # a row may have several lines, and is known by its first
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(columns):
                raise CorpusError(
                    f"{self.root}, line {line}: found {len(fields)} cells, expected {len(columns)} as in the header. Cells "
                    "with commas or line breaks must stand in quotation marks."
                )
            row = self._utterance(_Cells(self.root, line, dict(zip(columns, fields, strict=True))))
            if row.id in found:
                raise CorpusError(
                    f"{self.root}, line {line}: found the id {row.id}, which line {places[row.id]} has too. Expected another "
                    "one in each: give the table a column id."
                )
            found[row.id], places[row.id] = row, line
        if not found:
            raise CorpusError(f"{self.root} has no row below its header. Expected one per utterance.")
        if absent := first_absent(found.values()):
            raise CorpusError(
                f"{self.root}, line {places[absent.id]}, column path: there is no file {absent.path}. Expected a path relative "
                f"to {self.root.parent}, or an absolute one."
            )
        self._warn_of_spellings("label", (row.label for row in found.values()))
        self._warn_of_spellings("speaker", (row.speaker for row in found.values()))
        return list(found.values())

    def _warn_of_spellings(self, column: str, names: Iterable[str]) -> None:
        spellings: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            spellings.setdefault(plain(name), []).append(name)
        if alike := [" and ".join(found) for found in spellings.values() if len(found) > 1]:
            warnings.warn(
                f"{self.root}, column {column}: {short_list(alike)} are spelt almost alike, and are taken as different. "
                "If they are the same, spell them alike.",
                SERZooWarning,
                stacklevel=2,
            )

    def _check(self, columns: Sequence[str]) -> None:
        if absent := [name for name in REQUIRED if name not in columns]:
            raise CorpusError(
                f"{self.root}, line 1: there is no column {', '.join(absent)}, but {short_list(columns) or 'nothing'}. "
                f"Expected {', '.join(REQUIRED)} in the first row, with commas between them (tabs in a file named .tsv)."
            )
        meant = (SOFT + canonical(name.removeprefix(SOFT)) if name.startswith(SOFT) else name for name in columns)
        if twice := [name for name, count in Counter(meant).items() if count > 1]:
            raise CorpusError(f"{self.root}, line 1: found the column {twice[0]!r} twice, expected it once.")
        unknown = [name for name in columns if name not in REQUIRED + OPTIONAL and not name.startswith(SOFT)]
        if unknown:
            warnings.warn(
                f"{self.root}: nothing is taken from the columns {short_list(unknown)}. Known: "
                f"{', '.join(REQUIRED + OPTIONAL)}, {SOFT}<label>.",
                SERZooWarning,
                stacklevel=2,
            )

    def _utterance(self, cells: _Cells) -> Utterance:
        place, label = cells.required("path"), cells.required("label")
        if not Path(place).name:
            raise cells.error("path", "the path of a recording")
        start, end = cells.number("start", least=0.0), cells.number("end", least=0.0)
        if end is not None and end <= (start or 0.0):
            raise cells.error("end", f"a number above the start ({start or 0.0:g})")
        soft = {
            canonical(column.removeprefix(SOFT)): votes
            for column in cells.values
            if column.startswith(SOFT) and (votes := cells.number(column, least=0.0)) is not None
        }
        dimensions = {name: value for name in DIMENSIONS if (value := cells.number(name)) is not None}
        return Utterance(
            id=cells.text("id") or utterance_id(place, start, end),
            path=self.root.parent / place,
            speaker=cells.required("speaker"),
            label=canonical(label),
            original_label=label,
            gender=cells.choice("gender", GENDERS),
            split=cells.choice("split", SPLITS),
            start=start or 0.0,
            end=end,
            soft=soft or None,
            dimensions=dimensions or None,
            **{name: cells.text(name) for name in TEXTS},
        )


class _Cells:
    """The cells of one row, and the errors about them."""

    def __init__(self, path: Path, line: int, values: Mapping[str, str]) -> None:
        self.path, self.line, self.values = path, line, values

    def text(self, column: str) -> str | None:
        """The cell; None where it is empty or there is no such column."""
        return self.values.get(column, "").strip() or None

    def required(self, column: str) -> str:
        """The cell, which must not be empty."""
        text = self.text(column)
        if text is None:
            raise self.error(column, "a text")
        return text

    def number(self, column: str, least: float = -math.inf) -> float | None:
        """The cell as a finite number that is not below ``least``."""
        text = self.text(column)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= least):
            raise self.error(column, "a number" if least == -math.inf else f"a number, at least {least:g}")
        return value

    def choice(self, column: str, allowed: Sequence[str]) -> str | None:
        """The cell, which must be one of ``allowed``, in any case."""
        text = self.text(column)
        if text is not None and text.lower() not in allowed:
            raise self.error(column, f"{', '.join(allowed)} or nothing")
        return text and text.lower()

    def error(self, column: str, expected: str) -> CorpusError:
        """The error for a cell."""
        found = self.text(column)
        return CorpusError(
            f"{self.path}, line {self.line}, column {column}: found {'nothing' if found is None else repr(found)}, "
            f"expected {expected}."
        )


def utterance_id(place: str, start: float | None, end: float | None) -> str:
    """The path without suffix, and the seconds where the utterance is a stretch of its recording.

    >>> utterance_id("a/x.wav", None, None), utterance_id("a/x.wav", 0.0, 1.25), utterance_id("a/x.wav", 2.5, None)
    ('a/x', 'a/x_0.0_1.25', 'a/x_2.5_')
    """
    stretch = "" if start is None and end is None else f"_{start or 0.0}_{'' if end is None else end}"
    return Path(place).with_suffix("").as_posix() + stretch


def first_absent(rows: Iterable[Utterance]) -> Utterance | None:
    """The first whose recording is not there; every folder is listed once, which is faster than a look at every file."""
    folders: dict[Path, frozenset[str]] = {}
    for row in rows:
        folder = row.path.parent
        if folder not in folders:
            folders[folder] = frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()
        if row.path.name not in folders[folder]:
            return row
    return None


def plain(name: str) -> str:
    r"""What spellings of ``name`` share that differ in case, in blanks or in how Unicode composes a letter.

    >>> plain("Sehr  Glu\u0308cklich") == plain("sehr gl\u00fccklich")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def canonical(label: str) -> str:
    """The canonical name that ``label`` is but for case; any other label as it is.

    >>> canonical("Anger"), canonical("Joy")
    ('anger', 'Joy')
    """
    return label.lower() if label.lower() in CANONICAL else label
