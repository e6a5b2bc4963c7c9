"""``ser-zoo test``: the test speakers of a checkpoint's fold once more."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ser_zoo.cache import write_json
from ser_zoo.cli.fit import expand_names
from ser_zoo.cli.report import corpus_text, protocol_text, show_metrics
from ser_zoo.cli.tables import output_file, quiet_lightning
from ser_zoo.data import SERDataModule
from ser_zoo.errors import MismatchError
from ser_zoo.evaluation import protocol_of, score_checkpoint, summarise
from ser_zoo.inference import Checkpoint, check_identity, load_model, read_checkpoint

DESCRIPTION = """Test a checkpoint on the test speakers it was trained to be tested on. Corpus, protocol and fold are taken from
the checkpoint. Another fold, corpus, protocol or label set is refused, because the checkpoint may have been trained on
those speakers; so is a table or folder that has changed so that speakers are tested who were heard in the training."""


def run(argv: Sequence[str]) -> int:
    """Test a checkpoint."""
    quiet_lightning()
    options = _parser().parse_args(expand_names(argv))
    checkpoint = read_checkpoint(options.ckpt_path)
    data = _data(options, checkpoint)
    mismatch = check_identity(checkpoint, data, options.allow_mismatch)
    model = load_model(options.ckpt_path, encoder=options.encoder)
    identity = data.identity()
    data.number_as(model.labels)
    scored = score_checkpoint(model, data, {"accelerator": options.accelerator, "devices": 1})
    metrics = summarise(scored.confusion, model.labels)
    corpus = corpus_text(data.corpus.name, data.corpus.synthetic)
    protocol = protocol_of(data)
    refit = bool((checkpoint.trained_on or {}).get("refit"))
    title = f"{checkpoint.model} on {corpus}, {protocol_text(protocol, refit)}, fold {data.fold}"
    show_metrics(title + (f" (NOT WHAT IT WAS TRAINED FOR: {mismatch})" if mismatch else ""), model.labels, metrics)
    if options.output:
        about = {"model": checkpoint.model, "mismatch": mismatch, "identity": identity, "protocol": protocol}
        write_json(options.output, {**about, "metrics": metrics})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ser-zoo test", description=DESCRIPTION)
    parser.add_argument("--ckpt_path", required=True, help="checkpoint, such as RUN/fold-1/checkpoints/best.ckpt")
    parser.add_argument("--data.corpus", dest="corpus", metavar="NAME", help="corpus; --data NAME is short for it")
    parser.add_argument("--data.root", dest="root", metavar="DIR", help="folder of the release")
    parser.add_argument("--data.protocol", dest="protocol", metavar="NAME")
    parser.add_argument("--data.fold", dest="fold", type=int, metavar="K")
    parser.add_argument("--data.batch_size", dest="batch_size", type=int, metavar="N")
    parser.add_argument("--encoder", help="hub name or folder of the encoder, if it has moved since the training")
    parser.add_argument("--accelerator", default="auto", help="as of lightning.Trainer (default: auto)")
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="test on other data than the checkpoint's own, of the same labels or fewer",
    )
    parser.add_argument("--output", type=output_file, help="also write identity and metrics to this JSON file")
    return parser


def _data(options: argparse.Namespace, checkpoint: Checkpoint) -> SERDataModule:
    arguments: dict[str, Any] = dict(checkpoint.data)
    if not arguments and options.corpus is None:
        raise MismatchError("The checkpoint was trained on plain data loaders. Say what to test it on: --data NAME.")
    given = {key: getattr(options, key) for key in ("corpus", "root", "protocol", "fold", "batch_size")}
    given = {key: value for key, value in given.items() if value is not None}
    if given.get("corpus", arguments.get("corpus")) != arguments.get("corpus"):
        # Root, task, protocol and fold of one corpus say nothing for another.
        arguments = {key: value for key, value in arguments.items() if key not in ("root", "task", "protocol", "fold")}
    return SERDataModule(**{**arguments, **given})
