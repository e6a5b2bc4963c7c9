"""What a person sees while a grid runs: a live table on a terminal, a line per cell elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from statistics import mean

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ser_zoo.leaderboard.execute import Outcome, Settings, lock_of
from ser_zoo.leaderboard.grid import Cell

Kind = tuple[str, str]


class Board:
    """Counts of what is done, runs, has failed and is left, and the time that is left.

    Args:
        cells: of the grid.
        outstanding: those of them that are to be run.
        settings: of the command.
        known: seconds per fold of stored rows, by architecture and corpus.
        jobs: how many cells run at once.
        console: where it is shown.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        outstanding: Iterable[Cell],
        settings: Settings,
        known: Mapping[Kind, Sequence[float]],
        jobs: int,
        console: Console,
    ) -> None:
        self.console, self.settings, self.jobs = console, settings, jobs
        self.cells = {cell.id: cell for cell in cells}
        self.left = {cell.id: cell for cell in outstanding}
        self.known = {kind: list(seconds) for kind, seconds in known.items()}
        self.failed: list[Outcome] = []
        self.told: list[str] = []  # a result per outcome
        self.started = time.monotonic()
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def follow(self, outcomes: Generator[Outcome | None]) -> None:
        """Show outcomes as an executor yields them; whatever ends this also ends what runs."""
        with closing(outcomes), self._live or nullcontext():
            for outcome in outcomes:
                if outcome is not None:
                    self.tell(outcome)
                self.refresh()

    def summary(self) -> str:
        """What has become of the cells, in numbers."""
        counts = Counter(self.told)
        told = ", ".join(f"{count} {result}" for result, count in counts.items()) or "nothing was run"
        return f"{told}; {len(self.left)} left" if self.left else told

    def tell(self, outcome: Outcome) -> None:
        """Enter what became of a cell and print a line about it."""
        if outcome.result == "interrupted":
            return
        cell = self.left.pop(outcome.cell)
        self.told.append(outcome.result)
        about = f"({outcome.detail})" if outcome.detail else ""
        if outcome.result in ("done", "measured"):
            self.known.setdefault(cell.kind, []).append(outcome.seconds)
            about = f"in {words(outcome.seconds)}"
        elif outcome.result == "failed":
            self.failed.append(outcome)
        number = f"[{len(self.cells) - len(self.left)}/{len(self.cells)}]"
        line = f"{number} {outcome.result}: {cell.id} {about}".rstrip() + self._rest()
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        """Draw the table anew, where there is one."""
        if self._live is not None:
            self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """A line per group that is not done, and the sums."""
        groups: dict[str, list[int]] = {}
        failed = {outcome.cell for outcome in self.failed}
        for cell in self.cells.values():
            counts = groups.setdefault(cell.group, [0, 0, 0, 0])
            waits = cell.id in self.left
            counts[1 if waits and self._runs(cell) else 3 if waits else 2 if cell.id in failed else 0] += 1
        drawn = Table(caption=f"elapsed {words(time.monotonic() - self.started)}{self._rest()}")
        for name in ("group", "done", "running", "failed", "left"):
            drawn.add_column(name, justify="left" if name == "group" else "right", overflow="fold")
        sums = [sum(counts[place] for counts in groups.values()) for place in range(4)]
        # What runs first: where a terminal is too low for all, it cuts the end off.
        drawn.add_row("all", *map(str, sums), end_section=True)
        for name, counts in sorted(groups.items(), key=lambda item: not item[1][1]):
            if counts[1] or counts[2] or counts[3]:
                drawn.add_row(name, *map(str, counts))
        return drawn

    def _runs(self, cell: Cell) -> bool:
        return lock_of(cell, self.settings).exists()

    def _rest(self) -> str:
        # The size of a cluster is not known, but what runs there is.
        jobs = max(self.jobs, sum(map(self._runs, self.left.values())))
        rest = remaining(self.left.values(), self.known, jobs)
        return "" if not self.left or rest is None else f"; left about {words(rest)}"


def remaining(cells: Iterable[Cell], known: Mapping[Kind, Sequence[float]], jobs: int) -> float | None:
    """Seconds that cells will take; None where nothing is known.

    A cell is expected to take what those of the same architecture and corpus took on average, else what all took.
    """
    if not any(known.values()):
        return None
    every = mean([second for seconds in known.values() for second in seconds])
    return sum(mean(known.get(cell.kind) or [every]) for cell in cells) / jobs


def words(seconds: float) -> str:
    """A duration for people.

    >>> words(12.3), words(754), words(7380)
    ('12 s', '13 min', '2 h 3 min')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
