"""A fake PAVOQUE in the layout of the release; prompts and wording are made up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.pavoque import STYLES, SUBSETS
from tests.releases import write_recording

# Utterances of the official release per subset and style.
COUNTS = {
    "angry": {"angry": 601},
    "happy": {"happy": 584},
    "neutral": {"neutral": 3126},
    "outtakes": {"neutral": 1218, "angry": 123, "happy": 162, "poker": 244, "sad": 145},
    "poker": {"poker": 575},
    "sad": {"sad": 556},
}
LENGTH = 2.5
"""Seconds of an utterance by the lists of an empty release."""


def write(
    root: Path, seconds: float | None = 0.1, subsets: Iterable[str] = SUBSETS, limit: int | None = None, suffix: str = ".flac"
) -> Path:
    """Write ``pavoque-angry.flac``, ``pavoque-angry.yaml`` and so on; every other entry has segments.

    Args:
        root: of the release.
        seconds: of each utterance; None writes empty recordings.
        subsets: that are in it.
        limit: at most so many of each subset and style; None means as many as the official release has.
        suffix: of the recordings.

    Returns:
        ``root``.
    """
    length = LENGTH if seconds is None else seconds
    for subset in subsets:
        lines, number = [], 0
        for style, count in COUNTS[subset].items():
            for _ in range(count if limit is None else min(count, limit)):
                lines.append(f"- prompt: {subset[0]}{number:04d}{'b' if subset == 'outtakes' else ''}\n")
                lines.append(f"  text: 'Satz {number}:\n    so weit.'\n" if number % 3 else f"  text: Satz {number}.\n")
                lines.append(f"  style: {style}\n  start: {number * length:.4f}\n  end: {(number + 1) * length:.4f}\n")
                lines += ["  segments:\n  - {lab: '?', end: 0.1}\n  - {lab: _, end: 0.2}\n"] if number % 2 else []
                number += 1
        path = root / f"pavoque-{subset}{suffix}"
        whole = None if seconds is None else seconds * number
        write_recording(path, list(STYLES).index(style), 0, whole)
        path.with_suffix(".yaml").write_text("".join(lines), encoding="utf-8")
    return root
