"""The result row: one JSON per fold and seed, and the predictions it stands on."""

from __future__ import annotations

import csv
import hashlib
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ser_zoo import __version__, metrics
from ser_zoo.cache import atomic_path, write_csv, write_json
from ser_zoo.corpora import Utterance
from ser_zoo.data import SERDataModule
from ser_zoo.errors import RunError
from ser_zoo.evaluation.schema import Schema
from ser_zoo.models.base import Predictions, SERModule
from ser_zoo.settings import settled

SCHEMA, SCHEMA_VERSION = Schema("result", "result row"), 1
ROW, PREDICTIONS = "result.json", "predictions.csv"
COLUMNS, PROBABILITY = ("id", "speaker", "gender", "label", "predicted"), "probability_"  # of the predictions
ROUNDED = 1e-4  # how far the stored probabilities of an utterance may be from 1
SHARED = "test_rows_with_utterance_in_training"
Row = dict[str, Any]


class Predicted(NamedTuple):
    """The stored predictions of one or several tests.

    Attributes:
        ids: N utterance ids.
        speakers: who speaks.
        genders: ``female``, ``male``, or empty where the release does not say.
        labels: (N,) true class.
        probabilities: (N, C) softmax of the logits, as the network gives them.
    """

    ids: list[str]
    speakers: list[str]
    genders: list[str]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Predicted]) -> Predicted:
        """Those of several tests, one after the other."""
        return cls(
            [id for part in parts for id in part.ids],
            [speaker for part in parts for speaker in part.speakers],
            [gender for part in parts for gender in part.genders],
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
        )


class Scored(NamedTuple):
    """Predictions of a whole side.

    Attributes:
        ids: N utterance ids, sorted.
        labels: (N,) true class.
        probabilities: (N, C).
    """

    ids: list[str]
    labels: Tensor
    probabilities: Tensor

    @property
    def confusion(self) -> Tensor:
        """Counts (C, C), rows true, columns predicted."""
        return metrics.confusion_matrix(self.labels, self.probabilities.argmax(1), self.probabilities.shape[1])


def score(batches: Iterable[Predictions]) -> Scored:
    """Join the batches of a test.

    Raises:
        RunError: an utterance came twice, so that it would be counted twice.
    """
    rows: dict[str, tuple[int, Tensor]] = {}
    for batch in batches:
        probabilities = batch["logits"].double().softmax(1).cpu()
        for key, label, row in zip(batch["ids"], batch["labels"].tolist(), probabilities, strict=True):
            if key in rows:
                raise RunError(f"Utterance {key} was tested twice; the metrics would count it twice.")
            rows[key] = (label, row)
    ids = sorted(rows)
    return Scored(ids, torch.tensor([rows[key][0] for key in ids]), torch.stack([rows[key][1] for key in ids]))


def summarise(confusion: Tensor, labels: Sequence[str]) -> dict[str, Any]:
    """The ``metrics`` of a row from a (C, C) confusion matrix."""
    recalls = metrics.recalls(confusion).tolist()
    by_label = {label: None if recall != recall else recall for label, recall in zip(labels, recalls, strict=True)}
    return {**metrics.scores(confusion), "recalls": by_label, "confusion": confusion.tolist()}


def result_row(
    model: SERModule,
    data: SERDataModule,
    scored: Scored,
    seed: int,
    config: Mapping[str, Any],
    selection: Mapping[str, Any],
    calibration: Mapping[str, Any],
    durations: Mapping[str, float],
    machine: Mapping[str, Any],
) -> Row:
    """The row of one tested fold, as ``result.schema.json`` describes it."""
    encoder = model.encoder
    return {
        "schema": SCHEMA_VERSION,
        "model": model.name,
        "parameters": model.parameter_counts(),
        "corpus": data.corpus.name,
        "synthetic": data.corpus.synthetic,
        "labels": model.labels,
        "data": {
            **{side: len(rows) for side, rows in data.split._asdict().items()},
            "content": content_of(data),
            **({} if data.corpus.published is None else {"published": data.corpus.published}),
            "excluded": [
                {"id": key, "reason": reason.replace(f"{data.corpus.root}/", "")}
                for key, reason in sorted(data.waveforms.bad.items())
            ],
        },
        "protocol": protocol_of(data),
        "fold": data.fold,
        "seed": seed,
        "config": dict(config),
        "encoder": None if encoder is None else {"name": Path(encoder.source).name, **encoder.fingerprint()},
        "selection": dict(selection),
        "calibration": dict(calibration),
        "metrics": summarise(scored.confusion, model.labels),
        "predictions": PREDICTIONS,
        "durations": {key: round(value, 3) for key, value in durations.items()},
        "versions": versions(),
        "machine": dict(machine),
        "commit": commit(),
    }


def protocol_of(data: SERDataModule) -> dict[str, Any]:
    """The ``protocol`` of a row: the rule, its world, what it leaks by declaration and by count, and the fold's certificate."""
    protocol = data.protocol
    return {
        "name": protocol.name,
        "version": protocol.version,
        "hash": protocol.hash,
        "world": protocol.world,
        "declared_leaks": list(protocol.declared_leaks),
        SHARED: data.split.test_rows_with_utterance_in_training,
        "certificate": data.certificate,
    }


def search_of(search: Mapping[str, Any], data: SERDataModule) -> dict[str, Any]:
    """The ``search`` of a row: the search that found its settings, and which of the fold's test speakers that was scored on.

    Args:
        search: as a search writes it into its recipe.
        data: the fold.

    Raises:
        RunError: it is not what a search writes.
    """
    tested = {utterance.speaker for utterance in data.split.test}
    known = data.corpus.name == search.get("corpus")  # else names of speakers may mean others
    scored = sorted(tested.intersection(search.get("validation_speakers", ()))) if known else None
    found = {**search, "test_speakers_validated": scored}
    if fault := SCHEMA.fault_of_part("search", found):
        raise RunError(
            f"The search that the configuration names is not as ser-zoo search writes it, at {fault.json_path}: "
            f"{fault.message}. Take its best.yaml as it is, or leave search out of the configuration."
        )
    return found


def write_result(folder: Path, row: Row, scored: Scored, tested: Iterable[Utterance]) -> None:
    """Write predictions and row into a run's folder, the row last: where it is, the result is whole.

    Args:
        folder: of the fold.
        row: as ``result_row`` gives it.
        scored: what was predicted.
        tested: the utterances of the test side, which say who speaks.

    Raises:
        RunError: the row does not fit its schema, or is there already.
    """
    SCHEMA.check(row, "the new row")
    if (folder / ROW).exists():
        raise RunError(f"{folder / ROW} exists already. Results are never overwritten; choose another --run_dir.")
    labels: list[str] = row["labels"]
    people = {utterance.id: (utterance.speaker, utterance.gender or "") for utterance in tested}
    with atomic_path(folder / PREDICTIONS) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines: list[list[str]] = [[*COLUMNS, *(f"{PROBABILITY}{label}" for label in labels)]]
        for key, label, row_probabilities in zip(scored.ids, scored.labels.tolist(), scored.probabilities, strict=True):
            predicted = labels[int(row_probabilities.argmax())]
            probabilities = (f"{value:.8g}" for value in row_probabilities.tolist())
            lines.append([key, *people[key], labels[label], predicted, *probabilities])
        write_csv(file, lines)
    write_json(folder / ROW, row)


def read_predictions(path: Path, labels: Sequence[str]) -> Predicted:
    """The predictions beside a stored row, joined to nothing but their ids.

    Args:
        path: of the CSV.
        labels: of the row.

    Raises:
        RunError: it is missing, has other columns than the row's labels ask for, or a line that cannot be read, whose
            probabilities are none, or whose class is not the most probable one.
    """
    columns = [*COLUMNS, *(f"{PROBABILITY}{label}" for label in labels)]
    number = {label: place for place, label in enumerate(labels)}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != columns:
                raise RunError(
                    f"{path} has the columns {', '.join(reader.fieldnames or ['none'])}; expected {', '.join(columns)}. Run "
                    "the fold again, or take the file from where its row came from."
                )
            lines = list(reader)
        classes = np.array([number[line["label"]] for line in lines], np.int64)
        probabilities = np.array([[float(line[column]) for column in columns[len(COLUMNS) :]] for line in lines])
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise RunError(f"Cannot read the predictions {path}: {error!r}. Expected a line per utterance, whole.") from error
    probabilities = probabilities.reshape(-1, len(labels))
    sound = (probabilities.min(1, initial=1.0) >= 0) & (abs(probabilities.sum(1) - 1) <= ROUNDED)
    for line, own, whole, most in zip(lines, probabilities, sound, probabilities.max(1, initial=0.0), strict=True):
        if not whole:
            raise RunError(
                f"{path} gives {line['id']} probabilities that are none: {', '.join(f'{value:g}' for value in own)}. Expected "
                "numbers from 0 to 1 whose sum is 1, as ser-zoo wrote them; run the fold again."
            )
        place = number.get(line["predicted"])
        if place is None or own[place] != most:
            raise RunError(
                f"{path} says that {line['id']} was taken for {line['predicted']}, which is not its most probable class. "
                "Expected predictions as ser-zoo wrote them; run the fold again."
            )
    ids, speakers, genders = ([line[column] for line in lines] for column in COLUMNS[:3])
    return Predicted(ids, speakers, genders, classes, probabilities)


def read_result(path: Path) -> Row:
    """A stored row.

    Raises:
        RunError: it is missing, is not JSON, or does not fit the schema.
    """
    return SCHEMA.read(path)


def pool(rows: Sequence[Row]) -> dict[str, Any]:
    """Metrics over several folds of one model, corpus, protocol and seed.

    Returns:
        ``pooled``: metrics of the summed confusion matrix, every test row of a fold counting once; ``mean`` and ``deviation``
        (n - 1) of each metric over the folds; ``folds``; ``protocol``, with the share of all test rows whose utterance is in
        training where every fold's row has it; ``refit``, whether validation utterances trained too.
    """
    summed = torch.tensor([row["metrics"]["confusion"] for row in rows]).sum(0)
    values = {name: torch.tensor([row["metrics"][name] for row in rows], dtype=torch.float64) for name in metrics.METRICS}
    first = rows[0]
    protocol = {key: value for key, value in first["protocol"].items() if key not in (SHARED, "certificate")}
    if all(SHARED in row["protocol"] for row in rows):
        tested = [row["data"]["test"] for row in rows]
        shared = sum(count * row["protocol"][SHARED] for count, row in zip(tested, rows, strict=True))
        protocol[SHARED] = shared / sum(tested)
    return {
        **{key: first[key] for key in ("model", "corpus", "synthetic", "labels", "seed")},
        "protocol": protocol,
        "refit": settled(first["config"])["refit"],
        "folds": [row["fold"] for row in rows],
        "pooled": summarise(summed, first["labels"]),
        "mean": {name: float(value.mean()) for name, value in values.items()},
        "deviation": {name: float(value.std()) if len(rows) > 1 else None for name, value in values.items()},
    }


def content_of(data: SERDataModule) -> str:
    """16 hex digits over id, label and audio of all utterances that the fold uses."""
    lines = sorted(f"{row.id} {row.label} {data.waveforms.content[row.id]}" for side in data.split for row in side)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of what a number depends on."""
    packages = ("torch", "torchaudio", "lightning", "transformers")
    return {
        "ser_zoo": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def processor() -> dict[str, Any]:
    """Name of the processor, as the system calls it, and the threads in which torch computes an operation on it."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE) if cpuinfo.is_file() else []
    return {"processor": names[0] if names else platform.processor() or platform.machine(), "threads": torch.get_num_threads()}


@cache
def commit() -> str | None:
    """Commit of the checkout that this package runs from; None when it is installed.

    It is marked ``-dirty`` when a file of the package differs from the commit. Others may: a leaderboard that is kept beside it
    changes with every row.
    """
    package = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=package, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # An installed copy may lie inside some other repository, whose commit would say nothing.
        git("ls-files", "--error-unmatch", Path(__file__).relative_to(package).as_posix())
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
