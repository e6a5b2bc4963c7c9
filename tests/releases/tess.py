"""A fake TESS in the layout of the release."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import soundfile

from ser_zoo.protocols.table import TESS_WORDS
from tests.releases import tone, write_recording

FOLDERS = {
    "OAF": ("angry", "disgust", "Fear", "happy", "neutral", "Pleasant_surprise", "Sad"),
    "YAF": ("angry", "disgust", "fear", "happy", "neutral", "pleasant_surprised", "sad"),
}
CODES = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
MISNAMED = {"OAF_bite_neutral": "OA_bite_neutral"}
RATES = {"OAF_food_fear": 96_000}
AIFF = ("YAF_germ_angry", "YAF_neat_fear")
# The words of odd files, those that validate, and made-up ones up to 200; a test that has the release's list passes it.
ODD_WORDS = ("bite", "food", "germ", "neat")
KNOWN = {*ODD_WORDS, *TESS_WORDS}
WORDS = tuple(sorted(KNOWN | {f"word{chr(97 + index // 14)}{chr(97 + index % 14)}" for index in range(200 - len(KNOWN))}))


def write(
    root: Path,
    seconds: float | None = 0.1,
    speakers: Iterable[str] = tuple(FOLDERS),
    words: Iterable[str] = WORDS,
    flat: bool = False,
) -> Path:
    """Write ``root/OAF_angry/OAF_back_angry.wav`` and so on, with the release's oddities.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        words: that are written.
        flat: all files in one folder.

    Returns:
        ``root``.
    """
    chosen = tuple(words)
    for speaker in speakers:
        number = list(FOLDERS).index(speaker)
        for emotion, (code, folder) in enumerate(zip(CODES, FOLDERS[speaker], strict=True)):
            for word in chosen:
                name = f"{speaker}_{word}_{code}"
                path = root / ("" if flat else f"{speaker}_{folder}") / f"{MISNAMED.get(name, name)}.wav"
                if seconds is not None and (name in AIFF or name in RATES):
                    rate = RATES.get(name, 24_414)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    wave = tone(name, emotion, number, seconds, rate)
                    soundfile.write(path, wave, rate, format="AIFF" if name in AIFF else "WAV")
                else:
                    write_recording(path, emotion, number, seconds)
    return root
