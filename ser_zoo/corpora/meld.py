"""MELD, the Multimodal EmotionLines Dataset: utterances of the series Friends.

English, 13708 utterances of 304 speakers, of which 13706 can be used, 12.1 h, 48 kHz, mostly six channels in mp4 clips with
video; ``ser-zoo prepare`` turns these into wav files beside them. Source: Poria, Hazarika, Majumder, Naik, Cambria, Mihalcea,
ACL 2019. A checksum was not found.

Layout: ``MELD.Raw.tar.gz`` holds one more archive for each of train, dev and test; ``ser-zoo prepare`` unpacks all of them
where the first is put into the root. Unpacked there are ``train_splits/``, ``dev_splits_complete/`` and
``output_repeated_splits_test/`` with clips like ``dia125_utt2.mp4``, in the root or each in a folder ``train/``, ``dev/``,
``test/``, and there or in the root ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv`` (Utterance, Speaker,
Emotion, Dialogue_ID, Utterance_ID and more). Numbers of dialogues begin anew in each part, so ids and sessions carry its name:
``train_dia125_utt2``.

The parts are the official split. It is by scenes, not by speakers: 69 of the 100 speakers of the test, all six leads among
them, are in training. A speaker may be "All", "Both" or several ("Joey and Ross"). Gender is not said. The sentiment is another
column of the tables, not read. What is spoken is in them too, but as it hardly recurs, the text has no id.

Oddities: the clip train dia125_utt3 cannot be read and dev dia110_utt7 was never released, so they are left out (both neutral).
Clips without a line in the tables are passed over: dev dia49_utt4, dia49_utt5, dia66_utt9, dia66_utt10, test dia108_utt2, and
those whose name begins with final_videos_test. Wrongly cut, and kept: test dia38_utt4 (305 s) and dia220_utt0 (235 s), train
dia309_utt0 (41 s). Reported as distorted, and kept: train dia793_utt0, dia164_utt5, dia682_utt1, dia529_utt2, dia1029_utt1,
dia1008_utt1. 30 pairs of lines have the same episode and times, three of them one in training and one in the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from ser_zoo.corpora.base import AUDIO_SUFFIXES, Corpus, Task, Utterance, audio_files, keep, prefer_wav, shortfalls, subfolder
from ser_zoo.corpora.label_files import by_name, damaged, find_file, read_table, refuse_unlabelled

LABELS = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprise": "surprise",
}


class Part(NamedTuple):
    """One of the three parts.

    Attributes:
        name: as its files have it.
        folder: of its clips.
        split: what it is for.
        size: utterances that can be used.
        unused: its clip that cannot be read, and those without a line in its table.
    """

    name: str
    folder: str
    split: str
    size: int
    unused: tuple[str, ...]


PARTS = (
    Part("train", "train_splits", "train", 9988, ("dia125_utt3",)),
    Part("dev", "dev_splits_complete", "validation", 1108, ("dia49_utt4", "dia49_utt5", "dia66_utt9", "dia66_utt10")),
    Part("test", "output_repeated_splits_test", "test", 2610, ("dia108_utt2",)),
)
DUPLICATE = "final_videos_test"
COLUMNS = ("Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
NUMBER = re.compile(r"\d+")


class MELD(Corpus):
    """Reader of the clips of MELD, or of the wav files beside them."""

    name: ClassVar[str] = "meld"
    title: ClassVar[str] = "MELD"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted dialogues of a TV series"
    licence: ClassVar[str] = "GPL-3.0 (annotation); the series is under copyright"
    url: ClassVar[str] = "http://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz"
    counts: ClassVar[Mapping[str, int]] = {
        "neutral": 6434,
        "happiness": 2308,
        "surprise": 1636,
        "anger": 1607,
        "sadness": 1002,
        "disgust": 361,
        "fear": 358,
    }
    speakers: ClassVar[int] = 304
    hours: ClassVar[float] = 12.1
    layout: ClassVar[str] = (
        "the unpacked release, with the folders train_splits/, dev_splits_complete/ and output_repeated_splits_test/ "
        "(dia0_utt0.mp4 ...) and the files train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*counts), source="the release"),
        Task(name="4class", classes=keep("neutral", "happiness", "anger", "sadness"), source="as in IEMOCAP: 11351 utterances"),
    )
    compressed: ClassVar[tuple[str, ...]] = (".mp4",)

    def files(self) -> Iterator[Path]:
        """The recordings that can be used: clips, or the wav files made of them."""
        for part in PARTS:
            yield from self._recordings(part)

    def _recordings(self, part: Part) -> list[Path]:
        folder = subfolder(subfolder(self.root, part.name), part.folder)
        if not folder.is_dir():
            folder = subfolder(self.root, part.folder)
        paths = prefer_wav(audio_files(folder, (*AUDIO_SUFFIXES, *self.compressed)))
        return [path for path in paths if path.stem not in part.unused and not path.name.startswith(DUPLICATE)]

    def rows(self) -> Iterator[Utterance]:
        """One per line of the tables that has a recording.

        Raises:
            CorpusError: a line breaks the grammar, an utterance has two, or a recording has none.
        """
        for part in PARTS:
            recordings = by_name(self.title, self._recordings(part))
            table = f"{part.name}_sent_emo.csv"
            path = find_file(self.root, table) or find_file(subfolder(self.root, part.name), table)
            lines = self._lines(path) if path and recordings else {}
            refuse_unlabelled(self.title, recordings, lines, str(path or self.root / table))
            for key, recording in recordings.items():
                line = lines[key]
                yield Utterance(
                    id=f"{part.name}_{key}",
                    path=recording,
                    speaker=line["Speaker"].strip(),
                    label=LABELS[line["Emotion"]],
                    original_label=line["Emotion"],
                    session=f"{part.name}_dia{line['Dialogue_ID']}",
                    language=self.language,
                    split=part.split,
                )

    def _lines(self, path: Path) -> dict[str, dict[str, str]]:
        lines: dict[str, dict[str, str]] = {}
        for number, line in read_table(self.title, path, COLUMNS):
            ids = (line["Dialogue_ID"], line["Utterance_ID"])
            if not all(NUMBER.fullmatch(value) for value in ids):
                raise damaged(self.title, path, number, f"Dialogue_ID {ids[0]!r} and Utterance_ID {ids[1]!r}", "two numbers")
            if line["Emotion"] not in LABELS:
                raise damaged(self.title, path, number, f"Emotion {line['Emotion']!r}", f"one of {', '.join(LABELS)}")
            key = "dia{}_utt{}".format(*ids)
            if key in lines:
                raise damaged(self.title, path, number, f"a second line for {key}", "one")
            lines[key] = line
        return lines

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """How many utterances each part of the official split lacks."""
        return shortfalls(utterances, {part.split: part.size for part in PARTS}, "split")
