"""Threads that work beside each other, each on a recording of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

THREADS = min(8, os.cpu_count() or 1)


@contextmanager
def single_threads(count: int = THREADS) -> Iterator[ThreadPoolExecutor]:
    """A pool of ``count`` threads in which torch computes every operation in that one thread.

    Otherwise each of them would start as many threads as there are cores.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # what was set in the pool also holds for every thread that is started after it
