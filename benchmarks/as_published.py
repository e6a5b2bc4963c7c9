"""What was published, repeated as it was done, beside the same network under an honest protocol: runs both, renders the table.

    python benchmarks/as_published.py run [--only as_cnn_attn] [--runs DIR]
    python benchmarks/as_published.py render

``run`` calls ``ser-zoo fit --config benchmarks/as_published.yaml`` with EMO-DB under ``$SER_ZOO_DATA``, and copies result rows
and predictions to ``benchmarks/results/as_published``; what is there already is not run again. ``render`` writes the README
there from these rows alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from grid import HERE, RESULTS, fit

from ser_zoo.cache import atomic_path
from ser_zoo.evaluation import pool, read_result

TARGET = RESULTS / "as_published"
# Table of Lee & Nadeem 2025, arXiv 2507.03251, and the output of their notebook.
CLAIM = "Lee & Nadeem 2025 report 99.53 % accuracy on the seven classes of EMO-DB: 428 test rows of 2140, from 535 files."


class Run(NamedTuple):
    """One line of the table.

    Attributes:
        what: in words.
        arguments: of ``ser-zoo fit`` beside the configuration.
    """

    what: str
    arguments: Sequence[str]


RUNS = {
    "as_cnn_attn": Run("as published", ["--data.protocol=as_cnn_attn", "--data.augment_rows=[]"]),
    # Five pairs of speakers in place of ten single ones halve the time; a fold trains on three fifths of the files, not four.
    "pairs5": Run("honest", ["--data.protocol=pairs5", "--data.augment_rows=[noise,pitch]"]),
    # Honest folds of this schedule would take days.
    "as_cnn_attn_100_epochs": Run(
        "as published, with the released schedule",
        ["--data.protocol=as_cnn_attn", "--data.augment_rows=[]", "--model.optim.lr=1.0e-5", "--trainer.max_epochs=100"],
    ),
}
COLUMNS = (
    "run",
    "protocol",
    "world",
    "declared leaks",
    "test rows with their utterance in training",
    "epochs x rate",
    "trained parameters",
    "folds",
    "test rows",
    "WA",
    "UA",
    "macro-F1",
    "minutes",
)


def main() -> None:
    """Run or render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "render"))
    parser.add_argument("--only", action="append", choices=tuple(RUNS), help="run this one only; may be repeated")
    parser.add_argument("--runs", type=Path, default=Path("runs/as_published"), help="where the runs themselves go")
    options = parser.parse_args()
    if options.action == "run":
        for name in options.only or RUNS:
            fit(HERE / "as_published.yaml", RUNS[name].arguments, options.runs / name, TARGET / name)
    render(TARGET)


def render(folder: Path) -> None:
    """Write the table of all runs from the stored rows below ``folder``."""
    lines = [
        "# As published, beside honest: cnn_attn on EMO-DB",
        "",
        "Written by `python benchmarks/as_published.py render` from the rows below this folder; not edited by hand.",
        "",
        f"{CLAIM}",
        "There a file is four rows (as it is, with noise, with a raised pitch, with both), a random fifth of all rows is the",
        "test, the test validates, and the last epoch is reported. Here the same is done with the released features and",
        "layers on four of the seven classes. Then the same network is trained in the same way under an honest protocol: a",
        "test speaker is on no other side, only training speakers are augmented, and a test row is an utterance as it is.",
        "Of ten speakers six train there; as published, four fifths of the rows do, and hence of every speaker.",
        "Lines of the same epochs and rate differ in the split and in what follows from it, so what lies between them is",
        "what the leaks are worth.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    for name, run in RUNS.items():
        rows = [read_result(path) for path in sorted((folder / name).glob("fold-*/result.json"))]
        if rows:
            lines.append(f"| {run.what} | {' | '.join(cells(rows))} |")
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def cells(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line of the table, without its first column."""
    result, config = pool(rows), rows[0]["config"]
    pooled, protocol = result["pooled"], result["protocol"]
    seconds = sum(row["durations"]["fit"] + row["durations"]["test"] for row in rows)
    return [
        protocol["name"],
        protocol["world"],
        ", ".join(protocol["declared_leaks"]) or "none",
        f"{protocol['test_rows_with_utterance_in_training']:.1%}",
        f"{config['trainer']['max_epochs']} x {config['model']['optim']['lr']:g}",
        f"{rows[0]['parameters']['trained']:,}",
        str(len(rows)),
        str(sum(row["data"]["test"] for row in rows)),
        f"{pooled['wa']:.4f}",
        f"**{pooled['ua']:.4f}**",
        f"{pooled['macro_f1']:.4f}",
        f"{seconds / 60:.1f}",
    ]


if __name__ == "__main__":
    main()
