"""Settings from a file, flat and as arguments, which of them decide a result, and what rows older than a setting had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ADDED: Mapping[str, object] = {
    "model.optim.linear_delta": 0.0,
    "model.optim.encoder_rest": 0.0,
    "model.optim.change_below": False,
    "model.members": 1,
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
# What does not decide a result, and so may differ between the folds of a run, and when it goes on: of the command ...
PASSING = ("config", "ckpt_path", "run_dir", "folds", "wandb", "wandb_errors", "validate_only")
# ... and where recordings lie, how they are kept, and what is shown.
PASSING_SETTINGS = (
    *(f"data.{name}" for name in KEEPING),
    "trainer.logger",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
)


class _Loader(yaml.SafeLoader):
    """Refuses what has no end, and a key that stands twice in a mapping, of which YAML's own loader silently keeps the last."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        node = super().compose_node(parent, index)
        if node is not None and node.end_mark is None:
            told = "an alias in it stands for all of it; leave that out"
            raise yaml.composer.ComposerError("in a value", node.start_mark, told, node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    told = f"the key {key.value!r} stands there twice; leave one out"
                    raise yaml.composer.ComposerError("in a mapping", node.start_mark, told, key.start_mark)
                seen.add(key.value)
        return node


def load_yaml(text: str) -> Any:
    """What the text of a YAML file that somebody wrote holds.

    Raises:
        yaml.YAMLError: it is no YAML, has a key twice, or an alias in what that stands for.
    """
    return yaml.load(text, _Loader)


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


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a ``config.yaml`` that decide a result, flat; of such settings themselves, the same again."""
    kept = {key: value for key, value in config.items() if key not in PASSING}
    found = {
        key: value
        for key, value in settled(kept).items()
        if not any(key == name or key.startswith(f"{name}.") for name in PASSING_SETTINGS)
    }
    # Its folder may have moved; whether it is the same encoder is proved when the checkpoint is loaded.
    if isinstance(encoder := found.get("model.encoder"), str):
        found["model.encoder"] = Path(encoder).name
    return found


def told(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a ``config``, flat, without those that stand as older rows had them: one that comes changes no row's."""
    return {key: value for key, value in flat(config).items() if key not in ADDED or value != ADDED[key]}


def as_arguments(values: Mapping[str, Any]) -> list[str]:
    """Settings with dots between their keys as arguments of ``fit``.

    >>> as_arguments({"model.layers": [1, 2], "monitor": "last"})
    ['--model.layers=[1, 2]', '--monitor=last']
    """
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
