"""CASIA: the part of the CASIA Mandarin emotional corpus that circulates freely.

Mandarin Chinese, acted, 4 speakers x 50 sentences x 6 emotions, 1200 recordings, 0.64 h, 16 kHz. Source: Institute of
Automation, Chinese Academy of Sciences. The whole corpus (9600 recordings) is licensed and is not read here; the free part is
found on mirrors of third parties, and under which licence was not found.

Layout: ``<speaker>/<emotion>/<201 ... 250>.wav``, for example ``wangzhe/angry/201.wav``; the number is that of the sentence.
One speaker is written ``liuchanhg``, as here, in all copies that were met. Of the four two are said to be women, but who was
not found in a source that could be checked, so no gender is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

GRAMMAR = re.compile(r"2(?:0[1-9]|[1-4]\d|50)")
SPEAKERS = ("liuchanhg", "wangzhe", "zhaoquanyin", "zhaozuoxiang")
EMOTIONS = {
    "angry": "anger",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}


class CASIA(FileNameCorpus):
    """Reader of the free part of CASIA."""

    name: ClassVar[str] = "casia"
    title: ClassVar[str] = "CASIA"
    language: ClassVar[str] = "zh"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "http://www.chineseldc.org (the whole corpus; its free part is on mirrors)"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 200)
    speakers: ClassVar[int] = 4
    hours: ClassVar[float] = 0.64
    layout: ClassVar[str] = "the folders of the four speakers, with one folder for each emotion (wangzhe/angry/201.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="6class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 800 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings, speaker by speaker."""
        for speaker, emotion in product(SPEAKERS, EMOTIONS):
            yield from audio_files(subfolder(subfolder(self.root, speaker), emotion))

    def parse(self, path: Path) -> Utterance:
        """The row of ``wangzhe/angry/201.wav``, whose id is ``wangzhe-angry-201``."""
        match_name(GRAMMAR, path, self.title, "201.wav ... 250.wav")
        speaker, emotion = path.parent.parent.name.lower(), path.parent.name.lower()
        return Utterance(
            id=f"{speaker}-{emotion}-{path.stem}",
            path=path,
            speaker=speaker,
            label=EMOTIONS[emotion],
            original_label=emotion,
            text=path.stem,
            language=self.language,
        )
