"""A picture of a corpus: who says how much of what, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ser_zoo.cache import atomic_path
from ser_zoo.corpora.manifest import Manifest, by_class_and_speaker
from ser_zoo.errors import CorpusError

INSTALL = "pip install 'ser-zoo[plot]'"
MOST_NAMES = 100
"""Speakers whose names are written; of more they could not be read."""


def draw(manifest: Manifest, title: str, labels: Sequence[str], path: Path) -> None:
    """Write a picture of utterances per speaker, coloured by class, and of the lengths of all utterances.

    Args:
        manifest: of the corpus.
        title: of the picture.
        labels: classes in the order of the colours; others follow.
        path: of the picture, which replaces one that is there; its suffix chooses the format.

    Raises:
        CorpusError: matplotlib is not installed, or does not know the format.
    """
    if find_spec("matplotlib") is None:
        raise CorpusError(f"--plot is drawn by matplotlib, which is not installed. Install it: {INSTALL}")
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    speakers = by_class_and_speaker(manifest.utterances, labels)
    classes = list(next(iter(speakers.values())))
    width = min(24.0, max(10.0, 0.22 * len(speakers)))
    figure = Figure(figsize=(width, 8), layout="constrained")
    if path.suffix.lower().lstrip(".") not in figure.canvas.get_supported_filetypes():
        raise CorpusError(
            f"--plot {path}: the format {path.suffix or 'without suffix'} is not known. Expected .png, .svg or .pdf."
        )
    figure.suptitle(f"{title}: {len(manifest.entries):,} utterances, {len(speakers)} speakers, {manifest.hours:.2f} h")
    above, below = figure.subplots(2, 1)
    places, base = range(len(speakers)), [0] * len(speakers)
    for number, label in enumerate(classes):
        counts = [row[label] for row in speakers.values()]
        above.bar(
            places, counts, bottom=base, width=0.9, label=f"{label} ({sum(counts):,})", color=colormaps["tab20"](number % 20)
        )
        base = [low + count for low, count in zip(base, counts, strict=True)]
    named = list(speakers) if len(speakers) <= MOST_NAMES else [""] * len(speakers)
    above.set_xticks(places if any(named) else [], named if any(named) else [], rotation=90)
    above.set(xlabel="speaker", ylabel="utterances")
    above.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    below.hist([entry.measured.seconds for entry in manifest.entries if not entry.measured.fault], bins=60)
    below.set(xlabel="length in seconds", ylabel="utterances")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
