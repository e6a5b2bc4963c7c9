"""What a network reads of a batch: the outputs of its encoder and its front end, computed once and kept where they hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from ser_zoo.data import Batch, SERDataModule
from ser_zoo.data.waveforms import Waveforms
from ser_zoo.encoders import EncoderOutput, FeatureStore, SpeechEncoder
from ser_zoo.features import Frames, FrontEnd, KeptFrames, rows_of
from ser_zoo.models.augment import change_features
from ser_zoo.models.layers import Condense
from ser_zoo.models.optim import Optim

ENCODER_PREFIX = "network.encoder."


class FeatureModule(L.LightningModule):
    """The part of every architecture that gives its ``network`` what it reads.

    Args:
        optim: says when the encoder rests, and where features are changed.
    """

    network: nn.Module
    reads_states_alone: ClassVar[bool] = False
    """The network reads nothing but the encoder's output; padding and moving waveforms can then be spared."""

    def __init__(self, optim: Optim) -> None:
        super().__init__()
        self.optim = optim
        self._kept_of: Waveforms | None = None  # whose features the stores have
        self._store: FeatureStore | None = None
        self._resting_store: FeatureStore | None = None  # what a fine-tuned encoder gives while it rests
        self._rest = 0  # steps in which a fine-tuned encoder stays as it is
        self.feature_seconds = 0.0  # that keeping the encoder's features has taken

    @property
    def encoder(self) -> SpeechEncoder | None:
        """The network's pre-trained encoder; None if it has none."""
        encoder = getattr(self.network, "encoder", None)
        return encoder if isinstance(encoder, SpeechEncoder) else None

    @property
    def front_end(self) -> FrontEnd | None:
        """The network's features without trained parameters; None if it has none."""
        front_end = getattr(self.network, "front_end", None)
        return front_end if isinstance(front_end, FrontEnd) else None

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """What the network takes: waveforms, lengths, and what encoder and front end give, with the change of the batch."""
        inputs: dict[str, Any] = {"waveforms": batch.waveforms, "lengths": batch.lengths}
        change = batch.change
        if self.encoder is not None:
            encoded = self.encode(batch)
            if change is not None and (self._resting or not self.optim.change_below):
                encoded = EncoderOutput(*change_features(*encoded, change))
            inputs["encoded"] = encoded
        if self.front_end is not None:
            frames = self.frames(batch)
            inputs["frames"] = frames if change is None else tuple(Frames(*change_features(*item, change)) for item in frames)
        return inputs

    @property
    def keeps_states(self) -> bool:
        """Whether what the encoder gives for an utterance holds wherever the network reads it, and so is kept."""
        return True

    @property
    def silent(self) -> bool:
        """Whether training takes no waveforms, because all that the network reads is kept before."""
        return self.reads_states_alone and self.keeps_states and self.encoder is not None and self.encoder.frozen

    @property
    def condense(self) -> Condense | None:
        """What the network makes of the encoder's states before its first trained parameter; None if nothing."""
        condense = getattr(self.network, "condense", None)
        return condense if isinstance(condense, Condense) else None

    def encode(self, batch: Batch) -> EncoderOutput:
        """The encoder's output for a batch, condensed where the network does so: kept where it holds, computed otherwise."""
        if not self._resting:
            return self._encoded(batch, self._store)
        with torch.no_grad():
            store = self._store if self._resting_store is None else self._resting_store
            states, lengths = self._encoded(batch, store)
        # Several processes wait for a gradient of every trained parameter.
        return EncoderOutput(states + 0.0 * torch.stack([p.sum() for p in self._encoder_parameters()]).sum(), lengths)

    @property
    def _resting(self) -> bool:
        """Whether a fine-tuned encoder stays as it is in this step of the training."""
        return self.training and self._trainer is not None and self.global_step < self._rest

    def _encoded(self, batch: Batch, store: FeatureStore | None) -> EncoderOutput:
        assert self.encoder is not None, "only architectures with an encoder encode"
        condense, data = self.condense, self._data_module()
        if store is not None and not (batch.whole and all(key in store for key in batch.ids)):
            store = None
        if store is None or (store is self._store and not self.encoder.frozen):
            encoded = self._computed(self.encoder, batch, store)
            return encoded if condense is None else condense(*encoded)
        if condense is None or data is None:
            encoded = store.get(batch.ids, self.device)
            return encoded if condense is None else condense(*encoded)

        def rows(places: Sequence[int]) -> list[tuple[Tensor, ...]]:
            states = (condense(*store.get([batch.ids[place]])).states[0] for place in places)
            return [(values.transpose(0, 1).contiguous(),) for values in states]

        kept: KeptFrames = data.waveforms.derived.setdefault(f"{store.folder.name} {condense}", KeptFrames())
        ((values, lengths),) = kept.get(batch.ids, rows, self.device)
        return EncoderOutput(values.transpose(1, 2), lengths)

    def _computed(self, encoder: SpeechEncoder, batch: Batch, store: FeatureStore | None) -> EncoderOutput:
        """The encoder's output for a batch; ``store`` has the states below the first trained block, if they are kept."""
        change = batch.change if self.optim.change_below and not self._resting else None
        kept = None if store is None else store.get(batch.ids, self.device)
        if kept is not None and change is not None:
            kept = EncoderOutput(*change_features(*kept, change))
        resumed = None if kept is None else encoder.resume(kept)
        states, lengths = encoder(batch.waveforms, batch.lengths) if resumed is None else resumed
        if resumed is None and change is not None:  # clips that are cut, or too long to be gone on from
            states, lengths = change_features(states, lengths, change)
        return EncoderOutput(states, lengths)

    def _encoder_parameters(self) -> list[nn.Parameter]:
        """Those of the encoder that are trained."""
        return [p for key, p in self.named_parameters() if key.startswith(ENCODER_PREFIX) and p.requires_grad]

    def frames(self, batch: Batch) -> tuple[Frames, ...]:
        """The front end's output for a batch: kept where it holds, computed otherwise."""
        assert self.front_end is not None, "only architectures with a front end have frames"
        data = self._data_module()
        if data is None or not batch.whole or not all(key in data.waveforms for key in batch.ids):
            live: tuple[Frames, ...] = self.front_end(batch.waveforms, batch.lengths)
            return live
        kept: KeptFrames = data.waveforms.derived.setdefault(repr(self.front_end), KeptFrames())
        compute = partial(rows_of, self.front_end, batch.waveforms, batch.lengths)
        return kept.get(batch.ids, compute, batch.waveforms.device)

    def on_train_start(self) -> None:
        """Keep what a fine-tuned encoder gives while it rests, unless a resumed training is beyond that."""
        data, encoder = self._data_module(), self.encoder
        # Of what LoRA adapts the blocks below are kept, and those above are computed.
        if self.global_step < self._rest and data is not None and not data.varying and self.keeps_states:
            assert encoder is not None, "only an encoder rests"
            if not encoder.options.lora_rank:
                self._resting_store = self._kept(encoder.kept(encoder.layers), data)

    def on_test_start(self) -> None:
        """Keep the encoder's features, so that testing uses those of training."""
        self._keep_features()

    on_validation_start = on_test_start
    on_predict_start = on_test_start

    def _data_module(self) -> SERDataModule | None:
        # ``trainer`` raises while there is none, and a model is also called without one.
        data = getattr(self._trainer, "datamodule", None)
        return data if isinstance(data, SERDataModule) else None

    def _keep_features(self) -> None:
        data = self._data_module()
        encoder = self.encoder
        if encoder is None or data is None or not self.keeps_states or self._kept_of is data.waveforms:
            return
        # Stores go by the ids of utterances, under which other data may have other recordings.
        self._kept_of, self._store, self._resting_store = data.waveforms, None, None
        if encoder.frozen:
            self._store = self._kept(encoder, data)
        elif encoder.kept_layers and not data.varying:
            self._store = self._kept(encoder.kept(encoder.kept_layers), data)

    def _kept(self, encoder: SpeechEncoder, data: SERDataModule) -> FeatureStore:
        """What a frozen encoder gives for all that is decoded."""
        started = time.perf_counter()
        store = FeatureStore(encoder.to(self.device))
        store.fill(data.waveforms, rank=self.trainer.global_rank, world=self.trainer.world_size)
        self.trainer.strategy.barrier()
        store.refresh()
        self.feature_seconds += time.perf_counter() - started
        return store
