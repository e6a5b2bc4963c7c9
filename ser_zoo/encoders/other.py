"""Any other speech model that transformers knows, one clip at a time through its own feature extractor."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.encoders.checkpoint import EXPECTED
from ser_zoo.encoders.network import Network
from ser_zoo.errors import EncoderError

if TYPE_CHECKING:
    from ser_zoo.encoders.checkpoint import Checkpoint

SHORTEST = 0.1  # seconds: some frames of every front end; several fail on less


class OtherNetwork(Network):
    """The whole encoder as it comes, for architectures without a path of their own.

    Tried with Speech2Text and Moonshine. Clips never share a batch, so that no architecture's padding can
    matter; on a GPU that is slow. Clips shorter than 0.1 s are padded with zeros to that. All blocks are
    computed, those above the highest chosen layer in vain.

    Args:
        checkpoint: of any model type.
        layers: hidden states to return, from 0 to the number of blocks.
        source: where the checkpoint comes from, for errors.

    Raises:
        EncoderError: it does not turn audio into hidden states as other speech encoders do, or not into more for a longer clip.
    """

    def __init__(self, checkpoint: Checkpoint, layers: tuple[int, ...], source: str) -> None:
        super().__init__()
        self.encoder, self.extractor = checkpoint.encoder, checkpoint.extractor
        self.layers, self.depth = layers, checkpoint.depth
        self.rate = int(self.extractor.sampling_rate)
        self.accepted = set(inspect.signature(self.encoder.forward).parameters)
        config = self.encoder.config
        settings = {**config.to_dict(), "extractor": self.extractor.to_dict()}
        ignored = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
        self.description = {key: value for key, value in settings.items() if key not in ignored}
        self.encoder.eval()
        try:
            with torch.no_grad():
                short, long = self._clip(self._noise()), self._clip(self._noise().repeat(2))
            self.width = short.shape[2]
            self.blocks = self._blocks()
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
            raise EncoderError(
                f"{source} is of type {config.model_type}, which does not turn audio into hidden states as "
                f"other speech encoders do ({type(error).__name__}: {error}). {EXPECTED}"
            ) from error
        if len(long) <= len(short):
            raise EncoderError(
                f"{source} is of type {config.model_type}, which gives {len(short)} frames of a clip of one second and "
                f"{len(long)} of two: it fills clips up to a window of its own, whose silence would count as theirs, and drops "
                f"what is beyond it. {EXPECTED}"
            )

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) samples to (B, L, T', D) states; see `Network`."""
        clips = [self._clip(row[:length]) for row, length in zip(waveforms, lengths.tolist(), strict=True)]
        frames = torch.tensor([len(clip) for clip in clips], device=waveforms.device)
        return pad_sequence(clips, batch_first=True).transpose(1, 2), frames

    def trained(self, finetune_from: int) -> tuple[list[nn.Module], list[nn.Parameter]]:
        """See `Network`; 1 trains the blocks only.

        Front end and projection cannot be told apart here. Which parameters the chosen states depend on is
        found by a backward pass over one second of noise.
        """
        modules = [self.encoder] if finetune_from == 0 else list(self.blocks[finetune_from - 1 :])
        parameters = [parameter for module in modules for parameter in module.parameters()]
        if not parameters:
            return [], []
        for parameter in parameters:
            parameter.requires_grad_(True)
        total = self._clip(self._noise()).sum()
        found = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else []
        for parameter in parameters:
            parameter.requires_grad_(False)
        return modules, [p for p, gradient in zip(parameters, found, strict=False) if gradient is not None]

    def _blocks(self) -> list[nn.Module]:
        """The transformer blocks: the list of modules that has as many as there are."""
        stacks = (module for module in self.encoder.modules() if isinstance(module, nn.ModuleList))
        return next(list(stack) for stack in stacks if len(stack) == self.depth)

    def _noise(self) -> Tensor:
        """One second of it, always the same."""
        return torch.randn(self.rate, generator=torch.Generator().manual_seed(0))

    def _clip(self, waveform: Tensor) -> Tensor:
        """(T', L, D) states of one clip of (T,) samples."""
        waveform = functional.pad(waveform, (0, max(0, int(SHORTEST * self.rate) - len(waveform))))
        with torch.autocast("cpu", enabled=False):
            inputs = self.extractor(waveform.detach().cpu().numpy(), sampling_rate=self.rate, return_tensors="pt")
        inputs = {name: value.to(waveform.device) for name, value in inputs.items() if name in self.accepted}
        output = self.encoder(**inputs, output_hidden_states=True)
        states = [*output.hidden_states[: self.depth], output.last_hidden_state]
        return torch.stack([states[layer][0] for layer in self.layers], dim=1)
