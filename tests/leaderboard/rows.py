"""Result rows that no model made, with the predictions that they stand on."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser_zoo.cache import write_json
from ser_zoo.evaluation import summarise
from ser_zoo.evaluation.result import COLUMNS, PROBABILITY, SCHEMA
from ser_zoo.metrics import confusion_matrix
from ser_zoo.protocols import find_protocol

LABELS = ["anger", "happiness", "neutral", "sadness"]
SPEAKERS = ["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"]  # in the order of emo_db's loso10
PER_SPEAKER = 24
SEARCH = {
    "sweep": "0123456789ab",
    "optuna": "4.0",
    "method": "bayes",
    "metric": "val/ua",
    "goal": "maximize",
    "space": {"model.optim.lr": {"min": 0.001, "max": 0.1}},
    "trials": 20,
    "finished": 15,
    "pruned": 4,
    "failed": 1,
    "corpus": "emo_db",
    "protocol": "loso10",
    "protocol_hash": "0123456789ab",
    "folds": [1, 2],
    "validation_speakers": ["08", "09"],
    "seed": 0,
    "value": 0.875,
    "values": {"model.optim.lr": 0.01},
}


def write_entry(
    root: Path,
    model: str = "probe",
    right: float = 0.7,
    seed: int = 1,
    folds: Sequence[int] = range(1, 11),
    calibrated: bool = False,
    **changes: Any,
) -> list[Path]:
    """Write rows of one model on EMO-DB, a speaker per fold.

    Args:
        root: of the rows.
        model: its name.
        right: share of right predictions, about.
        seed: of the training; draws what is right as well.
        folds: which of the ten.
        calibrated: whether the rows have a temperature, which is 2.
        changes: of the row; those of ``protocol`` and ``config`` are added to what is there.

    Returns:
        The rows' files.
    """
    protocol = find_protocol(changes.get("corpus", "emo_db"), changes.get("protocol", {}).get("name", "loso10"))
    paths = []
    for fold in folds:
        generator = np.random.default_rng((seed, fold, int(1000 * right)))
        truth = np.arange(PER_SPEAKER) % len(LABELS)
        logits = generator.normal(0, 1, (PER_SPEAKER, len(LABELS)))
        hit = generator.random(PER_SPEAKER) < right
        logits[np.arange(PER_SPEAKER), np.where(hit, truth, (truth + 1) % len(LABELS))] += 6
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        # As the file has them.
        probabilities = np.array([[float(f"{value:.8g}") for value in row] for row in probabilities])
        predicted = probabilities.argmax(1)
        confusion = confusion_matrix(torch.from_numpy(truth), torch.from_numpy(predicted), len(LABELS))
        row = {
            "schema": 1,
            "model": model,
            "parameters": {"total": 2000, "trained": 1000 + len(model)},
            "corpus": "emo_db",
            "synthetic": False,
            "labels": LABELS,
            "data": {"train": 100, "validation": 20, "test": PER_SPEAKER, "content": "0" * 16, "excluded": []},
            "fold": fold,
            "seed": seed,
            "encoder": None,
            "selection": {"monitor": "val/ua", "value": 0.5, "epoch": 3, "epochs": 5},
            "metrics": summarise(confusion, LABELS),
            "predictions": "predictions.csv",
            "durations": {"features": 0.0, "fit": 60.0, "test": 6.0},
            "versions": {"ser_zoo": "0.1.0", "torch": "2.14.1"},
            "commit": "0123456789ab",
            **{key: value for key, value in changes.items() if key not in ("protocol", "config")},
            "protocol": {
                "name": protocol.name,
                "version": protocol.version,
                "hash": protocol.hash,
                "world": protocol.world,
                "declared_leaks": list(protocol.declared_leaks),
                "test_rows_with_utterance_in_training": 1.0 if "recording" in protocol.declared_leaks else 0.0,
                **changes.get("protocol", {}),
            },
            "config": {"model": {"width": 8, "optim": {"lr": 0.001}}, "data": {"batch_size": 16}, **changes.get("config", {})},
        }
        if calibrated:
            validation = {"utterances": 20, "nll_before": 1.0, "nll_after": 0.9, "ece_before": 0.2, "ece_after": 0.1}
            row["calibration"] = {
                "temperature": 2.0,
                "at_bound": False,
                "validation_is_test": False,
                "validation": validation,
            }
        SCHEMA.check(row, "a test's row")
        folder = root / model / f"seed-{seed}" / f"fold-{fold}"
        write_json(folder / "result.json", row)
        speaker = SPEAKERS[fold - 1]
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *(f"{PROBABILITY}{label}" for label in LABELS)])
            for number in range(PER_SPEAKER):
                names = LABELS[truth[number]], LABELS[predicted[number]]
                gender = "male" if fold % 2 else "female"
                writer.writerow([f"{speaker}a{number:02}", speaker, gender, *names, *probabilities[number].tolist()])
        paths.append(folder / "result.json")
    return paths


def write_robustness(path: Path, drop: float = 0.1) -> None:
    """Write a robustness report beside a row: clean as the row, and white noise at two levels that confuses more."""
    row = json.loads(path.read_text())
    confusion = np.array(row["metrics"]["confusion"])

    def measured(share: float) -> dict[str, Any]:
        lost = np.floor(confusion.diagonal() * share).astype(int)
        noisy = confusion - np.diag(lost) + np.roll(np.diag(lost), 1, axis=1)
        recalls = noisy.diagonal() / noisy.sum(1)
        return {"wa": float(noisy.trace() / noisy.sum()), "ua": float(recalls.mean()), "confusion": noisy.tolist()}

    keys = ("model", "corpus", "synthetic", "labels", "protocol", "fold", "seed", "versions", "commit")
    changes = {
        f"white_{level}": {
            "title": f"white noise at {level} dB SNR",
            "family": "white noise",
            "level": level,
            "unit": "dB SNR",
            **measured(drop * (2 - level / 20)),
        }
        for level in (20, 0)
    }
    changes["telephone"] = {"title": "telephone", "family": "telephone", "level": None, "unit": "", **measured(drop)}
    write_json(
        path.with_name("robustness.json"),
        {
            "schema": 1,
            **{key: row[key] for key in keys},
            "encoder": None,
            "epoch": 3,
            "test": PER_SPEAKER,
            "perturbation_seed": 0,
            "clean": measured(0.0),
            "perturbations": changes,
        },
    )


def write_curves(path: Path) -> None:
    """Write learning curves of five epochs beside a row."""
    lines = ["epoch,step,train/loss,val/loss,val/macro_f1,val/ua,val/wa"]
    for epoch in range(5):
        lines += [f"{epoch},{epoch},,{2 - epoch / 5},0.5,{0.4 + epoch / 20},0.5", f"{epoch},{epoch},{2 - epoch / 3},,,,"]
    path.with_name("metrics.csv").write_text("\n".join(lines) + "\n")


def write_profile(path: Path, model: str, milliseconds: float) -> None:
    """Write a profile beside a row."""
    clips = [
        {
            "seconds": seconds,
            "p50_ms": milliseconds * seconds,
            "p95_ms": 1.25 * milliseconds * seconds,
            "real_time_factor": milliseconds / 1000,
            "macs_per_second": 2e8,
        }
        for seconds in (1.0, 3.0)
    ]
    parameters = json.loads(path.read_text())["parameters"]
    profile = {"model": model, "parameters": parameters, "device": "cpu", "threads": 2, "clips": clips}
    path.with_name("profile.json").write_text(json.dumps(profile))
