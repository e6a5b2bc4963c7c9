"""``ser-zoo audit``: the certificate of a protocol or of somebody else's split."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_zoo.cache import write_json
from ser_zoo.cli.tables import add_format, output_file, quiet_lightning, table
from ser_zoo.corpora import Utterance, create_corpus
from ser_zoo.errors import LeakError

if TYPE_CHECKING:
    from ser_zoo.data.audit import Sound

DESCRIPTION = """Prove that a split does not leak: who and what stands on each side of every fold, and what the sides share. The
certificate is printed in any case; leaks that the protocol does not declare then end in an error."""


def run(argv: Sequence[str]) -> int:
    """Audit a protocol, or the split in a file."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.split is not None and (options.protocol is not None or options.test is not None or options.shots):
        parser.error("--split replaces the protocol; leave --data.protocol, --data.test and --data.shots out")
    quiet_lightning()
    certificate = _certificate(options)
    if options.format == "json":
        print(json.dumps(certificate, indent=2, ensure_ascii=False))
    else:
        show(certificate)
    if options.output is not None:  # after it is printed, in case nothing can be written there
        write_json(options.output, certificate)
    if not certificate["passes"]:
        failed = dict.fromkeys(row["finding"] for row in summary(certificate) if row["verdict"] == "fails")
        raise LeakError(
            f"The split of {certificate['corpus']} fails its audit, as nothing declares: {', '.join(failed)}. Certificate "
            f"{certificate['hash']} says between which sides."
        )
    return 0


def show(certificate: dict[str, Any]) -> None:
    """Print it for people."""
    audio, protocol = certificate["audio"], certificate["protocol"]
    rule = f"protocol {protocol['name']} ({protocol['world']})" if protocol else "a split of the user's"
    classes = "utterances (speakers) of each class"
    table(_sides(certificate), f"{certificate['corpus']}, task {certificate['task']}, {rule}: {classes}")
    if found := summary(certificate):
        table(found, "findings")
    heard = "audio was not checked"
    if audio:
        kinds = {"identical": audio["identical"], "near": audio["near_duplicates"]}
        if copies := [{"utterances": ids, "audio": kind} for kind, groups in kinds.items() for ids in groups]:
            table(copies, "copies in the corpus, whatever side they stand on")
        heard = (
            f"audio of {audio['utterances']} utterances compared, {audio['too_short_for_near_duplicates']} of them too short "
            f"for near-duplicates, {len(audio['unreadable'])} more unreadable"
        )
    print(f"certificate {certificate['hash']}: {'passes' if certificate['passes'] else 'FAILS'}; {heard}")


def summary(certificate: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings that several folds have in a row of their own each, what fails first."""
    grouped: dict[tuple[str, ...], list[tuple[str, dict[str, Any]]]] = {}
    for report in certificate["folds"]:
        for finding in report["findings"]:
            key = (finding["verdict"], finding["kind"], *finding["sides"])
            grouped.setdefault(key, []).append((report["fold"], finding))
    order = ("fails", "declared", "note")
    rows = []
    for (verdict, kind, *sides), found in sorted(grouped.items(), key=lambda item: order.index(item[0][0])):
        counts = [finding["count"] for _, finding in found]
        rows.append(
            {
                "verdict": verdict,
                "finding": kind,
                "sides": sides,
                "folds": "all" if len(found) == len(certificate["folds"]) else [fold for fold, _ in found],
                "count": str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}",
                "for example": "; ".join(found[0][1]["examples"][:2]) or None,
            }
        )
    return rows


def _sides(certificate: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for report in certificate["folds"]:
        for side, counts in report["sides"].items():
            by_class = {
                label: f"{of_label['utterances']} ({of_label['speakers']})" for label, of_label in counts["classes"].items()
            }
            hours = f"{counts['hours']:.2f}" if "hours" in counts else None
            size = {"utterances": counts["utterances"], "hours": hours, "speakers": counts["speakers"]}
            rows.append({"fold": report["fold"], "side": side, **size, **by_class})
    return rows


def _certificate(options: argparse.Namespace) -> dict[str, Any]:
    from ser_zoo.data import SERDataModule
    from ser_zoo.data.audit import certify, protocol_folds, read_split

    if options.split is None:
        names = ("root", "task", "labels", "protocol", "test", "shots")
        data = SERDataModule(options.data, **{name: getattr(options, name) for name in names})
        usable, sound = _heard(data.utterances, options)
        return certify(data.corpus, usable, protocol_folds(data.protocol, usable), data.protocol, sound)
    corpus = create_corpus(options.data, options.root, options.task, options.labels)
    corpus.prepare()
    release = corpus.release()
    usable, sound = _heard(corpus.task.select(release), options)
    return certify(corpus, usable, read_split(options.split, release, usable, corpus.root), None, sound)


def _heard(utterances: Sequence[Utterance], options: argparse.Namespace) -> tuple[Sequence[Utterance], Sound | None]:
    """The utterances that can be used, and what was heard in them."""
    if not options.audio:
        return utterances, None
    from ser_zoo.data.audit import listen

    sound = listen(utterances, options.on_bad_audio == "skip")
    return [row for row in utterances if row.id in sound.content], sound


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ser-zoo audit", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--data", "--data.corpus", dest="data", required=True, metavar="NAME", help="the corpus, or several")
    for name, text in (
        ("root", "folder of the release"),
        ("task", "which utterances are told apart, into which classes"),
        ("labels", "a label space in place of a task"),
        ("protocol", "default: the corpus's honest one"),
        ("test", "corpora that are tested in place of a part of the others"),
    ):
        parser.add_argument(f"--data.{name}", dest=name, help=text)
    parser.add_argument("--data.shots", dest="shots", type=int, default=0, help="utterances per class of those that train too")
    parser.add_argument("--data.on_bad_audio", dest="on_bad_audio", choices=("error", "skip"), default="error")
    parser.add_argument("--split", type=Path, metavar="CSV", help="audit this: columns id or path, side, and fold if several")
    parser.add_argument("--no-audio", dest="audio", action="store_false", help="open no recording; the certificate says so")
    parser.add_argument("--output", type=output_file, metavar="JSON", help="write the certificate there as well")
    add_format(parser)
    return parser
