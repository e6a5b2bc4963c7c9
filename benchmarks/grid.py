"""All honest folds of the architectures on EMO-DB and RAVDESS: runs them, keeps their rows, renders the table.

    python benchmarks/grid.py run --encoder FOLDER_OF_WHISPER_BASE [--only emo_db/cross_attn] [--runs DIR]
    python benchmarks/grid.py render

``run`` calls ``ser-zoo fit --config recipes/CORPUS/MODEL.yaml --folds all`` for each pair, with the corpora under
``$SER_ZOO_DATA``, and copies result rows and predictions to ``benchmarks/results``; a pair that is there already is not
run again. ``render`` writes ``benchmarks/results/README.md`` from these rows alone.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from ser_zoo.cache import atomic_path
from ser_zoo.evaluation import pool, read_result

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
RECIPES = HERE.parent / "recipes"
PAIRS = tuple(f"{path.parent.name}/{path.stem}" for path in sorted(RECIPES.glob("*/*.yaml")) if path.parent.name != "demo")
KEPT = ("result.json", "predictions.csv")
# What bfloat16 costs in accuracy is asked of the model that has nothing but the encoder's states.
LOW_PRECISION = tuple(pair for pair in PAIRS if pair.endswith("/probe"))
HEAD = (
    "| corpus | model | protocol | folds | trained parameters | WA | UA | macro-F1 | UA over folds | minutes |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    """Run or render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "render"))
    parser.add_argument("--encoder", help="hub name or folder of whisper-base's encoder")
    parser.add_argument("--only", action="append", choices=PAIRS, help="run this pair only; may be repeated")
    parser.add_argument("--runs", type=Path, default=Path("runs/grid"), help="where the runs themselves go")
    options = parser.parse_args()
    if options.action == "run":
        if options.encoder is None:
            parser.error("run needs --encoder")
        for pair in options.only or PAIRS:
            run(pair, options.encoder, options.runs / pair)
    render()


def run(pair: str, encoder: str, folder: Path) -> None:
    """Train and test all folds of a pair, then keep its rows."""
    recipe = RECIPES / f"{pair}.yaml"
    needs_encoder = "encoder" in yaml.safe_load(recipe.read_text())["model"]
    arguments = ["--model.encoder", encoder] if needs_encoder else []
    fit(recipe, arguments, folder, RESULTS / pair)
    if pair in LOW_PRECISION:
        arguments += ["--model.encoder_options.precision", "bfloat16"]
        fit(recipe, arguments, folder.with_name(f"{folder.name}-bfloat16"), RESULTS / "bfloat16" / pair)


def fit(config: Path, arguments: Sequence[str], folder: Path, target: Path) -> None:
    """Train and test all folds as a configuration says, then keep their rows in ``target``.

    An interrupted run goes on where it stopped; one whose rows are kept already is not run again.
    """
    if target.exists():
        print(f"{target}: rows are there already")
        return
    command = [str(Path(sys.executable).with_name("ser-zoo")), "fit", "--config", str(config), *arguments]
    command += ["--folds", "all", "--seed_everything", "1", "--run_dir", str(folder)]
    command += ["--ckpt_path", "last"] if folder.is_dir() else []
    subprocess.run(command, check=True)
    with atomic_path(target) as temporary:
        for fold in sorted(folder.glob("fold-*")):
            (temporary / fold.name).mkdir(parents=True)
            for name in KEPT:
                shutil.copy(fold / name, temporary / fold.name / name)


def render() -> None:
    """Write the table of all pairs from the stored rows."""
    lines = [
        "# Result rows: honest folds, one seed",
        "",
        "Written by `python benchmarks/grid.py render` from the rows below this folder; not edited by hand. Pooled: every",
        "utterance counts once. ± is the standard deviation over the folds. EMO-DB: the 339 utterances of four of its",
        "seven classes. Encoder, where there is one: whisper-base, frozen. Minutes: all folds, other work running.",
        "",
        *HEAD,
    ]
    lines += table_rows(RESULTS, PAIRS)
    lines += ["", "The same with the encoder's matrix products in bfloat16 (`--model.encoder_options.precision bfloat16`):", ""]
    lines += [*HEAD, *table_rows(RESULTS / "bfloat16", LOW_PRECISION)]
    with atomic_path(RESULTS / "README.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def table_rows(folder: Path, pairs: Sequence[str]) -> list[str]:
    """A line per pair that has rows below ``folder``."""
    lines = []
    for pair in pairs:
        rows = [read_result(path) for path in sorted((folder / pair).glob("fold-*/result.json"))]
        if not rows:
            continue
        result = pool(rows)
        pooled, seconds = result["pooled"], sum(row["durations"]["fit"] + row["durations"]["test"] for row in rows)
        lines.append(
            f"| {result['corpus']} | {result['model']} | {result['protocol']['name']} | {len(rows)} "
            f"| {rows[0]['parameters']['trained']:,} | {pooled['wa']:.3f} | **{pooled['ua']:.3f}** | {pooled['macro_f1']:.3f} "
            f"| {result['mean']['ua']:.3f} ± {result['deviation']['ua']:.3f} | {seconds / 60:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
