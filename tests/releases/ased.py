"""A fake ASED in the layout of the release, with its names."""

from __future__ import annotations

import itertools
from collections.abc import Container
from pathlib import Path

from ser_zoo.corpora.ased import EMOTIONS, WOMEN
from tests.releases import write_recording

# Recordings per emotion, in the order of EMOTIONS -> the speakers who have so many.
COUNTS = {
    (14, 14, 14, 14, 14): "01 04 06 13 39 41 50",
    (4, 4, 4, 4, 4): "02 03 32",
    (14, 14, 14, 10, 14): "05 10",
    (4, 0, 0, 4, 4): "07",
    (4, 0, 4, 0, 0): "08 16 22",
    (4, 0, 4, 4, 4): "09",
    (14, 10, 10, 14, 10): "11",
    (4, 4, 0, 0, 4): "12 37",
    (4, 4, 0, 4, 4): "14 38",
    (4, 4, 4, 0, 0): "15 17",
    (4, 4, 4, 0, 4): "18 19",
    (14, 10, 10, 10, 10): "20",
    (14, 14, 10, 10, 10): "21",
    (10, 10, 10, 10, 10): "23 45 48 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65",
    (4, 0, 4, 4, 0): "24",
    (14, 14, 10, 14, 14): "25 26",
    (10, 14, 14, 14, 14): "27 28 29 30",
    (10, 14, 10, 10, 10): "31",
    (0, 4, 4, 0, 4): "33",
    (4, 0, 0, 0, 0): "34",
    (4, 0, 0, 4, 0): "35",
    (4, 4, 0, 4, 0): "36",
    (0, 4, 0, 0, 0): "40",
    (4, 4, 0, 0, 0): "42 44",
    (0, 4, 4, 0, 0): "43",
    (4, 0, 0, 0, 4): "46",
    (4, 4, 4, 4, 2): "47",
    (0, 0, 4, 0, 2): "49",
}
# So many recordings are of these sentences, twice each.
SENTENCES = {14: range(1, 8), 10: range(3, 8), 4: range(1, 3), 2: range(1, 2), 0: range(0)}
# As the rule gives the name -> as the release has it.
MISNAMED = {
    "s4-01-02-01-09": "s4-01-02-02-09",
    "f2-01-01-01-15": "f2-01-01-02-15",
    "f2-07-02-01-21": "f2-07-02-02-21",
    "s4-04-01-01-23": "s4-04-01-02-23",
    "f2-02-01-01-25": "f2-02-01-02-25",
    "s4-04-02-01-29": "S4-04-02-01-29",
    "a5-01-01-01-47": "a5-02-01-01-47",
    "a5-01-02-01-47": "a5-02-02-01-47",
}


def write(root: Path, seconds: float | None = 0.1, speakers: Container[str] | None = None) -> Path:
    """Write ``01Neutral/n1-01-01-01-01.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it; None means all.

    Returns:
        ``root``.
    """
    for counts, group in COUNTS.items():
        for speaker, (index, code) in itertools.product(group.split(), enumerate(EMOTIONS)):
            if speakers is not None and speaker not in speakers:
                continue
            gender = "01" if speaker in WOMEN else "02"
            for text, take in itertools.product(SENTENCES[counts[index]], ("01", "02")):
                name = f"{code}-{text:02d}-{take}-{gender}-{speaker}"
                path = root / f"0{code[1]}{EMOTIONS[code][1]}" / f"{MISNAMED.get(name, name)}.wav"
                write_recording(path, index, int(speaker), seconds)
    return root
