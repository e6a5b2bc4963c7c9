"""egemaps: 88 openSMILE functionals per utterance and a linear classifier.

Source
    Eyben et al.: "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and Affective Computing", IEEE
    Transactions on Affective Computing 7(2):190-202, 2016, doi 10.1109/TAFFC.2015.2457417, computed by openSMILE itself
    (Eyben, Woellmer, Schuller, ACM Multimedia 2010) through its package ``opensmile``, whose licence allows research and
    other non-commercial use only.

Equations (x: 88 functionals; mean m and deviation d over the training side; s_ic: 1 if c is the class of utterance i, or 0)
    f = W ((x - m) / d) + b
    svm       L = mean_i sum_c [s_ic max(0, 1 - f_ic)^2 + (1 - s_ic) max(0, 1 + f_ic)^2] + (lambda / 2) (|W|^2 + |b|^2)
    logistic  L = mean_i CE(f_i, y_i) + (lambda / 2) (|W|^2 + |b|^2)
    lambda is ``optim.weight_decay`` under ``optimizer: adam``. Of N training utterances it is C = 1 / (lambda N) of LIBLINEAR
    (Fan et al. 2008), whose L2-regularised squared hinge of one class against the rest ``svm`` is.

Known
    The set eGeMAPSv02; ``EgemapsFunctionals.names`` lists its values: pitch, jitter, shimmer, loudness, harmonics-to-noise
    ratio, formants, spectral slopes and ratios, MFCC 1 to 4, lengths and rates of voiced and unvoiced segments, sound level.

Deviations and our choices
    The paper classifies by support vector machines too, but its settings are not repeated: learning rate, lambda and epochs
    are ours. Both objectives are convex, so training ends close to the one minimum, whatever the seed. An RBF kernel (C = 1)
    was a little better on EMO-DB and worse on RAVDESS than the better of the two heads, so there is none.
    openSMILE reads 16-bit samples, and its package lets a sample of 1.0 or more wrap round to the other sign. Here the waveform
    is first limited to what 16 bits hold.
    openSMILE needs 60 ms for a frame of pitch. A shorter clip is continued with zeros up to that.
    Where nothing is voiced openSMILE gives 0, and -201 dB for the amplitudes of formants, not NaN: silence has finite
    functionals, far from those of speech, which are used as they are.
    The logits of ``svm`` are margins, so their softmax is not calibrated; ``logistic`` is trained for it.

Cost
    One utterance after the other on the CPU, at 4 to 7 % of its duration. With a SERDataModule each is analysed once, when it
    is first asked for, and its values stay in the cache on the disk; augmented waveforms are analysed anew in every epoch.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_zoo.errors import SERZooError
from ser_zoo.features import Frames
from ser_zoo.models.checks import expect_between
from ser_zoo.models.linear import Head, LinearModule
from ser_zoo.models.optim import Optim

SHORTEST = 0.06  # seconds of the longest analysis frame of the set, that of the pitch
HIGHEST = 1_000  # Hz of the pitch that the set looks for; at rates of a few Hz openSMILE ends the process
LARGEST = 32_767 / 32_768  # the largest 16-bit sample


class EgemapsFunctionals(nn.Module):
    """The functionals of eGeMAPSv02, one frame per clip.

    Args:
        sample_rate: Hz of the waveforms.

    Raises:
        SERZooError: opensmile is not installed.
    """

    size = 88
    costly = True

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        if importlib.util.find_spec("opensmile") is None:
            raise SERZooError(
                "egemaps computes its features with the package opensmile, which is not installed. Install it with "
                "pip install 'ser-zoo[opensmile]'."
            )
        import opensmile

        self.sample_rate = sample_rate
        self.shortest = math.ceil(SHORTEST * sample_rate)
        self.smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
        self.version: str = opensmile.__version__

    @property
    def names(self) -> list[str]:
        """Name that openSMILE gives to each of the 88 values, in their order."""
        return list(self.smile.feature_names)

    def extra_repr(self) -> str:
        """Every setting, by which kept values are told apart."""
        return f"{self.sample_rate}, eGeMAPSv02, opensmile {self.version}"

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, 1, 88)."""
        rows = [self._functionals(waveform[:length]) for waveform, length in zip(waveforms, lengths.tolist(), strict=True)]
        return Frames(torch.stack(rows)[:, None].to(waveforms.device), torch.ones_like(lengths))

    def _functionals(self, waveform: Tensor) -> Tensor:
        """(T,) -> (88,) on the CPU."""
        signal = F.pad(waveform, (0, max(0, self.shortest - len(waveform)))).float().clamp(-1.0, LARGEST)
        return torch.from_numpy(self.smile(signal.cpu().numpy(), self.sample_rate)[0, :, 0])


class Egemaps(LinearModule):
    """Linear classifier of openSMILE's eGeMAPS functionals.

    Args:
        labels: class names in the order of the outputs.
        head: svm (squared hinge, one class against the rest) or logistic (cross-entropy).
        sample_rate: Hz.
        optim: optimiser and schedule, and the loss of the logistic head; under adam ``weight_decay`` is lambda.
    """

    name: ClassVar[str] = "egemaps"

    def __init__(
        self,
        labels: Sequence[str],
        head: Head = "svm",
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=3e-2, optimizer="adam", weight_decay=0.1, schedule="cosine"),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(labels, EgemapsFunctionals(sample_rate), EgemapsFunctionals.size, head, sample_rate, optim)
        expect_between(2 * HIGHEST, sample_rate=sample_rate)
        self.save_hyperparameters()
