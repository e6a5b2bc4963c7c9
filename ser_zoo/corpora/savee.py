"""SAVEE, the Surrey Audio-Visual Expressed Emotion database: its audio recordings.

British English, acted by four men (DC, JE, JK, KL) in 7 emotions, 480 recordings, 0.51 h, 44.1 kHz. Source: Haq & Jackson,
"Multimodal Emotion Recognition", in: Machine Audition, 2010.

Layout: ``AudioData/<speaker>/<emotion><number>.wav``, for example ``AudioData/DC/sa01.wav``, with ``Info.txt`` beside the
speakers; or, as copies of it have it, all files in one folder as ``DC_sa01.wav``. Ids are of the second form in both.

The numbers count the sentences of an emotion. Some sentences are said in one emotion only, some in several, and the names do
not say which; so the texts are not known here, and a model can learn emotions from them. ``Info.txt`` gives 15 sentences for
every emotion, but neutral has 30.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

SPEAKERS = ("DC", "JE", "JK", "KL")
GRAMMAR = re.compile(r"(?P<emotion>sa|su|[adfhn])(?P<number>\d{2})")
FLAT_GRAMMAR = re.compile(rf"(?P<speaker>{'|'.join(SPEAKERS)})_{GRAMMAR.pattern}")
EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}


class SAVEE(FileNameCorpus):
    """Reader of the audio recordings of SAVEE, in folders or flat."""

    name: ClassVar[str] = "savee"
    title: ClassVar[str] = "SAVEE"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "free for research, on registration"
    url: ClassVar[str] = "http://kahlan.eps.surrey.ac.uk/savee/ (AudioData.zip)"
    counts: ClassVar[Mapping[str, int]] = {label: 120 if label == "neutral" else 60 for label in EMOTIONS.values()}
    speakers: ClassVar[int] = 4
    hours: ClassVar[float] = 0.51
    layout: ClassVar[str] = (
        "the folder AudioData/ with DC/, JE/, JK/ and KL/ (AudioData/DC/a01.wav ...), or the files DC_a01.wav ..."
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="6class",
            classes=keep(*(label for label in EMOTIONS.values() if label != "surprise")),
            source="the classes of CREMA-D: 420 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 300 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in ``AudioData/``, speaker by speaker, and those in the root."""
        folder = subfolder(self.root, "AudioData")
        for speaker in SPEAKERS:
            yield from audio_files(subfolder(folder, speaker))
        yield from audio_files(self.root)

    def parse(self, path: Path) -> Utterance:
        """The row of ``DC/sa01.wav`` or ``DC_sa01.wav``: DC is sad, first sentence."""
        if path.parent == self.root:
            match = match_name(FLAT_GRAMMAR, path, self.title, "DC_sa01.wav")
            speaker = match["speaker"]
        else:
            match = match_name(GRAMMAR, path, self.title, "sa01.wav")
            speaker = path.parent.name.upper()
        return Utterance(
            id=f"{speaker}_{match['emotion']}{match['number']}",
            path=path,
            speaker=speaker,
            gender="male",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            language=self.language,
        )
