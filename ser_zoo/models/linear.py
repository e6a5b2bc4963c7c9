"""What the baselines share that classify one vector of functionals per utterance by a linear layer.

The card of `egemaps` has the equations of both heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ser_zoo.data import Batch
from ser_zoo.errors import SERZooError
from ser_zoo.features import Frames, FrontEnd
from ser_zoo.models.base import SERModule
from ser_zoo.models.layers import Scaler, Standardise
from ser_zoo.models.optim import Optim

Head = Literal["svm", "logistic"]


class LinearNetwork(nn.Module):
    """Functionals, scaled by the training side, and a linear layer.

    Args:
        classes: C.
        functionals: extractor of one frame per clip.
        size: width of that frame.
    """

    def __init__(self, classes: int, functionals: nn.Module, size: int) -> None:
        super().__init__()
        self.front_end = FrontEnd(functionals)
        self.standardise = Standardise(size)
        self.classifier = nn.Linear(size, classes)

    def forward(self, waveforms: Tensor, lengths: Tensor, frames: Sequence[Frames] | None = None) -> Tensor:
        """(B, T) waveforms, (B,) samples -> logits (B, C); ``frames`` is the front end's output if it is known."""
        (functionals,) = self.front_end(waveforms, lengths) if frames is None else frames
        logits: Tensor = self.classifier(self.standardise(functionals.values[:, 0]))
        return logits


class LinearModule(SERModule):
    """Linear classifier of functionals.

    Args:
        labels: class names in the order of the outputs.
        functionals: extractor of one frame per clip.
        size: width of that frame.
        head: svm (squared hinge, one class against the rest) or logistic (cross-entropy).
        sample_rate: Hz.
        optim: optimiser and schedule, and the loss of the logistic head; under adam ``weight_decay`` is lambda.

    Raises:
        SERZooError: ``optim`` names a loss and the svm head has its own.
    """

    published: ClassVar[Mapping[str, object]] = {"data.batch_size": 32, "trainer.max_epochs": 40}  # ours; see egemaps

    def __init__(
        self, labels: Sequence[str], functionals: nn.Module, size: int, head: Head, sample_rate: int, optim: Optim
    ) -> None:
        super().__init__(labels, optim, sample_rate)
        if head == "svm" and (self.optim.loss != "cross_entropy" or self.optim.label_smoothing):
            raise SERZooError(
                f"{self.name}: the svm head has a loss of its own, and optim.loss is {self.optim.loss}, optim.label_smoothing "
                f"{self.optim.label_smoothing:g}. Leave both out, or pass --model.head logistic."
            )
        if self.optim.time_masks:
            raise SERZooError(
                f"--model.optim.time_masks: {self.name} reads functionals of the whole clip, which have no stretch to hide. "
                "Leave it out."
            )
        self.head = head
        self.network: LinearNetwork = LinearNetwork(len(labels), functionals, size)

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean squared hinge of (B, C) logits and (B,) labels or (B, C) shares; of the logistic head, what ``optim`` says."""
        if self.head == "logistic":
            return super().criterion(logits, labels)
        logits = logits.float()
        shares = labels if labels.dim() == 2 else F.one_hot(labels, len(self.labels)).to(logits.dtype)
        losses = shares * (1 - logits).clamp(min=0).square() + (1 - shares) * (1 + logits).clamp(min=0).square()
        return (losses.sum(1) * (shares @ self.class_weights.to(shares.dtype))).mean()

    def scalers(self) -> list[tuple[Scaler, Callable[[Batch], Tensor]]]:
        """With that of the functionals."""
        return [*super().scalers(), (self.network.standardise, lambda batch: self.frames(batch)[0].values[:, 0])]
