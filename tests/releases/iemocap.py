"""A fake IEMOCAP: without ids that are given, names by the grammar with the known counts per speaker, style and label."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.releases import write_recording

CODES = ("neu", "hap", "exc", "ang", "sad", "fru", "rest")
# Utterances per label, in the order of CODES: improvised, then scripted. The rest is drawn from REST.
SPEAKERS = {
    "Ses01F": ((119, 18, 54, 37, 43, 39, 73), (52, 51, 9, 110, 35, 68, 165)),
    "Ses01M": ((104, 15, 45, 25, 61, 65, 61), (109, 51, 35, 57, 55, 108, 155)),
    "Ses02F": ((90, 25, 88, 7, 63, 68, 48), (45, 45, 8, 60, 50, 97, 165)),
    "Ses02M": ((127, 29, 49, 15, 37, 72, 70), (100, 18, 65, 55, 47, 88, 180)),
    "Ses03F": ((95, 39, 41, 22, 108, 121, 109), (35, 41, 7, 70, 64, 78, 218)),
    "Ses03M": ((103, 21, 48, 68, 82, 94, 93), (87, 34, 55, 80, 51, 89, 183)),
    "Ses04F": ((51, 10, 119, 47, 41, 126, 111), (25, 21, 35, 158, 21, 62, 160)),
    "Ses04M": ((123, 21, 45, 37, 40, 179, 110), (59, 13, 39, 85, 41, 114, 210)),
    "Ses05F": ((151, 56, 68, 18, 73, 95, 89), (70, 21, 14, 60, 59, 66, 193)),
    "Ses05M": ((136, 50, 106, 13, 60, 112, 106), (27, 16, 111, 79, 53, 108, 160)),
}
REST = {"sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507}
DIALOGUES = (("impro01", "impro05a", "impro05b"), ("script01_1", "script01_1b", "script03_2"))
WORDS = {
    "neu": "Neutral",
    "hap": "Happiness",
    "exc": "Excited",
    "ang": "Anger",
    "sad": "Sadness",
    "fru": "Frustration",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
}


def write(root: Path, seconds: float | None = 0.1, ids: Mapping[str, str] | None = None, limit: int | None = None) -> Path:
    """Write ``root/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav`` and the label files.

    Args:
        root: of the release.
        seconds: length of the shortest recording; None writes empty files.
        ids: utterance -> label, ``rest`` where that is not known; None makes them up.
        limit: of made-up utterances of each label by each speaker in each style; None means as many as the release has.

    Returns:
        ``root``.
    """
    pool = itertools.chain.from_iterable(itertools.repeat(code, count) for code, count in REST.items())
    dialogues: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, code in (ids or dict(made_up(limit))).items():
        dialogues[key.rpartition("_")[0]].append((key, next(pool) if code == "rest" else code))
    for dialogue, turns in dialogues.items():
        session = root / f"Session{dialogue[4]}"
        evaluations = session / "dialog" / "EmoEvaluation"
        recordings = session / "sentences" / "wav" / dialogue
        (evaluations / "Categorical").mkdir(parents=True, exist_ok=True)
        (evaluations / "Categorical" / f"{dialogue}_e2_cat.txt").write_text("another grammar\n")
        blocks = "\n".join(block(number, key, code) for number, (key, code) in enumerate(turns))
        heading = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        (evaluations / f"{dialogue}.txt").write_text(heading + blocks)
        for key, code in turns:
            speaker = 2 * int(dialogue[4]) + (key[-4] == "F")
            write_recording(recordings / f"{key}.wav", [*WORDS, "xxx"].index(code), speaker, seconds)
    return root


def made_up(limit: int | None = None) -> Iterator[tuple[str, str]]:
    """Utterance and label: the counts of the release in dialogues whose prefix is not always the speaker."""
    for speaker, styles in SPEAKERS.items():
        for counts, names in zip(styles, DIALOGUES, strict=True):
            codes = [code for code, count in zip(CODES, counts, strict=True) for _ in range(count)[:limit]]
            for number, code in enumerate(codes):
                name = names[number % len(names)]
                prefix = f"{speaker[:5]}{'FM'[number // 2 % 2]}"
                yield f"{prefix}_{name}_{speaker[-1]}{number:03d}", code


def block(number: int, key: str, code: str) -> str:
    """The lines of an utterance: three evaluators, of whom the last names two emotions, and an actor who disagrees."""
    word = WORDS.get(code, "Neutral")
    second, third = (word, word) if code != "xxx" else ("Anger", "Sadness")
    return (
        f"[{number}.2901 - {number}.8000]\t{key}\t{code}\t[2.5000, 3.0000, 3.5000]\n"
        f"C-E2:\t{word};\t()\n"
        f"C-E3:\t{second};\t(rather (or not); so: so)\n"
        f"C-E4:\t{third}; Surprise;\t()\n"
        "C-F1:\tDisgust;\t()\n"
        "A-E3:\tval 3; act 2; dom  2;\t()\n"
        "A-E4:\tval 2; act 3; dom  ;\t()\n"
        "A-F1:\tval 3; act 3; dom  3;\t()\n"
    )
