"""``ser-zoo profile``: parameters, arithmetic, latency and memory of a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from ser_zoo.cache import write_json
from ser_zoo.cli.fit import add_model_arguments, expand_names, model_arguments, value_of
from ser_zoo.cli.parser import Parser
from ser_zoo.cli.tables import output_file, quiet_lightning, table
from ser_zoo.errors import SERZooError
from ser_zoo.inference import find_device, load_model, profile
from ser_zoo.models import MODELS, create_model
from ser_zoo.models.base import SERModule

CLASSES = 4  # of an architecture
USAGE = "ser-zoo profile (--model NAME [ARGUMENTS] | --ckpt_path FILE) [OPTIONS]"
DESCRIPTION = """Parameters, multiply-accumulates per second of audio, latency at batch 1, real-time factor and peak memory,
from waveform to logits with the encoder included. Of an architecture (--model NAME, with its arguments as in fit) or of a
checkpoint (--ckpt_path). Latency is that of this machine with its present load: compare figures of one run of it only."""


def run(argv: Sequence[str]) -> int:
    """Profile a model."""
    quiet_lightning()
    arguments = expand_names(argv)
    name = value_of(arguments, "--model.name")
    options = _parser(name).parse_args(arguments)
    if not options.seconds:
        raise SERZooError("--seconds [] names no clip. Expected lengths, such as [1,3,10].")
    for what, value in (
        ("repeats", options.repeats),
        ("classes", CLASSES if options.classes is None else options.classes),
        *(("seconds", v) for v in options.seconds),
    ):
        if value <= 0:
            raise SERZooError(f"--{what} {value:g} makes no sense; expected more than 0.")
    device = find_device(options.device)
    model = _model(name, options).to(device)
    found = profile(model, options.seconds, options.repeats)
    if options.output is not None:
        write_json(options.output, found)
    if options.format == "json":
        print(json.dumps(found, indent=2))
        return 0
    counts = found["parameters"]
    table(
        [
            {
                "model": found["model"],
                "parameters": counts["total"],
                "trained": counts["trained"],
                "peak memory (MiB)": round(found["peak_memory_mib"]),
                "device": found["device"],
                "threads": found["threads"],
            }
        ]
    )
    table(
        [
            {
                "audio (s)": f"{row['seconds']:g}",
                "MACs per second of audio": f"{row['macs_per_second'] / 1e6:,.1f} M",
                "p50 (ms)": f"{row['p50_ms']:.1f}",
                "p95 (ms)": f"{row['p95_ms']:.1f}",
                "real-time factor": f"{row['real_time_factor']:.4f}",
            }
            for row in found["clips"]
        ]
    )
    return 0


def _parser(name: str | None) -> LightningArgumentParser:
    parser = Parser(prog="ser-zoo profile", usage=USAGE, description=DESCRIPTION, allow_abbrev=False)
    add_model_arguments(parser, name)
    parser.add_argument("--ckpt_path", type=Path | None, default=None, help="profile this checkpoint instead")
    parser.add_argument("--encoder", type=str | None, default=None, help="the checkpoint's encoder, if it has moved")
    parser.add_argument(
        "--classes",
        type=int | None,
        default=None,
        help=f"outputs of an architecture that is not a checkpoint (default: {CLASSES})",
    )
    parser.add_argument("--seconds", type=list[float], default=[1.0, 3.0, 10.0], help="lengths of the clips")
    parser.add_argument("--repeats", type=int, default=20, help="measured calls per length")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps ... (default: auto)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="of the output")
    parser.add_argument("--output", type=output_file, default=None, help="also write the figures to this JSON file")
    return parser


def _model(name: str | None, options: Namespace) -> SERModule:
    if (name is None) == (options.ckpt_path is None):
        known = ", ".join(sorted(MODELS))
        raise SERZooError(f"Say what to profile: either --model NAME or --ckpt_path FILE. Known models: {known}.")
    if name is None:
        if options.classes is not None:
            raise SERZooError(
                f"--classes {options.classes} is for --model NAME: a checkpoint has its own classes. Leave it out."
            )
        return load_model(options.ckpt_path, encoder=options.encoder)
    if options.encoder is not None:
        raise SERZooError(
            f"--encoder {options.encoder} is for --ckpt_path FILE. Expected --model.encoder beside --model {name}."
        )
    arguments: dict[str, Any] = model_arguments(options)
    classes = CLASSES if options.classes is None else options.classes
    return create_model(name, [f"class{number}" for number in range(1, classes + 1)], **arguments)
