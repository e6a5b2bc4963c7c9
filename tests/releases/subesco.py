"""A fake SUBESCO in the layout of the release; all names of people but one are made up."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from tests.releases import write_recording

SPEAKERS = tuple(f"{gender}_{number:02d}" for gender in "FM" for number in range(1, 11))
EMOTIONS = ("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE")
PEOPLE = {"F_02": "MONIKA"}
MISNAMED = {"F_02_MONIKA_S_2_SURPRISE_3": "F_02_MONIKA_S_2_SURPRISE_3]"}


def write(
    root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = SPEAKERS, texts: Iterable[int] = range(1, 11)
) -> Path:
    """Write ``root/F_01_NAMEA_S_1_ANGRY_1.wav`` and so on, with the misnamed file.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: like ``F_01``; whose recordings are written.
        texts: numbers of the sentences that are written.

    Returns:
        ``root``.
    """
    for speaker, text, (emotion, word), take in product(speakers, texts, enumerate(EMOTIONS), range(1, 6)):
        number = SPEAKERS.index(speaker)
        name = f"{speaker}_{PEOPLE.get(speaker, f'NAME{chr(65 + number)}')}_S_{text}_{word}_{take}"
        write_recording(root / f"{MISNAMED.get(name, name)}.wav", emotion, number, seconds)
    return root
