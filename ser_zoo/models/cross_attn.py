"""cross_attn: acoustic frames attend to the frames of a pre-trained speech encoder.

Source
    Deeb, Savchenko, Makarov: "Enhancing Emotion Recognition in Speech ... Cross-Attention Fusion of Acoustic and Semantic
    Features", IEEE Access 13:54454-54468, 2025, doi 10.1109/ACCESS.2025.3554454, and the demo "CA-SER", ECAI 2024. The
    authors' released code is taken as the reference, because both papers report its 74.6 %.

Equations (M: T2 acoustic frames, w: the encoder's layer, T1 frames)
    M  = L2norm_frame(MFCC(x))                        A  = Enc(W_m BiLSTM(M) + PE)
    S  = W_s tanh(w)                                  h_i = softmax((A Wq_i)(S Wk_i)^T / sqrt(d)) (S Wv_i)
    F' = LN(A + Drop(W_o [h_1 .. h_n]))               F  = LN(F' + Drop(FFN(F')))
    z  = max_t (F_t W_c + b)                          z' = max_t ReLU(A_t W_c + b)    (the same W_c)
    L  = FL(z, y) + alpha FL(z', y),                  FL = (1 - p_y)^gamma CE, gamma = 0.5, alpha = 0.4
    Both directions: z = max_t (F_t W_c + b) + max_t (G_t W_g + b_g), where G is made as F is, of S over A in place of A over S

Known from the released code
    Every default below; wav2vec2-base tapped at block 9, its convolutions frozen and its transformer fine-tuned; one learning
    rate 4e-5, batch 2 x 4, 20 epochs, patience 7 on the mean recall of the validation side (which the code calls WA), a
    scheduler that never acts; clips cut at 13 s and repeated up to 3 s; pre-emphasis 0.97, 40 MFCC, 2048-point frames
    every 10 ms, 128 HTK mel bands.
    The network of the authors' published checkpoint: ``blocks=1``, ``block_heads=1``, ``block_dropout=0``,
    ``lstm_dropout=0.1``, ``fusion_dropout=0.3``, ``pooling="mean"``, ``auxiliary=0`` and cross-entropy; 8 heads in the package,
    4 where it is evaluated.
    Its variant of both directions: a second fusion block, a classifier of its own, and the sum of the pooled logits; of that
    network, with ``directions="both"``, 4 heads and ``fusion_dropout=0.4``. With mean pooling this is one linear layer on both
    means side by side.
    Ablations of the acoustic branch: a linear layer in place of the BiLSTM (``frame_encoder="linear"``); W_m alone (``"none"``;
    its class gives the blocks a wrong width and cannot run); and neither BiLSTM nor blocks (``blocks=0`` as well).
    A variant on the last layer of WavLM base plus, whose fusion is the attention alone.

Deviations and our choices
    Masks. The released code masks nothing: padding is read by the BiLSTM, attended to, and can win the maximum. Here a clip
    gives the same logits alone and in a padded batch; with ``masked=False`` what comes after encoder and front end lets padding
    in as the released code does. What it reads there is not the same: the released MFCC are those of the padded waveform, so of
    silence, and here they are 0; and the encoder itself always masks.
    Encoder. The released code normalises the waveforms by one mean and deviation over the whole padded batch; here each clip
    has its own. It switches off SpecAugment alone; here layer drop is off too, whatever the checkpoint's configuration says.
    Both directions. The auxiliary loss stays that of A under W_c. ``clip_dropout`` and ``batch_norm`` act on both alike. The
    weights over time that are shown are those of A over S.
    Ablations. The released ones read MFCC that are not L2-normalised, because that is done inside the BiLSTM's class, and have
    no PE where there are no blocks; here both stay.
    Left out. ArcFace: its released class hands that loss neither logits nor labels and cannot run, and a margin of an angle is
    for one embedding per clip, not for the maximum of frame logits. The bare attention of the WavLM variant: the rest of it can
    be set.
    Dropout. The released feed-forwards drop before their GELU; here those of the blocks drop after it and that of the fusion
    does not, and the blocks drop attention weights as well.
    The mel bands of the MFCC are not divided by their widths, as librosa's are in the released code.
    ``acoustic`` offers the spectrograms that the paper speaks of and the code lacks: ``log_mel`` (80 bands, 25/10 ms) and
    ``spectrogram`` (201 linear bands, 25/10 ms), each with per-clip mean and variance normalisation and a linear layer to 40.
    More than one encoder layer is mixed by learned softmax weights. ``state_scaling`` gives every dimension of the
    encoder's states zero mean and unit variance over the training side before the tanh, or every frame over its dimensions: a
    few dimensions of Whisper are hundreds of times larger than the others and would be all that is left.
    ``clip_dropout`` drops channels of a whole clip: dropout that differs from frame to frame is averaged out by mean pooling.
    ``batch_norm`` scales the pooled vector: means over time differ far less between clips than frames do, and without it they
    are learned several times more slowly. ``residual=False`` takes A out of F, where new speakers are to be told by S alone;
    of both directions it takes S out of G likewise.
    ``state_stride`` averages frames of S, which mean pooling would do anyway, and saves their share of the time.
    ``loss="focal"`` has no class weights in the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ser_zoo import dropout
from ser_zoo.data import Batch
from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.errors import SERZooError
from ser_zoo.features import MFCC, Frames, FrontEnd, Spectrogram, frame_mask, normalise_per_clip
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import DEEPEST, expect_between, expect_multiple
from ser_zoo.models.layers import (
    ClipDropout,
    FusionBlock,
    LayerMix,
    MaskedBiRNN,
    PooledBatchNorm,
    SelfAttentionBlock,
    SinusoidalPositions,
    average_frames,
    masked_max,
    masked_mean,
)
from ser_zoo.models.optim import Optim

Acoustic = Literal["mfcc", "log_mel", "spectrogram"]
FrameEncoder = Literal["bilstm", "linear", "none"]
Directions = Literal["acoustic", "both"]
Scaling = Literal["none", "training", "frame"]  # the tanh that may follow elsewhere is part of this network
ACOUSTIC_WIDTH = 40  # coefficients of the source, and the width to which the spectrograms are projected


class AcousticInput(nn.Module):
    """The acoustic input (B, T2, 40): normalised MFCC, or a normalised and projected spectrogram.

    Args:
        kind: which.
        size: width of its frames.
    """

    def __init__(self, kind: Acoustic, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.project: nn.Module = nn.Identity() if kind == "mfcc" else nn.Linear(size, ACOUSTIC_WIDTH)

    def forward(self, frames: Frames) -> Frames:
        """(B, T2, size) -> (B, T2, 40)."""
        if self.kind == "mfcc":
            return Frames(F.normalize(frames.values, dim=-1), frames.lengths)
        return Frames(self.project(normalise_per_clip(frames).values), frames.lengths)


def acoustic_frames(kind: Acoustic, sample_rate: int, hop: float) -> MFCC | Spectrogram:
    """The extractor of an acoustic input; ``hop`` in seconds."""
    if kind == "mfcc":
        return MFCC(sample_rate, ACOUSTIC_WIDTH, hop, emphasis=0.97)
    mels = 80 if kind == "log_mel" else None
    return Spectrogram(sample_rate, round(0.025 * sample_rate), hop, mels=mels, emphasis=0.97)


class BackDirection(nn.Module):
    """What S over A needs of its own.

    Args:
        fusion: its cross-attention.
        norm: of the mean over time, if that is normalised.
        classifier: of its frames.
    """

    def __init__(self, fusion: FusionBlock, norm: PooledBatchNorm | None, classifier: nn.Linear) -> None:
        super().__init__()
        self.fusion = fusion
        self.norm = norm
        self.classifier = classifier


class CrossAttnNetwork(nn.Module):
    """The network; the arguments are those of ``CrossAttn``."""

    def __init__(
        self,
        classes: int,
        encoder: SpeechEncoder,
        acoustic: Acoustic,
        sample_rate: int,
        hop: float,
        state_scaling: Scaling,
        state_stride: int,
        frame_encoder: FrameEncoder,
        lstm_hidden: int,
        lstm_layers: int,
        lstm_dropout: float,
        width: int,
        blocks: int,
        block_heads: int,
        block_dropout: float,
        feedforward: int,
        directions: Directions,
        inner: int,
        heads: int,
        fusion_dropout: float,
        residual: bool,
        clip_dropout: float,
        pooling: Literal["max", "mean"],
        batch_norm: bool,
        masked: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        extractor = acoustic_frames(acoustic, sample_rate, hop)
        self.front_end = FrontEnd(extractor)
        self.acoustic = AcousticInput(acoustic, extractor.size)
        self.state_stride = state_stride
        self.pooling = pooling
        self.masked = masked
        self.mix = LayerMix(len(encoder.layers), encoder.width, state_scaling)
        self.semantic = nn.Linear(encoder.width, width)
        size = {"bilstm": 2 * lstm_hidden, "linear": lstm_hidden, "none": ACOUSTIC_WIDTH}[frame_encoder]
        bilstm, linear = frame_encoder == "bilstm", frame_encoder == "linear"
        self.lstm = MaskedBiRNN(ACOUSTIC_WIDTH, lstm_hidden, lstm_layers, lstm_dropout) if bilstm else None
        self.linear = nn.Linear(ACOUSTIC_WIDTH, lstm_hidden) if linear else nn.Identity()
        self.project = nn.Linear(size, width)
        self.positions = SinusoidalPositions(width)
        self.blocks = nn.ModuleList(SelfAttentionBlock(width, block_heads, feedforward, block_dropout) for _ in range(blocks))

        def direction() -> tuple[FusionBlock, PooledBatchNorm | None, nn.Linear]:
            fusion = FusionBlock(width, inner, heads, feedforward, fusion_dropout, residual)
            return fusion, PooledBatchNorm(width) if batch_norm else None, nn.Linear(width, classes)

        self.clip_dropout = ClipDropout(clip_dropout)
        self.fusion, self.norm, self.classifier = direction()
        self.back = BackDirection(*direction()) if directions == "both" else None
        dropout.use_in(self)

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
        return self.with_auxiliary(waveforms, lengths, encoded, frames)[0]

    def with_auxiliary(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        encoded: EncoderOutput | None = None,
        frames: Sequence[Frames] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Main and auxiliary logits, (B, C) each."""
        (acoustic, acoustic_mask), (semantic, state_lengths) = self._branches(waveforms, lengths, encoded, frames)
        semantic_mask = frame_mask(state_lengths, semantic.shape[1]) if self.masked else None
        fused = self.fusion(acoustic, semantic, semantic_mask)
        main = self._read(fused, acoustic_mask, self.norm, self.classifier)
        if self.back is not None:
            fused = self.back.fusion(semantic, acoustic, acoustic_mask)
            main = main + self._read(fused, semantic_mask, self.back.norm, self.back.classifier)
        auxiliary = self._pool(self.classifier(acoustic).relu(), acoustic_mask)
        return main, auxiliary

    def time_weights(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        encoded: EncoderOutput | None = None,
        frames: Sequence[Frames] | None = None,
    ) -> Frames:
        """What each head takes of each frame of S, (B, T1, heads): the mean over the frames of A, summing to 1 over a clip.

        Where nothing is masked, what padding takes is left out, and the sum is less. What S takes of the frames of A, where
        both directions are there, is not among them: it lies at other times.
        """
        (acoustic, acoustic_mask), (semantic, state_lengths) = self._branches(waveforms, lengths, encoded, frames)
        valid = frame_mask(state_lengths, semantic.shape[1])
        weights = self.fusion.attention.weights(acoustic, semantic, valid if self.masked else None)
        taken = torch.stack([masked_mean(head, acoustic_mask) for head in weights.unbind(1)], dim=-1)
        return Frames(taken * valid[..., None], state_lengths)

    def _branches(
        self, waveforms: Tensor, lengths: Tensor, encoded: EncoderOutput | None, frames: Sequence[Frames] | None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """A (B, T2, width) and its mask, and S (B, T1, width) and its valid frames (B,)."""
        (extracted,) = self.front_end(waveforms, lengths) if frames is None else frames
        acoustic, acoustic_mask = self._acoustic(extracted)
        acoustic = self.clip_dropout(acoustic)
        states, state_lengths = self.encoder(waveforms, lengths) if encoded is None else encoded
        return (acoustic, acoustic_mask), self._semantic(states, state_lengths)

    def _acoustic(self, extracted: Frames) -> tuple[Tensor, Tensor]:
        """A (B, T2, width) and its mask, all True where nothing is masked."""
        frames, counts = self.acoustic(extracted)
        if not self.masked:
            counts = torch.full_like(counts, frames.shape[1])
        mask = frame_mask(counts, frames.shape[1])
        encoded = self.linear(frames) if self.lstm is None else self.lstm(frames, counts)
        hidden = self.positions(self.project(encoded))
        for block in self.blocks:
            hidden = block(hidden, src_key_padding_mask=~mask)
        return hidden, mask

    def _semantic(self, states: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """S (B, T1, width) of the encoder's hidden states (B, L, T1, D), and its valid frames (B,)."""
        semantic = self.mix(states).tanh()
        if self.state_stride > 1:
            semantic, lengths = average_frames(semantic, lengths, self.state_stride)
        return self.semantic(self.clip_dropout(semantic)), lengths

    def _read(self, fused: Tensor, mask: Tensor | None, norm: PooledBatchNorm | None, classifier: nn.Linear) -> Tensor:
        """Logits (B, C) of one direction: (B, T, width), (B, T) or None where all is valid."""
        fused = self.clip_dropout(fused)
        if norm is None:
            return self._pool(classifier(fused), mask)
        logits: Tensor = classifier(norm(masked_mean(fused, mask)))
        return logits

    def _pool(self, frame_logits: Tensor, mask: Tensor | None) -> Tensor:
        return (masked_max if self.pooling == "max" else masked_mean)(frame_logits, mask)


class CrossAttn(SERModule):
    """Cross-attention fusion of acoustic and encoder features.

    Args:
        labels: class names in the order of the outputs.
        encoder: hub name or folder of a speech encoder; pico is in the package.
        layers: hidden states that are used; more than one are mixed by learned weights.
        finetune_from: first encoder block that is trained (1: all blocks; 0: the convolutions too); null: frozen.
        encoder_options: how the encoder is loaded, computed and trained.
        state_scaling: of the encoder's states before the tanh: over the training side, or over each frame.
        state_stride: encoder frames that are averaged to one of S.
        acoustic: input of the acoustic branch.
        hop: seconds between acoustic frames.
        frame_encoder: what acoustic frames pass before the linear layer to ``width``: a BiLSTM, a linear layer to
            ``lstm_hidden``, or nothing.
        lstm_hidden: width per direction of the BiLSTM.
        lstm_layers: its layers.
        lstm_dropout: between them.
        width: of both branches; even.
        blocks: self-attention blocks of the acoustic branch.
        block_heads: heads of each.
        block_dropout: in each.
        feedforward: hidden width of the blocks and of the fusion.
        directions: of the cross-attention: acoustic frames attend to those of S, or both to each other, by a second fusion and
            classifier whose logits are added.
        inner: width of the cross-attention over all heads.
        heads: heads of the cross-attention.
        fusion_dropout: in the fusion.
        residual: add A to what it attends to in the fusion; without it A only chooses among the frames of S. Of both directions
            the other one likewise.
        clip_dropout: of whole channels of a clip, in A, before S's linear layer and before the classifier.
        pooling: of the frame logits over time.
        batch_norm: normalise the mean over time before the classifier; only with mean pooling.
        auxiliary: weight alpha of the loss of the acoustic branch; 0 leaves it out.
        masked: keep padding out of everything; False lets it in after encoder and front end, as the released code does.
        sample_rate: Hz; that of the encoder.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a number makes no sense, or ``batch_norm`` is asked for under max pooling.
    """

    name: ClassVar[str] = "cross_attn"
    published: ClassVar[Mapping[str, object]] = {
        "data.batch_size": 2,
        "data.min_seconds": 3.0,
        "data.max_seconds": 13.0,
        "trainer.max_epochs": 20,
        "trainer.accumulate_grad_batches": 4,
        "patience": 7,
    }

    def __init__(
        self,
        labels: Sequence[str],
        encoder: str = "facebook/wav2vec2-base",
        layers: Sequence[int] = (9,),
        finetune_from: int | None = 1,
        encoder_options: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen, so safe to share
        state_scaling: Scaling = "none",
        state_stride: int = 1,
        acoustic: Acoustic = "mfcc",
        hop: float = 0.01,
        frame_encoder: FrameEncoder = "bilstm",
        lstm_hidden: int = 512,
        lstm_layers: int = 2,
        lstm_dropout: float = 0.3,
        width: int = 512,
        blocks: int = 3,
        block_heads: int = 4,
        block_dropout: float = 0.3,
        feedforward: int = 1024,
        directions: Directions = "acoustic",
        inner: int = 256,
        heads: int = 8,
        fusion_dropout: float = 0.4,
        residual: bool = True,
        clip_dropout: float = 0.0,
        pooling: Literal["max", "mean"] = "max",
        batch_norm: bool = False,
        auxiliary: float = 0.4,
        masked: bool = True,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=4e-5, loss="focal", focal_gamma=0.5),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        self.save_hyperparameters()
        expect_between(1, state_stride=state_stride, lstm_hidden=lstm_hidden, width=width)
        expect_between(1, DEEPEST, lstm_layers=lstm_layers)
        expect_between(1, block_heads=block_heads, feedforward=feedforward, inner=inner, heads=heads)
        expect_between(0, DEEPEST, blocks=blocks)
        expect_between(0, auxiliary=auxiliary)
        expect_between(0, 1, lstm_dropout=lstm_dropout, block_dropout=block_dropout)
        expect_between(0, 1, fusion_dropout=fusion_dropout, clip_dropout=clip_dropout)
        expect_between(1 / sample_rate, hop=hop)
        expect_multiple(2, "because positions are pairs of a sine and a cosine", width=width)
        expect_multiple(block_heads, "the number of heads of a block (--model.block_heads)", width=width)
        expect_multiple(heads, "the number of heads (--model.heads)", inner=inner)
        if batch_norm and pooling == "max":
            raise SERZooError("cross_attn: batch_norm normalises a mean over time. Set pooling to mean, or leave it out.")
        self.auxiliary = auxiliary
        self.network: CrossAttnNetwork = CrossAttnNetwork(
            classes=len(labels),
            encoder=SpeechEncoder(encoder, layers, finetune_from, encoder_options),
            acoustic=acoustic,
            sample_rate=sample_rate,
            hop=hop,
            state_scaling=state_scaling,
            state_stride=state_stride,
            frame_encoder=frame_encoder,
            lstm_hidden=lstm_hidden,
            lstm_layers=lstm_layers,
            lstm_dropout=lstm_dropout,
            width=width,
            blocks=blocks,
            block_heads=block_heads,
            block_dropout=block_dropout,
            feedforward=feedforward,
            directions=directions,
            inner=inner,
            heads=heads,
            fusion_dropout=fusion_dropout,
            residual=residual,
            clip_dropout=clip_dropout,
            pooling=pooling,
            batch_norm=batch_norm,
            masked=masked,
        )

    def loss(self, batch: Batch) -> Tensor:
        """FL(z, y) + alpha FL(z', y)."""
        main, auxiliary = self.network.with_auxiliary(**self.inputs(batch))
        loss = self.criterion(main, batch.labels)
        if self.auxiliary:
            loss = loss + self.auxiliary * self.criterion(auxiliary, batch.labels)
        return loss
