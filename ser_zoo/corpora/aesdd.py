"""AESDD, the Acted Emotional Speech Dynamic Database.

Greek, acted, 6 speakers x 20 sentences x 5 emotions (none of them neutral), 604 readable recordings, 0.69 h, 44.1 kHz. Source:
Vryzas, Kotsakis, Liatsou, Dimoulas, Kalliris: "Speech Emotion Recognition for Performance Interaction", Journal of the Audio
Engineering Society 66(6), 2018.

Layout: ``<emotion>/<letter><sentence> (<speaker>).wav``, for example ``anger/a03 (3).wav``. Some names have no blank, five
write speaker 1 as ``(01)``, and nine takes of speaker 5 end in ``a`` or ``b``. ``s05 (3).wav`` is broken and left out.

A licence was not found, nor genders (that odd speakers are men is said in one place only, without a source).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

GRAMMAR = re.compile(r"(?P<emotion>[adfhs])(?P<text>\d{2}) ?\(0?(?P<speaker>[1-6])\)(?P<take>[a-z]?)")
EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "s": "sadness",
}
BROKEN = ("s", "05", "3", "")


class AESDD(FileNameCorpus):
    """Reader of AESDD."""

    name: ClassVar[str] = "aesdd"
    title: ClassVar[str] = "AESDD"
    language: ClassVar[str] = "el"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "http://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition/"
    counts: ClassVar[Mapping[str, int]] = {"anger": 121, "disgust": 122, "fear": 120, "happiness": 119, "sadness": 122}
    speakers: ClassVar[int] = 6
    hours: ClassVar[float] = 0.69
    layout: ClassVar[str] = (
        "the unpacked release, with the folders anger/, disgust/, fear/, happiness/ and sadness/ (anger/a03 (3).wav ...)"
    )
    tasks: ClassVar[tuple[Task, ...]] = (Task(name="5class", classes=keep(*EMOTIONS.values()), source="the release"),)

    def files(self) -> Iterator[Path]:
        """The recordings in the emotions' folders."""
        for folder in EMOTIONS.values():
            yield from audio_files(subfolder(self.root, folder))

    def parse(self, path: Path) -> Utterance | None:
        """The row of ``a03 (3).wav``: third speaker, third sentence, angry; None for the broken file."""
        match = match_name(GRAMMAR, path, self.title, "a03 (3).wav")
        if match.groups() == BROKEN:
            return None
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["text"],
            repetition=match["take"] or None,
            language=self.language,
        )
