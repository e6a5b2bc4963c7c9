"""What a model costs: parameters, arithmetic, latency and memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ser_zoo.data import Batch
from ser_zoo.models.base import SERModule

WARM_UP = 3  # calls before the first that counts: buffers are allocated and kernels chosen in them


def profile(model: SERModule, seconds: Sequence[float] = (1.0, 3.0, 10.0), repeats: int = 20) -> dict[str, Any]:
    """Measure one clip at a time (batch 1) from waveform to logits, encoder included, on the device that the model is on.

    Multiply-accumulates are those of matrix products, convolutions, attention (its two matrix products over all pairs of
    frames, whatever the kernel and the mask) and recurrent layers, half of the floating point operations that torch's
    FlopCounterMode gives; Fourier transforms and pointwise operations are not counted. The input is noise: no architecture
    here takes another time for speech.

    Args:
        model: any architecture; it is put into evaluation mode.
        seconds: lengths of the clips.
        repeats: measured calls per length.

    Returns:
        ``model``, ``parameters`` (total, trained), ``device``, ``threads``, ``peak_memory_mib``, and in ``clips`` a row per
        length: ``seconds``, ``macs_per_second`` (of audio), ``p50_ms``, ``p95_ms``, ``real_time_factor`` (p50 per second of
        audio). Memory is what torch has allocated on a GPU, and elsewhere the largest resident size of the process so far,
        with Python and its libraries.
    """
    model.eval()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    rows = [_clip(model, length, repeats) for length in seconds]
    return {
        "model": model.name,
        "parameters": model.parameter_counts(),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "peak_memory_mib": round(_peak_memory(model.device) / 2**20, 1),
        "clips": rows,
    }


@torch.inference_mode()
def _clip(model: SERModule, seconds: float, repeats: int) -> dict[str, float]:
    samples = max(1, round(seconds * model.sample_rate))
    waveform = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
    lengths, labels = torch.tensor([samples]), torch.tensor([-1])
    batch = Batch(waveform.to(model.device), lengths.to(model.device), labels.to(model.device), ["noise"])
    for _ in range(WARM_UP):
        model(batch)
    times = sorted(_timed(model, batch) for _ in range(repeats))
    p50 = statistics.median(times)
    return {
        "seconds": seconds,
        "macs_per_second": _multiply_accumulates(model, batch) / seconds,
        "p50_ms": 1e3 * p50,
        "p95_ms": 1e3 * times[round(0.95 * (len(times) - 1))],
        "real_time_factor": p50 / seconds,
    }


def _multiply_accumulates(model: SERModule, batch: Batch) -> float:
    """Of one call."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation for a whole transformer layer, which would count as nothing
    try:
        with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
            model(batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) / 2


def _timed(model: SERModule, batch: Batch) -> float:
    _synchronise(model.device)
    started = time.perf_counter()
    model(batch)
    _synchronise(model.device)
    return time.perf_counter() - started


def _synchronise(device: torch.device) -> None:
    if device.type != "cpu":  # a GPU returns before it is done
        torch.accelerator.synchronize(device)


def _peak_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS and KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _onednn_layer(frames: Sequence[int], ahead: Sequence[int], back: Sequence[int], *rest: Any, **named: Any) -> int:
    """One layer and direction of an LSTM on a CPU: (T, B, D) frames, (4 H, D) and (4 H, H) weights."""
    return 2 * prod(frames[:-1]) * (prod(ahead) + prod(back))


def _cudnn_layers(frames: Sequence[int], weights: Sequence[Sequence[int]], *rest: Any, **named: Any) -> int:
    """All layers and directions of an RNN on a GPU; its weights are the two-dimensional ones."""
    return 2 * prod(frames[:-1]) * sum(prod(weight) for weight in weights if len(weight) == 2)


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *rest: Any, **named: Any) -> int:
    """Scores and weighed sums of (B, heads, T, D) queries, keys and values."""
    return 2 * prod(query[:-1]) * (query[-1] * key[-2] + key[-2] * value[-1])


# FlopCounterMode does not know them and would count an LSTM, or attention anywhere but on NVIDIA's GPUs, as nothing.
FUSED = {
    torch.ops.aten.mkldnn_rnn_layer: _onednn_layer,
    torch.ops.aten._cudnn_rnn: _cudnn_layers,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_attention_math_for_mps: _attention,
    torch.ops.aten._scaled_dot_product_fused_attention_overrideable: _attention,
}
