"""``ser-zoo robustness``: the test speakers of a checkpoint's fold through noise, rooms, telephones and coders."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_zoo.cli.report import corpus_text, protocol_text
from ser_zoo.cli.tables import output_file, quiet_lightning, table
from ser_zoo.data import SERDataModule
from ser_zoo.errors import MismatchError
from ser_zoo.evaluation.robustness import PERTURBATIONS, choose, find_origin, measure_robustness, write_robustness
from ser_zoo.inference import check_identity, load_model, read_checkpoint

DESCRIPTION = """Test a checkpoint on the speakers it was trained to be tested on, as recorded and with their waveforms changed,
and write robustness.json beside result.json. Corpus, protocol and fold are those of the checkpoint; training and validation
speakers are not tested, and nothing is trained."""


def run(argv: Sequence[str]) -> int:
    """Measure robustness."""
    quiet_lightning()
    options = _parser().parse_args(argv)
    perturbations = choose(options.perturbations)
    checkpoint = read_checkpoint(options.ckpt_path)
    if not checkpoint.data:
        raise MismatchError(
            f"{options.ckpt_path} was trained on plain data loaders, and does not say who its test speakers are. Expected a "
            "checkpoint of ser-zoo fit."
        )
    origin = find_origin(options.ckpt_path, options.output)
    root = {} if options.root is None else {"root": options.root}
    data = SERDataModule(**{**checkpoint.data, **root})
    check_identity(checkpoint, data)
    model = load_model(options.ckpt_path, encoder=options.encoder)
    trainer = {"accelerator": options.accelerator, "devices": 1}
    report = measure_robustness(model, data, perturbations, trainer, origin.epoch, origin.seed, options.seed, origin.refit)
    write_robustness(origin.target, report)
    show(report)
    return 0


def show(report: Mapping[str, Any]) -> None:
    """Print WA and UA of each perturbation, and how far UA is from that of the recordings as they are."""
    clean = report["clean"]
    rows = [{"test audio": "as recorded", "WA": clean["wa"], "UA": clean["ua"], "change of UA": "-"}]
    for measured in report["perturbations"].values():
        change = f"{measured['ua'] - clean['ua']:+.4f}"
        rows.append({"test audio": measured["title"], "WA": measured["wa"], "UA": measured["ua"], "change of UA": change})
    corpus = corpus_text(report["corpus"], report["synthetic"])
    where = f"{protocol_text(report['protocol'], report['refit'])}, fold {report['fold']}, {report['test']} test utterances"
    table(rows, f"{report['model']} on {corpus}, {where}")


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<11} {of.title:<26} {of.source}" for name, of in PERTURBATIONS.items())
    parser = argparse.ArgumentParser(
        prog="ser-zoo robustness",
        description=DESCRIPTION,
        epilog=f"perturbations, and where their constants are from:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint, such as RUN/fold-1/checkpoints/best.ckpt")
    parser.add_argument("--perturbations", nargs="+", metavar="NAME", help="some of those below (default: all)")
    parser.add_argument("--output", type=output_file, metavar="JSON", help="default: robustness.json beside result.json")
    parser.add_argument("--seed", type=_seed, default=0, help="of noise, babble and rooms (default: 0)")
    parser.add_argument("--data.root", dest="root", metavar="DIR", help="folder of the release, if it has moved")
    parser.add_argument("--encoder", help="hub name or folder of the encoder, if it has moved since the training")
    parser.add_argument("--accelerator", default="auto", help="as of lightning.Trainer (default: auto)")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; expected 0 or more")
    return int(text)
