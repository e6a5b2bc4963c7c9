"""What every architecture's LightningModule shares: training, evaluation, statistics of the training side, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from typing import Any, ClassVar, TypedDict

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix
from tqdm import tqdm

from ser_zoo import metrics
from ser_zoo.corpora.base import short_list
from ser_zoo.data import Batch, Preparation, SERDataModule
from ser_zoo.errors import EncoderError, LeakError, SERZooError
from ser_zoo.features import Frames, frame_mask
from ser_zoo.models.augment import change_batch
from ser_zoo.models.checks import expect_between
from ser_zoo.models.kept import ENCODER_PREFIX, FeatureModule
from ser_zoo.models.layers import LayerMix, Scaler
from ser_zoo.models.optim import Optim, warm_cosine
from ser_zoo.registry import on_default

CHECKPOINT_KEY = "ser_zoo"
WEIGHTS = {"state_dict", "current_model_state"}  # of a checkpoint; the second where the first has averages


@dataclass(frozen=True)
class Calibration:
    """The temperature of a trained model: its probabilities are softmax(logits / temperature) (Guo et al. 2017).

    Attributes:
        temperature: fitted on the validation side, by the model that has not heard it where another was trained on it too.
        at_bound: the search for it ended at the end of its range, so that the validation side does not determine it.
        validation_is_test: the protocol has one side for both, so that it was fitted on what is tested.
    """

    temperature: float
    at_bound: bool
    validation_is_test: bool

    @property
    def doubt(self) -> str | None:
        """Why probabilities under this temperature are not to be called calibrated; None where they may be."""
        if self.validation_is_test:
            return "the temperature in its checkpoint was fitted on tested utterances"
        if self.at_bound:
            return f"the temperature in its checkpoint, {self.temperature:g}, is not determined by its validation speakers"
        return None


class Predictions(TypedDict):
    """One batch of test output: B ids, (B, C) logits, (B,) true labels (-1 where unknown)."""

    ids: list[str]
    logits: Tensor
    labels: Tensor


class SERModule(FeatureModule):
    """Base of the architectures; works with any ``lightning.Trainer``.

    A subclass sets ``network``, whose ``forward(waveforms, lengths)`` gives (B, C) logits. A network with a
    ``SpeechEncoder`` in its attribute ``encoder`` takes an argument ``encoded``, and one with a ``FrontEnd`` in its attribute
    ``front_end`` an argument ``frames``: the output of these when it is known already, else None. One that
    also has a ``Condense`` in its attribute ``condense`` takes the encoder's output as that leaves it. With a ``SERDataModule``
    what a frozen encoder, or the frozen part of one, and a front end give is computed once and kept; with plain data loaders it
    is computed live.

    Args:
        labels: class names in the order of the outputs.
        optim: loss, optimiser and schedule. A mapping has the fields that differ from the default of the architecture's class.
        sample_rate: Hz of the waveforms that the network expects.

    Raises:
        UnknownNameError: ``optim`` is a mapping with a field that there is not.
        SERZooError: no list of labels, fewer than two, a name twice, or a sample rate below 1.
    """

    name: ClassVar[str]
    published: ClassVar[Mapping[str, object]] = {}
    """Settings of the source outside the model (``data.batch_size``, ``trainer.max_epochs`` ...), ours where it names none: the
    CLI's defaults."""

    def __init__(self, labels: Sequence[str], optim: Optim | Mapping[str, Any], sample_rate: int) -> None:
        super().__init__(on_default(_own_optim(type(self)), optim, "optim"))
        if isinstance(labels, str) or len(set(labels)) != len(labels) or len(labels) < 2:
            raise SERZooError(f"A model needs a list of two or more different labels; found {labels!r}.")
        expect_between(1, sample_rate=sample_rate)
        self.labels = list(labels)
        self.sample_rate = sample_rate
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.ones(len(labels)))
        self.validation_confusion = MulticlassConfusionMatrix(len(labels))
        self.test_confusion = MulticlassConfusionMatrix(len(labels))
        self.preparation = Preparation(sample_rate)
        self._trained_on: dict[str, Any] | None = None
        self._fingerprint: dict[str, object] | None = None
        self.calibration: Calibration | None = None

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C) of a batch."""
        logits: Tensor = self.network(**self.inputs(batch))
        return logits

    @torch.no_grad()
    def attention(self, batch: Batch) -> Frames | None:
        """How much the network's attention weighs each step of time: (B, T, H) of H heads, zero beyond each clip's end.

        The steps of a clip lie evenly over all of it. A network that has attention over time gives them by a method
        ``time_weights``, whose arguments are those of its ``forward``; None comes from one that has not.
        """
        weigh = getattr(self.network, "time_weights", None)
        return None if weigh is None else weigh(**self.inputs(batch))

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch; architectures with further terms override it.

        They take features from ``inputs`` and hand ``batch.labels``, which may be soft, to ``criterion`` as they are.
        """
        return self.criterion(self(batch), batch.labels)

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss as ``optim`` says.

        Args:
            logits: (B, C).
            labels: (B,) class numbers, or (B, C) shares of the classes.
        """
        weights, smoothing = self.class_weights.to(logits.dtype), self.optim.label_smoothing
        if self.optim.loss == "cross_entropy":
            return F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=smoothing).mean()
        classes = logits.shape[-1]
        targets = labels if labels.dim() == 2 else F.one_hot(labels, classes)
        targets = (1 - smoothing) * targets + smoothing / classes
        logarithm = logits.float().log_softmax(-1)
        # Where p rounds to 1 the derivative of (1 - p)^gamma is infinite for gamma < 1, and times -log p = 0 it is no number.
        easy = (1 - logarithm.exp()).clamp(min=torch.finfo(torch.float32).eps) ** self.optim.focal_gamma
        return (targets * weights * easy * -logarithm).sum(-1).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch of the training speakers."""
        if self.optim.changes_features:
            optim, classes = self.optim, len(self.labels)
            masks = (optim.time_masks, optim.time_width), (optim.channel_masks, optim.channel_width)
            batch = change_batch(batch, classes, optim.mixup, *masks, delta=optim.linear_delta)
        loss = self.loss(batch)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.ids))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and confusion of one batch of the validation speakers."""
        logits = self(batch)
        loss = self.criterion(logits, batch.labels)
        self.log("val/loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch.ids))
        self.validation_confusion.update(logits, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log val/wa, val/ua and val/macro_f1 over all processes."""
        self._log_scores("val", self.validation_confusion)

    def test_step(self, batch: Batch, batch_idx: int) -> Predictions:
        """Logits of one batch of the test speakers."""
        logits = self(batch)
        self.test_confusion.update(logits, batch.labels)
        return {"ids": batch.ids, "logits": logits.float(), "labels": batch.labels}

    def on_test_epoch_end(self) -> None:
        """Log test/wa, test/ua and test/macro_f1 over all processes."""
        self._log_scores("test", self.test_confusion)

    def predict_step(self, batch: Batch, batch_idx: int) -> Predictions:
        """Logits of one batch, labelled or not."""
        return {"ids": batch.ids, "logits": self(batch).float(), "labels": batch.labels}

    def _log_scores(self, stage: str, confusion: MulticlassConfusionMatrix) -> None:
        values = {f"{stage}/{name}": value for name, value in metrics.scores(confusion.compute()).items()}
        self.log_dict(values, prog_bar=stage == "val")
        confusion.reset()

    def setup(self, stage: str) -> None:
        """Check that data and encoder have the network's sample rate, data its classes, and that training changes what it can.

        Waveforms are left out of the data's batches where training will not read them.

        Raises:
            SERZooError: they have not; weights are to be of 16 bits; waveforms are to change under a frozen encoder; features
                are to change and there are none; or classes are to be balanced twice.
        """
        data = self._data_module()
        self.check_rate(data)
        if data is not None and stage != "predict" and not self._numbered_as(data.labels):
            raise SERZooError(
                f"{self.name} tells {', '.join(self.labels)} apart, in this order, but {data.corpus.name} here has "
                f"{', '.join(data.labels)}, so that one's numbers would be the other's classes. Pass the labels of the data "
                "(create_model(..., labels=data.labels)); for a trained model that knows them all, call "
                "data.number_as(model.labels)."
            )
        if self._trainer is not None and (precision := str(self.trainer.precision)).endswith("16-true"):
            raise SERZooError(
                f"precision {precision} does not go with these models: their weights are float32, as what is computed before "
                "the first of them is. Expected 32-true, or bf16-mixed (16-mixed on a GPU)."
            )
        if stage == "fit":
            self._check_training(data)
        if data is not None:  # before a schedule asks how many batches there are, for which loaders are made
            data.silent = stage == "fit" and self.silent

    def check_rate(self, data: SERDataModule | None) -> None:
        """Check that data and encoder have the network's sample rate; no recording is read for it.

        Raises:
            SERZooError: they have not.
        """
        found = {"data": data and data.preparation.sample_rate, "encoder": self.encoder and self.encoder.sample_rate}
        for what, rate in found.items():
            if rate is not None and rate != self.sample_rate:
                raise SERZooError(
                    f"{self.name} expects {self.sample_rate} Hz, but its {what} has {rate} Hz. Pass the same rate as "
                    "--data.sample_rate and --model.sample_rate, and an encoder made for it."
                )

    def _numbered_as(self, labels: Sequence[str]) -> bool:
        """Whether the outputs are these classes: as many, and none that has a name here under the number of another."""
        own = {label: number for number, label in enumerate(self.labels)}
        return len(labels) == len(own) and all(own.get(label, number) == number for number, label in enumerate(labels))

    def _check_training(self, data: SERDataModule | None) -> None:
        if data is not None and data.varying and self.encoder is not None and self.encoder.frozen and self.keeps_states:
            settings = " and ".join(f"--data.{name}" for name in data.varying)
            raise SERZooError(
                f"{settings}: training waveforms would differ from the utterances, but the encoder of {self.name} is frozen, "
                "and what it gives is computed once per utterance and kept; it would have to run in every epoch. Leave that "
                "out, change features instead (--model.optim.mixup, linear_delta, time_masks, channel_masks), add copies that "
                "stay as they are (--data.speeds), or fine-tune the encoder (--model.finetune_from)."
            )
        of_encoder = {"encoder_lr": self.optim.encoder_lr is not None, "encoder_rest": self.optim.encoder_rest > 0}
        if (self.encoder is None or self.encoder.frozen) and any(of_encoder.values()):
            idle = " and ".join(f"--model.optim.{name}" for name, given in of_encoder.items() if given)
            raise SERZooError(
                f"{idle}: {self.name} has no encoder that is trained, to which that could apply. Leave it out, or fine-tune "
                "the encoder (--model.finetune_from)."
            )
        if self.optim.changes_features and self.encoder is None and self.front_end is None:
            raise SERZooError(
                "--model.optim: mixup, linear_delta and masks change what an encoder or a front end gives, and "
                f"{self.name} has neither. Leave them out, or augment waveforms (--data.augment)."
            )
        if self.optim.change_below and (
            self.encoder is None or not self.encoder.kept_layers or (data is not None and data.varying)
        ):
            raise SERZooError(
                f"--model.optim.change_below: nothing that the trained blocks of {self.name} read is kept, so that it could be "
                "changed. Fine-tune the encoder from its second block or a higher one (--model.finetune_from), on waveforms "
                "that stay as they are (--data.speeds in place of --data.augment); or leave it out."
            )
        below = self.optim.change_below  # where the frames still are
        if self.optim.time_masks and not below and self.condense is not None and self.condense.stride is None:
            raise SERZooError(
                f"--model.optim.time_masks: {self.name} reads the mean of a clip, which has no stretch to hide. Leave it "
                "out, or fine-tune the encoder and hide stretches of what its trained blocks read (--model.optim.change_below)."
            )
        if data is not None and data.balanced and self.optim.class_weights == "balanced":
            raise SERZooError(
                "--data.balanced draws every class equally often, and --model.optim.class_weights balanced would weigh the "
                "rare ones once more. Take one of them."
            )

    def on_fit_start(self) -> None:
        """Keep the encoder's features, weigh the classes, and take the statistics of `scalers`.

        Raises:
            SERZooError: balanced class weights are asked for, but no SERDataModule is there to count the classes of.
            LeakError: the training goes on with data that test speakers whom it has heard.
        """
        data = self._data_module()
        self.calibration = None  # of a checkpoint that was tested and is trained further; it would not hold
        if data is not None:
            self._trained_on, self.preparation = {**data.identity(), "heard": self._heard(data)}, data.preparation
        self._keep_features()
        if self.optim.class_weights == "balanced":
            if data is None:
                raise SERZooError("optim.class_weights balanced counts the classes of a SERDataModule; pass one to fit.")
            counts = torch.tensor(data.class_counts(), dtype=torch.float32, device=self.device)
            balanced = counts.sum() / (len(counts) * counts)
            self.class_weights.copy_(balanced.where(counts > 0, 1.0))  # 1 is the mean over rows; N / C would drown the labels
        if self.trainer.ckpt_path is None:  # else they were taken before the training that goes on, and came with its weights
            with self._evaluating():
                for scaler, rows in self.scalers():
                    scaler.fit(map(rows, self.training_batches()))

    def _heard(self, data: SERDataModule) -> list[str]:
        """Speakers of ``data`` by whom the model is trained and chosen, and of this corpus those by whom it was before."""
        before = self._trained_on or {}
        heard: set[str] = set(before.get("heard", ())) if before.get("corpus") == data.corpus.name else set()
        tested = {row.speaker for row in data.split.test}
        if self.trainer.ckpt_path is not None and (known := sorted(heard & tested)):
            raise LeakError(
                f"Cannot go on from {self.trainer.ckpt_path}: it has heard {len(known)} of the {len(tested)} test speakers, "
                f"{short_list(known, 5)}, as the data at {data.corpus.root} are not those that it began with. Put those back, "
                "or start a new run (leave --ckpt_path out)."
            )
        return sorted(heard.union(data.heard()))

    def on_fit_end(self) -> None:
        """Give the data module its waveforms back."""
        if (data := self._data_module()) is not None:
            data.silent = False

    def training_batches(self) -> Iterator[Batch]:
        """All training rows once, on this device and the same in every process: for statistics before training.

        Raises:
            SERZooError: the trainer was given no SERDataModule.
        """
        data = self._data_module()
        if data is None:
            raise SERZooError(f"{self.name} takes statistics of the training side from a SERDataModule; pass one to fit.")
        loader = data.statistics_dataloader()
        bar = tqdm(loader, desc="statistics", unit="batch", leave=False, delay=1, disable=self.global_rank > 0 or None)
        return (self.transfer_batch_to_device(batch, self.device, 0) for batch in bar)

    def scalers(self) -> list[tuple[Scaler, Callable[[Batch], Tensor]]]:
        """What scales by statistics of the training side, each with what gives its (N, ...) rows of a batch.

        They are taken once, before the first step, without dropout; architectures that scale more than states add to it.
        """
        mixes = [module.standardise for module in self.network.modules() if isinstance(module, LayerMix)]
        return [(standardise, self._states) for standardise in mixes if standardise is not None]

    def _states(self, batch: Batch) -> Tensor:
        """(N, L, D) encoder states of the valid frames of a batch."""
        states, lengths = self.encode(batch)
        return states.transpose(1, 2)[frame_mask(lengths, states.shape[2])]

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode; afterwards every module has the mode that it had."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser of ``optim``, with a group of its own for a fine-tuned encoder.

        Raises:
            SERZooError: a schedule is asked for that ends with the training, and the training has no end, or batches are of an
                iterable without a length.
        """
        encoder = self._encoder_parameters()
        head = [p for key, p in self.named_parameters() if not key.startswith(ENCODER_PREFIX) and p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": head}]
        if encoder:
            encoder_lr = self.optim.lr if self.optim.encoder_lr is None else self.optim.encoder_lr
            groups.append({"params": encoder, "lr": encoder_lr})
        kind = torch.optim.AdamW if self.optim.optimizer == "adamw" else torch.optim.Adam
        # In one pass over the parameters: on a processor seven times as fast for those of a fine-tuned encoder.
        fused = all(p.device.type in ("cpu", "cuda", "mps") for group in groups for p in group["params"])
        optimizer = kind(groups, lr=self.optim.lr, weight_decay=self.optim.weight_decay, fused=fused)
        # It could undo the scaling of float16 by itself; Lightning, which then refuses to clip gradients, is to do that.
        optimizer._step_supports_amp_scaling = False
        if self.optim.schedule == "constant":
            return optimizer
        if not 0 <= (planned := self.trainer.estimated_stepping_batches) < float("inf"):  # -1: of batches that nobody can count
            raise SERZooError(
                "--model.optim.schedule cosine falls to 0 at the end of the training, and by --trainer.max_epochs "
                f"{self.trainer.max_epochs} nobody knows where that is. Expected a number of epochs of batches that can be "
                "counted, or --trainer.max_steps; or --model.optim.schedule constant."
            )
        steps = max(1, int(planned))
        rise = max(1, round(self.optim.warmup * steps))
        if encoder and self.optim.encoder_rest:
            self._rest = round(self.optim.encoder_rest * steps)
            rates: list[Callable[[int], float]] = [
                partial(warm_cosine, start=start, rise=rise, steps=steps) for start in (0, self._rest)
            ]
            own = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": own, "interval": "step"}}
        schedules = [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1 / rise, total_iters=rise),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - rise)),
        ]
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, schedules, milestones=[rise])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what identifies the model; leave out the encoder's weights that its source has."""
        checkpoint[CHECKPOINT_KEY] = {
            "model": self.name,
            "labels": self.labels,
            "preparation": asdict(self.preparation),
            "trained_on": self._trained_on,
            "encoder": self._encoder_identity(),
            "calibration": None if self.calibration is None else asdict(self.calibration),
        }
        # Plain values only: checkpoints are loaded with weights_only=True.
        arguments = checkpoint["hyper_parameters"]
        arguments["optim"] = asdict(self.optim)
        if self.encoder is not None:
            arguments["encoder_options"] = asdict(self.encoder.options)
            left_out = {ENCODER_PREFIX + key for key in self.encoder.in_source()}
            for part in WEIGHTS & checkpoint.keys():
                checkpoint[part] = {k: v for k, v in checkpoint[part].items() if k not in left_out}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the encoder the weights back that the checkpoint left out, after proof that they are those of the training.

        Raises:
            EncoderError: the encoder is another one than the checkpoint was trained with.
        """
        identity = checkpoint[CHECKPOINT_KEY]
        self._trained_on, self.preparation = identity["trained_on"], Preparation(**identity["preparation"])
        calibration = identity.get("calibration")  # older checkpoints have none
        self.calibration = None if calibration is None else Calibration(**calibration)
        encoder = self.encoder
        if encoder is None:
            return
        left_out, state = encoder.in_source(), encoder.state_dict()
        expected, found = identity["encoder"] or {}, self._encoder_identity() or {}  # older ones of trained blocks have none
        differing = sorted(key for key in expected if expected[key] != found.get(key))
        sizes = {ENCODER_PREFIX + key: value.shape for key, value in state.items() if key not in left_out}
        held = {key: value.shape for key, value in checkpoint["state_dict"].items() if key.startswith(ENCODER_PREFIX)}
        if differing or sizes != held:
            differing = differing or ["the sizes of its weights"]
            raise EncoderError(
                f"The encoder {encoder.source} differs from the one this checkpoint was trained with in "
                f"{', '.join(differing)}. Pass the folder or hub name of the original with --encoder."
            )
        weights = {ENCODER_PREFIX + key: value for key, value in state.items() if key in left_out}
        for part in WEIGHTS & checkpoint.keys():
            checkpoint[part] = {**checkpoint[part], **weights}

    def _encoder_identity(self) -> dict[str, object] | None:
        """Fingerprint of what the source has, hashed once; of trained blocks, which are in the checkpoint, without weights."""
        encoder = self.encoder
        if self._fingerprint is None and encoder is not None:
            own = {"sample_rate": encoder.sample_rate, "preprocessing": encoder.network.description}
            self._fingerprint = encoder.fingerprint() if encoder.in_source() else own
        return self._fingerprint

    def parameter_counts(self) -> dict[str, int]:
        """``total`` (with the encoder) and ``trained`` parameters."""
        return {
            "total": sum(parameter.numel() for parameter in self.network.parameters()),
            "trained": sum(parameter.numel() for parameter in self.network.parameters() if parameter.requires_grad),
        }


def _own_optim(architecture: type[SERModule]) -> Optim:
    """The default ``optim`` of an architecture's constructor."""
    own = signature(architecture).parameters.get("optim")
    return own.default if own is not None and isinstance(own.default, Optim) else Optim()
