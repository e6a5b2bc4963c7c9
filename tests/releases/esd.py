"""A fake ESD in the layout of the release, with or without folders of the splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.releases import write_recording

SPEAKERS = tuple(f"{speaker:04d}" for speaker in range(1, 21))
EMOTIONS = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
# The transcripts of each speaker are in one of four encodings.
ENCODINGS = {
    **dict.fromkeys(("0001", "0002", "0004", "0005", "0009"), "gb2312"),
    **dict.fromkeys(("0011", "0015", "0020"), "utf-8"),
    **dict.fromkeys(("0016", "0017"), "latin-1"),
}


def paths(
    root: Path, speakers: Iterable[str] = SPEAKERS, texts: Iterable[int] = range(1, 351), splits: bool = False
) -> Iterator[Path]:
    """The recordings that ``write`` makes."""
    chosen = tuple(texts)
    for speaker in speakers:
        for block, emotion in enumerate(EMOTIONS):
            for text in chosen:
                split = "evaluation" if text <= 20 else "test" if text <= 50 else "train"
                yield root / speaker / emotion / (split if splits else ".") / f"{speaker}_{350 * block + text:06d}.wav"


def write(
    root: Path,
    seconds: float | None = 0.1,
    speakers: Iterable[str] = SPEAKERS,
    texts: Iterable[int] = range(1, 351),
    splits: bool = False,
) -> Path:
    """Write ``root/0001/Neutral/0001_000001.wav`` and so on, and ``root/0001/0001.txt``.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: whose recordings are written.
        texts: numbers of the sentences that are written.
        splits: with the folders ``train``, ``evaluation`` and ``test``.

    Returns:
        ``root``.
    """
    transcripts: dict[str, list[str]] = defaultdict(list)
    for path in paths(root, speakers, texts, splits):
        speaker, emotion = path.relative_to(root).parts[:2]
        write_recording(path, EMOTIONS.index(emotion), int(speaker), seconds)
        transcripts[speaker].append(f"{path.stem}\ta sentence\t{emotion}\n")
    for speaker, lines in transcripts.items():
        (root / speaker / f"{speaker}.txt").write_text("".join(lines), encoding=ENCODINGS.get(speaker, "utf-16"))
    return root
