"""co_attn and cross_attn as the field writes and trains them: what ``training.py`` compares with.

Everything is eager and in float32, nothing is masked, and the encoder is that of transformers with its own attention. Layers,
sizes and losses are those of the released networks (the model cards in ``ser_zoo/models/co_attn.py`` and ``cross_attn.py`` name
the sources). Left out is what only costs time: AlexNet's classifier, whose output the released co_attn does not use, and the
encoder's layer drop and SpecAugment.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import preemphasis
from torchaudio.transforms import MFCC
from transformers import Wav2Vec2Model

from ser_zoo.models.co_attn import ReleasedNetwork
from ser_zoo.models.cross_attn import CrossAttnNetwork
from ser_zoo.models.layers import MaskedBiRNN

RATE = 16_000  # Hz
EMPHASIS = 0.97
COEFFICIENTS = 40


class CoAttnReference(nn.Module):
    """Zou et al. 2022 on segments of 3 s, with 149 frame weights and all 300 BiLSTM states in one row of 153 600.

    Spectrogram and MFCC are given to it, as its authors extract them before training.

    Args:
        encoder: folder of a wav2vec 2.0.
        classes: how many.
    """

    SAMPLES = 48_000
    IMAGE = (256, 384)  # pixels
    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of red, green and blue

    def __init__(self, encoder: str, classes: int) -> None:
        super().__init__()
        self.encoder = eager_encoder(encoder)
        self.alexnet = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.AdaptiveAvgPool2d(6),
        )
        self.spectrogram = nn.Linear(256 * 6 * 6, 128)
        self.lstm = nn.LSTM(COEFFICIENTS, 256, 2, batch_first=True, dropout=0.5, bidirectional=True)
        self.mfcc = nn.Linear(300 * 512, 128)
        self.score = nn.Linear(256, 149)
        self.semantic = nn.Linear(self.encoder.config.hidden_size, 128)
        self.fuse = nn.ModuleList([nn.Linear(384, 128), nn.Linear(128, 128), nn.Linear(128, classes)])
        self.dropout = nn.Dropout(0.1)

    def copy(self, ours: ReleasedNetwork) -> None:
        """Take the weights of our network, whose encoder is of the same folder."""
        convolutions = [layer for layer in self.alexnet if isinstance(layer, nn.Conv2d)]
        pairs = [
            *zip(convolutions, ours.spectrogram.alexnet.convolutions, strict=True),
            (self.spectrogram, ours.spectrogram.project),
            (self.mfcc, ours.mfcc.project),
            (self.score, ours.attention.score),
            (self.semantic, ours.attention.semantic),
            *zip(self.fuse, [layer for layer in ours.head if isinstance(layer, nn.Linear)], strict=True),
        ]
        for mine, theirs in pairs:
            mine.load_state_dict(theirs.state_dict())
        copy_rnn(self.lstm, ours.mfcc.lstm)

    def loss(self, waveforms: Tensor, spectrogram: Tensor, mfcc: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of B segments.

        Args:
            waveforms: (B, T) samples, T <= 48000.
            spectrogram: (B, 300, 200) dB, from -80 to 0.
            mfcc: (B, 300, 40).
            labels: (B,).
        """
        summary = self.spectrogram(self.dropout(self.alexnet(self.images(spectrogram)).flatten(1))).relu()
        states, _ = self.lstm(F.normalize(mfcc, dim=-1))
        summaries = torch.cat([summary, self.mfcc(self.dropout(states.flatten(1))).relu()], dim=-1)
        weights = self.score(self.dropout(summaries)).relu()
        emphasised = preemphasis(waveforms, EMPHASIS)
        filled = F.pad(emphasised, (self.SAMPLES - emphasised.shape[1], 0))
        frames = self.encoder(normalised(filled)).last_hidden_state
        semantic = self.semantic(self.dropout((weights[:, None] @ frames)[:, 0])).relu()
        first, second, last = self.fuse
        hidden = first(self.dropout(torch.cat([summaries, semantic], dim=-1))).relu()
        return F.cross_entropy(last(second(self.dropout(hidden)).relu()), labels)

    def images(self, spectrogram: Tensor) -> Tensor:
        """(B, 300, 200) -> (B, 3, 256, 384), 8 bits deep, high frequencies on top; every bin ranges over 80 dB."""
        grey = (((spectrogram + 80) / 80).clamp(0, 1) * 255).floor().flip(-1).transpose(1, 2)[:, None]
        grey = F.interpolate(grey, self.IMAGE, mode="bilinear").round() / 255
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (self.MEAN, self.DEVIATION))
        return (grey - mean) / deviation


class CrossAttnReference(nn.Module):
    """Deeb et al. 2025: MFCC frames attend to block 9 of wav2vec 2.0, whose further blocks run without use, as released.

    Args:
        encoder: folder of a wav2vec 2.0.
        classes: how many.
        cut: leave those further blocks out, as ours does.
    """

    LAYER, WIDTH, INNER, HEADS = 9, 512, 256, 8
    GAMMA, ALPHA = 0.5, 0.4  # of the focal loss, and weight of the acoustic branch's own

    def __init__(self, encoder: str, classes: int, cut: bool = False) -> None:
        super().__init__()
        self.encoder = eager_encoder(encoder)
        if cut:
            self.encoder.encoder.layers = self.encoder.encoder.layers[: self.LAYER]
        settings = {"n_fft": 2048, "hop_length": 160, "n_mels": 128, "pad_mode": "constant"}
        self.extract = MFCC(RATE, COEFFICIENTS, melkwargs=settings)
        self.semantic = nn.Linear(self.encoder.config.hidden_size, self.WIDTH)
        self.lstm = nn.LSTM(COEFFICIENTS, 512, 2, batch_first=True, dropout=0.3, bidirectional=True)
        self.project = nn.Linear(1024, self.WIDTH)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(self.WIDTH, 4, 1024, 0.3, F.gelu, batch_first=True) for _ in range(3)
        )
        self.query, self.key, self.value = (nn.Linear(self.WIDTH, self.INNER) for _ in range(3))
        self.output = nn.Linear(self.INNER, self.WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(self.WIDTH), nn.LayerNorm(self.WIDTH)
        self.feedforward = nn.Sequential(nn.Linear(self.WIDTH, 1024), nn.GELU(), nn.Linear(1024, self.WIDTH))
        self.dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(self.WIDTH, classes)

    def copy(self, ours: CrossAttnNetwork) -> None:
        """Take the weights of our network, whose encoder is of the same folder."""
        attention = ours.fusion.attention
        pairs = [
            (self.semantic, ours.semantic),
            (self.project, ours.project),
            (self.blocks, ours.blocks),
            (self.query, attention.query),
            (self.key, attention.key),
            (self.value, attention.value),
            (self.output, attention.output),
            (self.norm1, ours.fusion.norm1),
            (self.norm2, ours.fusion.norm2),
            (self.feedforward, ours.fusion.feedforward),
            (self.classifier, ours.classifier),
        ]
        for mine, theirs in pairs:
            mine.load_state_dict(theirs.state_dict())
        assert ours.lstm is not None, "published frame encoder"
        copy_rnn(self.lstm, ours.lstm)

    def loss(self, waveforms: Tensor, labels: Tensor) -> Tensor:
        """Focal loss of (B, T) clips of equal length plus that of the acoustic branch; labels (B,)."""
        mfcc = torch.stack([self.extract(preemphasis(waveform, EMPHASIS)).T for waveform in waveforms])
        hidden = self.project(self.lstm(F.normalize(mfcc, dim=-1))[0])
        acoustic = hidden + self.positions(hidden.shape[1])
        for block in self.blocks:
            acoustic = block(acoustic)
        states = self.encoder(normalised(waveforms), output_hidden_states=True).hidden_states[self.LAYER]
        fused = self.norm1(acoustic + self.dropout(self.attend(acoustic, self.semantic(states.tanh()))))
        fused = self.norm2(fused + self.dropout(self.feedforward(fused)))
        main = self.classifier(fused).amax(1)
        auxiliary = self.classifier(acoustic).relu().amax(1)
        return self.focal(main, labels) + self.ALPHA * self.focal(auxiliary, labels)

    def attend(self, acoustic: Tensor, semantic: Tensor) -> Tensor:
        """(B, T, 512) over (B, S, 512) -> (B, T, 512)."""
        query, key, value = (
            layer(frames).view(*frames.shape[:2], self.HEADS, -1).transpose(1, 2)
            for layer, frames in ((self.query, acoustic), (self.key, semantic), (self.value, semantic))
        )
        weights = (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).softmax(-1)
        mixed: Tensor = self.output((weights @ value).transpose(1, 2).flatten(2))
        return mixed

    def positions(self, frames: int) -> Tensor:
        """(T, 512) sines and cosines (Vaswani et al. 2017, section 3.5)."""
        rates = torch.exp(torch.arange(0, self.WIDTH, 2) * (-math.log(10_000.0) / self.WIDTH))
        angles = torch.arange(frames)[:, None] * rates
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    def focal(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean of (1 - p_y)^gamma times the cross-entropy."""
        loss = F.cross_entropy(logits, labels, reduction="none")
        return ((1 - torch.exp(-loss)) ** self.GAMMA * loss).mean()


def eager_encoder(folder: str) -> Any:
    """wav2vec 2.0 as transformers has it, all blocks, without what would make its states random or masked."""
    encoder: Any = Wav2Vec2Model
    return encoder.from_pretrained(folder, attn_implementation="eager", layerdrop=0.0, apply_spec_augment=False)


def normalised(waveforms: Tensor) -> Tensor:
    """(B, T), each clip to zero mean and unit variance, as the encoder's feature extractor does."""
    mean, variance = waveforms.mean(1, keepdim=True), waveforms.var(1, correction=0, keepdim=True)
    return (waveforms - mean) / torch.sqrt(variance + 1e-7)


@torch.no_grad()
def copy_rnn(mine: nn.LSTM, ours: MaskedBiRNN) -> None:
    """Take the weights of our two directions."""
    for suffix, cells in (("", ours.ahead), ("_reverse", ours.back)):
        for layer, cell in enumerate(cells):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                mine.get_parameter(f"{part}_l{layer}{suffix}").copy_(cell.get_parameter(f"{part}_l0"))
