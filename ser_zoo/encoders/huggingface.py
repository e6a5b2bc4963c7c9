"""The one interface to pre-trained speech encoders: waveforms in, chosen hidden states out.

Whatever the architecture, a clip gives the same states alone, in a padded batch and in a permuted one.
transformers alone does not: group norm in the first convolution and stacked positional convolutions see the
padding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ser_zoo.encoders.network import Network, valid
from ser_zoo.encoders.other import OtherNetwork
from ser_zoo.encoders.waveform import FAMILIES, WaveformNetwork
from ser_zoo.encoders.whisper import WhisperNetwork
from ser_zoo.errors import EncoderError

if TYPE_CHECKING:
    from ser_zoo.encoders.checkpoint import Checkpoint

# Raise it whenever the same encoder and the same audio would give other features than before: stored ones are
# then computed again.
FEATURE_VERSION = 1

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class EncoderOutput(NamedTuple):
    """Hidden states of B clips.

    Attributes:
        states: (B, L, T, D) float32 hidden states of the L chosen layers, zero beyond each length.
        lengths: (B,) int64 valid frames.
    """

    states: Tensor
    lengths: Tensor


class SpeechEncoder(nn.Module):
    """Hidden states of a pre-trained encoder.

    Layers are numbered as transformers numbers them: 0 is the input of the first block, k the output of block
    k, and the last one comes after the final layer norm where the architecture has one: it is what
    transformers calls ``last_hidden_state``. (In ``hidden_states[-1]`` of wav2vec 2.0 and its relatives that
    norm is included or not, depending on the version of transformers.) Blocks above the highest chosen layer
    are not kept.

    A frozen encoder computes in float32 without gradients, also under autocast, and always in evaluation
    mode; its states are rounded through ``feature_dtype``, so that live features are those that the feature
    store keeps. (In a batch the last float32 digits depend on the batch's shape, which may round to the
    neighbouring value.)

    When it is fine-tuned, only the trained blocks follow ``train()`` (dropout); SpecAugment and layer drop
    stay off.

    Args:
        source: folder of a checkpoint in Hugging Face format, or its name on the hub: wav2vec 2.0, HuBERT,
            WavLM, data2vec-audio, UniSpeech and Whisper have paths of their own, other speech models run one
            clip at a time. Only safetensors weights are loaded.
        layers: hidden states to return, negative ones counted from the end; None is all of them.
        finetune_from: None freezes the encoder. k trains blocks k and above (block 1 is the first); 1 trains
            also what lies between the convolutional front end and the blocks; 0 trains everything.
        revision: branch, tag or commit on the hub.
        pad_to_30s: Whisper only: run every clip padded to 30 s as the original does, instead of at its own
            length.
        feature_dtype: precision of frozen features: float16, bfloat16 or float32.

    Raises:
        EncoderError: there is no such checkpoint or layer, or nothing to train.

    Attributes:
        source: as given.
        layers: the L chosen hidden states, none negative.
        width: D of the states.
        depth: number of blocks of the full checkpoint.
        frozen: nothing is trained.
        sample_rate: of the waveforms it expects, Hz.
    """

    def __init__(
        self,
        source: str,
        layers: Sequence[int] | None = None,
        finetune_from: int | None = None,
        revision: str | None = None,
        pad_to_30s: bool = False,
        feature_dtype: str = "float16",
    ) -> None:
        super().__init__()
        from ser_zoo.encoders.checkpoint import load

        if feature_dtype not in DTYPES:
            raise EncoderError(f"Unknown feature_dtype {feature_dtype!r}. Expected one of {', '.join(DTYPES)}.")
        checkpoint = load(source, revision)
        self.source, self.revision = source, revision
        self.feature_dtype = DTYPES[feature_dtype]
        self.network = _network(checkpoint, source, layers, pad_to_30s)
        self.layers, self.depth, self.width = self.network.layers, self.network.depth, self.network.width
        self.sample_rate = int(checkpoint.extractor.sampling_rate)
        self.finetune_from = finetune_from
        self.frozen = finetune_from is None
        self._trained = self._thaw(finetune_from)
        self.train()

    def forward(self, waveforms: Tensor, lengths: Tensor) -> EncoderOutput:
        """Hidden states of B clips.

        Args:
            waveforms: (B, T) float32, mono, at ``sample_rate``, padded at the end.
            lengths: (B,) int64, number of valid samples per row; a clip too short for one frame is padded to
                one.
        """
        lengths = lengths.to(waveforms.device).clamp(min=1)
        waveforms = waveforms.float()
        waveforms = waveforms.masked_fill(~valid(lengths, waveforms.shape[1]), 0.0)
        with ExitStack() as stack:
            if self.frozen:
                stack.enter_context(torch.no_grad())
                stack.enter_context(torch.autocast(waveforms.device.type, enabled=False))
            states, frames = self.network(waveforms, lengths)
        states = states.float()
        if self.frozen:
            states = self._rounded(states)
        states = states.masked_fill(~valid(frames, states.shape[2])[:, None, :, None], 0.0)
        return EncoderOutput(states, frames)

    def train(self, mode: bool = True) -> SpeechEncoder:
        """Training mode for what is trained; the rest, all of a frozen encoder, stays in evaluation mode."""
        super().train(False)
        self.training = mode and not self.frozen
        for module in self._trained:
            module.train(mode)
            for part in module.modules():
                # Its statistics belong to the pre-training; a batch's own would depend on the padding.
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self

    def fingerprint(self) -> dict[str, object]:
        """What the features depend on besides the audio, as JSON can hold it.

        The weights count by their content, not by where they were loaded from: a hub name and a folder with
        the same checkpoint share their features.
        """
        return {
            "version": FEATURE_VERSION,
            "weights": _digest(self.network),
            "revision": self.revision,
            "layers": list(self.layers),
            "dtype": str(self.feature_dtype).removeprefix("torch."),
            "sample_rate": self.sample_rate,
            "preprocessing": self.network.description,
        }

    def _thaw(self, finetune_from: int | None) -> list[nn.Module]:
        """Let gradients reach what is to be trained, and return those modules."""
        self.requires_grad_(False)
        if finetune_from is None:
            return []
        if not 0 <= finetune_from <= self.depth:
            raise EncoderError(
                f"finetune_from={finetune_from} does not exist: {self.source} has {self.depth} blocks. "
                f"Expected 0 (everything), 1 to {self.depth} (that block and those above), or null (frozen)."
            )
        modules, parameters = self.network.trained(finetune_from)
        if not parameters:
            raise EncoderError(
                f"finetune_from={finetune_from} trains nothing: the highest chosen layer is "
                f"{max(self.layers)}, and blocks above it are not computed. Choose a higher layer or train "
                "from a lower block."
            )
        for parameter in parameters:
            parameter.requires_grad_(True)
        return modules

    def _rounded(self, states: Tensor) -> Tensor:
        """``states`` as the feature store returns them; beyond the dtype's range, its largest value."""
        if self.feature_dtype is torch.float32:
            return states
        limit = torch.finfo(self.feature_dtype).max
        return states.clamp(-limit, limit).to(self.feature_dtype).float()


def _network(checkpoint: Checkpoint, source: str, layers: Sequence[int] | None, pad_to_30s: bool) -> Network:
    """The network of the checkpoint's architecture."""
    family = checkpoint.config.model_type
    if pad_to_30s and family != "whisper":
        raise EncoderError(f"pad_to_30s is for Whisper: {source} is of type {family}, which takes clips as they are.")
    chosen = _resolved(layers, checkpoint.depth, source)
    if family == "whisper":
        return WhisperNetwork(checkpoint, chosen, pad_to_30s)
    if family in FAMILIES:
        return WaveformNetwork(checkpoint, chosen)
    return OtherNetwork(checkpoint, chosen, source)


def _resolved(layers: Sequence[int] | None, depth: int, source: str) -> tuple[int, ...]:
    """``layers`` with negative ones counted from the end.

    Raises:
        EncoderError: one is out of range, or none is given.
    """
    if layers is None:
        return tuple(range(depth + 1))
    if not layers:
        raise EncoderError("No layers chosen. Pass at least one, or null for all.")
    for layer in layers:
        if not -depth - 1 <= layer <= depth:
            raise EncoderError(
                f"{source} has no layer {layer}: it has {depth} blocks, so that its hidden states are 0 (the "
                f"input of the first block) to {depth}, or -{depth + 1} to -1 counted from the end."
            )
    return tuple(layer % (depth + 1) for layer in layers)


def _digest(module: nn.Module) -> str:
    """SHA-256 of names, shapes and float32 values of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).flatten().numpy().data)
    return digest.hexdigest()
