"""How the tests call the command line, a small model on a small fake release, quickly, and read what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

QUICK = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
SMALL_CNN = [
    "--model=cnn_attn",
    "--model.channels=16",
    "--model.dense=8",
    "--model.optim.lr=0.01",
    "--data.augment_rows=[]",
    "--monitor=val/ua",
]


def fit_command(root: Path, run_dir: Path, *more: str, epochs: int = 2) -> list[str]:
    """Arguments of ``fit`` for a small cnn_attn on the fake EMO-DB at ``root``."""
    data = ["--data=emo_db", f"--data.root={root}", f"--run_dir={run_dir}", f"--trainer.max_epochs={epochs}"]
    return ["fit", *SMALL_CNN, *data, *QUICK, "--seed_everything=7", *more]


def cells(printed: str) -> list[list[str]]:
    """The rows of all tables that were printed, without their heads."""
    lines = [line for line in printed.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def ser_zoo(*arguments: str, cwd: Path | None = None, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-c", "import sys; from ser_zoo.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env={**os.environ, "COLUMNS": "200"}
    )
