"""A fake Oréau, version 2, in the layout of the release."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.oreau import EMOTIONS
from tests.releases import write_recording

# Recordings of the official release per speaker, in the order of EMOTIONS.
COUNTS = {
    "07": (4, 5, 4, 6, 6, 6, 6),
    "08": (2, 1, 2, 2, 0, 2, 2),
    "09": (2, 2, 2, 1, 1, 2, 2),
    "10": (2, 2, 2, 2, 2, 2, 2),
    "11": (6, 6, 6, 6, 4, 6, 3),
    "12": (2, 2, 1, 2, 2, 1, 2),
    "13": (1, 2, 2, 2, 1, 2, 2),
    "14": (2, 2, 1, 2, 1, 1, 2),
    "16": (2, 2, 2, 2, 2, 1, 2),
    "18": (1, 2, 2, 2, 1, 2, 1),
    "19": (2, 2, 1, 2, 2, 2, 1),
    "20": (2, 2, 2, 2, 1, 2, 1),
    "21": (2, 2, 2, 2, 1, 2, 2),
    "22": (2, 2, 2, 2, 2, 2, 1),
    "23": (0, 2, 1, 2, 0, 2, 2),
    "24": (2, 2, 2, 2, 2, 2, 1),
    "25": (3, 2, 2, 2, 2, 2, 1),
    "26": (2, 2, 1, 2, 2, 2, 1),
    "27": (2, 2, 2, 2, 0, 2, 2),
    "28": (2, 2, 1, 2, 1, 1, 1),
    "29": (2, 2, 2, 2, 0, 2, 2),
    "30": (2, 1, 1, 2, 1, 0, 0),
    "31": (2, 2, 2, 2, 1, 1, 1),
    "32": (2, 1, 2, 2, 2, 2, 1),
    "33": (2, 1, 2, 2, 2, 1, 1),
    "36": (2, 2, 2, 2, 2, 1, 2),
    "37": (2, 2, 2, 2, 1, 2, 2),
    "38": (2, 2, 2, 2, 2, 2, 2),
    "39": (2, 2, 2, 2, 2, 2, 2),
    "40": (2, 2, 1, 2, 2, 1, 1),
    "41": (2, 2, 2, 1, 2, 2, 2),
    "42": (2, 2, 2, 2, 1, 2, 2),
}
WOMEN = frozenset({"10", "11", "13", "21", "24", "37", "42"})
MISNAMED = {"07a03Sa": "07z03Sa", "07a04Sa": "07z04Sa"}


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = tuple(COUNTS)) -> Path:
    """Write ``OréauFR_02/m/sessc/07a01Ca.wav`` and so on, the é of two characters as the archive has it.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it.

    Returns:
        ``root``.
    """
    for speaker in speakers:
        gender = "f" if speaker in WOMEN else "m"
        for index, (emotion, count) in enumerate(zip(EMOTIONS, COUNTS[speaker], strict=True)):
            for text in range(1, count + 1):
                name = f"{speaker}a{text:02d}{emotion}a"
                folder = root / "Ore\u0301auFR_02" / gender / f"sess{emotion.lower()}"
                write_recording(folder / f"{MISNAMED.get(name, name)}.wav", index, int(speaker), seconds)
    return root
