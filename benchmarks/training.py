"""How fast training is, how much of it is waiting for data, and how much memory it takes.

    python benchmarks/training.py [--only step epoch memory] [--encoder FOLDER_OF_WHISPER_BASE] [--models cta_rnn cross_attn]

step     a training step of ``co_attn`` and ``cross_attn`` on 4 clips of 3 s of noise, an encoder of the shape of wav2vec2-base
         with random weights, everything trained, in float32 and, where the processor multiplies it, under bfloat16 autocast;
         beside it the networks of ``reference.py`` in float32 with the same optimiser as torch has it by default (ours is
         fused); that of cross_attn twice, as released, where three blocks of the encoder run without use, and cut to the nine
         that are used. All steps are timed in turns and the fastest of ``--repeats`` counts. ``co_attn`` is ours by default,
         whole clips and no row of 153 600; ``co_attn (faithful)`` is the released network. cross_attn's MFCC are computed in
         the step by all; co_attn's features in our steps only: its reference is given them, as its authors extract them
         beforehand. Before the timing, the loss is followed over ``--steps`` steps without dropout, in every way from the same
         weights and on the same batches; but ``co_attn`` by default is another network than the released one, so its losses are
         compared between precisions only.
epoch    the second epoch of the recipe of RAVDESS (fold 1) without its copies at other speeds, validation and checkpoints
         included, and the share of its training that is spent on data: waiting for batches, and reading what is kept of
         encoder and front end. If the encoder's
         features are not kept yet in ``$SER_ZOO_CACHE``, they are before the first epoch.
memory   the largest resident size of ``ser-zoo fit`` with the recipe of RAVDESS, all its folds and epochs, from nothing kept
         on; files that are mapped into memory count.

RAVDESS is expected under ``$SER_ZOO_DATA``. The number of threads is that of torch (``OMP_NUM_THREADS``). Writes
``benchmarks/results/speed/training.json``; parts that are not run keep what they had.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from common import RATE, SPEED, base_encoder, circumstances, fastest, in_words, machine, output_file, positive, recipe
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import SimpleProfiler
from reference import CoAttnReference, CrossAttnReference
from torch import Tensor, nn

from ser_zoo.cache import write_json
from ser_zoo.cli.fit import build_parser, model_arguments
from ser_zoo.data import Batch, SERDataModule
from ser_zoo.data.datamodule import collate
from ser_zoo.evaluation import Run, run_fold
from ser_zoo.models import create_model
from ser_zoo.models.base import SERModule
from ser_zoo.models.co_attn import ReleasedNetwork
from ser_zoo.models.cross_attn import CrossAttnNetwork
from ser_zoo.models.optim import Optim

RESULT = SPEED / "training.json"
PARTS = ("step", "epoch", "memory")
LABELS = ("angry", "happy", "neutral", "sad")
CLIPS = 4
SAMPLES = 3 * RATE - 1  # one more would be a 301st frame, and a second segment for the released co_attn
CURVE_BATCHES = 2  # that the followed losses take in turns
# Runs a command and prints the largest resident size that it reached.
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts; default: all")
    parser.add_argument("--encoder", help="folder or hub name of whisper-base's encoder; for epoch and memory")
    parser.add_argument("--models", nargs="+", default=["cta_rnn", "cross_attn"], help="recipes of epoch and memory")
    parser.add_argument("--repeats", type=positive, default=5, help="timed steps")
    parser.add_argument("--steps", type=positive, default=10, help="over which losses are followed")
    parser.add_argument("--output", type=output_file, default=RESULT)
    options = parser.parse_args()
    if options.encoder is None and set(options.only) != {"step"}:
        parser.error("epoch and memory need --encoder")
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: {
            "clips": CLIPS,
            "seconds": SAMPLES / RATE,
            "repeats": options.repeats,
            "models": step(options.repeats, options.steps),
        },
        "epoch": lambda: {
            "encoder": Path(options.encoder).name,
            "models": {model: epoch(model, options.encoder) for model in options.models},
        },
        "memory": lambda: {
            "encoder": Path(options.encoder).name,
            "models": {model: memory(model, options.encoder) for model in options.models},
        },
    }
    try:
        results = json.loads(options.output.read_text(encoding="utf-8")) if options.output.is_file() else {}
    except ValueError:
        parser.error(f"argument --output: {options.output} holds no results, but something else; expected another name")
    for part in options.only:
        results[part] = {**measures[part](), **circumstances()}
        write_json(options.output, results)
        SHOW[part](results[part]["models"])


def step(repeats: int, steps: int) -> dict[str, Any]:
    """Both comparisons, with an encoder of random weights that is made for them."""
    with tempfile.TemporaryDirectory() as folder:
        encoder = base_encoder(Path(folder))
        results: dict[str, Any] = {}
        for compared in (co_attn, cross_attn):
            results |= compared(encoder, repeats, steps)
            gc.collect()  # each comparison holds some gigabytes
        return results


@dataclass
class Trained:
    """A network that is trained on whole batches.

    Attributes:
        module: whose parameters are trained.
        loss: of a batch.
        optimizer: makes a new one for its parameters.
    """

    module: nn.Module
    loss: Callable[[Batch], Tensor]
    optimizer: Callable[[], torch.optim.Optimizer]

    def stepper(self, low: bool) -> Callable[[Batch], float]:
        """A function that makes a training step with an optimiser of its own; ``low`` is under bfloat16 autocast."""
        optimizer = self.optimizer()

        def run(batch: Batch) -> float:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = self.loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.item()

        return run

    def curve(self, low: bool, batches: Sequence[Batch], steps: int) -> list[float]:
        """Losses of ``steps`` steps without dropout; the weights are then what they were before."""
        start = {name: value.clone() for name, value in self.module.state_dict().items()}
        self.module.eval()
        run = self.stepper(low)
        losses = [run(batches[number % len(batches)]) for number in range(steps)]
        self.module.load_state_dict(start)
        self.module.train()
        return losses

    def parameters(self) -> int:
        """How many."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def ours(model: SERModule) -> Trained:
    """One of our models, with its own optimiser: AdamW at the rate of its source."""
    make: Any = model.configure_optimizers
    return Trained(model, model.loss, make)


def reference(module: nn.Module, loss: Callable[[Batch], Tensor], optim: Optim) -> Trained:
    """A plain network with the same optimiser as ours, but not fused: torch's default."""
    return Trained(module, loss, lambda: torch.optim.AdamW(module.parameters(), lr=optim.lr, weight_decay=optim.weight_decay))


def co_attn(encoder: str, repeats: int, steps: int) -> dict[str, Any]:
    """Ours by default and ours as released, beside the reference."""
    torch.manual_seed(0)
    model = create_model("co_attn", LABELS, encoder=encoder)
    faithful = create_model("co_attn", LABELS, encoder=encoder, faithful=True)
    plain = CoAttnReference(encoder, len(LABELS))
    assert isinstance(faithful.network, ReleasedNetwork)
    plain.copy(faithful.network)
    front_end = faithful.front_end
    assert front_end is not None
    batches = batches_of_noise()
    features = {id(batch): front_end(batch.waveforms, batch.lengths) for batch in batches}

    def loss(batch: Batch) -> Tensor:
        spectrogram, mfcc = features[id(batch)]
        return plain.loss(batch.waveforms, spectrogram.values, mfcc.values, batch.labels)

    networks = {"co_attn": ours(model), "co_attn (faithful)": ours(faithful)}
    return compare(reference(plain, loss, model.optim), networks, {"co_attn (faithful)"}, batches, repeats, steps)


def cross_attn(encoder: str, repeats: int, steps: int) -> dict[str, Any]:
    """Ours beside the reference."""
    torch.manual_seed(0)
    model = create_model("cross_attn", LABELS, encoder=encoder, finetune_from=0)
    assert isinstance(model.network, CrossAttnNetwork)
    baselines = []
    for cut in (False, True):
        plain = CrossAttnReference(encoder, len(LABELS), cut)
        plain.copy(model.network)
        baselines.append(reference(plain, partial(plain_loss, plain), model.optim))
    whole, cut_off = baselines
    return compare(whole, {"cross_attn": ours(model)}, {"cross_attn"}, batches_of_noise(), repeats, steps, cut_off)


def plain_loss(network: CrossAttnReference, batch: Batch) -> Tensor:
    """The reference's loss of a batch."""
    return network.loss(batch.waveforms, batch.labels)


def batches_of_noise() -> list[Batch]:
    """Batches of 4 clips, one of each class; the last one is for warming up and for timing."""
    generator = torch.Generator().manual_seed(0)
    clips = 0.1 * torch.randn(CURVE_BATCHES, CLIPS, SAMPLES, generator=generator)
    return [collate(list(part.numpy()), [f"clip {i}" for i in range(CLIPS)], list(range(CLIPS))) for part in clips]


def compare(
    baseline: Trained,
    networks: Mapping[str, Trained],
    same: set[str],
    batches: Sequence[Batch],
    repeats: int,
    steps: int,
    cut: Trained | None = None,
) -> dict[str, Any]:
    """Times, parameters and losses of networks of ours and of their reference.

    Args:
        baseline: the reference; runs in float32.
        networks: ours by name.
        same: names of those that have the reference's weights.
        batches: for the losses, in turns.
        repeats: timed steps.
        steps: of the losses.
        cut: the reference without what it computes and does not use, if there is such a thing; timed as well.
    """
    precisions = {"float32": False, "bfloat16": True} if low_precision() else {"float32": False}
    losses = baseline.curve(False, batches, steps)
    curves = {
        (name, precision): network.curve(low, batches, steps)
        for name, network in networks.items()
        for precision, low in precisions.items()
    }
    plains = {"reference": baseline} | ({} if cut is None else {"cut_reference": cut})
    ways = {name: plain.stepper(False) for name, plain in plains.items()}
    for name, network in networks.items():
        ways |= {f"{name} {precision}": network.stepper(low) for precision, low in precisions.items()}
    seconds = fastest(ways, warm=batches[-1], work=batches[-1], repeats=repeats)
    results = {}
    for name, network in networks.items():
        high, own = curves[name, "float32"], {precision: seconds[f"{name} {precision}"] for precision in precisions}
        results[name] = {
            "parameters": {"ours": network.parameters(), **{key: value.parameters() for key, value in plains.items()}},
            "seconds_per_step": {**{key: seconds[key] for key in plains}, **own},
            **{f"ratio_to_{key}": {name: seconds[key] / value for name, value in own.items()} for key in plains},
            "losses": {
                "reference": losses if name in same else None,
                **{precision: curves[name, precision] for precision in precisions},
            },
            "largest_relative_difference_of_loss": {
                "float32_to_reference": difference(high, losses) if name in same else None,
                "bfloat16_to_float32": difference(curves[name, "bfloat16"], high) if "bfloat16" in precisions else None,
            },
        }
    return results


def low_precision() -> bool:
    """Whether the processor multiplies bfloat16."""
    return bool({"amx_bf16", "avx512_bf16"} & set(machine()["flags"]))


def difference(losses: Sequence[float], expected: Sequence[float]) -> float:
    """Largest, as a share of what is expected."""
    return max(abs(loss - other) / abs(other) for loss, other in zip(losses, expected, strict=True))


def epoch(model: str, encoder: str) -> dict[str, Any]:
    """Seconds of the second epoch of a recipe, and what of them is waiting for data."""
    options = build_parser(model).parse_args(["--config", recipe(model), "--model.encoder", encoder])
    clock = Clock()
    trainer = {
        **options.trainer.as_dict(),
        "max_epochs": 2,
        "callbacks": [clock],
        "profiler": clock.profiler,
        "enable_progress_bar": False,
    }
    plan = Run(model, model_arguments(options), trainer, options.seed_everything, options.monitor, options.patience)
    data = SERDataModule(**{**options.data.as_dict(), "speeds": []}, seed=options.seed_everything)
    with tempfile.TemporaryDirectory() as folder:
        run_fold(plan, data, Path(folder))
    first, second = clock.epochs
    return {
        "clips": len(data.split.train),
        "batch_size": data.batch_size,
        "steps": second.steps,
        "seconds_of_first_epoch": first.seconds,
        "seconds_of_second_epoch": second.seconds,
        "seconds_of_its_training": second.training,
        "share_waiting_for_batches": second.waiting / second.training,
        "share_reading_features": second.reading / second.training,
    }


@dataclass
class Epoch:
    """Seconds of one epoch.

    Attributes:
        begun: when, by the clock.
        seconds: of all of it, up to the next one or the end of training.
        training: of its steps and of what lies between them.
        waiting: of that for the loader to give the next batch, by Lightning's profiler.
        reading: of getting features that are kept, within the steps.
        steps: how many.
    """

    begun: float
    seconds: float = 0.0
    training: float = 0.0
    waiting: float = 0.0
    reading: float = 0.0
    steps: int = 0


class Clock(Callback):
    """Times the epochs of a training; ``profiler`` is for its trainer."""

    WAITING = "[_TrainingEpochLoop].train_dataloader_next"  # what the profiler calls it

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.profiler = SimpleProfiler()
        self.idle_since = 0.0
        self.stepping = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put a watch on what gets kept features."""
        assert isinstance(pl_module, SERModule)
        for name in ("encode", "frames"):
            setattr(pl_module, name, self.watched(getattr(pl_module, name)))

    def watched(self, get: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
        """``get``, with its time in the epoch's ``reading`` when a training step calls it."""

        def timed(batch: Batch) -> Any:
            started = time.perf_counter()
            result = get(batch)
            if self.stepping:
                self.epochs[-1].reading += time.perf_counter() - started
            return result

        return timed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End one epoch, begin the next."""
        self._end()
        self.epochs.append(Epoch(self.idle_since))

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        self.epochs[-1].waiting += self.profiler.recorded_durations[self.WAITING][-1]
        self.stepping = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The next one is waited for, unless it was the last."""
        self.stepping, self.idle_since = False, time.perf_counter()
        self.epochs[-1].steps += 1
        self.epochs[-1].training = self.idle_since - self.epochs[-1].begun

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the last epoch."""
        self._end()

    def _end(self) -> None:
        self.idle_since = time.perf_counter()
        if self.epochs:
            self.epochs[-1].seconds = self.idle_since - self.epochs[-1].begun


def memory(model: str, encoder: str) -> dict[str, Any]:
    """Largest resident size of a whole run in a process of its own."""
    command = [str(Path(sys.executable).with_name("ser-zoo")), "fit", "--config", recipe(model), "--model.encoder", encoder]
    command += ["--folds=all"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--run_dir", f"{folder}/run", "--trainer.enable_progress_bar=false"]
        size = peak_memory(command, {"SER_ZOO_CACHE": f"{folder}/cache"})
        rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("run/fold-*/result.json"))]
    return {"folds": len(rows), "epochs": sum(row["selection"]["epochs"] for row in rows), "peak_gib": size / 2**30}


def peak_memory(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Bytes of the largest resident size that a command reaches.

    Raises:
        subprocess.CalledProcessError: it fails.
    """
    # A process begins with the size of the one that starts it, which must be a small one.
    watched = [sys.executable, "-c", WATCH, *command]
    done = subprocess.run(watched, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)  # bytes on macOS, KiB on Linux


def show_step(models: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the times and the agreement."""
    print(f"\nstep: {CLIPS} clips of {SAMPLES / RATE:.0f} s")
    for name, result in models.items():
        counts = " and ".join(f"{count / 1e6:.1f} million ({who})" for who, count in result["parameters"].items())
        print(f"\n  {name}: parameters {counts}")
        for way, seconds in result["seconds_per_step"].items():
            ratios = [result[key].get(way) for key in ("ratio_to_reference", "ratio_to_cut_reference") if key in result]
            print(f"    {way:13} {seconds:7.3f} s a step   " + "   ".join(f"{ratio:5.2f} x" for ratio in ratios if ratio))
        for what, value in result["largest_relative_difference_of_loss"].items():
            if value is not None:
                print(f"    loss, {what.replace('_', ' ')}: differs by at most {value:.1e} of it")


def show_epoch(models: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the seconds and the shares."""
    print("\nepoch: RAVDESS, fold 1, second epoch")
    for name, result in models.items():
        print(
            f"  {name:12} {result['seconds_of_second_epoch']:6.1f} s; of its training waiting for batches "
            f"{result['share_waiting_for_batches']:.2%}, reading features {result['share_reading_features']:.2%}"
        )


def show_memory(models: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the sizes."""
    print("\nmemory: RAVDESS, largest resident size")
    for name, result in models.items():
        print(f"  {name:12} {result['peak_gib']:6.2f} GiB in {result['folds']} folds, {result['epochs']} epochs")


SHOW = {"step": show_step, "epoch": show_epoch, "memory": show_memory}

if __name__ == "__main__":
    in_words(main)
