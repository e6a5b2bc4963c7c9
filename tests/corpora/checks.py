"""What the tests of several readers check in the same way."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ser_zoo.corpora import Corpus, Utterance
from ser_zoo.errors import CorpusError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
GENDERS = {"F": "female", "M": "male"}


def read_complete(corpus: Corpus) -> list[Utterance]:
    """The utterances of a release of which nothing is said to be missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = corpus.utterances()
    assert len({row.id for row in rows}) == len(rows)
    return rows


def assert_wrong_folders_are_refused(cls: type[Corpus], root: Path, inside: str | None = None) -> None:
    """A missing, an empty and a neighbouring folder of ``root`` each get the error that says what was expected.

    Args:
        cls: the reader.
        root: of a release, alone in its folder, so that a reader finds nothing else there.
        inside: a folder of the release that holds no release itself.
    """
    (root.parent / "empty").mkdir()
    wrong = {
        root.parent: f"holds .*{root.name}/",
        root.parent / "empty": "holds nothing",
        root / "nowhere": "there is no folder",
    }
    if inside is not None:
        wrong[root / inside] = "holds "
    for folder, found in wrong.items():
        corpus = cls(folder)
        assert not corpus.found()
        with pytest.raises(
            CorpusError, match=rf"{cls.title} not found: .*{found}.* Expected {re.escape(cls.layout)}\. Get it at"
        ):
            corpus.utterances()


def card(name: str) -> dict[str, Any]:
    """What was counted in the release, or in a published list of it; skips the test where that is not here."""
    path = SHARED / "corpora" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"the published counts are not at {path}")
    return dict(json.loads(path.read_text()))


def assert_agrees(rows: Sequence[Utterance], known: dict[str, Any], label: Callable[[Utterance], str] | None = None) -> None:
    """Names, classes, speakers and genders are those of the card.

    Args:
        rows: of the complete release.
        known: the card.
        label: class of a row as the card writes it; None means the original label.
    """
    assert Counter(row.original_label if label is None else label(row) for row in rows) == known["classes"]
    assert Counter(row.speaker for row in rows) == {speaker: entry["n"] for speaker, entry in known["speakers"].items()}
    genders = {speaker: GENDERS.get(entry.get("gender", "")) for speaker, entry in known["speakers"].items()}
    assert {row.speaker: row.gender for row in rows} == genders
    grammar = re.compile(known["path_regex"])
    assert all(grammar.search(row.path.as_posix()) for row in rows)
