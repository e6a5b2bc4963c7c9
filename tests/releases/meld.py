"""A fake MELD with the known counts per part, emotion and main speaker; which dialogue has what is made up."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path

from tests.releases import write_recording

EMOTIONS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
# Lines per emotion, in the order of EMOTIONS.
COUNTS = {
    "train": (4710, 1743, 1205, 1109, 683, 271, 268),
    "dev": (470, 163, 150, 153, 111, 22, 40),
    "test": (1256, 402, 281, 345, 208, 68, 50),
}
LEADS = {
    "train": {"Chandler": 1283, "Joey": 1510, "Rachel": 1435, "Monica": 1299, "Phoebe": 1321, "Ross": 1458},
    "dev": {"Phoebe": 185, "Monica": 137, "Ross": 217, "Chandler": 101, "Joey": 149, "Rachel": 164},
    "test": {"Rachel": 356, "Joey": 411, "Ross": 373, "Phoebe": 291, "Monica": 346, "Chandler": 379},
}
# The other speakers: 254, 41 and 94, of whom as many recur as in the release.
OTHERS = {
    "train": ["All", "Joey and Ross", *(f"Guest {number}" for number in range(252))],
    "dev": [*(f"Guest {number}" for number in range(27)), *(f"Neighbour {number}" for number in range(14))],
    "test": [*(f"Guest {number}" for number in range(12, 75)), "Neighbour 0", *(f"Waiter {number}" for number in range(30))],
}
DIALOGUES = {
    "train": [number for number in range(1039) if number != 60],
    "dev": list(range(114)),
    "test": list(range(280)),
}
# Dialogues whose length is known, as clips beyond it are in the release.
LENGTHS = {"train": {}, "dev": {49: 4, 66: 9}, "test": {108: 2}}
UNLISTED = {
    "train": (),
    "dev": ("dia49_utt4", "dia49_utt5", "dia66_utt9", "dia66_utt10"),
    "test": ("dia108_utt2", "final_videos_testdia101_utt0"),
}
# In the table of a part and neutral, but with a clip that cannot be read or without any.
UNREADABLE, ABSENT = ("train", 125, 3), ("dev", 110, 7)
COLUMNS = (
    "Sr No.",
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
)


def write(root: Path, seconds: float | None = 0.1, parts: Iterable[str] = tuple(FOLDERS), dialogues: int | None = None) -> Path:
    """Write ``root/train_splits/dia0_utt0.mp4`` and so on, and the tables.

    Args:
        root: of the release.
        seconds: length of the shortest recording, which is written as wav as if the clips had been converted; None writes
            empty clips.
        parts: what of train, dev and test there is.
        dialogues: how many of each part, the first ones; None means all.

    Returns:
        ``root``.
    """
    root.mkdir(parents=True, exist_ok=True)
    suffix = ".mp4" if seconds is None else ".wav"
    for part in parts:
        table = lines(part)[: None if dialogues is None else 10 * dialogues]
        for line in table:
            emotion, dialogue, utterance = str(line[3]), int(line[5]), int(line[6])
            path = root / FOLDERS[part] / f"dia{dialogue}_utt{utterance}{suffix}"
            if (part, dialogue, utterance) == UNREADABLE:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_suffix(".mp4").write_bytes(b"not a video")
            elif (part, dialogue, utterance) != ABSENT:
                # Names recur in every part, and a tone is drawn by its name; the length keeps the recordings apart.
                longer = None if seconds is None else seconds * (1 + 0.1 * list(FOLDERS).index(part))
                write_recording(path, EMOTIONS.index(emotion), len(str(line[2])), longer)
        for name in UNLISTED[part]:
            write_recording(root / FOLDERS[part] / f"{name}{suffix}", 0, 0, seconds)
        with (root / f"{part}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *table])
    return root


def lines(part: str) -> list[tuple[str | int, ...]]:
    """The table of a part."""
    emotions = [name for name, count in zip(EMOTIONS, COUNTS[part], strict=True) for _ in range(count)]
    speakers = [name for name, count in LEADS[part].items() for _ in range(count)]
    others = OTHERS[part]
    speakers += [others[number % len(others)] for number in range(len(emotions) - len(speakers))]
    for values in (emotions, speakers):
        random.Random(part).shuffle(values)
    known = LENGTHS[part]
    free = [dialogue for dialogue in DIALOGUES[part] if dialogue not in known]
    each, more = divmod(len(emotions) - sum(known.values()), len(free))
    lengths = {dialogue: each + (number < more) for number, dialogue in enumerate(free)} | known
    keys = [(dialogue, utterance) for dialogue in DIALOGUES[part] for utterance in range(lengths[dialogue])]
    for unusable in (UNREADABLE, ABSENT):
        if unusable[0] == part:
            at = keys.index(unusable[1:])
            neutral = emotions.index("neutral")
            emotions[at], emotions[neutral] = emotions[neutral], emotions[at]
    return [
        (number, "I\u2019m fine, \u201creally\u201d.", speaker, emotion, "neutral", *key, 8, 21, "00:16:16,059", "00:16:21,731")
        for number, (speaker, emotion, key) in enumerate(zip(speakers, emotions, keys, strict=True), 1)
    ]
