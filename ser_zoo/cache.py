"""Where what can be computed again is kept, how files are written so that they read back whole, and a lock."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ser_zoo.errors import SERZooError, SERZooWarning

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of file systems, some of which clusters share


def cache_root() -> Path:
    """The folder of the caches, which is not created here.

    It is ``$SER_ZOO_CACHE``, else ``$XDG_CACHE_HOME/ser_zoo``, else ``~/.cache/ser_zoo``.

    Raises:
        SERZooError: the user has no home, as in a container that runs under any number, and neither variable names a folder.
    """
    if chosen := os.environ.get("SER_ZOO_CACHE"):
        return Path(chosen).expanduser()
    # The XDG specification says that an empty or relative value is to be ignored.
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "ser_zoo"
    except RuntimeError as error:
        raise SERZooError(
            "This user has no home folder, where things are kept that can be computed again. Set SER_ZOO_CACHE to a folder "
            "that can be written to."
        ) from error


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its name when the block ends well.

    Readers see the old file or the whole new one, never a part; of two writers the later one wins. A writer
    that is killed leaves only a ``.*.tmp`` file. There is no fsync: after a power cut the file may be
    damaged.

    Args:
        target: the file to write; its folder is created.

    Yields:
        Where to write: same folder, same suffix (some writers choose the format by it).
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:12]}.tmp{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    r"""Write rows whose lines end with ``\n``, and read back as they are.

    >>> file = io.StringIO()
    >>> write_csv(file, [("a\r", 1)])
    >>> file.getvalue()
    '"a\r",1\n'

    Args:
        file: opened with ``newline=""``.
        rows: of cells.
    """
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(row)  # of line breaks it puts only those in quotes that end its lines
        file.write(line.getvalue().removesuffix("\r\n") + "\n")


@contextmanager
def alone(lock: Path, busy: Exception, seconds: float = 0.0, required: bool = True) -> Iterator[None]:
    """Keep other processes away while the block runs; the system frees the lock when this process ends, however it ends.

    Args:
        lock: a file that stands for what nobody else may touch; its folder is created, and it is removed at the end.
        busy: what is raised where another process has the lock.
        seconds: wait so long for it first.
        required: whether a file system without locks is an error; else the block runs all the same, with a warning.

    Raises:
        OSError: the lock cannot be made there.
    """
    from filelock import FileLock, Timeout  # 30 ms, which listings need not wait for

    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=seconds)
    except Timeout as error:
        raise busy from error
    except OSError as error:  # of a file system without locks it names no file
        error.filename = error.filename or str(lock)
        if required or error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"The file system of {lock.parent} has no locks ({error.strerror}): nothing keeps another command away meanwhile.",
            SERZooWarning,
            stacklevel=2,
        )
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps what is open
            lock.unlink()
        held.release()


def no_room(what: str, folder: Path, error: Exception) -> str:
    """What to tell the user where ``what`` (``Features``) cannot be written to a ``folder`` of the cache, and why."""
    return (
        f"{what} cannot be written to {folder}: {error}. Free some space there, or set SER_ZOO_CACHE to another folder. "
        "What was written before is kept."
    )
