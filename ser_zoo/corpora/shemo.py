"""ShEMO, the Sharif Emotional Speech Database.

Persian radio plays, 31 women and 56 men, 6 emotions, 3000 recordings, 3.43 h, 44.1 kHz (some at 22.05 kHz). Source: Mohamad
Nezami, Jamshid Lou, Karami: "ShEMO: a large-scale validated database for Persian speech emotion detection", Language Resources
and Evaluation 53, 2019.

Layout: ``female/`` and ``male/``, names ``<speaker><emotion><number>.wav``, for example ``female/F01A02.wav``: the first three
characters are the speaker, the fourth is the emotion.

The labels are those of the file names, of which the release's own counts are made. A later revision of labels and transcripts
(arXiv 2211.09956) gives other ones to 163 recordings: neutral 1160, anger 1042, sadness 361, happiness 203, surprise 202,
fear 32. EmoBox has the 2838 recordings whose names agree in both. Results on the one and the other are not comparable.

How many recordings each speaker has was found for those 2838 alone. Fear has 38, too few for most protocols; the task
``5class`` leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

GRAMMAR = re.compile(
    r"(?P<speaker>F(?:0[1-9]|[12]\d|3[01])|M(?:0[1-9]|[1-4]\d|5[0-6]))(?P<emotion>[AFHNSW])(?P<number>\d{2,3})"
)
EMOTIONS = {
    "A": "anger",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "S": "sadness",
    "W": "surprise",  # wonder
}


class ShEMO(FileNameCorpus):
    """Reader of ShEMO with the labels of its file names."""

    name: ClassVar[str] = "shemo"
    title: ClassVar[str] = "ShEMO"
    language: ClassVar[str] = "fa"
    kind: ClassVar[str] = "radio plays"
    licence: ClassVar[str] = "free for academic use"
    url: ClassVar[str] = "https://github.com/mansourehk/ShEMO (female.zip and male.zip, with Git LFS)"
    counts: ClassVar[Mapping[str, int]] = {
        "anger": 1059,
        "fear": 38,
        "happiness": 201,
        "neutral": 1028,
        "sadness": 449,
        "surprise": 225,
    }
    speakers: ClassVar[int] = 87
    hours: ClassVar[float] = 3.43
    layout: ClassVar[str] = "the unpacked archives, with the folders female/ and male/ (female/F01A02.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="6class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="5class",
            classes=keep(*(label for label in EMOTIONS.values() if label != "fear")),
            source="without fear, of which there is too little: 2962 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 2737 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in ``female/`` and ``male/``."""
        for gender in ("female", "male"):
            yield from audio_files(subfolder(self.root, gender))

    def parse(self, path: Path) -> Utterance:
        """The row of ``F01A02.wav``: first woman, angry."""
        match = match_name(GRAMMAR, path, self.title, "F01A02.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="female" if match["speaker"].startswith("F") else "male",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            language=self.language,
        )
