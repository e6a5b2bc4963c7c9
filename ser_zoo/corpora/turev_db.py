"""TurEV-DB, the Turkish Emotion-Voice Database.

Turkish, acted single words, 6 speakers x 82 words x 4 emotions, 1735 recordings, 0.46 h, 44.1 kHz.
Source: Canpolat, Ormanoglu, Zeyrek: "Turkish Emotion Voice Database (TurEV-DB)", SLTU-CCURL 2020.

Layout: ``Sound Source/<Angry|Calm|Happy|Sad>/<speaker>_<emotion>_<word>.wav``, for example
``Sound Source/Angry/1234_kz_acik.wav``; the emotion is kz (angry), sk (calm), mt (happy) or hl (sad). The repository also holds
spectrograms, the output of models and sets made for training; only ``Sound Source`` is read.

Oddities: four speakers are complete, 1157 has only anger (77) and sadness (73), 7895 lacks 53 words of happiness and two of
calm; ``7895_hl_ogul1`` is another take of ``ogul``. Genders of the speakers were not found. The README grants CC BY-NC-ND 4.0,
the licence file is the GPL 3.0: they contradict one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Download, FileNameCorpus, Utterance, audio_files, match_name, subfolder
from ser_zoo.corpora.unpacked import unpacked
from ser_zoo.errors import CorpusError

GRAMMAR = re.compile(r"(?P<speaker>1157|1234|1358|1984|6783|7895)_(?P<emotion>kz|sk|mt|hl)_(?P<text>[a-z]+)(?P<repetition>\d?)")
# Code -> folder and canonical name.
EMOTIONS = {
    "kz": ("Angry", "anger"),
    "sk": ("Calm", "calm"),
    "mt": ("Happy", "happiness"),
    "hl": ("Sad", "sadness"),
}
FOLDERS = tuple(folder for folder, _ in EMOTIONS.values())


class TurEVDB(FileNameCorpus):
    """Reader of the recordings of TurEV-DB."""

    name: ClassVar[str] = "turev_db"
    title: ClassVar[str] = "TurEV-DB"
    language: ClassVar[str] = "tr"
    kind: ClassVar[str] = "acted single words"
    licence: ClassVar[str] = "CC BY-NC-ND 4.0 (README) or GPL-3.0 (licence file)"
    url: ClassVar[str] = "https://github.com/Xeonen/TurEV-DB"
    counts: ClassVar[Mapping[str, int]] = {"anger": 487, "calm": 408, "happiness": 357, "sadness": 483}
    speakers: ClassVar[int] = 6
    hours: ClassVar[float] = 0.46
    layout: ClassVar[str] = (
        "the repository of the release, with the folder Sound Source/ (Sound Source/Angry/1234_kz_acik.wav ...)"
    )
    # The archive that the repository makes of itself; no checksum of it is published.
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(url="https://github.com/Xeonen/TurEV-DB/archive/refs/heads/master.zip"),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in the folders of the four emotions."""
        source = subfolder(unpacked(self.root, "TurEV-DB-master"), "Sound Source")
        for folder in FOLDERS:
            yield from audio_files(subfolder(source, folder))

    def parse(self, path: Path) -> Utterance:
        """The row of ``Angry/1234_kz_acik.wav``.

        Raises:
            CorpusError: the name breaks the grammar, or its emotion is not that of the folder.
        """
        match = match_name(GRAMMAR, path, self.title, "1234_kz_acik.wav")
        folder, label = EMOTIONS[match["emotion"]]
        if path.parent.name.lower() != folder.lower():
            raise CorpusError(
                f"{self.title}: {path.name} is in folder {path.parent}, but its name says {folder}. Expected the emotion "
                f"{match['emotion']} in {folder}/. Copy the release again."
            )
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            label=label,
            original_label=folder,
            text=match["text"],
            repetition=match["repetition"] or None,
            language=self.language,
        )
