"""A result on the terminal: metrics, recalls and the confusion matrix, from the stored row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ser_zoo.cli.tables import table
from ser_zoo.settings import settled

METRICS = {"wa": "WA", "ua": "UA", "macro_f1": "macro-F1"}


def show_metrics(title: str, labels: Sequence[str], metrics: Mapping[str, Any]) -> None:
    """Print WA, UA, macro-F1 and the confusion matrix with recalls."""
    table([{name: float(metrics[key]) for key, name in METRICS.items()}], title)
    rows = []
    for label, counts in zip(labels, metrics["confusion"], strict=True):
        rows.append(
            {
                "true / predicted": label,
                **dict(zip(labels, counts, strict=True)),
                "recall": metrics["recalls"][label],
            }
        )
    table(rows)


def show_row(row: Mapping[str, Any]) -> None:
    """Print the result of one fold."""
    title = title_of(row, settled(row["config"])["refit"], f"fold {row['fold']}")
    show_metrics(title, row["labels"], row["metrics"])


def show_pooled(pooled: Mapping[str, Any]) -> None:
    """Print what several folds give together: pooled, and mean and deviation over the folds."""
    folds = pooled["folds"]
    show_metrics(title_of(pooled, pooled["refit"], f"{len(folds)} folds pooled"), pooled["labels"], pooled["pooled"])
    spread = {name: f"{pooled['mean'][key]:.4f} ± {pooled['deviation'][key]:.4f}" for key, name in METRICS.items()}
    table([spread], f"mean ± standard deviation over the {len(folds)} folds")


def title_of(row: Mapping[str, Any], refit: bool, what: str) -> str:
    """Model, corpus, protocol and its world, and whether it was refit; a synthetic corpus is called so."""
    corpus = corpus_text(row["corpus"], row["synthetic"])
    return f"{row['model']} on {corpus}, {protocol_text(row['protocol'], refit)}, {what}, seed {row['seed']}"


def corpus_text(name: str, synthetic: bool) -> str:
    """Name of a corpus; one that no person spoke is called so."""
    return f"{name} (SYNTHETIC)" if synthetic else name


def protocol_text(protocol: Mapping[str, Any], refit: bool = False) -> str:
    """Name of the protocol of a row, with what it declares to leak; outside the honest world also when that is nothing.

    Args:
        protocol: of the row.
        refit: the validation side trained as well, which is said behind it.
    """
    if refit:
        return f"{protocol_text(protocol)}, refit"
    leaks = ", ".join(protocol["declared_leaks"]) or "none"
    if protocol["world"] == "honest":
        return f"{protocol['name']} (declared: {leaks})" if protocol["declared_leaks"] else str(protocol["name"])
    shared = f"{protocol['test_rows_with_utterance_in_training']:.1%} of the test rows have their utterance in training"
    return f"{protocol['name']} (AS PUBLISHED; declared leaks: {leaks}; {shared})"
