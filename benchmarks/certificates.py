"""Certificates of the honest protocols of corpora whose ids are known: who stands on which side, and that nothing is shared.

    python benchmarks/certificates.py [--only NAME] [--iemocap IDS.csv] [--tess-words WORDS.txt]

EMO-DB (four of its classes) and RAVDESS are taken from ``$SER_ZOO_DATA``, and their audio is compared. Of other corpora, whose
file names follow from a rule, the official layout is written with empty files, so that their certificates say that audio was
not checked. Two need a list that is not in this repository: IEMOCAP a table ``utterance,label`` of all its utterances, with
``rest`` for a label that is not known, and TESS its 200 words, one a line; without their lists they are passed over.

Writes ``benchmarks/certificates/<corpus>-<protocol>.json``, as ``ser-zoo audit --output`` does.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # for the writers of official layouts, which belong to the tests

from ser_zoo.cli import main as ser_zoo  # noqa: E402
from ser_zoo.corpora import create_corpus  # noqa: E402
from ser_zoo.protocols import protocols_of  # noqa: E402

TARGET = HERE / "certificates"
RECORDED: Mapping[str, tuple[str, ...]] = {"emo_db": ("--data.task=4class",), "ravdess": ()}
BY_RULE = ("cafe", "crema_d", "emovo", "esd", "jl_corpus", "savee")


def main() -> None:
    """Write the certificates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=(*RECORDED, *BY_RULE, "iemocap", "tess"), help="may be repeated")
    parser.add_argument("--iemocap", type=Path, help="utterance,label of all its utterances")
    parser.add_argument("--tess-words", type=Path, help="its words, one a line")
    options = parser.parse_args()
    lists = {"iemocap": ("--iemocap", options.iemocap), "tess": ("--tess-words", options.tess_words)}
    for corpus, (option, file) in lists.items():
        if file is None and corpus in (options.only or ()):
            parser.error(f"--only {corpus} needs {option}")
        if file is not None and not file.is_file():
            parser.error(f"argument {option}: there is no file {file}")
    listed: dict[str, dict[str, Any]] = {name: {} for name in BY_RULE}
    if options.iemocap is not None:
        with options.iemocap.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            if not {"utterance", "label"} <= set(table.fieldnames or ()):
                parser.error(f"argument --iemocap: {options.iemocap} has not the columns utterance and label")
            listed["iemocap"] = {"ids": {row["utterance"]: row["label"] for row in table}}
    if options.tess_words is not None:
        listed["tess"] = {"words": options.tess_words.read_text(encoding="utf-8").split()}
    for name, arguments in RECORDED.items():
        if options.only is None or name in options.only:
            audit(name, create_corpus(name).root, arguments)
    for name, settings in listed.items():
        if options.only is None or name in options.only:
            with tempfile.TemporaryDirectory() as folder:
                importlib.import_module(f"tests.releases.{name}").write(Path(folder), None, **settings)
                audit(name, Path(folder), ("--no-audio",))


def audit(name: str, root: Path, arguments: tuple[str, ...]) -> None:
    """Write the certificate of each honest protocol of a corpus."""
    for protocol in protocols_of(name).values():
        if protocol.world == "honest":
            target = TARGET / f"{name}-{protocol.name}.json"
            command = [
                "audit",
                f"--data={name}",
                f"--data.root={root}",
                f"--data.protocol={protocol.name}",
                f"--output={target}",
            ]
            if ser_zoo([*command, *arguments]) != 0:
                raise SystemExit(f"{name} {protocol.name}: the audit failed.")


if __name__ == "__main__":
    main()
