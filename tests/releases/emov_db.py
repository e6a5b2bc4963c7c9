"""A fake EmoV-DB in the layout of the release, with the counts of EmoBox."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.releases import write_recording

# Folder -> how its files begin; bea's neutral and sam's disgust have a capital.
FOLDERS = {"Amused": "amused", "Angry": "anger", "Disgusted": "disgust", "Neutral": "neutral", "Sleepy": "sleepiness"}
CAPITALS = {("bea", "Neutral"), ("sam", "Disgusted")}
# In the order of FOLDERS.
COUNTS = {
    "bea": (296, 303, 333, 355, 497),
    "jenie": (222, 496, 189, 417, 466),
    "josh": (296, 0, 0, 302, 263),
    "sam": (501, 468, 497, 492, 494),
}


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = tuple(COUNTS), takes: int | None = None) -> Path:
    """Write ``root/bea_Amused/amused_1-28_0001.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        takes: at most so many of each emotion by each speaker; None means as many as there are.

    Returns:
        ``root``.
    """
    for speaker in speakers:
        for emotion, (folder, word) in enumerate(FOLDERS.items()):
            start = word.title() if (speaker, folder) in CAPITALS else word
            for number in range(1, COUNTS[speaker][emotion] + 1)[:takes]:
                first = (number - 1) // 28 * 28 + 1
                dash = "_" if speaker == "jenie" else "-"
                name = f"{start}_{first}{dash}{first + 27}_{number:04d}.wav"
                write_recording(root / f"{speaker}_{folder}" / name, emotion, list(COUNTS).index(speaker), seconds)
    return root
