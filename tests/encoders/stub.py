"""An encoder without weights, and a program that fills a store with it: transformers takes seconds to
import."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ser_zoo.encoders import EncoderOutput, FeatureStore, store


class StubEncoder(nn.Module):
    """Frames of 400 samples are the states."""

    frozen, layers, width, sample_rate, feature_dtype = True, (0,), 400, 16000, torch.float16

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.seconds = seconds  # that it takes for a clip
        self.batches: list[list[int]] = []  # lengths of the clips of each

    def rounded(self, waveforms: Tensor, lengths: Tensor) -> EncoderOutput:
        time.sleep(self.seconds * len(lengths))
        self.batches.append(lengths.tolist())
        return EncoderOutput(waveforms.unfold(1, 400, 400)[:, None].half(), lengths // 400)

    def fingerprint(self) -> dict[str, object]:
        return {"stub": 1}


def noise(ids: range) -> dict[str, np.ndarray]:
    """Waveforms by id."""
    return {str(n): np.random.default_rng(n).normal(0, 0.1, 4000).astype(np.float32) for n in ids}


if __name__ == "__main__":
    store.SHARD_UTTERANCES, store.BATCH_SECONDS = 1, 0.0
    features = FeatureStore(StubEncoder(seconds=0.02), Path(sys.argv[1]))
    waveforms = noise(range(int(sys.argv[2])))
    print("ready", flush=True)
    sys.stdin.readline()
    print(features.fill(waveforms, progress=False))
