from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

import ser_zoo
from ser_zoo.corpora import CORPORA, Corpus
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.errors import SERZooError, UnknownNameError
from ser_zoo.models import MODELS, list_models
from ser_zoo.registry import expect_known, lookup, resolve

TABLE = {"emo_db": 1, "ravdess": 2, "demo": 3}


def test_a_name_gives_its_entry() -> None:
    assert lookup(TABLE, "ravdess", "corpus") == 2


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("ravdes", "Did you mean ravdess?"),
        ("ravd", "Did you mean ravdess?"),
        ("RAVDESS", "Known: demo, emo_db, ravdess."),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones_or_all(typed: str, hint: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        lookup(TABLE, typed, "corpus")
    assert str(caught.value) == f"Unknown corpus {typed!r}. {hint}"


def test_several_near_names_are_all_given() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean pairs[45] or pairs[45]\?"):
        lookup({"pairs4": 1, "pairs5": 2, "loso10": 3}, "pairs", "protocol")


def test_an_unknown_name_is_a_mistake_of_the_user() -> None:
    assert issubclass(UnknownNameError, SERZooError)


def test_a_choice_that_is_known_or_not_given_passes_and_another_is_refused() -> None:
    def play(pitch: Literal["high", "low"], tempo: Literal["slow", "fast"] = "slow", title: str = "") -> None: ...

    expect_known(play, {"pitch": "low", "title": "any"}, "--song")
    with pytest.raises(SERZooError, match=r"--song\.tempo 'none' is unknown\. Expected one of slow, fast\."):
        expect_known(play, {"pitch": "low", "tempo": "none"}, "--song")


def test_a_target_is_imported() -> None:
    assert resolve("ser_zoo.corpora.emo_db:EmoDB") is EmoDB


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_corpus_in_the_table_exists(name: str) -> None:
    cls = resolve(CORPORA[name])
    assert isinstance(cls, type)
    assert issubclass(cls, Corpus)


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_corpus_has_tests_of_its_own(name: str) -> None:
    module = resolve(CORPORA[name]).__module__.rpartition(".")[2]
    tests = Path(__file__).parent / "corpora" / f"test_{module}.py"
    assert tests.is_file(), f"{name} is in CORPORA, and there is no {tests}; CONTRIBUTING says what belongs there"


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_in_the_table_exists(name: str) -> None:
    assert isinstance(resolve(MODELS[name].target), type)
    assert name in list_models()


@pytest.mark.parametrize("name", ser_zoo.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(ser_zoo, name)


def test_other_names_do_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = ser_zoo.nonsense
    assert dir(ser_zoo) == sorted(ser_zoo.__all__)
