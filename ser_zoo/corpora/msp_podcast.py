"""MSP-Podcast: stretches of podcasts, picked for their emotion by machines and rated by people.

English, natural speech. Source: Lotfian & Busso, IEEE Transactions on Affective Computing 10(4), 2019. The release must be
asked for. It grows: 73042 utterances in version 1.8; in 1.11 151654 (237 h 56 min: Train 84030, Development 19815, Test1 30647,
Test2 14815, Test3 2347); 207136 in 1.12 (324 h 23 min). A score means little without the version. How they divide into classes
was not found, nor how many people speak, so a release is held against its own label file.

Layout:

- ``Audios/MSP-PODCAST_0001_0008.wav``: the first number is the podcast.
- ``Labels/labels_consensus.csv`` (``labels_concensus.csv`` before version 1.10): FileName, EmoClass, EmoAct, EmoVal, EmoDom
  (means, 1 to 7), SpkrID, Gender, Split_Set. Classes are A anger, S sadness, H happiness, U surprise, F fear, D disgust,
  C contempt, N neutral, O other, X no agreement.
- ``Labels/labels_detailed.csv``: a line per rater, either with a column EmoClass_Major (versions 1.6 and 2.0) or with
  EmoDetail: ``WORKER1; Happy; Happy,Amused; A:5; V:6; D:4;`` (1.7 to 1.11). How it looks is from programs of others that read
  it. The votes are the raters' first emotions; the many that none of the eight names count as other. Without the file there
  are no votes.

Train, Development (Validation in early versions) and Test1 train, validate and test. Test2 was collected in another way and
shares speakers with Test1: it is read, has no split, and no task takes it. Labels and speakers of Test3 are hidden, so it is
not read.

Speakers who were not identified (Unknown; in Train) are called after their podcast: ``unknown_0153``. That need not be one
person, and may be one who is known elsewhere.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Task, Utterance, audio_files, keep, subfolder
from ser_zoo.corpora.label_files import by_name, damaged, find_file, read_table
from ser_zoo.errors import CorpusError, SERZooWarning

GRAMMAR = re.compile(r"MSP-PODCAST_(?P<podcast>\d+)(?:_\d+)+\.wav", re.IGNORECASE)
LABELS = {
    "A": "anger",
    "S": "sadness",
    "H": "happiness",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
    "O": "other",
    "X": "no_agreement",
}
VOTES = {
    "Angry": "anger",
    "Sad": "sadness",
    "Happy": "happiness",
    "Surprise": "surprise",
    "Fear": "fear",
    "Disgust": "disgust",
    "Contempt": "contempt",
    "Neutral": "neutral",
}
GENDERS = {"Female": "female", "Male": "male", "Unknown": None}
SPLITS = {
    "Train": "train",
    "Development": "validation",
    "Validation": "validation",
    "Test1": "test",
    "Test2": None,
}
HIDDEN, UNKNOWN = "Test3", "Unknown"
# Of all recordings, Test3 is 1.5 % in version 1.11; where more have no label, the label file is cut off.
UNLABELLED = 0.02
COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
DIMENSIONS = {"valence": "EmoVal", "arousal": "EmoAct", "dominance": "EmoDom"}
OFFICIAL = {"split": ("train", "validation", "test")}


class MSPPodcast(Corpus):
    """Reader of MSP-Podcast; size and hours are those of version 1.11."""

    name: ClassVar[str] = "msp_podcast"
    title: ClassVar[str] = "MSP-Podcast"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "natural speech of podcasts"
    licence: ClassVar[str] = "signed licence, academic or commercial"
    url: ClassVar[str] = "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(LABELS.values(), 0)
    size: ClassVar[int] = 151_654
    speakers: ClassVar[None] = None
    hours: ClassVar[float] = 237.93
    layout: ClassVar[str] = "the unpacked release, with the folders Audios/ and Labels/ (Labels/labels_consensus.csv)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="8class", classes=keep(*VOTES.values()), where=OFFICIAL, source="the release: all named emotions"),
        Task(
            name="4class",
            classes=keep("neutral", "happiness", "sadness", "anger"),
            where=OFFICIAL,
            source="as in IEMOCAP, without excitement, which is no class here",
        ),
    )

    def files(self) -> list[Path]:
        """The recordings in ``Audios/``."""
        return audio_files(subfolder(self.root, "Audios"))

    def rows(self) -> Iterator[Utterance]:
        """One per line of the label file that has a recording; warns of those without.

        Raises:
            CorpusError: there is no label file, or a line breaks its grammar.
        """
        recordings = by_name(self.title, self.files())
        if not recordings:
            return
        folder = subfolder(self.root, "Labels")
        path = find_file(folder, "labels_consensus.csv", "labels_concensus.csv")
        if path is None:
            raise CorpusError(
                f"MSP-Podcast: there is no labels_consensus.csv (labels_concensus.csv in older versions) in {folder}. Expected "
                "the labels of the recordings. Copy the folder Labels/ from the release."
            )
        detailed = find_file(folder, "labels_detailed.csv")
        votes = read_votes(detailed) if detailed else {}
        listed: Counter[str] = Counter()
        lacking: Counter[str] = Counter()
        for line, row in read_table(self.title, path, COLUMNS):
            if row["Split_Set"] == HIDDEN:
                continue
            key = Path(row["FileName"]).stem
            listed[row["Split_Set"]] += 1
            if key in recordings:
                yield self._row(path, line, row, recordings[key], votes.get(row["FileName"]))
            else:
                lacking[row["Split_Set"]] += 1
        if lacking:
            parts = "; ".join(f"{part} {count} of {listed[part]}" for part, count in lacking.items())
            self._warn(f"{lacking.total()} of {listed.total()} utterances of {path.name} have no recording: {parts}")
        unlabelled = len(recordings) - listed.total() + lacking.total()
        if unlabelled > UNLABELLED * len(recordings):
            self._warn(
                f"{unlabelled} of {len(recordings)} recordings have no line in {path.name}, more than {HIDDEN} has, "
                "whose labels are hidden. The file may be cut off or of another version"
            )

    def _row(
        self, path: Path, line: int, row: Mapping[str, str], recording: Path, votes: Mapping[str, float] | None
    ) -> Utterance:
        match = GRAMMAR.fullmatch(row["FileName"])
        if match is None:
            raise damaged(self.title, path, line, f"FileName {row['FileName']!r}", "a name like MSP-PODCAST_0001_0008.wav")
        for column, known in (("EmoClass", LABELS), ("Gender", GENDERS), ("Split_Set", SPLITS)):
            if row[column] not in known:
                raise damaged(self.title, path, line, f"{column} {row[column]!r}", f"one of {', '.join(known)}")
        try:
            dimensions = {name: float(row[column]) for name, column in DIMENSIONS.items()}
        except ValueError:
            found = ", ".join(row[column] for column in DIMENSIONS.values())
            raise damaged(self.title, path, line, f"means {found}", "three numbers") from None
        return Utterance(
            id=recording.stem,
            path=recording,
            speaker=f"unknown_{match['podcast']}" if row["SpkrID"] == UNKNOWN else row["SpkrID"],
            gender=GENDERS[row["Gender"]],
            label=LABELS[row["EmoClass"]],
            original_label=row["EmoClass"],
            session=match["podcast"],
            language=self.language,
            split=SPLITS[row["Split_Set"]],
            soft=votes,
            dimensions=dimensions,
        )

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """Nothing: ``rows`` has held the recordings against the label file, which is all that is known of a version."""
        return []

    def _warn(self, what: str) -> None:
        warnings.warn(f"MSP-Podcast at {self.root}: {what}. Going on with what is there.", SERZooWarning, stacklevel=2)


def read_votes(path: Path) -> dict[str, dict[str, float]]:
    """Name of a recording -> canonical label -> how many raters named it first.

    Raises:
        CorpusError: the columns are none of the known ones, or a rater's line has no emotion.
    """
    votes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line, row in read_table("MSP-Podcast", path, ("FileName",)):
        if "EmoClass_Major" in row:
            emotion = row["EmoClass_Major"].strip()
        elif "EmoDetail" in row:
            fields = row["EmoDetail"].split(";")
            if len(fields) < 5:
                expected = "rater; emotion; emotions; A:...; V:...; D:...;"
                raise damaged("MSP-Podcast", path, line, f"EmoDetail {row['EmoDetail']!r}", expected)
            emotion = fields[1].strip()
        else:
            raise damaged("MSP-Podcast", path, 1, f"columns {', '.join(row)}", "EmoClass_Major or EmoDetail among them")
        votes[row["FileName"]][VOTES.get(emotion, "other")] += 1.0
    return {name: dict(counts) for name, counts in votes.items()}
