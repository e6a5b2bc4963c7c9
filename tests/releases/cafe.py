"""A fake CaFE in the layout of the release, whose accents are as most systems unpack them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import soundfile

from tests.releases import tone, write_recording

ACTORS = tuple(f"{actor:02d}" for actor in range(1, 13))
FOLDERS = {
    "C": "Colère",
    "D": "Dégoût",
    "J": "Joie",
    "N": "Neutre",
    "P": "Peur",
    "S": "Surprise",
    "T": "Tristesse",
}


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = ACTORS, suffix: str = ".wav") -> Path:
    """Write ``root/Joie/Faible/01-J-1-1.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        suffix: of the files; ``.aiff`` is the edition of 192 kHz.

    Returns:
        ``root``.
    """
    for speaker in speakers:
        for emotion, (code, folder) in enumerate(FOLDERS.items()):
            for intensity in ("1",) if code == "N" else ("1", "2"):
                inner = "" if code == "N" else {"1": "Faible", "2": "Fort"}[intensity]
                for text in range(1, 7):
                    path = (
                        root / folder.encode("cp850").decode("cp1252") / inner / f"{speaker}-{code}-{intensity}-{text}{suffix}"
                    )
                    if seconds is not None and suffix == ".aiff":
                        path.parent.mkdir(parents=True, exist_ok=True)
                        soundfile.write(path, tone(path.stem, emotion, int(speaker), seconds, 192_000), 192_000)
                    else:
                        write_recording(path, emotion, int(speaker), seconds)
    return root
