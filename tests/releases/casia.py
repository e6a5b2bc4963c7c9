"""The fake free part of CASIA in the layout of the release."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.casia import EMOTIONS, SPEAKERS
from tests.releases import write_recording


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = SPEAKERS, texts: int = 50) -> Path:
    """Write ``liuchanhg/angry/201.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it.
        texts: so many sentences of each emotion.

    Returns:
        ``root``.
    """
    for speaker, (index, emotion), text in itertools.product(speakers, enumerate(EMOTIONS), range(texts)):
        write_recording(root / speaker / emotion / f"{201 + text}.wav", index, SPEAKERS.index(speaker), seconds)
    return root
