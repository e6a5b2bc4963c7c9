"""What a network reads of a waveform before its first trained parameter, computed once per utterance and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.cache import cache_root
from ser_zoo.features.spectral import Frames
from ser_zoo.threads import single_threads

KEPT_BYTES = 2 * 2**30  # of one front end; RAVDESS takes 0.1 GiB of MFCC and 0.5 GiB of a 200-band spectrogram at 100 frames/s


class FrontEnd(nn.Module):
    """One or several features of the same clips, none with a trained parameter.

    Args:
        *extractors: modules that map (B, T) waveforms and (B,) samples to `Frames`. Their ``extra_repr`` must name every
            setting that decides a value: two front ends with the same ``repr`` share what is kept. One that takes longer
            than to read its output from a file says so by an attribute ``costly``.
    """

    def __init__(self, *extractors: nn.Module) -> None:
        super().__init__()
        self.extractors = nn.ModuleList(extractors)

    @property
    def costly(self) -> bool:
        """Whether what it gives is worth a file."""
        return any(getattr(extractor, "costly", False) for extractor in self.extractors)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Frames, ...]:
        """(B, T) waveforms, (B,) samples -> one `Frames` per extractor."""
        return tuple(extractor(waveforms, lengths) for extractor in self.extractors)


class KeptFrames:
    """The output of one front end by utterance id, on the CPU.

    Each utterance is computed by itself, so that its values do not depend on the batch that asks first. What exceeds
    ``limit`` is computed each time. What is costly is also kept in the cache on the disk (`ser_zoo.cache`), by the front end's
    ``repr`` and the samples, for other processes and later ones.

    Args:
        limit: bytes that are kept.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self.size = 0
        self.rows: dict[str, tuple[Tensor, ...]] = {}

    def get(self, front_end: FrontEnd, waveforms: Tensor, lengths: Tensor, ids: Sequence[str]) -> tuple[Frames, ...]:
        """What ``front_end`` gives for these clips.

        Args:
            front_end: always the same one, or one with the same ``repr``.
            waveforms: (B, T).
            lengths: (B,) samples.
            ids: B utterance ids.
        """
        rows = {id: self.rows[id] for id in ids if id in self.rows}
        missing = {id: (waveforms[i : i + 1], lengths[i : i + 1]) for i, id in enumerate(ids) if id not in rows}
        for id, row in zip(missing, _computed(front_end, list(missing.values())), strict=True):
            rows[id] = row
            size = sum(values.nbytes for values in row)
            if self.size + size <= self.limit:
                self.rows[id] = row
                self.size += size
        frames = []
        for parts in zip(*(rows[id] for id in ids), strict=True):
            counts = torch.tensor([len(part) for part in parts], device=waveforms.device)
            frames.append(Frames(pad_sequence(list(parts), batch_first=True).to(waveforms.device), counts))
        return tuple(frames)


def _computed(front_end: FrontEnd, clips: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, ...]]:
    """The rows of clips, each a waveform (1, T) and its samples (1,), on a processor several at a time."""
    row: Callable[[FrontEnd, Tensor, Tensor], tuple[Tensor, ...]] = _stored if front_end.costly else _row

    def compute(clip: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        return row(front_end, *clip)

    count = min(torch.get_num_threads(), len(clips))
    if count < 2 or clips[0][0].device.type != "cpu":
        return list(map(compute, clips))
    # One clip is too little work for several threads: most operations would stay in one, or wait for another.
    with single_threads(count) as pool:
        return list(pool.map(compute, clips))


@torch.no_grad()
def _row(front_end: FrontEnd, waveform: Tensor, length: Tensor) -> tuple[Tensor, ...]:
    """(T, D) values per extractor, valid frames only."""
    frames = front_end(waveform[:, : int(length)], length)
    return tuple(values[0, : int(count)].cpu() for values, count in frames)


def _stored(front_end: FrontEnd, waveform: Tensor, length: Tensor) -> tuple[Tensor, ...]:
    samples = waveform[0, : int(length)].cpu().numpy()
    return tuple(map(torch.from_numpy, _disk(cache_root() / "frames")(repr(front_end), samples, front_end)))


@cache
def _disk(folder: Path) -> Callable[[str, np.ndarray, FrontEnd], list[np.ndarray]]:
    import joblib

    stored: Any = joblib.Memory(folder, verbose=0).cache(_row_of_samples, ignore=["front_end"])
    return stored  # type: ignore[no-any-return]


def _row_of_samples(key: str, samples: np.ndarray, front_end: FrontEnd) -> list[np.ndarray]:
    """What is on the disk under ``key``, the front end's ``repr``, and the samples (T,)."""
    waveform = torch.from_numpy(np.array(samples))[None]  # a copy: joblib may hand on what cannot be written to
    return [values.numpy() for values in _row(front_end, waveform, torch.tensor([len(samples)]))]
