"""M3ED, the Multi-modal Multi-scene Multi-label Emotional Dialogue database: utterances of 56 Chinese TV series.

Mandarin, 24437 utterances with audio, 635 speakers (counted by series and name; the paper has 626), 9.8 h, 16 kHz mono.
Source: Zhao, Zhang, Hu, Liu, Jin, Wang, Li, ACL 2022. A licence was not found, nor a checksum.

Layout: the authors' repository with ``annotation.json`` and ``splitInfo/movie_list_train.txt`` (``_val``, ``_test``; one series
per line), and the audio clips, behind a link in its README, in any folder below: ``A_anjia_1_2.wav`` is said by A in utterance
2 of the first dialogue of Anjia. The annotation has per series and dialogue ``SpeakerInfo`` (A and B: Name, Gender) and
``Dialog`` (utterance: Speaker, Text, EmoAnnotation with EmoAnnotator1 to 3, final_mul_emo, final_main_emo). How it looks is
from the repository's README and from programs of others that read it.

The label is final_main_emo. The votes are those of the three annotators; an entry that is not one of the seven emotions gives
none. The official split is by series, so no speaker recurs. A few utterances of the annotation have no clip.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from ser_zoo.corpora.base import Corpus, Task, Utterance, keep, short_list, shortfalls, subfolder, walk
from ser_zoo.corpora.label_files import by_name, damaged, find_file, read_text
from ser_zoo.errors import CorpusError, SERZooWarning

LABELS = {
    "Neutral": "neutral",
    "Anger": "anger",
    "Sad": "sadness",
    "Happy": "happiness",
    "Disgust": "disgust",
    "Surprise": "surprise",
    "Fear": "fear",
}
GENDERS = ("female", "male")
ANNOTATORS = ("EmoAnnotator1", "EmoAnnotator2", "EmoAnnotator3")
ANNOTATION = "annotation.json"
SPLITS = {"train": "train", "val": "validation", "test": "test"}
PER_SPLIT = {"train": 17420, "validation": 2819, "test": 4198}


class Said(NamedTuple):
    """An annotated utterance; ``clip`` is the name of its recording without suffix."""

    series: str
    dialogue: str
    clip: str
    person: str
    gender: str | None
    emotion: str
    votes: dict[str, float]


class M3ED(Corpus):
    """Reader of the audio clips of M3ED."""

    name: ClassVar[str] = "m3ed"
    title: ClassVar[str] = "M3ED"
    language: ClassVar[str] = "zh"
    kind: ClassVar[str] = "acted dialogues of TV series"
    licence: ClassVar[str] = "not stated; the series are under copyright"
    url: ClassVar[str] = "https://github.com/AIM3-RUC/RUCM3ED (audio clips by the link there)"
    counts: ClassVar[Mapping[str, int]] = {
        "neutral": 10021,
        "anger": 5231,
        "sadness": 3957,
        "happiness": 2286,
        "disgust": 1497,
        "surprise": 1050,
        "fear": 395,
    }
    speakers: ClassVar[int] = 635
    hours: ClassVar[float] = 9.8
    layout: ClassVar[str] = (
        "annotation.json, the folder splitInfo/ and the audio clips in a folder beside them (A_anjia_1_1.wav ...)"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*counts), source="the release"),
        Task(name="4class", classes=keep("neutral", "happiness", "anger", "sadness"), source="as in IEMOCAP: 21495 utterances"),
    )

    def files(self) -> Iterator[Path]:
        """The clips anywhere below a root that has the annotation."""
        if find_file(self.root, ANNOTATION):
            yield from walk(self.root)

    def rows(self) -> Iterator[Utterance]:
        """One per annotated utterance that has a clip; warns of clips without annotation.

        Raises:
            CorpusError: the annotation is damaged, or a series is in no list of the split.
        """
        recordings = by_name(self.title, self.files())
        path = find_file(self.root, ANNOTATION)
        if path is None or not recordings:
            return
        splits = self._splits()
        annotated = set()
        for said in read_annotation(path):
            if said.series not in splits:
                raise CorpusError(
                    f"M3ED: series {said.series} of {path} is in none of the lists movie_list_train.txt, movie_list_val.txt "
                    f"and movie_list_test.txt in {self.root / 'splitInfo'}. Copy that folder from the repository again."
                )
            annotated.add(said.clip)
            if said.clip not in recordings:
                continue
            yield Utterance(
                id=said.clip,
                path=recordings[said.clip],
                speaker=f"{said.series}_{said.person}",
                gender=said.gender if said.gender in GENDERS else None,
                label=LABELS[said.emotion],
                original_label=said.emotion,
                session=said.dialogue,
                language=self.language,
                split=splits[said.series],
                soft=said.votes or None,
            )
        if unknown := sorted(recordings.keys() - annotated):
            warnings.warn(
                f"M3ED at {self.root}: {len(unknown)} of {len(recordings)} clips are not in {path.name} and are left out: "
                f"{short_list(unknown, 3)}.",
                SERZooWarning,
                stacklevel=2,
            )

    def _splits(self) -> dict[str, str]:
        folder = subfolder(self.root, "splitInfo")
        lists = {split: find_file(folder, f"movie_list_{name}.txt") for name, split in SPLITS.items()}
        found = {split: read_text(self.title, path).split() for split, path in lists.items() if path}
        return {series: split for split, every in found.items() for series in every}

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """How many utterances each part of the official split lacks."""
        return shortfalls(utterances, PER_SPLIT, "split")


def read_annotation(path: Path) -> list[Said]:
    """All annotated utterances.

    Raises:
        CorpusError: the file is no JSON in UTF-8, or an utterance lacks something or has an unknown emotion.
    """
    try:
        annotation = json.loads(read_text("M3ED", path))
    except json.JSONDecodeError as error:
        raise damaged("M3ED", path, error.lineno, error.msg, "JSON") from None
    every = []
    key = "its beginning"
    try:
        for series, dialogues in annotation.items():
            for dialogue, entry in dialogues.items():
                for key, utterance in entry["Dialog"].items():
                    person, emotions = entry["SpeakerInfo"][utterance["Speaker"]], utterance["EmoAnnotation"]
                    heard = (emotions.get(annotator) for annotator in ANNOTATORS)
                    votes = Counter(LABELS[emotion] for emotion in heard if emotion in LABELS)
                    every.append(
                        Said(
                            series=series,
                            dialogue=dialogue,
                            clip=f"{utterance['Speaker']}_{key}",
                            person=person["Name"],
                            gender=person.get("Gender"),
                            emotion=emotions["final_main_emo"],
                            votes={label: float(count) for label, count in votes.items()},
                        )
                    )
                    if every[-1].emotion not in LABELS:
                        raise CorpusError(
                            f"M3ED: {path}, utterance {key}: found final_main_emo {every[-1].emotion!r}, expected one of "
                            f"{', '.join(LABELS)}. Copy the file from the repository again."
                        )
    except (AttributeError, KeyError, TypeError) as error:
        raise CorpusError(
            f"M3ED: {path}, at {key}: found no entry as expected ({type(error).__name__}: {error}). Expected series, dialogue, "
            "then SpeakerInfo and Dialog with Speaker and EmoAnnotation. Copy the file from the repository again."
        ) from error
    return every
