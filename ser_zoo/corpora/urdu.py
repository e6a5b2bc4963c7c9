"""URDU: Urdu speech of television talk shows.

Not acted, 400 recordings, 100 of each of 4 emotions, 0.28 h, 44.1 kHz. Source: Latif, Qayyum, Usman, Qadir: "Cross Lingual
Speech Emotion Recognition: Urdu vs. Western Languages", FIT 2018.

Layout: ``Angry/``, ``Happy/``, ``Neutral/`` and ``Sad/``, names ``<speaker>_F<number>_<letter><index>.wav``, for example
``Angry/SM1_F1_A01.wav``; SM is a man, SF a woman, and the letter is the emotion.

The README speaks of 38 speakers (27 men, 11 women); 29 ids occur, of which 26 have one emotion only, and SM5 says 72 of the 100
neutral ones. Who speaks nearly tells the emotion, so results within this corpus mean little: use it to test a model that was
trained on others. 18 recordings clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

GRAMMAR = re.compile(r"(?P<speaker>S[MF]\d+)_F(?P<number>\d+)_(?P<emotion>[AHNS])(?P<index>\d+)")
FOLDERS = ("Angry", "Happy", "Neutral", "Sad")
EMOTIONS = {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness"}


class URDU(FileNameCorpus):
    """Reader of URDU."""

    name: ClassVar[str] = "urdu"
    title: ClassVar[str] = "URDU"
    language: ClassVar[str] = "ur"
    kind: ClassVar[str] = "talk shows"
    licence: ClassVar[str] = "research only"
    url: ClassVar[str] = "https://github.com/siddiquelatif/URDU-Dataset"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 100)
    speakers: ClassVar[int] = 29
    hours: ClassVar[float] = 0.28
    layout: ClassVar[str] = "the release with the folders Angry/, Happy/, Neutral/ and Sad/ (Angry/SM1_F1_A01.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (Task(name="4class", classes=keep(*EMOTIONS.values()), source="the release"),)

    def files(self) -> Iterator[Path]:
        """The recordings in the emotions' folders."""
        for folder in FOLDERS:
            yield from audio_files(subfolder(self.root, folder))

    def parse(self, path: Path) -> Utterance:
        """The row of ``SM1_F1_A01.wav``: first man, angry."""
        match = match_name(GRAMMAR, path, self.title, "SM1_F1_A01.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="male" if match["speaker"].startswith("SM") else "female",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            language=self.language,
        )
