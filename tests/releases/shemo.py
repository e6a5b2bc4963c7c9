"""A fake ShEMO in the layout of the release; who says how much of what is made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.releases import write_recording

WOMEN = tuple(f"F{speaker:02d}" for speaker in range(1, 32))
MEN = tuple(f"M{speaker:02d}" for speaker in range(1, 57))
COUNTS = {"A": 1059, "F": 38, "H": 201, "N": 1028, "S": 449, "W": 225}
BY_WOMEN, TOTAL = 1263, 3000


def names() -> list[str]:
    """3000 names without suffix with the release's counts of emotions and genders, spread evenly over the speakers."""
    taken: Counter[str] = Counter()
    every, women, men = [], 0, 0
    for place, emotion in enumerate(emotion for emotion, count in COUNTS.items() for _ in range(count)):
        if (place + 1) * BY_WOMEN // TOTAL > women:
            speaker, women = WOMEN[women % len(WOMEN)], women + 1
        else:
            speaker, men = MEN[men % len(MEN)], men + 1
        taken[speaker + emotion] += 1
        every.append(f"{speaker}{emotion}{taken[speaker + emotion]:02d}")
    return every


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = WOMEN + MEN) -> Path:
    """Write ``root/female/F01A01.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.

    Returns:
        ``root``.
    """
    chosen = set(speakers)
    for name in names():
        if name[:3] in chosen:
            path = root / ("female" if name.startswith("F") else "male") / f"{name}.wav"
            write_recording(path, list(COUNTS).index(name[3]), int(name[1:3]), seconds)
    return root
