"""Emozionalmente: Italian emotional speech of a crowd.

Italian, acted by 431 amateurs at home (299 women, 131 men, one who named neither) x 18 sentences x 7 emotions, 6902
recordings, 6.30 h, 16 kHz (EmoBox met 150 at 44.1 kHz). Source: Catania: "Emozionalmente: a crowd-sourced Italian speech
emotional corpus", 2022.

Layout: ``audio/<milliseconds>.wav`` and three tables in ``metadata/``:

- ``samples.csv``: file_name, sentence, sentence_language, actor, emotion_expressed;
- ``users.csv``: username, gender, age, mother_tongue of actors and listeners;
- ``evaluations.csv``: file_name, evaluator, audio_quality, emotion_recognized; five listeners for each recording.

The label is the emotion that was to be expressed, ``soft`` counts the votes of the listeners. Version 1.1 is said to bring an
official speaker-independent split; its files were not found, so none is read. A few actors gave one recording, one gave 105.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Download, Task, Utterance, audio_files, keep, subfolder
from ser_zoo.corpora.label_files import by_name, damaged, read_table, refuse_unlabelled
from ser_zoo.corpora.unpacked import unpacked
from ser_zoo.errors import CorpusError

EMOTIONS = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happiness",
    "neutrality": "neutral",
    "sadness": "sadness",
    "surprise": "surprise",
}
GENDERS = {"female": "female", "male": "male", "other": None}


class Emozionalmente(Corpus):
    """Reader of Emozionalmente."""

    name: ClassVar[str] = "emozionalmente"
    title: ClassVar[str] = "Emozionalmente"
    language: ClassVar[str] = "it"
    kind: ClassVar[str] = "acted by a crowd, rated by another"
    licence: ClassVar[str] = "CC BY 4.0"
    url: ClassVar[str] = "https://zenodo.org/records/6569824"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(EMOTIONS.values(), 986)
    speakers: ClassVar[int] = 431
    hours: ClassVar[float] = 6.3
    layout: ClassVar[str] = "the unpacked release, with the folders audio/ and metadata/ (metadata/samples.csv ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="7class", classes=keep(*EMOTIONS.values()), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 3944 utterances",
        ),
    )
    # Version 1.0; no checksum of it was found.
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(url="https://zenodo.org/records/6569824/files/emozionalmente_dataset.zip"),
    )

    def files(self) -> list[Path]:
        """The recordings in ``audio/``."""
        return audio_files(subfolder(unpacked(self.root, "emozionalmente_dataset"), "audio"))

    def rows(self) -> Iterator[Utterance]:
        """One per recording.

        Raises:
            CorpusError: a table is missing or damaged, or says nothing of a recording, its actor or its votes.
        """
        recordings = by_name(self.title, self.files())
        if not recordings:
            return
        genders: dict[str, str | None] = {}
        for path, line, row in self._table("users.csv", ("username", "gender")):
            if row["gender"] not in GENDERS:
                raise damaged(self.title, path, line, f"gender {row['gender']!r}", f"one of {', '.join(GENDERS)}")
            genders[row["username"]] = GENDERS[row["gender"]]
        votes: dict[str, Counter[str]] = {}
        for path, line, row in self._table("evaluations.csv", ("file_name", "emotion_recognized")):
            label = self._label(path, line, row["emotion_recognized"])
            votes.setdefault(Path(row["file_name"]).stem, Counter())[label] += 1
        refuse_unlabelled(self.title, recordings, votes, "metadata/evaluations.csv")
        labelled = set()
        for path, line, row in self._table("samples.csv", ("file_name", "sentence", "actor", "emotion_expressed")):
            key, label = Path(row["file_name"]).stem, self._label(path, line, row["emotion_expressed"])
            labelled.add(key)
            if row["actor"] not in genders:
                raise damaged(self.title, path, line, f"actor {row['actor']!r}", "one of metadata/users.csv")
            if key not in recordings:
                continue
            yield Utterance(
                id=key,
                path=recordings[key],
                speaker=row["actor"],
                gender=genders[row["actor"]],
                label=label,
                original_label=row["emotion_expressed"],
                text=row["sentence"],
                language=self.language,
                soft={known: float(votes[key][known]) for known in EMOTIONS.values()},
            )
        refuse_unlabelled(self.title, recordings, labelled, "metadata/samples.csv")

    def _table(self, name: str, columns: Sequence[str]) -> Iterator[tuple[Path, int, dict[str, str]]]:
        path = subfolder(unpacked(self.root, "emozionalmente_dataset"), "metadata") / name
        if not path.is_file():
            raise CorpusError(f"{self.title}: there is no file {path}. Expected {self.layout}. Copy it from the release.")
        for line, row in read_table(self.title, path, columns):
            yield path, line, row

    def _label(self, path: Path, line: int, emotion: str) -> str:
        if emotion not in EMOTIONS:
            raise damaged(self.title, path, line, f"emotion {emotion!r}", f"one of {', '.join(EMOTIONS)}")
        return EMOTIONS[emotion]
