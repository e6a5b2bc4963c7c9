"""A fake MSP-Podcast, which is a small part: the release has more files than a test could write."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.releases import write_recording

CODES = "ASHUFDCNOX"
WORDS = ("Angry", "Sad", "Happy", "Surprise", "Fear", "Disgust", "Contempt", "Neutral", "Other", "Other-Curious")
PARTS = ("Train", "Development", "Test1", "Test2", "Test3")
COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")


def write(
    root: Path,
    seconds: float | None = 0.1,
    parts: Iterable[str] = PARTS,
    takes: int = 2,
    label_file: str = "labels_consensus.csv",
    detailed: str | None = "EmoDetail",
) -> Path:
    """Write ``root/Audios/MSP-PODCAST_0101_0001.wav`` and so on, and the label files.

    Args:
        root: of the release.
        seconds: length of the shortest recording; None writes empty files.
        parts: of the official partition that are in it; of Test3 there are recordings, two, and no labels.
        takes: of each emotion by each of the four speakers of a part.
        label_file: name of the label file.
        detailed: the column in which raters' emotions stand; None leaves that file out.

    Returns:
        ``root``.
    """
    rows, ratings = [], []
    for number, part in enumerate(PARTS, 1):
        for speaker in range(4 if part in parts else 0):
            for take in range(takes):
                for index, (code, word) in enumerate(zip(CODES, WORDS, strict=True)):
                    name = f"MSP-PODCAST_{number}{speaker:03d}_{10 * take + index:04d}.wav"
                    if part == "Test3" and (speaker, take, index) > (0, 0, 1):
                        continue
                    write_recording(root / "Audios" / name, index, 4 * number + speaker, seconds)
                    if part == "Test3":
                        continue
                    known = part != "Train" or speaker > 0
                    gender = ("Female", "Male")[speaker % 2] if known else "Unknown"
                    rows.append((name, code, 4.2, 3.5, 4.0, 10 * number + speaker if known else "Unknown", gender, part))
                    for rater, heard in enumerate((word, word, "Neutral")):
                        detail = f"WORKER{rater:08d}; {heard}; {heard},Amused; A:4.0; V:3.0; D:5.0; "
                        ratings.append((name, detail if detailed == "EmoDetail" else heard))
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = [(label_file, COLUMNS, rows)]
    if detailed:
        tables.append(("labels_detailed.csv", ("FileName", detailed), ratings))
    for file_name, columns, lines in tables:
        path = root / "Labels" / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *lines])
    return root
