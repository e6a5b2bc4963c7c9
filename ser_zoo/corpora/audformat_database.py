"""Any corpus as a database in audformat, the format of audEERING: a folder with ``db.yaml`` and its tables, or published.

Source of the format: https://audeering.github.io/audformat/. It is read by the package audformat, an extra.

A root that is no folder and looks like a name is that of a database published with audb (https://audeering.github.io/audb/; the
same extra): ``emodb``, which is its latest version, or ``emodb==1.4.1``. It comes from the repositories of audb's configuration
into audb's cache (``AUDB_CACHE_ROOT``): the tables when the corpus is named, the recordings of the emotion's table when they
are used or prepared, as they were published. With its version given, one that is in the cache needs no net. Result rows hold
name and version. What is published has no pickles, but audb makes some in its cache, so one that is shared is not used.

The emotion is the column ``emotion``, or one of the scheme of that name; the speaker is the column or scheme ``speaker``. Of
several the one in the table ``emotion`` is taken, for the speaker that in the table of the emotion or in ``files``. Others are
chosen at the end of the root, ``ROOT?emotion=TABLE/COLUMN&speaker=TABLE/COLUMN``, either or both.

Gender is that of the scheme of the speaker, the split that of the emotion's table, valence, arousal and dominance are columns
of this table. Rows without an emotion are left out, with a warning that counts them. Tables in pickles are refused, since
reading a pickle can run any code.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl

from ser_zoo.corpora.base import Utterance, listing, short_list
from ser_zoo.corpora.csv_table import DIMENSIONS, GENDERS, TableCorpus, canonical, first_absent, utterance_id
from ser_zoo.errors import CorpusError, SERZooWarning

if TYPE_CHECKING:
    import audformat
    import pandas as pd

OPTIONS = ("emotion", "speaker")
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
INSTALL = "pip install 'ser-zoo[audformat]'"
NAME = re.compile(r"(?P<name>\w[\w.-]*)(?:==(?P<version>\w[\w.+-]*))?")
WORKERS = 8  # downloads at the same time


class AudformatDatabase(TableCorpus):
    """Reader of an audformat database.

    Args:
        root: of the database, or as text the name of one that is published; and after a question mark which columns are meant.
            See the module.
        task: see ``Corpus``.
        labels: see ``Corpus``.

    Raises:
        CorpusError: the columns are not named as they should be; or a published database is not known, or cannot be had.
    """

    name: ClassVar[str] = "audformat"
    title: ClassVar[str] = "Any audformat database"
    url: ClassVar[str] = "https://audeering.github.io/audformat/ (published ones: https://audeering.github.io/datasets/)"
    layout: ClassVar[str] = "a database folder of audformat, with a file db.yaml (or the name of a published one, emodb==1.4.1)"

    def __init__(self, root: Path | str | None = None, task: str | None = None, labels: str | None = None) -> None:
        folder, _, query = ("" if root is None else str(root)).partition("?")
        self.options = dict(parse_qsl(query))
        if not self.options.keys() <= set(OPTIONS) or (query and not self.options):
            raise CorpusError(
                f"{root}: found {query} after the question mark, expected emotion=TABLE/COLUMN or speaker=TABLE/COLUMN, with & "
                "between them."
            )
        self._loaded: audformat.Database | None = None
        # A Path is always one: that of a corpus among others may look like a name.
        if isinstance(root, str) and (asked := NAME.fullmatch(folder)) and not Path(folder).exists():
            name, version = asked["name"], _version(asked["name"], asked["version"])
            self.published = f"{name}=={version}"
            self._loaded = _load_tables(name, version)
            folder = self._loaded.root
        super().__init__(None if root is None else folder, task, labels)

    @property
    def part(self) -> str:
        """Tells other choices of columns apart."""
        return hashlib.sha256(repr(sorted(self.options.items())).encode()).hexdigest()[:8] if self.options else ""

    def found(self) -> bool:
        """Whether there is a database."""
        return (self.root / "db.yaml").is_file()

    def prepare(self) -> None:
        """Download the recordings of a published database that are not in the cache yet.

        Raises:
            CorpusError: they cannot be had.
        """
        if self.published is None:
            return
        if files := dict.fromkeys(row.path.relative_to(self.root).as_posix() for row in self.table if not row.path.is_file()):
            name, _, version = self.published.partition("==")
            _load_media(name, version, list(files))

    def release(self) -> list[Utterance]:
        """See ``Corpus``; recordings of a published database are downloaded first.

        Raises:
            CorpusError: see ``Corpus`` and ``prepare``.
        """
        self.prepare()
        return super().release()

    @cached_property
    def table(self) -> list[Utterance]:
        """The rows of the emotion's table that have an emotion.

        Raises:
            CorpusError: there is no database, audformat is not installed, the columns cannot be told, a speaker is missing, or
                a recording in a folder, or two rows are of one utterance.
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
        if self._loaded is not None:
            return self._loaded
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
        found: dict[str, Utterance] = {}
        for row in rows:
            if (other := found.setdefault(row.id, row)) is not row:
                raise CorpusError(
                    f"{self.root}: table {emotion[0]} has two rows for utterance {row.id}: {other.path} and {row.path}. "
                    "Expected one per path without suffix, and start and end. Rename one of the files, or remove its row."
                )
        if self.published is None and (absent := first_absent(rows)):
            raise CorpusError(
                f"{self.root}: there is no file {absent.path}, which table {emotion[0]} names. Expected all recordings in the "
                "folder of the database."
            )


# Published databases.


def _version(name: str, asked: str | None) -> str:
    """The version of a published database that is meant, the latest where none is asked for.

    Raises:
        CorpusError: audb is not installed, or no repository that can be reached has it.
    """
    if find_spec("audb") is None or find_spec("audformat") is None:
        raise CorpusError(
            f"There is no folder {name}, and databases that are published under a name are loaded by the package audb, which "
            f"is not installed. Give the folder of a database, or install it: {INSTALL}"
        )
    try:
        import audb

        cached = _cached(name)
        if asked is not None and asked in cached:
            return asked
        versions: list[str] = audb.versions(name)
        repositories = ", ".join(f"{one.name} at {one.host}" for one in audb.config.REPOSITORIES)
    except Exception as error:  # whatever its configuration or a back end raises
        raise CorpusError(f"audb cannot look for {name}: {error}. Check its configuration (~/.config/audb.yaml).") from error
    if versions and (asked is None or asked in versions):
        return asked or versions[-1]
    if versions:
        raise CorpusError(
            f"{name} has no version {asked}, but {short_list(versions)}. Give one of these: {name}=={versions[-1]}."
        )
    kept = f" Of {name} the cache holds {', '.join(cached)}, which needs no net: {name}=={cached[-1]}." if cached else ""
    raise CorpusError(
        f"There is no folder {name}, and no published database of that name was found in the repositories that audb asks "
        f"({repositories or 'none'}).{kept} Expected the folder of a database, or a name and a connection to its repository; "
        "others are added in ~/.config/audb.yaml."
    )


def _cached(name: str) -> list[str]:
    """The versions that are in audb's cache, the latest last; perhaps not all of their files."""
    import audb

    headers = Path(audb.default_cache_root()).glob(str(Path(audb.flavor_path(name, "*"), "db.yaml")))
    found = [path.parts[-3] for path in headers]
    return sorted(found, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])


def _load_tables(name: str, version: str) -> audformat.Database:
    """The database with its tables, in audb's cache.

    Raises:
        CorpusError: it cannot be had.
    """
    import audb

    try:
        return audb.load(
            name,
            version=version,
            only_metadata=True,
            full_path=False,
            pickle_tables=False,
            cache_root=audb.default_cache_root(),
            num_workers=WORKERS,
            verbose=False,
        )
    except Exception as error:  # whatever a back end raises
        raise _lost(name, version, "tables", error) from error


def _load_media(name: str, version: str, files: Sequence[str]) -> None:
    """Have recordings in audb's cache, with its progress bar.

    Raises:
        CorpusError: they cannot be had.
    """
    import audb

    try:
        # The bar is on the standard error; what audb says besides would stand among the tables or the JSON of a verb.
        with redirect_stdout(io.StringIO()):
            audb.load_media(name, files, version=version, cache_root=audb.default_cache_root(), num_workers=WORKERS)
    except Exception as error:  # whatever a back end raises
        raise _lost(name, version, f"{len(files)} recordings", error) from error


def _lost(name: str, version: str, what: str, error: Exception) -> CorpusError:
    return CorpusError(
        f"The {what} of {name}=={version} cannot be loaded by audb: {error}. What has come is kept in its cache; try again "
        "when its repository can be reached."
    )


# Tables.

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
