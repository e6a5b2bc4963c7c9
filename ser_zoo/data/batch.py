"""The one thing a model is given."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """B utterances, padded at the end with zeros to the longest, T samples.

    Attributes:
        waveforms: (B, T) float32 in [-1, 1], mono, at the data module's sample rate.
        lengths: (B,) int64, number of valid samples per row.
        labels: (B,) int64, index into the label names; -1 where the label is not known.
        ids: B utterance ids.
        whole: True when each row is the utterance as evaluation sees it; False for random crops and augmented
            rows, for which features kept by utterance id do not hold.
    """

    waveforms: Tensor
    lengths: Tensor
    labels: Tensor
    ids: list[str]
    whole: bool = True
