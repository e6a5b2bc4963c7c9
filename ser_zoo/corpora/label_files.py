"""What readers share whose labels stand in files of their own: reading these, and saying where they are damaged."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ser_zoo.corpora.base import short_list
from ser_zoo.errors import CorpusError


def damaged(title: str, path: Path, line: int, found: str, expected: str) -> CorpusError:
    """The error for a line that breaks the grammar of a label file."""
    return CorpusError(
        f"{title}: {path}, line {line}: found {found}, expected {expected}. The file seems to be damaged or cut off; "
        "copy it from the release again."
    )


def read_text(title: str, path: Path) -> str:
    """All of a label file in UTF-8, with or without a byte order mark.

    Raises:
        CorpusError: it has another encoding, or is cut off within a character.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise damaged(title, path, line, f"the byte {error.object[error.start]:#04x}", "text in UTF-8") from error


def read_table(title: str, path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields by column of every row of a CSV file with a header.

    Args:
        title: of the corpus, for errors.
        path: of the file, UTF-8 with or without a byte order mark.
        columns: that the header must have; it may have more.
        delimiter: between fields.

    Raises:
        CorpusError: a column is missing, a row has not as many fields as the header, or a quote that is not closed swallows the
            rest.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter)
        try:
            header = next(lines, [])
            if any(column not in header for column in columns):
                raise damaged(title, path, 1, f"columns {', '.join(header) or 'none'}", f"{', '.join(columns)} among them")
            for fields in lines:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise damaged(title, path, lines.line_num, f"{len(fields)} fields", f"{len(header)} as in the header")
                yield lines.line_num, dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise damaged(title, path, lines.line_num, str(error), "fields whose quotes are closed") from error


def refuse_unlabelled(title: str, recordings: Mapping[str, Path], labelled: Container[str], source: str) -> None:
    """Stop at recordings that no label file speaks of: the file is cut off, or they are not of the release.

    Args:
        title: of the corpus, for errors.
        recordings: by the id of their utterance.
        labelled: the ids that have a label.
        source: where the labels stand, for errors.

    Raises:
        CorpusError: a recording has no label.
    """
    if unlabelled := [path.name for key, path in recordings.items() if key not in labelled]:
        raise CorpusError(
            f"{title}: {len(unlabelled)} of {len(recordings)} recordings have no label: {short_list(unlabelled, 3)}. Expected "
            f"one for each in {source}. Complete or replace the label files, and move recordings that are not of the release "
            "elsewhere."
        )


def by_name(title: str, files: Iterable[Path]) -> dict[str, Path]:
    """The recordings by their names without suffix.

    Raises:
        CorpusError: two recordings have the same name.
    """
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise CorpusError(
                f"{title}: two files for utterance {path.stem}: {found[path.stem]} and {path}. Expected one file per "
                "utterance. Remove one of them."
            )
        found[path.stem] = path
    return found


def find_file(folder: Path, *names: str) -> Path | None:
    """The file of ``folder`` with one of ``names`` in any case, the first that is there; None without any."""
    there = {path.name.lower(): path for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    return next((there[name.lower()] for name in names if name.lower() in there), None)
