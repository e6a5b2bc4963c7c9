"""The command line: dispatch of the verbs. Each verb's module is imported only when it is called.

Nothing here or in the listing verbs imports torch or lightning, so that help and listings answer at once.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ser_zoo import __version__
from ser_zoo.cli.tables import NAMES
from ser_zoo.errors import InterruptedRunError, SERZooError, SERZooWarning, UnknownNameError
from ser_zoo.registry import lookup

VERBS = {
    "fit": "train on a fold (or all folds), test the best checkpoint, write the result row",
    "search": "search settings on validation speakers, and write the best as a recipe",
    "test": "test a checkpoint on the test speakers of its fold",
    "robustness": "test a checkpoint on its test speakers through noise, rooms, telephones and coders",
    "predict": "label and probabilities of recordings",
    "profile": "parameters, arithmetic, latency and memory of a model",
    "models": "list the architectures, or describe one",
    "corpora": "list the corpora, or describe one",
    "prepare": "download or convert a corpus, verify it and write its manifest",
    "audit": "prove that a protocol, or somebody else's split, does not leak",
    "leaderboard": "run a grid of models, corpora, protocols and seeds; render reports of its rows",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_MEMORY = re.compile(r"can't allocate memory|out of memory|not enough memory", re.IGNORECASE)  # in the words of torch
HELP = """\
usage: ser-zoo VERB [OPTIONS]

Speech emotion recognition: fusion architectures compared under speaker-independent protocols.

verbs:
{verbs}

Start with:  ser-zoo fit --model cnn_attn --data demo
Help:        ser-zoo VERB --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv: the arguments after the program's name; None takes those of the process.

    Returns:
        The exit status: 0; 1 for a mistake that is explained on stderr; 2 for a wrong call; 130 after Ctrl-C, or where SIGTERM
        has ended a training or a test; 141, as of a tool that the signal ends, where the reader of our output (head, less) has
        closed it.
    """
    _open_closed()
    try:
        try:
            return _run(argv)
        finally:
            print(end="", flush=True)  # Python's own flush at the end could only complain
    except BrokenPipeError:
        _print_no_more(1, 2)
        return 141
    except OSError as error:
        if error.errno not in FULL:
            raise
        # What fails in the middle of a file does not name it; it may be the one that our output goes to.
        reason = f"Cannot write: {error.strerror}. Expected room for what is written; make some, and repeat the command."
        print(f"ser-zoo: error: {reason}", file=sys.stderr)
        try:
            print(end="", flush=True)
        except OSError:
            _print_no_more(1)
        return 1


def _open_closed() -> None:
    """Let what was closed (``>&-``) lead nowhere: a file could get its number, and somebody's output with it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the process ends


def _print_no_more(*descriptors: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    text = HELP.format(verbs="\n".join(f"  {verb:<13}{summary}" for verb, summary in VERBS.items()))
    if not arguments or arguments[0] in ("-h", "--help"):
        print(text)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"ser-zoo {__version__}")
        return 0
    verb = arguments[0]
    try:
        lookup(VERBS, verb, "verb")
    except UnknownNameError as error:
        print(f"ser-zoo: {error}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=NAMES)
    with warnings.catch_warnings():
        # Each once, whichever line of code notices it again, and without that line.
        warnings.simplefilter("always", SERZooWarning)
        shown, told = warnings.showwarning, set[str]()

        def tell(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, SERZooWarning):
                shown(message, category, filename, lineno, file, line)
            elif str(message) not in told:
                told.add(str(message))
                print(f"ser-zoo: warning: {message}", file=sys.stderr)

        warnings.showwarning = tell
        try:
            status: int = importlib.import_module(f"ser_zoo.cli.{verb}").run(arguments[1:])
            return status
        except SERZooError as error:
            print(f"ser-zoo: error: {error}", file=sys.stderr)
            return 130 if isinstance(error, InterruptedRunError) else 1
        except KeyboardInterrupt:
            print("ser-zoo: interrupted", file=sys.stderr)
            return 130
        except (MemoryError, RuntimeError) as error:
            if (reason := _explained(error)) is None:
                raise
            print(f"ser-zoo: error: {reason}", file=sys.stderr)
            return 1
        except OSError as error:  # a folder that may not be written to
            if error.filename is None:  # nothing that the user named, such as the pipe of `main`
                raise
            reason = f"Cannot use {error.filename}: {error.strerror}. Expected a place that can be read and written."
            print(f"ser-zoo: error: {reason}", file=sys.stderr)
            return 1


def _explained(error: Exception) -> str | None:
    """What the user can do about an error that Python or torch has no class of its own for; None where that is nothing."""
    told = str(error)
    if isinstance(error, MemoryError) or NO_MEMORY.search(told):
        lack = told or "of Python"
        return f"Not enough memory here ({lack}). Expected room for the network and a batch; make them smaller."
    if "home directory" in told:  # Path.expanduser
        return "A path begins with ~ and a name that no user has. Expected ~/ for your own folder, or a path without it."
    return None
