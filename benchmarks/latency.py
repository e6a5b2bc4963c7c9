"""How long the whole of ``cross_attn`` takes for a clip of 3 s, by its encoder.

    OMP_NUM_THREADS=2 python benchmarks/latency.py --encoders FOLDER_OF_WHISPER_TINY FOLDER_OF_WHISPER_BASE [--repeats 200]

From the waveform to the logits of one clip (a softmax more would not be seen), with the network of the recipe of RAVDESS and
random weights where the encoder has none of its own (no time depends on them), eager, in float32 and, where the processor
multiplies it, with the frozen encoder in bfloat16: ``pico``, those that are named, and one of the shape of wav2vec2-base. All
blocks of each are computed. The number of threads is that of torch (``OMP_NUM_THREADS``); anything else that runs shows.

Writes ``benchmarks/results/speed/latency.json``, and the table beside it as ``latency.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from common import SPEED, base_encoder, circumstances, in_words, machine, output_file, positive, recipe

from ser_zoo.cache import atomic_path, write_json
from ser_zoo.cli.fit import build_parser, model_arguments
from ser_zoo.encoders import SpeechEncoder
from ser_zoo.inference import profile
from ser_zoo.models import create_model

RESULT = SPEED / "latency.json"
LABELS = ("anger", "happiness", "neutral", "sadness")
SECONDS = 3.0


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="*", default=[], help="folders or hub names of further encoders")
    parser.add_argument("--repeats", type=positive, default=200, help="measured calls of each")
    parser.add_argument("--output", type=output_file, default=RESULT)
    options = parser.parse_args()
    if options.output.suffix == ".md":
        parser.error(f"argument --output: {options.output} is where the table goes; expected the name of a JSON file")
    precisions = ["float32"] + ["bfloat16"] * ("avx512_bf16" in machine()["flags"])
    with tempfile.TemporaryDirectory() as folder:
        shaped = Path(folder) / "wav2vec2-base-shaped"
        encoders = ["pico", *options.encoders, base_encoder(shaped)]
        rows = [measure(encoder, precision, options.repeats) for encoder in encoders for precision in precisions]
    write_json(options.output, {**circumstances(), "seconds": SECONDS, "repeats": options.repeats, "rows": rows})
    text = table(rows, options.repeats, options.output.name)
    with atomic_path(options.output.with_suffix(".md")) as path:
        path.write_text(text, encoding="utf-8")
    print(text)


def measure(encoder: str, precision: str, repeats: int) -> dict[str, Any]:
    """What cross_attn costs with an encoder."""
    depth = SpeechEncoder(encoder).depth
    layers = [depth // 3, 2 * depth // 3, depth]
    command = ["--config", recipe("cross_attn"), "--model.encoder", encoder, "--model.layers", str(layers)]
    options = build_parser("cross_attn").parse_args([*command, f"--model.encoder_options.precision={precision}"])
    found = profile(create_model("cross_attn", LABELS, **model_arguments(options)), [SECONDS], repeats)
    (clip,) = found["clips"]
    return {
        "encoder": Path(encoder).name,
        "precision": precision,
        "layers": layers,
        "threads": found["threads"],
        "parameters": found["parameters"],
        "macs": clip["macs_per_second"] * SECONDS,
        "p50_ms": clip["p50_ms"],
        "p95_ms": clip["p95_ms"],
    }


def table(rows: list[dict[str, Any]], repeats: int, source: str) -> str:
    """Markdown, written from the results."""
    lines = [
        f"Latency of the whole of cross_attn: a clip of {SECONDS:g} s, batch 1, {rows[0]['threads']} threads, {repeats} calls.",
        f"Written by `benchmarks/latency.py` from `{source}`.",
        "",
        "| encoder | precision | parameters | MACs | p50, ms | p95, ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["encoder"], row["precision"], f"{row['parameters']['total'] / 1e6:.1f} M", f"{row['macs'] / 1e9:.2f} G"]
        lines.append("| " + " | ".join([*cells, f"{row['p50_ms']:.1f}", f"{row['p95_ms']:.1f}"]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    in_words(main)
