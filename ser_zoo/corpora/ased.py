"""ASED, the Amharic Speech Emotion Dataset.

Amharic in four dialects, acted by 65 volunteers (25 women, 40 men) x 7 sentences for each of 5 emotions x 2 takes, 2474
recordings, 2.11 h, 16 kHz. Source: Retta, Almekhlafi, Sutcliffe, Mhamed, Ali, Feng: "A New Amharic Speech Emotion Dataset and
Classification Benchmark", 2023. The licence was not found.

Layout: ``0<n><Emotion>/<letter><n>-<sentence>-<take>-<gender>-<speaker>.wav``, for example
``05Angry/a5-02-01-01-33.wav``; gender 01 is a woman, 02 a man. Whether a number is the same sentence in every emotion was not
found, so the sentence is told with the letter of the emotion here.

Oddities: one name is in capitals (``S4-04-02-01-29``). Five women (09, 15, 21, 23, 25) have one recording each whose name says
02, so the gender is that of the speaker, not of the name. Four pairs of takes are the same bytes and stay: n1-07 of speaker 53,
h3-01 of 08, s4-03 of 23 and a5-07 of 63.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name
from ser_zoo.corpora.unpacked import subfolders, unpacked
from ser_zoo.errors import CorpusError

# Letter and number of the folder -> canonical name and the release's own word.
EMOTIONS = {
    "n1": ("neutral", "Neutral"),
    "f2": ("fear", "Fearful"),
    "h3": ("happiness", "Happy"),
    "s4": ("sadness", "Sad"),
    "a5": ("anger", "Angry"),
}
GRAMMAR = re.compile(
    r"(?P<emotion>n1|f2|h3|s4|a5)-(?P<text>0[1-7])-(?P<repetition>0[12])-(?P<gender>0[12])-(?P<speaker>0[1-9]|[1-5]\d|6[0-5])",
    re.IGNORECASE,
)
FOLDERS = {f"0{code[1]}{word}".lower() for code, (_, word) in EMOTIONS.items()}
WOMEN = frozenset((*(f"{speaker:02d}" for speaker in range(1, 38, 2)), "43", "47", "48", "49", "58", "62"))


class ASED(FileNameCorpus):
    """Reader of ASED."""

    name: ClassVar[str] = "ased"
    title: ClassVar[str] = "ASED"
    language: ClassVar[str] = "am"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "https://github.com/Ethio2021/ASED_V1"
    counts: ClassVar[Mapping[str, int]] = {"neutral": 522, "fear": 510, "happiness": 486, "sadness": 470, "anger": 486}
    speakers: ClassVar[int] = 65
    hours: ClassVar[float] = 2.11
    layout: ClassVar[str] = "the repository of the release, with the folders 01Neutral/ ... 05Angry/"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="5class", classes=keep(*counts), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 1964 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in the folders of the five emotions."""
        for folder in subfolders(unpacked(self.root, "ASED_V1-main")):
            if folder.name.lower().replace(" ", "") in FOLDERS:
                yield from audio_files(folder)

    def parse(self, path: Path) -> Utterance:
        """The row of ``05Angry/a5-02-01-01-33.wav``.

        Raises:
            CorpusError: the name breaks the grammar, or is in the folder of another emotion.
        """
        match = match_name(GRAMMAR, path, self.title, "a5-02-01-01-33.wav")
        code = match["emotion"].lower()
        label, original_label = EMOTIONS[code]
        if not path.parent.name.startswith(f"0{code[1]}"):
            raise CorpusError(
                f"{self.title}: {path.name} is in folder {path.parent}. Expected it in 0{code[1]}{original_label}/. Copy the "
                "release again."
            )
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="female" if match["speaker"] in WOMEN else "male",
            label=label,
            original_label=original_label,
            text=f"{code[0]}{match['text']}",
            repetition=match["repetition"],
            language=self.language,
        )
