"""Any corpus as a database in audformat, the format of audEERING: a folder with ``db.yaml`` and its tables.

Source of the format: https://audeering.github.io/audformat/. It is read by the package audformat, an extra. Databases that are
published by name are not fetched, since the package for that (audb) brings storage back ends with it: load them with audb into
a folder (``audb.load_to``), and give that.

The emotion is the column ``emotion``, or one of the scheme of that name; the speaker is the column or scheme ``speaker``. Of
several the one in the table ``emotion`` is taken, for the speaker that in the table of the emotion or in ``files``. Others are
chosen at the end of the root, ``FOLDER?emotion=TABLE/COLUMN&speaker=TABLE/COLUMN``, either or both.

Gender is that of the scheme of the speaker, the split that of the emotion's table, valence, arousal and dominance are columns
of this table. Rows without an emotion are left out, with a warning that counts them. Tables in pickles are refused, since
reading a pickle can run any code.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl

from ser_zoo.corpora.base import Utterance, listing
from ser_zoo.corpora.csv_table import DIMENSIONS, GENDERS, TableCorpus, canonical, first_absent, utterance_id
from ser_zoo.errors import CorpusError, SERZooWarning

if TYPE_CHECKING:
    import audformat
    import pandas as pd

OPTIONS = ("emotion", "speaker")
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
INSTALL = "pip install 'ser-zoo[audformat]'"


class AudformatDatabase(TableCorpus):
    """Reader of an audformat database.

    Args:
        root: of the database, and after a question mark which columns are meant; see the module.
        task: see ``Corpus``.
        labels: see ``Corpus``.
    """

    name: ClassVar[str] = "audformat"
    title: ClassVar[str] = "Any audformat database"
    url: ClassVar[str] = "https://audeering.github.io/audformat/"
    layout: ClassVar[str] = "a database folder of audformat, with a file db.yaml"

    def __init__(self, root: Path | str | None = None, task: str | None = None, labels: str | None = None) -> None:
        folder, _, query = (None, "", "") if root is None else str(root).partition("?")
        self.options = dict(parse_qsl(query))
        if not self.options.keys() <= set(OPTIONS) or (query and not self.options):
            raise CorpusError(
                f"{root}: found {query} after the question mark, expected emotion=TABLE/COLUMN or speaker=TABLE/COLUMN, with & "
                "between them."
            )
        super().__init__(folder, task, labels)

    @property
    def part(self) -> str:
        """Tells other choices of columns apart."""
        return hashlib.sha256(repr(sorted(self.options.items())).encode()).hexdigest()[:8] if self.options else ""

    def found(self) -> bool:
        """Whether there is a database."""
        return (self.root / "db.yaml").is_file()

    @cached_property
    def table(self) -> list[Utterance]:
        """The rows of the emotion's table that have an emotion.

        Raises:
            CorpusError: there is no database, audformat is not installed, the columns cannot be told, or a speaker or a
                recording is missing.
        """
        database = self._load()
        emotion = self._column(database, "emotion", ("emotion",))
        speaker = self._column(database, "speaker", (emotion[0], "files"))
        frame = database[emotion[0]].df
        speakers, genders = _by_stretch(database, speaker), _genders(database, speaker)
        split = database[emotion[0]].split_id
        rows, unlabelled = [], 0
        for (file, start, end), label, *values in zip(
            _stretches(frame.index),
            frame[emotion[1]],
            *(frame[name] for name in DIMENSIONS if name in frame),
            strict=True,
        ):
            if _is_none(label):
                unlabelled += 1
                continue
            who = speakers.get((file, start, end), speakers.get((file, None, None)))
            if who is None:
                raise CorpusError(
                    f"{self.root}: column {'/'.join(speaker)} names no speaker of {utterance_id(file, start, end)}. Expected "
                    "one for every row with an emotion."
                )
            dimensions = dict(zip((name for name in DIMENSIONS if name in frame), values, strict=True))
            known = {name: float(value) for name, value in dimensions.items() if not _is_none(value)}
            rows.append(
                Utterance(
                    id=utterance_id(file, start, end),
                    path=self.root / file,
                    speaker=who,
                    label=canonical(str(label)),
                    original_label=str(label),
                    gender=genders.get(who),
                    split=None if split is None else SPLITS.get(database.splits[split].type),
                    start=start or 0.0,
                    end=end,
                    dimensions=known or None,
                )
            )
        if unlabelled:
            warnings.warn(
                f"{self.root}: {unlabelled} of {len(frame)} rows of table {emotion[0]} have no emotion, and are left out.",
                SERZooWarning,
                stacklevel=2,
            )
        self._check(rows, emotion)
        return rows

    def _load(self) -> audformat.Database:
        if not self.found():
            found = f"{self.root} holds {listing(self.root)}" if self.root.is_dir() else f"there is no folder {self.root}"
            raise CorpusError(f"{self.title} not found: {found}. Expected {self.layout}. Pass it with --data.root, or --root.")
        if find_spec("audformat") is None:
            raise CorpusError(f"{self.root} is read by the package audformat, which is not installed. Install it: {INSTALL}")
        if pickles := sorted(path.name for path in self.root.glob("*.pkl")):
            raise CorpusError(
                f"{self.root} has its tables in pickles ({', '.join(pickles)}), which are not read, since they can run any "
                "code. Save the tables as csv or parquet, and remove them."
            )
        import audformat

        try:
            return audformat.Database.load(str(self.root), load_data=False)
        except Exception as error:  # whatever the parser of a damaged header raises
            raise CorpusError(f"{self.root / 'db.yaml'} cannot be read by audformat: {error}. Restore the database.") from error

    def _column(self, database: audformat.Database, wanted: str, preferred: Sequence[str]) -> tuple[str, str]:
        """Table and column of the emotion or the speaker."""
        columns = {
            (table, name): column.scheme_id for table in database.tables for name, column in database[table].columns.items()
        }
        if wanted in self.options:
            chosen = tuple(self.options[wanted].rsplit("/", 1))
            if chosen in columns:
                return chosen[0], chosen[1]
            problem = f"there is no column {self.options[wanted]}"
        else:
            fitting = [key for key, scheme in columns.items() if wanted in (key[1], scheme)]
            best = next(([key for key in fitting if key[0] == table] for table in preferred if table in dict(fitting)), fitting)
            if len(best) == 1:
                return best[0]
            problem = f"{len(best) or 'no'} columns may be the {wanted}"
        there = ", ".join("/".join(key) for key in columns) or "none"
        raise CorpusError(
            f"{self.root}: {problem}. Its columns are {there}. Name the one that is meant: "
            f"--root '{self.root}?{wanted}=TABLE/COLUMN'."
        )

    def _check(self, rows: Sequence[Utterance], emotion: tuple[str, str]) -> None:
        if not rows:
            raise CorpusError(f"{self.root}: column {'/'.join(emotion)} has no value. Expected the emotion of each utterance.")
        if absent := first_absent(rows):
            raise CorpusError(
                f"{self.root}: there is no file {absent.path}, which table {emotion[0]} names. Expected all recordings in the "
                "folder of the database."
            )


Stretch = tuple[str, float | None, float | None]


def _stretches(index: pd.Index) -> list[Stretch]:
    """File, start and end in seconds of every row; None for both where the table is of whole files."""
    if index.nlevels == 1:
        return [(str(file), None, None) for file in index]
    return [(str(file), start.total_seconds(), None if _is_none(end) else end.total_seconds()) for file, start, end in index]


def _is_none(value: object) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _by_stretch(database: audformat.Database, speaker: tuple[str, str]) -> Mapping[Stretch, str]:
    frame = database[speaker[0]].df
    names = zip(_stretches(frame.index), frame[speaker[1]], strict=True)
    return {stretch: str(name) for stretch, name in names if not _is_none(name)}


def _genders(database: audformat.Database, speaker: tuple[str, str]) -> dict[str, str]:
    """Speaker -> gender where the scheme of the speaker says it."""
    column = database[speaker[0]].columns[speaker[1]]
    labels = None if column.scheme_id is None else database.schemes[column.scheme_id].labels
    if isinstance(labels, str):  # a table of the speakers
        frame = database.misc_tables[labels].df
        labels = {who: {"gender": gender} for who, gender in frame["gender"].items()} if "gender" in frame else {}
    if not isinstance(labels, dict):
        return {}
    told = {str(who): facts.get("gender") for who, facts in labels.items() if isinstance(facts, dict)}
    return {who: gender for who, gender in told.items() if gender in GENDERS}
