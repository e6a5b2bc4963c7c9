"""Thorsten emotional, version 02: German speech of one man in eight styles.

German, acted by Thorsten Müller, 300 sentences x 8 styles, 2399 recordings (one whispered sentence is missing), about 2.9 h,
22.05 kHz. Source: Müller & Kreutz: "Thorsten-21.06-emotional", Zenodo 5525023, 2021.

Layout: ``<style>/<32 hexadecimal digits>.wav``, for example ``amused/0a0d....wav``. The digits are a sum over the sentence, the
same in every style, so they are its id; ``thorsten-emotional-metadata.csv``, which tells the wording, is not read. With one
speaker there is no speaker-independent score: use it to test models of other corpora. Whisper and drunk are styles that no
label space takes for an emotion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Download, FileNameCorpus, Utterance, audio_files, match_name, subfolder
from ser_zoo.corpora.unpacked import unpacked

GRAMMAR = re.compile(r"[0-9a-f]{32}")
STYLES = {
    "amused": "amusement",
    "angry": "anger",
    "disgusted": "disgust",
    "drunk": "drunk",
    "neutral": "neutral",
    "sleepy": "sleepiness",
    "surprised": "surprise",
    "whisper": "whisper",
}


class Thorsten(FileNameCorpus):
    """Reader of Thorsten emotional."""

    name: ClassVar[str] = "thorsten"
    title: ClassVar[str] = "Thorsten emotional"
    language: ClassVar[str] = "de"
    kind: ClassVar[str] = "acted, one speaker"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = "https://zenodo.org/records/5525023 (thorsten-emotional_v02.tgz)"
    counts: ClassVar[Mapping[str, int]] = {label: 299 if style == "whisper" else 300 for style, label in STYLES.items()}
    speakers: ClassVar[int] = 1
    hours: ClassVar[float] = 2.9
    layout: ClassVar[str] = "the unpacked release, with the folders amused/ ... whisper/"
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            url="https://zenodo.org/records/5525023/files/thorsten-emotional_v02.tgz",
            checksum="md5:f19585f3759c6d026757c46024a37aa4",
            size=399_301_812,
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings, style by style."""
        root = unpacked(self.root, "thorsten-emotional_v02")
        for style in STYLES:
            yield from audio_files(subfolder(root, style))

    def parse(self, path: Path) -> Utterance:
        """The row of ``amused/<digits>.wav``, whose id is ``amused-<digits>``."""
        match_name(GRAMMAR, path, self.title, "0123456789abcdef0123456789abcdef.wav")
        style = path.parent.name.lower()
        return Utterance(
            id=f"{style}-{path.stem}",
            path=path,
            speaker="thorsten",
            gender="male",
            label=STYLES[style],
            original_label=style,
            text=path.stem,
            language=self.language,
        )
