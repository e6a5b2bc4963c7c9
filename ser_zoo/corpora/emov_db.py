"""EmoV-DB, the Emotional Voices Database for speech synthesis.

English, acted, two women (bea, jenie) and two men (josh, sam) who read sentences of CMU Arctic in up to 5 emotions: amused,
angry, disgusted, neutral, sleepy. josh was never angry or disgusted. Source: Adigwe, Tits, El Haddad, Ostadabbas, Dutoit,
arXiv 1806.09514, 2018.

Layout: ``<speaker>_<Emotion>/<emotion>_<first>-<last>_<sentence>.wav``, for example ``bea_Amused/amused_1-15_0001.wav``: the
sentence is its number in part A of CMU Arctic, first and last are those of the session. The names do not say who speaks,
which the folder does: an archive holds files only and is to be unpacked into a folder of its own name. Some emotions begin
with a capital, and some names have ``_`` between first and last.

How many recordings the release has is given differently: its README adds up to 7000; EmoBox counts 6887, one per speaker,
emotion and sentence. The second can be checked and is what a complete release must have at least here; a sentence that was
recorded in two sessions gives two utterances. 9.48 h. bea is at 44.1 kHz and the others at 16 kHz, so the band that is left
after resampling may tell her from the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Download, FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

FOLDERS = tuple(
    f"{speaker}_{emotion}"
    for speaker in ("bea", "jenie", "josh", "sam")
    for emotion in ("Amused", "Angry", "Disgusted", "Neutral", "Sleepy")
    if (speaker, emotion) not in (("josh", "Angry"), ("josh", "Disgusted"))
)
GRAMMAR = re.compile(
    r"(?P<emotion>amused|anger|disgust|neutral|sleepiness)_(?P<first>\d+)[-_](?P<last>\d+)_(?P<text>\d{4})", re.IGNORECASE
)
EMOTIONS = {
    "amused": "amusement",
    "anger": "anger",
    "disgust": "disgust",
    "neutral": "neutral",
    "sleepiness": "sleepiness",
}
WOMEN = frozenset({"bea", "jenie"})


class EmoVDB(FileNameCorpus):
    """Reader of EmoV-DB."""

    name: ClassVar[str] = "emov_db"
    title: ClassVar[str] = "EmoV-DB"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "non-commercial, Northeastern University"
    url: ClassVar[str] = "https://www.openslr.org/115/"
    counts: ClassVar[Mapping[str, int]] = {
        "amusement": 1315,
        "anger": 1267,
        "disgust": 1019,
        "neutral": 1566,
        "sleepiness": 1720,
    }
    speakers: ClassVar[int] = 4
    hours: ClassVar[float] = 9.48
    layout: ClassVar[str] = (
        "each archive unpacked into a folder of its name, bea_Amused/ ... sam_Sleepy/ (bea_Amused/amused_1-15_0001.wav ...)"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="5class", classes=keep(*EMOTIONS.values()), source="the release; josh has three of the classes"),
    )

    downloads: ClassVar[tuple[Download, ...]] = tuple(
        Download(url=f"https://www.openslr.org/resources/115/{folder}.tar.gz", folder=folder) for folder in FOLDERS
    )

    def files(self) -> Iterator[Path]:
        """The recordings in the folders of a speaker and an emotion."""
        for folder in FOLDERS:
            yield from audio_files(subfolder(self.root, folder))

    def parse(self, path: Path) -> Utterance:
        """The row of ``bea_Amused/amused_1-15_0001.wav``: bea, amused, first sentence."""
        match = match_name(GRAMMAR, path, self.title, "amused_1-15_0001.wav")
        speaker = path.parent.name.lower().partition("_")[0]
        return Utterance(
            id=f"{speaker}_{path.stem}",
            path=path,
            speaker=speaker,
            gender="female" if speaker in WOMEN else "male",
            label=EMOTIONS[match["emotion"].lower()],
            original_label=match["emotion"],
            text=match["text"],
            language=self.language,
        )
