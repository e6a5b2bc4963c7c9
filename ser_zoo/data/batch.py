"""The one thing a model is given."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FeatureChange(NamedTuple):
    """What training changes in the features of B utterances; drawn once a step, so that all features change alike.

    Attributes:
        partner: (B,) int64, the row that is mixed into each row; None mixes nothing.
        share: (B,) float32, weight of the row itself in the mixture; 1 minus it is its partner's.
        time: (B, M, 2) float32, from where to where frames are hidden, as shares of a clip's length; M may be 0.
        channels: (B, N, 2) float32, likewise of the width of a feature.
        delta: (B, 2) int64, the rows whose means over time differ by what is added to each row; None adds nothing.
        scale: of that difference.
    """

    partner: Tensor | None
    share: Tensor
    time: Tensor
    channels: Tensor
    delta: Tensor | None = None
    scale: float = 0.0


class Batch(NamedTuple):
    """B utterances, padded at the end with zeros to the longest, T samples.

    Attributes:
        waveforms: (B, T) float32, mono, at the data module's sample rate; in [-1, 1] unless augmented.
            In a training on kept features alone (B, 1) NaN, so that a network that reads them after all gives no number.
        lengths: (B,) int64, number of valid samples per row.
        labels: (B,) int64, index into the label names; -1 where the label is not known. In training with soft labels or mixup
            (B, C) float32 instead, the share of each class, rows summing to 1; ``SERModule.criterion`` takes both.
        ids: B utterance ids.
        whole: True when each row is the utterance as evaluation sees it; False for random crops and augmented
            rows, for which features kept by utterance id do not hold.
        change: of the features, which ``SERModule.inputs`` carries out; None changes nothing.
    """

    waveforms: Tensor
    lengths: Tensor
    labels: Tensor
    ids: list[str]
    whole: bool = True
    change: FeatureChange | None = None
