"""A fake MESD in the layout of the release; the words of corpus B are made up."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.mesd import FOLDER
from tests.releases import write_recording

EMOTIONS = ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness")
VOICES = "FMC"
_A = (
    "abajo adios antes arriba ayer basta_ya de_nada delante dentro derecha detras fuera gracias hola hoy izquierda lento no "
    "nunca por_favor pronto rapido si tarde"
)
WORDS = {"A": tuple(_A.split()), "B": tuple(f"palabra_{letter}" for letter in "abcdefghijklmnñopqrstuvw")}
ABSENT = frozenset({"Anger_C_A_hoy", "Neutral_C_A_tarde"})


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = VOICES, words: int = 24) -> Path:
    """Write ``Mexican Emotional Speech Database (MESD)/Anger_F_A_abajo.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: the voices that are in it.
        words: at most so many of each emotion, voice and corpus.

    Returns:
        ``root``.
    """
    for (index, emotion), voice, corpus in itertools.product(enumerate(EMOTIONS), speakers, WORDS):
        for word in WORDS[corpus][:words]:
            name = f"{emotion}_{voice}_{corpus}_{word}"
            if name not in ABSENT:
                write_recording(root / FOLDER / f"{name}.wav", index, VOICES.index(voice), seconds)
    return root
