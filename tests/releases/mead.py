"""A fake MEAD in the layout of the release, whose m4a are wav files when they are to be heard."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser_zoo.corpora.mead import EMOTIONS, LEVELS
from tests.releases import write_recording

# Recordings of the levels: as most speakers have them, and of each speaker what differs.
USUAL = {**dict.fromkeys(EMOTIONS, (30, 30, 30)), "angry": (29, 29, 29), "neutral": (40, 0, 0)}
SPEAKERS: dict[str, dict[str, tuple[int, int, int]]] = {
    "M003": {"angry": (30, 30, 30), "contempt": (30, 29, 29), "disgusted": (30, 29, 30)},
    "M005": {"fear": (30, 30, 27), "surprised": (30, 30, 28)},
    "M007": {"contempt": (23, 27, 27), "disgusted": (30, 27, 27)},
    "M009": {"contempt": (27, 30, 30), "fear": (30, 26, 30), "happy": (30, 27, 30), "surprised": (12, 16, 30)},
    "M011": {},
    "M012": {"angry": (29, 29, 30), "fear": (30, 30, 27)},
    "M013": {"angry": (30, 30, 30)},
    "M019": {"angry": (29, 29, 25)},
    "M022": {},
    "M023": {"happy": (30, 26, 30), "neutral": (36, 0, 0)},
    "M024": {"surprised": (30, 30, 27)},
    "M025": {},
    "M026": {},
    "M027": {"angry": (29, 29, 26)},
    "M028": {"contempt": (30, 30, 26)},
    "M029": {},
    "M030": {"disgusted": (30, 27, 30), "fear": (26, 30, 30)},
    "M031": {"angry": (29, 29, 25)},
    "M032": {},
    "M033": {"disgusted": (30, 26, 26)},
    "M034": {},
    "M035": {},
    "M037": {"angry": (30, 30, 30), "contempt": (29, 29, 29), "fear": (30, 26, 30)},
    "M039": {"angry": (30, 30, 30), "contempt": (29, 29, 29)},
    "M040": {"angry": (30, 30, 30), "contempt": (29, 29, 29)},
    "M041": {"angry": (30, 30, 30), "contempt": (29, 29, 29), "sad": (30, 26, 30)},
    "M042": {"angry": (30, 30, 30), "contempt": (29, 29, 29)},
    "W009": {"angry": (29, 25, 29), "disgusted": (30, 30, 27), "fear": (30, 28, 28)},
    "W011": {"happy": (30, 26, 30)},
    "W014": {"angry": (28, 29, 29), "fear": (30, 27, 30)},
    "W015": {"surprised": (30, 30, 27)},
    "W016": {},
    "W017": {},
    "W018": {},
    "W019": {"angry": (29, 25, 29)},
    "W021": {"angry": (30, 30, 27), "contempt": (29, 29, 29), "fear": (26, 30, 30)},
    "W023": {"angry": (30, 25, 30), "contempt": (29, 29, 26), "disgusted": (30, 26, 30), "happy": (29, 29, 29)},
    "W024": {"angry": (29, 25, 29), "contempt": (29, 29, 29), "happy": (26, 26, 26), "sad": (30, 30, 26)},
    "W025": {"contempt": (29, 29, 29), "surprised": (30, 30, 27)},
    "W026": {"angry": (30, 30, 30), "contempt": (29, 29, 29), "disgusted": (26, 30, 30)},
    "W028": {"angry": (27, 30, 30), "contempt": (29, 29, 29), "disgusted": (30, 30, 27), "fear": (30, 30, 26)},
    "W029": {"angry": (29, 29, 30), "contempt": (29, 29, 29)},
    "W033": {"angry": (30, 30, 30), "contempt": (16, 24, 29), "fear": (24, 20, 20)},
    "W035": {"angry": (30, 30, 30), "contempt": (29, 29, 29)},
    "W036": {
        "angry": (29, 30, 30),
        "contempt": (25, 29, 25),
        "fear": (30, 28, 28),
        "sad": (30, 27, 27),
        "surprised": (27, 30, 26),
    },
    "W037": {"angry": (30, 30, 30), "contempt": (29, 29, 29), "disgusted": (30, 26, 30), "fear": (28, 28, 28)},
    "W038": {"angry": (30, 30, 30), "contempt": (29, 29, 29)},
    "W040": {"angry": (30, 30, 30), "contempt": (29, 29, 29)},
}


def recordings(speakers: Iterable[str] = tuple(SPEAKERS), limit: int | None = None) -> Iterator[tuple[str, str, str, str]]:
    """Speaker, emotion, level and number of the release's recordings.

    Args:
        speakers: who is in it.
        limit: at most so many of each emotion and level; None means as many as the official release has.
    """
    for speaker, emotion in itertools.product(speakers, EMOTIONS):
        for level, count in zip(LEVELS, SPEAKERS[speaker].get(emotion, USUAL[emotion]), strict=True):
            for number in range(1, (count if limit is None else min(count, limit)) + 1):
                yield speaker, emotion, level, f"{number:03d}"


def write(
    root: Path,
    seconds: float | None = 0.1,
    speakers: Iterable[str] = tuple(SPEAKERS),
    limit: int | None = None,
    suffix: str | None = None,
) -> Path:
    """Write ``M003/audio/angry/level_1/001.m4a`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it.
        limit: at most so many of each emotion and level; None means as many as the official release has.
        suffix: of the files; None means ``.m4a`` for empty files, as the release has them, and ``.wav`` for sounds.

    Returns:
        ``root``.
    """
    suffix = suffix or (".m4a" if seconds is None else ".wav")
    emotions = list(EMOTIONS)
    for speaker, emotion, level, number in recordings(speakers, limit):
        path = root / speaker / "audio" / emotion / level / f"{number}{suffix}"
        write_recording(path, emotions.index(emotion), int(speaker[1:]), seconds)
    return root
