"""``ser-zoo predict``: label and probabilities of recordings, calibrated where the checkpoint has a temperature for it."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ser_zoo.cache import atomic_path, write_csv
from ser_zoo.cli.tables import NAMES, add_format, output_file, table

if TYPE_CHECKING:
    from ser_zoo.inference import Prediction
    from ser_zoo.models.base import Calibration

DESCRIPTION = """Label and probability of each recording. Folders are searched to any depth. Probabilities are calibrated by the
temperature that the checkpoint was given on its validation speakers; stderr says so, or why they are not. With --format csv or
json, temperature is the one applied, or empty or null with uncalibrated probabilities. Of several recordings, those that cannot
be read are named on stderr and left out, and the exit status is then 1. stderr also says how many are cut as in training, and
how many are silent or too short to tell anything."""


def run(argv: Sequence[str]) -> int:
    """Predict on files and folders."""
    parser = argparse.ArgumentParser(
        prog="ser-zoo predict",
        description=DESCRIPTION,
    )
    parser.add_argument("inputs", nargs="+", metavar="FILE_OR_FOLDER")
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a trained model")
    parser.add_argument("--encoder", help="hub name or folder of the encoder, if it has moved since the training")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps ... (default: auto)")
    parser.add_argument("--raw", action="store_true", help="uncalibrated probabilities, as the network gives them")
    parser.add_argument("--output", type=output_file, help="write to this file instead of to the terminal")
    add_format(parser, ("table", "csv", "json"))
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        parser.error("--batch_size must be at least 1")

    from ser_zoo.inference import audio_paths, load_model, predict

    paths = audio_paths(options.inputs)  # before the model, whose loading takes longer than noticing a wrong path
    with ExitStack() as stack:
        output = None
        if options.output is not None:
            output = stack.enter_context(atomic_path(options.output))
            output.touch()  # before the predictions, which would be lost where nothing can be written
        model = load_model(options.ckpt_path, encoder=options.encoder, device=options.device)
        predictions = predict(model, paths, options.batch_size, progress=True, calibrated=not options.raw, on_bad_audio="skip")
        print(f"ser-zoo: {_kind(model.calibration, options.raw)}", file=sys.stderr)
        if output is not None:
            text = _csv(predictions) if options.format == "table" else _text(predictions, options.format)
            output.write_text(text, encoding="utf-8", errors=NAMES)
        elif options.format == "table":
            table([{"file": str(item.path), "label": item.label, "probability": item.probability} for item in predictions])
        else:
            sys.stdout.write(_text(predictions, options.format))
    if bad := len(paths) - len(predictions):
        print(f"ser-zoo: error: {bad} of {len(paths)} recordings cannot be used and are left out; see above.", file=sys.stderr)
        return 1
    return 0


def _kind(calibration: Calibration | None, raw: bool) -> str:
    """What the probabilities are."""
    if raw:
        return "probabilities are uncalibrated, as --raw asks for."
    doubt = "its checkpoint has no temperature" if calibration is None else calibration.doubt
    if calibration is None or doubt is not None:
        return f"probabilities are uncalibrated: {doubt}."
    return f"probabilities are calibrated with temperature {calibration.temperature:.4g}, fitted on validation speakers."


def _text(predictions: Sequence[Prediction], form: str) -> str:
    if form == "csv":
        return _csv(predictions)
    rows = [{**item._asdict(), "path": str(item.path)} for item in predictions]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _csv(predictions: Sequence[Prediction]) -> str:
    text = io.StringIO()
    labels = list(predictions[0].probabilities)
    lines: list[list[object]] = [["file", "label", "probability", "temperature", *(f"probability_{label}" for label in labels)]]
    for item in predictions:
        probability, *probabilities = [f"{value:.8g}" for value in (item.probability, *item.probabilities.values())]
        lines.append([item.path, item.label, probability, item.temperature, *probabilities])
    write_csv(text, lines)
    return text.getvalue()
