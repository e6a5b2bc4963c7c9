"""A fake EMNS in the layout of the release, with its table."""

from __future__ import annotations

import csv
from pathlib import Path

from ser_zoo.corpora.emns import COUNTS, EMOTIONS
from tests.releases import write_recording

HEADER = (
    "id",
    "utterance",
    "description",
    "emotion",
    "date_created",
    "status",
    "gender",
    "age",
    "level",
    "audio_recording",
    "user_id",
)
INCOMPLETE = 24


def write(root: Path, seconds: float | None = 0.1, limit: int | None = None, suffix: str | None = None) -> Path:
    """Write ``metadata.csv`` and ``cleaned_webm/recorded_audio_A000000.webm`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        limit: at most so many of each emotion; None means as many as the official release has.
        suffix: of the files; None means ``.webm`` for empty files, as the release has them, and ``.wav`` for sounds.

    Returns:
        ``root``.
    """
    suffix = suffix or (".webm" if seconds is None else ".wav")
    rows: list[tuple[object, ...]] = []
    for index, (emotion, label) in enumerate(EMOTIONS.items()):
        for number in range(COUNTS[label] if limit is None else min(COUNTS[label], limit)):
            name = f"recorded_audio_{emotion[0]}{index}{number:05d}"
            rows.append(_row(len(rows), emotion, "Complete", number % 11, name))
            write_recording(root / "cleaned_webm" / f"{name}{suffix}", index, 3, seconds)
    rows += [_row(2000 + number, "Happy", "Needs Updating", 5, f"recorded_audio_x{number:06d}") for number in range(INCOMPLETE)]
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="|", lineterminator="\n").writerows((HEADER, *rows))
    return root


def _row(number: int, emotion: str, status: str, level: int, name: str) -> tuple[object, ...]:
    description = "{transcription} said {user_id} in a {emotion} voice. Placing emphasis on {“all”, one}."
    date = "2022-07-16 15:43:06.014790"
    text = f'She said "sentence {number}".'
    return number, text, description, emotion, date, status, "Female", "20s", level, f"wavs/{name}.webm", 3
