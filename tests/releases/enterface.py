"""A fake eNTERFACE'05 in the layout of the release, whose videos are wav files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.releases import write_recording

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SUBJECTS = tuple(number for number in range(1, 45) if number != 12)
# Of subject 3, the names that begin with s_3.
MISNAMED = ("su4", "su1", "su3", "su5", "su2", "fe5", "ha4", "ha1", "ha3", "ha5", "ha2", "sa4", "sa1", "sa3", "sa5", "sa2")


def name_of(subject: int, code: str, sentence: int) -> str:
    """What the release calls it, errors included."""
    if subject == 11:
        return f"s12_{code}_{sentence}"
    if subject == 3 and f"{code}{sentence}" in MISNAMED:
        return f"s_3_{code}_{sentence}"
    if (subject, code, sentence) == (16, "su", 3):
        return "s16_su_3avi"
    if (subject, code) == (2, "an") and sentence < 3:
        return f"s2_an_{3 - sentence}"
    return f"s{subject}_{code}_{sentence}"


def write(
    root: Path,
    seconds: float | None = 0.1,
    speakers: Iterable[int] = SUBJECTS,
    emotions: Iterable[str] = EMOTIONS,
    sentences: Iterable[int] = range(1, 6),
    suffix: str | None = None,
) -> Path:
    """Write ``subject 1/anger/sentence 1/s1_an_1.wav`` and so on.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: the subjects that are in it.
        emotions: that are in it.
        sentences: of each emotion.
        suffix: of the files; None means ``.avi`` for empty files, as the release has them, and ``.wav`` for sounds.

    Returns:
        ``root``.
    """
    suffix = suffix or (".avi" if seconds is None else ".wav")
    wanted = tuple(emotions), tuple(sentences)
    for subject in speakers:
        for emotion in wanted[0]:
            folder, index = root / f"subject {subject}" / emotion, EMOTIONS.index(emotion)
            if subject == 6:
                write_recording(folder / f"s6_{emotion[:2]}{suffix}", index, subject, seconds)
                continue
            for sentence in wanted[1]:
                if subject == 23 and emotion == "happiness" and sentence < 4:
                    continue
                name = f"{name_of(subject, emotion[:2], sentence)}{suffix}"
                write_recording(folder / f"sentence {sentence}" / name, index, subject, seconds)
    return root
