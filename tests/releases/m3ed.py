"""A fake M3ED with the known counts per split, emotion and speaker; series, dialogues and names are made up."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.releases import write_recording

EMOTIONS = ("Neutral", "Anger", "Sad", "Happy", "Disgust", "Surprise", "Fear")
# Utterances per emotion, in the order of EMOTIONS.
COUNTS = {
    "train": (7126, 3814, 2734, 1625, 1145, 696, 280),
    "val": (1042, 681, 489, 303, 134, 120, 50),
    "test": (1853, 736, 734, 358, 218, 234, 65),
}
SERIES = {"train": 38, "val": 7, "test": 11}
SPEAKERS = {"train": 431, "val": 86, "test": 118}


def write(root: Path, seconds: float | None = 0.1, limit: int | None = None, folder: str = "modality_speech") -> Path:
    """Write ``root/annotation.json``, ``root/splitInfo/`` and the clips.

    Args:
        root: of the release.
        seconds: length of the shortest recording; None writes empty files.
        limit: of utterances of each emotion in each part; None means as many as the release has.
        folder: in which the clips are.

    Returns:
        ``root``.
    """
    (root / "splitInfo").mkdir(parents=True)
    annotation: dict[str, Any] = {}
    for part, counts in COUNTS.items():
        emotions = [emotion for emotion, count in zip(EMOTIONS, counts, strict=True) for _ in range(count)[:limit]]
        random.Random(part).shuffle(emotions)
        names = [f"{part}{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(SERIES[part])]
        for number, emotion in enumerate(emotions):
            at = number % len(names)
            people = SPEAKERS[part] // len(names) + (at < SPEAKERS[part] % len(names))
            turn, person = divmod(number // len(names), people)
            dialogue = f"{names[at]}_{person // 2 + 1}"
            key, letter = f"{dialogue}_{2 * turn + person % 2 + 1}", "AB"[person % 2]
            entry = annotation.setdefault(names[at], {}).setdefault(dialogue, {"SpeakerInfo": {}, "Dialog": {}})
            gender = ("female", "male")[person % 2]
            entry["SpeakerInfo"][letter] = {"Name": f"人{person}", "Age": "mid", "Gender": gender, "OtherName": []}
            entry["Dialog"][key] = {
                "StartTime": "00:00:00:01",
                "EndTime": "00:00:01:03",
                "Text": "钟点工阿姨",
                "Speaker": letter,
                "EmoAnnotation": {
                    "EmoAnnotator1": emotion,
                    "EmoAnnotator2": emotion,
                    "EmoAnnotator3": "Happy,Surprise" if number % 2 else "Neutral",
                    "final_mul_emo": emotion,
                    "final_main_emo": emotion,
                },
            }
            write_recording(root / folder / f"{letter}_{key}.wav", EMOTIONS.index(emotion), person, seconds)
        (root / "splitInfo" / f"movie_list_{part}.txt").write_text("\n".join(names))
    (root / "annotation.json").write_text(json.dumps(annotation, ensure_ascii=False, indent=4), encoding="utf-8")
    return root
