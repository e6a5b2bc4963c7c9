"""A fake JL-Corpus in the layout of the release."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from tests.releases import write_recording

FOLDER = "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)"
SPEAKERS = ("female1", "female2", "male1", "male2")
EMOTIONS = (
    "angry",
    "anxious",
    "apologetic",
    "assertive",
    "concerned",
    "encouraging",
    "excited",
    "happy",
    "neutral",
    "sad",
)
TEXTS = tuple(f"{number}{half}" for number in range(1, 16) for half in "ab")


def write(
    root: Path,
    seconds: float | None = 0.1,
    speakers: Iterable[str] = SPEAKERS,
    texts: Iterable[str] = TEXTS,
    transcripts: bool = False,
) -> Path:
    """Write ``female1_angry_1a_1.wav`` and so on in the folder in the folder of ``root``.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        texts: that are written.
        transcripts: write the text of every recording beside it, as the release does.

    Returns:
        ``root``.
    """
    for speaker, (emotion, word), text, take in product(speakers, enumerate(EMOTIONS), texts, "12"):
        path = root / FOLDER / f"{speaker}_{word}_{text}_{take}.wav"
        write_recording(path, emotion, SPEAKERS.index(speaker), seconds)
        if transcripts:
            path.with_suffix(".txt").write_text("a sentence\n")
    return root
