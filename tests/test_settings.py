from __future__ import annotations

import inspect
from dataclasses import asdict

import pytest
from lightning import Trainer

from ser_zoo.evaluation import Run
from ser_zoo.models import list_models, model_class
from ser_zoo.models.optim import Optim
from ser_zoo.settings import ADDED, flat, settled, told


def test_mappings_in_mappings_become_one() -> None:
    assert flat({"a": {"b": 1, "c": [], "e": {}}, "d": None}) == {"a.b": 1, "a.c": [], "d": None}


def test_what_a_row_says_goes_before_what_older_ones_were_made_under(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_zoo.settings.ADDED", {"model.gain": 0.0})
    assert settled({"model": {"width": 3}}) == {"model.width": 3, "model.gain": 0.0}
    assert settled({"model": {"gain": 0.5}}) == {"model.gain": 0.5}


def test_a_setting_that_comes_later_leaves_what_is_told_of_a_row_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = told({"model": {"width": 3}})
    monkeypatch.setattr("ser_zoo.settings.ADDED", {"model.gain": 0.0})
    assert told({"model": {"width": 3}}) == told({"model": {"width": 3, "gain": 0.0}}) == before
    assert told({"model": {"width": 3, "gain": 0.5}}) == {"model.width": 3, "model.gain": 0.5}


def test_older_rows_were_made_under_what_is_the_default_now() -> None:
    # Or a row made without the setting and one made before it came would be told apart.
    now = [(f"model.optim.{key}", value) for key, value in asdict(Optim()).items()] + [*asdict(Run("probe")).items()]
    for model in list_models():
        arguments = inspect.signature(model_class(model)).parameters.values()
        now += [(f"model.{argument.name}", argument.default) for argument in arguments]
    now += [(f"trainer.{argument.name}", argument.default) for argument in inspect.signature(Trainer).parameters.values()]
    found = [(key, value) for key, value in now if key in ADDED]
    assert {key for key, _ in found} == ADDED.keys()
    assert all(value == ADDED[key] for key, value in found)
