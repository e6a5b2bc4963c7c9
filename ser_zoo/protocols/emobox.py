"""EmoBox's folds of utterances, read from the user's own copy of EmoBox.

Where EmoBox keeps speakers apart, its folds are groups of speakers in the table. Elsewhere it tests a random quarter of each
class: ``random.sample`` of Python, with seed 0, over the files in the order in which its authors' disk listed them. That order
is in EmoBox's files alone, so the lists are read from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import ClassVar

from ser_zoo.corpora.base import Utterance, short_list
from ser_zoo.errors import ProtocolError, SERZooWarning
from ser_zoo.protocols.base import Protocol, Side
from ser_zoo.protocols.kinds import deal

VARIABLE = "SER_ZOO_EMOBOX"
COMMIT = "08280f2"  # of 2025-03-31
# Share of a release's utterances that the lists may lack: of no release do they lack more than of ShEMO, 162 of 3000.
UNLISTED = 0.1
URL = "https://github.com/emo-box/EmoBox"


@dataclass(frozen=True, kw_only=True)
class EmoBoxLists(Protocol):
    """Fold k: test = EmoBox's list k; of its training list a random fifth validates, as it has no validation list.

    Attributes:
        theirs: the corpus's name in EmoBox.
        digests: per fold, the first 12 hex digits of the SHA-256 over the sorted keys of the test list, one a line.
        renamed: file of the release -> file in EmoBox, without suffix and in lower case.
    """

    theirs: str
    digests: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()
    kind: ClassVar[str] = "EmoBox lists"

    @property
    def folds(self) -> int:
        """One per list."""
        return len(self.digests)

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        tests, trains = (self._read(part, fold) for part in ("test", "train"))
        digest = hashlib.sha256("\n".join(sorted(tests)).encode()).hexdigest()[:12]
        if digest != self.digests[fold - 1]:
            raise ProtocolError(
                f"{self._file('test', fold)} lists other utterances than EmoBox at commit {COMMIT}: {len(tests)} keys of "
                f"digest {digest}, expected {self.digests[fold - 1]}. Check out that commit of {URL}."
            )
        depth = unique_depth([*tests.values(), *trains.values()])
        tested, trained = ({tail(path, depth) for path in part.values()} for part in (tests, trains))
        names = {row.id: self._name(row, depth) for row in utterances}
        if unlisted := [row.id for row in utterances if names[row.id] not in tested and names[row.id] not in trained]:
            found = f"EmoBox does not list {len(unlisted)} of {len(utterances)} utterances of {self.corpus}"
            if len(unlisted) > UNLISTED * len(utterances):
                raise ProtocolError(
                    f"{found}: {short_list(unlisted, 5)}. Expected the files and folders of the release, as EmoBox names them, "
                    f"for example {next(iter(trains.values()))}. Take another protocol for another version of the corpus."
                )
            warnings.warn(
                f"{found}; protocol {self.name} leaves them out: {short_list(unlisted, 5)}.", SERZooWarning, stacklevel=2
            )
        parts = deal([row for row in utterances if names[row.id] in trained], 5, seed=0)
        for row in utterances:
            if names[row.id] in tested:
                yield row, "test"
            elif row.id in parts:
                yield row, "validation" if parts[row.id] == 1 else "train"

    def _wanting(self, fold: int, side: Side) -> str:
        return f"no file that EmoBox lists for {'test' if side == 'test' else 'training'} is in"

    def _file(self, part: str, fold: int) -> Path:
        folder = os.environ.get(VARIABLE)
        wanted = f"data/{self.theirs}/fold_{fold}/{self.theirs}_{part}_fold_{fold}.jsonl"
        if not folder:
            raise ProtocolError(
                f"Protocol {self.name} of {self.corpus} reads EmoBox's own lists, and ${VARIABLE} is not set. Clone {URL} at "
                f"commit {COMMIT} and set {VARIABLE} to its folder, which holds {wanted}."
            )
        path = Path(folder).expanduser() / wanted
        if not path.is_file():
            raise ProtocolError(
                f"Protocol {self.name} of {self.corpus} reads EmoBox's own lists, and there is no {path}. Expected a clone of "
                f"{URL} at commit {COMMIT} in ${VARIABLE}."
            )
        return path

    def _read(self, part: str, fold: int) -> dict[str, str]:
        """Key -> path of the recordings in a list."""
        path = self._file(part, fold)
        listed: dict[str, str] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                entry = json.loads(line)
                listed[str(entry["key"])] = str(entry["wav"])
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ProtocolError(
                    f"{path}, line {number}: expected a JSON object with key and wav, as EmoBox writes them, found "
                    f"{line[:80]!r}. Restore the file from EmoBox."
                ) from error
        return listed

    def _name(self, utterance: Utterance, depth: int) -> str:
        name = tail(utterance.path.as_posix(), depth)
        return dict(self.renamed).get(name, name)


def tail(path: str, depth: int) -> str:
    """The last ``depth`` parts of a path without suffix, in one case and one form of accents.

    >>> tail("downloads/mead/W019/audio/neutral/level_1/020.m4a", 2)
    'level_1/020'
    """
    parts = PurePosixPath(unicodedata.normalize("NFC", path).lower()).with_suffix("").parts
    return "/".join(parts[-depth:])


def unique_depth(paths: Sequence[str]) -> int:
    """How many parts of these paths, from the end, tell them apart."""
    every = set(paths)
    return next(depth for depth in count(1) if len({tail(path, depth) for path in every}) == len(every))
