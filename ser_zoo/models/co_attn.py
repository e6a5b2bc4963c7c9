"""co_attn: a spectrogram and MFCC decide together how much each frame of a pre-trained speech encoder counts.

Source
    Zou, Si, Chen, Rajan, Chng: "Speech Emotion Recognition with Co-Attention based Multi-level Acoustic Information",
    ICASSP 2022, arXiv 2203.15326 (CA-MSER), and the authors' released code, from which every layer and figure here is taken.

Equations (X: spectrogram image, M: MFCC, w_t: the encoder's frames; dropout before every W but W_3)
    s = ReLU(W_s pool(AlexNet(X)))                    m = ReLU(W_m pool(BiLSTM(M / |M|)))
    a = softmax_t(e_t),  e_t = (W_a [s; m]) w_t / sqrt(D)
    w = ReLU(W_w sum_t a_t w_t)                       y = W_3 ReLU(W_2 ReLU(W_1 [s; m; w]))

Known from the released code (``faithful=True``)
    Pre-emphasis 0.97 of everything, the encoder's input included. Spectrogram: 800 points, 40 ms Hamming window every 10 ms, dB
    below the utterance's loudest value, 80 dB deep, the 200 bins up to 4 kHz. 40 MFCC (2048 points, 128 HTK mel bands, each
    divided by its width) every 10 ms. Segments of 300 frames (3 s, 48 000 samples) without overlap, as many as the frames fill,
    so that 3.0 s (301 frames) are two. The last one is filled up: the spectrogram with 0 dB, its loudest value, and the MFCC
    with zeros at the end, but the waveform with zeros at the START; the encoder reads the filled segment, normalised but not
    masked. Image: each bin to [0, 1] by its range over the training segments, filling included; clipped; cut to 8 bits; high
    frequencies on top; three equal channels of 256 x 384 pixels; ImageNet mean and deviation. ``pool`` is AlexNet's average to
    6 x 6 for s, and all 300 states in one row of 153 600 for m. a = ReLU(W_a [s; m]): 149 values, one per frame of wav2vec 2.0
    in 3 s, blind to what the frame holds; a softmax stands commented out beside it. Training: cross-entropy of segments; an
    utterance gets the mean log-softmax of its segments. wav2vec2-base-960h, last hidden state, is fine-tuned as a whole, as is
    AlexNet with ImageNet weights (its classifier is computed but not used, and left out here). AdamW, learning rate 1e-5, 64
    segments (some 32 utterances of IEMOCAP, hence the default), at most 100 epochs, patience 8; the epoch of the best WA + UA,
    which are those of the speaker that is then tested.

Deviations and our choices
    The default takes clips of any length, whole, and padding changes nothing. A frame's weight depends on the frame itself, and
    the softmax that the word attention implies runs over as many frames as there are; ``softmax=False`` has the ReLU of the
    released code instead. ``pool`` is the mean and the maximum over time, of BiLSTM states for m, and of each row (frequency)
    and channel of AlexNet's last map for s. The image is not resized and not cut to 8 bits, the range of a bin is that of valid
    frames, and an image of less than 63 frames, the least that AlexNet's pooling needs, is continued with nothing. The encoder
    reads the waveform without pre-emphasis. The mel bands of the MFCC are not divided by their widths, which adds a constant to
    each coefficient.
    Without a file of ImageNet weights (``alexnet``) the convolutions start from the initialisation of He et al. 2015; training
    says so if they have AlexNet's size. The encoder's SpecAugment and layer drop, which the released training leaves switched
    on, are off. The image is enlarged in one step, not in two rounded ones: one grey level of difference here and there.
    Framing continues a clip with zeros, where the release (librosa 0.8.1) mirrors it: two frames of the spectrogram and up to
    seven of the MFCC differ at either end. Clips are cut at 30 s (``data.max_seconds``); the release segments whole utterances.
    The best ``val/ua`` chooses the epoch, unless ``monitor`` names another metric; WA + UA is none of them.
    In the faithful form the encoder sees filled segments, so that features kept by utterance do not hold: it always runs
    live, frozen or not. It must give 149 frames in 3 s: wav2vec 2.0 and its relatives do, Whisper does not.
    ``spectrogram_scaling="clip"`` and ``mfcc_scaling="clip"`` take each band's mean and deviation from the clip itself, which
    removes much of speaker and channel. More than one encoder layer is mixed by learned softmax weights.
    ``state_scaling`` gives each dimension of the encoder's states zero mean and unit variance over the training side, or over
    each frame: without it a few dimensions of Whisper decide all weights. ``batch_norm`` scales the sum over the frames: sums
    differ far less between clips than frames do, and are learned slowly as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Literal, TypeVar

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import preemphasis

from ser_zoo.data import Batch
from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.errors import EncoderError, SERZooError, SERZooWarning
from ser_zoo.features import MFCC, Frames, FrontEnd, Spectrogram, frame_mask, normalise_per_clip
from ser_zoo.features.spectral import AMIN, TOP_DB, MelNorm
from ser_zoo.models.base import SERModule
from ser_zoo.models.checks import DEEPEST, expect_between
from ser_zoo.models.layers import LayerMix, MaskedBiRNN, PooledBatchNorm, Scaler, StateScaling, masked_max, masked_mean
from ser_zoo.models.optim import Optim

SpectrogramScaling = Literal["training", "clip"]
MFCCScaling = Literal["frame", "clip"]
Size = TypeVar("Size", int, Tensor)
EMPHASIS = 0.97
COEFFICIENTS = 40
HOP = 0.01  # seconds
HIGHEST = 4000  # Hz in the spectrogram
# The only values that the released network has.
RELEASED = {
    "hop": HOP,
    "state_scaling": "none",
    "batch_norm": False,
    "spectrogram_scaling": "training",
    "mfcc_scaling": "frame",
}
SEGMENT = 300  # frames
SEGMENT_WEIGHTS = 149  # frames that wav2vec 2.0 gives for a segment
IMAGE_HEIGHT = 256  # pixels
ALEXNET_CHANNELS = 64  # of the first convolution, where ImageNet weights fit
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue; torchvision's


class NarrowSpectrogram(Spectrogram):
    """Log power spectrogram up to 4 kHz in dB below the loudest value of the clip: 0 to -80.

    50 ms are transformed, of which a Hamming window of 40 ms is not zero.

    Args:
        sample_rate: Hz of the waveforms, at least 8000.
        hop: seconds between frames.
    """

    def __init__(self, sample_rate: int, hop: float) -> None:
        super().__init__(sample_rate, round(0.05 * sample_rate), hop, 0.04, emphasis=EMPHASIS, shape=torch.hamming_window)
        self.size = round(HIGHEST * 0.05)  # bins, 20 Hz each

    def decibel(self, power: Tensor) -> Tensor:
        """(B, N, 401) power, zero beyond each clip's end -> (B, N, 200) dB below its loudest value, looked for in all bins."""
        loudest = power.amax((1, 2), keepdim=True).clamp(min=AMIN).log10() * 10
        level = power[..., : self.size].clamp(min=AMIN).log10_().mul_(10)
        return level.clamp_(min=loudest - TOP_DB).sub_(loudest)


class MinMax(nn.Module):
    """[0, 1] by the range of the training side, like scikit-learn's ``MinMaxScaler`` with ``clip``.

    Until it is fitted it takes the range that the spectrogram can have.

    Args:
        size: columns, each of which is scaled by itself.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.full((size,), -80.0))
        self.register_buffer("high", torch.zeros(size))

    @torch.no_grad()
    def fit(self, blocks: Iterable[Tensor]) -> None:
        """Take the range of (N, size) blocks of rows, N > 0."""
        ranges = [torch.stack(block.aminmax(dim=0)) for block in blocks]
        self.low.copy_(torch.stack(ranges)[:, 0].amin(0))
        self.high.copy_(torch.stack(ranges)[:, 1].amax(0))

    def forward(self, values: Tensor) -> Tensor:
        """(..., size) -> (..., size)."""
        extent = self.high - self.low
        return ((values - self.low) / torch.where(extent > 0, extent, 1.0)).clamp(0, 1)


class AlexNet(nn.Module):
    """The convolutions of AlexNet (Krizhevsky 2014, arXiv 1404.5997, as torchvision has them), for images of any width.

    Args:
        channels: of the first convolution; the others have 3, 6, 4 and 4 times as many.

    Attributes:
        channels: of the maps.
        shortest: height and width that an image must have.
    """

    NAMES = ("features.0", "features.3", "features.6", "features.8", "features.10")  # torchvision's
    POOLED = (0, 1, 4)  # convolutions that a maximum over 3 x 3 in steps of 2 follows

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, channels, 11, stride=4, padding=2),
                nn.Conv2d(channels, 3 * channels, 5, padding=2),
                nn.Conv2d(3 * channels, 6 * channels, 3, padding=1),
                nn.Conv2d(6 * channels, 4 * channels, 3, padding=1),
                nn.Conv2d(4 * channels, 4 * channels, 3, padding=1),
            ]
        )
        self.channels = 4 * channels
        self.shortest = next(size for size in range(1, 1000) if self.rows(size) > 0)
        for convolution in self._layers():
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(self, images: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of B images.

        Args:
            images: (B, 3, H, W), zero beyond each width; H and W at least ``shortest``.
            widths: (B,) valid columns, at least ``shortest``.

        Returns:
            (B, 4 * channels, H', W') zero beyond the valid columns, and (B,) valid columns.
        """
        images = images.contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU
        for number, convolution in enumerate(self._layers()):
            images = convolution(images)
            widths = self._size(number, widths)
            if number in self.POOLED:  # before the ReLU, which it may change places with: there is less to do then
                images = F.max_pool2d(images, 3, 2)
            # An image alone has zeros beyond its edge before each convolution: so must it have in a batch.
            images = images.relu() * frame_mask(widths, images.shape[-1])[:, None, None]
        return images, widths

    def rows(self, height: int) -> int:
        """H' of images of that height."""
        for number in range(len(self.NAMES)):
            height = self._size(number, height)
        return height

    def load(self, source: str) -> None:
        """Take the weights of a file; see `read_weights`.

        Raises:
            EncoderError: there is no such file, or it holds something else.
        """
        weights = read_weights(source)
        state = {}
        for number, name in enumerate(self.NAMES):
            for part in ("weight", "bias"):
                key, target = f"{name}.{part}", f"convolutions.{number}.{part}"
                if key not in weights:
                    found = ", ".join(list(weights)[:3]) or "nothing"
                    raise EncoderError(
                        f"{source} does not hold AlexNet's weights: it has no {key} (it holds {found} ...). Expected the "
                        "state dict of torchvision.models.alexnet; pass it with --model.alexnet."
                    )
                expected = tuple(self.get_parameter(target).shape)
                if tuple(weights[key].shape) != expected:
                    raise EncoderError(
                        f"{source} does not fit: its {key} has shape {tuple(weights[key].shape)}, expected {expected}. "
                        f"ImageNet weights need --model.channels {ALEXNET_CHANNELS}; leave --model.alexnet out to train "
                        "another size from scratch."
                    )
                state[target] = weights[key]
        self.load_state_dict(state)

    def _size(self, number: int, size: Size) -> Size:
        """Height or width after convolution ``number`` and the pooling that follows it."""
        convolution = self._layers()[number]
        size = (size + 2 * int(convolution.padding[0]) - convolution.kernel_size[0]) // convolution.stride[0] + 1
        return (size - 3) // 2 + 1 if number in self.POOLED else size

    def _layers(self) -> list[nn.Conv2d]:
        return [layer for layer in self.convolutions if isinstance(layer, nn.Conv2d)]


def read_weights(source: str) -> dict[str, Tensor]:
    """A state dict of a local file, or of ``owner/name:file`` on the Hugging Face hub.

    Raises:
        EncoderError: there is no such file, or it cannot be read as safetensors (.safetensors) or as tensors (.pth, .pt).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _weights_file(source)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix not in (".pth", ".pt"):
            raise ValueError("its name does not end in .safetensors, .pth or .pt")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
            raise ValueError("it holds something else than tensors by name")
        return dict(content)
    except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        raise EncoderError(
            f"{source} cannot be read as weights: {str(error).strip().splitlines()[0]}. Expected a .safetensors file, or a "
            ".pth file that holds tensors only, of torchvision.models.alexnet; pass it with --model.alexnet."
        ) from error


def _weights_file(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    repository, colon, name = source.partition(":")
    if not colon or not name or repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise EncoderError(
            f"AlexNet weights not found: there is no file {path.absolute()}. Expected a file with the state dict of "
            "torchvision.models.alexnet, or owner/name:file on the Hugging Face hub. Pass it with --model.alexnet."
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name, etag_timeout=10))
    except Exception as error:  # which HTTP library's errors these are depends on huggingface_hub's version
        raise EncoderError(
            f"AlexNet weights not found: {name} of {repository} is neither in the local Hugging Face cache nor can it be "
            f"had from the hub ({str(error).strip().splitlines()[0]}). Download it on a machine with access and pass "
            "--model.alexnet FILE."
        ) from error


class SpectrogramBranch(nn.Module):
    """s of spectrograms of any length.

    Args:
        bins: of the spectrogram.
        channels: of AlexNet's first convolution.
        width: of s.
        dropout: before the linear layer.
        scaling: by the range of the training side, then ImageNet's mean and deviation, or by the clip's own mean and deviation.
    """

    def __init__(self, bins: int, channels: int, width: int, dropout: float, scaling: SpectrogramScaling) -> None:
        super().__init__()
        self.scale = MinMax(bins) if scaling == "training" else None
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)
        self.alexnet = AlexNet(channels)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(self._pooled(bins), width)

    def forward(self, frames: Frames) -> Tensor:
        """(B, T, bins) in dB -> (B, width)."""
        pooled = self._pool(*self.alexnet(*self._images(frames)))
        summary: Tensor = self.project(self.dropout(pooled)).relu()
        return summary

    def _images(self, frames: Frames) -> tuple[Tensor, Tensor]:
        """(B, 3, bins, T) images, high frequencies on top, and their (B,) valid columns."""
        if self.scale is None:
            images = _upright(normalise_per_clip(frames).values).expand(-1, 3, -1, -1)
        else:
            images = (_upright(self.scale(frames.values)) - self.mean) / self.deviation
        shortest = self.alexnet.shortest
        images = images * frame_mask(frames.lengths, images.shape[-1])[:, None, None]
        return F.pad(images, (0, max(0, shortest - images.shape[-1]))), frames.lengths.clamp(min=shortest)

    def _pool(self, maps: Tensor, widths: Tensor) -> Tensor:
        """(B, C, H', W') -> (B, 2 * C * H')."""
        columns = maps.flatten(1, 2).transpose(1, 2)
        mask = frame_mask(widths, columns.shape[1])
        return torch.cat([masked_mean(columns, mask), masked_max(columns, mask)], dim=-1)

    def _pooled(self, bins: int) -> int:
        return 2 * self.alexnet.channels * self.alexnet.rows(bins)


class ReleasedSpectrogramBranch(SpectrogramBranch):
    """s of segments as released: images of 8 bits and 256 x 384 pixels, and AlexNet's own pooling."""

    POOL = 6  # rows and columns

    def _images(self, frames: Frames) -> tuple[Tensor, Tensor]:
        assert self.scale is not None, "segments are scaled by the training side"
        grey = _upright((self.scale(frames.values) * 255).floor())
        size = (IMAGE_HEIGHT, IMAGE_HEIGHT * grey.shape[-1] // grey.shape[-2])
        grey = F.interpolate(grey, size, mode="bilinear").round() / 255
        return (grey - self.mean) / self.deviation, torch.full_like(frames.lengths, size[1])

    def _pool(self, maps: Tensor, widths: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(maps, self.POOL).flatten(1)

    def _pooled(self, bins: int) -> int:
        return self.alexnet.channels * self.POOL**2


def _upright(values: Tensor) -> Tensor:
    """(B, T, bins) -> (B, 1, bins, T) with the highest bin in the first row."""
    return values.flip(-1).transpose(1, 2)[:, None]


class MFCCBranch(nn.Module):
    """m of MFCC of any length.

    Args:
        hidden: width per direction of the BiLSTM.
        layers: its layers.
        lstm_dropout: between them.
        width: of m.
        dropout: before the linear layer.
        scaling: each frame to length 1, or each coefficient to zero mean and unit variance over the clip.
    """

    def __init__(self, hidden: int, layers: int, lstm_dropout: float, width: int, dropout: float, scaling: MFCCScaling) -> None:
        super().__init__()
        self.scaling = scaling
        self.lstm = MaskedBiRNN(COEFFICIENTS, hidden, layers, lstm_dropout)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(self._pooled(2 * hidden), width)

    def forward(self, frames: Frames) -> Tensor:
        """(B, T, 40) -> (B, width)."""
        scaled = F.normalize(frames.values, dim=-1) if self.scaling == "frame" else normalise_per_clip(frames).values
        summary: Tensor = self.project(self.dropout(self._pool(Frames(scaled, frames.lengths)))).relu()
        return summary

    def _pool(self, frames: Frames) -> Tensor:
        """(B, T, 40) -> (B, 4 * hidden)."""
        states = self.lstm(*frames)
        mask = frame_mask(frames.lengths, states.shape[1])
        return torch.cat([masked_mean(states, mask), masked_max(states, mask)], dim=-1)

    def _pooled(self, size: int) -> int:
        return 2 * size


class ReleasedMFCCBranch(MFCCBranch):
    """m of segments as released: the states of all 300 frames, filling included, in one row."""

    def _pool(self, frames: Frames) -> Tensor:
        states: Tensor = self.lstm(frames.values, None)
        return states.flatten(1)

    def _pooled(self, size: int) -> int:
        return SEGMENT * size


class CoAttention(nn.Module):
    """w: the encoder's frames, weighed by what s and m make of them.

    Args:
        size: D of the encoder's frames.
        width: of s, m and w.
        dropout: before each linear layer.
        softmax: over the frames; False is a ReLU.
        batch_norm: normalise the sum of the frames, over the training batch.
    """

    def __init__(self, size: int, width: int, dropout: float, softmax: bool, batch_norm: bool) -> None:
        super().__init__()
        self.softmax = softmax
        self.score = nn.Linear(2 * width, self._scores(size))
        self.norm = PooledBatchNorm(size) if batch_norm else nn.Identity()
        self.semantic = nn.Linear(size, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, summaries: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """(B, 2 * width) s and m, (B, T, D), (B, T) valid frames -> (B, width)."""
        weights = self.time_weights(summaries, states, mask)
        pooled = self.norm((weights[:, None] @ states)[:, 0])
        semantic: Tensor = self.semantic(self.dropout(pooled)).relu()
        return semantic

    def time_weights(self, summaries: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """The weights a (B, T); the arguments are those of ``forward``."""
        return self.weights(self.score(self.dropout(summaries)), states, mask)

    def weights(self, scores: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """(B, D) queries, (B, T, D), (B, T) -> a (B, T), zero where a frame is not valid."""
        return self._normalise((states @ scores[..., None])[..., 0] / states.shape[-1] ** 0.5, mask)

    def _normalise(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores.masked_fill(~mask, float("-inf")).softmax(-1) if self.softmax else scores.relu() * mask

    def _scores(self, size: int) -> int:
        return size


class ReleasedCoAttention(CoAttention):
    """w of segments as released: one weight per frame number, whatever the frame holds."""

    def weights(self, scores: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """(B, 149), (B, 149, D), (B, 149) -> a (B, 149).

        Raises:
            SERZooError: there are not 149 frames.
        """
        if states.shape[1] != SEGMENT_WEIGHTS:
            raise SERZooError(
                f"co_attn: the encoder gives {states.shape[1]} frames for a segment of 3 s; --model.faithful has "
                f"{SEGMENT_WEIGHTS} weights. Use wav2vec 2.0, HuBERT, WavLM or another with their convolutions, or leave "
                "--model.faithful out."
            )
        return self._normalise(scores, mask)

    def _scores(self, size: int) -> int:
        return SEGMENT_WEIGHTS


class CoAttnNetwork(nn.Module):
    """The network for clips of any length; the arguments are those of ``CoAttn``."""

    SPECTROGRAM, MFCC, ATTENTION = SpectrogramBranch, MFCCBranch, CoAttention
    MEL_NORM: ClassVar[MelNorm] = None

    def __init__(
        self,
        classes: int,
        encoder: SpeechEncoder,
        sample_rate: int,
        hop: float,
        state_scaling: StateScaling,
        channels: int,
        spectrogram_scaling: SpectrogramScaling,
        lstm_hidden: int,
        lstm_layers: int,
        lstm_dropout: float,
        mfcc_scaling: MFCCScaling,
        softmax: bool,
        batch_norm: bool,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        spectrogram = NarrowSpectrogram(sample_rate, hop)
        self.hop = spectrogram.hop
        self.front_end = FrontEnd(spectrogram, MFCC(sample_rate, COEFFICIENTS, hop, emphasis=EMPHASIS, norm=self.MEL_NORM))
        self.mix = LayerMix(len(encoder.layers), encoder.width, state_scaling)
        self.spectrogram = self.SPECTROGRAM(spectrogram.size, channels, width, dropout, spectrogram_scaling)
        self.mfcc = self.MFCC(lstm_hidden, lstm_layers, lstm_dropout, width, dropout, mfcc_scaling)
        self.attention = self.ATTENTION(encoder.width, width, dropout, softmax, batch_norm)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(3 * width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

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
            encoded: what ``encode`` gives for these waveforms if it is known; None computes it.
            frames: the front end's output, likewise.
        """
        spectrogram, mfcc = self.front_end(waveforms, lengths) if frames is None else frames
        return self._fuse(spectrogram, mfcc, self.encode(waveforms, lengths) if encoded is None else encoded)

    def time_weights(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        encoded: EncoderOutput | None = None,
        frames: Sequence[Frames] | None = None,
    ) -> Frames | None:
        """The weights a (B, T, 1) of the encoder's frames; the arguments are those of ``forward``."""
        spectrogram, mfcc = self.front_end(waveforms, lengths) if frames is None else frames
        encoded = self.encode(waveforms, lengths) if encoded is None else encoded
        states, mask = self.mix(encoded.states), frame_mask(encoded.lengths, encoded.states.shape[2])
        return Frames(self.attention.time_weights(self._summaries(spectrogram, mfcc), states, mask)[..., None], encoded.lengths)

    def encode(self, waveforms: Tensor, lengths: Tensor) -> EncoderOutput:
        """The encoder's output for (B, T) waveforms and (B,) samples."""
        encoded: EncoderOutput = self.encoder(waveforms, lengths)
        return encoded

    def spectrogram_rows(self, spectrogram: Frames) -> Tensor:
        """(N, bins) frames by whose range a spectrogram is scaled."""
        return spectrogram.values[frame_mask(spectrogram.lengths, spectrogram.values.shape[1])]

    def _fuse(self, spectrogram: Frames, mfcc: Frames, encoded: EncoderOutput) -> Tensor:
        states = self.mix(encoded.states)
        summaries = self._summaries(spectrogram, mfcc)
        semantic = self.attention(summaries, states, frame_mask(encoded.lengths, states.shape[1]))
        logits: Tensor = self.head(torch.cat([summaries, semantic], dim=-1))
        return logits

    def _summaries(self, spectrogram: Frames, mfcc: Frames) -> Tensor:
        """Of both features s and m, (B, 2 * width)."""
        return torch.cat([self.spectrogram(spectrogram), self.mfcc(mfcc)], dim=-1)


class ReleasedNetwork(CoAttnNetwork):
    """The released network: segments of 3 s, of which an utterance is the average."""

    SPECTROGRAM, MFCC, ATTENTION = ReleasedSpectrogramBranch, ReleasedMFCCBranch, ReleasedCoAttention
    MEL_NORM = "slaney"

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        encoded: EncoderOutput | None = None,
        frames: Sequence[Frames] | None = None,
    ) -> Tensor:
        """(B, C): the mean log-softmax of each clip's segments; the arguments are those of ``CoAttnNetwork``."""
        logits, used = self.segment_logits(waveforms, lengths, encoded, frames)
        scores = logits.float().log_softmax(-1)
        placed = scores.new_zeros(*used.shape, scores.shape[-1])
        placed[used] = scores
        return placed.sum(1) / used.sum(1, keepdim=True)

    def time_weights(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        encoded: EncoderOutput | None = None,
        frames: Sequence[Frames] | None = None,
    ) -> None:
        """None: its weights are those of segments, the last of which is filled up at the start, not of the clip's time."""

    def segment_logits(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        encoded: EncoderOutput | None = None,
        frames: Sequence[Frames] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(S, C) logits of all segments, clip by clip, and (B, most segments) bool: which segments a clip has."""
        spectrogram, mfcc = self.front_end(waveforms, lengths) if frames is None else frames
        encoded = self.encode(waveforms, lengths) if encoded is None else encoded
        (spectrogram, used), (mfcc, _) = self._segments(spectrogram), self._segments(mfcc)
        return self._fuse(spectrogram, mfcc, encoded), used

    def encode(self, waveforms: Tensor, lengths: Tensor) -> EncoderOutput:
        """The encoder's output for the S segments of (B, T) waveforms, (B,) samples."""
        samples = SEGMENT * self.hop
        emphasised = preemphasis(waveforms.float(), EMPHASIS) * frame_mask(lengths, waveforms.shape[1])
        segments, used = _cut(emphasised, _count(lengths // self.hop + 1), samples)
        starts = torch.arange(used.shape[1], device=lengths.device) * samples
        valid = (lengths[:, None] - starts).clamp(0, samples)[used]
        # Filled up at the start: what is valid moves to the end.
        source = torch.arange(samples, device=lengths.device) - (samples - valid)[:, None]
        segments = segments.gather(1, source.clamp(min=0)) * (source >= 0)
        encoded: EncoderOutput = self.encoder(segments, torch.full_like(valid, samples))
        return encoded

    def spectrogram_rows(self, spectrogram: Frames) -> Tensor:
        """(N, bins) frames by whose range a spectrogram is scaled: those of segments, filling included."""
        return self._segments(spectrogram)[0].values.flatten(0, 1)

    def _segments(self, frames: Frames) -> tuple[Frames, Tensor]:
        """(S, 300, D), all of them valid, and which a clip has. What lies beyond a clip is zero: 0 dB, and MFCC of zero."""
        values, used = _cut(frames.values, _count(frames.lengths), SEGMENT)
        return Frames(values, torch.full((len(values),), SEGMENT, device=values.device)), used


def _count(frames: Tensor) -> Tensor:
    """(B,) frames -> (B,) segments."""
    return (frames + SEGMENT - 1) // SEGMENT


def _cut(values: Tensor, counts: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Consecutive pieces of each row of a batch.

    Args:
        values: (B, T, ...), zero beyond each row's end.
        counts: (B,) pieces of each row.
        size: steps of a piece.

    Returns:
        (S, size, ...) all rows' pieces, filled up with zeros at the end, and (B, most pieces) bool: which there are.
    """
    most = int(counts.max())
    values = values[:, : most * size]
    filled = values.new_zeros(len(values), most * size, *values.shape[2:])
    filled[:, : values.shape[1]] = values
    used = frame_mask(counts, most)
    return filled.view(len(values), most, size, *values.shape[2:])[used], used


class CoAttn(SERModule):
    """Co-attention of spectrogram and MFCC over the frames of a pre-trained encoder.

    Args:
        labels: class names in the order of the outputs.
        encoder: hub name or folder of a speech encoder; pico is in the package.
        layers: hidden states that are used; more than one are mixed by learned weights.
        finetune_from: first encoder block that is trained (1: all blocks; 0: the convolutions too); null: frozen.
        encoder_options: how the encoder is loaded, computed and trained.
        state_scaling: of the encoder's states before they are mixed: over the training side, over each frame, or its tanh.
        faithful: the released network, on segments of 3 s.
        softmax: over the encoder's frames; false is a ReLU, whose weights do not sum to 1: over all frames of a clip their sum
            grows with its length, in the faithful network it is over the 149 of a segment. Default: true, but false in the
            faithful network.
        batch_norm: normalise the sum of the encoder's frames, over the training batch.
        hop: seconds between the frames of spectrogram and MFCC.
        channels: of AlexNet's first convolution; the others have 3, 6, 4 and 4 times as many.
        alexnet: file of torchvision's ImageNet weights (.safetensors or .pth), or owner/name:file on the hub; default: none,
            train from scratch.
        spectrogram_scaling: of each bin, by its range over the training side, or by the clip's mean and deviation.
        lstm_hidden: width per direction of the BiLSTM over MFCC.
        lstm_layers: its layers.
        lstm_dropout: between them.
        mfcc_scaling: each frame to length 1, or each coefficient by the clip's mean and deviation.
        width: of s, m, w and the head.
        dropout: before every linear layer but the last.
        sample_rate: Hz; that of the encoder, at least 8000.
        optim: loss, optimiser and schedule.

    Raises:
        SERZooError: a number makes no sense, or ``faithful`` is asked for with a hop, a scaling, a normalisation or a change of
            features that the released network has not.
    """

    name: ClassVar[str] = "co_attn"
    published: ClassVar[Mapping[str, object]] = {"data.batch_size": 32, "trainer.max_epochs": 100, "patience": 8}

    def __init__(
        self,
        labels: Sequence[str],
        encoder: str = "facebook/wav2vec2-base-960h",
        layers: Sequence[int] = (-1,),
        finetune_from: int | None = 0,
        encoder_options: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen, so safe to share
        state_scaling: StateScaling = "none",
        faithful: bool = False,
        softmax: bool | None = None,
        batch_norm: bool = False,
        hop: float = 0.01,
        channels: int = 64,
        alexnet: str | None = None,
        spectrogram_scaling: SpectrogramScaling = "training",
        lstm_hidden: int = 256,
        lstm_layers: int = 2,
        lstm_dropout: float = 0.5,
        mfcc_scaling: MFCCScaling = "frame",
        width: int = 128,
        dropout: float = 0.1,
        sample_rate: int = 16_000,
        optim: Optim = Optim(lr=1e-5),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        self.save_hyperparameters()
        expect_between(1, channels=channels, lstm_hidden=lstm_hidden, width=width)
        expect_between(1, DEEPEST, lstm_layers=lstm_layers)
        expect_between(0, 1, lstm_dropout=lstm_dropout, dropout=dropout)
        expect_between(2 * HIGHEST, sample_rate=sample_rate)
        expect_between(1 / sample_rate, hop=hop)
        given = {
            "hop": hop,
            "state_scaling": state_scaling,
            "batch_norm": batch_norm,
            "spectrogram_scaling": spectrogram_scaling,
            "mfcc_scaling": mfcc_scaling,
        }
        if faithful and (unlike := {name: value for name, value in given.items() if value != RELEASED[name]}):
            expected, found = (", ".join(f"{name} {chosen[name]}" for name in unlike) for chosen in (RELEASED, given))
            raise SERZooError(f"co_attn: --model.faithful has {expected}; found {found}. Leave that out, or --model.faithful.")
        if faithful and self.optim.changes_features:
            raise SERZooError(
                "co_attn: mixup, linear_delta and masks (--model.optim) change the features of whole clips, but with "
                "--model.faithful the encoder reads segments of them. Leave one of the two out."
            )
        # To start from random weights is worth a word only where the source's would have fitted.
        self.unlike_source = alexnet is None and channels == ALEXNET_CHANNELS
        self.network: CoAttnNetwork = (ReleasedNetwork if faithful else CoAttnNetwork)(
            classes=len(labels),
            encoder=SpeechEncoder(encoder, layers, finetune_from, encoder_options),
            sample_rate=sample_rate,
            hop=hop,
            state_scaling=state_scaling,
            channels=channels,
            spectrogram_scaling=spectrogram_scaling,
            lstm_hidden=lstm_hidden,
            lstm_layers=lstm_layers,
            lstm_dropout=lstm_dropout,
            mfcc_scaling=mfcc_scaling,
            softmax=not faithful if softmax is None else softmax,
            batch_norm=batch_norm,
            width=width,
            dropout=dropout,
        )
        if alexnet is not None:
            self.network.spectrogram.alexnet.load(alexnet)

    def encode(self, batch: Batch) -> EncoderOutput:
        """The encoder's output for a batch; that of its segments in the faithful network, never kept."""
        if isinstance(self.network, ReleasedNetwork):
            return self.network.encode(batch.waveforms, batch.lengths)
        return super().encode(batch)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy (or what ``optim`` says) of clips; of segments in the faithful network."""
        if not isinstance(self.network, ReleasedNetwork):
            return super().loss(batch)
        logits, used = self.network.segment_logits(**self.inputs(batch))
        return self.criterion(logits, batch.labels.repeat_interleave(used.sum(1), dim=0))

    def on_fit_start(self) -> None:
        """Say where the network starts from weights that are not the source's."""
        begins = self._trained_on is None  # neither resumed nor trained before
        super().on_fit_start()
        if begins and self.unlike_source:
            rank_zero_warn(
                "co_attn: AlexNet's convolutions start from random weights; the source starts from ImageNet's. Pass a file of "
                "torchvision's with --model.alexnet, or choose a smaller network to train from scratch with --model.channels.",
                category=SERZooWarning,
            )

    def scalers(self) -> list[tuple[Scaler, Callable[[Batch], Tensor]]]:
        """With that of the spectrogram, where it is scaled by its range."""
        scale = self.network.spectrogram.scale
        return super().scalers() + ([] if scale is None else [(scale, self._spectrogram_rows)])

    def _spectrogram_rows(self, batch: Batch) -> Tensor:
        """(N, 200) rows of the spectrogram of a batch."""
        rows: Tensor = self.network.spectrogram_rows(self.frames(batch)[0])
        return rows

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out where AlexNet's weights came from: the trained ones are in the checkpoint, and need no file to load."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["hyper_parameters"]["alexnet"] = None

    @property
    def keeps_states(self) -> bool:
        """Not in the faithful network, which reads segments."""
        return not isinstance(self.network, ReleasedNetwork)
