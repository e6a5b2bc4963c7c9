"""probe: the SUPERB probe; learned layer weights, mean pooling and a linear classifier on a frozen encoder.

Source
    Yang et al.: "SUPERB: Speech processing Universal PERformance Benchmark", Interspeech 2021, arXiv 2105.01051, and its
    toolkit s3prl (``s3prl/downstream/emotion``). It says what an encoder's states are worth with next to nothing on top, so an
    architecture that does not beat it on the same encoder is not worth its parameters.

Equations (w_k: (T, D) hidden state k of the encoder, T valid frames)
    m_t = sum_k softmax(g)_k w_k,t
    z   = W_c mean_t(P m_t)                                   P: D -> 256

Known from the toolkit
    All hidden states, from the input of the first block to the output of the last; projection to 256 without a
    non-linearity after it, so that P and W_c together are one linear map; the mean is over valid frames; Adam with
    learning rate 1e-4 and no weight decay, batch 4 x 8, 30,000 steps, gradient norm clipped at 1; the best step on a random
    fifth of the training recordings by accuracy. Reported: accuracy on IEMOCAP, four classes, one session left out.

Deviations and our choices
    The validation side has speakers of its own, as everywhere in this package, and is looked at after every epoch instead of
    after every 1,000 steps.
    ``projection: null`` leaves P out, which changes the path of training, not what can be learned.
    ``state_scaling`` gives every dimension of every layer zero mean and unit variance over the training side, or every frame
    of every layer over its dimensions, as the toolkit's ``normalize`` does. As they are, a few dimensions of some encoders
    (Whisper's above all) are hundreds of times larger than the others and rule the sum.
    ``batch_norm`` scales the mean over time before P: means differ far less between clips than frames do, and are learned
    slowly as they are. In evaluation it is one more linear map.
    The last hidden state comes after the final layer norm of the encoder where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.features import frame_mask
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import expect_between
from ser_zoo.models.layers import Condense, LayerMix, PooledBatchNorm, StateScaling, masked_mean
from ser_zoo.models.optim import Optim


class ProbeNetwork(nn.Module):
    """The network; the arguments are those of ``Probe``."""

    def __init__(
        self, classes: int, encoder: SpeechEncoder, projection: int | None, state_scaling: StateScaling, batch_norm: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        # The mean over time comes first where it may: what follows is linear and then runs once per clip. Statistics of the
        # training side are over frames.
        self.condense = None if state_scaling == "training" else Condense(state_scaling, stride=None)
        self.mix = LayerMix(len(encoder.layers), encoder.width, "training" if self.condense is None else "none")
        self.norm: nn.Module = PooledBatchNorm(encoder.width) if batch_norm else nn.Identity()
        self.project: nn.Module = nn.Identity() if projection is None else nn.Linear(encoder.width, projection)
        self.classifier = nn.Linear(projection or encoder.width, classes)

    def forward(self, waveforms: Tensor, lengths: Tensor, encoded: EncoderOutput | None = None) -> Tensor:
        """Logits (B, C).

        Args:
            waveforms: (B, T), zero beyond each clip's end.
            lengths: (B,) samples.
            encoded: the encoder's output for these waveforms, condensed, if it is known; None computes it.
        """
        if encoded is None:
            encoded = self.encoder(waveforms, lengths)
            encoded = encoded if self.condense is None else self.condense(*encoded)
        states, counts = encoded
        pooled = masked_mean(self.mix(states), frame_mask(counts, states.shape[2]))
        logits: Tensor = self.classifier(self.project(self.norm(pooled)))
        return logits


class Probe(SERModule):
    """Learned layer weights, mean pooling and a linear classifier.

    Args:
        labels: class names in the order of the outputs.
        encoder: hub name or folder of a speech encoder; pico is in the package.
        layers: hidden states that are mixed; null: all.
        finetune_from: first encoder block that is trained (1: all blocks; 0: the convolutions too); null: frozen.
        encoder_options: how the encoder is loaded, computed and trained.
        state_scaling: of the encoder's states before they are mixed: over the training side, over each frame, or its tanh.
        batch_norm: normalise the mean over time, over the training batch.
        projection: width of the linear layer before the classifier; null: none.
        sample_rate: Hz; that of the encoder.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: ``projection`` is below 1.
    """

    name: ClassVar[str] = "probe"
    reads_states_alone: ClassVar[bool] = True
    published: ClassVar[Mapping[str, object]] = {
        "data.batch_size": 4,
        "trainer.accumulate_grad_batches": 8,
        "trainer.gradient_clip_val": 1.0,
        "trainer.max_steps": 30_000,
        "monitor": "val/wa",
    }

    def __init__(
        self,
        labels: Sequence[str],
        encoder: str = "facebook/wav2vec2-base",
        layers: Sequence[int] | None = None,
        finetune_from: int | None = None,
        encoder_options: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen, so safe to share
        state_scaling: StateScaling = "none",
        batch_norm: bool = False,
        projection: int | None = 256,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=1e-4, optimizer="adam", weight_decay=0.0),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        self.save_hyperparameters()
        expect_between(1, projection=projection)
        self.network: ProbeNetwork = ProbeNetwork(
            classes=len(labels),
            encoder=SpeechEncoder(encoder, layers, finetune_from, encoder_options),
            projection=projection,
            state_scaling=state_scaling,
            batch_norm=batch_norm,
        )
