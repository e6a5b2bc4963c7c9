"""How a model is trained: loss, optimiser, schedule, and what is changed in the features of a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ser_zoo.errors import SERZooError
from ser_zoo.models.checks import expect_between
from ser_zoo.registry import expect_known


@dataclass(frozen=True)
class Optim:
    """Loss, optimiser, schedule, and what training changes in the features of a clip.

    Mixup, differences and masks act on what encoder and front end give, also where it is kept. None is on by default.

    Attributes:
        lr: learning rate.
        encoder_lr: learning rate of a fine-tuned encoder; None means ``lr``. Refused where none is trained.
        encoder_rest: share of all steps in which a fine-tuned encoder stays as it is, while the rest of the network learns to
            read it as it reads a frozen one; its rate then rises and falls as ``schedule`` cosine says.
        weight_decay: decoupled for adamw, added to the gradient for adam.
        optimizer: adamw or adam.
        schedule: constant, or cosine from ``lr`` to 0 over the whole training after a linear warm-up.
        warmup: share of all steps that the warm-up of the cosine schedule takes.
        loss: cross_entropy, or focal: (1 - p_y)^gamma * CE (Lin et al. 2017); with soft or smoothed targets t the sum of
            t_c * (1 - p_c)^gamma * -log p_c over the classes.
        focal_gamma: gamma of the focal loss.
        class_weights: balanced weighs a class by N / (C * N_c) of the training speakers, and by 1 where they have none of it;
            of soft or smoothed targets each class's share by its own weight, so that smoothing pulls towards rare classes.
        label_smoothing: share of the target spread over all classes.
        mixup: mix clips in pairs, features and labels, by shares of Beta(mixup, mixup) (Zhang et al. 2018); 0: none.
        linear_delta: add to a clip's features this times the difference of the means over time of two other clips of one
            class (after Kumar et al. 2019); 0: none.
        time_masks: stretches of a clip that are hidden (Park et al. 2019); 0: none.
        time_width: longest such stretch, as a share of the clip.
        channel_masks: bands of channels that are hidden, of the encoder's states and of each feature; 0: none.
        channel_width: widest such band, as a share of the channels. That of the source is 27 of 80.
        change_below: mixup, differences and masks change what the trained blocks of a fine-tuned encoder read, in place of what
            they give, so that those blocks learn under them (for mixup: Verma et al. 2019, "Manifold Mixup"); not while
            they rest.
    """

    lr: float = 1e-4
    encoder_lr: float | None = None
    encoder_rest: float = 0.0
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = 0.1
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = 2.0
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    linear_delta: float = 0.0
    time_masks: int = 0
    time_width: float = 0.1
    channel_masks: int = 0
    channel_width: float = 0.3
    change_below: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            SERZooError: a choice is unknown, a number is out of its range, or ``encoder_rest`` or ``change_below`` has nothing
                to act on.
        """
        expect_known(type(self), vars(self), "--model.optim")
        unbounded = ("lr", "encoder_lr", "weight_decay", "focal_gamma", "mixup", "linear_delta", "time_masks", "channel_masks")
        shares = ("warmup", "time_width", "channel_width", "label_smoothing", "encoder_rest")
        expect_between(0, group="--model.optim", **{name: getattr(self, name) for name in unbounded})
        expect_between(0, 1, group="--model.optim", **{name: getattr(self, name) for name in shares})
        if self.label_smoothing == 1:
            raise SERZooError(
                "--model.optim.label_smoothing 1 leaves nothing to learn, as all classes are equal. Expected less than 1."
            )
        if self.encoder_rest and self.schedule != "cosine":
            raise SERZooError(
                "--model.optim.encoder_rest lets the encoder's rate begin later, as --model.optim.schedule cosine has it. Set "
                "that, or leave encoder_rest out."
            )
        if self.encoder_rest == 1:
            raise SERZooError(
                "--model.optim.encoder_rest 1 lets the encoder rest in all steps, so that it is never trained. Expected less "
                "than 1; or keep the encoder frozen (--model.finetune_from null)."
            )
        if self.change_below and not self.changes_features:
            raise SERZooError(
                "--model.optim.change_below says where features are changed, and nothing changes them. Set mixup, "
                "linear_delta, time_masks or channel_masks as well, or leave it out."
            )

    @property
    def changes_features(self) -> bool:
        """Whether training mixes or shifts clips, or hides parts of them."""
        return bool(self.mixup or self.linear_delta or self.time_masks or self.channel_masks)


def warm_cosine(step: int, start: int, rise: int, steps: int) -> float:
    """Share of the learning rate in a step: 0 before ``start``, 1 after ``rise`` more, down to 0 at ``steps`` by a cosine."""
    if step < start + rise:
        return max(0, step - start + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - start - rise) / max(1, steps - start - rise)))
