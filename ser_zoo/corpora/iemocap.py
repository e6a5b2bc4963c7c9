"""IEMOCAP, the Interactive Emotional Dyadic Motion Capture database: its utterances, cut out of the dialogues.

English, five sessions of an actress and an actor who improvise and play scripts, 10039 utterances, about 12 h, 16 kHz mono.
Source: Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee, Narayanan, Language Resources and Evaluation 42(4), 2008. The
release must be asked for; a checksum was not found.

Layout, for k from 1 to 5:

- ``Session<k>/sentences/wav/<dialogue>/<utterance>.wav``, for example ``Ses01F_impro01/Ses01F_impro01_M012.wav``. The letter
  after the last underscore is the speaker; the one in the dialogue's name only says who wore the markers, so that the speaker
  of the example is ``Ses01M``. Scripts 1 to 3 were played in every session.
- ``Session<k>/dialog/EmoEvaluation/<dialogue>.txt``: a heading, then per utterance a block of lines with tabs, ended by an
  empty line (the folders in there are not read):

  - ``[6.2901 - 8.2357] Ses01F_impro01_F000 neu [2.5000, 2.5000, 2.5000]``: start and end in the dialogue, the label, and the
    means of valence, activation and dominance (1 to 5);
  - ``C-E2: Neutral; ()``: what an evaluator (E) or an actor about himself (F, M) heard, one emotion or several, and a comment;
  - ``A-E3: val 3; act 2; dom  2; ()``: his ratings; some of dominance are missing. Not read, as their means are above.

The label is what most evaluators agreed on, ``xxx`` where none won. The votes are those of the evaluators, not of the actors:
each has one, shared evenly when he named several emotions.

There are no ids of sentences. The text of a scripted utterance is its script (``script01_1``; ``script01_1b`` is the same):
who keeps texts apart by it keeps whole scripts apart. Improvisations have none.

Counts by label are those of EmoBox's lists (neutral, happiness, excitement, anger, sadness) and of the release's documentation
(frustration, surprise, fear); how the other 2512 divide into disgust, other and no agreement is from memory and was not
verified, so a release is held against the counts per session. Literature on conversations has 7433 utterances in six classes:
53 more of happiness than the label files say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from ser_zoo.corpora.base import Corpus, Task, Utterance, audio_files, keep, match_name, shortfalls, subfolder
from ser_zoo.corpora.label_files import by_name, damaged, refuse_unlabelled

GRAMMAR = re.compile(
    r"Ses0(?P<session>[1-5])[FM]_(?P<dialogue>impro0[1-8][ab]?|(?P<script>script0[123]_[123])b?)_(?P<speaker>[FM])\d{3}"
)
TURN = re.compile(
    r"\[\d+\.\d+ - \d+\.\d+\]\t(?P<id>\w+)\t(?P<label>\w{3})\t"
    r"\[(?P<valence>\d+\.\d+), (?P<arousal>\d+\.\d+), (?P<dominance>\d+\.\d+)\]"
)
VOTE = re.compile(r"C-E\d*:\s*(?P<labels>(?:[^;()]+;)+)\s*\(.*")
# What is not read: the heading, the actors about themselves, and single ratings.
PASSED_OVER = ("%", "C-F", "C-M", "A-")
LABELS = {
    "neu": "neutral",
    "hap": "happiness",
    "exc": "excitement",
    "ang": "anger",
    "sad": "sadness",
    "fru": "frustration",
    "sur": "surprise",
    "fea": "fear",
    "dis": "disgust",
    "oth": "other",
    "xxx": "no_agreement",
}
# The evaluators' words; they chose from this list.
VOTES = {
    "neutral": "neutral",
    "neutral state": "neutral",
    "happiness": "happiness",
    "excited": "excitement",
    "anger": "anger",
    "sadness": "sadness",
    "frustration": "frustration",
    "surprise": "surprise",
    "fear": "fear",
    "disgust": "disgust",
    "other": "other",
}
DIMENSIONS = ("valence", "arousal", "dominance")
PER_SESSION = {"1": 1819, "2": 1811, "3": 2136, "4": 2103, "5": 2170}


class Turn(NamedTuple):
    """What a label file says about an utterance."""

    label: str
    dimensions: dict[str, float]
    votes: dict[str, float]


class IEMOCAP(Corpus):
    """Reader of the utterances of IEMOCAP."""

    name: ClassVar[str] = "iemocap"
    title: ClassVar[str] = "IEMOCAP"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted dialogues, improvised and scripted"
    licence: ClassVar[str] = "signed release form, research only"
    url: ClassVar[str] = "https://sail.usc.edu/iemocap/iemocap_release.htm"
    counts: ClassVar[Mapping[str, int]] = {
        "neutral": 1708,
        "happiness": 595,
        "excitement": 1041,
        "anger": 1103,
        "sadness": 1084,
        "frustration": 1849,
        "surprise": 107,
        "fear": 40,
        "disgust": 2,
        "other": 3,
        "no_agreement": 2507,
    }
    speakers: ClassVar[int] = 10
    hours: ClassVar[float] = 12.0
    layout: ClassVar[str] = (
        "the unpacked release, with the folders Session1/ ... Session5/, each with sentences/wav/ and dialog/EmoEvaluation/"
    )
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(
            name="4class",
            classes=keep("neutral", "happiness", "anger", "sadness", excitement="happiness"),
            source="the usual one: 5531 utterances, excitement counts as happiness",
        ),
        Task(
            name="6class",
            classes=keep("neutral", "happiness", "excitement", "anger", "sadness", "frustration"),
            source="7380 utterances by the label files",
        ),
        Task(
            name="4class_improvised",
            classes=keep("neutral", "happiness", "anger", "sadness", excitement="happiness"),
            where={"style": ("improvised",)},
            source="2943 utterances, whose texts do not recur",
        ),
        Task(
            name="4class_no_excitement",
            classes=keep("neutral", "happiness", "anger", "sadness"),
            source="4490 utterances, happiness without excitement",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings in ``Session<k>/sentences/wav/<dialogue>/``, session by session."""
        for session in PER_SESSION:
            yield from self._recordings(session)

    def _recordings(self, session: str) -> Iterator[Path]:
        folder = subfolder(subfolder(subfolder(self.root, f"Session{session}"), "sentences"), "wav")
        for dialogue in sorted(folder.iterdir()) if folder.is_dir() else []:
            yield from audio_files(dialogue)

    def rows(self) -> Iterator[Utterance]:
        """One per utterance that has both a recording and a label.

        Raises:
            CorpusError: a name or a line breaks the grammar, or a recording has no label.
        """
        for session in PER_SESSION:
            recordings = by_name(self.title, self._recordings(session))
            evaluations = subfolder(subfolder(subfolder(self.root, f"Session{session}"), "dialog"), "EmoEvaluation")
            turns = read_evaluations(evaluations) if recordings else {}
            refuse_unlabelled(self.title, recordings, turns, f"{evaluations}/*.txt")
            for key, path in recordings.items():
                yield self._row(path, turns[key])

    def _row(self, path: Path, turn: Turn) -> Utterance:
        match = match_name(GRAMMAR, path, self.title, "Ses01F_impro01_M012.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=f"Ses0{match['session']}{match['speaker']}",
            gender="female" if match["speaker"] == "F" else "male",
            label=LABELS[turn.label],
            original_label=turn.label,
            session=match["session"],
            text=match["script"],
            style="scripted" if match["script"] else "improvised",
            language=self.language,
            soft=turn.votes,
            dimensions=turn.dimensions,
        )

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """How many utterances each session lacks."""
        return shortfalls(utterances, PER_SESSION, "session")


def read_evaluations(folder: Path) -> dict[str, Turn]:
    """Utterance -> what the label files directly in ``folder`` say about it; empty without the folder.

    Raises:
        CorpusError: a line breaks the grammar, or an utterance has two labels or no evaluator.
    """
    turns: dict[str, Turn] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() != ".txt" or path.name.startswith(".") or not path.is_file():
            continue
        begun: dict[str, int] = {}
        votes: dict[str, float] | None = None
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(map(str.strip, lines), 1):
            if match := TURN.fullmatch(line):
                if match["id"] in turns:
                    raise damaged("IEMOCAP", path, number, f"a second label for {match['id']}", "one")
                if match["label"] not in LABELS:
                    raise damaged("IEMOCAP", path, number, f"label {match['label']!r}", f"one of {', '.join(LABELS)}")
                votes = {}
                turns[match["id"]] = Turn(match["label"], {name: float(match[name]) for name in DIMENSIONS}, votes)
                begun[match["id"]] = number
            elif votes is not None and (match := VOTE.fullmatch(line)):
                words = [word.strip() for word in match["labels"].split(";")[:-1]]
                for word in words:
                    if word.lower() not in VOTES:
                        raise damaged("IEMOCAP", path, number, f"the evaluator's label {word!r}", f"one of {', '.join(VOTES)}")
                    label = VOTES[word.lower()]
                    votes[label] = votes.get(label, 0.0) + 1 / len(words)
            elif line and not line.startswith(PASSED_OVER):
                raise damaged("IEMOCAP", path, number, repr(line[:60]), "a line of the grammar of EmoEvaluation")
        for key, number in begun.items():
            if not turns[key].votes:
                raise damaged("IEMOCAP", path, number, f"no evaluator's label for {key}", "lines like C-E2: Neutral; () below")
    return turns
