"""Which speakers train, validate and test in fold k: one table of declarations, and the check that proves a split.

The first protocol of a corpus is its default and is an honest one: speaker-disjoint in train, validation and test (with two
speakers, in TESS, test alone; that is declared). A corpus whose speakers do not allow that has no default. Where EmoBox keeps
the tested speakers apart, ``emobox_utterances`` validates by utterances of those who train, as EmoBox does, and declares it.
Those of the ``as_published`` world repeat how others split a corpus that is here: ``as_<architecture>`` a paper (with words
after it where its code has several rules), ``emobox`` EmoBox where it shares speakers, ``random5`` the habit of many. They are
there to show what that is worth; each declares its leaks, which are printed with every number made under it.

On IEMOCAP ``as_cross_attn`` and ``as_cross_attn_sessions`` test the random tenth that the code sets aside; with ``_validation``
they test what it reports while it trains. ``as_co_attn`` leaves out a speaker and ``as_co_attn_sessions`` a session.
``as_cnn_attn`` is there for EMO-DB, EMOVO and TESS. Of SAVEE, RAVDESS and CREMA-D, for which its paper has figures too, it
was not found what rows their recordings became, so none is repeated.
"""

from __future__ import annotations

from ser_zoo.errors import ProtocolError
from ser_zoo.protocols.base import Leak, Protocol, RandomRows, RandomTest, Rotation, Row, Split, World, check_split
from ser_zoo.protocols.cross import CrossCorpus, FewShot, LeaveOneCorpusOut, cross_protocol
from ser_zoo.protocols.table import PROTOCOLS, WITHOUT, everywhere
from ser_zoo.registry import lookup


def protocols_of(corpus: str) -> dict[str, Protocol]:
    """The protocols of a corpus by name, its default first where it has one."""
    table = [protocol for protocol in PROTOCOLS if protocol.corpus == corpus]
    return {protocol.name: protocol for protocol in (*table, *everywhere(corpus))}


def find_protocol(corpus: str, name: str | None = None) -> Protocol:
    """The protocol ``name`` of a corpus, or its default.

    Raises:
        UnknownNameError: the corpus has no such protocol.
        ProtocolError: no name is given, and the corpus has no honest protocol.
    """
    table = protocols_of(corpus)
    if name is not None:
        return lookup(table, name, f"protocol of {corpus}")
    default = next(iter(table.values()))
    if default.world != "honest":
        why = WITHOUT.get(corpus, "none is written yet")
        raise ProtocolError(
            f"{corpus} has no honest protocol of its own: {why}. Use it as test data of a cross-corpus run, --data OTHERS "
            f"--data.test {corpus}, or name a protocol that is marked for its leaks: {', '.join(table)}."
        )
    return default


__all__ = [
    "PROTOCOLS",
    "CrossCorpus",
    "FewShot",
    "Leak",
    "LeaveOneCorpusOut",
    "Protocol",
    "RandomRows",
    "RandomTest",
    "Rotation",
    "Row",
    "Split",
    "World",
    "check_split",
    "cross_protocol",
    "find_protocol",
    "protocols_of",
]
