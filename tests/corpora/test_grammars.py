"""Every name that a grammar allows is read as one utterance of a known label, and the id tells it from all others."""

from __future__ import annotations

import importlib
import re
import string
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ser_zoo.corpora import CORPORA, corpus_class
from ser_zoo.corpora.base import FileNameCorpus
from ser_zoo.errors import CorpusError

# Of these the folder must fit the name; their own tests have both.
WITH_FOLDER = {"ased", "casia", "enterface", "mead", "oreau", "savee", "thorsten", "turev_db", "urdu"}
READERS = [
    cls
    for cls in map(corpus_class, sorted(set(CORPORA) - WITH_FOLDER))
    if issubclass(cls, FileNameCorpus)
    and isinstance(getattr(importlib.import_module(cls.__module__), "GRAMMAR", None), re.Pattern)
]
every_reader = pytest.mark.parametrize("cls", READERS, ids=lambda cls: cls.name)


def grammar(cls: type[FileNameCorpus]) -> re.Pattern[str]:
    pattern: re.Pattern[str] = importlib.import_module(cls.__module__).GRAMMAR
    return pattern


@every_reader
@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_name_of_the_grammar_is_an_utterance(cls: type[FileNameCorpus], data: st.DataObject) -> None:
    names = st.from_regex(grammar(cls), fullmatch=True, alphabet=string.ascii_letters + string.digits + "_-.() ]ñ")
    corpus = cls("root")
    rows = [row for _ in range(4) if (row := corpus.parse(Path("root") / f"{data.draw(names)}.wav")) is not None]
    for row in rows:  # a release may hold files that no task uses
        assert row.label in cls.counts
        assert row.speaker
        assert row.original_label
    assert len({row.id for row in rows}) == len({row.path for row in rows})


@every_reader
@given(name=st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=30))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_other_name_is_refused(cls: type[FileNameCorpus], name: str) -> None:
    assume(not grammar(cls).fullmatch(name))
    with pytest.raises(CorpusError, match=r"unexpected|Expected"):
        cls("root").parse(Path("root") / f"{name}.wav")
