"""nEMO: Polish emotional speech.

Polish, acted, 9 speakers (4 women, 5 men) x 90 sentences x 6 emotions, 4481 recordings, 3.07 h, 24 kHz.
Source: Christop: "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024.

Layout: ``samples/<speaker>_<emotion>_<sentence>.wav``, for example ``samples/EB0_anger_1.wav``. ``data.tsv`` beside it repeats
what the names say (its speaker ids begin with blanks) and adds the wording and the age; it is not read. Its genders, which
belong to a speaker as a whole, stand below.

Not all 4860 combinations were released: speaker MK0 has no surprise, and of MP0 there are 256 recordings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Download, FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder
from ser_zoo.corpora.unpacked import unpacked

GRAMMAR = re.compile(
    r"(?P<speaker>EB0|IC0|KD0|KS0|MK0|MP0|SM0|TP0|WR0)_(?P<emotion>anger|fear|happiness|neutral|sadness|surprised)_"
    r"(?P<text>[1-9]|[1-8]\d|90)"
)
WOMEN = frozenset({"EB0", "IC0", "KD0", "MK0"})
COUNTS = {"anger": 749, "fear": 736, "happiness": 749, "neutral": 809, "sadness": 769, "surprise": 669}


class NEMO(FileNameCorpus):
    """Reader of nEMO."""

    name: ClassVar[str] = "nemo"
    title: ClassVar[str] = "nEMO"
    language: ClassVar[str] = "pl"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    url: ClassVar[str] = "https://github.com/amu-cai/nEMO"
    counts: ClassVar[Mapping[str, int]] = COUNTS
    speakers: ClassVar[int] = 9
    hours: ClassVar[float] = 3.07
    layout: ClassVar[str] = "the repository of the release, with the folder samples/ (samples/EB0_anger_1.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="6class", classes=keep(*COUNTS), source="the release"),
        Task(
            name="5class",
            classes=keep(*(label for label in COUNTS if label != "surprise")),
            source="without surprise, which speaker MK0 lacks: 3812 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 3076 utterances",
        ),
    )
    # The archive that the repository makes of itself; no checksum of it is published.
    downloads: ClassVar[tuple[Download, ...]] = (Download(url="https://github.com/amu-cai/nEMO/archive/refs/heads/main.zip"),)

    def files(self) -> list[Path]:
        """The recordings in ``samples/``."""
        return audio_files(subfolder(unpacked(self.root, "nEMO-main"), "samples"))

    def parse(self, path: Path) -> Utterance:
        """The row of ``EB0_anger_1.wav``: a woman, sentence 1."""
        match = match_name(GRAMMAR, path, self.title, "EB0_anger_1.wav")
        emotion = match["emotion"]
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="female" if match["speaker"] in WOMEN else "male",
            label="surprise" if emotion == "surprised" else emotion,
            original_label=emotion,
            text=match["text"],
            language=self.language,
        )
