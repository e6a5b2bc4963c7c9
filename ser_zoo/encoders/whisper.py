"""Whisper's encoder at a clip's real length.

Whisper was trained on windows of 30 s and transformers accepts nothing else, so that a clip of 2 s costs as
much as one of 30 s. Here the encoder runs on the clip alone, with as many of its positions as the clip has
frames, unless ``pad_to_30s`` asks for the official padding. Both give one frame per 20 ms of audio; the
values differ, because in the padded run every frame also attends to the silence.

Measured on 30 random clips of EMO-DB (3.0 s on average) with Whisper base, on one CPU thread, the
fastest of several runs: 0.11 s per clip at real length, 1.2 s padded (10 of the clips). Frames of
the two runs have a mean cosine similarity of 1.000, 0.997, 0.992, 0.986, 0.971, 0.965 and 0.940 in hidden
states 0 to 6; averages over a clip, 0.964 or more. In states 4 and 5 a few frames with norms up to about 30
times the median differ most: at real length nearly every clip inspected (7 of 8) has some, in the padded run
few have.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, section 2.2, and
https://github.com/openai/whisper (``whisper/audio.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser_zoo.encoders.attention import use_in
from ser_zoo.encoders.network import Network
from ser_zoo.features import frame_mask

if TYPE_CHECKING:
    from ser_zoo.encoders.checkpoint import Checkpoint

Lengths = TypeVar("Lengths", int, Tensor)


class WhisperNetwork(Network):
    """Log-mel spectrogram, two convolutions, fixed positions, blocks.

    A clip longer than the window of 30 s is cut into windows, each treated as a clip of its own, and their
    frames are put one after the other. That is this package's choice: Whisper itself decodes windows that
    follow its transcript.

    Args:
        checkpoint: of model type "whisper".
        layers: hidden states to return, from 0 to the number of blocks.
        pad_to_30s: run every clip in the official window of 30 s, then cut the frames beyond the clip.
    """

    def __init__(self, checkpoint: Checkpoint, layers: tuple[int, ...], pad_to_30s: bool) -> None:
        super().__init__()
        encoder, config, extractor = checkpoint.encoder, checkpoint.config, checkpoint.extractor
        use_in(encoder)
        self.layers, self.depth, self.width = layers, config.encoder_layers, config.d_model
        kept = max(layers)
        self.conv1, self.conv2 = encoder.conv1, encoder.conv2
        self.positions: nn.Embedding = encoder.embed_positions
        self.blocks = encoder.layers[:kept]
        self.norm: nn.Module | None = encoder.layer_norm if kept == self.depth else None
        self.dropout = nn.Dropout(config.dropout)
        self.hop: int = extractor.hop_length
        self.window: int = config.max_source_positions * 2 * self.hop
        self.mel = LogMel(extractor.mel_filters, extractor.n_fft, self.hop, self.window)
        self.pad_to_30s = pad_to_30s
        self.longest = 0 if pad_to_30s else config.max_source_positions
        self.description = {
            "family": "whisper",
            "heads": config.encoder_attention_heads,
            "activation": config.activation_function,
            "n_fft": extractor.n_fft,
            "hop": self.hop,
            "window": self.window,
            "pad_to_30s": pad_to_30s,
        }

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) samples to (B, L, ceil(T / 320), D) states; see `Network`."""
        batch, size = waveforms.shape
        windows = max(1, -(-size // self.window))
        if windows == 1:
            return self._window(waveforms, lengths)
        waveforms = functional.pad(waveforms, (0, windows * self.window - size))
        starts = torch.arange(windows, device=lengths.device) * self.window
        parts = (lengths[:, None] - starts).clamp(0, self.window).flatten()
        # Windows wholly beyond a clip are left out; every window but a clip's last is full, so that the
        # frames of a clip's windows stand one after the other without gaps.
        used = parts > 0
        states, frames = self._window(waveforms.view(batch * windows, self.window)[used], parts[used])
        full = states.new_zeros(batch * windows, *states.shape[1:])
        full[used] = states
        counts = torch.zeros_like(parts)
        counts[used] = frames
        full = full.view(batch, windows, *states.shape[1:]).transpose(1, 2).flatten(2, 3)
        return full[:, :, : self._frames(size)], counts.view(batch, windows).sum(1)

    def final_norm(self) -> nn.Module | None:
        """See `Network`."""
        return self.norm

    def stages(self) -> list[list[nn.Module]]:
        """See `Network`; the sinusoidal positions belong to none, they stay as they are."""
        stages: list[list[nn.Module]] = [[self.conv1, self.conv2, self.dropout], *([b] for b in self.blocks)]
        if self.norm is not None:
            stages[-1].append(self.norm)
        return stages

    def _window(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States of clips that fit one window."""
        frames, size = self._frames(lengths), self._frames(waveforms.shape[1])
        keep, mask = None, None
        if self.pad_to_30s:
            mel, _ = self.mel(waveforms, lengths, self.window // self.hop)
        else:
            mel, mel_frames = self.mel(waveforms, lengths, 2 * size)
            keep, mask = frame_mask(mel_frames, mel.shape[-1])[:, None], frame_mask(frames, size)[:, None, None]
            if bool(mask.all()):
                mask = None
        # A clip alone has zeros beyond its end before each convolution: so must it have in a batch.
        mel = mel if keep is None else mel * keep
        hidden = functional.gelu(self.conv1(mel))
        hidden = hidden if keep is None else hidden * keep
        hidden = functional.gelu(self.conv2(hidden)).transpose(1, 2)
        hidden = self.dropout(hidden + self.positions.weight[: hidden.shape[1]])
        states = self.run_blocks(hidden, mask)
        return states[:, :, :size], frames

    def _frames(self, samples: Lengths) -> Lengths:
        """Frames of a clip of that many samples."""
        return (samples + 2 * self.hop - 1) // (2 * self.hop)


class LogMel(nn.Module):
    """Whisper's log-mel spectrogram.

    Equal to the first frames of what ``WhisperFeatureExtractor`` makes of the clip padded to 30 s: mirrored
    at the start, silence at the end. The floor 8 below the maximum (in log10 of power) is taken per clip; the
    official maximum is over the 30 s, but beyond the clip's last two frames these are silence, which never is
    the maximum.

    Args:
        filters: (1 + n_fft / 2, M) mel filter bank.
        n_fft: samples per frame, with a Hann window.
        hop: samples from frame to frame.
        window: samples that a clip is imagined to be padded to.
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, filters: object, n_fft: int, hop: int, window: int) -> None:
        super().__init__()
        self.n_fft, self.hop, self.window = n_fft, hop, window
        bank = torch.as_tensor(filters, dtype=torch.float32).T.contiguous()
        self.register_buffer("filters", bank, persistent=False)
        self.register_buffer("hann", torch.hann_window(n_fft), persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Log-mel spectrogram.

        Args:
            waveforms: (B, T) float32, zero beyond each length, at most 30 s long.
            lengths: (B,) int64 samples.
            size: frames to return; beyond a clip they are silence.

        Returns:
            (B, M, ``size``) float32, and (B,) valid frames, ceil(length / hop).
        """
        # Two frames more than the longest clip has still overlap its end, and the maximum may lie there.
        count = min(-(-waveforms.shape[1] // self.hop) + 2, self.window // self.hop)
        half = self.n_fft // 2
        need = (count - 1) * self.hop + half
        padded = functional.pad(waveforms, (0, max(0, min(need, self.window) - waveforms.shape[1])))
        padded = functional.pad(padded, (half, max(0, need - self.window)), mode="reflect")
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = torch.stft(
                padded[:, : need + half].float(),
                self.n_fft,
                self.hop,
                window=self.hann,
                center=False,
                return_complex=True,
            )
            power = spectrum.real.square() + spectrum.imag.square()
            mel = (self.filters @ power).clamp(min=1e-10).log10()
        floor = mel.amax(dim=(1, 2), keepdim=True) - 8.0
        mel = functional.pad(mel, (0, size - mel.shape[-1]), value=-10.0)  # a negative number of frames cuts
        return (torch.maximum(mel, floor) + 4.0) / 4.0, (lengths + self.hop - 1) // self.hop
