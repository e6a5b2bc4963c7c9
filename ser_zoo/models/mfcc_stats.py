"""mfcc_stats: mean and deviation of MFCC over an utterance, and a linear classifier.

Source
    None of its own: the plainest vector that a recording gives, which an encoder must beat to be worth its cost.

Equations (c_t: 40 MFCC of frame t, N frames)
    x = [mean_t c_t, sqrt(mean_t (c_t - mean_t c_t)^2)]
    then as egemaps: scaled by mean and deviation over the training side, and a linear layer under either of its heads.

Our choices
    40 coefficients every 10 ms; frames and number of mel bands are librosa's defaults, the bands HTK's, not divided by their
    widths (by which each coefficient would change by a constant). The 0th, which is the level, is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ser_zoo.features import MFCC, Frames, frame_mask
from ser_zoo.models.layers import masked_mean
from ser_zoo.models.linear import Head, LinearModule
from ser_zoo.models.optim import Optim

COEFFICIENTS = 40
HOP = 0.01  # seconds


class MFCCFunctionals(MFCC):
    """Mean and deviation of MFCC over the frames of a clip.

    Args:
        sample_rate: Hz of the waveforms.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate, COEFFICIENTS, HOP)

    def extra_repr(self) -> str:
        """Every setting that its spectrogram does not name, and that these are statistics."""
        return f"{super().extra_repr()}, mean and deviation"

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, 1, 80)."""
        values, counts = super().forward(waveforms, lengths)
        mask = frame_mask(counts, values.shape[1])
        mean = masked_mean(values, mask)
        deviation = masked_mean((values - mean[:, None]).square(), mask).sqrt()
        return Frames(torch.cat([mean, deviation], dim=1)[:, None], torch.ones_like(counts))


class MFCCStats(LinearModule):
    """Linear classifier of the mean and deviation of MFCC.

    Args:
        labels: class names in the order of the outputs.
        head: svm (squared hinge, one class against the rest) or logistic (cross-entropy).
        sample_rate: Hz.
        optim: optimiser and schedule, and the loss of the logistic head; under adam ``weight_decay`` is lambda.
    """

    name: ClassVar[str] = "mfcc_stats"

    def __init__(
        self,
        labels: Sequence[str],
        head: Head = "svm",
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=3e-2, optimizer="adam", weight_decay=0.1, schedule="cosine"),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(labels, MFCCFunctionals(sample_rate), 2 * COEFFICIENTS, head, sample_rate, optim)
        self.save_hyperparameters()
