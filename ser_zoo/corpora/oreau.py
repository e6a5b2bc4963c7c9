"""Oréau: French emotional speech of the classroom.

French, acted by 32 people who are no actors (7 women, 25 men), 7 emotions, 434 recordings, 0.34 h, 44.1 kHz. Source: Kerkeni,
Cleder, Serrestou, Raoof: "French Emotional Speech Database - Oréau", Zenodo 4405783, 2020.

Layout: ``<f|m>/sess<letter>/<speaker>a<text><emotion><version>.wav`` in the folder ``OréauFR_02``, for example
``f/sessj/10a02Ja.wav``; the emotion is C anger (colère), D disgust, J joy, N neutral, P fear (peur), S surprise, T sadness
(tristesse), and its small letter names the session. Version 2, which is read here, has what listeners recognised of the 502
recordings of version 1 (``OréauFR_01``). Sentences were written for one emotion each, so their numbers count
within it. The archive is a rar, which takes a program to unpack (unrar, 7z or bsdtar).

Oddities: two names have z for a (``07z03Sa``, ``07z04Sa``); the é of the folder may be one character or two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder
from ser_zoo.corpora.unpacked import subfolders
from ser_zoo.errors import CorpusError

GRAMMAR = re.compile(r"(?P<speaker>\d{2})[az](?P<text>\d{2})(?P<emotion>[CDJNPST])(?P<version>[a-z])")
EMOTIONS = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
GENDERS = {"f": "female", "m": "male"}
FOLDER = "oréaufr_02"


class Oreau(FileNameCorpus):
    """Reader of version 2 of Oréau."""

    name: ClassVar[str] = "oreau"
    title: ClassVar[str] = "Oréau"
    language: ClassVar[str] = "fr"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "CC BY 4.0"
    url: ClassVar[str] = "https://zenodo.org/records/4405783 (OréauFR_02.rar)"
    counts: ClassVar[Mapping[str, int]] = {
        "anger": 67,
        "disgust": 67,
        "happiness": 62,
        "neutral": 70,
        "fear": 51,
        "surprise": 62,
        "sadness": 55,
    }
    speakers: ClassVar[int] = 32
    hours: ClassVar[float] = 0.34
    layout: ClassVar[str] = (
        "the unpacked release, with the folder OréauFR_02/ or its folders f/ and m/ (f/sessj/10a02Ja.wav ...)"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 254 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in the sessions of women and men."""
        root = next((path for path in subfolders(self.root) if _composed(path.name) == FOLDER), self.root)
        for gender in GENDERS:
            for session in EMOTIONS:
                yield from audio_files(subfolder(subfolder(root, gender), f"sess{session}"))

    def parse(self, path: Path) -> Utterance:
        """The row of ``f/sessj/10a02Ja.wav``: a woman says the second of the joyful sentences.

        Raises:
            CorpusError: the name breaks the grammar, or is in the session of another emotion.
        """
        match = match_name(GRAMMAR, path, self.title, "10a02Ja.wav")
        emotion = match["emotion"]
        if path.parent.name.lower() != f"sess{emotion.lower()}":
            raise CorpusError(
                f"{self.title}: {path.name} is in folder {path.parent}. Expected its emotion {emotion} in "
                f"sess{emotion.lower()}/. Copy the release again."
            )
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender=GENDERS[path.parent.parent.name.lower()],
            label=EMOTIONS[emotion],
            original_label=emotion,
            text=f"{emotion}{match['text']}",
            repetition=match["version"],
            language=self.language,
        )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()
