"""The feature store: what a frozen encoder makes of an utterance is computed once and kept.

Layout: ``<root>/<hash of the fingerprint>/fingerprint.json`` and ``shard-<uuid>.safetensors`` beside it. A
shard holds one tensor (L, T, D) per utterance id, and per id, in its metadata, the hash of the audio it was
computed from and a checksum of the tensor. Shards are written under a temporary name and never changed, so
that processes need no locks.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
import warnings
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ser_zoo.cache import atomic_path, cache_root, no_room
from ser_zoo.encoders.huggingface import EncoderOutput, SpeechEncoder
from ser_zoo.errors import EncoderError, SERZooWarning

# Bounds of a batch: clips shorter than BATCH_SECONDS are computed together as long as all of them with their padding are no
# longer, and the padding is no more than this share of it. Batches beyond some 1000 frames gain nothing on a processor.
BATCH_SECONDS, PADDING = 30.0, 0.05

# What is read of mapped files stays in a process's memory until they are mapped anew, which is done after so many bytes. That
# costs up to a tenth of a second, mostly page faults of what is read again.
MAPPED_BYTES = 2**28

# A shard is written as soon as one of these is reached; a killed extraction loses no more than that.
SHARD_UTTERANCES, SHARD_BYTES, SHARD_SECONDS = 256, 256 * 2**20, 60.0


class FeatureStore:
    """Features of utterances by id, shared by all folds, epochs, models and processes with one encoder.

    It takes L x D x 50 x 2 bytes per second of audio in float16 at 50 frames/s: 0.36 MB/s for all 7 states of
    Whisper base, 2.6 MB/s for all 25 of a large encoder with D = 1024 (IEMOCAP, 7 h of labelled speech: 9 GB
    and 64 GB). Choose layers to make it smaller.

    An utterance counts as known when both its id and its audio are those that were given to `fill`: changed
    audio under an old id is computed again, and so is everything when the encoder's fingerprint changes. Old
    shards stay until their folder is deleted.

    Utterances are computed in batches of similar length. Their company changes no more than the last digits
    (see `SpeechEncoder`).

    Single utterances in random order are read at several GB/s once they are in the page cache; the first
    reading in a process, which checks the checksum, takes two to three times as long.

    Args:
        encoder: frozen; it computes what is missing, on the device it is on.
        root: folder for the features of all encoders; None is ``features`` in the cache (`ser_zoo.cache`).

    Raises:
        EncoderError: the encoder is being fine-tuned, so that its features change with every step.

    Attributes:
        folder: where the features of this encoder are.
    """

    def __init__(self, encoder: SpeechEncoder, root: Path | None = None) -> None:
        if not encoder.frozen:
            raise EncoderError(
                f"The features of {encoder.source} cannot be stored: it is fine-tuned from block "
                f"{encoder.finetune_from}, so that they change with every step. Store them for a frozen "
                "encoder (finetune_from: null) only."
            )
        self.encoder = encoder
        self.fingerprint = encoder.fingerprint()
        key = hashlib.sha256(json.dumps(self.fingerprint, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = (cache_root() / "features" if root is None else Path(root)) / key
        self._contents: dict[str, str] = {}  # utterance id -> hash of its audio
        self._sources: dict[str, Mapping[str, np.ndarray]] = {}  # utterance id -> where its audio can be had again
        self._entries: dict[tuple[str, str], _Entry] = {}  # (utterance id, hash of audio) -> where its tensor is
        self._shards: dict[Path, _Shard] = {}
        self._mapped = 0  # bytes read since the shards were mapped
        self._checked: set[tuple[str, str]] = set()
        self.refresh()

    def fill(self, waveforms: Mapping[str, np.ndarray], rank: int = 0, world: int = 1, progress: bool = True) -> int:
        """Compute what is missing; afterwards the utterances can be had from `get`.

        Each process takes the batches in an order of its own and looks between shards for what others have
        written, so that several that are started on the same utterances share the work.

        Args:
            waveforms: utterance id -> (T,) float32 at the encoder's sample rate, as evaluation hears it. Each
                is asked for once to see what is missing, and once more to be computed.
            rank: with ``world`` processes, which one this is: it computes every ``world``-th utterance only.
                When all are done, call `refresh`.
            world: number of processes that share the utterances; all are given the same ones in the same
                order.
            progress: show a progress bar.

        Returns:
            How many were computed here.

        Raises:
            EncoderError: the features cannot be written.
        """
        self.refresh()
        mine = set(list(waveforms)[rank::world])
        lengths = {}
        quiet = None if progress else True  # None: only where a person looks
        for id in tqdm(waveforms, desc="checking", unit=" utterances", disable=quiet, leave=False, delay=2):
            waveform = _samples(waveforms, id)
            self._contents[id], self._sources[id] = _content(waveform), waveforms
            if id in mine and id not in self:
                lengths[id] = len(waveform)
        batches = self._batches(lengths)
        random.Random().shuffle(batches)  # not the global generator: the run's seed must not depend on the store
        pending: dict[str, tuple[str, Tensor]] = {}
        computed, samples = 0, 0
        begun = started = time.monotonic()
        with tqdm(total=len(lengths), desc="features", unit=" utterances", disable=quiet, leave=False) as bar:
            for batch in batches:
                ids = [id for id in batch if id not in self]  # others may have written it since
                features = self._compute([_samples(waveforms, id) for id in ids]) if ids else []
                pending |= {id: (self._contents[id], tensor) for id, tensor in zip(ids, features, strict=True)}
                computed += len(ids)
                samples += sum(lengths[id] for id in ids)
                rate = samples / self.encoder.sample_rate / (time.monotonic() - begun)
                bar.set_postfix_str(f"{rate:.1f} s of audio per s", refresh=False)
                bar.update(len(batch))
                if _full(pending, time.monotonic() - started):
                    self._write(pending)
                    pending, started = {}, time.monotonic()
        if pending:
            self._write(pending)
        return computed

    def refresh(self) -> None:
        """Take up the shards that other processes have written since."""
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            if path not in self._shards:
                self._open(path)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and (id, self._contents.get(id, "")) in self._entries

    def get(self, ids: Sequence[str], device: torch.device | str | None = None) -> EncoderOutput:
        """Features of B utterances, equal to what the encoder gives for each of them alone but for its last digits.

        Args:
            ids: of utterances that were given to `fill`.
            device: where the result shall be; None is the CPU.

        Returns:
            (B, L, T, D) float32, zero beyond each length, and (B,) frames.

        Raises:
            EncoderError: an id was not given to `fill`, or its features are not there.
        """
        tensors = [self._read(id) for id in ids]
        lengths = torch.tensor([t.shape[1] for t in tensors], device=device)
        shape = (len(ids), len(self.encoder.layers), max(t.shape[1] for t in tensors), self.encoder.width)
        states = torch.empty(shape, device=device)  # the largest tensor of a step, of which every value is written once
        for row, tensor in zip(states, tensors, strict=True):
            frames = tensor.shape[1]
            row[:, :frames], row[:, frames:] = tensor.to(states.device), 0.0
        return EncoderOutput(states, lengths)

    def _batches(self, lengths: Mapping[str, int]) -> list[list[str]]:
        """Ids by length in samples, cut into batches whose clips may be computed together."""
        batches: list[list[str]] = []
        most, valid = BATCH_SECONDS * self.encoder.sample_rate, 0
        for id in sorted(lengths, key=lambda id: (lengths[id], id)):
            length = lengths[id]
            padded = (len(batches[-1]) + 1) * length if batches else 0
            if 0 < padded <= most and padded - valid - length <= PADDING * padded:
                batches[-1].append(id)
                valid += length
            else:
                batches.append([id])
                valid = length
        return batches

    def _compute(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """(L, T, D) features of each utterance, on the CPU, in the dtype they are kept in."""
        device = next(self.encoder.parameters()).device
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        padded = np.zeros((len(waveforms), int(lengths.max())), dtype=np.float32)
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = waveform
        output = self.encoder.rounded(torch.from_numpy(padded).to(device), lengths.to(device))
        # Copies, because a shard cannot hold parts of one tensor.
        rows = zip(output.states.cpu(), output.lengths.tolist(), strict=True)
        return [row[:, :frames].clone(memory_format=torch.contiguous_format) for row, frames in rows]

    def _write(self, features: Mapping[str, tuple[str, Tensor]]) -> None:
        """Write one shard of id -> (hash of audio, tensor), and take up what others wrote meanwhile."""
        note = self.folder / "fingerprint.json"
        path = self.folder / f"shard-{uuid.uuid4().hex}.safetensors"
        metadata = {id: f"{content} {_checksum(tensor)}" for id, (content, tensor) in features.items()}
        try:
            if not note.is_file():
                with atomic_path(note) as temporary:
                    temporary.write_text(json.dumps(self.fingerprint, indent=2) + "\n", encoding="utf-8")
            with atomic_path(path) as temporary:
                save_file({id: tensor for id, (_, tensor) in features.items()}, temporary, metadata)
                # safetensors lets only the owner read; whoever may read the fingerprint may read the
                # features.
                temporary.chmod(note.stat().st_mode)
        except (OSError, SafetensorError) as error:
            raise EncoderError(no_room("Features", self.folder, error)) from error
        self.refresh()

    def _open(self, path: Path) -> None:
        """Enter a shard's utterances; a damaged shard is reported and removed instead."""
        shard = self._shards[path] = _Shard(path)
        try:
            metadata = shard.metadata()
        except FileNotFoundError:
            return  # another process found it damaged
        except (SafetensorError, OSError) as error:
            self._discard(path, str(error))
            return
        for id, value in metadata.items():
            content, _, checksum = value.partition(" ")
            self._entries.setdefault((id, content), _Entry(path, shard, checksum))

    def _read(self, id: str) -> Tensor:
        """(L, T, D) features of one utterance as they are kept, checked when read for the first time."""
        key = (id, self._contents.get(id, ""))
        entry = self._entries.get(key)
        if entry is None:
            known = "its features are not written yet" if id in self._contents else "it was not given to fill()"
            raise EncoderError(
                f"No features for utterance {id!r} in {self.folder}: {known}. Expected one of the "
                f"{len(self._contents)} utterances the store was filled with; fill it with this one first."
            )
        if self._mapped > MAPPED_BYTES:
            self._mapped = 0
            for shard in self._shards.values():
                shard.close()
        try:
            tensor = entry.shard.get_tensor(id)
        except (OSError, SafetensorError) as error:  # removed or damaged since it was mapped before
            lost = self._discard(entry.path, str(error))
        else:
            self._mapped += tensor.nbytes
            if key in self._checked:
                return tensor
            if _checksum(tensor) == entry.checksum:
                self._checked.add(key)
                return tensor
            lost = self._discard(entry.path, f"the features of {id!r} have another checksum than when they were written")
        self.fill({other: self._sources[other][other] for other in lost}, progress=False)
        return self._read(id)

    def _discard(self, path: Path, why: str) -> list[str]:
        """Forget and remove a damaged shard; the ids that have to be computed again."""
        warnings.warn(
            f"Damaged features in {path}: {why}. The file is removed and what it held is computed again.",
            SERZooWarning,
            stacklevel=3,
        )
        held = [key for key, entry in self._entries.items() if entry.path == path]
        for key in held:
            del self._entries[key]
            self._checked.discard(key)
        with suppress(OSError):  # in a store that cannot be written to it is only ignored
            path.unlink(missing_ok=True)
        return [id for id, content in held if self._contents.get(id) == content]


class _Shard:
    """A file of features, mapped into memory from the first use until it is closed, and again after that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None  # safetensors has no types

    def __getstate__(self) -> dict[str, Any]:
        """Without the file, which a copy or another process opens for itself."""
        return {**self.__dict__, "_file": None}

    def metadata(self) -> dict[str, str]:
        """Id -> hash of audio and checksum, of every tensor.

        Raises:
            OSError: the file is gone.
            SafetensorError: it is damaged.
        """
        file = self._open()
        metadata: dict[str, str] = file.metadata() or {}
        if set(file.keys()) != set(metadata):
            raise SafetensorError("its tensors are not those that its metadata lists")
        return metadata

    def get_tensor(self, id: str) -> Tensor:
        """A tensor whose memory is the file's; the errors of ``metadata``."""
        tensor: Tensor = self._open().get_tensor(id)
        return tensor

    def close(self) -> None:
        """Give the memory back once no tensor of it is used."""
        self._file = None

    def _open(self) -> Any:
        if self._file is None:
            self._file = safe_open(self.path, framework="pt")
        return self._file


class _Entry(NamedTuple):
    """Where an utterance's tensor is."""

    path: Path
    shard: _Shard
    checksum: str


def _full(pending: Mapping[str, tuple[str, Tensor]], seconds: float) -> bool:
    """Whether it is time to write a shard."""
    size = sum(tensor.nbytes for _, tensor in pending.values())
    return len(pending) >= SHARD_UTTERANCES or size >= SHARD_BYTES or seconds >= SHARD_SECONDS


def _samples(waveforms: Mapping[str, np.ndarray], id: str) -> np.ndarray:
    """An utterance's samples, one after the other in memory."""
    return np.ascontiguousarray(waveforms[id], dtype=np.float32)


def _content(waveform: np.ndarray) -> str:
    """Hash of an utterance's samples."""
    return hashlib.blake2b(waveform.data, digest_size=16).hexdigest()


def _checksum(tensor: Tensor) -> str:
    """CRC-32 of a tensor's bytes."""
    return f"{zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().data):08x}"
