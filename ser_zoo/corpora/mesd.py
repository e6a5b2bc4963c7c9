"""MESD, the Mexican Emotional Speech Database.

Mexican Spanish, acted single words, 6 emotions in the voices of women, men and children, 862 recordings, 0.17 h, 48 kHz.
Source: Duville, Alonso-Valerdi, Ibarra-Zarate: "The Mexican Emotional Speech Database (MESD): elaboration and assessment based
on machine learning", EMBC 2021.

Layout: ``<Emotion>_<voice>_<corpus>_<word>.wav`` in the folder ``Mexican Emotional Speech Database (MESD)``, for example
``Anger_F_A_tarde.wav``; the voice is F (women), M (men) or C (children). Corpus A has the same 24 words in every emotion and
voice, corpus B words chosen for the emotion.

There are no speaker ids: three women, two men and six children spoke, and nothing tells them apart. **The speaker here is the
voice**, so a protocol over speakers keeps whole voices apart, and no finer one is possible. For C the gender is not known.

By design there are 24 words for each emotion, voice and corpus, 864 recordings; two (``Anger_C_A_hoy`` and
``Neutral_C_A_tarde`` by what the others have) are in neither of the two lists of version 5 that were found, so 862 is complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

FOLDER = "Mexican Emotional Speech Database (MESD)"
GRAMMAR = re.compile(
    r"(?P<emotion>Anger|Disgust|Fear|Happiness|Neutral|Sadness)_(?P<voice>[FMC])_(?P<corpus>[AB])_(?P<word>[a-zñ]+(?:_[a-zñ]+)?)"
)
GENDERS = {"F": "female", "M": "male", "C": None}


class MESD(FileNameCorpus):
    """Reader of MESD."""

    name: ClassVar[str] = "mesd"
    title: ClassVar[str] = "MESD"
    language: ClassVar[str] = "es"
    kind: ClassVar[str] = "acted single words"
    licence: ClassVar[str] = "CC BY 4.0"
    url: ClassVar[str] = "https://data.mendeley.com/datasets/cy34mh68j9/5"
    counts: ClassVar[Mapping[str, int]] = {
        "anger": 143,
        "disgust": 144,
        "fear": 144,
        "happiness": 144,
        "neutral": 143,
        "sadness": 144,
    }
    speakers: ClassVar[int] = 11
    hours: ClassVar[float] = 0.17
    layout: ClassVar[str] = f"the unpacked release, with the folder {FOLDER}/ (Anger_F_A_tarde.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="6class", classes=keep(*counts), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 574 utterances",
        ),
    )

    def files(self) -> list[Path]:
        """The recordings in the one folder of the release."""
        return audio_files(subfolder(self.root, FOLDER))

    def parse(self, path: Path) -> Utterance:
        """The row of ``Anger_F_A_tarde.wav``: a woman says the word ``tarde`` of corpus A."""
        match = match_name(GRAMMAR, path, self.title, "Anger_F_A_tarde.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["voice"],
            gender=GENDERS[match["voice"]],
            label=match["emotion"].lower(),
            original_label=match["emotion"],
            text=match["word"],
            language=self.language,
        )
