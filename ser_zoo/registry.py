"""Names as the user types them, and the classes they stand for.

A table maps a name to ``"module:attribute"``, so that the names can be listed without importing what they stand for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from ser_zoo.errors import UnknownNameError

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """The entry of ``name``.

    Args:
        table: name -> entry.
        name: as the user typed it.
        kind: what the table lists, for the error ("model", "corpus", "protocol").

    Raises:
        UnknownNameError: no such name; the text gives the nearest ones, or all when none is near.
    """
    if name in table:
        return table[name]
    hint = did_you_mean(name, table) or f"Known: {', '.join(sorted(table))}."
    raise UnknownNameError(f"Unknown {kind} {name!r}. {hint}")


def did_you_mean(name: str, known: Iterable[str], alike: float = 0.5) -> str:
    """A question that names the nearest ones, at most three of ``known``; empty when none is near.

    Args:
        name: as the user typed it.
        known: what there is.
        alike: from 0, everything is near, to 1, only what is equal.
    """
    near = difflib.get_close_matches(name, known, n=3, cutoff=alike)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def resolve(target: str) -> object:
    """The object that ``"package.module:attribute"`` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
