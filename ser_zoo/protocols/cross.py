"""Protocols over several corpora: speakers are named ``<corpus>/<speaker>``, and corpora stand on different sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ser_zoo.corpora.base import Utterance
from ser_zoo.corpora.several import joint_name
from ser_zoo.errors import ProtocolError
from ser_zoo.protocols.base import Protocol, Side

FOLDS = 5
"""Our choice: a fifth of the speakers that train are left to validation."""


@dataclass(frozen=True, kw_only=True)
class CrossCorpus(Protocol):
    """Some corpora train and validate, others are tested.

    Fold k (from 1): of the speakers of the training corpora, in the order of their names, those whose 0-based rank leaves k - 1
    when divided by 5 validate and the others train; every utterance of the other corpora is tested in every fold.

    Attributes:
        train: names of the corpora that train.
        test: names of those that are tested.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    kind: ClassVar[str] = "cross-corpus"

    @property
    def folds(self) -> int:
        """Five, which differ in who validates."""
        return FOLDS

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        group = ranks(utterances, self.train)
        for row in utterances:
            if corpus_of(row) in self.test:
                yield row, "test"
            else:
                yield row, "validation" if group[row.speaker] == fold - 1 else "train"

    def _wanting(self, fold: int, side: Side) -> str:
        return "too few speakers or corpora are in"


@dataclass(frozen=True, kw_only=True)
class FewShot(CrossCorpus):
    """As ``CrossCorpus``, but a few utterances of the tested corpora train too, of speakers who are not tested.

    Fold k: of the speakers of the tested corpora, those of rank k - 1 modulo 5 are tested; of each class of the others,
    ``shots`` utterances train and the rest is left out. Over the five folds every utterance is tested once.

    Attributes:
        shots: utterances per class and tested corpus that train.
        seed: of the draw, see ``permuted``.

    Raises:
        ValueError: fewer than one shot.
    """

    shots: int
    seed: int = 0
    kind: ClassVar[str] = "few shots"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots < 1:
            raise ValueError(f"{self.name}: {self.shots} shots; expected one or more")

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        group = ranks(utterances, self.test)
        tested = {row.id for row in utterances if group.get(row.speaker) == fold - 1}
        given = self._given([row for row in utterances if row.speaker in group], tested)
        for row, side in super()._placed(fold, utterances):
            if side != "test" or row.id in tested:
                yield row, side
            elif row.id in given:
                yield row, "train"

    def _given(self, utterances: Sequence[Utterance], tested: set[str]) -> set[str]:
        pools: dict[tuple[str, str], list[str]] = {}
        for row in utterances:
            pool = pools.setdefault((corpus_of(row), row.label), [])
            if row.id not in tested:
                pool.append(row.id)
        for (corpus, label), ids in pools.items():
            if len(ids) < self.shots:
                raise ProtocolError(
                    f"--data.shots {self.shots}: {corpus} has only {len(ids)} utterances of {label} by speakers who are not "
                    "tested. Expected at most that many."
                )
        return {key for ids in pools.values() for key in permuted(sorted(ids), self.seed)[: self.shots]}


@dataclass(frozen=True, kw_only=True)
class LeaveOneCorpusOut(Protocol):
    """Fold k: corpus k is tested; of the speakers of all others every fifth validates, see ``CrossCorpus``.

    Attributes:
        corpora: their names, in the order of the folds.
    """

    corpora: tuple[str, ...]
    kind: ClassVar[str] = "leave one corpus out"

    @property
    def folds(self) -> int:
        """One per corpus."""
        return len(self.corpora)

    def _placed(self, fold: int, utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Side]]:
        tested = self.corpora[fold - 1]
        group = ranks(utterances, tuple(name for name in self.corpora if name != tested))
        for row in utterances:
            if corpus_of(row) == tested:
                yield row, "test"
            else:
                yield row, "validation" if group[row.speaker] == 0 else "train"

    def _wanting(self, fold: int, side: Side) -> str:
        return "too few speakers or corpora are in"


def cross_protocol(train: Sequence[str], test: Sequence[str] = (), shots: int = 0, name: str | None = None) -> Protocol:
    """The protocol over several corpora that the user's words ask for.

    Args:
        train: corpora of ``--data``.
        test: corpora of ``--data.test``; without any, each of ``train`` is left out in turn.
        shots: utterances per class of the tested corpora that train.
        name: the user's ``--data.protocol``; the rule follows from the rest, so it may only repeat it.

    Raises:
        ProtocolError: shots without a corpus to test, or the name of another protocol.
    """
    source = "our choice: the corpora of a side, and every fifth of the training speakers for validation"
    corpus = joint_name(train, test)
    if shots and not test:
        raise ProtocolError("--data.shots goes with --data.test, the corpora whose speakers give the shots and are tested.")
    protocol: Protocol
    if shots:
        protocol = FewShot(
            name="few_shot", corpus=corpus, version=1, source=source, train=tuple(train), test=tuple(test), shots=shots
        )
    elif test:
        protocol = CrossCorpus(
            name="cross_corpus", corpus=corpus, version=1, source=source, train=tuple(train), test=tuple(test)
        )
    else:
        protocol = LeaveOneCorpusOut(name="loco", corpus=corpus, version=1, source=source, corpora=tuple(train))
    if name not in (None, protocol.name):
        raise ProtocolError(
            f"--data.protocol {name} is not for several corpora. Here the rule, {protocol.name}, follows from --data, "
            "--data.test and --data.shots. Leave --data.protocol out."
        )
    return protocol


def ranks(utterances: Sequence[Utterance], corpora: Sequence[str]) -> dict[str, int]:
    """Speaker of ``corpora`` -> rank among all of them in the order of their names, modulo 5."""
    speakers = sorted({row.speaker for row in utterances if corpus_of(row) in corpora})
    return {speaker: rank % FOLDS for rank, speaker in enumerate(speakers)}


def corpus_of(row: Utterance) -> str:
    """``emo_db`` of an utterance by ``emo_db/03``."""
    return row.speaker.partition("/")[0]


def permuted(ids: Sequence[str], seed: int) -> list[str]:
    """``ids`` in an order drawn by numpy's legacy generator ``RandomState(seed)``, whose stream is frozen."""
    import numpy as np

    return [ids[index] for index in np.random.RandomState(seed).permutation(len(ids))]
