"""EMNS, the Emotive Narrative Storytelling corpus.

British English, one woman in her twenties who acts narration, 8 emotions, 1181 recordings, 1.91 h, 48 kHz in webm. Source:
Noriy, Yang, Zhang: "EMNS /Imz/ Corpus: An emotive single-speaker dataset for narrative storytelling in games, television and
graphic novels", 2023.

Layout: ``metadata.csv`` (fields with ``|`` between: id, utterance, description, emotion, date_created, status, gender, age,
level, audio_recording, user_id) and the folder ``cleaned_webm/``, or else ``raw_webm/``, with ``recorded_audio_<7 letters and
digits>.webm``; the table calls them ``wavs/recorded_audio_... .webm``. They must become wav files before they can be heard:
``ser-zoo prepare`` writes them beside the others.

The table lists 1205 recordings, of which 1181 have the status Complete. The others (Needs Updating) are left out, and are not
among the cleaned ones. ``level``, 0 to 10, is how expressive it is. With one speaker there is no speaker-independent score:
use it to test models of other corpora.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import AUDIO_SUFFIXES, Corpus, Task, Utterance, audio_files, keep, prefer_wav, subfolder
from ser_zoo.corpora.label_files import by_name, damaged, read_table, refuse_unlabelled
from ser_zoo.errors import CorpusError

EMOTIONS = {
    "Angry": "anger",
    "Disgust": "disgust",
    "Excited": "excitement",
    "Happy": "happiness",
    "Neutral": "neutral",
    "Sad": "sadness",
    "Sarcastic": "sarcasm",
    "Surprised": "surprise",
}
COUNTS = {
    "anger": 126,
    "disgust": 162,
    "excitement": 150,
    "happiness": 157,
    "neutral": 149,
    "sadness": 147,
    "sarcasm": 139,
    "surprise": 151,
}
COLUMNS = ("emotion", "status", "level", "audio_recording", "user_id")
COMPLETE = "Complete"


class EMNS(Corpus):
    """Reader of EMNS, as webm or wav."""

    name: ClassVar[str] = "emns"
    title: ClassVar[str] = "EMNS"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted narration, one speaker"
    licence: ClassVar[str] = "Apache-2.0"
    url: ClassVar[str] = "https://www.openslr.org/136/ (cleaned_webm.tar.xz and metadata.csv)"
    counts: ClassVar[Mapping[str, int]] = COUNTS
    speakers: ClassVar[int] = 1
    hours: ClassVar[float] = 1.91
    layout: ClassVar[str] = "the release, with metadata.csv and the folder cleaned_webm/"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="8class", classes=keep(*COUNTS), source="the release"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness", excitement="happiness"),
            source="as in IEMOCAP, excited counts as happy: 729 utterances",
        ),
    )
    compressed: ClassVar[tuple[str, ...]] = (".webm",)

    def files(self) -> list[Path]:
        """The cleaned recordings, or else the raw ones; of a webm and its wav the wav."""
        folders = (subfolder(self.root, name) for name in ("cleaned_webm", "raw_webm"))
        found = (prefer_wav(audio_files(folder, (*AUDIO_SUFFIXES, *self.compressed))) for folder in folders)
        return next((paths for paths in found if paths), [])

    def rows(self) -> Iterator[Utterance]:
        """One per recording that is complete.

        Raises:
            CorpusError: the table is missing or damaged, or lacks a recording.
        """
        recordings = by_name(self.title, self.files())
        if not recordings:
            return
        path = self.root / "metadata.csv"
        if not path.is_file():
            raise CorpusError(f"{self.title}: there is no file {path}. Expected {self.layout}. Get it at {self.url}.")
        labelled = set()
        for line, row in read_table(self.title, path, COLUMNS, "|"):
            key, emotion = Path(row["audio_recording"]).stem, row["emotion"]
            labelled.add(key)
            if emotion not in EMOTIONS:
                raise damaged(self.title, path, line, f"emotion {emotion!r}", f"one of {', '.join(EMOTIONS)}")
            if row["status"] != COMPLETE or key not in recordings:
                continue
            yield Utterance(
                id=key,
                path=recordings[key],
                speaker=row["user_id"],
                gender="female",
                label=EMOTIONS[emotion],
                original_label=emotion,
                intensity=row["level"],
                language=self.language,
            )
        refuse_unlabelled(self.title, recordings, labelled, "metadata.csv")
