"""A fake Emozionalmente in the layout of the release, with its tables; actors and listeners are made up."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ser_zoo.corpora.emozionalmente import EMOTIONS
from tests.releases import write_recording

ACTORS = 431
# The actors of users.csv that are not women.
MEN = range(299, 430)
SENTENCES = 18
PER_EMOTION = 986


def actor_id(number: int) -> str:
    """64 hexadecimal digits, as the release has."""
    return hashlib.sha256(f"actor {number}".encode()).hexdigest()


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[int] = range(ACTORS)) -> Path:
    """Write ``audio/1612800000000.wav`` and so on, and ``metadata/``.

    Every actor has two or three recordings of each emotion. Of five votes three are for the emotion expressed.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: numbers of the actors whose recordings are written and listed.

    Returns:
        ``root``.
    """
    chosen = frozenset(speakers)
    samples, evaluations, emotions = [], [], list(EMOTIONS)
    for index, emotion in enumerate(emotions):
        for take in range(PER_EMOTION):
            actor = take % ACTORS
            if actor not in chosen:
                continue
            name = f"{1_612_800_000_000 + index * PER_EMOTION + take}.wav"
            write_recording(root / "audio" / name, index, actor, seconds)
            samples.append((name, f"Frase, la numero {take % SENTENCES}", "italian", actor_id(actor), emotion))
            others = [emotion, emotion, emotion, emotions[index - 1], "neutrality"]
            evaluations += [(name, actor_id(ACTORS + rater), "good", heard) for rater, heard in enumerate(others)]
    genders = ("male" if number in MEN else "other" if number == 430 else "female" for number in range(ACTORS + 5))
    users = [(actor_id(number), gender, 30, "italian") for number, gender in enumerate(genders)]
    _write(root, "samples", ("file_name", "sentence", "sentence_language", "actor", "emotion_expressed"), samples)
    _write(root, "evaluations", ("file_name", "evaluator", "audio_quality", "emotion_recognized"), evaluations)
    _write(root, "users", ("username", "gender", "age", "mother_tongue"), users)
    return root


def _write(root: Path, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    with (root / "metadata" / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows((header, *rows))
