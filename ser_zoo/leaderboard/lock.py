"""Who works on a cell: a file per cell, so that two commands on the same results never run the same one twice.

A lock tells host and process of its holder, and the training that the holder has started. On the same host it is abandoned when
that process is gone; a process number that was given anew does not count, because the time of its start differs. On another
host nothing can be asked, so a holder touches its lock while it works, and one that was not touched for long is abandoned.
A training may outlive the command that started it; whoever takes the lock over waits for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ser_zoo.cache import atomic_path

BEAT = 30.0  # seconds between two touches
SILENCE = 900.0  # seconds without a touch after which a holder on another host is taken for dead
TAKING = 60.0  # seconds after which a take-over, a matter of milliseconds, is taken for dead itself


@dataclass(frozen=True)
class Process:
    """A process of this host.

    Attributes:
        pid: its number.
        started: when, in ticks of the kernel since it was booted; None where that cannot be asked (no ``/proc``).
    """

    pid: int
    started: int | None

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now."""
        found = _status(pid)
        return cls(pid, None if found is None else found[1])

    @property
    def alive(self) -> bool:
        """Whether it still runs; one that has ended and is waited for by nobody does not."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        now = _status(self.pid)
        return now is None or (now[0] != "Z" and self.started in (None, now[1]))


@dataclass(frozen=True)
class Holder:
    """What a lock says.

    Attributes:
        host: of the holder.
        process: the holder.
        run: of one command, also where its work is spread over processes.
        training: what the holder has started and waits for.
    """

    host: str
    process: Process
    run: str
    training: Process | None = None

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.host}"


class Lock:
    """The lock of a cell, once ``take`` has given it."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder = path, holder
        self._touched = time.monotonic()

    def note(self, training: Process) -> None:
        """Tell others which training belongs to it."""
        self.holder = replace(self.holder, training=training)
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(asdict(self.holder)), encoding="utf-8")

    def touch(self) -> None:
        """Tell others that the holder is alive; at most every ``BEAT`` seconds."""
        if time.monotonic() - self._touched > BEAT:
            os.utime(self.path)
            self._touched = time.monotonic()

    def release(self) -> None:
        """Let others take it."""
        if read(self.path) == self.holder:  # and was not taken for dead
            self.path.unlink()


def take(path: Path, run: str) -> Lock | Holder:
    """Take a lock that is free or abandoned.

    Args:
        path: of the lock; its folder is created.
        run: of this command. What another process of the same command has held is abandoned, as nobody but the scheduler that
            has seen it die gives its work to somebody else.

    Returns:
        The lock, whose ``holder.training`` is one that has outlived its holder; or who holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = Holder(socket.gethostname(), Process.of(os.getpid()), run)
    while not _create(path, mine):
        before = read(path)
        if before is None:  # released in between
            continue
        if not _abandoned(path, before, run):
            return before
        # Of several that see the same dead holder one may remove its lock, or the last would remove that of the first.
        taking = path.with_suffix(".taking")
        if _age(taking) > TAKING:
            taking.unlink(missing_ok=True)
        try:
            os.close(os.open(taking, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return before
        try:
            if read(path) == before:
                path.unlink()
                orphan = before.training if before.host == mine.host else None
                mine = replace(mine, training=orphan if orphan is not None and orphan.alive else None)
        finally:
            taking.unlink(missing_ok=True)
    return Lock(path, mine)


def read(path: Path) -> Holder | None:
    """Who holds a lock; None where there is none. The holder of a damaged one has no host."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        training = told["training"]
        return Holder(told["host"], Process(**told["process"]), told["run"], None if training is None else Process(**training))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Holder("", Process(0, None), "")


def _create(path: Path, holder: Holder) -> bool:
    # A link appears whole or not at all, and never in place of another file.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.stem}.", suffix=".tmp") as file:
        json.dump(asdict(holder), file)
        file.flush()
        try:
            os.link(file.name, path)
        except FileExistsError:
            return False
    return True


def _abandoned(path: Path, holder: Holder, run: str) -> bool:
    if holder.host == socket.gethostname():
        return not holder.process.alive
    return holder.run == run or _age(path) > SILENCE


def _age(path: Path) -> float:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0


def _status(pid: int) -> tuple[str, int] | None:
    """State and time of start from ``/proc/PID/stat``, the third and 22nd of its fields (man 5 proc)."""
    try:
        # The second field is the program's name in parentheses, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])
