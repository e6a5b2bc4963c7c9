"""A fake nEMO in the layout of the release."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.nemo import WOMEN
from tests.releases import write_recording

EMOTIONS = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
# Recordings of the official release per speaker, in the order of EMOTIONS.
COUNTS = {
    "EB0": (90, 90, 90, 90, 90, 89),
    "IC0": (90, 90, 90, 90, 90, 90),
    "KD0": (90, 90, 90, 90, 90, 90),
    "KS0": (90, 90, 90, 90, 90, 90),
    "MK0": (90, 90, 90, 90, 90, 0),
    "MP0": (29, 17, 30, 90, 49, 41),
    "SM0": (90, 89, 89, 90, 90, 90),
    "TP0": (90, 90, 90, 90, 90, 89),
    "WR0": (90, 90, 90, 89, 90, 90),
}


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = tuple(COUNTS), texts: int = 90) -> Path:
    """Write ``samples/EB0_anger_1.wav`` and so on, and ``data.tsv``.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it.
        texts: at most so many sentences of each emotion by each speaker.

    Returns:
        ``root``.
    """
    lines = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for number, speaker in enumerate(speakers):
        for index, (emotion, count) in enumerate(zip(EMOTIONS, COUNTS[speaker], strict=True)):
            for text in range(1, min(count, texts) + 1):
                name = f"{speaker}_{emotion}_{text}.wav"
                write_recording(root / "samples" / name, index, number, seconds)
                gender = "female" if speaker in WOMEN else "male"
                lines.append(f"{name}\t{emotion}\tZdanie {text}.\tzdanie {text}\t        {speaker}\t{gender}\t25")
    (root / "data.tsv").write_text("\n".join(lines) + "\n")
    return root
