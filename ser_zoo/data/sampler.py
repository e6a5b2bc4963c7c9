"""Batches of utterances of similar length, in an order that a seed fixes, over any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch.distributed
from torch.utils.data import DistributedSampler

BUCKET = 32  # batches that are sorted by length together; larger means less padding and less variety
JITTER = 0.2  # by which share lengths are changed for that sorting, so that the same clips do not always meet

Order = np.ndarray[tuple[int], np.dtype[np.int64]]


class BucketSampler(DistributedSampler[tuple[int, list[int]]]):
    """Yields ``(epoch, rows)`` per batch, for a dataset that makes the whole batch.

    A ``DistributedSampler``, because Lightning leaves those alone and tells them the epoch. It differs from torch's in
    evaluation: no row is repeated to make the processes' shares equal, so that nothing is counted twice.

    Args:
        lengths: of each row in samples.
        batch_size: rows per batch; the last one may be smaller. In evaluation at most a process's share of the rows.
        shuffle: new order each epoch; otherwise longest first, always the same.
        seed: of the order; epoch e of seed s is the same in every run.
        classes: of each row; where shuffled, an epoch of as many rows as there are has each class equally often, rows of
            frequent classes being left out and those of rare ones repeated. None takes every row once. The k-th repetition of
            row r is given as r + k * (number of rows), so that it can be augmented in another way.
        num_replicas: processes; None asks torch.distributed.
        rank: of this process; None asks torch.distributed.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        classes: Sequence[int] | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.lengths = np.asarray(lengths)
        self.shuffle = shuffle
        self.seed = seed
        self.classes = None if classes is None else np.asarray(classes)
        self.epoch = 0
        self.num_replicas = num_replicas or (torch.distributed.get_world_size() if distributed else 1)
        self.rank = rank if rank is not None else (torch.distributed.get_rank() if distributed else 0)
        # In evaluation no batch is made twice, so that few rows are cut into smaller ones: every process needs one.
        self.batch_size = batch_size if shuffle else max(1, min(batch_size, len(lengths) // self.num_replicas))

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        batches = self._shuffled() if self.shuffle else self._cut(np.argsort(-self.lengths, kind="stable"))
        for batch in batches[self.rank :: self.num_replicas]:
            yield self.epoch, batch

    def __len__(self) -> int:
        batches = -(-len(self.lengths) // self.batch_size)
        if self.shuffle:  # every process makes the same number of steps, or gradient exchange would hang
            return -(-batches // self.num_replicas)
        return len(range(self.rank, batches, self.num_replicas))

    def _shuffled(self) -> list[list[int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths)) if self.classes is None else self._balanced(self.classes, generator)
        span = self.batch_size * BUCKET
        buckets = [order[start : start + span] for start in range(0, len(order), span)]
        jittered = self.lengths * generator.uniform(1 - JITTER, 1 + JITTER, len(self.lengths))
        # Only the very last batch may be short: buckets are whole multiples of the batch size.
        batches = [
            batch
            for bucket in buckets
            for batch in self._cut(bucket[np.argsort(jittered[bucket % len(jittered)], kind="stable")])
        ]
        batches = [batches[index] for index in generator.permutation(len(batches))]
        surplus = -len(batches) % self.num_replicas
        return batches + [batches[index % len(batches)] for index in range(surplus)]

    def _balanced(self, classes: Order, generator: np.random.Generator) -> Order:
        count, present = len(classes), np.unique(classes)
        quotas = np.full(len(present), count // len(present))
        quotas[generator.permutation(len(present))[: count % len(present)]] += 1
        chosen = []
        for label, quota in zip(present, quotas, strict=True):
            rows = np.flatnonzero(classes == label)
            rounds = [generator.permutation(rows) + number * count for number in range(-(-quota // len(rows)))]
            chosen.append(np.concatenate(rounds)[:quota])
        return generator.permutation(np.concatenate(chosen))

    def _cut(self, order: Order) -> list[list[int]]:
        return [order[start : start + self.batch_size].tolist() for start in range(0, len(order), self.batch_size)]
