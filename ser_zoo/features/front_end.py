"""What a network reads of a waveform before its first trained parameter, computed once per utterance and kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.features.spectral import Frames

KEPT_BYTES = 2 * 2**30  # of one front end; RAVDESS takes 0.1 GiB of MFCC and 0.5 GiB of a 200-band spectrogram at 100 frames/s


class FrontEnd(nn.Module):
    """One or several features of the same clips, none with a trained parameter.

    Args:
        *extractors: modules that map (B, T) waveforms and (B,) samples to `Frames`. Their ``extra_repr`` must name every
            setting that decides a value: two front ends with the same ``repr`` share what is kept.
    """

    def __init__(self, *extractors: nn.Module) -> None:
        super().__init__()
        self.extractors = nn.ModuleList(extractors)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Frames, ...]:
        """(B, T) waveforms, (B,) samples -> one `Frames` per extractor."""
        return tuple(extractor(waveforms, lengths) for extractor in self.extractors)


class KeptFrames:
    """The output of one front end by utterance id, on the CPU.

    Each utterance is computed by itself, so that its values do not depend on the batch that asks first. What exceeds
    ``limit`` is computed each time.

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
        rows = [self._row(front_end, waveforms[i : i + 1], lengths[i : i + 1], id) for i, id in enumerate(ids)]
        frames = []
        for parts in zip(*rows, strict=True):
            counts = torch.tensor([len(part) for part in parts], device=waveforms.device)
            frames.append(Frames(pad_sequence(list(parts), batch_first=True).to(waveforms.device), counts))
        return tuple(frames)

    @torch.no_grad()
    def _row(self, front_end: FrontEnd, waveform: Tensor, length: Tensor, id: str) -> tuple[Tensor, ...]:
        """(T, D) values per extractor, valid frames only."""
        if id in self.rows:
            return self.rows[id]
        frames = front_end(waveform[:, : int(length)], length)
        row = tuple(values[0, : int(count)].cpu() for values, count in frames)
        size = sum(values.nbytes for values in row)
        if self.size + size <= self.limit:
            self.rows[id] = row
            self.size += size
        return row
