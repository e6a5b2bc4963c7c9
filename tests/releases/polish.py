"""The fake Gdańsk recordings of Polish in the layout of the release."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.polish import EMOTIONS
from tests.releases import write_recording

SPEAKERS = ("m1", "m2", "m3", "m4", "m5")
WORDS = ("nie", "oddaj", "podaj", "stop", "tak", "trzymaj")


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = SPEAKERS, takes: int = 5) -> Path:
    """Write ``m1.a_nie_1.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it.
        takes: of each word in each emotion.

    Returns:
        ``root``.
    """
    for speaker, (index, emotion), word, take in itertools.product(speakers, enumerate(EMOTIONS), WORDS, range(takes)):
        write_recording(root / f"{speaker}.{emotion}_{word}_{take + 1}.wav", index, int(speaker[1]), seconds)
    return root
