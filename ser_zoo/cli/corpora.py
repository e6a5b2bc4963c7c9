"""``ser-zoo corpora``: what can be trained on, under which licence, and whether it is on this disk."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ser_zoo.cli.tables import add_format, show
from ser_zoo.corpora import CORPORA, Corpus, create_corpus
from ser_zoo.protocols import protocols_of


def run(argv: Sequence[str]) -> int:
    """List the corpora, or describe one."""
    parser = argparse.ArgumentParser(prog="ser-zoo corpora", description="List the corpora, or describe one.")
    parser.add_argument("name", nargs="?", help="a corpus; shows its tasks and protocols")
    parser.add_argument("--root", help="look for the named corpus in this folder")
    add_format(parser)
    options = parser.parse_args(argv)
    if options.name is None and options.root is not None:
        parser.error("--root goes with the name of one corpus")
    if options.name is None:
        show([summary(create_corpus(name)) for name in sorted(CORPORA)], options.format)
        return 0
    corpus = create_corpus(options.name, options.root)
    protocols = [
        {
            "protocol": protocol.name,
            "world": protocol.world,
            "declared_leaks": list(protocol.declared_leaks),
            "folds": protocol.folds,
            "version": protocol.version,
            "hash": protocol.hash,
            "source": protocol.source,
        }
        for protocol in protocols_of(corpus.name).values()
    ]
    tasks = [{"task": task.name, "classes": list(task.labels), "source": task.source} for task in corpus.known_tasks()]
    if options.format == "json":
        show([{**summary(corpus), "tasks": tasks, "protocols": protocols}], "json")
    else:
        show([{"": key, corpus.title: value} for key, value in summary(corpus).items()], "table")
        show(tasks, "table", "tasks, the default first")
        show(protocols, "table", "protocols, the default first")
    return 0


def summary(corpus: Corpus) -> dict[str, object]:
    """A row of the list."""
    return {
        "name": corpus.name,
        "title": corpus.title,
        "language": corpus.language,
        "kind": corpus.kind,
        "classes": len(corpus.labels),
        "speakers": corpus.speakers,
        "utterances": sum(corpus.counts.values()),
        "hours": corpus.hours,
        "synthetic": corpus.synthetic,
        "licence": corpus.licence,
        "found": corpus.found(),
        "root": str(corpus.root),
        "url": corpus.url,
    }
