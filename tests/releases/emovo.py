"""A fake EMOVO in the layout of the release, stereo but for one file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from tests.releases import tone, write_recording

SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
EMOTIONS = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")
TEXTS = ("b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2")
MONO = "rab-f1-b1"


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = SPEAKERS, texts: Iterable[str] = TEXTS) -> Path:
    """Write ``root/f1/dis-f1-b1.wav`` and so on; the right channel is half as loud as the left.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        texts: that are written.

    Returns:
        ``root``.
    """
    chosen = tuple(texts)
    for speaker in speakers:
        for emotion, code in enumerate(EMOTIONS):
            for text in chosen:
                name = f"{code}-{speaker}-{text}"
                path = root / speaker / f"{name}.wav"
                if seconds is None or name == MONO:
                    write_recording(path, emotion, SPEAKERS.index(speaker), seconds)
                else:
                    left = tone(name, emotion, SPEAKERS.index(speaker), seconds, 48_000)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(path, np.stack((left, left / 2), axis=1), 48_000)
    return root
