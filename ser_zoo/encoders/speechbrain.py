"""Transformer and conformer encoders of SpeechBrain's speech recognisers.

SpeechBrain publishes a recogniser as ``hyperparams.yaml``, which builds it, and one ``.ckpt`` file of weights for each of its
parts. Both can run any code when they are read as usual: tags of the YAML file name functions that are called, and the
weights are pickles. Here neither can. Of the YAML file only what makes up the encoder is built, and that may be nothing but
layers of SpeechBrain and of torch; weights are read by ``torch.load(weights_only=True)``, which makes tensors and plain
containers and refuses the rest.

Source: Ravanelli et al., "SpeechBrain: A General-Purpose Speech Toolkit", 2021, and its version 1.1, whose layers do the work.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import pickle
import pydoc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.encoders.network import Network, first
from ser_zoo.errors import EncoderError

if TYPE_CHECKING:
    from ser_zoo.encoders.checkpoint import Checkpoint

HYPERPARAMS = "hyperparams.yaml"
SHORTEST = 0.1  # seconds; convolutions that mirror the edges of a clip fail on less
LAYERS = ("speechbrain.lobes.", "speechbrain.nnet.", "speechbrain.processing.", "torch.nn.")
EXPECTED = (
    "Expected a speech recogniser of SpeechBrain with a transformer, conformer or branchformer encoder, such as "
    "speechbrain/asr-conformer-transformerlm-librispeech; choose another with --model.encoder."
)


def decline_quirks() -> None:
    """Call it before SpeechBrain is imported, which else allows TF32 and changes other switches for the whole process.

    SpeechBrain's own variable says which to leave alone; where it is set already, it stays.
    """
    os.environ.setdefault("SB_DISABLE_QUIRKS", "allow_tf32,disable_cudnn_benchmarking,disable_jit_profiling")


class Recipe:
    """What a ``hyperparams.yaml`` says of the encoder: the module ``encoder`` of SpeechBrain's inference interfaces.

    Args:
        file: the YAML file.
        source: where it comes from, for errors.

    Raises:
        EncoderError: speechbrain is not installed, or the file does not describe an encoder.

    Attributes:
        files: names of the weight files that the encoder needs.
        sample_rate: Hz.
    """

    def __init__(self, file: Path, source: str) -> None:
        decline_quirks()
        try:
            from hyperpyyaml import resolve_references
            from ruamel.yaml import YAML
            from ruamel.yaml.error import YAMLError
            from speechbrain.lobes.models.transformer.Transformer import TransformerInterface
        except ImportError as error:
            raise EncoderError(
                f"{source} is a SpeechBrain model ({file} says so), and the package speechbrain is not installed. Install it "
                "with pip install 'ser-zoo[speechbrain]', or choose another encoder with --model.encoder."
            ) from error
        self.source, self._interface = source, TransformerInterface
        try:
            text = file.read_text(encoding="utf-8")
            # These two are followed while references are resolved, before there is anything to look at.
            for node in _nodes(YAML().load(text)):
                if _tag(node).startswith(("!applyref:", "!include:")):
                    raise self._refusal(_tag(node))
            tree = YAML().load(resolve_references(text))
            self._encoder = tree["modules"]["encoder"]
            self.sample_rate = int(tree["sample_rate"])
            pretrainer = tree["pretrainer"]
            parts = {id(node) for node in _nodes(self._encoder) if _tag(node).startswith("!new:")}
            self._loadables = {
                name: node for name, node in pretrainer["loadables"].items() if parts & {id(part) for part in _nodes(node)}
            }
            paths = pretrainer.get("paths", {})
            # Whatever repository a path names, the file is taken from the encoder's own.
            self._files = {name: str(paths.get(name, f"{name}.ckpt")).rpartition("/")[2] for name in self._loadables}
            stream = io.StringIO()
            YAML().dump(self._encoder, stream)
            self._text = stream.getvalue()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, YAMLError) as error:
            raise EncoderError(f"{file} cannot be read ({type(error).__name__}: {error}). {EXPECTED}") from error
        self.files = sorted(set(self._files.values()))

    def load(self, folder: Path) -> tuple[nn.Module, dict[str, object]]:
        """The encoder with its weights, which maps (B, T) waveforms and (B,) relative lengths to its last hidden states.

        Args:
            folder: with `files`.

        Returns:
            The encoder, and what besides the weights decides its output.

        Raises:
            EncoderError: a file is missing or holds other weights than the encoder's, or the YAML file asks for more than
                layers.
        """
        made: dict[int, Any] = {}
        try:
            encoder = self._build(self._encoder, made)
            loaded = {name: self._build(node, made) for name, node in self._loadables.items()}
        except (TypeError, ValueError, LookupError, RuntimeError, AttributeError, AssertionError, yaml.YAMLError) as error:
            raise EncoderError(
                f"{self.source} cannot be built by this version of SpeechBrain ({type(error).__name__}: {error}). {EXPECTED}"
            ) from error
        recognisers = [module for module in encoder.modules() if isinstance(module, self._interface)]
        if len(recognisers) != 1 or not hasattr(recognisers[0], "encoder"):
            raise EncoderError(f"The encoder of {self.source} has no blocks of SpeechBrain's transformer. {EXPECTED}")
        for name, module in loaded.items():
            self._fill(module, folder / self._files[name])
        for part in ("decoder", "custom_tgt_module"):  # of the whole recogniser, which shares a module with its encoder
            if hasattr(recognisers[0], part):
                delattr(recognisers[0], part)
        self._check(encoder, loaded)
        return encoder, {"family": "speechbrain", "encoder": self._text}

    def _build(self, node: Any, made: dict[int, Any]) -> Any:
        """The object that a node of the YAML tree stands for; the same one wherever the file refers to it."""
        if (key := id(node)) in made:
            return made[key]
        kind, _, name = _tag(node).partition(":")
        result: Any
        if kind == "!tuple":  # HyperPyYAML teaches ruamel to see one where it sees a string in round brackets
            kind, node = "", node.value
        if isinstance(node, dict):
            result = {key: self._build(value, made) for key, value in node.items()}
        elif isinstance(node, list):
            result = [self._build(value, made) for value in node]
        else:
            result = None if kind else _scalar(node)
        if kind in ("!new", "!name"):
            layer = self._layer(name, node)
            positional, named = (result, {}) if isinstance(result, list) else ([], result or {})
            call = functools.partial(layer, *positional, **named)
            result = call() if kind == "!new" else call if positional or named else layer
        elif kind:
            raise self._refusal(_tag(node))
        made[key] = result
        return result

    def _layer(self, name: str, node: Any) -> type[nn.Module]:
        """The class of that name, if it is a layer."""
        found = pydoc.locate(name) if name.startswith(LAYERS) else None
        # A dotted name can lead through what a module imports to anything else, so where it led to counts.
        if not inspect.isclass(found) or not issubclass(found, nn.Module) or not found.__module__.startswith(LAYERS):
            raise self._refusal(_tag(node))
        return found

    def _refusal(self, tag: str) -> EncoderError:
        return EncoderError(
            f"{self.source}: its {HYPERPARAMS} builds the encoder with {tag}, which could run any code. Only layers are built "
            f"(classes of {', '.join(part.rstrip('.') for part in LAYERS)}). {EXPECTED}"
        )

    def _fill(self, module: nn.Module, file: Path) -> None:
        """Put the weights of a file into a module, as SpeechBrain's pre-trainer does, but without a pickle."""
        from speechbrain.processing.features import InputNormalization
        from speechbrain.utils.checkpoints import hook_on_loading_state_dict_checkpoint

        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            if isinstance(module, InputNormalization):
                module.count = state["count"]
                for name in ("glob_mean", "glob_std"):  # plain attributes, which would not follow the encoder to a device
                    delattr(module, name)
                    module.register_buffer(name, state[name])
                return
            missing, _ = module.load_state_dict(hook_on_loading_state_dict_checkpoint(state), strict=False)
        except FileNotFoundError as error:
            raise EncoderError(
                f"{self.source} has no weights: there is no {file}. Expected {', '.join(self.files)} beside its {HYPERPARAMS}; "
                "download it again or choose another."
            ) from error
        except pickle.UnpicklingError as error:
            raise EncoderError(
                f"{file} holds more than tensors and is not loaded, because it could run any code. Expected weights as "
                "torch.save writes a state_dict; save them like that on a machine you trust with them."
            ) from error
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(f"{file} does not hold the weights of {self.source}: {error}") from error
        if missing := sorted(set(missing) & {name for name, _ in module.named_parameters()}):
            raise EncoderError(
                f"{file} has no weights for {len(missing)} parameters, such as {missing[0]}: they would be random. Expected a "
                "complete checkpoint; download it again or choose another."
            )

    def _check(self, encoder: nn.Module, loaded: dict[str, nn.Module]) -> None:
        """Refuse an encoder of which something is as it was made."""
        from speechbrain.processing.features import InputNormalization

        filled = {id(parameter) for module in loaded.values() for parameter in module.parameters()}
        missing = [name for name, parameter in encoder.named_parameters() if id(parameter) not in filled]
        for name, module in encoder.named_modules():
            if isinstance(module, InputNormalization) and module.norm_type == "global" and module.count == 0:
                missing.append(f"{name}.glob_mean")
        if missing:
            raise EncoderError(
                f"{self.source} has no weights for {len(missing)} tensors of the encoder, such as {missing[0]}: its "
                f"{HYPERPARAMS} loads {', '.join(loaded) or 'nothing'}. {EXPECTED}"
            )


class SpeechBrainNetwork(Network):
    """The module ``encoder`` of a recogniser: features, their normalisation, convolutions, blocks.

    Clips never share a batch, because convolutions and normalisation see the padding; on a GPU that is slow. Clips shorter
    than 0.1 s are padded with zeros to that. Where the positions are absolute, a clip can be as long as the recogniser was
    made for (100 s in the published ones).

    Args:
        checkpoint: of model type "speechbrain".
        layers: hidden states to return, from 0 to the number of blocks.
    """

    def __init__(self, checkpoint: Checkpoint, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.layers, self.depth = layers, checkpoint.depth
        self.description = checkpoint.config.description
        self.shortest = int(SHORTEST * checkpoint.extractor.sampling_rate)
        self.front: nn.Module = checkpoint.encoder
        transformer = transformer_of(self.front)
        self.width = next(transformer.encoder.norm.parameters()).numel()
        self.blocks = transformer.encoder.layers[: max(layers)]
        self.norm: nn.Module | None = transformer.encoder.norm if max(layers) == self.depth else None
        transformer.encoder = Tap()
        transformer.output_hidden_states = False

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) samples to (B, L, T', D) states, one per 40 ms in published recognisers; see `Network`."""
        clips = [self._clip(row[:length]) for row, length in zip(waveforms, lengths.tolist(), strict=True)]
        frames = torch.tensor([len(clip) for clip in clips], device=waveforms.device)
        return pad_sequence(clips, batch_first=True).transpose(1, 2), frames

    def stages(self) -> list[list[nn.Module]]:
        """See `Network`; the normalisation keeps its statistics."""
        between = transformer_of(self.front).custom_src_module
        inside = set(between.parameters())
        # A module without parameters would learn in training mode all the same: new statistics.
        front = [module for module in self.front.children() if (own := set(module.parameters())) and not inside & own]
        blocks = [[block] for block in self.blocks]
        if self.norm is not None:
            blocks[-1].append(self.norm)
        return [front, [between, *blocks[0]], *blocks[1:]] if blocks else [front, [between]]

    def _clip(self, waveform: Tensor) -> Tensor:
        """(T', L, D) states of one clip of (T,) samples."""
        waveform = functional.pad(waveform, (0, max(0, self.shortest - len(waveform))))
        given: list[tuple[Tensor, dict[str, Any]]] = []
        hook = transformer_of(self.front).encoder.register_forward_hook(lambda *call: given.append(call[2]))
        try:
            self.front(waveform[None], torch.ones(1, device=waveform.device))
        finally:
            hook.remove()
        hidden, context = given[0]
        states = [hidden]
        for block in self.blocks:
            states.append(first(block(states[-1], **context)))
        if self.norm is not None:
            states[-1] = self.norm(states[-1])
        return torch.stack([states[layer][0] for layer in self.layers], dim=1)


class Tap(nn.Module):
    """Stands where SpeechBrain loops over the blocks, and gives back what the first block and all of them are called with."""

    def forward(self, src: Tensor, dynchunktrain_config: None = None, **context: Any) -> tuple[Tensor, dict[str, Any]]:
        """(1, T, D), and masks and positions by name; without streaming, which the blocks are not all made for."""
        return src, context


def transformer_of(encoder: nn.Module) -> Any:
    """The transformer inside a recogniser's encoder."""
    from speechbrain.lobes.models.transformer.Transformer import TransformerInterface

    return next(module for module in encoder.modules() if isinstance(module, TransformerInterface))


def _tag(node: Any) -> str:
    """The tag of a node of ruamel's round-trip tree; empty where it has none."""
    tag = getattr(node, "tag", None)
    return str(getattr(tag, "value", None) or "")


def _nodes(node: Any) -> Iterator[Any]:
    """A node and all below it."""
    yield node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _nodes(key)
            yield from _nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value)


def _scalar(value: Any) -> Any:
    """A scalar as HyperPyYAML means it: a string in round brackets is a tuple."""
    if isinstance(value, str) and value.startswith("(") and value.endswith(")"):
        return tuple(yaml.safe_load(f"[{value[1:-1]}]"))
    return value
