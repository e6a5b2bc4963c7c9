"""Which speakers train, validate and test in fold k: one table of declarations, and the check that proves a split.

The first protocol of a corpus is its default and is an honest one: speaker-disjoint in train, validation and test. Those of
the ``as_published`` world, ``as_<architecture>``, repeat how a paper split its data, on a corpus that is here. They are there
to show what that is worth; each declares its leaks, which are printed with every number made under it.
"""

from __future__ import annotations

from ser_zoo.protocols.base import Leak, Protocol, RandomRows, RandomTest, Rotation, Row, Split, World, check_split
from ser_zoo.registry import lookup


def _each(*members: str) -> tuple[tuple[str, ...], ...]:
    return tuple((member,) for member in members)


# Groups that an honest protocol and an as_published one share.
EMO_DB_SPEAKERS = _each("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
RAVDESS_ACTORS = tuple(tuple(f"{actor:02d}" for actor in range(first, first + 4)) for first in range(1, 25, 4))
CROSS_ATTN_SOURCE = (
    "Deeb et al. 2025 (released code, on IEMOCAP): a random tenth of all utterances is tested, with seed 42, and the rest "
    "rotates between training and validation by session; here by {unit}, and drawn with scikit-learn's generator"
)
CO_ATTN_SOURCE = (
    "Zou et al. 2022 (released code, on IEMOCAP): the speaker or session that is left out validates and is tested; here {unit}"
)

PROTOCOLS: tuple[Protocol, ...] = (
    Rotation(
        name="loso10",
        corpus="emo_db",
        version=1,
        groups=EMO_DB_SPEAKERS,
        source="leave one speaker out, the usual rule for EMO-DB; validation by the next speaker is our choice",
    ),
    Rotation(
        name="pairs5",
        corpus="emo_db",
        version=1,
        groups=(("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16")),
        source="our choice: five pairs of a man and a woman, so that every side has all 7 emotions",
    ),
    RandomRows(
        name="as_cnn_attn",
        corpus="emo_db",
        version=1,
        variants=((), ("noise",), ("pitch",), ("pitch", "noise")),
        share=0.2,
        seed=42,
        source="Lee & Nadeem 2025 (released notebooks): four rows a file, a random fifth of all rows is tested and validates",
        world="as_published",
        declared_leaks=("speaker", "recording", "validation is test"),
    ),
    RandomTest(
        name="as_cross_attn",
        corpus="emo_db",
        version=1,
        groups=EMO_DB_SPEAKERS,
        share=0.1,
        seed=42,
        source=CROSS_ATTN_SOURCE.format(unit="speaker"),
        world="as_published",
        declared_leaks=("speaker",),
    ),
    Rotation(
        name="as_co_attn",
        corpus="emo_db",
        version=1,
        groups=EMO_DB_SPEAKERS,
        source=CO_ATTN_SOURCE.format(unit="the speaker"),
        world="as_published",
        declared_leaks=("validation is test",),
    ),
    Rotation(
        name="pairs4",
        corpus="demo",
        version=1,
        groups=tuple((f"f{pair}", f"m{pair}") for pair in range(1, 5)),
        source="our choice: a female and a male voice in each group",
    ),
    Rotation(
        name="actors6",
        corpus="ravdess",
        version=1,
        groups=RAVDESS_ACTORS,
        source="our choice: four consecutive actors, two men and two women; validation by the next four",
    ),
    Rotation(
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
    RandomTest(
        name="as_cross_attn",
        corpus="ravdess",
        version=1,
        groups=RAVDESS_ACTORS,
        share=0.1,
        seed=42,
        source=CROSS_ATTN_SOURCE.format(unit="the groups of actors6"),
        world="as_published",
        declared_leaks=("speaker",),
    ),
    Rotation(
        name="as_co_attn",
        corpus="ravdess",
        version=1,
        groups=RAVDESS_ACTORS,
        source=CO_ATTN_SOURCE.format(unit="a group of actors6"),
        world="as_published",
        declared_leaks=("validation is test",),
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


__all__ = [
    "PROTOCOLS",
    "Leak",
    "Protocol",
    "RandomRows",
    "RandomTest",
    "Rotation",
    "Row",
    "Split",
    "World",
    "check_split",
    "find_protocol",
    "protocols_of",
]
