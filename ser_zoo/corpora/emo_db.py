"""EMO-DB, the Berlin Database of Emotional Speech.

German, acted, 10 speakers x 10 sentences x 7 emotions, 535 utterances, 0.41 h, 16 kHz mono.
Source: Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss: "A Database of German Emotional Speech", Interspeech 2005.

Layout: ``wav/<speaker><text><emotion><version>.wav``, for example ``wav/03a01Fa.wav``. The emotion letter abbreviates the
German word. ``erkennung.txt`` rates 816 takes; the 535 of the release cannot be rebuilt from its thresholds, so it is not
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

GRAMMAR = re.compile(r"(?P<speaker>03|08|09|1[0-6])(?P<text>[ab]\d{2})(?P<emotion>[WLEAFTN])(?P<version>[a-z])")
EMOTIONS = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
# The genders of the release's documentation; audEERING's conversion had some wrong before its version 1.1.1.
MEN = frozenset({"03", "10", "11", "12", "15"})
COUNTS = {
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happiness": 71,
    "neutral": 79,
    "sadness": 62,
}


class EmoDB(FileNameCorpus):
    """Reader of EMO-DB; classes without utterances are left out by the data module, as in every corpus."""

    name: ClassVar[str] = "emo_db"
    title: ClassVar[str] = "EMO-DB"
    language: ClassVar[str] = "de"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = "http://emodb.bilderbar.info/download/download.zip"
    counts: ClassVar[Mapping[str, int]] = COUNTS
    speakers: ClassVar[int] = 10
    hours: ClassVar[float] = 0.41
    layout: ClassVar[str] = "the unpacked release, with the folder wav/ (wav/03a01Fa.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*COUNTS), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 339 utterances",
        ),
    )

    def files(self) -> Iterable[Path]:
        """The recordings in ``wav/``."""
        return audio_files(subfolder(self.root, "wav"))

    def parse(self, path: Path) -> Utterance:
        """The row of ``03a01Fa.wav``: speaker 03, text a01, Freude (happiness), take a."""
        match = match_name(GRAMMAR, path, self.title, "03a01Fa.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="male" if match["speaker"] in MEN else "female",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["text"],
            repetition=match["version"],
            language=self.language,
        )
