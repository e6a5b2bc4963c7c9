"""Settings as one flat mapping and as arguments, and what rows were made under that are older than a setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ADDED: Mapping[str, object] = {
    "model.optim.linear_delta": 0.0,
    "model.optim.encoder_rest": 0.0,
    "model.optim.change_below": False,
    "model.directions": "acoustic",
    "model.frame_encoder": "bilstm",
    "refit": False,
    "trainer.min_steps": None,
    "trainer.max_time": None,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.val_check_interval": None,
    "trainer.sync_batchnorm": False,
    "trainer.callbacks": None,
}
"""Settings that came when there were rows already, and what those rows were made under."""
KEEPING = ("root", "num_workers", "cache", "cache_gib")
"""Settings of the data that decide no number: where recordings lie, and how they are kept."""


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Mappings in mappings as one, with dots between the keys.

    >>> flat({"a": {"b": 1, "c": []}, "d": None})
    {'a.b': 1, 'a.c': [], 'd': None}
    """
    pairs: dict[str, Any] = {}
    for key, value in nested.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return pairs


def settled(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a row's or a cell's ``config``, flat, with those that came after it was made."""
    return {**ADDED, **flat(config)}


def told(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a ``config``, flat, without those that stand as older rows had them: one that comes changes no row's."""
    return {key: value for key, value in flat(config).items() if key not in ADDED or value != ADDED[key]}


def as_arguments(values: Mapping[str, Any]) -> list[str]:
    """Settings with dots between their keys as arguments of ``fit``.

    >>> as_arguments({"model.layers": [1, 2], "monitor": "last"})
    ['--model.layers=[1, 2]', '--monitor=last']
    """
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
