"""Which speakers train, validate and test in fold k: one table of declarations, and the check that proves a split.

The first protocol of a corpus is its default and is an honest one: speaker-disjoint in train, validation and test.
"""

from __future__ import annotations

from ser_zoo.protocols.base import Leak, Protocol, Split, World, check_split
from ser_zoo.registry import lookup


def _each(*members: str) -> tuple[tuple[str, ...], ...]:
    return tuple((member,) for member in members)


PROTOCOLS: tuple[Protocol, ...] = (
    Protocol(
        name="loso10",
        corpus="emo_db",
        version=1,
        groups=_each("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"),
        source="leave one speaker out, the usual rule for EMO-DB; validation by the next speaker is our choice",
    ),
    Protocol(
        name="pairs5",
        corpus="emo_db",
        version=1,
        groups=(("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16")),
        source="our choice: five pairs of a man and a woman, so that every side has all 7 emotions",
    ),
    Protocol(
        name="pairs4",
        corpus="demo",
        version=1,
        groups=tuple((f"f{pair}", f"m{pair}") for pair in range(1, 5)),
        source="our choice: a female and a male voice in each group",
    ),
    Protocol(
        name="actors6",
        corpus="ravdess",
        version=1,
        groups=tuple(tuple(f"{actor:02d}" for actor in range(first, first + 4)) for first in range(1, 25, 4)),
        source="our choice: four consecutive actors, two men and two women; validation by the next four",
    ),
    Protocol(
        name="luna5",
        corpus="ravdess",
        version=1,
        groups=(
            ("02", "05", "14", "15", "16"),
            ("03", "06", "07", "13", "18"),
            ("10", "11", "12", "19", "20"),
            ("08", "17", "21", "23", "24"),
            ("01", "04", "09", "22"),
        ),
        source="test groups of Luna-Jiménez et al., Sensors 21(22) 7665, 2021; validation by the next group is ours",
    ),
)


def protocols_of(corpus: str) -> dict[str, Protocol]:
    """The protocols of a corpus by name, its default first."""
    return {protocol.name: protocol for protocol in PROTOCOLS if protocol.corpus == corpus}


def find_protocol(corpus: str, name: str | None = None) -> Protocol:
    """The protocol ``name`` of a corpus, or its default.

    Raises:
        UnknownNameError: the corpus has no such protocol.
    """
    table = protocols_of(corpus)
    return next(iter(table.values())) if name is None else lookup(table, name, f"protocol of {corpus}")


__all__ = ["PROTOCOLS", "Leak", "Protocol", "Split", "World", "check_split", "find_protocol", "protocols_of"]
