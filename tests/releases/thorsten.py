"""A fake Thorsten emotional in the layout of the release; the sentences are made up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.thorsten import STYLES
from tests.releases import write_recording


def write(root: Path, seconds: float | None = 0.1, styles: Iterable[str] = tuple(STYLES), texts: int = 300) -> Path:
    """Write ``amused/<digits>.wav`` and so on, and the table of the sentences.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        styles: that are in it.
        texts: so many sentences of each.

    Returns:
        ``root``.
    """
    sentences = {hashlib.md5(text.encode()).hexdigest(): text for text in (f"Satz {number}." for number in range(texts))}
    for style in styles:
        for number, name in enumerate(sentences):
            if (style, number) != ("whisper", 299):
                write_recording(root / style / f"{name}.wav", list(STYLES).index(style), 0, seconds)
    table = "".join(f"{name}|{text}\n" for name, text in sentences.items())
    (root / "thorsten-emotional-metadata.csv").write_text(table, encoding="utf-8")
    return root
