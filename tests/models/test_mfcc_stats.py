from __future__ import annotations

import numpy as np
import torch

from ser_zoo.features import MFCC
from ser_zoo.models.mfcc_stats import MFCCFunctionals


def test_values_are_the_statistics_of_the_frames() -> None:
    waveform = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(1)) * 0.1
    values = MFCCFunctionals(16_000)(waveform, torch.tensor([20_000])).values
    assert values.shape == (1, 1, 80)
    frames = MFCC(16_000, 40, 0.01)(waveform, torch.tensor([20_000])).values[0].double().numpy()
    np.testing.assert_allclose(values[0, 0, :40], frames.mean(0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(values[0, 0, 40:], frames.std(0), rtol=1e-4, atol=1e-3)


def test_a_clip_in_a_batch_has_the_values_that_it_has_alone() -> None:
    functionals = MFCCFunctionals(16_000)
    waveforms = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(2))
    waveforms[1, 7_000:] = 0
    together = functionals(waveforms, torch.tensor([16_000, 7_000])).values
    alone = functionals(waveforms[1:, :7_000], torch.tensor([7_000])).values
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-3)
