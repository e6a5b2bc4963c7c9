"""Stored rows, found below a folder and put together fold by fold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser_zoo.corpora import CORPORA, corpus_class
from ser_zoo.errors import ProtocolError, RunError, UnknownNameError
from ser_zoo.evaluation.result import ROW, Predicted, Row, read_predictions, read_result, summarise
from ser_zoo.metrics import METRICS
from ser_zoo.protocols import Protocol, find_protocol
from ser_zoo.settings import settled, told

ROUNDING = 1e-6  # of a metric that was computed by another version


@dataclass(frozen=True)
class Entry:
    """One model as configured, on one corpus under one protocol, with one encoder and one seed: a line of a table.

    Attributes:
        rows: a result row per fold, in the order of the folds.
        paths: of these rows.
    """

    rows: tuple[Row, ...]
    paths: tuple[Path, ...]

    @property
    def model(self) -> str:
        """Name of the architecture."""
        return str(self.rows[0]["model"])

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return str(self.rows[0]["corpus"])

    @property
    def protocol(self) -> dict[str, Any]:
        """``protocol`` of the first fold's row; name, version, hash, world and declared leaks are those of all folds."""
        protocol: dict[str, Any] = self.rows[0]["protocol"]
        return protocol

    @property
    def world(self) -> str:
        """``honest`` or ``as_published``."""
        return str(self.protocol["world"])

    @property
    def synthetic(self) -> bool:
        """Whether no person spoke what was tested."""
        return bool(self.rows[0]["synthetic"])

    @property
    def encoder(self) -> str | None:
        """Name of the pre-trained encoder; None without one."""
        encoder = self.rows[0]["encoder"]
        return None if encoder is None else str(encoder["name"])

    @property
    def seed(self) -> int:
        """Seed of all folds."""
        return int(self.rows[0]["seed"])

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the probabilities."""
        return list(self.rows[0]["labels"])

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of model, data, trainer and selection."""
        config: dict[str, Any] = self.rows[0]["config"]
        return config

    @property
    def refit(self) -> bool:
        """Whether the validation side trained as well, once it had chosen the epoch."""
        return bool(settled(self.config)["refit"])

    @property
    def settings(self) -> str:
        """8 hex digits that two entries share when nothing but fold and seed may set them apart."""
        return _settings(self.rows[0])

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds that are there."""
        return [row["fold"] for row in self.rows]

    @property
    def folds_expected(self) -> int | None:
        """How many the protocol has.

        None where this version of ser-zoo does not know the protocol, or where the utterances decide it and these folds have
        not tested them all.
        """
        known = _known_protocol(self.rows[0])
        if known is None:
            return None
        if not known.folds_vary:
            return known.folds
        every = sum(self.rows[0]["data"][side] for side in ("train", "validation", "test"))
        return len(self.rows) if sum(row["data"]["test"] for row in self.rows) == every else None

    @property
    def complete(self) -> bool:
        """Whether every fold of a known protocol is there."""
        return self.folds_expected is not None and self.folds == list(range(1, self.folds_expected + 1))

    @cached_property
    def predicted(self) -> Predicted:
        """Predictions of all folds, one after the other.

        Raises:
            RunError: a file is missing or damaged, says other than its row, or is that of another fold.
        """
        parts = [_predictions(path, row) for path, row in zip(self.paths, self.rows, strict=True)]
        # Folds as published may share their test, but not what two models make of it.
        known = "utterances" if self.world == "honest" else "predictions"
        found: dict[Hashable, Path] = {}
        for path, part in zip(self.paths, parts, strict=True):
            own = frozenset(part.ids) if self.world == "honest" else (*part.ids, part.probabilities.tobytes())
            if (other := found.setdefault(own, path)) != path:
                raise RunError(
                    f"{path} and {other} have the same {known} in their test, though they are two folds. Expected each fold's "
                    "own; remove the one that is a copy, and run that fold again."
                )
        return Predicted.joined(parts)


def read_entries(folder: Path) -> list[Entry]:
    """All rows below a folder, in the order of corpus, protocol, model, encoder, settings and seed.

    Args:
        folder: searched to any depth, but for folders that a dot hides: a grid copies rows there.

    Raises:
        RunError: there is no row, one cannot be read, a fold of the same model, settings and seed is there twice, or a row says
            other things of its protocol or corpus than these themselves, or than another fold.
    """
    groups: dict[tuple[str, ...], dict[int, tuple[Path, Row]]] = {}
    for path in sorted(folder.rglob(ROW)):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        row = read_result(path)
        encoder = row["encoder"] or {"name": "", "weights": ""}
        names = row["corpus"], row["protocol"]["world"], row["protocol"]["name"], row["model"], encoder["name"]
        key = *names, _settings(row), f"{row['seed']:09}"
        folds = groups.setdefault(key, {})
        if twice := folds.get(row["fold"]):
            raise RunError(
                f"{path} and {twice[0]} are both fold {row['fold']} of {row['model']} on {row['corpus']} with the same "
                "settings and seed. Expected one row each: remove one, or render a folder that holds one of them."
            )
        folds[row["fold"]] = path, row
    if not groups:
        raise RunError(
            f"No {ROW} below {folder}. Expected the folder of a run or of a leaderboard; see ser-zoo leaderboard run."
        )
    ordered = [[folds[fold] for fold in sorted(folds)] for _, folds in sorted(groups.items())]
    for found in ordered:
        _check(found)
    return [Entry(tuple(row for _, row in found), tuple(path for path, _ in found)) for found in ordered]


def same_but_seed(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries that differ in the seed alone, together; in the order of the first of each."""
    together: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        key = entry.corpus, entry.world, entry.protocol["name"], entry.model, entry.settings
        together.setdefault(key, []).append(entry)
    return list(together.values())


def _settings(row: Row) -> str:
    # What is written into every row, but neither fold nor seed nor what was found by training.
    encoder = row["encoder"]
    if encoder is not None and row["config"]["model"].get("finetune_from") is not None:
        # Its weights are those after the training, which no two folds share.
        encoder = {key: value for key, value in encoder.items() if key != "weights"}
    deciding = row["labels"], row["protocol"]["hash"], told(row["config"]), encoder
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]


def _known_protocol(row: Row) -> Protocol | None:
    """The protocol of a row; None where this version of ser-zoo does not know it, or knows another by its name."""
    try:
        known = find_protocol(row["corpus"], row["protocol"]["name"])
    except (UnknownNameError, ProtocolError):
        return None
    return known if known.hash == row["protocol"]["hash"] else None


def _check(found: Sequence[tuple[Path, Row]]) -> None:
    """Hold what the rows of an entry say of fold, world, leaks and synthetic speech against protocol and corpus, or the first.

    Raises:
        RunError: a row says otherwise.
    """
    first_path, first = found[0]
    protocol, corpus = _known_protocol(first), first["corpus"]
    expected, source = _said(first), str(first_path)
    if protocol is not None:
        expected |= {"protocol.world": protocol.world, "protocol.declared_leaks": list(protocol.declared_leaks)}
        source = f"protocol {protocol.name} of this version, whose hash the row names,"
    if corpus in CORPORA and corpus_class(corpus).synthetic:
        expected["synthetic"] = True
        source = f"corpus {corpus}" if protocol is None else f"{source} or corpus {corpus}"
    for path, row in found:
        if protocol is not None and not 1 <= row["fold"] <= protocol.folds:
            raise RunError(
                f"{path} is of fold {row['fold']}; protocol {protocol.name} has folds 1 to {protocol.folds}. Expected a row as "
                "ser-zoo wrote it; run the fold again."
            )
        if differing := [key for key, value in _said(row).items() if value != expected[key]]:
            key = differing[0]
            raise RunError(
                f"{path} has {key} {json.dumps(_said(row)[key])}; {source} has {json.dumps(expected[key])}. Expected a row as "
                "ser-zoo wrote it; run the fold again."
            )


def _said(row: Row) -> dict[str, Any]:
    """What a row says of its kind."""
    protocol = row["protocol"]
    return {
        "protocol.world": protocol["world"],
        "protocol.declared_leaks": protocol["declared_leaks"],
        "synthetic": row["synthetic"],
    }


def _predictions(path: Path, row: Row) -> Predicted:
    """The predictions of a row.

    Raises:
        RunError: they cannot be read, or are not those that the row was computed from.
    """
    file = path.parent / row["predictions"]
    predicted = read_predictions(file, row["labels"])
    if len(set(predicted.ids)) != len(predicted.ids) or len(predicted.ids) != row["data"]["test"]:
        raise RunError(
            f"{file} has {len(predicted.ids)} lines of {len(set(predicted.ids))} utterances, its row {path.name} beside it "
            f"{row['data']['test']} that were tested. Expected a line for each of these; run the fold again."
        )
    confusion = np.zeros((len(row["labels"]),) * 2, int)
    np.add.at(confusion, (predicted.labels, predicted.probabilities.argmax(1)), 1)
    if confusion.tolist() != row["metrics"]["confusion"]:
        raise RunError(
            f"{file} has another confusion matrix than its row {path.name} beside it. Expected the predictions that the row "
            "was computed from; run the fold again."
        )
    computed = summarise(torch.from_numpy(confusion), row["labels"])
    if wrong := [name for name in METRICS if not abs(computed[name] - row["metrics"][name]) <= ROUNDING]:
        name = wrong[0]
        raise RunError(
            f"{path} has {name} {row['metrics'][name]}, but its confusion matrix gives {computed[name]}. Expected a row as "
            "ser-zoo wrote it; run the fold again."
        )
    return predicted
