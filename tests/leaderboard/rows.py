"""Stored rows of made-up tests, as a run writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ser_zoo.corpora import Utterance
from ser_zoo.evaluation import Scored, summarise
from ser_zoo.evaluation.result import Row, write_result
from ser_zoo.protocols import find_protocol

LABELS = ("anger", "happiness", "neutral", "sadness")


def write_row(
    folder: Path,
    fold: int = 1,
    right: float = 0.7,
    utterances: int = 24,
    speakers: Sequence[str] = ("a", "b", "c"),
    synthetic: bool = False,
    **changes: Any,
) -> Row:
    """A row of ``emo_db`` under its honest protocol, with predictions of which about a share of ``right`` are right.

    Args:
        folder: that gets the row; made if it is not there.
        fold: number of the fold.
        right: share of right predictions, spread over the utterances.
        utterances: in the test.
        speakers: who speak them in turn.
        synthetic: as the corpus says.
        **changes: further keys of the row, in place of those here.
    """
    folder.mkdir(parents=True)
    protocol = find_protocol("emo_db")
    ids = [f"fold{fold}-{number:03}" for number in range(utterances)]
    labels = torch.arange(utterances) % len(LABELS)
    hit = (torch.arange(utterances) * 0.618) % 1 < right
    predicted = torch.where(hit, labels, (labels + 1) % len(LABELS))
    certainty = 0.4 + 0.55 * ((torch.arange(utterances) * 0.414) % 1).double()
    probabilities = ((1 - certainty) / (len(LABELS) - 1))[:, None].repeat(1, len(LABELS))
    probabilities[torch.arange(utterances), predicted] = certainty
    scored = Scored(ids, labels, probabilities)
    row: Row = {
        "schema": 1,
        "model": "probe",
        "parameters": {"total": 1_000_000, "trained": 10_000},
        "corpus": "emo_db",
        "synthetic": synthetic,
        "labels": list(LABELS),
        "data": {"train": 100, "validation": 20, "test": utterances, "content": "0" * 16, "excluded": []},
        "protocol": {
            "name": protocol.name,
            "version": protocol.version,
            "hash": protocol.hash,
            "world": protocol.world,
            "declared_leaks": [],
        },
        "fold": fold,
        "seed": 1,
        "config": {"model": {"lr": 0.001}},
        "encoder": {"name": "whisper-base", "weights": "0" * 64},
        "selection": {"monitor": "val/ua", "value": 0.7, "epoch": 3, "epochs": 9},
        "metrics": summarise(scored.confusion, LABELS),
        "predictions": "predictions.csv",
        "durations": {"features": 1.0, "fit": 60.0, "test": 1.0},
        "versions": {"ser_zoo": "0"},
        "commit": None,
        **changes,
    }
    people = [
        Utterance(
            id=id,
            path=Path(id),
            speaker=speakers[number % len(speakers)],
            label=LABELS[int(labels[number])],
            original_label="",
            gender="female" if number % len(speakers) % 2 else "male",
        )
        for number, id in enumerate(ids)
    ]
    write_result(folder, row, scored, people)
    return row
