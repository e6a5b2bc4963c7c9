"""Fake releases in the layout of the official ones, with very short synthetic recordings.

A recording is a tone whose frequency is given by emotion and speaker, so that a model can learn both, over faint noise that
is its own, so that no two files hold the same audio.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

EMO_DB_EMOTIONS = "WLEAFNT"
# Utterances of the official release per speaker, in the order of EMO_DB_EMOTIONS.
EMO_DB_COUNTS = {
    "03": (14, 5, 1, 4, 7, 11, 7),
    "08": (12, 10, 0, 6, 11, 10, 9),
    "09": (13, 4, 8, 1, 4, 9, 4),
    "10": (10, 8, 1, 8, 4, 4, 3),
    "11": (11, 8, 2, 10, 8, 9, 7),
    "12": (12, 5, 2, 6, 2, 4, 4),
    "13": (12, 10, 8, 7, 10, 9, 5),
    "14": (16, 8, 8, 12, 8, 7, 10),
    "15": (13, 9, 5, 8, 6, 11, 4),
    "16": (14, 14, 11, 7, 11, 5, 9),
}
EMO_DB_TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")

RAVDESS_ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
RAVDESS_EMOTIONS = tuple(f"{emotion:02d}" for emotion in range(1, 9))


def write_emo_db(
    root: Path,
    speakers: Iterable[str] = tuple(EMO_DB_COUNTS),
    emotions: Iterable[str] = EMO_DB_EMOTIONS,
    takes: int | None = None,
    seconds: float = 0.1,
    suffix: str = ".wav",
) -> Path:
    """Write ``root/wav/03a01Fa.wav`` and so on.

    Args:
        root: of the release.
        speakers: who is in it.
        emotions: letters of the emotions that are in it.
        takes: of each emotion by each speaker; None means as many as the official release has.
        seconds: length of the shortest recording; the longest has half as much again.
        suffix: of the files, ``.wav`` or ``.flac``.

    Returns:
        ``root``.
    """
    for speaker, emotion in itertools.product(speakers, emotions):
        at = EMO_DB_EMOTIONS.index(emotion)
        count = EMO_DB_COUNTS[speaker][at] if takes is None else takes
        names = itertools.product("abcdef", EMO_DB_TEXTS)
        for version, text in itertools.islice(names, count):
            path = root / "wav" / f"{speaker}{text}{emotion}{version}{suffix}"
            write_tone(path, at, int(speaker), seconds)
    return root


def ravdess_names(
    actors: Iterable[str] = RAVDESS_ACTORS, emotions: Iterable[str] = RAVDESS_EMOTIONS, takes: int = 8
) -> list[str]:
    """Names without suffix: of each emotion by each actor the first ``takes`` of 8 (of 4 for neutral)."""
    return [
        "-".join(("03", "01", emotion, *take, actor))
        for actor, emotion in itertools.product(actors, emotions)
        for take in list(itertools.product(("01",) if emotion == "01" else ("01", "02"), ("01", "02"), ("01", "02")))[:takes]
    ]


def write_ravdess(
    root: Path, names: Sequence[str] | None = None, seconds: float = 0.1, suffix: str = ".wav", rate: int = 16_000
) -> Path:
    """Write ``root/Actor_01/03-01-01-01-01-01-01.wav`` and so on.

    Args:
        root: of the release.
        names: without suffix, as ``ravdess_names`` gives them; None means all 1440.
        seconds: length of the shortest recording; the longest has half as much again.
        suffix: of the files, ``.wav`` or ``.flac``.
        rate: Hz; the official release has 48000.

    Returns:
        ``root``.
    """
    for name in ravdess_names() if names is None else names:
        path = root / f"Actor_{name[-2:]}" / f"{name}{suffix}"
        write_tone(path, int(name[6:8]), int(name[-2:]), seconds, rate)
    return root


def write_recording(path: Path, emotion: int, speaker: int, seconds: float | None) -> None:
    """A tone of about ``seconds``; None makes an empty file, which is enough where no recording is opened."""
    if seconds is not None:
        write_tone(path, emotion, speaker, seconds)
        return
    try:
        path.write_bytes(b"")
    except FileNotFoundError:  # asked for only then: a large release has tens of thousands of files
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")


def write_tone(path: Path, emotion: int, speaker: int, seconds: float = 0.1, rate: int = 16_000) -> None:
    """Write ``tone`` as 16 bit, with the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(path.stem, emotion, speaker, seconds, rate), rate)


def tone(name: str, emotion: int, speaker: int, seconds: float, rate: int) -> NDArray[np.float64]:
    """(T,) in [-1, 1]: emotions are 300 Hz apart, speakers 10 Hz; length and noise are drawn by ``name``."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    time = np.arange(round(seconds * rng.uniform(1, 1.5) * rate)) / rate
    wave: NDArray[np.float64] = 0.5 * np.sin(2 * np.pi * (300 * (emotion + 1) + 10 * speaker) * time)
    return wave + rng.normal(0, 0.01, len(time))
