"""SUBESCO, the SUST Bangla Emotional Speech Corpus.

Bangla, acted, 10 women and 10 men x 10 sentences x 7 emotions x 5 takes, 7000 recordings, 7.83 h, of which 4555 are at 44.1 kHz
and 2445 at 48 kHz. Source: Sultana, Rahman, Selim, Iqbal, PLoS ONE 16(4) e0250173, 2021.

Layout: all files in one folder, ``<M|F>_<number>_<NAME>_S_<sentence>_<EMOTION>_<take>.wav``, for example
``F_02_MONIKA_S_1_ANGRY_5.wav``. The numbers of women and men both start at 01, so gender and number together are the speaker.
One name has a bracket that does not belong there: ``F_02_MONIKA_S_2_SURPRISE_3].wav``. Whether the archive has a folder
``SUBESCO/`` was not found; the files are read with and without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Download, FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

GRAMMAR = re.compile(
    r"(?P<gender>[MF])_(?P<number>0[1-9]|10)_(?P<person>[A-Z]+)_S_(?P<text>[1-9]|10)_"
    r"(?P<emotion>ANGRY|DISGUST|FEAR|HAPPY|NEUTRAL|SAD|SURPRISE)_(?P<take>[1-5])\]?"
)
EMOTIONS = {
    "ANGRY": "anger",
    "DISGUST": "disgust",
    "FEAR": "fear",
    "HAPPY": "happiness",
    "NEUTRAL": "neutral",
    "SAD": "sadness",
    "SURPRISE": "surprise",
}
GENDERS = {"F": "female", "M": "male"}


class SUBESCO(FileNameCorpus):
    """Reader of SUBESCO."""

    name: ClassVar[str] = "subesco"
    title: ClassVar[str] = "SUBESCO"
    language: ClassVar[str] = "bn"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "CC BY 4.0"
    url: ClassVar[str] = "https://zenodo.org/records/4526477 (SUBESCO.zip)"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 1000)
    speakers: ClassVar[int] = 20
    hours: ClassVar[float] = 7.83
    layout: ClassVar[str] = "all recordings of the release in this folder or in SUBESCO/ (F_02_MONIKA_S_1_ANGRY_5.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 4000 utterances",
        ),
    )

    downloads: ClassVar[tuple[Download, ...]] = (Download(url="https://zenodo.org/records/4526477/files/SUBESCO.zip"),)

    def files(self) -> Iterator[Path]:
        """The recordings in the root and in ``SUBESCO/``."""
        yield from audio_files(self.root)
        yield from audio_files(subfolder(self.root, "SUBESCO"))

    def parse(self, path: Path) -> Utterance:
        """The row of ``F_02_MONIKA_S_1_ANGRY_5.wav``: second woman, first sentence, angry, fifth take."""
        match = match_name(GRAMMAR, path, self.title, "F_02_MONIKA_S_1_ANGRY_5.wav")
        gender = GENDERS[match["gender"]]
        return Utterance(
            id=path.stem.rstrip("]"),
            path=path,
            speaker=f"{gender.title()}-{match['number']}",
            gender=gender,
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["text"],
            repetition=match["take"],
            language=self.language,
        )
