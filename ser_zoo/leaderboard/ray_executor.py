"""Cells as tasks of Ray: on the processors of this machine, or on a cluster that shares its folders with it."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Generator, Sequence
from importlib.util import find_spec

from ser_zoo.errors import SERZooError
from ser_zoo.leaderboard.execute import TICK, Outcome, Settings, run_cell
from ser_zoo.leaderboard.grid import Cell

INSTALL = "pip install 'ser-zoo[ray]'"
PATIENCE = 10.0  # seconds in which a cluster must answer
STARTS = 3  # of a local cluster, whose parts Ray gives some seconds to begin, too few on a busy machine
RETRIES = 3  # of a cell whose worker dies; it goes on from the last epoch


def run_ray(
    cells: Sequence[Cell], settings: Settings, jobs: int, address: str | None, cpus: float, gpus: float
) -> Generator[Outcome | None]:
    """Run cells as Ray tasks.

    Args:
        cells: to be run.
        settings: of the command; the folders, like the recipes and corpora, must be the same on all nodes.
        jobs: how many at once on a cluster that is started here; a cluster with an address has a size of its own.
        address: of a running cluster (``auto``, ``HOST:6379``); None starts one on this machine.
        cpus: processors that a cell is given.
        gpus: devices that a cell is given; 0 also hides them from it.

    Yields:
        As ``execute.run_local``.

    Raises:
        SERZooError: Ray is not installed, no cluster can be joined or started, or no node has what a cell asks for.
    """
    if find_spec("ray") is None:
        raise SERZooError(f"--executor ray needs the package ray, which is not installed. Install it: {INSTALL}")
    import ray

    answer = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers of every cluster
    try:
        _connect(jobs, address, cpus)
    except Exception as error:  # Ray raises bare ones
        place = f"joined at --address {address}" if address else "started on this machine"
        raise SERZooError(
            f"A Ray cluster cannot be {place}: {error}. Expected --address auto, or HOST:PORT as ray start has told; without "
            "--address one is started here."
        ) from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, answer)  # Ray's own aborts the program
        if not any(
            node["Alive"] and node["Resources"].get("CPU", 0) >= cpus and node["Resources"].get("GPU", 0) >= gpus
            for node in ray.nodes()  # type: ignore[no-untyped-call]
        ):
            raise SERZooError(f"No node of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs, so that nothing could run.")
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_task)
        names = {task.remote(cell, settings): cell.id for cell in cells}
        waiting = list(names)
        try:
            while waiting:
                done, waiting = ray.wait(waiting, timeout=TICK)
                for reference in done:
                    try:
                        outcome: Outcome = ray.get(reference)
                    except ray.exceptions.RayError as error:  # its worker has died once too often
                        outcome = Outcome(names[reference], "failed", str(error).strip())
                    yield outcome
                yield None
        finally:
            for reference in waiting:
                ray.cancel(reference)  # raises KeyboardInterrupt in the task, which ends the training
            if waiting:
                ray.wait(waiting, num_returns=len(waiting), timeout=30)
    finally:
        ray.shutdown()


def _task(cell: Cell, settings: Settings) -> Outcome:
    # What a shell starts in the background ignores SIGINT, and Ray's workers below it do; then a cancelled task hears nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run_cell(cell, settings)


def _connect(jobs: int, address: str | None, cpus: float) -> None:
    import ray

    if address:
        if ":" in address:  # where nobody answers Ray waits for minutes
            host, _, port = address.rpartition("/")[2].rpartition(":")
            socket.create_connection((host, int(port)), timeout=PATIENCE).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        return
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                "local",
                num_cpus=max(1, math.ceil(jobs * cpus)),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception:
            ray.shutdown()
            if not left:
                raise
