"""A protocol says who trains, validates and tests in fold k; the check proves that a split keeps to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Literal, NamedTuple

from ser_zoo.corpora.base import Utterance, short_list
from ser_zoo.errors import LeakError, ProtocolError

World = Literal["honest", "as_published"]
Leak = Literal["speaker", "recording", "audio"]


class Split(NamedTuple):
    """The three sides of a fold."""

    train: list[Utterance]
    validation: list[Utterance]
    test: list[Utterance]


@dataclass(frozen=True)
class Protocol:
    """A cyclic rotation over groups of speakers or sessions.

    Fold k (from 1): test = group k, validation = the next group (group 1 after the last), train = all the others.

    Attributes:
        name: as ``--data.protocol`` takes it.
        corpus: the corpus it is for.
        version: raised whenever the rule changes, so that old result rows stay apart.
        groups: the groups in rotation order.
        source: where the rule is from.
        unit: what a group lists.
        world: ``honest`` or ``as_published``; marks every number made under it.
        declared_leaks: what the protocol knowingly has on two sides. Must be empty in the honest world.
    """

    name: str
    corpus: str
    version: int
    groups: tuple[tuple[str, ...], ...]
    source: str
    unit: Literal["speaker", "session"] = "speaker"
    world: World = "honest"
    declared_leaks: tuple[Leak, ...] = ()

    def __post_init__(self) -> None:
        if self.world == "honest" and self.declared_leaks:
            raise ValueError(f"{self.name}: an honest protocol declares no leaks")

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len(self.groups)

    @property
    def hash(self) -> str:
        """12 hex digits of the SHA-256 over everything that decides a split (all but the prose of ``source``)."""
        rule = {key: value for key, value in asdict(self).items() if key != "source"}
        return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:12]

    def check_fold(self, fold: int) -> None:
        """Whether there is such a fold.

        Raises:
            ProtocolError: there is not.
        """
        if not 1 <= fold <= self.folds:
            raise ProtocolError(
                f"Protocol {self.name} of {self.corpus} has folds 1 to {self.folds}; fold {fold} was asked for."
            )

    def split(self, fold: int, utterances: Sequence[Utterance]) -> Split:
        """The three sides of ``fold``, each in the order of ``utterances``.

        Raises:
            ProtocolError: no such fold, an utterance of a speaker the protocol does not know, or a side without
                utterances (an incomplete release).
        """
        self.check_fold(fold)
        index = {member: number for number, group in enumerate(self.groups, 1) for member in group}
        sides: dict[str, list[Utterance]] = {"train": [], "validation": [], "test": []}
        for utterance in utterances:
            member = self._member(utterance)
            if member not in index:
                raise ProtocolError(
                    f"Protocol {self.name} does not place {self.unit} {member} (utterance {utterance.id}). "
                    f"It knows {', '.join(index)}."
                )
            sides[self._side(index[member], fold)].append(utterance)
        for side, rows in sides.items():
            if not rows:
                members = [member for member, number in index.items() if self._side(number, fold) == side]
                raise ProtocolError(
                    f"Fold {fold} of protocol {self.name} has no {side} utterances: {self.unit} {short_list(members)} "
                    "is not in this incomplete release. Complete the release or take another fold."
                )
        return Split(**sides)

    def _member(self, utterance: Utterance) -> str:
        if self.unit == "speaker":
            return utterance.speaker
        if utterance.session is None:
            raise ProtocolError(f"Protocol {self.name} rotates sessions, but {utterance.id} has none.")
        return utterance.session

    def _side(self, group: int, fold: int) -> str:
        if group == fold:
            return "test"
        return "validation" if group == fold % self.folds + 1 else "train"


def check_split(split: Split, protocol: Protocol, content: Mapping[str, str]) -> None:
    """Prove that no speaker, recording or identical audio stands on two sides, except as the protocol declares.

    Args:
        split: the sides.
        protocol: whose ``declared_leaks`` are let pass.
        content: utterance id -> hash of its decoded audio.

    Raises:
        LeakError: naming what is shared, by whom, and between which sides.
    """
    keys: dict[Leak, Callable[[Utterance], str]] = {
        "speaker": lambda row: row.speaker,
        "recording": lambda row: f"{row.path}@{row.start}-{row.end}",
        "audio": lambda row: content[row.id],
    }
    for leak, key in keys.items():
        if leak in protocol.declared_leaks:
            continue
        for first, second in combinations(Split._fields, 2):
            shared = _shared(getattr(split, first), getattr(split, second), key)
            if shared:
                raise LeakError(
                    f"Protocol {protocol.name} of {protocol.corpus} would leak: the same {leak} is in {first} and in "
                    f"{second}: {short_list(shared, 5)}. Remove the duplicates, or use a protocol that declares it."
                )


def _shared(first: list[Utterance], second: list[Utterance], key: Callable[[Utterance], str]) -> list[str]:
    """What both sides have under ``key``, each with two utterances that show it: ``03 (03a01Fa, 03a02Wb)``."""
    one, other = ({key(row): row.id for row in rows} for rows in (first, second))
    return [f"{value} ({one[value]}, {other[value]})" for value in sorted(one.keys() & other.keys())]
