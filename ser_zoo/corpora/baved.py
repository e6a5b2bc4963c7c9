"""BAVED, the Basic Arabic Vocal Emotions Dataset.

Arabic, acted single words, 59 people x 7 words x 3 levels of emotion, 1935 recordings, 0.89 h, 16 kHz. Source: Aouf,
"Basic Arabic Vocal Emotions Dataset", 2019. The licence was not found.

Layout: ``<word>/<speaker>-<gender>-<age>-<word>-<level>-<record>.wav``, for example ``0/0-m-21-0-1-105.wav``.

The labels are **levels, not categories**: 0 is low (tired, feeling down), 1 as somebody speaks every day, 2 a strong emotion of
whatever kind. They have names of their own here (``level_0`` and so on), so that no label space takes level 1 for neutral.

Oddities: everything of speaker 53 (21 recordings) is a byte copy of speaker 46, so speaker 53 is **left out**: 1914 remain.
``49-m-23-6-1-201`` is in the folder of word 0; the word is read from the name. Some speakers are children (5 and 6 years).
The README tells of 61 speakers; 60 ids occur. Six further pairs of recordings are the same bytes and stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Utterance, audio_files, match_name
from ser_zoo.corpora.unpacked import unpacked

GRAMMAR = re.compile(r"(?P<speaker>\d{1,3})-(?P<gender>[mf])-(?P<age>\d{1,2})-(?P<word>[0-6])-(?P<level>[012])-(?P<record>\d+)")
GENDERS = {"f": "female", "m": "male"}
WORDS = "0123456"
COPIED = "53"


class BAVED(FileNameCorpus):
    """Reader of BAVED."""

    name: ClassVar[str] = "baved"
    title: ClassVar[str] = "BAVED"
    language: ClassVar[str] = "ar"
    kind: ClassVar[str] = "acted single words, in levels of emotion"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "https://github.com/40uf411/Basic-Arabic-Vocal-Emotions-Dataset"
    counts: ClassVar[Mapping[str, int]] = {"level_0": 578, "level_1": 665, "level_2": 671}
    speakers: ClassVar[int] = 59
    hours: ClassVar[float] = 0.89
    layout: ClassVar[str] = "the repository of the release, with the folders 0/ ... 6/ (0/0-m-21-0-1-105.wav ...)"

    def files(self) -> Iterator[Path]:
        """The recordings in the folders of the seven words."""
        root = unpacked(self.root, "Basic-Arabic-Vocal-Emotions-Dataset-master")
        for word in WORDS:
            yield from audio_files(root / word)

    def parse(self, path: Path) -> Utterance | None:
        """The row of ``0-m-21-0-1-105.wav``: speaker 0, a man, says word 0 as every day; None for the copies of speaker 53."""
        match = match_name(GRAMMAR, path, self.title, "0-m-21-0-1-105.wav")
        if match["speaker"] == COPIED:
            return None
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender=GENDERS[match["gender"]],
            label=f"level_{match['level']}",
            original_label=match["level"],
            text=match["word"],
            language=self.language,
        )
