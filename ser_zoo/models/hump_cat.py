"""hump_cat: encoder states, MFCC and prosody joined by two stages of cross-attention in both directions.

Source
    Zhao, Jiang, Yu, Leung, Wang, Zhang: "Leveraging Cross-Attention Transformer and Multi-Feature Fusion for Cross-Linguistic
    Speech Emotion Recognition", IEEE Internet of Things Journal, 2025, arXiv 2501.10408 (HuMP-CAT). No code of the authors was
    found, and only the abstract and summaries of the paper could be read: this is an architecture of its idea, not of its
    every layer, and no figure of the paper is to be expected of it.

Equations (H: T1 encoder frames, M and P: MFCC and prosody at the same T2 frames, w = width)
    H  = W_h mix(states)                   M = W_m BiLSTM(cmvn(MFCC))       P = ReLU(W_p standardise(prosody))
    F  = [P'; M'],  P', M' = CAT1(P, M)    (w/2 each)
    z  = W [s(H'); s(F')],  H', F' = CAT2(H, F),  s = mean and deviation over valid frames
    CAT is a stack of blocks (A, B) -> (X(A, B), X(B, A)),  X(Q, K) = LN(Y + FFN(Y)),  Y = LN(Q + Attention(Q, K, K))

Known
    From the abstract: HuBERT, MFCC and prosodic features are fused by a cross-attention transformer; the model is trained on
    IEMOCAP and then fine-tuned with a small part of each target corpus. Its accuracies after that transfer are 78.75 % on
    average over seven corpora, 88.69 % on EMO-DB and 79.48 % on EMOVO.
    From summaries of the paper: HuBERT's states are 768 wide; MFCC are taken of windows of 40 ms every 20 ms; the prosodic
    features describe pitch, energy and duration; one sequence gives the queries, the other keys and values.
    From a re-implementation by others, unverified: prosody and MFCC meet in a first cross-attention transformer and HuBERT
    joins in a second; 40 MFCC pass a BiLSTM (two layers, 64 per direction); widths are 128 and 256, with two layers and 4 heads
    in the second transformer; mean and variance are pooled; AdamW.

Deviations and our choices
    Everything that is not listed as known, above all: the encoder is frozen and its last block is read; both directions of a
    block read the same input; both stages have ``blocks`` blocks and the same number of heads; the deviation instead of the
    variance is pooled, because its scale is that of the mean; feed-forward, learning rate and dropout.
    Prosody is a sequence, not one vector per utterance (103 values in the re-implementation): pitch, loudness, periodicity and
    voicing per frame (``Prosody``). It is scaled by statistics of the training side, because an excited voice differs in the
    level of pitch and loudness, which a normalisation per clip would remove. MFCC are normalised per clip.
    The re-implementation shrinks HuBERT's states by one filter of 10 frames x 15 channels; here a linear layer does, because
    the channels of a transformer have no order.
    Attention sees no positions: order reaches it through the BiLSTM and the encoder.
    More than one encoder layer is mixed by learned softmax weights; ``state_scaling="training"`` gives every dimension of the
    encoder's states zero mean and unit variance over the training side, which Whisper's states need.
    Training: 50 epochs in batches of 32, with patience 10.
    Training on IEMOCAP first is a matter of data, not of the architecture, and is not done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ser_zoo.data import Batch
from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.features import MFCC, Frames, FrontEnd, Prosody, frame_mask, normalise_per_clip
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import DEEPEST, expect_between, expect_multiple
from ser_zoo.models.layers import FusionBlock, LayerMix, MaskedBiRNN, Scaler, Standardise, StateScaling, masked_mean
from ser_zoo.models.optim import Optim

MFCC_WINDOW = 0.04  # seconds
MELS = 64  # bands of which MFCC are made; more would leave some between the bins of so short a window


class CrossAttentionTransformer(nn.Module):
    """Blocks in which each of two sequences attends to the other.

    Args:
        width: of both sequences.
        blocks: how many.
        heads: of each attention.
        feedforward: hidden width.
        dropout: after attention and after the feed-forward.
    """

    def __init__(self, width: int, blocks: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.ahead, self.back = (
            nn.ModuleList(FusionBlock(width, width, heads, feedforward, dropout) for _ in range(blocks)) for _ in range(2)
        )

    def forward(self, first: Tensor, first_mask: Tensor, second: Tensor, second_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T1, width), (B, T1), (B, T2, width), (B, T2) -> (B, T1, width), (B, T2, width)."""
        for ahead, back in zip(self.ahead, self.back, strict=True):
            first, second = ahead(first, second, second_mask), back(second, first, first_mask)
        return first, second


class HumpCatNetwork(nn.Module):
    """The network; the arguments are those of ``HumpCat``."""

    def __init__(
        self,
        classes: int,
        encoder: SpeechEncoder,
        sample_rate: int,
        state_scaling: StateScaling,
        coefficients: int,
        hop: float,
        lstm_hidden: int,
        lstm_layers: int,
        width: int,
        blocks: int,
        heads: int,
        feedforward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        mfcc = MFCC(sample_rate, coefficients, hop, n_fft=round(MFCC_WINDOW * sample_rate), mels=MELS)
        self.front_end = FrontEnd(mfcc, Prosody(sample_rate, hop))
        self.standardise_prosody = Standardise(Prosody.size)
        self.mix = LayerMix(len(encoder.layers), encoder.width, state_scaling)
        self.semantic = nn.Linear(encoder.width, width)
        self.lstm = MaskedBiRNN(coefficients, lstm_hidden, lstm_layers, dropout)
        self.spectral = nn.Linear(2 * lstm_hidden, width // 2)
        self.prosodic = nn.Linear(Prosody.size, width // 2)
        self.acoustic_fusion = CrossAttentionTransformer(width // 2, blocks, heads, feedforward, dropout)
        self.fusion = CrossAttentionTransformer(width, blocks, heads, feedforward, dropout)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(4 * width, classes)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        encoded: EncoderOutput | None = None,
        frames: Sequence[Frames] | None = None,
    ) -> Tensor:
        """Logits (B, C).

        Args:
            waveforms: (B, T), zero beyond each clip's end.
            lengths: (B,) samples.
            encoded: the encoder's output for these waveforms if it is known; None computes it.
            frames: the front end's, likewise.
        """
        mfcc, prosody = self.front_end(waveforms, lengths) if frames is None else frames
        acoustic, acoustic_mask = self._acoustic(mfcc, prosody)
        states, counts = self.encoder(waveforms, lengths) if encoded is None else encoded
        semantic = self.dropout(self.semantic(self.mix(states)))
        mask = frame_mask(counts, semantic.shape[1])
        semantic, acoustic = self.fusion(semantic, mask, acoustic, acoustic_mask)
        pooled = torch.cat([mean_and_deviation(semantic, mask), mean_and_deviation(acoustic, acoustic_mask)], dim=-1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    def _acoustic(self, mfcc: Frames, prosody: Frames) -> tuple[Tensor, Tensor]:
        """F (B, T2, width) and its mask."""
        mask = frame_mask(mfcc.lengths, mfcc.values.shape[1])
        spectral = self.spectral(self.lstm(normalise_per_clip(mfcc).values, mfcc.lengths))
        prosodic = self.prosodic(self.standardise_prosody(prosody.values)).relu()
        fused = self.acoustic_fusion(self.dropout(prosodic), mask, self.dropout(spectral), mask)
        return torch.cat(fused, dim=-1), mask


class HumpCat(SERModule):
    """Cross-attention fusion of encoder states, MFCC and prosody.

    Args:
        labels: class names in the order of the outputs.
        encoder: hub name or folder of a speech encoder; pico is in the package.
        layers: hidden states that are used; more than one are mixed by learned weights.
        finetune_from: first encoder block that is trained (1: all blocks; 0: the convolutions too); null: frozen.
        encoder_options: how the encoder is loaded, computed and trained.
        state_scaling: of the encoder's states before they are mixed: over the training side, over each frame, or its tanh.
        coefficients: number of MFCC; 64 bands have no more.
        hop: seconds between frames of MFCC and prosody.
        lstm_hidden: width per direction of the BiLSTM over MFCC.
        lstm_layers: its layers.
        width: of the second stage; MFCC and prosody have half of it each in the first.
        blocks: of each stage.
        heads: of each attention.
        feedforward: hidden width of each block.
        dropout: between the layers of the BiLSTM, of each of the three sequences before its first stage, in the blocks and
            before the classifier; what the first stage gives is not dropped again.
        sample_rate: Hz; that of the encoder.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a number makes no sense, or ``width`` cannot be divided among the heads.
    """

    name: ClassVar[str] = "hump_cat"
    published: ClassVar[Mapping[str, object]] = {"data.batch_size": 32, "trainer.max_epochs": 50, "patience": 10}

    def __init__(
        self,
        labels: Sequence[str],
        encoder: str = "facebook/hubert-base-ls960",
        layers: Sequence[int] = (12,),
        finetune_from: int | None = None,
        encoder_options: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen, so safe to share
        state_scaling: StateScaling = "none",
        coefficients: int = 40,
        hop: float = 0.02,
        lstm_hidden: int = 64,
        lstm_layers: int = 2,
        width: int = 256,
        blocks: int = 2,
        heads: int = 4,
        feedforward: int = 512,
        dropout: float = 0.1,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=1e-4),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        self.save_hyperparameters()
        expect_between(1, MELS, coefficients=coefficients)
        expect_between(1, lstm_hidden=lstm_hidden, width=width)
        expect_between(1, DEEPEST, lstm_layers=lstm_layers)
        expect_between(1, heads=heads, feedforward=feedforward)
        expect_between(0, DEEPEST, blocks=blocks)
        expect_between(0, 1, dropout=dropout)
        expect_between(1 / sample_rate, hop=hop)
        expect_multiple(
            2 * heads, f"because the {heads} heads (--model.heads) of the first stage share half of it", width=width
        )
        self.network: HumpCatNetwork = HumpCatNetwork(
            classes=len(labels),
            encoder=SpeechEncoder(encoder, layers, finetune_from, encoder_options),
            sample_rate=sample_rate,
            state_scaling=state_scaling,
            coefficients=coefficients,
            hop=hop,
            lstm_hidden=lstm_hidden,
            lstm_layers=lstm_layers,
            width=width,
            blocks=blocks,
            heads=heads,
            feedforward=feedforward,
            dropout=dropout,
        )

    def scalers(self) -> list[tuple[Scaler, Callable[[Batch], Tensor]]]:
        """With that of prosody."""
        return [*super().scalers(), (self.network.standardise_prosody, self._prosody)]

    def _prosody(self, batch: Batch) -> Tensor:
        """(N, 4) prosody of the valid frames of a batch."""
        _, (values, counts) = self.frames(batch)
        return values[frame_mask(counts, values.shape[1])]


def mean_and_deviation(values: Tensor, mask: Tensor) -> Tensor:
    """Mean and standard deviation over the valid frames: (B, T, D), (B, T) -> (B, 2 D)."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean[:, None]).square(), mask)
    # Away from 0, where the root has no finite slope: one frame has no variance.
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=-1)
