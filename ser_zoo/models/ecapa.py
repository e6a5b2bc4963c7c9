"""ecapa: SpeechBrain's ECAPA-TDNN on log-mel filter banks, trained from scratch.

Source
    Desplanques, Thienpondt, Demuynck: "ECAPA-TDNN: Emphasized Channel Attention, Propagation and Aggregation in TDNN Based
    Speaker Verification", Interspeech 2020, arXiv 2005.07143; and SpeechBrain (Ravanelli et al., arXiv 2106.04624), of which
    ``Fbank``, ``ECAPA_TDNN``, ``Classifier`` and ``AdditiveAngularMargin`` are called here. The defaults are those of its
    recipe for IEMOCAP, recipes/IEMOCAP/emotion_recognition/hparams/train.yaml, which reports 65.7 % accuracy on random splits.

Equations (X: T frames of 80 bands in dB, less their mean over the clip; TDNN_k = BN(ReLU(Conv_k)), Conv_k of kernel k)
    H_0 = TDNN_5(X)
    H_i = SE(TDNN_1(Res2Net_3(TDNN_1(H_i-1)))) + H_i-1     i = 1, 2, 3 with dilation 2, 3, 4; SE weighs channels by their means
    M   = TDNN_1([H_1; H_2; H_3])
    a_t = softmax_t(V tanh(TDNN_1([M_t; mean M; std M])) + v)                                              for each channel
    e   = W BN([mean_a M; std_a M]) + b                    mean and standard deviation weighed by a
    z_c = s cos(e, w_c)                                    s = 30
    L   = CE, in training with z_y = s cos(angle(e, w_y) + m)        m = 0.2 radians
          and s (cos(e, w_y) - m sin m) where that angle is pi - m or more, as its cosine would rise again beyond pi

Known from the recipe
    Every default below; attention and embedding have half of SpeechBrain's default widths. Adam, learning rate 1e-4, L2 penalty
    2e-5, batch 16 x 2, 30 epochs, and the epoch of the best validation accuracy.

Deviations and our choices
    The recipe's learning rate goes up and down between 1e-6 and a maximum that falls from 1e-4. Here it is constant, or what
    ``optim`` says.
    Padding. SpeechBrain masks it in the means over time, but its convolutions read whatever follows a clip's end, and its
    relative lengths are rounded, which lets a padded frame in for some lengths. Here every convolution gets each clip
    mirrored at the clip's own end, as SpeechBrain mirrors the end of the batch, and lengths are stated half a frame short:
    the logits of a clip are those of ``ECAPA_TDNN`` on the clip alone. A clip of fewer than five frames, for which
    SpeechBrain's mirror is too small, is mirrored several times.
    In training the batch-norm statistics of frames are taken over the padded batch, as in SpeechBrain, but the padding is
    mirrored signal instead of silence. Those of the pooled vectors need two clips; a batch of one uses the running ones.
    ``Fbank`` puts its floor 80 dB below the loudest frame of all that it is given, so it is given each clip by itself. At
    other rates than 16 kHz its transform is as long as its window of 25 ms.
    Evaluation has no margin, neither in the logits nor in val/loss.
    Importing SpeechBrain allows TF32 for every model of the process and switches TorchScript's profiling off. This is declined
    through its own variable SB_DISABLE_QUIRKS, unless that is set already.
    ``hop``, the widths and ``dropout`` (SpeechBrain's, which the recipe leaves at 0) are arguments for corpora that are smaller
    than IEMOCAP.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.data import Batch
from ser_zoo.encoders.speechbrain import decline_quirks
from ser_zoo.errors import SERZooError
from ser_zoo.features import Frames, FrontEnd
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import expect_between, expect_multiple
from ser_zoo.models.optim import Optim

WINDOW = 0.025  # seconds, SpeechBrain's default
KERNELS, DILATIONS = (5, 3, 3, 3, 1), (1, 2, 3, 4, 1)  # of the first layer, the three blocks and the aggregation
REACH = 4  # frames that a convolution reads past a clip's end: the largest dilation * (kernel - 1) / 2


def prepare_speechbrain() -> None:
    """What has to be done before SpeechBrain is imported.

    Raises:
        SERZooError: it is not installed.
    """
    if importlib.util.find_spec("speechbrain") is None:
        raise SERZooError(
            "ecapa is the network of the package speechbrain, which is not installed. Install it with "
            "pip install 'ser-zoo[speechbrain]'."
        )
    decline_quirks()


class CentredFbank(nn.Module):
    """SpeechBrain's log-mel filter banks, less their mean over each clip.

    Args:
        sample_rate: Hz of the waveforms.
        mels: bands.
        hop: seconds between frames.
    """

    def __init__(self, sample_rate: int, mels: int, hop: float) -> None:
        super().__init__()
        prepare_speechbrain()
        from speechbrain.lobes.features import Fbank

        self.settings = f"{sample_rate}, {mels}, {hop}"
        self.fbank: nn.Module = Fbank(
            sample_rate=sample_rate,
            n_fft=round(WINDOW * sample_rate),
            n_mels=mels,
            win_length=1000 * WINDOW,  # this and the hop in milliseconds
            hop_length=1000 * hop,
        )

    def extra_repr(self) -> str:
        """Every setting, by which kept values are told apart."""
        return self.settings

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """(B, T) waveforms, (B,) samples -> (B, T // hop + 1, mels) in dB."""
        clips = [self.fbank(row[None, :length])[0] for row, length in zip(waveforms, lengths.tolist(), strict=True)]
        counts = torch.tensor([len(clip) for clip in clips], device=waveforms.device)
        return Frames(pad_sequence([clip - clip.mean(0) for clip in clips], batch_first=True), counts)


class EcapaNetwork(nn.Module):
    """The network; the arguments are those of ``Ecapa``."""

    def __init__(
        self,
        classes: int,
        sample_rate: int,
        hop: float,
        mels: int,
        channels: int,
        res2net_scale: int,
        se_channels: int,
        attention_channels: int,
        embedding: int,
        dropout: float,
        scale: float,
    ) -> None:
        super().__init__()
        self.front_end = FrontEnd(CentredFbank(sample_rate, mels, hop))
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
        from speechbrain.nnet.CNN import Conv1d

        self.scale = scale
        self.ecapa = ECAPA_TDNN(
            mels,
            lin_neurons=embedding,
            channels=[channels] * 4 + [3 * channels],
            kernel_sizes=list(KERNELS),
            dilations=list(DILATIONS),
            attention_channels=attention_channels,
            res2net_scale=res2net_scale,
            se_channels=se_channels,
            dropout=dropout,
        )
        self.classifier: nn.Module = Classifier(embedding, out_neurons=classes)
        self._mirror: Tensor | None = None  # while the network runs, the index that mirrors each clip of the batch
        for module in self.ecapa.modules():
            if isinstance(module, Conv1d) and module.kernel_size > 1:
                module.register_forward_pre_hook(self._mirror_ends)

    def forward(self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None = None) -> Tensor:
        """(B, T) waveforms, (B,) samples -> logits (B, C); ``frames`` is the front end's output if it is known."""
        return self.scale * self.cosines(waveforms, lengths, frames)

    def cosines(self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None = None) -> Tensor:
        """Cosines (B, C) between each clip's embedding and the classes'."""
        ((values, counts),) = self.front_end(waveforms, lengths) if frames is None else frames
        values = F.pad(values, (0, 0, 0, REACH))
        self._mirror = mirror_index(counts, values.shape[1])
        self.ecapa.asp_bn.train(self.training and len(values) > 1)
        embeddings = self.ecapa(values, (counts - 0.5) / values.shape[1])
        self._mirror = None
        # In float32 under any precision: half of it is a tenth of a logit once it is scaled.
        with torch.autocast(values.device.type, enabled=False):
            cosines: Tensor = self.classifier(embeddings.float())[:, 0]
        return cosines

    def _mirror_ends(self, module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        assert self._mirror is not None, "the layers run inside the network only"
        (values,) = inputs
        return values.gather(2, self._mirror[:, None].expand(-1, values.shape[1], -1))


def mirror_index(counts: Tensor, frames: int) -> Tensor:
    """Where to read a clip continued by its mirror image: (B,) frames -> (B, frames), 0 1 2 3 2 1 0 1 ... of four."""
    period = (2 * (counts - 1)).clamp(min=1)[:, None]
    steps = torch.arange(frames, device=counts.device) % period
    return torch.minimum(steps, period - steps)


class Ecapa(SERModule):
    """SpeechBrain's ECAPA-TDNN on log-mel filter banks.

    Args:
        labels: class names in the order of the outputs.
        hop: seconds between frames.
        mels: bands of the filter bank.
        channels: width of the first layer and the three blocks; their aggregation is three times as wide.
        res2net_scale: parts into which a block's channels are split for its chain of convolutions.
        se_channels: hidden width of the squeeze-and-excitation.
        attention_channels: hidden width of the attention over time.
        embedding: width of the embedding.
        dropout: of whole channels after the first layer, after those around each Res2Net chain and after the aggregation; not
            in the attention and not of the embedding.
        margin: added to the angle to the true class in training, in radians.
        scale: of the cosines that are the logits.
        sample_rate: Hz.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a number makes no sense, or ``channels`` cannot be divided by ``res2net_scale``.
    """

    name: ClassVar[str] = "ecapa"
    published: ClassVar[Mapping[str, object]] = {
        "data.batch_size": 16,
        "trainer.max_epochs": 30,
        "trainer.accumulate_grad_batches": 2,
        "monitor": "val/wa",
    }

    def __init__(
        self,
        labels: Sequence[str],
        hop: float = 0.01,
        mels: int = 80,
        channels: int = 512,
        res2net_scale: int = 8,
        se_channels: int = 128,
        attention_channels: int = 64,
        embedding: int = 96,
        dropout: float = 0.0,
        margin: float = 0.2,
        scale: float = 30.0,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=1e-4, optimizer="adam", weight_decay=2e-5),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        self.save_hyperparameters()
        expect_between(1, mels=mels, channels=channels, res2net_scale=res2net_scale, se_channels=se_channels)
        expect_between(1, attention_channels=attention_channels, embedding=embedding)
        expect_between(0, 1, dropout=dropout)
        expect_between(0, margin=margin, scale=scale)
        expect_between(1 / sample_rate, hop=hop)
        expect_multiple(res2net_scale, "the number of parts (--model.res2net_scale)", channels=channels)
        self.network: EcapaNetwork = EcapaNetwork(
            classes=len(labels),
            sample_rate=sample_rate,
            hop=hop,
            mels=mels,
            channels=channels,
            res2net_scale=res2net_scale,
            se_channels=se_channels,
            attention_channels=attention_channels,
            embedding=embedding,
            dropout=dropout,
            scale=scale,
        )
        from speechbrain.nnet.losses import AdditiveAngularMargin

        self.angular_margin: nn.Module = AdditiveAngularMargin(margin, scale)

    def loss(self, batch: Batch) -> Tensor:
        """What ``optim`` says, of logits with the margin; evaluation has none."""
        cosines = self.network.cosines(**self.inputs(batch))
        shares = batch.labels if batch.labels.dim() == 2 else F.one_hot(batch.labels, len(self.labels)).to(cosines.dtype)
        return self.criterion(self.angular_margin(cosines, shares), batch.labels)
