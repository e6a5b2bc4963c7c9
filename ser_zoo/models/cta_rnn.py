"""cta_rnn: CTA-RNN-style; an RNN with channel-wise and temporal-wise attention on several layers of an ASR encoder.

Source
    Chen, Zhang: "CTA-RNN: Channel and Temporal-wise Attention RNN Leveraging Pre-trained ASR Embeddings for Speech Emotion
    Recognition", Interspeech 2022, pp. 4730-4734, doi 10.21437/Interspeech.2022-10403, arXiv 2203.17023. Only its abstract was
    at hand, and no code of its authors is known. This is a network in its style, not a reproduction, and no result of the
    paper may be compared with it.

Equations (w_k: (T, D) hidden states of the encoder's layer k in K; sigma: logistic function)
    X_t = [P_k LN(w_k,t) : k in K]                            P_k: D -> 128, so that X has C = 128 |K| channels
    s   = sigma(f(mean_t X) + f(max_t X)),  X'_t = s * X_t    f = W2 ReLU(W1 .), C - C/8 - C
    H   = BiGRU(Drop(X'))                                     128 per direction
    e_t = v . tanh(W h_t + b),  a = softmax(e),  u = sum_t a_t h_t
    z   = W_c Drop(ReLU(W_d u))                               256 -> 128 -> classes

Known from the abstract
    The embeddings are intermediate representations of a large-scale pre-trained end-to-end ASR encoder; those of different
    layers are used together; an RNN with channel-wise and with temporal-wise attention reads them; corpora were IEMOCAP and
    MSP-IMPROV, within and across.

Our choices (all of the rest)
    Encoder and layers: Whisper base, frozen, at low, middle and high depth (2, 4 and 6 of 6; take 4, 8 and 12 of 12). Any
    encoder that was trained to transcribe fits: Whisper, wav2vec 2.0 with CTC, or one of SpeechBrain's.
    Equations: those above. Channel attention is that of CBAM (Woo et al., ECCV 2018), temporal attention that of Bahdanau et
    al., ICLR 2015, over the frames of one sequence. The layer norm has no weights of its own, because P_k contains them.
    Training: cross-entropy, Adam with learning rate 1e-3 and weight decay 1e-4, batch 32, 50 epochs, patience 10.
    Ablations that the abstract implies: ``fusion`` of the layers other than side by side (to the same C, so that what follows
    has the same size), and either attention left out (temporal-wise: the mean over time stands in).
    ``batch_norm`` scales u: means over time differ far less between clips than frames do, and are learned slowly as they are.
    ``squash`` takes the tanh of LN(w): a few dimensions of Whisper are far larger than the others and would rule all sums.
    ``clip_dropout`` drops channels of a whole clip: dropout that differs from frame to frame is averaged out over time.
    ``members``: a deep ensemble (Lakshminarayanan et al., NeurIPS 2017) of all behind the encoder: each has first weights and
    dropout of its own, the same batches and its own loss; p = mean_m softmax(z_m).
    ``stride`` averages that many neighbouring frames before the RNN, which shortens its loop over time as much.
    Padding reaches nothing: statistics, RNN and softmax are over a clip's own frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from ser_zoo.data import Batch
from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.features import Frames, frame_mask
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import DEEPEST, expect_between
from ser_zoo.models.layers import (
    ChannelAttention,
    ClipDropout,
    Condense,
    LayerMix,
    MaskedBiRNN,
    PooledBatchNorm,
    masked_mean,
)
from ser_zoo.models.optim import Optim

Fusion = Literal["concatenate", "last", "mean", "learned"]


class LayerFusion(nn.Module):
    """One sequence of an encoder's layers.

    Args:
        fusion: concatenate gives each layer a projection of its own; last, mean and learned (weights) project one
            sequence of the encoder's width to as many channels.
        layers: how many come in.
        size: their width.
        width: channels per layer.
        clip_dropout: of whole channels of a clip before a projection.
    """

    def __init__(self, fusion: Fusion, layers: int, size: int, width: int, clip_dropout: float) -> None:
        super().__init__()
        self.fusion = fusion
        self.size = layers * width
        self.mix = LayerMix(layers) if fusion == "learned" else None
        self.clip_dropout = ClipDropout(clip_dropout)
        widths = [width] * layers if fusion == "concatenate" else [self.size]
        self.projections = nn.ModuleList(nn.Linear(size, part) for part in widths)

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, T, D) states -> (B, T, L * width)."""
        if self.mix is not None:
            parts = [self.mix(states)]
        elif self.fusion == "mean":
            parts = [states.mean(1)]
        elif self.fusion == "last":
            parts = [states[:, -1]]
        else:
            parts = list(states.unbind(1))
        projected = [project(self.clip_dropout(part)) for project, part in zip(self.projections, parts, strict=True)]
        return torch.cat(projected, dim=-1)


class TemporalAttention(nn.Module):
    """Mean over time with learned weights.

    Args:
        size: width of the frames.
        hidden: of the layer that scores them.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, size), (B, T) -> (B, size)."""
        return torch.einsum("bt,btd->bd", self.weights(values, mask), values)

    def weights(self, values: Tensor, mask: Tensor) -> Tensor:
        """Of (B, T, size), (B, T) the weights a (B, T), zero where a frame is not valid."""
        scores: Tensor = self.score(values)[..., 0].masked_fill(~mask, float("-inf"))
        return scores.softmax(1)


class StatesReader(nn.Module):
    """What reads an encoder's states; the arguments are those of ``CTARNN``, and of the encoder.

    Args:
        layers: how many states of a frame come in.
        size: their width.
    """

    def __init__(
        self,
        classes: int,
        layers: int,
        size: int,
        fusion: Fusion,
        width: int,
        channel_attention: bool,
        reduction: int,
        hidden: int,
        temporal_attention: bool,
        dense: int,
        dropout: float,
        clip_dropout: float,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.fusion = LayerFusion(fusion, layers, size, width, clip_dropout)
        channels = self.fusion.size
        self.channel = ChannelAttention(channels, max(1, channels // reduction)) if channel_attention else None
        self.rnn = MaskedBiRNN(channels, hidden, cell=nn.GRU)
        self.clip_dropout = ClipDropout(clip_dropout)
        self.temporal = TemporalAttention(2 * hidden, hidden) if temporal_attention else None
        self.norm = PooledBatchNorm(2 * hidden) if batch_norm else nn.Identity()
        self.dense = nn.Linear(2 * hidden, dense)
        self.classifier = nn.Linear(dense, classes)
        self.dropout = nn.Dropout(dropout)

    def logits(self, states: Tensor, counts: Tensor) -> Tensor:
        """(B, L, T, D) states, (B,) valid frames -> (B, C)."""
        hidden = self._hidden(states, counts)
        mask = frame_mask(counts, hidden.shape[1])
        pooled = masked_mean(hidden, mask) if self.temporal is None else self.temporal(hidden, mask)
        logits: Tensor = self.classifier(self.dropout(self.dense(self.norm(pooled)).relu()))
        return logits

    def weights(self, states: Tensor, counts: Tensor) -> Tensor:
        """Of (B, L, T, D) states and (B,) valid frames the weights a (B, T) of the temporal attention, which must be there."""
        assert self.temporal is not None
        hidden = self._hidden(states, counts)
        return self.temporal.weights(hidden, frame_mask(counts, hidden.shape[1]))

    def _hidden(self, states: Tensor, counts: Tensor) -> Tensor:
        """H (B, T, 2 * hidden)."""
        frames = self.fusion(states)
        if self.channel is not None:
            frames = self.channel(frames, frame_mask(counts, frames.shape[1]))
        hidden: Tensor = self.clip_dropout(self.rnn(self.dropout(frames), counts))
        return hidden


class CTARNNNetwork(StatesReader):
    """Encoder and readers.

    Args:
        encoder: whose states are read.
        stride, squash, members: those of ``CTARNN``.
        **reader: arguments of `StatesReader`.
    """

    def __init__(self, encoder: SpeechEncoder, stride: int, squash: bool, members: int, **reader: Any) -> None:
        super().__init__(layers=len(encoder.layers), size=encoder.width, **reader)
        self.encoder = encoder
        self.condense = Condense("squash" if squash else "frame", stride)
        # The first member is the network itself, so that weights of one alone have the same names.
        self.others = nn.ModuleList(
            StatesReader(layers=len(encoder.layers), size=encoder.width, **reader) for _ in range(members - 1)
        )

    def forward(self, waveforms: Tensor, lengths: Tensor, encoded: EncoderOutput | None = None) -> Tensor:
        """Logits (B, C); of several members the logarithm of their mean probabilities.

        Args:
            waveforms: (B, T), zero beyond each clip's end.
            lengths: (B,) samples.
            encoded: the encoder's output for these waveforms, condensed, if it is known; None computes it.
        """
        logits = self.member_logits(waveforms, lengths, encoded)
        if len(logits) == 1:
            return logits[0]
        return logits.float().log_softmax(-1).logsumexp(0) - math.log(len(logits))

    def member_logits(self, waveforms: Tensor, lengths: Tensor, encoded: EncoderOutput | None = None) -> Tensor:
        """(M, B, C) logits of all members; the arguments are those of ``forward``."""
        states = self._states(waveforms, lengths, encoded)
        return torch.stack([member.logits(*states) for member in self._members()])

    def time_weights(self, waveforms: Tensor, lengths: Tensor, encoded: EncoderOutput | None = None) -> Frames | None:
        """The weights a (B, T, M) of all members, each summing to 1 over a clip; None without temporal attention."""
        if self.temporal is None:
            return None
        states, counts = self._states(waveforms, lengths, encoded)
        return Frames(torch.stack([member.weights(states, counts) for member in self._members()], dim=-1), counts)

    def _members(self) -> list[StatesReader]:
        return [self, *cast(Iterable[StatesReader], self.others)]

    def _states(self, waveforms: Tensor, lengths: Tensor, encoded: EncoderOutput | None) -> EncoderOutput:
        return self.condense(*self.encoder(waveforms, lengths)) if encoded is None else encoded


class CTARNN(SERModule):
    """RNN with channel-wise and temporal-wise attention on layers of an ASR encoder.

    Args:
        labels: class names in the order of the outputs.
        encoder: hub name or folder of an encoder that was trained to transcribe; pico, in the package, learned from one.
        layers: hidden states that are used, the deepest last.
        finetune_from: first encoder block that is trained (1: all blocks; 0: the convolutions too); null: frozen.
        encoder_options: how the encoder is loaded, computed and trained.
        fusion: of the layers: side by side (concatenate), the last alone, their mean, or their sum with learned weights.
        width: channels per layer after its projection.
        channel_attention: weigh channels by their mean and maximum over time.
        reduction: of channels to the hidden width of the channel attention.
        hidden: width per direction of the BiGRU, and of the temporal attention.
        temporal_attention: weigh frames; False takes their mean.
        dense: width of the layer before the classifier.
        dropout: before the BiGRU and before the classifier.
        clip_dropout: of whole channels of a clip, in the encoder's states and after the BiGRU.
        stride: frames that are averaged to one before the BiGRU.
        batch_norm: normalise what is left of time, over the training batch.
        squash: take the tanh of the encoder's normalised states.
        members: networks on the same encoder, from different first weights, whose probabilities are averaged.
        sample_rate: Hz; that of the encoder.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a width, ``reduction`` or ``stride`` is less than 1, ``members`` are not 1 to 1000, or a dropout is not
            from 0 to 1.
    """

    name: ClassVar[str] = "cta_rnn"
    reads_states_alone: ClassVar[bool] = True
    published: ClassVar[Mapping[str, object]] = {
        "data.batch_size": 32,
        "trainer.max_epochs": 50,
        "patience": 10,
    }

    def __init__(
        self,
        labels: Sequence[str],
        encoder: str = "openai/whisper-base",
        layers: Sequence[int] = (2, 4, 6),
        finetune_from: int | None = None,
        encoder_options: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen, so safe to share
        fusion: Fusion = "concatenate",
        width: int = 128,
        channel_attention: bool = True,
        reduction: int = 8,
        hidden: int = 128,
        temporal_attention: bool = True,
        dense: int = 128,
        dropout: float = 0.3,
        clip_dropout: float = 0.0,
        stride: int = 1,
        batch_norm: bool = False,
        squash: bool = False,
        members: int = 1,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=1e-3, optimizer="adam", weight_decay=1e-4),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        self.save_hyperparameters()
        expect_between(1, width=width, reduction=reduction, hidden=hidden, dense=dense, stride=stride)
        expect_between(1, DEEPEST, members=members)
        expect_between(0, 1, dropout=dropout, clip_dropout=clip_dropout)
        self.network: CTARNNNetwork = CTARNNNetwork(
            SpeechEncoder(encoder, layers, finetune_from, encoder_options),
            stride,
            squash,
            members,
            classes=len(labels),
            fusion=fusion,
            width=width,
            channel_attention=channel_attention,
            reduction=reduction,
            hidden=hidden,
            temporal_attention=temporal_attention,
            dense=dense,
            dropout=dropout,
            clip_dropout=clip_dropout,
            batch_norm=batch_norm,
        )

    def loss(self, batch: Batch) -> Tensor:
        """Mean of the members' losses, so that each learns by itself."""
        if not self.network.others:  # through the network's forward, which may be compiled
            return super().loss(batch)
        members = self.network.member_logits(**self.inputs(batch))
        return torch.stack([self.criterion(logits, batch.labels) for logits in members]).mean()
