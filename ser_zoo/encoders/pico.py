"""pico: a compact encoder for processors without a GPU, of which weights may stand in the package.

Log-mel spectrogram of Whisper, two strided convolutions (one frame per 40 ms), a depthwise convolution over neighbouring frames
in place of positions, and pre-norm transformer blocks. `recipes/pico` trains it to predict hidden states of a large encoder
(Chang, Yang, Lee, "DistilHuBERT", ICASSP 2022, arXiv 2110.01900). The architecture is this package's own choice: with half of
Whisper's frames, its width and its few blocks a clip of 3 s takes milliseconds.

A checkpoint is a folder with ``config.json`` (``model_type`` "pico" and the fields of `PicoConfig`) and ``model.safetensors``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser_zoo.encoders.network import Network
from ser_zoo.encoders.whisper import LogMel
from ser_zoo.errors import EncoderError
from ser_zoo.features import frame_mask

if TYPE_CHECKING:
    from ser_zoo.encoders.checkpoint import Checkpoint

MODEL_TYPE = "pico"
# LogMel imagines a clip padded to its window, of which nothing is left to see where clips are not cut into windows.
UNBOUNDED = 1 << 40
N_FFT, HOP = 400, 160  # samples: 25 and 10 ms, as Whisper's


@dataclass(frozen=True)
class PicoConfig:
    """Sizes of a pico encoder; the defaults are those of the weights in the package.

    Attributes:
        sample_rate: Hz.
        mels: bands of the spectrogram (Slaney's scale and norm, as Whisper's).
        channels: of the first convolution.
        width: D of the hidden states.
        heads: of the attention.
        feedforward: inner width of a block.
        depth: number of blocks.
        reach: frames (odd) that the depthwise convolution sees.
    """

    sample_rate: int = 16_000
    mels: int = 80
    channels: int = 128
    width: int = 256
    heads: int = 4
    feedforward: int = 768
    depth: int = 4
    reach: int = 15


class Pico(nn.Module):
    """The layers that have weights; `PicoNetwork` runs them.

    Args:
        config: sizes.
    """

    def __init__(self, config: PicoConfig) -> None:
        super().__init__()
        width = config.width
        self.conv1 = nn.Conv1d(config.mels, config.channels, 5, stride=2, padding=2)
        self.conv2 = nn.Conv1d(config.channels, width, 3, stride=2, padding=1)
        self.near = nn.Conv1d(width, width, config.reach, padding=config.reach // 2, groups=width)
        self.layers = nn.ModuleList(PicoBlock(width, config.heads, config.feedforward) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)


class PicoBlock(nn.Module):
    """Pre-norm self-attention and a two-layer network.

    Args:
        width: D of the frames.
        heads: of the attention.
        feedforward: inner width.
    """

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, feedforward), nn.Linear(feedforward, width)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); ``attention_mask`` (B, 1, 1, T) bool, True where valid, or None."""
        frames = self.attention_norm(hidden)
        query, key, value = (
            project(frames).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        taken = functional.scaled_dot_product_attention(query, key, value, attention_mask)
        hidden = hidden + self.out_proj(taken.transpose(1, 2).flatten(2))
        changed: Tensor = hidden + self.fc2(functional.gelu(self.fc1(self.norm(hidden))))
        return changed


class PicoNetwork(Network):
    """Log-mel spectrogram, convolutions, blocks; one frame per 40 ms.

    Args:
        checkpoint: of model type "pico".
        layers: hidden states to return, from 0 to the number of blocks.
    """

    def __init__(self, checkpoint: Checkpoint, layers: tuple[int, ...]) -> None:
        super().__init__()
        pico, config = checkpoint.encoder, checkpoint.config.pico
        kept = max(layers)
        self.layers, self.depth, self.width = layers, config.depth, config.width
        self.conv1, self.conv2, self.near = pico.conv1, pico.conv2, pico.near
        self.blocks = pico.layers[:kept]
        self.norm: nn.Module | None = pico.norm if kept == self.depth else None
        self.longest = float("inf")
        self.mel = log_mel(config)
        self.description = {"family": MODEL_TYPE, **asdict(config), "n_fft": N_FFT, "hop": HOP}

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) samples to (B, L, ceil(T / 640), D) states; see `Network`."""
        mel, frames = self.mel(waveforms, lengths, -(-waveforms.shape[1] // HOP))
        return self.encode(mel, frames)

    def encode(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of log-mel spectrograms.

        Args:
            mel: (B, M, T) of `LogMel`, with anything beyond each length.
            lengths: (B,) int64 valid frames of 10 ms.

        Returns:
            (B, L, ceil(T / 4), D) states and (B,) valid frames.
        """
        hidden = _zeroed(mel, lengths)
        for conv in (self.conv1, self.conv2):
            # Zeros beyond its end before each convolution, as a clip alone has them.
            lengths = (lengths + 1) // 2
            hidden = _zeroed(functional.gelu(conv(hidden)), lengths)
        hidden = (hidden + functional.gelu(self.near(hidden))).transpose(1, 2)
        keep = frame_mask(lengths, hidden.shape[1])
        mask = None if bool(keep.all()) else keep[:, None, None]
        return self.run_blocks(hidden, mask), lengths

    def final_norm(self) -> nn.Module | None:
        """See `Network`."""
        return self.norm

    def stages(self) -> list[list[nn.Module]]:
        """See `Network`; the convolution over neighbouring frames lies between front end and blocks."""
        stages: list[list[nn.Module]] = [[self.conv1, self.conv2], *([block] for block in self.blocks)]
        if self.blocks:
            stages[1].append(self.near)
        if self.norm is not None:
            stages[-1].append(self.norm)
        return stages


def load_pico(folder: Path, source: str) -> tuple[Pico, PicoConfig]:
    """The encoder of a folder, in float32, and its sizes.

    Raises:
        EncoderError: config.json has other fields, or the weights are not those of such a network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        config = PicoConfig(**{key: value for key, value in content.items() if key != "model_type"})
        pico = Pico(config)
        pico.load_state_dict(load_file(folder / "model.safetensors"))
    except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise EncoderError(
            f"{source} cannot be loaded as a pico encoder: {str(error).strip().splitlines()[0]} Expected in {folder} "
            f"a config.json with {', '.join(field.name for field in fields(PicoConfig))}, and that network's model.safetensors."
        ) from error
    return pico.float(), config


def save_pico(pico: Pico, config: PicoConfig, folder: Path) -> None:
    """Write ``folder/config.json`` and ``folder/model.safetensors``, in float16: half the size, and loaded as float32."""
    from safetensors.torch import save_file

    from ser_zoo.cache import atomic_path

    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"model_type": MODEL_TYPE, **asdict(config)}
    state = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in pico.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as path:
        save_file(state, path, metadata={"format": "pt"})
    with atomic_path(folder / "config.json") as path:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def log_mel(config: PicoConfig) -> LogMel:
    """The spectrogram (10 ms) that a pico encoder reads."""
    from torchaudio.functional import melscale_fbanks

    bank = melscale_fbanks(
        1 + N_FFT // 2, 0.0, config.sample_rate / 2, config.mels, config.sample_rate, norm="slaney", mel_scale="slaney"
    )
    return LogMel(bank, N_FFT, HOP, UNBOUNDED)


def _zeroed(hidden: Tensor, lengths: Tensor) -> Tensor:
    """(B, D, T) with zeros beyond each length."""
    return hidden * frame_mask(lengths, hidden.shape[2])[:, None]
