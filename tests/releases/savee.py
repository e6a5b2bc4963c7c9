"""A fake SAVEE in the layout of the release, or flat."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.releases import write_recording

SPEAKERS = ("DC", "JE", "JK", "KL")
TAKES = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = SPEAKERS, flat: bool = False) -> Path:
    """Write ``root/AudioData/DC/a01.wav`` and so on with ``Info.txt``, or ``root/DC_a01.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        flat: all files in one folder.

    Returns:
        ``root``.
    """
    for speaker in speakers:
        for emotion, (code, takes) in enumerate(TAKES.items()):
            for number in range(1, takes + 1):
                name = f"{code}{number:02d}.wav"
                path = root / f"{speaker}_{name}" if flat else root / "AudioData" / speaker / name
                write_recording(path, emotion, SPEAKERS.index(speaker), seconds)
    if not flat:
        (root / "AudioData" / "Info.txt").write_text("Audio data of four speakers.\n")
    return root
