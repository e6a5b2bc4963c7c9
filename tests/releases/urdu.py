"""A fake URDU in the layout of the release, with its counts of speakers and emotions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.releases import write_recording

FOLDERS = {"A": "Angry", "H": "Happy", "N": "Neutral", "S": "Sad"}
COUNTS = {
    "A": {"SM1": 22, "SM2": 28, "SM3": 2, "SM4": 48},
    "H": {
        **{"SF1": 12, "SF2": 2, "SF3": 2, "SF4": 4, "SF5": 4, "SF6": 14, "SF7": 6, "SF8": 2},
        **{"SM3": 2, "SM5": 8, "SM6": 10, "SM7": 28, "SM17": 2, "SM18": 2, "SM19": 2},
    },
    "N": {"SF9": 4, "SM3": 8, "SM5": 72, "SM20": 10, "SM21": 4, "SM22": 2},
    "S": {"SF10": 2, "SF11": 4, "SM6": 4, "SM23": 6, "SM24": 38, "SM25": 40, "SM26": 2, "SM27": 4},
}


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] | None = None) -> Path:
    """Write ``root/Angry/SM1_F1_A01.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written; None means all.

    Returns:
        ``root``.
    """
    chosen = None if speakers is None else set(speakers)
    for emotion, (letter, counts) in enumerate(COUNTS.items()):
        index = 0
        for speaker in sorted(counts):  # as text: SM20 comes before SM3
            for number in range(1, counts[speaker] + 1):
                index += 1
                if chosen is None or speaker in chosen:
                    path = root / FOLDERS[letter] / f"{speaker}_F{number}_{letter}0{index}.wav"
                    write_recording(path, emotion, int(speaker[2:]), seconds)
    return root
