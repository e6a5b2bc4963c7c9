"""ESD, the Emotional Speech Dataset for voice conversion.

Mandarin (speakers 0001 to 0010) and English (0011 to 0020), acted, 10 women and 10 men x 350 sentences x 5 emotions, 35000
recordings, 29.07 h, 16 kHz mono. Source: Zhou, Sisman, Liu, Li: "Emotional Voice Conversion: Theory, Databases and ESD",
Speech Communication 137, 2022.

Layout: ``<speaker>/<Emotion>/<speaker>_<number>.wav``, for example ``0011/Angry/0011_000351.wav``; older archives have the
folders ``train/``, ``evaluation/`` and ``test/`` below the emotion. The number decides everything: 1 to 350 is neutral, 351 to
700 angry, 701 to 1050 happy, 1051 to 1400 sad, 1401 to 1750 surprised, each block in the same order of sentences. Of these
the first 20 are the evaluation set of the release, the next 30 its test set, the rest its training set: all speakers are in
all three. A folder of a split or an emotion is not looked at.

``<speaker>/<speaker>.txt`` has transcripts in four encodings with malformed lines; nothing in it is needed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, keep, match_name, subfolder, walk

GRAMMAR = re.compile(
    r"(?P<speaker>00(?:0[1-9]|1\d|20))_(?P<number>(?!0{6})00(?:0\d{3}|1[0-6]\d{2}|17[0-4]\d|1750))"  # 000001 to 001750
)
SPEAKERS = tuple(f"{speaker:04d}" for speaker in range(1, 21))
MEN = frozenset({"0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020"})
# In the order of the blocks of numbers.
EMOTIONS = {
    "Neutral": "neutral",
    "Angry": "anger",
    "Happy": "happiness",
    "Sad": "sadness",
    "Surprise": "surprise",
}
TEXTS = 350
WORDS = tuple(EMOTIONS)


class ESD(FileNameCorpus):
    """Reader of ESD, with and without folders of the splits."""

    name: ClassVar[str] = "esd"
    title: ClassVar[str] = "ESD"
    language: ClassVar[str] = "zh, en"
    kind: ClassVar[str] = "acted, parallel sentences"
    licence: ClassVar[str] = "research only, signed form"
    url: ClassVar[str] = "https://github.com/HLTSingapore/Emotional-Speech-Data"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 7000)
    speakers: ClassVar[int] = 20
    hours: ClassVar[float] = 29.07
    layout: ClassVar[str] = "the unpacked release, with the folders 0001/ ... 0020/ (0011/Angry/0011_000351.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="5class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="4class",
            classes=keep("neutral", "anger", "happiness", "sadness"),
            source="as in IEMOCAP: 28000 utterances",
        ),
        Task(
            name="english",
            classes=keep(*EMOTIONS.values()),
            where={"language": ("en",)},
            source="the English half: 17500 utterances",
        ),
        Task(
            name="mandarin",
            classes=keep(*EMOTIONS.values()),
            where={"language": ("zh",)},
            source="the Mandarin half: 17500 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings below the speakers' folders, speaker by speaker."""
        for speaker in SPEAKERS:
            yield from walk(subfolder(self.root, speaker))

    def parse(self, path: Path) -> Utterance:
        """The row of ``0011_000351.wav``: first English speaker, angry, first sentence."""
        match = match_name(GRAMMAR, path, self.title, "0011_000351.wav, with numbers up to 001750")
        block, text = divmod(int(match["number"]) - 1, TEXTS)
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="male" if match["speaker"] in MEN else "female",
            label=EMOTIONS[WORDS[block]],
            original_label=WORDS[block],
            text=str(text + 1),
            language="zh" if match["speaker"] <= "0010" else "en",
            split="validation" if text < 20 else "test" if text < 50 else "train",
        )
