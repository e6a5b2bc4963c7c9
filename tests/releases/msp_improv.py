"""A fake MSP-IMPROV: without ids that are given, names by the grammar with the known counts per speaker and condition."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.releases import write_recording

CONDITIONS = "PRST"
# Turns per condition that public lists have, and how many more the release has of a session or of sessions 1 to 4.
SPEAKERS = {
    "F01": (164, 0, 230, 40),
    "F02": (232, 90, 348, 62),
    "F03": (411, 90, 401, 44),
    "F04": (226, 0, 260, 60),
    "F05": (147, 95, 450, 60),
    "F06": (140, 80, 512, 60),
    "M01": (178, 100, 227, 40),
    "M02": (247, 80, 304, 59),
    "M03": (284, 85, 405, 45),
    "M04": (272, 0, 230, 60),
    "M05": (263, 0, 424, 60),
    "M06": (204, 0, 556, 60),
}
UNLISTED = {"F01": 37, "F05": 6, "F06": 10}
FOUR_CLASSES = 7798
WORDS = {"N": "Neutral", "H": "Happy", "S": "Sad", "A": "Angry", "O": "Other", "X": "Neutral"}


def write(
    root: Path,
    seconds: float | None = 0.1,
    ids: Iterable[str] | None = None,
    limit: int | None = None,
    label_file: str = "Evalution.txt",
) -> Path:
    """Write ``root/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav`` and so on, and the label file.

    Args:
        root: of the release.
        seconds: length of the shortest recording; None writes empty files.
        ids: names without suffix; None makes them up. How the labels divide into classes is made up in any case.
        limit: of made-up turns by each speaker in each condition; None means as many as the release has.
        label_file: its name.

    Returns:
        ``root``.
    """
    blocks = []
    for number, key in enumerate(made_up(limit) if ids is None else ids):
        label = "NHSA"[number % 4] if number < FOUR_CLASSES else "OX"[number % 2]
        _, _, scenario, speaker, condition, _ = key.split("-")
        path = root / f"session{speaker[2]}" / scenario / condition / f"{key}.wav"
        write_recording(path, "NHSAOX".index(label), 2 * int(speaker[2]) + (speaker[0] == "F"), seconds)
        blocks.append(block(key, label))
    (root / label_file).write_text("\n".join(blocks))
    return root


def made_up(limit: int | None = None) -> Iterator[str]:
    """Names by the grammar, as many as the release has."""
    for speaker, counts in SPEAKERS.items():
        for condition, count in zip(CONDITIONS, counts, strict=True):
            more = UNLISTED.get(speaker, 0) if condition == "S" else 0
            scenes = {"R": (speaker[0] * 2,), "T": ("FM" if speaker[0] == "F" else "MF",)}.get(condition, ("FM", "MF"))
            names = itertools.product(range(1, 21), "AHSN", scenes, range(1, 21))
            for scenario, intended, scene, turn in itertools.islice(
                names, count + more if limit is None else min(count, limit)
            ):
                yield f"MSP-IMPROV-S{scenario:02d}{intended}-{speaker}-{condition}-{scene}{turn:02d}"


def block(key: str, label: str) -> str:
    """The lines of a turn: three raters, of whom the last disagrees and the second was copied."""
    word = WORDS[label]
    second = "Angry" if label == "X" else word
    return (
        f"UTD-{key.removeprefix('MSP-')}.avi; {label}; A:2.400000; V:3.250000; D:NaN ; N:3.000000;\n"
        f"WORKER0001; {word}; {word},Concerned; A:2.000000; V:3.000000; D:NaN; N:3.000000;\n"
        f"ANNA_2; {second}; Frustrated,Other (tired; calm); A:3.000000; V:4.000000; D:NaN; N:NaN;\n"
        f"ANNA_2; {second}; Frustrated,Other (tired; calm); A:3.000000; V:4.000000; D:NaN; N:NaN;\n"
        "student-3; Other; Bored; A:2.000000; V:3.000000; D:NaN; N:3.000000;\n"
    )
