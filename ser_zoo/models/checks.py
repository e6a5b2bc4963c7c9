"""Refuse numbers and choices that make no sense before a network is built of them, by the name of the option that sets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ser_zoo.errors import SERZooError


def expect_between(low: float, high: float = float("inf"), /, group: str = "--model", **values: float | None) -> None:
    """Refuse values outside a range.

    Args:
        low: the smallest that makes sense.
        high: the largest.
        group: of the options.
        **values: by the names of their options; None, which stands for no number, is let pass.

    Raises:
        SERZooError: a value is less than ``low`` or more than ``high``, or no finite number.
    """
    for name, value in values.items():
        if value is not None and not (low <= value <= high and isfinite(value)):
            expected = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
            raise SERZooError(f"{group}.{name} {value:g} makes no sense; expected {expected}.")


def expect_multiple(of: int, reason: str, **values: int) -> None:
    """Refuse values that are not divisible.

    Args:
        of: the divisor, 1 or more.
        reason: why, as the end of the sentence.
        **values: by the names of their options below ``--model``.

    Raises:
        SERZooError: a value is no multiple of ``of``.
    """
    for name, value in values.items():
        if value % of:
            raise SERZooError(f"--model.{name} {value} makes no sense; expected a multiple of {of}, {reason}.")


def expect_known(of: type | Callable[..., object], values: Mapping[str, Any], group: str = "--model") -> None:
    """Refuse values that are none of the choices that their annotations list.

    Args:
        of: class or function whose annotations name the choices; what has none is let pass.
        values: by the names of their options.
        group: of the options.

    Raises:
        SERZooError: a choice is unknown.
    """
    for name, kind in get_type_hints(of).items():
        if get_origin(kind) is Literal and name in values and (chosen := values[name]) not in get_args(kind):
            raise SERZooError(f"{group}.{name} {chosen!r} is unknown. Expected one of {', '.join(get_args(kind))}.")
