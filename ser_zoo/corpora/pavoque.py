"""PAVOQUE: German speech of one actor in five styles.

German, acted by Stefan Röttig, 7334 utterances, 12.2 h, 44.1 kHz: neutral 4344, and in the parts of four characters angry 724,
happy 746, sad 701 and poker 819 (cool, laid-back: an attitude, which no label space takes for an emotion). Source: Steiner,
Schröder, Klepp: "The PAVOQUE corpus as a resource for analysis and synthesis of expressive speech", 2013; DFKI 2009.

Layout: six long recordings, each with a list of its utterances: ``pavoque-<angry|happy|neutral|poker|sad|outtakes>.flac`` and
``.yaml``. The lists are in the repository, the recordings are files of its releases; put them together. An entry is

    - prompt: spike0008
      text: Ach ja?
      style: angry
      start: 27.0
      end: 28.92

with seconds from the start of the recording, and often segments, which are not read. The entries are matched as they are
written, since a YAML parser would spend most of its time on the segments. The outtakes, 1892 of the 7334, are of all styles.

The id is prompt and style (``spike0008-angry``), the text the wording as the list writes it. The README asks for a filter at
50 Hz (it says low-pass; a high-pass must be meant); none is applied here. With one speaker there is no speaker-independent
score: use it to test models of other corpora.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Task, Utterance, audio_files, keep
from ser_zoo.corpora.label_files import damaged, read_text
from ser_zoo.errors import CorpusError

SUBSETS = ("angry", "happy", "neutral", "outtakes", "poker", "sad")
STYLES = {
    "angry": "anger",
    "happy": "happiness",
    "neutral": "neutral",
    "poker": "poker",
    "sad": "sadness",
}
START = re.compile(r"^(?=- )", re.MULTILINE)
ENTRY = re.compile(
    r"- prompt: (?P<prompt>\S+)\n  text: (?P<text>.+\n(?:    .+\n)*)  style: (?P<style>\w+)\n"
    r"  start: (?P<start>\d+(?:\.\d+)?)\n  end: (?P<end>\d+(?:\.\d+)?)\n(?:  segments:\n(?:  - \{.*\}\n)*)?"
)


class PAVOQUE(Corpus):
    """Reader of PAVOQUE."""

    name: ClassVar[str] = "pavoque"
    title: ClassVar[str] = "PAVOQUE"
    language: ClassVar[str] = "de"
    kind: ClassVar[str] = "acted, one speaker"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    url: ClassVar[str] = "https://github.com/marytts/pavoque-data (yaml files) and its releases (flac files)"
    counts: ClassVar[Mapping[str, int]] = {"anger": 724, "happiness": 746, "neutral": 4344, "poker": 819, "sadness": 701}
    speakers: ClassVar[int] = 1
    hours: ClassVar[float] = 12.2
    layout: ClassVar[str] = (
        "in one folder pavoque-angry.flac, pavoque-angry.yaml and so on for happy, neutral, outtakes, poker, sad"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="5class", classes=keep(*counts), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 6515 utterances",
        ),
    )

    def files(self) -> list[Path]:
        """The long recordings."""
        names = {f"pavoque-{subset}" for subset in SUBSETS}
        return [path for path in audio_files(self.root) if path.stem.lower() in names]

    def rows(self) -> Iterator[Utterance]:
        """One per entry of the lists whose recording is there.

        Raises:
            CorpusError: the list of a recording is missing or damaged.
        """
        for path in self.files():
            table = path.with_suffix(".yaml")
            if not table.is_file():
                raise CorpusError(
                    f"{self.title}: there is no file {table} beside {path.name}. Expected {self.layout}. Copy it from "
                    f"{self.url}."
                )
            for entry in self._entries(table):
                yield Utterance(
                    id=f"{entry['prompt']}-{entry['style']}",
                    path=path,
                    speaker="STEFAN-ROETTIG",
                    gender="male",
                    label=STYLES[entry["style"]],
                    original_label=entry["style"],
                    text=" ".join(entry["text"].split()),
                    language=self.language,
                    start=float(entry["start"]),
                    end=float(entry["end"]),
                )

    def _entries(self, table: Path) -> Iterator[re.Match[str]]:
        line = 1
        expected = "entries of prompt, text, style, start and end"
        head, *entries = START.split(read_text(self.title, table))
        if head or not entries:
            raise damaged(self.title, table, line, repr(head[:40]), expected)
        for entry in entries:
            match = ENTRY.fullmatch(entry)
            if match is None:
                raise damaged(self.title, table, line, repr(entry[:40]), expected)
            if match["style"] not in STYLES:
                raise damaged(self.title, table, line, f"style {match['style']!r}", f"one of {', '.join(STYLES)}")
            if float(match["end"]) <= float(match["start"]):
                raise damaged(self.title, table, line, f"end {match['end']}", f"more than start {match['start']}")
            yield match
            line += entry.count("\n")
