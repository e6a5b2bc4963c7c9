"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset: its wav recordings.

English, acted, 91 actors (43 women, 48 men, 20 to 74 years) x 12 sentences x 6 emotions, 7442 recordings, 5.26 h, 16 kHz
mono. Source: Cao, Cooper, Keutmann, Gur, Nenkova, Verma, IEEE Transactions on Affective Computing 5(4), 2014.

Layout: ``AudioWAV/<actor>_<sentence>_<emotion>_<intensity>.wav``, for example ``AudioWAV/1001_IEO_ANG_HI.wav``. The sentence
IEO was spoken in three intensities (LO, MD, HI) of every emotion but neutral; everything else has XX. All names follow that
rule, and 20 of the 7462 it gives were never released. Beside the folder:

- ``VideoDemographics.csv`` (ActorID, Age, Sex, Race, Ethnicity); without it the gender is not known.
- ``processedResults/tabulatedVotes.csv``: how many people heard which emotion. Its rows are numbered from 100001 for the
  voice alone, 200001 for the face alone and 300001 for both; only the first are read. Without it there are no votes.

The label is the emotion that the actor was asked for. Listeners agree with it in 41.6 % of the recordings: the task
``perceived`` has what most of them heard, without ties.

Oddities: ``1076_MTI_SAD_XX`` holds no sound and is left out. Three pairs are the same bytes under two labels and stay, as they
do in everybody's counts: 1006_TIE_HAP and 1006_TIE_NEU, 1013_WSI_DIS and 1013_WSI_SAD, 1017_IWW_ANG and 1017_IWW_FEA.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Task, Utterance, audio_files, keep, match_name, short_list, subfolder
from ser_zoo.corpora.label_files import damaged, find_file, read_table
from ser_zoo.errors import CorpusError

GRAMMAR = re.compile(
    r"(?P<speaker>1\d{3})_(?P<text>IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)_"
    r"(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<intensity>LO|MD|HI|XX)"
)
EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
# The votes name an emotion by its first letter.
VOTES = {code[0]: label for code, label in EMOTIONS.items()}
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": None}
GENDERS = {"Female": "female", "Male": "male"}
ACTORS = tuple(str(actor) for actor in range(1001, 1092))
SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
DEMOGRAPHICS, TABULATED = "VideoDemographics.csv", "processedResults/tabulatedVotes.csv"
SILENT = "1076_MTI_SAD_XX"
NEVER_RELEASED = ("1002_TIE_NEU", "1008_WSI", "1009_MTI", "1019_ITH", "1076_ITS_NEU")
"""What the ids of the 20 recordings begin with that the rule of the names gives and the release lacks."""


class CREMAD(Corpus):
    """Reader of the wav recordings of CREMA-D."""

    name: ClassVar[str] = "crema_d"
    title: ClassVar[str] = "CREMA-D"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted, rated by a crowd"
    licence: ClassVar[str] = "ODbL 1.0, contents DbCL 1.0"
    url: ClassVar[str] = "https://github.com/CheyneyComputerScience/CREMA-D (with Git LFS)"
    counts: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(("anger", "disgust", "fear", "happiness"), 1271),
        "neutral": 1087,
        "sadness": 1270,
    }
    speakers: ClassVar[int] = 91
    hours: ClassVar[float] = 5.26
    layout: ClassVar[str] = "the release with the folder AudioWAV/ (AudioWAV/1001_IEO_ANG_HI.wav ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="6class", classes=keep(*EMOTIONS.values()), source="the release: what the actors were asked for"),
        Task(
            name="4class",
            classes=keep("anger", "happiness", "neutral", "sadness"),
            source="as in IEMOCAP: 4899 utterances",
        ),
        Task(
            name="perceived",
            classes=keep(*EMOTIONS.values()),
            source="the release: what most listeners heard in the voice alone, without ties",
        ),
    )

    def files(self) -> list[Path]:
        """The recordings in ``AudioWAV/``."""
        return audio_files(subfolder(self.root, "AudioWAV"))

    def rows(self) -> Iterator[Utterance]:
        """One per recording but the silent one; gender and votes where their tables are there.

        Raises:
            CorpusError: a name or a table breaks the grammar, a table lacks an actor or a recording, or the task
                ``perceived`` has no votes.
        """
        files = self.files()
        if not files:
            return
        demographics = find_file(self.root, DEMOGRAPHICS)
        folder, _, table = TABULATED.partition("/")
        tabulated = find_file(subfolder(self.root, folder), table)
        genders = None if demographics is None else read_genders(demographics)
        votes = None if tabulated is None else read_votes(tabulated)
        perceived = self.task.name == "perceived"
        if perceived and votes is None:
            raise CorpusError(
                f"CREMA-D: task perceived needs the votes, and {self.root} has no file {TABULATED}. Copy it from the release, "
                "or take task 6class, whose labels are in the file names."
            )
        for path in files:
            match = match_name(GRAMMAR, path, self.title, "1001_IEO_ANG_HI.wav")
            if path.stem == SILENT:
                continue
            if genders is not None and match["speaker"] not in genders:
                raise _lacking(self.root / DEMOGRAPHICS, f"actor {match['speaker']}", "a line for each of the 91 actors")
            if votes is not None and path.stem not in votes:
                voice = "a line for each recording from 100001 on"
                raise _lacking(self.root / TABULATED, f"votes on the voice of {path.stem}", voice)
            soft = None if votes is None else votes[path.stem]
            label, original_label = EMOTIONS[match["emotion"]], match["emotion"]
            if perceived and soft is not None:
                label, original_label = majority(soft)
            yield Utterance(
                id=path.stem,
                path=path,
                speaker=match["speaker"],
                gender=None if genders is None else genders[match["speaker"]],
                label=label,
                original_label=original_label,
                text=match["text"],
                intensity=INTENSITIES[match["intensity"]],
                language=self.language,
                soft=soft,
            )

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """The ids of the release that are not there; a whole actor is named as such."""
        present = {utterance.id for utterance in utterances}
        actors = {utterance.speaker for utterance in utterances}
        absent = [f"actor {actor}" for actor in ACTORS if actor not in actors]
        single = [key for key in release_ids() if key not in present and key[:4] in actors and key != SILENT]
        return ([short_list(absent)] if absent else []) + ([short_list(single)] if single else [])


def release_ids() -> list[str]:
    """The 7442 ids of the complete release, with the silent one."""
    ids = (
        f"{actor}_{sentence}_{emotion}_{intensity}"
        for actor in ACTORS
        for sentence in SENTENCES
        for emotion in EMOTIONS
        for intensity in (("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",))
    )
    return [key for key in ids if not key.startswith(NEVER_RELEASED)]


def majority(votes: Mapping[str, float]) -> tuple[str, str]:
    """Label with most votes and its letter; ``no_agreement`` and ``A:D`` for a tie."""
    letters = [letter for letter, label in VOTES.items() if votes[label] == max(votes.values())]
    return (VOTES[letters[0]] if len(letters) == 1 else "no_agreement"), ":".join(letters)


def read_genders(path: Path) -> dict[str, str]:
    """Actor -> gender of ``VideoDemographics.csv``.

    Raises:
        CorpusError: the table lacks a column, or a gender is neither Female nor Male.
    """
    genders = {}
    for line, row in read_table(CREMAD.title, path, ("ActorID", "Sex")):
        if row["Sex"] not in GENDERS:
            raise damaged(CREMAD.title, path, line, f"Sex {row['Sex']!r}", "Female or Male")
        genders[row["ActorID"]] = GENDERS[row["Sex"]]
    return genders


def read_votes(path: Path) -> dict[str, dict[str, float]]:
    """Recording -> label -> how many heard it in the voice alone, of ``tabulatedVotes.csv``.

    Raises:
        CorpusError: the table lacks a column, or a row holds no recording's number or no numbers of votes.
    """
    votes = {}
    for line, row in read_table(CREMAD.title, path, ("fileName", *VOTES)):
        number = next(iter(row.values()))  # the first column has no name
        heard = [row[letter] for letter in VOTES]
        if not re.fullmatch(r"[123]\d{5}", number):
            expected = "100001 and on (voice), 200001 (face) or 300001 (both)"
            raise damaged(CREMAD.title, path, line, f"row number {number!r}", expected)
        if not all(map(str.isdecimal, heard)):
            raise damaged(CREMAD.title, path, line, f"votes {', '.join(heard)}", f"a number for each of {', '.join(VOTES)}")
        if number.startswith("1"):
            votes[row["fileName"]] = dict(zip(VOTES.values(), map(float, heard), strict=True))
    return votes


def _lacking(path: Path, what: str, expected: str) -> CorpusError:
    return CorpusError(
        f"CREMA-D: {path} has no {what}. Expected {expected}: the file seems to be cut off. Copy it from the release again, or "
        "remove it to go on without."
    )
