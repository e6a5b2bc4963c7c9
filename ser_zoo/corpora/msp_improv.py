"""MSP-IMPROV: turns of actors in pairs who improvise, read, and talk between the takes.

English, six sessions of an actress and an actor, 8438 turns. Source: Busso, Parthasarathy, Burmania, AbdelWahab, Sadoughi,
Mower Provost, IEEE Transactions on Affective Computing 8(1), 2017. The release must be asked for; a checksum, the original
sample rate and the hours were not found in a source that could be checked.

Layout: ``session<1-6>/S01A/<condition>/MSP-IMPROV-S01A-F01-P-FM01.wav``, in some copies below a folder ``Audio/``. The name
has scenario and intended emotion (S01A), speaker (F01: the actress of session 1), condition (P natural interaction between the
takes, R target sentence read, S improvised, T target sentence improvised), and for whose target sentence the scene was made
with the number of the turn (FM01). The speaker is the field after the scenario. The intended emotion is not the label.

``Evalution.txt`` (the release's spelling; newer copies have ``Evaluation.txt``) has per turn a line
``UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2.400; V:3.000; D:2.800 ; N:3.200;`` (label; activation, valence, dominance and
naturalness, some NaN), a line per rater such as ``WORKER1; Neutral; Neutral,Concerned; A:2.000; ...;``, and an empty line.
Labels are A anger, H happiness, S sadness, N neutral, O other, X no agreement. A rater who appears twice at a turn was copied
and counts once; the votes are the raters' first emotions.

The text is the number of the scenario. Its target sentence is spoken in the conditions R and T; the other turns of a scenario
have words of their own.

Of the counts only sums could be verified: 7798 turns of the four classes, 1505 in session 5, 1622 in session 6, 5311 in the
other four. By class N 3477, H 2644, S 885 and A 792 are remembered, no source was found: a release is held against the sums.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Task, Utterance, keep, match_name, subfolder, walk
from ser_zoo.corpora.label_files import by_name, damaged, find_file, refuse_unlabelled

GRAMMAR = re.compile(
    r"MSP-IMPROV-S(?P<scenario>\d{2})[AHSN]-(?P<speaker>(?P<gender>[FM])0(?P<session>[1-6]))-(?P<condition>[PRST])-"
    r"(?:FM|MF|FF|MM)\d{2}"
)
NUMBER = r"(?:\d+(?:\.\d+)?|NaN)"
TURN = re.compile(
    rf"UTD-(?P<id>IMPROV-[A-Z0-9-]+)\.avi;\s*(?P<label>[A-Z]);\s*A:(?P<arousal>{NUMBER})\s*;\s*V:(?P<valence>{NUMBER})\s*;"
    rf"\s*D:(?P<dominance>{NUMBER})\s*;(?:\s*N:{NUMBER}\s*;)?"
)
RATER = re.compile(r"(?P<rater>[\w-]+);\s*(?P<emotion>[A-Za-z]+);.*;")
LABELS = {
    "A": "anger",
    "H": "happiness",
    "S": "sadness",
    "N": "neutral",
    "O": "other",
    "X": "no_agreement",
}
VOTES = {
    "Angry": "anger",
    "Happy": "happiness",
    "Sad": "sadness",
    "Neutral": "neutral",
    "Other": "other",
}
STYLES = {"P": "natural", "R": "read", "S": "improvised", "T": "target_improvised"}
LABEL_FILES = ("Evaluation.txt", "Evalution.txt")
SESSIONS = tuple("123456")
# What is known of how the turns divide into sessions.
PER_SESSIONS = ((SESSIONS[:4], 5311), (SESSIONS[4:5], 1505), (SESSIONS[5:], 1622))


@dataclass
class Turn:
    """What the label file says about a turn.

    Attributes:
        label: its letter.
        dimensions: means over the raters, without those that are not known.
        raters: whom heard what first, by canonical name.
    """

    label: str
    dimensions: dict[str, float]
    raters: dict[str, str] = field(default_factory=dict)


class MSPImprov(Corpus):
    """Reader of the turns of MSP-IMPROV."""

    name: ClassVar[str] = "msp_improv"
    title: ClassVar[str] = "MSP-IMPROV"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted dialogues, improvised and read, and natural talk"
    licence: ClassVar[str] = "signed licence, academic or commercial"
    url: ClassVar[str] = "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(LABELS.values(), 0)
    size: ClassVar[int] = 8438
    speakers: ClassVar[int] = 12
    layout: ClassVar[str] = "the unpacked release, with the folders session1/ ... session6/ and the file Evalution.txt"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(
            name="4class",
            classes=keep("neutral", "happiness", "sadness", "anger"),
            source="the usual one: 7798 turns",
        ),
        Task(
            name="4class_improvised",
            classes=keep("neutral", "happiness", "sadness", "anger"),
            where={"style": ("improvised", "target_improvised")},
            source="without what was read or said between the takes",
        ),
    )

    def files(self) -> Iterator[Path]:
        """The recordings anywhere below the folders of the sessions, session by session."""
        for folder in (self.root, subfolder(self.root, "Audio")):
            for session in SESSIONS:
                yield from walk(subfolder(folder, f"session{session}"))

    def rows(self) -> Iterator[Utterance]:
        """One per turn that has both a recording and a label.

        Raises:
            CorpusError: a name or a line breaks the grammar, or a recording has no label.
        """
        recordings = by_name(self.title, self.files())
        turns = read_evaluation(self.root) if recordings else {}
        refuse_unlabelled(self.title, recordings, turns, f"{self.root}/Evalution.txt (or Evaluation.txt)")
        for key, path in recordings.items():
            match = match_name(GRAMMAR, path, self.title, "MSP-IMPROV-S01A-F01-P-FM01.wav")
            turn = turns[key]
            yield Utterance(
                id=key,
                path=path,
                speaker=match["speaker"],
                gender="female" if match["gender"] == "F" else "male",
                label=LABELS[turn.label],
                original_label=turn.label,
                session=match["session"],
                text=match["scenario"],
                style=STYLES[match["condition"]],
                language=self.language,
                soft={label: float(votes) for label, votes in Counter(turn.raters.values()).items()} or None,
                dimensions=turn.dimensions or None,
            )

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """How many turns each session lacks; sessions 1 to 4 together, as no more is known."""
        counts = Counter(utterance.session for utterance in utterances)
        found = [(sessions, total, sum(counts[session] for session in sessions)) for sessions, total in PER_SESSIONS]
        return [f"session {', '.join(sessions)}: {total - have} of {total}" for sessions, total, have in found if have < total]


def read_evaluation(root: Path) -> dict[str, Turn]:
    """Turn -> what the label file of the release says about it; empty without the file.

    Raises:
        CorpusError: a line breaks the grammar, or a turn has two labels.
    """
    path = find_file(root, *LABEL_FILES)
    if path is None:
        return {}
    turns: dict[str, Turn] = {}
    turn: Turn | None = None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(map(str.strip, lines), 1):
        if match := TURN.fullmatch(line):
            if match["label"] not in LABELS:
                raise damaged("MSP-IMPROV", path, number, f"label {match['label']}", f"one of {', '.join(LABELS)}")
            means = {name: float(match[name]) for name in ("valence", "arousal", "dominance")}
            known = {name: mean for name, mean in means.items() if not math.isnan(mean)}
            turn = turns.setdefault(f"MSP-{match['id']}", Turn(match["label"], known))
            if turn.label != match["label"]:
                raise damaged("MSP-IMPROV", path, number, f"a second label for {match['id']}", turn.label)
        elif turn and (match := RATER.fullmatch(line)):
            if match["emotion"] not in VOTES:
                raise damaged("MSP-IMPROV", path, number, f"a rater's {match['emotion']}", f"one of {', '.join(VOTES)}")
            turn.raters[match["rater"]] = VOTES[match["emotion"]]
        elif line:
            raise damaged("MSP-IMPROV", path, number, repr(line[:60]), "a line of a turn or of a rater")
    return turns
