"""A fake RESD in the layout of the release, with its tables."""

from __future__ import annotations

import csv
from collections.abc import Container
from pathlib import Path

from tests.releases import write_recording

EMOTIONS = ("anger", "disgust", "enthusiasm", "fear", "happiness", "neutral", "sadness")
# The parts of each dialogue, with the recordings of each, and how many of those the official test set has.
DIALOGUES = (
    ("happiness", "anger", 11, 11, 5, 3),
    ("anger", "sadness", 13, 4, 4, 0),
    ("disgust", "neutral", 12, 12, 2, 1),
    ("fear", "enthusiasm", 16, 15, 6, 4),
    ("neutral", "fear", 8, 12, 0, 5),
    ("happiness", "enthusiasm", 12, 6, 2, 1),
    ("fear", "neutral", 21, 20, 5, 4),
    ("sadness", "anger", 18, 18, 3, 4),
    ("neutral", "happiness", 13, 8, 4, 1),
    ("happiness", "anger", 15, 15, 4, 2),
    ("anger", "disgust", 21, 20, 3, 1),
    ("sadness", "disgust", 12, 12, 5, 3),
    ("neutral", "enthusiasm", 10, 10, 3, 1),
    ("anger", "fear", 17, 12, 2, 0),
    ("enthusiasm", "sadness", 9, 8, 2, 2),
    ("sadness", "disgust", 10, 9, 0, 2),
    ("neutral", "disgust", 13, 13, 0, 1),
    ("happiness", "neutral", 19, 18, 1, 2),
    ("anger", "disgust", 16, 15, 3, 2),
    ("disgust", "enthusiasm", 17, 18, 3, 3),
    ("happiness", "anger", 15, 15, 1, 3),
    ("fear", "anger", 18, 16, 2, 5),
    ("happiness", "neutral", 20, 18, 6, 4),
    ("sadness", "enthusiasm", 16, 14, 1, 3),
    ("anger", "disgust", 7, 12, 1, 2),
    ("enthusiasm", "happiness", 16, 16, 3, 2),
    ("neutral", "fear", 13, 12, 4, 2),
    ("disgust", "enthusiasm", 15, 11, 4, 2),
    ("happiness", "fear", 15, 17, 4, 3),
    ("fear", "happiness", 16, 18, 3, 4),
    ("fear", "enthusiasm", 15, 12, 3, 4),
    ("happiness", "enthusiasm", 14, 11, 5, 2),
    ("sadness", "disgust", 11, 15, 1, 5),
    ("anger", "fear", 21, 13, 3, 1),
    ("neutral", "fear", 9, 18, 2, 2),
    ("disgust", "happiness", 13, 15, 2, 4),
    ("enthusiasm", "neutral", 13, 13, 5, 3),
    ("happiness", "neutral", 9, 10, 1, 4),
    ("sadness", "anger", 11, 10, 1, 1),
    ("enthusiasm", "fear", 16, 14, 2, 4),
    ("fear", "disgust", 10, 10, 2, 4),
    ("anger", "fear", 21, 18, 5, 6),
    ("enthusiasm", "neutral", 15, 17, 4, 4),
    ("neutral", "anger", 17, 18, 3, 5),
    ("happiness", "sadness", 20, 23, 3, 5),
    ("sadness", "disgust", 6, 11, 2, 4),
    ("enthusiasm", "sadness", 16, 16, 1, 3),
    ("fear", "disgust", 11, 11, 1, 2),
    ("sadness", "happiness", 13, 11, 6, 1),
    ("enthusiasm", "sadness", 16, 14, 3, 3),
)


def write(root: Path, seconds: float | None = 0.1, sessions: Container[int] = range(1, 51)) -> Path:
    """Write ``train/01_happiness_anger/01_happiness_anger h_000.wav`` and so on, ``train.csv`` and ``test.csv``.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        sessions: numbers of the dialogues that are in it.

    Returns:
        ``root``.
    """
    rows: dict[str, list[tuple[str, str, str, str]]] = {"train": [], "test": []}
    for number, (first, second, *counts) in enumerate(DIALOGUES, 1):
        if number not in sessions:
            continue
        early = number <= 11
        parts = "disgust_anger" if number == 11 else f"{first}_{second}"
        folder = f"{number:02d}_{parts}" if early else f"{parts}_{number:02d}"
        for emotion, count, tested in ((first, counts[0], counts[2]), (second, counts[1], counts[3])):
            for take in range(count):
                name = f"{number:02d}_{first}_{second}{' ' if early else '_'}{emotion[0]}_{take * 10:03d}"
                split = "test" if take < tested else "train"
                rows[split].append((name, f"{folder}/{name}.wav", "Так, ладно.", emotion))
                write_recording(root / split / folder / f"{name}.wav", EMOTIONS.index(emotion), number, seconds)
    for split, lines in rows.items():
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows((("name", "path", "text", "emotion"), *lines))
    return root
