"""RESD, the Russian Emotional Speech Dialogues of Aniemore.

Russian, acted dialogues of two, 7 emotions, 50 dialogues, 1396 recordings, 2.34 h, 16 and 44.1 kHz. Source: Aniemore, 2022,
https://huggingface.co/datasets/Aniemore/resd_annotated.

Layout: ``train.csv`` and ``test.csv`` with a column ``path`` and a column ``emotion``, and the recordings in ``train/`` and
``test/``: ``<dialogue folder>/<dialogue>_<emotion>_<emotion>_<letter>_<number>.wav``, for example
``train/happiness_enthusiasm_32/32_happiness_enthusiasm_h_120.wav``; dialogues 01 to 11 have a blank before the letter, and
folders like ``03_disgust_neutral``. The two emotions are those of the two parts of the dialogue, the letter is that of the part
that speaks. The label is that of the table, which must begin with this letter, as it does in all 1396.

There are no speaker ids, and who played which part was not found. **The speaker here is the part** (``32_happiness``), the
session the dialogue: within a dialogue two people are told apart, but one person may well be several speakers here. So a
protocol over dialogues keeps dialogues apart, and nothing proves that it keeps people apart. ``split`` is the official one,
in which **every dialogue is in train and in test**.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Task, Utterance, keep, match_name, subfolder, walk
from ser_zoo.corpora.label_files import by_name, damaged, read_table, refuse_unlabelled
from ser_zoo.errors import CorpusError

LABELS = ("anger", "disgust", "enthusiasm", "fear", "happiness", "neutral", "sadness")
_EMOTION = "|".join(LABELS)
GRAMMAR = re.compile(
    rf"(?P<dialogue>0[1-9]|[1-4]\d|50)_(?P<first>{_EMOTION})_(?P<second>{_EMOTION})[_ ](?P<letter>[adefhns])_\d+"
)
SPLITS = ("train", "test")


class RESD(Corpus):
    """Reader of RESD."""

    name: ClassVar[str] = "resd"
    title: ClassVar[str] = "RESD"
    language: ClassVar[str] = "ru"
    kind: ClassVar[str] = "acted dialogues"
    licence: ClassVar[str] = "MIT"
    url: ClassVar[str] = "https://huggingface.co/datasets/Aniemore/resd_annotated"
    counts: ClassVar[Mapping[str, int]] = dict(zip(LABELS, (219, 185, 198, 223, 218, 191, 162), strict=True))
    speakers: ClassVar[int | None] = None
    hours: ClassVar[float] = 2.34
    layout: ClassVar[str] = "the unpacked release, with train.csv, test.csv and the folders train/ and test/"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*LABELS), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 790 utterances",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings below ``train/`` and ``test/``."""
        for split in SPLITS:
            if (folder := subfolder(self.root, split)).is_dir():
                yield from walk(folder)

    def rows(self) -> Iterator[Utterance]:
        """One per recording.

        Raises:
            CorpusError: a table is missing or damaged, lacks a recording, or contradicts its name.
        """
        recordings = by_name(self.title, self.files())
        if not recordings:
            return
        labelled = set()
        for split in SPLITS:
            table = self.root / f"{split}.csv"
            if not table.is_file():
                raise CorpusError(f"{self.title}: there is no file {table}. Expected {self.layout}. Copy it from the release.")
            for line, row in read_table(self.title, table, ("path", "emotion")):
                name, emotion = Path(row["path"]), row["emotion"]
                labelled.add(name.stem)
                match = match_name(GRAMMAR, name, self.title, "32_happiness_enthusiasm_h_120.wav")
                if emotion not in (match["first"], match["second"]) or emotion[0] != match["letter"]:
                    expected = " or ".join(
                        part for part in (match["first"], match["second"]) if part.startswith(match["letter"])
                    )
                    raise damaged(self.title, table, line, f"emotion {emotion!r} for {name.name}", expected or "another name")
                if name.stem not in recordings:
                    continue
                yield Utterance(
                    id=name.stem,
                    path=recordings[name.stem],
                    speaker=f"{match['dialogue']}_{emotion}",
                    session=match["dialogue"],
                    label=emotion,
                    original_label=emotion,
                    language=self.language,
                    split=split,
                )
        refuse_unlabelled(self.title, recordings, labelled, "train.csv and test.csv")
