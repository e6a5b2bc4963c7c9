"""A fake CREMA-D in the layout of the release, with its tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.crema_d import ACTORS, EMOTIONS, VOTES, release_ids
from tests.releases import write_recording

# The actors of VideoDemographics.csv whose sex is Female.
# fmt: off
WOMEN = frozenset((
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028, 1029, 1030,
    1037, 1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063, 1072, 1073, 1074, 1075,
    1076, 1078, 1079, 1082, 1084, 1089, 1091,
))
# fmt: on


def write(
    root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = ACTORS, texts: Iterable[str] | None = None
) -> Path:
    """Write ``AudioWAV/``, ``VideoDemographics.csv`` and ``processedResults/tabulatedVotes.csv``.

    The tables always cover the whole release. Of the votes on a voice seven are for the emotion that was asked for and two
    for the next one in the order of the letters; every tenth recording has five of each, a tie.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        texts: sentences that are written; None means all.

    Returns:
        ``root``.
    """
    names = release_ids()
    chosen, sentences = set(speakers), None if texts is None else set(texts)
    emotions = list(EMOTIONS)
    for name in names:
        if name[:4] in chosen and (sentences is None or name[5:8] in sentences):
            emotion = emotions.index(name[9:12])
            write_recording(root / "AudioWAV" / f"{name}.wav", emotion, int(name[:4]) - 1000, seconds)
    with (root / "VideoDemographics.csv").open("w", newline="") as file:
        file.write('"ActorID","Age","Sex","Race","Ethnicity"\n')
        for actor in ACTORS:
            sex = "Female" if int(actor) in WOMEN else "Male"
            file.write(f'{actor},30,"{sex}","Unknown","Not Hispanic"\n')
    (root / "processedResults").mkdir(exist_ok=True)
    with (root / "processedResults" / "tabulatedVotes.csv").open("w", newline="") as file:
        table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        table.writerow(["", *VOTES, "fileName", "numResponses", "agreement", "emoVote"])
        for modality in (1, 2, 3):
            for number, name in enumerate(names, 1):
                asked = emotions.index(name[9:12])
                votes = [0] * len(VOTES)
                votes[asked], votes[(asked + modality) % len(VOTES)] = (5, 5) if number % 10 == 0 else (7, 2)
                letters = [letter for letter, count in zip(VOTES, votes, strict=True) if count == max(votes)]
                share = max(votes) / sum(votes)
                table.writerow([str(modality * 100_000 + number), *votes, name, sum(votes), share, ":".join(letters)])
    return root
