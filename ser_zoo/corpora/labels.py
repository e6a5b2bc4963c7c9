"""The canonical names of emotions, and the spaces of classes that corpora share.

A reader maps what its release writes to these names. A space says, for every canonical name, which class it belongs to when
several corpora are trained or tested together; a name that a space does not list is left out, and counted where that is done.
"""

from __future__ import annotations

from collections.abc import Mapping

CANONICAL = (
    "anger",
    "boredom",
    "calm",
    "contempt",
    "disgust",
    "excitement",
    "fear",
    "frustration",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "other",
    "no_agreement",
)
"""Names that releases share. A release may have further ones (``apologetic``), which no space lists; ``other`` is what
annotators wrote that the release names no further, ``no_agreement`` an utterance without a majority."""

# Excited speech counts as happy, as everybody does with IEMOCAP; calm is no neutral, as RAVDESS recorded both.
COMMON4 = {
    "anger": "anger",
    "excitement": "happiness",
    "happiness": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
}
# The classes of CREMA-D.
COMMON6 = {**COMMON4, "disgust": "disgust", "fear": "fear"}
# Ekman's six and neutral: the classes of TESS, SAVEE, EMOVO and MELD.
COMMON7 = {**COMMON6, "surprise": "surprise"}

SPACES: Mapping[str, Mapping[str, str]] = {
    name: dict(sorted(space.items(), key=lambda item: item[1]))
    for name, space in (("common4", COMMON4), ("common6", COMMON6), ("common7", COMMON7))
}
"""Space -> canonical name -> class, in the order of the classes."""
