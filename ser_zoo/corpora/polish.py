"""Emotions in Polish speech recordings, of the Gdańsk University of Technology.

Polish, acted single words, 5 men of 21 to 23 years x 6 words x 5 takes x 3 emotions, 450 recordings, 0.11 h, 44.1 kHz. Source:
Mięsikowska, Świsulski: "Emotions in Polish speech recordings", Gdańsk University of Technology, 2020, doi 10.34808/h46c-hb44.

Layout: ``<speaker>.<emotion>_<word>_<take>.wav`` in one folder, for example ``m1.a_nie_2.wav``. The emotion is a (anger),
n (neutral) or s, which is **fear** (strach), not sadness. Under which licence it was published was not found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Utterance, audio_files, match_name

GRAMMAR = re.compile(
    r"(?P<speaker>m[1-5])\.(?P<emotion>[ans])_(?P<text>nie|oddaj|podaj|stop|tak|trzymaj)_(?P<repetition>[1-5])"
)
EMOTIONS = {"a": "anger", "n": "neutral", "s": "fear"}


class Polish(FileNameCorpus):
    """Reader of the Gdańsk recordings."""

    name: ClassVar[str] = "polish"
    title: ClassVar[str] = "Emotions in Polish speech"
    language: ClassVar[str] = "pl"
    kind: ClassVar[str] = "acted single words"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "https://mostwiedzy.pl/en/open-research-data/emotions-in-polish-speech-recordings,11190523461146169-0"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 150)
    speakers: ClassVar[int] = 5
    hours: ClassVar[float] = 0.11
    layout: ClassVar[str] = "the folder of the unpacked recordings (m1.a_nie_2.wav ...)"

    def files(self) -> list[Path]:
        """The recordings in the root."""
        return audio_files(self.root)

    def parse(self, path: Path) -> Utterance:
        """The row of ``m1.a_nie_2.wav``: the first man says ``nie`` in anger, take 2."""
        match = match_name(GRAMMAR, path, self.title, "m1.a_nie_2.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="male",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["text"],
            repetition=match["repetition"],
            language=self.language,
        )
