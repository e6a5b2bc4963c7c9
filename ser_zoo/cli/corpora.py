"""``ser-zoo corpora``: what can be trained on, under which licence, and whether it is on this disk."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_zoo.cli.tables import add_format, show
from ser_zoo.corpora import CORPORA, Corpus, create_corpus
from ser_zoo.corpora.manifest import Manifest, by_class_and_speaker, fresh, rates
from ser_zoo.errors import CorpusError
from ser_zoo.protocols import protocols_of

DESCRIPTION = (
    "List the corpora, or describe one: where to get it, and more. --format json lists all with all that is known of them."
)
LISTED = ("name", "language", "utterances", "found", "licence")  # what a terminal of 80 columns has room for
MOST_SPEAKERS = 100  # in the table; --format json has all


def run(argv: Sequence[str]) -> int:
    """List the corpora, or describe one."""
    parser = argparse.ArgumentParser(prog="ser-zoo corpora", description=DESCRIPTION)
    parser.add_argument("name", nargs="?", help="a corpus; shows its tasks and protocols, and what is there of it")
    parser.add_argument("--root", help="look for the named corpus in this folder")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw utterances per class and speaker, and their lengths"
    )
    add_format(parser)
    options = parser.parse_args(argv)
    if options.name is None and (options.root is not None or options.plot is not None):
        parser.error("--root and --plot go with the name of one corpus")
    if options.name is None:
        rows = [summary(create_corpus(name)) for name in sorted(CORPORA)]
        if options.format == "json":
            show(rows, "json")
        else:
            show([{key: row[key] for key in LISTED} for row in rows], "table", "ser-zoo corpora NAME says more of one")
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
    manifest = fresh(corpus) if corpus.found() else None
    if options.format == "json":
        show([{**summary(corpus), "tasks": tasks, "protocols": protocols, "contents": contents(corpus, manifest)}], "json")
    else:
        show([{"": key, corpus.title: value} for key, value in readable(summary(corpus)).items()], "table")
        show(tasks, "table", "tasks, the default first")
        show(protocols, "table", "protocols, the default first")
        describe(corpus, manifest)
    if options.plot is not None:
        if manifest is None:
            raise CorpusError(
                f"--plot needs the lengths of the recordings of {corpus.title} at {corpus.root}, and there is no manifest of "
                f"them that holds. Call ser-zoo prepare {corpus.name} first."
            )
        from ser_zoo.data.picture import draw

        draw(manifest, corpus.title, list(corpus.counts), options.plot)
    return 0


def readable(row: Mapping[str, object]) -> dict[str, object]:
    """A summary for people: hours with two digits."""
    hours = row["hours"]
    return {**row, "hours": f"{hours:.2f}" if isinstance(hours, float) else hours}


def by_speaker(corpus: Corpus, manifest: Manifest | None) -> Mapping[str, Mapping[str, int]] | None:
    """Speaker -> label -> utterances that are there; None where the corpus is not."""
    if not corpus.found():
        return None
    return by_class_and_speaker(corpus.scan() if manifest is None else manifest.utterances, list(corpus.counts))


def contents(corpus: Corpus, manifest: Manifest | None) -> dict[str, object] | None:
    """What is there of the corpus; None where nothing is, and no hours and rates as long as there is no manifest."""
    speakers = by_speaker(corpus, manifest)
    if speakers is None:
        return None
    return {
        "utterances": sum(sum(counts.values()) for counts in speakers.values()),
        "hours": None if manifest is None else round(manifest.hours, 4),
        "sample_rates": None if manifest is None else manifest.sample_rates,
        "by_speaker": speakers,
    }


def describe(corpus: Corpus, manifest: Manifest | None) -> None:
    """Print what is there of the corpus."""
    speakers = by_speaker(corpus, manifest)
    if speakers is None:
        return
    rows: list[dict[str, Any]] = [{"speaker": name, **counts, "all": sum(counts.values())} for name, counts in speakers.items()]
    sums = {"speaker": f"all {len(rows)}", **{key: sum(row[key] for row in rows) for key in list(rows[0])[1:]}}
    show([*(rows if len(rows) <= MOST_SPEAKERS else []), sums], "table", f"what is in {corpus.root}")
    if len(rows) > MOST_SPEAKERS:
        print("--format json lists the speakers.")
    if manifest is None:
        print(f"Call ser-zoo prepare {corpus.name} for its hours and sample rates.")
    else:
        print(f"{manifest.hours:.2f} h, {rates(manifest.sample_rates)}, by the manifest {manifest.path}")


def summary(corpus: Corpus) -> dict[str, object]:
    """What is known of a corpus without opening it."""
    return {
        "name": corpus.name,
        "title": corpus.title,
        "language": corpus.language,
        "kind": corpus.kind,
        "classes": len(corpus.labels) or None,
        "speakers": corpus.speakers,
        "utterances": corpus.total or None,
        "hours": corpus.hours,
        "synthetic": corpus.synthetic,
        "licence": corpus.licence,
        "found": corpus.found(),
        "root": str(corpus.root),
        "url": corpus.url,
    }
