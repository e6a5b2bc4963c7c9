"""A fake BAVED in the layout of the release; ages and numbers of the records are made up."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from ser_zoo.corpora.baved import WORDS
from tests.releases import write_recording

# Recordings of the official release per speaker, in the order of the levels.
COUNTS = {
    **{0: (0, 10, 4), 1: (0, 7, 0), 2: (0, 14, 0), 3: (0, 0, 6), 4: (47, 26, 42), 5: (0, 0, 7), 6: (7, 0, 0), 7: (6, 0, 0)},
    **{8: (0, 0, 7), 9: (0, 7, 0), 10: (0, 7, 0), 11: (7, 0, 0), 12: (0, 0, 7), 13: (0, 7, 0), 14: (0, 7, 0), 15: (0, 0, 10)},
    **{16: (7, 0, 0), 17: (7, 7, 7), 18: (0, 0, 7), 19: (0, 4, 0), 20: (0, 3, 0), 21: (0, 4, 0), 22: (0, 4, 0), 23: (4, 0, 0)},
    **{24: (0, 4, 0), 25: (0, 0, 4), 26: (3, 0, 0), 27: (0, 0, 3), 28: (0, 0, 3), 29: (0, 0, 3), 30: (3, 0, 0), 31: (0, 3, 0)},
    **{32: (0, 0, 3), 33: (3, 0, 0), 34: (3, 0, 0), 35: (0, 3, 0), 36: (0, 3, 0), 37: (0, 3, 0), 38: (0, 0, 3), 39: (0, 0, 4)},
    **{40: (0, 0, 4), 41: (0, 0, 3), 42: (0, 0, 4), 43: (0, 6, 0), 44: (0, 0, 3), 45: (4, 0, 0), 46: (7, 7, 7)},
    **{47: (49, 49, 70), 48: (7, 7, 7), 49: (39, 63, 58), 50: (100, 103, 103), 51: (15, 12, 13), 53: (7, 7, 7)},
    **{54: (14, 27, 20), 55: (110, 115, 115), 56: (115, 118, 116), 100: (7, 7, 7), 101: (7, 7, 7), 102: (7, 7, 7)},
    **{103: (0, 14, 7)},
}
WOMEN = frozenset({3, 9, 10, 12, 20, 38, 39, 41, 42, 44, 50, 54, 56, 100, 102, 103})


def write(root: Path, seconds: float | None = 0.1, speakers: Container[int] | None = None) -> Path:
    """Write ``0/0-m-21-0-1-0.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it; None means all.

    Returns:
        ``root``.
    """
    for speaker, counts in COUNTS.items():
        if speakers is not None and speaker not in speakers:
            continue
        gender = "f" if speaker in WOMEN else "m"
        for level, count in enumerate(counts):
            for record in range(count):
                word = WORDS[record % len(WORDS)]
                path = root / word / f"{speaker}-{gender}-21-{word}-{level}-{record}.wav"
                write_recording(path, level, speaker, seconds)
    return root
