"""What a network reads of an utterance before its first trained parameter, computed once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.cache import atomic_path, cache_root, no_room
from ser_zoo.errors import SERZooError
from ser_zoo.features.spectral import Frames

Compute = Callable[[Sequence[int]], list[tuple[Tensor, ...]]]

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
    """Features by utterance id, on the CPU.

    What exceeds ``limit`` is computed each time.

    Args:
        limit: bytes that are kept.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self.size = 0
        self.rows: dict[str, tuple[Tensor, ...]] = {}

    def get(self, ids: Sequence[str], compute: Compute, device: torch.device | str = "cpu") -> tuple[Frames, ...]:
        """Features of B utterances.

        Args:
            ids: B utterance ids.
            compute: gives the rows of utterances, by their places in ``ids``, that are not kept: of each (T, ...) values per
                feature, valid frames only. They must not depend on which others are asked for.
            device: where the result shall be.

        Returns:
            (B, T, ...) values per feature, zero beyond each length.
        """
        rows = {id: self.rows[id] for id in ids if id in self.rows}
        missing = {id: place for place, id in enumerate(ids) if id not in rows}
        for id, row in zip(missing, compute(list(missing.values())) if missing else [], strict=True):
            rows[id] = row
            size = sum(values.nbytes for values in row)
            if self.size + size <= self.limit:
                self.rows[id] = row
                self.size += size
        frames = []
        for parts in zip(*(rows[id] for id in ids), strict=True):
            counts = torch.tensor([len(part) for part in parts], device=device)
            frames.append(Frames(pad_sequence(list(parts), batch_first=True).to(device), counts))
        return tuple(frames)


def rows_of(front_end: FrontEnd, waveforms: Tensor, lengths: Tensor, places: Sequence[int]) -> list[tuple[Tensor, ...]]:
    """What ``front_end`` gives for some clips of a batch, each by itself, so that it does not depend on the others.

    What is costly is also kept in the cache on the disk (`ser_zoo.cache`), by the front end's ``repr`` and the samples, for
    other processes and later ones.

    Args:
        front_end: always the same one, or one with the same ``repr``.
        waveforms: (B, T).
        lengths: (B,) samples.
        places: rows of these.

    Returns:
        Of each clip (T', D) values per extractor, on the CPU.

    Raises:
        SERZooError: what is costly cannot be written.
    """
    # Beside each other in threads of Python they would be no faster: operations are many and short, and wait for its lock.
    row = _stored if front_end.costly else _row
    return [row(front_end, waveforms[place : place + 1], lengths[place : place + 1]) for place in places]


@torch.no_grad()
def _row(front_end: FrontEnd, waveform: Tensor, length: Tensor) -> tuple[Tensor, ...]:
    """(T, D) values per extractor, valid frames only."""
    frames = front_end(waveform[:, : int(length)], length)
    return tuple(values[0, : int(count)].cpu() for values, count in frames)


def _stored(front_end: FrontEnd, waveform: Tensor, length: Tensor) -> tuple[Tensor, ...]:
    """What `_row` gives, from the file of these samples if there is one."""
    digest = hashlib.blake2b(repr(front_end).encode(), digest_size=16)
    digest.update(waveform[0, : int(length)].cpu().contiguous().numpy().data)
    file = cache_root() / "frames" / f"{digest.hexdigest()}.safetensors"
    try:
        rows = load_file(file)
    except (FileNotFoundError, SafetensorError):  # not there yet, or damaged by a power cut
        row = _row(front_end, waveform, length)
        try:
            with atomic_path(file) as temporary:
                save_file({str(place): values.contiguous() for place, values in enumerate(row)}, temporary)
        except (OSError, SafetensorError) as error:
            raise SERZooError(no_room("Features", file.parent, error)) from error
        return row
    return tuple(rows[str(place)] for place in range(len(rows)))
