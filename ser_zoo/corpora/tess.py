"""TESS, the Toronto Emotional Speech Set.

Canadian English, acted by two actresses (OAF is 64, YAF 26 years old), who say 200 words after "Say the word" in 7 emotions:
2800 recordings, 1.60 h, 24414 Hz mono. Source: Dupuis & Pichora-Fuller, University of Toronto, 2010.

Layout: 14 folders, one per actress and emotion, whose spelling is not uniform (``OAF_Fear``, ``YAF_pleasant_surprised``), or
all files in one folder. Only the file names count: ``<actress>_<word>_<emotion>.wav``, for example ``OAF_back_angry.wav``;
``ps`` is pleasant surprise.

Oddities: ``OA_bite_neutral.wav`` is spoken by OAF, and its id keeps its name; ``OAF_food_fear.wav`` is at 96 kHz;
``YAF_germ_angry.wav`` and ``YAF_neat_fear.wav`` hold AIFF, which is read, as a format is told by the content. Sources differ
on the licence, CC BY-NC-ND 4.0 or CC BY-NC 4.0; the stricter one is given here.

With two speakers there is no validation by a third, and the same words are spoken in all emotions. Results far above 95 %
under random splits say nothing about other voices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name

GRAMMAR = re.compile(r"(?P<speaker>OAF|YAF|OA)_(?P<word>[a-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)")
EMOTIONS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sadness",
}


class TESS(FileNameCorpus):
    """Reader of TESS, in folders or flat."""

    name: ClassVar[str] = "tess"
    title: ClassVar[str] = "TESS"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted words"
    licence: ClassVar[str] = "CC BY-NC-ND 4.0"
    url: ClassVar[str] = "https://doi.org/10.5683/SP2/E8H2MF"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 400)
    speakers: ClassVar[int] = 2
    hours: ClassVar[float] = 1.6
    layout: ClassVar[str] = (
        "the folders OAF_angry/ ... YAF_sad/ (OAF_angry/OAF_back_angry.wav ...), or their files in one folder"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="6class",
            classes=keep(*(label for label in EMOTIONS.values() if label != "surprise")),
            source="the classes of CREMA-D: 2400 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 1600 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in the root and in the folders of the two actresses."""
        yield from audio_files(self.root)
        if self.root.is_dir():
            for folder in sorted(self.root.iterdir()):
                if folder.name.upper().startswith(("OAF_", "YAF_")):
                    yield from audio_files(folder)

    def parse(self, path: Path) -> Utterance:
        """The row of ``OAF_back_angry.wav``: the older actress says "back" angrily."""
        match = match_name(GRAMMAR, path, self.title, "OAF_back_angry.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker="OAF" if match["speaker"] == "OA" else match["speaker"],
            gender="female",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["word"],
            language=self.language,
        )
