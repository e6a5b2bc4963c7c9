"""Names as the user types them, and the classes they stand for.

A table maps a name to ``"module:attribute"``, so that the names can be listed without importing what they stand for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from ser_zoo.errors import SERZooError, UnknownNameError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Fields = TypeVar("Fields", bound="DataclassInstance")


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


def expect_known(of: type | Callable[..., object], values: Mapping[str, Any], group: str) -> None:
    """Refuse values that are none of the choices that their annotations list.

    Args:
        of: class or function whose annotations name the choices; what has none is let pass.
        values: by the names of their options.
        group: of the options, such as ``--model``.

    Raises:
        SERZooError: a choice is unknown.
    """
    for name, kind in get_type_hints(of).items():
        if get_origin(kind) is Literal and name in values and (chosen := values[name]) not in get_args(kind):
            raise SERZooError(f"{group}.{name} {chosen!r} is unknown. Expected one of {', '.join(get_args(kind))}.")


def on_default(default: Fields, given: Fields | Mapping[str, Any], name: str) -> Fields:
    """An option of several fields: as it is given whole, or the fields that are given on top of its default.

    Args:
        default: a dataclass.
        given: one of the same class, or some of its fields by their names.
        name: of the option, for the error.

    Raises:
        UnknownNameError: there is no such field.
    """
    if isinstance(given, type(default)):
        return given
    fields = cast("Mapping[str, Any]", given)
    for field in fields:
        lookup(vars(default), field, f"field of {name}")
    return replace(default, **fields)


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
