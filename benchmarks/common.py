"""What the benchmarks share: the clock, what they say of the machine, what their arguments may be, where results go."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from ser_zoo.cli import tables
from ser_zoo.errors import SERZooError
from ser_zoo.evaluation.result import commit, processor, versions

SPEED = Path(__file__).resolve().parent / "results" / "speed"
RECIPES = Path(__file__).resolve().parents[1] / "recipes"
RATE = 16_000  # Hz, of everything that is measured
# What decides how fast matrices are multiplied.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")

Work = TypeVar("Work")


def positive(text: str) -> int:
    """The value of an argument that says how many: a whole number above 0.

    Raises:
        argparse.ArgumentTypeError: it is another one; nothing would be measured, and that would be written.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} makes no sense; expected a whole number, 1 or more")
    return int(text)


def output_file(text: str) -> Path:
    """The value of ``--output``: the name of a file, whose folder is made.

    Raises:
        argparse.ArgumentTypeError: it cannot be written, which is better said before the work than after it.
    """
    path = tables.output_file(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{path.parent} cannot be made: {error.strerror}; expected a folder for files"
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path.parent} cannot be written to; expected a folder for files")
    return path


def in_words(main: Callable[[], None]) -> None:
    """Call the main function of a benchmark; a mistake of the user ends it with the words that explain it.

    Raises:
        SystemExit: with these words.
    """
    try:
        main()
    except SERZooError as error:
        raise SystemExit(f"error: {str(error).replace('--model.encoder', '--encoder')}") from error
    except subprocess.CalledProcessError as error:  # its own words stand above
        raise SystemExit("error: The command that is measured failed, so that there is nothing to write.") from error


def fastest(ways: Mapping[str, Callable[[Work], object]], warm: Work, work: Work, repeats: int) -> dict[str, float]:
    """Seconds that each way takes for ``work``, in its fastest repetition.

    All ways run one after the other and that ``repeats`` times, so that what else the machine does meets all of them.

    Args:
        ways: what is compared.
        warm: work of the same kind that is done once before: memory is allocated, kernels are chosen and caches filled.
        work: what counts.
        repeats: how often.
    """
    for run in ways.values():
        run(warm)
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, run in ways.items():
            started = time.perf_counter()
            run(work)
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def circumstances() -> dict[str, Any]:
    """What a speed depends on besides what was measured: machine, versions, commit."""
    return {"machine": machine(), "versions": versions(), "commit": commit()}


def machine() -> dict[str, Any]:
    """Processor, torch's threads, and those of the processor's instructions that matter here."""
    cpuinfo = Path("/proc/cpuinfo")
    known = cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.is_file() else []
    return {**processor(), "flags": [flag for flag in FLAGS if flag in known]}


def recipe(model: str) -> str:
    """File of the recipe of RAVDESS."""
    return str(RECIPES / "ravdess" / f"{model}.yaml")


def base_encoder(folder: Path) -> str:
    """A wav2vec2-base with random weights, as ``save_pretrained`` writes it."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    extractor: Any = Wav2Vec2FeatureExtractor
    extractor(do_normalize=True).save_pretrained(folder)
    return str(folder)
