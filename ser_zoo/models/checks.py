"""Refuse numbers that make no sense before a network is built of them, by the name of the option that sets them."""

from __future__ import annotations

from math import inf

from ser_zoo.errors import SERZooError

DEEPEST = 1_000  # of layers after each other, and of networks beside each other
LARGEST = 1_000_000  # of any number here: no network needs more, and of more there are tensors that cannot be counted


def expect_between(low: float, high: float = inf, /, group: str = "--model", **values: float | None) -> None:
    """Refuse values outside a range.

    Args:
        low: the smallest that makes sense.
        high: the largest; never more than ``LARGEST``.
        group: of the options.
        **values: by the names of their options; None, which stands for no number, is let pass.

    Raises:
        SERZooError: a value is less than ``low`` or more than ``high``, or no number.
    """
    for name, value in values.items():
        if value is not None and not low <= value <= min(high, LARGEST):
            bounded = high < inf or value > LARGEST
            expected = f"{low:g} to {min(high, LARGEST):,}" if bounded else f"{low:g} or more"
            found = value if isinstance(value, int) else f"{value:g}"  # of many digits it cannot be a float
            raise SERZooError(f"{group}.{name} {found} makes no sense; expected {expected}.")


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
