"""MEAD, the Multi-view Emotional Audio-visual Dataset: its sound tracks.

English, acted by 48 people (21 women, 27 men), 8 emotions in 3 levels of intensity (neutral in one), 31729 recordings, 37.3 h,
48 kHz in m4a. Source: Wang, Wu, Song, Yang, Wu, Qian, He, Qiao, Loy: "MEAD: A Large-scale Audio-visual Dataset for Emotional
Talking-face Generation", ECCV 2020.

Layout: ``<M|W><three digits>/audio/<emotion>/level_<1-3>/<number>.m4a``, for example ``M003/audio/angry/level_1/001.m4a``; M is
a man, W a woman. The recordings must become wav files before they can be heard: ``ser-zoo prepare`` writes them beside the m4a.
The videos, beside ``audio``, are not read.

There are up to 30 recordings of each emotion and level and 40 of neutral. Counts are those of the copy that EmoBox lists. Which
number is which sentence was not found, so texts are not told, and neither was the licence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import (
    AUDIO_SUFFIXES,
    FileNameCorpus,
    Task,
    Utterance,
    audio_files,
    keep,
    match_name,
    prefer_wav,
    subfolder,
)
from ser_zoo.corpora.unpacked import subfolders

SPEAKER = re.compile(r"[MW]\d{3}", re.IGNORECASE)
GRAMMAR = re.compile(r"0(?:0[1-9]|[1-3]\d|40)")
EMOTIONS = {
    "angry": "anger",
    "contempt": "contempt",
    "disgusted": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprised": "surprise",
}
LEVELS = ("level_1", "level_2", "level_3")
GENDERS = {"M": "male", "W": "female"}


class MEAD(FileNameCorpus):
    """Reader of the recordings of MEAD, as m4a or wav."""

    name: ClassVar[str] = "mead"
    title: ClassVar[str] = "MEAD"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "https://wywu.github.io/projects/MEAD/MEAD.html"
    counts: ClassVar[Mapping[str, int]] = {
        "anger": 4193,
        "contempt": 4215,
        "disgust": 4284,
        "fear": 4251,
        "happiness": 4294,
        "neutral": 1916,
        "sadness": 4306,
        "surprise": 4270,
    }
    speakers: ClassVar[int] = 48
    hours: ClassVar[float] = 37.3
    layout: ClassVar[str] = "the folders of the speakers, each with its folder audio/ (M003/audio/angry/level_1/001.m4a ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="8class", classes=keep(*counts), source="the release"),
        Task(
            name="7class",
            classes=keep(*(label for label in counts if label != "contempt")),
            source="Ekman's six and neutral: 27514 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 14709 utterances",
        ),
    )
    compressed: ClassVar[tuple[str, ...]] = (".m4a",)

    def files(self) -> Iterator[Path]:
        """The recordings speaker by speaker; of an m4a and its wav the wav."""
        for speaker in (path for path in subfolders(self.root) if SPEAKER.fullmatch(path.name)):
            audio = subfolder(speaker, "audio")
            for emotion, level in product(EMOTIONS, LEVELS):
                folder = subfolder(subfolder(audio, emotion), level)
                yield from prefer_wav(audio_files(folder, (*AUDIO_SUFFIXES, *self.compressed)))

    def parse(self, path: Path) -> Utterance:
        """The row of ``M003/audio/angry/level_1/001.m4a``, whose id is ``M003-angry-level-1-001``."""
        match_name(GRAMMAR, path, self.title, "001.m4a ... 040.m4a")
        speaker = path.parts[-5].upper()
        emotion, level = (part.lower() for part in path.parts[-3:-1])
        return Utterance(
            id="-".join((speaker, emotion, level.replace("_", "-"), path.stem)),
            path=path,
            speaker=speaker,
            gender=GENDERS[speaker[0]],
            label=EMOTIONS[emotion],
            original_label=emotion,
            intensity=level[-1],
            language=self.language,
        )
