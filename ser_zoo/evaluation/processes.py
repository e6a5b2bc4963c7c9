"""The processes of one run, one for each device: which of them is the first, who has started them, and how they end."""

from __future__ import annotations

import os
import threading
import time

import torch.distributed
from lightning.pytorch.utilities import rank_zero_only

FIRST_VARIABLE = "SER_ZOO_FIRST_PROCESS"  # tells the processes that Lightning starts the number of the first
SECONDS_OF_WATCH = 2.0  # between two looks whether the first is there, which cost nothing


def further() -> bool:
    """Whether this is another process than the first one of a run; known before there is a trainer."""
    # Lightning's rank heeds torchrun and srun; without them a further node's own first process has that of the node alone.
    return bool(vars(rank_zero_only)["rank"] > 0) or int(os.environ.get("NODE_RANK", "0")) > 0


def launched() -> bool:
    """Whether torchrun or srun has started several processes, one for each device.

    Not SLURM_NTASKS, which a command in the script of a job has too that has asked for several tasks.
    """
    return bool({"RANK", "LOCAL_RANK"} & os.environ.keys()) or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def end_with_first() -> None:
    """In the first process, be known to those that Lightning will start; in one of them, end when the first is gone.

    However the first has ended: without this they would wait for it up to half an hour, and hold the memory of their GPUs.
    """
    if not further():
        os.environ[FIRST_VARIABLE] = str(os.getpid())
    elif first := int(os.environ.get(FIRST_VARIABLE, "0")):  # torchrun and srun look after theirs themselves
        threading.Thread(target=_watch, args=(first,), daemon=True).start()


def _watch(first: int) -> None:
    while os.getppid() == first:
        time.sleep(SECONDS_OF_WATCH)
    os._exit(1)  # the main thread may wait in a call that no signal ends


def part_processes() -> None:
    """End the group of processes that trained together; nothing where there is none.

    Lightning does so for GPUs alone. On a CPU a group that outlives the interpreter now and then aborts a process that is done:
    a thread of gloo frees its last tensors when there is no interpreter any more (pytorch issue 190489).
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
