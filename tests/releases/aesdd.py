"""A fake AESDD in the layout of the release, with its odd names; which files have them is made up in part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.releases import write_recording

FOLDERS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}
SPEAKERS = ("1", "2", "3", "4", "5", "6")
ABSENT = {("h", "20", "3"), ("f", "20", "4")}
# Second takes of speaker 5; of two sentences the first take has a letter too.
SECOND_TAKES = ("a06", "d01", "d02", "f01", "s01", "s02", "s04")
LETTERED_FIRST_TAKES = ("s01", "d01")
WRITTEN_01 = ("f10", "f13", "f14", "f16", "f18")


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = SPEAKERS) -> Path:
    """Write ``root/anger/a01 (1).wav`` and so on; ``s05 (3).wav`` holds no audio.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.

    Returns:
        ``root``.
    """
    for speaker in speakers:
        for emotion, (letter, folder) in enumerate(FOLDERS.items()):
            for number in range(1, 21):
                text = f"{letter}{number:02d}"
                if (letter, text[1:], speaker) in ABSENT:
                    continue
                takes = [""]
                if speaker == "5" and text in SECOND_TAKES:
                    takes = ["a" if text in LETTERED_FIRST_TAKES else "", "b"]
                for take in takes:
                    name = f"{text} ({'01' if speaker == '1' and text in WRITTEN_01 else speaker}){take}"
                    length = None if name == "s05 (3)" else seconds
                    write_recording(root / folder / f"{name}.wav", emotion, int(speaker), length)
    return root
