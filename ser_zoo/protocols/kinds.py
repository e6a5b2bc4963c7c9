"""Further kinds of protocols: rotations with exceptions, listed, computed, official and random sides, and texts kept apart."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast, get_args

from ser_zoo.corpora.base import Utterance, short_list
from ser_zoo.errors import ProtocolError
from ser_zoo.protocols.base import Protocol, Rotation, Side, group_numbers, shuffled, turn


@dataclass(frozen=True, kw_only=True)
class PartialRotation(Rotation):
    """A rotation in which not everybody takes a turn.

    Attributes:
        training: members that train in every fold.
        left_out: members that are in no fold; None leaves out all that no group has.
    """

    training: tuple[str, ...] = ()
    left_out: tuple[str, ...] | None = ()
    kind: ClassVar[str] = "partial rotation"

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        index = self._index()
        out = set(self.left_out or ())
        kept = [
            utterance
            for utterance in utterances
            if (member := self._member(utterance)) not in out and (self.left_out is not None or member in index)
        ]
        yield from super()._placed(fold, kept)

    def _index(self) -> dict[str, int]:
        # No fold has the number 0, so that group always trains.
        return {**super()._index(), **dict.fromkeys(self.training, 0)}


class SharedValidation(Rotation):
    """Fold k: test = group k; some utterances of all others validate and the rest trains.

    Nobody who is tested is heard before, while training and validation share speakers, which must be declared.

    Raises:
        ValueError: it does not declare that training and validation share speakers.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if "validation speaker" not in self.declared_leaks:
            raise ValueError(f"{self.name}: training and validation share speakers; declare it")

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        placed = list(super()._placed(fold, utterances))
        validating = self._validating([utterance for utterance, side in placed if side == "train"])
        for utterance, side in placed:
            yield utterance, "validation" if utterance.id in validating else side

    def _side(self, group: int, fold: int) -> Side:
        return "test" if group == fold else "train"

    @abstractmethod
    def _validating(self, others: Sequence[Utterance]) -> set[str]:
        """Ids of those that validate, of the utterances of all who are not tested."""

    def _wanting(self, fold: int, side: Side) -> str:
        if side == "validation":
            return f"{self._validators} by another {self.unit} is not in"
        return super()._wanting(fold, side)

    @property
    @abstractmethod
    def _validators(self) -> str:
        """What validates, for an error."""


@dataclass(frozen=True, kw_only=True)
class HeldOutTexts(SharedValidation):
    """Fold k: test = group k; of all the others some texts validate and the rest train.

    For corpora with too few speakers to validate by others: training and validation share speakers and no text.

    Attributes:
        texts: that validate.
    """

    texts: tuple[str, ...]
    kind: ClassVar[str] = "held-out texts"
    texts_apart: ClassVar[tuple[tuple[Side, Side], ...]] = (("train", "validation"),)

    def _validating(self, others: Sequence[Utterance]) -> set[str]:
        return {utterance.id for utterance in others if text_of(self, utterance) in self.texts}

    @property
    def _validators(self) -> str:
        return f"text {short_list(self.texts)}"


@dataclass(frozen=True, kw_only=True)
class HeldOutUtterances(SharedValidation):
    """Fold k: test = group k; of all the others' utterances a random part, equally of every class, validates.

    As much of every other speaker trains as is left, so that more speakers are heard than where some validate.

    Attributes:
        parts: into which those utterances are dealt, see ``deal``; the first validates.
        seed: of the draw.
        copies: ids of utterances of which another has the same audio; they never validate, as the other might train.
    """

    parts: int
    seed: int
    copies: tuple[str, ...] = ()
    kind: ClassVar[str] = "held-out utterances"

    def _validating(self, others: Sequence[Utterance]) -> set[str]:
        alone = [utterance for utterance in others if utterance.id not in self.copies]
        return {key for key, part in deal(alone, self.parts, self.seed).items() if part == 1}

    @property
    def _validators(self) -> str:
        return "an utterance"


@dataclass(frozen=True, kw_only=True)
class Listed(Protocol):
    """Speakers who test and validate, listed fold by fold; all the other members train.

    Attributes:
        members: everybody the protocol knows.
        tests: of each fold.
        validations: of each fold.
        left_out: ids of utterances that are in no fold.

    Raises:
        ValueError: somebody both tests and validates in a fold, or is no member.
    """

    members: tuple[str, ...]
    tests: tuple[tuple[str, ...], ...]
    validations: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...] = ()
    kind: ClassVar[str] = "listed"

    def __post_init__(self) -> None:
        super().__post_init__()
        for test, validation in zip(self.tests, self.validations, strict=True):
            if len({*test, *validation} & {*self.members}) < len(test) + len(validation):
                raise ValueError(f"{self.name}: somebody tests and validates, or is no member: {test}, {validation}")

    @property
    def folds(self) -> int:
        """One per list."""
        return len(self.tests)

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        sides = self._sides(fold)
        for utterance in utterances:
            if utterance.speaker not in sides:
                raise self._unknown("speaker", utterance.speaker, utterance, sides)
            if utterance.id not in self.left_out:
                yield utterance, sides[utterance.speaker]

    def _sides(self, fold: int) -> dict[str, Side]:
        sides: dict[str, Side] = dict.fromkeys(self.members, "train")
        return {
            **sides,
            **dict.fromkeys(self.validations[fold - 1], "validation"),
            **dict.fromkeys(self.tests[fold - 1], "test"),
        }

    def _wanting(self, fold: int, side: Side) -> str:
        return f"speaker {short_list([member for member, its in self._sides(fold).items() if its == side])} is not in"


@dataclass(frozen=True, kw_only=True)
class Computed(Protocol):
    """A cyclic rotation over groups that are computed from the speakers, for want of a list of them.

    Attributes:
        number: of groups.
    """

    number: int

    @property
    def folds(self) -> int:
        """One per group."""
        return self.number

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        index = self._index(utterances)
        folds = self.folds_of(utterances)
        for utterance in utterances:
            yield utterance, turn(index[utterance.speaker], fold, folds)

    def _wanting(self, fold: int, side: Side) -> str:
        return f"nobody of the {side} group is in"

    @abstractmethod
    def _index(self, utterances: Sequence[Utterance]) -> dict[str, int]:
        """Speaker -> number of the group, from 1."""


@dataclass(frozen=True, kw_only=True)
class Ranked(Computed):
    """The speakers of each gender are dealt into groups in the order of their ids.

    The groups are those of the speakers that are there: with other speakers they are others under the same hash. Where a
    corpus's speakers are known, a ``Rotation`` over ``ranked`` lists is fixed instead.

    Attributes:
        singly: with at most so many speakers each is a group.
    """

    singly: int = 0
    kind: ClassVar[str] = "ranked"

    @property
    def folds(self) -> int:
        """The most there can be."""
        return max(self.number, self.singly)

    @property
    def folds_vary(self) -> bool:
        """Whether few speakers are groups of their own."""
        return self.singly > 0

    def folds_of(self, utterances: Sequence[Utterance]) -> int:
        """One per speaker where they are few, else one per group."""
        speakers = len({utterance.speaker for utterance in utterances})
        return speakers if speakers <= self.singly else self.number

    def _index(self, utterances: Sequence[Utterance]) -> dict[str, int]:
        genders: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for utterance in utterances:
            genders[utterance.speaker][utterance.gender or ""] += 1
        if len(genders) < 3:
            raise ProtocolError(
                f"Protocol {self.name} of {self.corpus} keeps the speakers of training, validation and test apart, but there "
                f"are only {len(genders)}: {', '.join(sorted(genders))}. Expected 3 or more. Use the corpus as test data of a "
                "cross-corpus run, or take --data.protocol random5, which is marked for sharing speakers."
            )
        if len(genders) <= self.singly:
            return group_numbers(ranked(len(genders), genders))
        # Some releases give a speaker both genders by mistake: the usual one counts.
        lists: defaultdict[str, list[str]] = defaultdict(list)
        for speaker, counts in genders.items():
            lists[min(counts, key=lambda gender: (-counts[gender], gender))].append(speaker)
        return group_numbers(ranked(self.number, *lists.values()))


@dataclass(frozen=True, kw_only=True)
class Hashed(Computed):
    """Groups by the first 8 digits of speaker ids that are hexadecimal hashes: remainder r is group r + 1."""

    kind: ClassVar[str] = "hashed"

    def _index(self, utterances: Sequence[Utterance]) -> dict[str, int]:
        index = {}
        for utterance in utterances:
            try:
                index[utterance.speaker] = int(utterance.speaker[:8], 16) % self.number + 1
            except ValueError:
                raise ProtocolError(
                    f"Protocol {self.name} of {self.corpus} groups speakers by the hexadecimal hashes that they are named by; "
                    f"utterance {utterance.id} has speaker {utterance.speaker}. Expected the release's own ids."
                ) from None
        return index


@dataclass(frozen=True, kw_only=True)
class Official(Protocol):
    """The sides that the release itself states. One fold."""

    kind: ClassVar[str] = "official"

    @property
    def folds(self) -> int:
        """One."""
        return 1

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        for utterance in utterances:
            if utterance.split not in get_args(Side):
                raise ProtocolError(
                    f"Protocol {self.name} of {self.corpus} takes the sides from the release, but that of utterance "
                    f"{utterance.id} is {utterance.split or 'not given'}. Expected {', '.join(get_args(Side))}. Add it where "
                    "the release states it, or take another protocol."
                )
            yield utterance, cast(Side, utterance.split)

    def _wanting(self, fold: int, side: Side) -> str:
        return f"nothing of the release's {side} part is in"

    @property
    def _remedy(self) -> str:
        return "Complete the release (a table of your own: its column split), or take another protocol."


@dataclass(frozen=True, kw_only=True)
class TextIndependent(Protocol):
    """Neither the speaker nor the text of a test utterance is heard before.

    Of S groups of speakers and T of texts, fold (s - 1) T + t: test = group s saying texts t; validation = group s + 1 and
    train = the other groups, each saying the other texts. What is left, group s saying other texts and others saying texts
    t, is in no side of that fold; every utterance is tested in one.

    Attributes:
        groups: of speakers, in rotation order.
        texts: groups of text ids.

    Raises:
        ValueError: there are fewer than three groups of speakers or two of texts.
    """

    groups: tuple[tuple[str, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    kind: ClassVar[str] = "text independent"
    texts_apart: ClassVar[tuple[tuple[Side, Side], ...]] = (("train", "test"), ("validation", "test"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.groups) < 3 or len(self.texts) < 2:
            raise ValueError(f"{self.name}: three sides need 3 groups of speakers and 2 of texts")

    @property
    def folds(self) -> int:
        """One per group of speakers and group of texts."""
        return len(self.groups) * len(self.texts)

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        speakers, texts = group_numbers(self.groups), group_numbers(self.texts)
        turns, tested = self._turns(fold)
        for utterance in utterances:
            if utterance.speaker not in speakers:
                raise self._unknown("speaker", utterance.speaker, utterance, speakers)
            text = text_of(self, utterance)
            if text not in texts:
                raise self._unknown("text", text, utterance, texts)
            side = turn(speakers[utterance.speaker], turns, len(self.groups))
            if (side == "test") == (texts[text] == tested):
                yield utterance, side

    def _turns(self, fold: int) -> tuple[int, int]:
        speakers, texts = divmod(fold - 1, len(self.texts))
        return speakers + 1, texts + 1

    def _wanting(self, fold: int, side: Side) -> str:
        turns, tested = self._turns(fold)
        members = [
            member for member, group in group_numbers(self.groups).items() if turn(group, turns, len(self.groups)) == side
        ]
        saying = "" if side == "test" else "a text other than "
        return f"speaker {short_list(members)} saying {saying}{short_list(self.texts[tested - 1])} is not in"


@dataclass(frozen=True, kw_only=True)
class RandomFolds(Protocol):
    """Random folds of utterances, equally many of every class in each; speakers stand on all sides.

    Attributes:
        number: of folds; fold k tests part k, and the next part validates.
        seed: of the draw, see ``deal``.
    """

    number: int
    seed: int
    kind: ClassVar[str] = "random folds"

    @property
    def folds(self) -> int:
        """As many as parts."""
        return self.number

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        parts = deal(utterances, self.number, self.seed)
        for utterance in utterances:
            yield utterance, turn(parts[utterance.id], fold, self.number)

    def _wanting(self, fold: int, side: Side) -> str:
        return "too few utterances are in"


@dataclass(frozen=True, kw_only=True)
class Prefixes(Protocol):
    """A random share of all utterances is the test of every fold; of the rest, folds are told by what ids begin with.

    Fold k: what begins with prefix k validates, and all else trains. Where validation is declared to be the test, the random
    share is in no fold: what validates is tested too, as where a training's own curve is the result.

    Attributes:
        prefixes: one per fold; what begins with none of them always trains.
        share: of the utterances that are drawn, rounded down.
        seed: of the draw, see ``shuffled``.
    """

    prefixes: tuple[str, ...]
    share: float
    seed: int
    kind: ClassVar[str] = "prefixes"

    @property
    def folds(self) -> int:
        """One per prefix."""
        return len(self.prefixes)

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        ids = sorted(utterance.id for utterance in utterances)
        drawn = set(shuffled(ids, self.seed)[: int(self.share * len(ids))])
        for utterance in utterances:
            validates = utterance.id.startswith(self.prefixes[fold - 1])
            if utterance.id not in drawn:
                yield utterance, "train" if not validates else "test" if self.validates_on_test else "validation"
            elif not self.validates_on_test:
                yield utterance, "test"

    def _wanting(self, fold: int, side: Side) -> str:
        if side == "validation":
            return f"nothing that begins with {self.prefixes[fold - 1]} is in"
        return "too few utterances are in"


def text_of(protocol: Protocol, utterance: Utterance) -> str:
    """The id of the text that is spoken.

    Raises:
        ProtocolError: it is not known.
    """
    if utterance.text is None:
        raise ProtocolError(f"Protocol {protocol.name} places texts, but that of {utterance.id} is not known.")
    return utterance.text


def ranked(number: int, *lists: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of the ids of ``lists``: the i-th id of a list, from 0, goes to group i % number. Numbers sort as numbers.

    >>> ranked(2, ["f10", "f2", "f1"], ["m1", "m2"])
    (('f1', 'f10', 'm1'), ('f2', 'm2'))
    """
    ordered = [sorted(ids, key=_natural) for ids in sorted(map(sorted, lists))]
    return tuple(tuple(key for ids in ordered for key in ids[group::number]) for group in range(number))


def deal(utterances: Sequence[Utterance], number: int, seed: int) -> dict[str, int]:
    """Deal utterances at random into equal parts with equally many of each class.

    The ids of one class after the other, each in an order drawn by numpy's legacy generator ``RandomState(seed)``, whose
    stream is frozen, are dealt out one by one.

    Args:
        utterances: in any order.
        number: of parts.
        seed: of the order within a class.

    Returns:
        Id -> number of its part, from 1.
    """
    import numpy as np

    classes: defaultdict[str, list[str]] = defaultdict(list)
    for utterance in sorted(utterances, key=lambda utterance: utterance.id):
        classes[utterance.label].append(utterance.id)
    random = np.random.RandomState(seed)
    order = [classes[label][place] for label in sorted(classes) for place in random.permutation(len(classes[label]))]
    return {key: place % number + 1 for place, key in enumerate(order)}


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", key)]
