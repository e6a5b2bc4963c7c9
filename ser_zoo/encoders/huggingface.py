"""The one interface to pre-trained speech encoders: waveforms in, chosen hidden states out.

Whatever the architecture, a clip gives the same states alone, in a padded batch and in a permuted one.
transformers alone does not: group norm in the first convolution and stacked positional convolutions see the
padding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ser_zoo import dropout
from ser_zoo.encoders.adapters import PROJECTIONS, add_adapters, is_adapter, name_in_source
from ser_zoo.encoders.network import Network, recompute
from ser_zoo.encoders.options import DTYPES, EncoderOptions
from ser_zoo.encoders.other import OtherNetwork
from ser_zoo.encoders.pico import MODEL_TYPE, PicoNetwork
from ser_zoo.encoders.speechbrain import SpeechBrainNetwork
from ser_zoo.encoders.waveform import FAMILIES, WaveformNetwork
from ser_zoo.encoders.whisper import WhisperNetwork
from ser_zoo.errors import EncoderError
from ser_zoo.features import frame_mask
from ser_zoo.registry import on_default

if TYPE_CHECKING:
    from ser_zoo.encoders.checkpoint import Checkpoint

# Raise it whenever the same encoder and the same audio would give other features than before: stored ones are
# then computed again.
FEATURE_VERSION = 1


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

    A frozen encoder computes in ``options.precision`` without gradients, also under the trainer's autocast, and
    always in evaluation mode; its states are rounded through ``options.feature_dtype``, so that live features
    are those that the feature store keeps. (In a batch the last digits depend on the batch's shape. Those of
    float32 are lost in the rounding but for a neighbouring value here and there; those of bfloat16 are not: a
    clip of Whisper base gave values that differed by up to 0.8 % of the largest one, and frames with a cosine
    of 0.99995 or more.) In bfloat16 only products of matrices and attention are rounded to it; sums over blocks,
    norms and the mel spectrogram stay in float32. On 60 clips of EMO-DB with Whisper base, frames then have a mean
    cosine of 0.9998 or more to those of float32 in every hidden state; of the last one, single frames differ much
    (0.72 at worst, 0.9994 at the first percentile).

    When it is fine-tuned, only the trained blocks follow ``train()`` (dropout); SpecAugment and layer drop
    stay off. With adapters the blocks keep their weights, and only the adapters are trained.

    Args:
        source: folder of a checkpoint in Hugging Face format, or its name on the hub: wav2vec 2.0, HuBERT,
            WavLM, data2vec-audio, UniSpeech and Whisper have paths of their own, other speech models run one
            clip at a time. Only safetensors weights are loaded. A folder or repository with a
            ``hyperparams.yaml`` is a speech recogniser of SpeechBrain (which needs the package speechbrain):
            its transformer, conformer or branchformer encoder is used, and of its ``.ckpt`` files only tensors
            are loaded.
        layers: hidden states to return, negative ones counted from the end; None is all of them.
        finetune_from: None freezes the encoder. k trains blocks k and above (block 1 is the first); 1 trains
            also what lies between the convolutional front end and the blocks; 0 trains everything.
        options: how it is loaded, computed and trained; as a mapping it holds the fields of `EncoderOptions`.

    Raises:
        EncoderError: there is no such checkpoint or layer, nothing to train, or options contradict each other.

    Attributes:
        source: as given.
        options: as given.
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
        options: EncoderOptions | Mapping[str, Any] = EncoderOptions(),  # noqa: B008 - frozen, so safe to share
    ) -> None:
        super().__init__()
        from ser_zoo.encoders.checkpoint import load

        self.options = on_default(EncoderOptions(), options, "encoder_options")
        _check(self.options, finetune_from)
        checkpoint = load(source, self.options.revision)
        self.source = source
        self.feature_dtype = DTYPES[self.options.feature_dtype]
        self.network = _network(checkpoint, source, layers, self.options.pad_to_30s)
        self.layers, self.depth, self.width = self.network.layers, self.network.depth, self.network.width
        self.sample_rate = int(checkpoint.extractor.sampling_rate)
        self.finetune_from = finetune_from
        self.frozen = finetune_from is None
        if self.frozen:
            self.network.given_in = self.feature_dtype
        dropout.use_in(self.network)
        self._trained = self._thaw(finetune_from)
        if self.options.precision == "bfloat16":
            _halve(self.network)
        self.train()

    def forward(self, waveforms: Tensor, lengths: Tensor) -> EncoderOutput:
        """Hidden states of B clips.

        Args:
            waveforms: (B, T) float32, mono, at ``sample_rate``, padded at the end.
            lengths: (B,) int64, number of valid samples per row; a clip too short for one frame is padded to
                one.
        """
        states, frames = self.rounded(waveforms, lengths)
        return EncoderOutput(states.float(), frames)

    def rounded(self, waveforms: Tensor, lengths: Tensor) -> EncoderOutput:
        """What ``forward`` gives, but the states of a frozen encoder in ``feature_dtype``, as they are kept."""
        lengths = lengths.to(waveforms.device).clamp(min=1)
        waveforms = waveforms.float()
        waveforms = waveforms.masked_fill(~frame_mask(lengths, waveforms.shape[1]), 0.0)
        with ExitStack() as stack:
            if self.frozen:
                low = self.options.precision == "bfloat16"
                stack.enter_context(torch.no_grad())
                stack.enter_context(torch.autocast(waveforms.device.type, torch.bfloat16, enabled=low))
            states, frames = self.network(waveforms, lengths)
        states = self._low(states) if self.frozen else states.float()
        beyond = ~frame_mask(frames, states.shape[2])
        if bool(beyond.any()):
            fill = Tensor.masked_fill_ if self.frozen else Tensor.masked_fill  # what gradients go through stays as it is
            states = fill(states, beyond[:, None, :, None], 0.0)
        return EncoderOutput(states, frames)

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """Hidden states that stay as they are while it is fine-tuned, the input of the first trained block last.

        Before it stand the chosen ones below. There are none where nothing lies below, or that input would not suffice.
        """
        if self.finetune_from is None or self.finetune_from < 2 or not self.network.longest:
            return ()
        start = self.finetune_from - 1
        return (*sorted({layer for layer in self.layers if layer < start}), start)

    def kept(self, layers: Sequence[int]) -> SpeechEncoder:
        """A frozen encoder with the same weights that gives the states of ``layers``."""
        options = replace(self.options, lora_rank=0, gradient_checkpointing=False)
        encoder, own = SpeechEncoder(self.source, layers, None, options), self.state_dict()
        # A checkpoint of a fine-tuned encoder may hold other weights than its source has by now.
        encoder.load_state_dict({name: own[name] for name in encoder.state_dict()})
        return encoder

    def resume(self, kept: EncoderOutput) -> EncoderOutput | None:
        """What ``forward`` gives, computed from the states of ``kept_layers``; None if a clip is too long for that."""
        states, frames = kept
        if states.shape[2] > self.network.longest:
            return None
        start = self.kept_layers[-1]
        above = self.network.resume(states[:, -1], frames, start).float()
        above = above.masked_fill(~frame_mask(frames, above.shape[2])[:, None, :, None], 0.0)
        known = dict(zip(self.kept_layers[:-1], states.unbind(1), strict=False))
        known |= dict(zip((layer for layer in self.layers if layer >= start), above.unbind(1), strict=True))
        return EncoderOutput(torch.stack([known[layer] for layer in self.layers], dim=1), frames)

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
        the same checkpoint share their features. Adapters do not count: with them it says what they adapt.
        """
        return {
            "version": FEATURE_VERSION,
            "weights": _digest(self.network),
            "revision": self.options.revision,
            "layers": list(self.layers),
            "precision": self.options.precision,
            "dtype": self.options.feature_dtype,
            "sample_rate": self.sample_rate,
            "preprocessing": self.network.description,
        }

    def in_source(self) -> set[str]:
        """Names in the state that the source has, with the same values: a checkpoint need not hold them.

        All of a frozen encoder's; all but the adapters; none when blocks are trained.
        """
        if not (self.frozen or self.options.lora_rank):
            return set()
        return {name for name in self.state_dict() if not is_adapter(name)}

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
        if self.options.lora_rank:
            add_adapters(self.network.blocks[finetune_from - 1 :], self.options.lora_rank, self.options.lora_alpha)
        modules, parameters = self.network.trained(finetune_from)
        if self.options.lora_rank:
            adapters = {id(parameter) for name, parameter in self.named_parameters() if is_adapter(name)}
            if not adapters:
                raise EncoderError(
                    f"The blocks of {self.source} have no attention projections by the names {', '.join(PROJECTIONS)}, so "
                    "that LoRA cannot adapt it. Set lora_rank to 0, or choose wav2vec 2.0, HuBERT, WavLM or Whisper."
                )
            parameters = [parameter for parameter in parameters if id(parameter) in adapters]
        if not parameters:
            raise EncoderError(
                f"finetune_from={finetune_from} trains nothing: the highest chosen layer is "
                f"{max(self.layers)}, and blocks above it are not computed. Choose a higher layer or train "
                "from a lower block."
            )
        for parameter in parameters:
            parameter.requires_grad_(True)
        if self.options.gradient_checkpointing:
            recompute(self.network.blocks[max(0, finetune_from - 1) :])
        return modules

    def _low(self, states: Tensor) -> Tensor:
        """``states`` in ``feature_dtype``; beyond its range, its largest value."""
        states = states.to(self.feature_dtype)
        if self.feature_dtype is torch.float32:
            return states
        limit = torch.finfo(self.feature_dtype).max
        return states.clamp_(-limit, limit)


def _check(options: EncoderOptions, finetune_from: int | None) -> None:
    """Refuse options that would have no effect."""
    if options.lora_rank and not finetune_from:
        raise EncoderError(
            f"lora_rank={options.lora_rank} with finetune_from={finetune_from}: adapters stand in blocks, and are trained. "
            "Pass as finetune_from the first block that is to have them (1: all blocks), or set lora_rank to 0."
        )
    if options.gradient_checkpointing and finetune_from is None:
        raise EncoderError(
            "gradient_checkpointing is of blocks that are trained, and this encoder is frozen. Leave it out, or pass as "
            "finetune_from the first block that is to be trained."
        )
    if options.precision != "float32" and finetune_from is not None:
        raise EncoderError(
            f"precision={options.precision} is of a frozen encoder, and this one is trained (finetune_from={finetune_from}): "
            "its precision is that of the trainer. Pass --trainer.precision bf16-mixed instead."
        )


def _halve(network: nn.Module) -> None:
    """Keep the weights of matrix products in bfloat16, as autocast would otherwise round them in every call."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d)) and not is_parametrized(module):
            module.to(torch.bfloat16)


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
    if family == MODEL_TYPE:
        return PicoNetwork(checkpoint, chosen)
    if family == "speechbrain":
        return SpeechBrainNetwork(checkpoint, chosen)
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
    """SHA-256 of names, shapes and float32 values of a module's state, adapters left out."""
    digest = hashlib.sha256()
    state = {name_in_source(name): tensor for name, tensor in module.state_dict().items() if not is_adapter(name)}
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).flatten().numpy().data)
    return digest.hexdigest()
