"""A protocol says who trains, validates and tests in fold k; the check proves that a split keeps to it."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any, ClassVar, Literal, NamedTuple

from ser_zoo.corpora.base import Utterance, short_list
from ser_zoo.errors import LeakError, ProtocolError

World = Literal["honest", "as_published"]
Leak = Literal["speaker", "recording", "audio", "validation is test", "validation speaker"]
"""``speaker``, ``recording`` and ``audio``: the same one on any two sides; ``validation speaker``: the same one on train and
validation, while nobody who is tested is heard before; ``validation is test``: one side for both."""
Side = Literal["train", "validation", "test"]
HONEST_LEAKS: frozenset[Leak] = frozenset({"validation speaker"})
"""What an honest protocol may declare, as it flatters no test: with two speakers, one of whom is tested, the other has to train
and validate, and EmoBox draws its validation utterances from all who train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Utterance):
    """An augmented copy of an utterance that a protocol places by itself; its id is like ``03a01Fa+pitch+noise``.

    Attributes:
        utterance: id of the utterance it is made of.
        variant: what is done to the waveform, in this order.
    """

    utterance: str
    variant: tuple[str, ...]

    @classmethod
    def of(cls, utterance: Utterance, variant: tuple[str, ...]) -> Row:
        """The copy of ``utterance`` to which ``variant`` is done."""
        same: dict[str, Any] = {field.name: getattr(utterance, field.name) for field in fields(Utterance)}
        return cls(**{**same, "id": "+".join((utterance.id, *variant))}, utterance=utterance.id, variant=variant)


def utterance_of(row: Utterance) -> str:
    """Id of the utterance that a row is, or is made of."""
    return row.utterance if isinstance(row, Row) else row.id


class Split(NamedTuple):
    """The three sides of a fold; what is placed is an utterance, or a ``Row`` made of one."""

    train: list[Utterance]
    validation: list[Utterance]
    test: list[Utterance]

    @property
    def test_rows_with_utterance_in_training(self) -> float:
        """Share of test rows of whose recording training has a row too; 0 without a leak of recordings."""
        known = {_recording(row) for row in self.train}
        return sum(_recording(row) in known for row in self.test) / len(self.test)


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """What every kind of protocol has.

    Attributes:
        name: as ``--data.protocol`` takes it.
        corpus: the corpus it is for.
        version: raised whenever the rule changes, so that old result rows stay apart.
        source: where the rule is from.
        world: ``honest`` or ``as_published``; marks every number made under it.
        declared_leaks: what the protocol knowingly has on two sides; in the honest world ``validation speaker`` at most.
            ``validation is test`` also makes it so: the test side validates, and what would have validated trains.

    Raises:
        ValueError: an honest protocol declares a leak that it may not have.
    """

    name: str
    corpus: str
    version: int
    source: str
    world: World = "honest"
    declared_leaks: tuple[Leak, ...] = ()
    kind: ClassVar[str] = ""
    """Part of the hash; the rules of the first kind were published without it."""
    texts_apart: ClassVar[tuple[tuple[Side, Side], ...]] = ()
    """Sides that must have no text in common, which ``check_split`` proves."""

    def __post_init__(self) -> None:
        if self.world == "honest" and not HONEST_LEAKS.issuperset(self.declared_leaks):
            raise ValueError(f"{self.name}: an honest protocol declares no leaks but that of validation speakers")

    @property
    @abstractmethod
    def folds(self) -> int:
        """Number of folds; the most there can be where that depends on the utterances, see ``folds_of``."""

    def folds_of(self, utterances: Sequence[Utterance]) -> int:
        """Number of folds that these utterances are split into."""
        return self.folds

    @property
    def folds_vary(self) -> bool:
        """Whether their number depends on the utterances; every one of these is then on some side of every fold."""
        return False

    @property
    def validates_on_test(self) -> bool:
        """Whether the validation side is the test side."""
        return "validation is test" in self.declared_leaks

    @property
    def hash(self) -> str:
        """12 hex digits of the SHA-256 over everything that decides a split (all but the prose of ``source``)."""
        rule = {key: value for key, value in asdict(self).items() if key != "source"}
        if self.kind:
            rule["kind"] = self.kind
        return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:12]

    def check_fold(self, fold: int, utterances: Sequence[Utterance] | None = None) -> None:
        """Whether there is such a fold, of these utterances or at all.

        Raises:
            ProtocolError: there is not.
        """
        folds = self.folds if utterances is None else self.folds_of(utterances)
        if not 1 <= fold <= folds:
            raise ProtocolError(f"Protocol {self.name} of {self.corpus} has folds 1 to {folds}; fold {fold} was asked for.")

    def split(self, fold: int, utterances: Sequence[Utterance]) -> Split:
        """The three sides of ``fold``, each in the order of ``utterances``.

        Raises:
            ProtocolError: no such fold, an utterance of a speaker the protocol does not know, or a side without
                utterances (an incomplete release).
        """
        self.check_fold(fold, utterances)
        sides: dict[Side, list[Utterance]] = {"train": [], "validation": [], "test": []}
        for row, side in self._placed(fold, utterances):
            sides["train" if side == "validation" and self.validates_on_test else side].append(row)
        if self.validates_on_test:
            sides["validation"] = sides["test"]
        for side, rows in sides.items():
            if not rows:
                raise ProtocolError(
                    f"Fold {fold} of protocol {self.name} has no {side} utterances: {self._wanting(fold, side)} "
                    f"this incomplete release. {self._remedy}"
                )
        return Split(**sides)

    @abstractmethod
    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        """Each row with its side, in the order of ``utterances``; those that are in no side of this fold are passed over."""

    @abstractmethod
    def _wanting(self, fold: int, side: Side) -> str:
        """What a side without utterances lacks; begins a clause that ends in 'this incomplete release'."""

    @property
    def _remedy(self) -> str:
        """What to do about such a side."""
        return "Complete the release or take another fold."

    def _unknown(self, unit: str, member: str, utterance: Utterance, known: Iterable[str]) -> ProtocolError:
        return ProtocolError(
            f"Protocol {self.name} does not place {unit} {member} (utterance {utterance.id}). It knows {short_list([*known])}."
        )


@dataclass(frozen=True, kw_only=True)
class Rotation(Protocol):
    """A cyclic rotation over groups of speakers or sessions.

    Fold k (from 1): test = group k, validation = the next group (group 1 after the last), train = all the others.

    Attributes:
        groups: the groups in rotation order.
        unit: what a group lists.
    """

    groups: tuple[tuple[str, ...], ...]
    unit: Literal["speaker", "session"] = "speaker"

    @property
    def folds(self) -> int:
        """One per group."""
        return len(self.groups)

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        index = self._index()
        for utterance in utterances:
            member = self._member(utterance)
            if member not in index:
                raise self._unknown(self.unit, member, utterance, index)
            yield utterance, self._side(index[member], fold)

    def _wanting(self, fold: int, side: Side) -> str:
        members = [member for member, number in self._index().items() if self._side(number, fold) == side]
        return f"{self.unit} {short_list(members)} is not in"

    def _index(self) -> dict[str, int]:
        return group_numbers(self.groups)

    def _member(self, utterance: Utterance) -> str:
        if self.unit == "speaker":
            return utterance.speaker
        if utterance.session is None:
            raise ProtocolError(f"Protocol {self.name} rotates sessions, but {utterance.id} has none.")
        return utterance.session

    def _side(self, group: int, fold: int) -> Side:
        return turn(group, fold, self.folds)


@dataclass(frozen=True, kw_only=True)
class RandomTest(Rotation):
    """A random share of all utterances is the test of every fold; the groups rotate over what is left.

    Fold k: validation = group k without the test utterances, train = all others without them. Pooled over the folds, every
    test utterance counts once per fold.

    Attributes:
        share: of the utterances that are tested.
        seed: of the draw, see ``draw``.
    """

    share: float
    seed: int
    kind: ClassVar[str] = "random test"

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        test = draw(sorted(utterance.id for utterance in utterances), self.share, self.seed)
        for utterance, side in super()._placed(fold, utterances):
            yield utterance, "test" if utterance.id in test else side

    def _side(self, group: int, fold: int) -> Side:
        return "validation" if group == fold else "train"


@dataclass(frozen=True, kw_only=True)
class RandomRows(Protocol):
    """Augment, then split: each utterance becomes several rows, and a random share of all rows is the test. One fold.

    Rows of one utterance fall on both sides. There is no third side, so validation must be declared to be the test.

    Attributes:
        variants: the rows of an utterance, each what is done to it in this order; ``()`` is the utterance as it is.
        share: of the rows that are tested.
        seed: of the draw, see ``draw``.

    Raises:
        ValueError: it does not declare that validation is test.
    """

    variants: tuple[tuple[str, ...], ...]
    share: float
    seed: int
    kind: ClassVar[str] = "random rows"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.validates_on_test:
            raise ValueError(f"{self.name}: random rows have no validation side; declare that validation is test")

    @property
    def folds(self) -> int:
        """One."""
        return 1

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        ordered = sorted(utterances, key=lambda utterance: utterance.id)
        test = draw([_row(utterance, variant).id for utterance in ordered for variant in self.variants], self.share, self.seed)
        for row in (_row(utterance, variant) for utterance in utterances for variant in self.variants):
            yield row, "test" if row.id in test else "train"

    def _wanting(self, fold: int, side: Side) -> str:
        return "too few utterances are in"


def turn(group: int, fold: int, folds: int) -> Side:
    """The cyclic rule: the side of a group in a fold, both counted from 1.

    >>> [turn(group, 3, 3) for group in (1, 2, 3)]
    ['validation', 'train', 'test']
    """
    if group == fold:
        return "test"
    return "validation" if group == fold % folds + 1 else "train"


def group_numbers(groups: Iterable[Iterable[str]]) -> dict[str, int]:
    """Member -> number of its group, from 1."""
    return {member: number for number, group in enumerate(groups, 1) for member in group}


def draw(ids: Sequence[str], share: float, seed: int) -> set[str]:
    """A random share of ``ids``, rounded up: the test side of scikit-learn's ``train_test_split(ids, test_size=share)``.

    Those are the first that are ``shuffled``. Which ids are drawn depends on their order and number.
    """
    return set(shuffled(ids, seed)[: math.ceil(share * len(ids))])


def shuffled(ids: Sequence[str], seed: int) -> list[str]:
    """``ids`` in an order drawn by numpy's legacy generator ``RandomState(seed)``, whose stream is frozen."""
    import numpy as np

    return [ids[index] for index in np.random.RandomState(seed).permutation(len(ids))]


def check_split(split: Split, protocol: Protocol, content: Mapping[str, str]) -> None:
    """Prove that no speaker, recording or identical audio stands on two sides, except as the protocol declares.

    Where validation is declared to be the test, only training and test are compared. Where validation speakers are declared,
    training and validation may share speakers, and nothing else. Texts are compared where the protocol keeps them apart.

    Args:
        split: the sides.
        protocol: whose ``declared_leaks`` are let pass.
        content: id -> hash of its decoded audio, and of what a ``Row`` does to it.

    Raises:
        LeakError: naming what is shared, by whom, and between which sides.
    """
    sides: tuple[Side, ...] = ("train", "test") if protocol.validates_on_test else ("train", "validation", "test")
    every = tuple(combinations(sides, 2))
    leaks = protocol.declared_leaks
    speakers = tuple(pair for pair in every if "test" in pair) if "validation speaker" in leaks else every
    compared: dict[str, tuple[tuple[tuple[Side, Side], ...], Callable[[Utterance], str | None]]] = {
        "speaker": (() if "speaker" in leaks else speakers, lambda row: row.speaker),
        "recording": (() if "recording" in leaks else every, _recording),
        "audio": (() if "audio" in leaks else every, lambda row: content[row.id]),
        "text": (protocol.texts_apart, lambda row: row.text),
    }
    for what, (pairs, key) in compared.items():
        for first, second in pairs:
            shared = _shared(getattr(split, first), getattr(split, second), key)
            if shared:
                raise LeakError(
                    f"Protocol {protocol.name} of {protocol.corpus} would leak: the same {what} is in {first} and in "
                    f"{second}: {short_list(shared, 5)}. Remove the duplicates, or use a protocol that declares it."
                )


def _recording(row: Utterance) -> str:
    return f"{row.path}@{row.start}-{row.end}"


def _row(utterance: Utterance, variant: tuple[str, ...]) -> Utterance:
    return Row.of(utterance, variant) if variant else utterance


def _shared(first: list[Utterance], second: list[Utterance], key: Callable[[Utterance], str | None]) -> list[str]:
    """What both sides have under ``key``, each with two utterances that show it: ``03 (03a01Fa, 03a02Wb)``."""
    one, other = ({value: row.id for row in rows if (value := key(row)) is not None} for rows in (first, second))
    return [f"{value} ({one[value]}, {other[value]})" for value in sorted(one.keys() & other.keys())]
