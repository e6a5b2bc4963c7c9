"""``ser-zoo prepare``: fetch a release where that is allowed, convert and verify it, and write its manifest."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from ser_zoo.cli.tables import add_format, show
from ser_zoo.corpora import create_corpus
from ser_zoo.corpora.base import short_list
from ser_zoo.corpora.manifest import rates

SHOWN = 10  # of each list; --format json has all


def run(argv: Sequence[str]) -> int:
    """Prepare one corpus; 0 when it is complete and sound, else 1."""
    parser = argparse.ArgumentParser(
        prog="ser-zoo prepare",
        description="Download a corpus where its licence allows it, or say where to ask for it; convert compressed recordings; "
        "verify the release, and write its manifest, which later runs read instead of walking folders. Recordings that have "
        "not changed since the last time are not decoded again.",
    )
    parser.add_argument("name", help="a corpus, as ser-zoo corpora lists it")
    parser.add_argument("--root", help="folder of the release or of its archives (default: $SER_ZOO_DATA/NAME, else data/NAME)")
    parser.add_argument("--task", help="the task whose part of the release is meant, where tasks read different parts")
    parser.add_argument("--again", action="store_true", help="decode every recording anew")
    add_format(parser)
    options = parser.parse_args(argv)
    corpus = create_corpus(options.name, options.root, options.task)

    from ser_zoo.data.prepare import by_class, instructions, obtain, prepare, tidy, unpack_archives

    begin = time.perf_counter()
    empty = not corpus.root.exists() or (corpus.root.is_dir() and not any(corpus.root.iterdir()))
    if archives := unpack_archives(corpus):
        names = short_list([path.name for path in archives])
        print(f"{corpus.title}: unpacked {names} in {corpus.root}, where they are no longer needed.", file=sys.stderr)
    if corpus.root.is_dir() and corpus.found():
        tidy(corpus)
    elif corpus.downloads:
        for download in corpus.downloads:
            unverified = "" if download.checksum else "; no checksum of it is published, so it is not verified"
            print(f"{corpus.title} ({corpus.licence}): {download.url}{unverified}", file=sys.stderr)
        obtain(corpus)
    elif empty and corpus.counts and not corpus.synthetic:
        print(instructions(corpus))
        return 1
    done = prepare(corpus, options.again)
    manifest = done.manifest
    classes, extra = by_class(corpus, manifest.utterances), [str(path) for path in manifest.extra]
    damaged = {**manifest.damaged, **{str(path): fault for path, fault in done.unconverted.items()}}
    found = {
        "root": str(corpus.root),
        "manifest": str(manifest.path),
        "utterances": len(manifest.entries),
        "speakers": len({entry.utterance.speaker for entry in manifest.entries}),
        "hours": round(manifest.hours, 4),
        "sample_rates": manifest.sample_rates,
        "decoded": done.decoded,
        "converted": done.converted,
        "classes": classes,
        "missing": done.missing,
        "extra": extra,
        "damaged": damaged,
        "duplicates": manifest.duplicates,
        "notes": manifest.notes,
    }
    if options.format == "json":
        show([found], "json")
        return 0 if done.sound else 1
    show(classes, "table", f"{corpus.title} at {corpus.root}")
    print(
        f"{found['utterances']} of {corpus.total} utterances, {found['speakers']} speakers, {manifest.hours:.2f} h, "
        f"{rates(manifest.sample_rates) or 'no sample rate'}"
    )
    listed("missing", done.missing)
    listed("damaged", [f"{key}: {fault}" for key, fault in damaged.items()])
    listed("with the same audio as another", [" = ".join(group) for group in manifest.duplicates])
    listed("audio files that no utterance uses", extra)
    listed("noted by the reader", manifest.notes)
    print(f"{done.decoded} of {found['utterances']} utterances decoded, {done.converted} recordings converted.")
    print(f"Manifest: {manifest.path} ({time.perf_counter() - begin:.1f} s)")
    return 0 if done.sound else 1


def listed(what: str, items: Sequence[str]) -> None:
    """Print how many there are, and the first of them."""
    print(f"{what}: {len(items) or 'none'}")
    for item in items[:SHOWN]:
        print(f"  {item}")
    if len(items) > SHOWN:
        print(f"  and {len(items) - SHOWN} more, which --format json lists")
