"""A W&B report, made by code from stored rows.

A section per corpus and protocol: the table of the stored rows, and below it what W&B has of the same runs (learning curves, UA
by fold, test predictions). Honest, as-published and synthetic rows stand in sections, and below headings, of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_zoo.errors import RunError

if TYPE_CHECKING:  # the extra wandb; and what reads rows imports torch
    from wandb_workspaces.reports.v2.interface import BlockTypes, PanelGrid

    from ser_zoo.leaderboard.aggregate import Table

NEEDED = ("wandb", "wandb_workspaces", "scipy")
INSTALL = "pip install 'ser-zoo[wandb,report]'"
NOTE = (
    "UA, WA and macro-F1 over all folds and seeds, in percent, with the 95 % interval that drawing speakers gives. The tables "
    "are rendered from stored result rows; the panels below each show the runs of the same models, corpus and protocol in this "
    "project."
)


def write_wandb(results: Path, project: str, entity: str | None, title: str, url: str | None = None) -> str:
    """Write the report.

    Args:
        results: folder of the rows.
        project: of the runs and the report.
        entity: whose project it is; None: the default of the login.
        title: of the report.
        url: of an earlier one, which is replaced; None makes a new one.

    Returns:
        Its address.

    Raises:
        RunError: a package is missing, nobody is logged in, W&B refuses, there is no row, or one cannot be read.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise RunError(f"The W&B report needs {' and '.join(missing)}, not installed here. Install what it needs: {INSTALL}")
    import wandb
    from wandb_workspaces.reports.v2 import interface as reports

    from ser_zoo.evaluation.tracking import choose_mode
    from ser_zoo.leaderboard.aggregate import tables
    from ser_zoo.leaderboard.results import read_entries

    content = list(blocks(tables(read_entries(results))))
    if (mode := choose_mode()) != "online":
        raise RunError(
            f"A W&B report lives on its server, and W&B is {mode} here: nobody is logged in, or WANDB_MODE says so. Log in "
            "with wandb login and unset WANDB_MODE; ser-zoo leaderboard report writes a page that needs no server."
        )
    try:
        owner: dict[str, Any] = {"entity": entity} if entity else {}
        report = reports.Report.from_url(url) if url else reports.Report(project, **owner)
        report.title, report.blocks, report.width = title, content, "fluid"
        report.save()
        return str(report.url)
    # ValueError: an address or a project that is none; OSError: a connection that fails.
    except (wandb.Error, ValueError, OSError) as error:
        raise RunError(f"W&B did not take the report: {error}. Expected a project that this login may write to.") from error


def blocks(made: Sequence[Table]) -> Iterator[BlockTypes]:
    """The content of the report: a heading per kind, a section per table."""
    from wandb_workspaces.reports.v2 import interface as reports

    from ser_zoo.leaderboard.report import KINDS

    yield reports.P(NOTE)
    yield reports.TableOfContents()
    kind = None
    for table in made:
        if table.kind != kind:
            kind = table.kind
            yield reports.H1(KINDS[kind])
        yield reports.H2(f"{table.title}, {len(table.first.labels)} classes")
        yield reports.MarkdownBlock(markdown(table))
        yield panels(table)


def markdown(table: Table) -> str:
    """The table of the stored rows; ranks stand only where the rows are honest and of real speech."""
    from ser_zoo.leaderboard.report import DASH, REFIT, against, interval, outcome, percent

    ranked = table.kind == "honest"
    columns = ["model", "trained parameters", "seeds", "UA, %", "WA, %", "macro-F1, %"]
    last = "test rows with their utterance in training" if table.kind == "as_published" else "not ranked"
    columns = ["#", *columns, "behind the first, UA"] if ranked else [*columns, last]
    lines = [_cells(columns), _cells(["---"] * len(columns))]
    for line, standing in table.standing_of:
        scores = line.scores
        name = f"{line.name} **{line.caveat}**" if line.caveat else line.name
        ua = f"{percent(scores['ua'].value)} {interval(scores['ua'])}".strip()
        known = [
            name,
            f"{line.trained:,}",
            str(len(line.entries)),
            ua,
            percent(scores["wa"].value),
            percent(scores["macro_f1"].value),
        ]
        if ranked:
            known = [standing.rank if standing else DASH, *known, against(standing, table) if standing else "not ranked"]
        else:
            known.append(f"{percent(line.shared)} %" if table.kind == "as_published" else "SYNTHETIC")
        lines.append(_cells(known))
    leaks = f"Declared leaks: {', '.join(table.leaks)}." if table.leaks else ""
    refit = f"Refit: {REFIT}." if table.refit else ""
    return "\n\n".join(filter(None, ["\n".join(lines), outcome(table) if ranked else "", refit, leaks]))


def panels(table: Table) -> PanelGrid:
    """What W&B has of the runs of a table: grouped as the tracker groups them, so never those of another kind."""
    from wandb_workspaces.expr import Metric
    from wandb_workspaces.reports.v2 import interface as reports

    from ser_zoo.evaluation.tracking import STEP, group_of

    groups = sorted({group_of(line.first.model, table.corpus, table.protocol, table.refit) for line in table.lines})
    runs = reports.Runset(name=table.title, filters=[Metric("Group").isin(groups)], groupby=["Group"])
    together: dict[str, Any] = {"groupby": "Group", "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    return reports.PanelGrid(
        runsets=[runs],
        panels=[
            reports.BarPlot(title="UA by fold: mean and range", metrics=["ua"], **together),
            reports.LinePlot(title="UA of the validation speakers", x=STEP, y=["val/ua"], **together),
            reports.LinePlot(title="Training loss", x=STEP, y=["train/loss"], **together),
            reports.WeavePanelSummaryTable(table_name="test/predictions"),
        ],
    )


def _cells(values: Sequence[str]) -> str:
    return f"| {' | '.join(value.replace('|', '/') for value in values)} |"
