"""CaFE, the Canadian French Emotional speech dataset.

Acted, 12 actors (odd ones men) x 6 sentences x 6 emotions in two intensities and neutral, 936 recordings, 1.15 h, 48 kHz; a
second edition has 192 kHz in AIFF. Source: Gournay, Lahaie, Lefebvre: "A Canadian French Emotional Speech Dataset", ACM
Multimedia Systems 2018.

Layout: folders of emotions (``Colère``, ``Dégoût`` ...) and in them of intensities (``Faible``, ``Fort``). The archive has the
accents in a code page of DOS, so that they arrive in many spellings. Only the file names count, in whatever folders below the
root: ``<actor>-<emotion>-<intensity>-<sentence>.wav``, for example ``01-C-1-1.wav``, or ``.aiff`` in the edition of 192 kHz.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import AUDIO_SUFFIXES, Download, FileNameCorpus, Task, Utterance, keep, match_name, walk

GRAMMAR = re.compile(r"(?P<speaker>0[1-9]|1[0-2])-(?P<emotion>[CDJNPST])-(?P<intensity>[12])-(?P<text>[1-6])")
EMOTIONS = {
    "C": "anger",  # Colère
    "D": "disgust",  # Dégoût
    "J": "happiness",  # Joie
    "N": "neutral",
    "P": "fear",  # Peur
    "S": "surprise",
    "T": "sadness",  # Tristesse
}
INTENSITIES = {"1": "weak", "2": "strong"}


class CaFE(FileNameCorpus):
    """Reader of CaFE in either edition."""

    name: ClassVar[str] = "cafe"
    title: ClassVar[str] = "CaFE"
    language: ClassVar[str] = "fr"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    url: ClassVar[str] = "https://zenodo.org/records/1478765 (CaFE_48k.zip)"
    counts: ClassVar[Mapping[str, int]] = {label: 72 if label == "neutral" else 144 for label in EMOTIONS.values()}
    speakers: ClassVar[int] = 12
    hours: ClassVar[float] = 1.15
    layout: ClassVar[str] = (
        "the unpacked release in one edition, with folders like Joie/Faible/ and Joie/Fort/ (01-J-1-1.wav ...)"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="6class",
            classes=keep(*(label for label in EMOTIONS.values() if label != "surprise")),
            source="the classes of CREMA-D: 792 utterances",
        ),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 504 utterances",
        ),
    )
    downloads: ClassVar[tuple[Download, ...]] = (Download(url="https://zenodo.org/records/1478765/files/CaFE_48k.zip"),)

    def files(self) -> Iterator[Path]:
        """The recordings in all folders below the root."""
        return walk(self.root, (*AUDIO_SUFFIXES, ".aiff", ".aif"))

    def parse(self, path: Path) -> Utterance:
        """The row of ``01-C-2-6.wav``: first actor, strong Colère (anger), sixth sentence; neutral has no intensity."""
        match = match_name(GRAMMAR, path, self.title, "01-C-1-1.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            gender="male" if int(match["speaker"]) % 2 else "female",
            label=EMOTIONS[match["emotion"]],
            original_label=match["emotion"],
            text=match["text"],
            intensity=None if match["emotion"] == "N" else INTENSITIES[match["intensity"]],
            language=self.language,
        )
