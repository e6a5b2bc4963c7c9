"""EMOVO, the first emotional speech corpus of Italian.

Acted, 6 actors (three women f1 to f3, three men m1 to m3) x 14 sentences x 7 emotions, 588 recordings, 0.51 h, 48 kHz. Source:
Costantini, Iaderola, Paoloni, Todisco: "EMOVO Corpus: an Italian Emotional Speech Database", LREC 2014.

Layout: ``<speaker>/<emotion>-<speaker>-<text>.wav``, for example ``f1/rab-f1-b1.wav``. The emotion abbreviates the Italian
word; texts are short (b1 to b3), long (l1 to l4), without sense (n1 to n5) and questions (d1, d2).

587 recordings are stereo with channels that differ, ``rab-f1-b1`` is mono; reading averages the channels. A licence was not
found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Task, Utterance, audio_files, keep, match_name, subfolder

GRAMMAR = re.compile(r"(?P<emotion>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>[fm][123])-(?P<text>b[1-3]|l[1-4]|n[1-5]|d[12])")
SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
EMOTIONS = {
    "dis": "disgust",  # disgusto
    "gio": "happiness",  # gioia
    "neu": "neutral",
    "pau": "fear",  # paura
    "rab": "anger",  # rabbia
    "sor": "surprise",  # sorpresa
    "tri": "sadness",  # tristezza
}


class EMOVO(FileNameCorpus):
    """Reader of EMOVO."""

    name: ClassVar[str] = "emovo"
    title: ClassVar[str] = "EMOVO"
    language: ClassVar[str] = "it"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "http://voice.fub.it/activities/corpora/emovo/index.html"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 84)
    speakers: ClassVar[int] = 6
    hours: ClassVar[float] = 0.51
    layout: ClassVar[str] = "the unpacked release, with the folders f1/, f2/, f3/, m1/, m2/ and m3/ (f1/rab-f1-b1.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="6class",
            classes=keep(*(label for label in EMOTIONS.values() if label != "surprise")),
            source="the classes of CREMA-D: 504 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 336 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in the speakers' folders, speaker by speaker."""
        for speaker in SPEAKERS:
            yield from audio_files(subfolder(self.root, speaker))

    def parse(self, path: Path) -> Utterance:
        """The row of ``rab-f1-b1.wav``: rabbia (anger), first woman, first short sentence."""
        match = match_name(GRAMMAR, path, self.title, "rab-f1-b1.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="female" if match["speaker"].startswith("f") else "male",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["text"],
            language=self.language,
        )
