"""Official releases on disk -> Utterance rows; one file per corpus.

``CORPORA`` is the table of the names that ``--data`` takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from ser_zoo.corpora.base import Corpus, Task, Utterance
from ser_zoo.registry import lookup, resolve

CORPORA: dict[str, str] = {
    "demo": "ser_zoo.corpora.demo:Demo",
    "emo_db": "ser_zoo.corpora.emo_db:EmoDB",
    "ravdess": "ser_zoo.corpora.ravdess:RAVDESS",
}


def corpus_class(name: str) -> type[Corpus]:
    """The reader of the corpus ``name``.

    Raises:
        UnknownNameError: no such corpus.
    """
    return cast(type[Corpus], resolve(lookup(CORPORA, name, "corpus")))


def create_corpus(name: str, root: Path | str | None = None, task: str | None = None, labels: str | None = None) -> Corpus:
    """The corpus ``name`` at ``root`` (None: its default place), with one of its tasks or a shared label space.

    Raises:
        UnknownNameError: no such corpus, task or label space.
        CorpusError: both a task and a label space are given.
    """
    return corpus_class(name)(root, task, labels)


__all__ = ["CORPORA", "Corpus", "Task", "Utterance", "corpus_class", "create_corpus"]
