"""Utterances without recordings, for protocols to split."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from ser_zoo.corpora import Utterance
from ser_zoo.protocols import Protocol, Rotation, Split
from ser_zoo.protocols.kinds import Hashed, HeldOutTexts, Listed, Official, PartialRotation, Prefixes, Ranked, TextIndependent


def utterance(
    key: str,
    speaker: str,
    session: str | None = None,
    *,
    text: str | None = None,
    label: str = "anger",
    gender: str | None = None,
    split: str | None = None,
) -> Utterance:
    return Utterance(
        id=key,
        path=Path(f"{key}.wav"),
        speaker=speaker,
        label=label,
        original_label="W",
        session=session,
        text=text,
        gender=gender,
        split=split,
    )


def utterances(speakers: Iterable[str], takes: int = 3) -> list[Utterance]:
    return [utterance(f"{speaker}-{take}", speaker) for speaker in speakers for take in range(takes)]


def ids(split: Split) -> list[list[str]]:
    return [[row.id for row in side] for side in split]


def speakers(side: list[Utterance]) -> set[str]:
    return {row.speaker for row in side}


def content(split: Split) -> dict[str, str]:
    """Audio that is different everywhere."""
    return {row.id: f"hash of {row.id}" for side in split for row in side}


def members(protocol: Protocol) -> list[str]:
    """Everybody that a protocol knows; for one that knows nobody, names of the kind that it places."""
    if isinstance(protocol, Rotation):
        known = [speaker for group in protocol.groups for speaker in group]
        if isinstance(protocol, PartialRotation):
            known += [*protocol.training, *(("a guest",) if protocol.left_out is None else protocol.left_out)]
        return known
    if isinstance(protocol, Listed):
        return list(protocol.members)
    if isinstance(protocol, TextIndependent):
        return [speaker for group in protocol.groups for speaker in group]
    if isinstance(protocol, Hashed):
        return [f"{number:08x}feed" for number in range(2 * protocol.number)]
    if isinstance(protocol, Ranked):
        return [f"{gender}{number}" for gender in "fm" for number in range(1, 2 * protocol.number + 1)]
    if isinstance(protocol, Prefixes):
        return [f"Ses0{session}{half}" for session in range(1, 6) for half in "FM"]
    return [f"s{number}" for number in range(6)]


def who_is_tested(protocol: Protocol) -> set[str]:
    """Who is tested in some fold."""
    if isinstance(protocol, Rotation):
        return {speaker for group in protocol.groups for speaker in group}
    if isinstance(protocol, Listed):
        return {speaker for group in protocol.tests for speaker in group}
    return set(members(protocol))


def texts(protocol: Protocol) -> list[str | None]:
    """Two or more of each group of texts that a protocol knows."""
    if isinstance(protocol, TextIndependent):
        return [text for group in protocol.texts for text in group[:3]]
    return [*protocol.texts[:2], "another", "more"] if isinstance(protocol, HeldOutTexts) else [None]


def release(protocol: Protocol, takes: int = 2, seed: int | None = None) -> list[Utterance]:
    """Utterances of everybody saying everything.

    Args:
        protocol: that shall split them.
        takes: of a speaker and text; with a seed so many or fewer, down to half.
        seed: of their number and order; None: all, in order.
    """
    draw = random.Random(seed)
    leaky = "speaker" in protocol.declared_leaks
    rows = [
        utterance(
            f"{speaker}-{text}-{take}",
            # In either half of an IEMOCAP session both are heard.
            f"{speaker[:-1]}{'FM'[take % 2]}" if isinstance(protocol, Prefixes) else speaker,
            session=speaker,
            text=text,
            label=("anger", "sadness")[take % 2],
            gender={"f": "female", "m": "male"}.get(speaker[0]),
            split=("train", "validation", "test")[(place + take * leaky) % 3] if isinstance(protocol, Official) else None,
        )
        for place, (speaker, text) in enumerate(product(members(protocol), texts(protocol)))
        for take in range(takes if seed is None else draw.randint((takes + 1) // 2, takes))
    ]
    return rows if seed is None else draw.sample(rows, len(rows))
