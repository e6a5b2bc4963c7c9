"""JL-Corpus: New Zealand English by four professional actors.

Two women and two men x 30 sentences x 10 emotions x 2 repetitions, 2400 recordings, 1.41 h, 44.1 kHz. Five emotions are primary
(angry, excited, happy, neutral, sad) and five secondary (anxious, apologetic, assertive, concerned, encouraging). Source:
James, Tian, Watson: "An Open Source Emotional Speech Corpus for Human Robot Interaction Applications", Interspeech 2018.

Layout: ``Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/<speaker>_<emotion>_<sentence>_<repetition>.wav``, for example
``female1_angry_10a_1.wav``, each with a transcript ``.txt`` beside it, which is not read. The archive also has a partial copy
of the first folder in lower case; where both are there, the one with capitals is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

FOLDER, INNER_FOLDER = "Raw JL corpus (unchecked and unannotated)", "JL(wav+txt)"
# The release's word -> canonical name; the secondary emotions keep their words.
EMOTIONS = {
    "angry": "anger",
    "excited": "excitement",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "anxious": "anxious",
    "apologetic": "apologetic",
    "assertive": "assertive",
    "concerned": "concerned",
    "encouraging": "encouraging",
}
GRAMMAR = re.compile(rf"(?P<speaker>(?:fe)?male[12])_(?P<emotion>{'|'.join(EMOTIONS)})_(?P<text>\d+[ab])_(?P<repetition>[12])")


class JLCorpus(FileNameCorpus):
    """Reader of JL-Corpus."""

    name: ClassVar[str] = "jl_corpus"
    title: ClassVar[str] = "JL-Corpus"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = "https://www.kaggle.com/datasets/tli725/jl-corpus"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 240)
    speakers: ClassVar[int] = 4
    hours: ClassVar[float] = 1.41
    layout: ClassVar[str] = f"the unpacked release, with the folder {FOLDER}/{INNER_FOLDER}/ (female1_angry_10a_1.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="10class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="5class",
            classes=keep("anger", "excitement", "happiness", "neutral", "sadness"),
            source="the primary emotions: 1200 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness", excitement="happiness"),
            source="as in IEMOCAP, excited counts as happy: 1200 utterances",
        ),
    )

    def files(self) -> list[Path]:
        """The recordings in the inner folder."""
        return audio_files(subfolder(subfolder(self.root, FOLDER), INNER_FOLDER))

    def parse(self, path: Path) -> Utterance:
        """The row of ``female1_angry_10a_1.wav``: first woman, angry, sentence 10a, first repetition."""
        match = match_name(GRAMMAR, path, self.title, "female1_angry_10a_1.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender=match["speaker"][:-1],
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["text"],
            repetition=match["repetition"],
            language=self.language,
        )
