"""eNTERFACE'05, the audio-visual emotion database: its sound tracks.

English sentences by 42 people of 14 nations who were brought into an emotion by a story, 6 emotions x 5 sentences, 1257
recordings, 0.98 h, 48 kHz. Source: Martin, Kotsia, Macq, Pitas: "The eNTERFACE'05 Audio-Visual Emotion Database", ICDEW 2006.

Layout: ``subject <n>/<emotion>/sentence <m>/s<n>_<code>_<m>.avi``, for example ``subject 1/anger/sentence 1/s1_an_1.avi``. The
videos must become wav files before they can be heard: ``ser-zoo prepare`` writes them beside the videos.

Subject, emotion and sentence are read from the folders, because the names err: those of subject 11 begin with ``s12``, many of
subject 3 with ``s_3``, ``s16_su_3avi`` has its suffix twice, and of subject 2 the first two sentences of anger are exchanged
between folders and names (which is right was not found). There is no subject 12. Subject 6 is left out: there each emotion
is one long recording that nobody has cut. Subject 23 has only two sentences of happiness. Genders were not found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import AUDIO_SUFFIXES, FileNameCorpus, Task, Utterance, keep, match_name, prefer_wav, walk
from ser_zoo.corpora.unpacked import subfolders, unpacked
from ser_zoo.errors import CorpusError

GRAMMAR = re.compile(r"s_?\d{1,2}_(?P<code>an|di|fe|ha|sa|su)(?:_[1-5])?(?:avi)?")
FOLDERS = re.compile(
    r"subject (?P<speaker>[1-9]|[123]\d|4[0-4])/(?P<emotion>anger|disgust|fear|happiness|sadness|surprise)"
    r"(?:/sentence (?P<sentence>[1-5]))?",
    re.IGNORECASE,
)
UNCUT = "6"


class ENTERFACE(FileNameCorpus):
    """Reader of the recordings of eNTERFACE'05, as avi or wav."""

    name: ClassVar[str] = "enterface"
    title: ClassVar[str] = "eNTERFACE'05"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "elicited"
    licence: ClassVar[str] = "free for research"
    url: ClassVar[str] = "http://www.enterface.net/results/ (project 2, database)"
    counts: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(("anger", "disgust", "fear"), 210),
        "happiness": 207,
        **dict.fromkeys(("sadness", "surprise"), 210),
    }
    speakers: ClassVar[int] = 42
    hours: ClassVar[float] = 0.98
    layout: ClassVar[str] = "the unpacked release, with the folders subject 1/ ... subject 44/"
    tasks: ClassVar[tuple[Task, ...]] = (Task(name="6class", classes=keep(*counts), source="the release"),)
    compressed: ClassVar[tuple[str, ...]] = (".avi",)

    def files(self) -> list[Path]:
        """The recordings in the folders of the subjects; of a video and its wav the wav."""
        root = unpacked(self.root, "enterface database")
        subjects = [path for path in subfolders(root) if re.fullmatch(r"subject \d+", path.name, re.IGNORECASE)]
        return prefer_wav(path for folder in subjects for path in walk(folder, (*AUDIO_SUFFIXES, *self.compressed)))

    def parse(self, path: Path) -> Utterance | None:
        """The row of ``subject 1/anger/sentence 1/s1_an_1.avi``; None for the uncut recordings of subject 6.

        Raises:
            CorpusError: folders or name break the grammar, or tell of different emotions.
        """
        match = match_name(GRAMMAR, path, self.title, "s1_an_1.avi")
        depth = 3 if path.parent.name.lower().startswith("sentence") else 2
        folder = FOLDERS.fullmatch("/".join(path.parts[-depth - 1 : -1]))
        uncut = folder is not None and folder["speaker"] == UNCUT
        if folder is None or not folder["emotion"].lower().startswith(match["code"]) or not (folder["sentence"] or uncut):
            raise CorpusError(
                f"{self.title}: {path.name} is in folder {path.parent}. Expected folders like subject 1/anger/sentence 1 for "
                "s1_an_1.avi. Copy the release again."
            )
        if uncut:
            return None
        return Utterance(
            id=path.stem,
            path=path,
            speaker=folder["speaker"],
            label=folder["emotion"].lower(),
            original_label=match["code"],
            text=f"{match['code']}{folder['sentence']}",
            language=self.language,
        )
