"""Tables and JSON on stdout, the same for every verb that lists something."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WIDE = 400  # columns for output that goes to a file or a pipe, where nothing should be cut
NAMES = "backslashreplace"  # of file names that are not UTF-8; JSON reads what it gives as the name again


def add_format(parser: argparse.ArgumentParser, formats: Sequence[str] = ("table", "json")) -> None:
    """Add ``--format``."""
    parser.add_argument("--format", choices=formats, default="table", help="of the output (default: table)")


def output_file(text: str) -> Path:
    """The value of ``--output``: the name of a file.

    Raises:
        argparse.ArgumentTypeError: it is a folder, which is better said before the work than after it.
    """
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; expected the name of a file")
    return Path(text)


def show(rows: Sequence[Mapping[str, Any]], form: str, title: str | None = None) -> None:
    """Print rows with equal keys as a table or as JSON."""
    if form == "json":
        print(json.dumps(list(rows), indent=2, ensure_ascii=False))
    else:
        table(rows, title)


def table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Print rows with equal keys as a table, under a title; numbers stand to the right."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table()
    for key in rows[0] if rows else []:
        number = isinstance(rows[0][key], int | float) and not isinstance(rows[0][key], bool)
        name = key if "." in key else key.replace("_", " ")  # an argument's name is what somebody types
        drawn.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(_text(value) for value in row.values()))
    if title:
        print(title)
    try:
        # Brackets and colons in names are no markup.
        Console(width=None if sys.stdout.isatty() else WIDE, markup=False, emoji=False).print(drawn)
    except SystemExit as error:  # rich's answer to a reader that has closed our output
        raise BrokenPipeError from error


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


class Live(logging.Handler):
    """Prints to whatever is stderr at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message alone."""
        print(self.format(record), file=sys.stderr)


def quiet_lightning() -> None:
    """Print this package's notices, and not Lightning's; its warnings stay, but for those that do not apply here."""
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    own = logging.getLogger("ser_zoo")
    own.setLevel(logging.INFO)
    if not own.handlers:
        own.addHandler(Live())
    # Batches are made in the main process on purpose: the waveforms are in memory, and copying them to workers is slower.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # a deprecation inside Lightning itself
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # metrics are logged per epoch
    # Runs have a folder of their own; who writes there twice goes on with a training, or trains anew beside it (--refit).
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    # Metrics of an epoch come from confusion matrices that are summed over the processes, and are the same in each.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # What is frozen of an encoder is in evaluation mode on purpose, whatever the trainer asks for (`SpeechEncoder.train`).
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
