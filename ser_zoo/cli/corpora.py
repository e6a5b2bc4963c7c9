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
    parser.add_argument("name", nargs="?", help="a corpus; shows its protocols")
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
    if options.format == "json":
        show([{**summary(corpus), "protocols": protocols}], "json")
    else:
        show([{"": key, corpus.title: value} for key, value in summary(corpus).items()], "table")
        show(protocols, "table", "protocols, the default first")
    return 0


def summary(corpus: Corpus) -> dict[str, object]:
    """A row of the list."""
    return {
        "name": corpus.name,
        "title": corpus.title,
        "language": corpus.language,
        "classes": len(corpus.labels),
        "utterances": corpus.size,
        "synthetic": corpus.synthetic,
        "licence": corpus.licence,
        "found": corpus.found(),
        "root": str(corpus.root),
        "url": corpus.url,
    }
