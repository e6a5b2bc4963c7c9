"""The one LightningDataModule: any corpus, any protocol, any model."""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from ser_zoo.corpora import Corpus, Several, Utterance, corpus_class, create_corpus
from ser_zoo.corpora.base import short_list
from ser_zoo.data.audio import Preparation, Waveform
from ser_zoo.data.audit import audit_split
from ser_zoo.data.augment import (
    Augmentation,
    Augmenter,
    RowAugmentation,
    add_noise,
    raise_pitch,
    set_speed,
    speed_ratio,
    variants,
)
from ser_zoo.data.batch import Batch
from ser_zoo.data.sampler import BucketSampler
from ser_zoo.data.waveforms import Waveforms, load_waveforms
from ser_zoo.errors import ProtocolError, SERZooError, SERZooWarning
from ser_zoo.protocols import RandomRows, Row, Split, check_split, cross_protocol, find_protocol
from ser_zoo.protocols.base import utterance_of
from ser_zoo.registry import expect_known, lookup

# What a row of its own can have done to it, besides a changed speed (``speed0.9``).
ROW_CHANGES: Mapping[str, Callable[[Waveform, np.random.Generator], Waveform]] = {
    "noise": add_noise,
    "pitch": lambda waveform, _: raise_pitch(waveform),
}
PROBABILITY, SNR_DB = 0.5, (0.0, 15.0)  # defaults, ours; with nothing to act on, no others are taken
SPEED = "speed"
SLOWEST, FASTEST = 0.5, 2.0  # of copies; beyond an octave it is no voice


class SERDataModule(L.LightningDataModule):
    """Speech emotion utterances of one corpus, split by one fold of one protocol.

    Args:
        corpus: name as ``ser-zoo corpora`` lists it; several with commas between them train together.
        root: folder of the official release, or of several corpora the folder that holds them. Default: $SER_ZOO_DATA/<corpus>,
            else data/<corpus>. Of csv the file, of audformat also the name of a published database (emodb==1.4.1).
        test: corpora that are tested in place of a part of the others, with commas between them. Of several corpora without it,
            each is tested in turn.
        shots: utterances per class of the tested corpora, by speakers who are not tested, that train too.
        task: which utterances are told apart, into which classes; ``ser-zoo corpora <corpus>`` lists them. Default: its first.
        labels: a label space that several corpora share (common4, common6, common7), in place of a task. Several corpora have
            common4 without it.
        protocol: name of the protocol; default: the corpus's honest one.
        fold: number of the fold, from 1.
        batch_size: utterances per batch and process.
        sample_rate: Hz that all recordings are resampled to.
        min_seconds: shorter utterances are repeated until they are this long.
        max_seconds: what lies beyond is cut off.
        crop_seconds: in training, take a random stretch of this length from longer utterances; default: all of it.
        augment: in training, change waveforms anew in each epoch: noise (white), speed (0.9 to 1.1), pitch (up to two semitones
            either way), vtlp (vocal-tract length, 0.9 to 1.1), reverb (made-up rooms).
        augment_probability: of each of these for a row.
        snr_db: lowest and highest signal-to-noise ratio of noise.
        speeds: in training, add every utterance once more at each of these speeds, tempo and pitch together; 0.9 and 1.1 are
            those of Ko et al. 2015. They are the same in all epochs, so that a frozen encoder's features of them can be kept.
        augment_rows: in training, add every utterance once more per subset of these (noise, pitch), as Lee & Nadeem 2025 do.
        balanced: in training, draw every class equally often; an epoch keeps its number of rows.
        soft_labels: in training, aim at the distribution of the annotators' labels; evaluation keeps to the one label.
        num_workers: processes that make batches. 0 is fastest while the waveforms are in memory and are not augmented.
        cache: keep decoded waveforms in memory or on disk (in $SER_ZOO_CACHE, else ~/.cache/ser_zoo).
        cache_gib: bound of that cache in GiB.
        on_bad_audio: stop at a recording that cannot be decoded, or skip it and list it in the result row.
        seed: of order, crops and noise; default: that of seed_everything, else 0.

    Attributes:
        silent: leave waveforms out of batches for training and validation; a model sets it while it trains on kept features
            alone.

    Raises:
        SERZooError: an argument makes no sense, two contradict each other, or corpus, task, labels or protocol are unknown.
    """

    def __init__(
        self,
        corpus: str,
        root: str | None = None,
        test: str | None = None,
        shots: int = 0,
        task: str | None = None,
        labels: str | None = None,
        protocol: str | None = None,
        fold: int = 1,
        batch_size: int = 16,
        sample_rate: int = 16_000,
        min_seconds: float = 0.0,
        max_seconds: float = 30.0,
        crop_seconds: float | None = None,
        augment: Sequence[Augmentation] = (),
        augment_probability: float = PROBABILITY,
        snr_db: tuple[float, float] = SNR_DB,
        speeds: Sequence[float] = (),
        augment_rows: Sequence[RowAugmentation] = (),
        balanced: bool = False,
        soft_labels: bool = False,
        num_workers: int = 0,
        cache: Literal["memory", "disk"] = "memory",
        cache_gib: float = 8.0,
        on_bad_audio: Literal["error", "skip"] = "error",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        # Not by Lightning to loggers: it refuses two meanings of `labels`, which is a space here and the classes in a model.
        self.save_hyperparameters(logger=False)
        expect_known(SERDataModule.__init__, self.hparams, "--data")
        trained, tested = (tuple(part.strip() for part in given.split(",")) if given else () for given in (corpus, test))
        if shots < 0:
            raise SERZooError(f"--data.shots {shots} makes no sense; expected 0 or more.")
        if len(trained) > 1 or tested:
            if task is not None:
                raise SERZooError(
                    f"--data.task {task} is of one corpus. Expected --data.labels, which names classes that corpora share."
                )
            readers, test_readers = ([corpus_class(name) for name in part] for part in (trained, tested))
            self.corpus: Corpus | Several = Several(readers, test_readers, root, labels)
            self.protocol = cross_protocol(trained, tested, shots, protocol)
        else:
            self.corpus = create_corpus(corpus, root, task, labels)
            if self.corpus.published is not None and root is not None:
                # Other folds and tests of a checkpoint take the version that is the latest now. Columns may follow the name.
                self.hparams["root"] = self.corpus.published + "".join(root.partition("?")[1:])
            self.protocol = cross_protocol(trained, (), shots, protocol) if shots else find_protocol(corpus, protocol)
        self.protocol.check_fold(fold)
        self.fold = fold
        self.batch_size = batch_size
        self.preparation = Preparation(sample_rate, min_seconds, max_seconds)
        self.crop_seconds = crop_seconds
        self.augment = tuple(augment)
        self.augment_probability = augment_probability
        if len(snr_db) != 2 or not -math.inf < snr_db[0] <= snr_db[1] < math.inf:
            raise SERZooError(f"--data.snr_db {list(snr_db)} makes no sense; expected the lowest and the highest ratio in dB.")
        self.snr_db = (float(snr_db[0]), float(snr_db[1]))
        self.speeds = tuple(sorted(set(map(float, speeds))))
        self.augment_rows = tuple(augment_rows)
        self.balanced = balanced
        self.soft_labels = soft_labels
        self.num_workers = num_workers
        self.cache = cache
        self.cache_gib = cache_gib
        self.on_bad_audio = on_bad_audio
        self.seed = seed if seed is not None else int(os.environ.get("PL_GLOBAL_SEED", "0"))
        self.silent = False
        self._utterances: list[Utterance] | None = None
        self._waveforms: Waveforms | None = None
        self._pitched: dict[str, Waveform] = {}
        self._split: Split | None = None
        self._certificate = ""
        self._refit = False
        self._outputs: list[str] | None = None
        self._check_sizes()
        self._check_changes()

    def _check_sizes(self) -> None:
        """Refuse numbers that make no sense."""
        rate, longest = self.preparation.sample_rate, self.preparation.max_seconds
        sizes = {
            "batch_size": self.batch_size,
            "sample_rate": rate,
            "max_seconds": longest,
            "crop_seconds": self.crop_seconds,
            "cache_gib": self.cache_gib,
        }
        for name, value in sizes.items():
            # Only the cache may do without a bound.
            if value is not None and not (0 < value < math.inf or (name == "cache_gib" and value == math.inf)):
                raise SERZooError(f"--data.{name} {value:g} makes no sense; expected more than 0, and a finite number.")
        for name, least in {"min_seconds": self.preparation.min_seconds, "num_workers": self.num_workers}.items():
            if not 0 <= least < math.inf:
                raise SERZooError(f"--data.{name} {least:g} makes no sense; expected 0 or more, and a finite number.")
        if self.crop_seconds is not None and round(self.crop_seconds * rate) == 0:
            raise SERZooError(
                f"--data.crop_seconds {self.crop_seconds:g} makes no sense; at {rate} Hz that is less than a sample. Expected "
                "a stretch that can be heard, in seconds."
            )
        if self.preparation.min_seconds > longest:
            raise SERZooError(
                f"--data.min_seconds {self.preparation.min_seconds:g} is more than --data.max_seconds {longest:g}, beyond "
                "which every utterance is cut off. Raise max_seconds, or lower min_seconds."
            )

    def _check_changes(self) -> None:
        """Refuse changes of training rows that make no sense."""
        named = ("augment", self.augment, Augmentation), ("augment_rows", self.augment_rows, RowAugmentation)
        for option, names, known in named:
            for name in names:
                lookup(dict.fromkeys(get_args(known)), name, f"--data.{option}")
            if len(set(names)) != len(names):
                raise SERZooError(f"--data.{option} {list(names)} names one of them twice. Expected each once at most.")
        if not 0 < self.augment_probability <= 1:
            raise SERZooError(
                f"--data.augment_probability {self.augment_probability:g} makes no sense; expected more than 0, at most 1."
            )
        idle = {
            "augment_probability": (self.augment_probability != PROBABILITY and not self.augment, "any"),
            "snr_db": (self.snr_db != SNR_DB and "noise" not in self.augment, "noise"),
        }
        for option, (unused, needed) in idle.items():
            if unused:
                raise SERZooError(
                    f"--data.{option} has nothing to act on, as --data.augment {list(self.augment)} does not name {needed}. "
                    f"Name it there, or leave {option} out."
                )
        if wrong := [speed for speed in self.speeds if not SLOWEST <= speed <= FASTEST or speed_ratio(speed) == 1]:
            raise SERZooError(
                f"--data.speeds {wrong[0]:g} makes no sense; expected factors from {SLOWEST:g} to {FASTEST:g} other than 1 "
                "(to half a hundredth), which every utterance has already."
            )
        if len({speed_ratio(speed) for speed in self.speeds}) < len(self.speeds):
            raise SERZooError(
                f"--data.speeds {list(self.speeds)} has speeds that are one, as they count to about a hundredth. Expected each "
                "once."
            )
        if self.augment_rows and isinstance(self.protocol, RandomRows):
            made = ", ".join("+".join(variant) for variant in self.protocol.variants if variant)
            raise SERZooError(
                f"--data.augment_rows {list(self.augment_rows)} would multiply the rows that protocol {self.protocol.name} "
                f"makes itself, before it splits ({made}). Expected --data.augment_rows '[]' with this protocol."
            )

    @property
    def utterances(self) -> list[Utterance]:
        """All utterances of the release that is there; read from file names, no recording is opened."""
        if self._utterances is None:
            self.prepare_data()
            self._utterances = self.corpus.utterances()
            if dropped := self.corpus.dropped:
                counts = ", ".join(f"{label} {count}" for label, count in dropped.items())
                say(
                    f"{self.corpus.title}: {len(self._utterances)} utterances of {', '.join(self.labels)}; "
                    f"{sum(dropped.values())} of other labels or parts are left out: {counts}."
                )
        return self._utterances

    @property
    def labels(self) -> list[str]:
        """Names of the classes that have utterances, in the order of the model's outputs; or those of ``number_as``."""
        if self._outputs is not None:
            return self._outputs
        present = {utterance.label for utterance in self.utterances}
        return [label for label in self.corpus.labels if label in present]

    def number_as(self, labels: Sequence[str]) -> None:
        """Number the classes as a trained model does, which knows all of them, and may know more or have another order."""
        self._outputs = list(labels)

    @property
    def waveforms(self) -> Waveforms:
        """Prepared waveforms by utterance id; the first use decodes them."""
        if self._waveforms is None:
            self._waveforms = load_waveforms(
                self.utterances, self.preparation, self.cache, self.cache_gib, self.on_bad_audio == "skip"
            )
            if bad := self._waveforms.bad:
                rank_zero_warn(
                    f"{self.corpus.title}: {len(bad)} of {len(self.utterances)} recordings cannot be used and are left out, as "
                    f"--data.on_bad_audio skip says: {short_list(list(bad), 5)}.",
                    category=SERZooWarning,
                )
        return self._waveforms

    @property
    def split(self) -> Split:
        """The sides of this fold, without recordings that were skipped; the first use checks it for leaks."""
        if self._split is None:
            usable = [utterance for utterance in self.utterances if utterance.id in self.waveforms]
            split = self.protocol.split(self.fold, usable)
            self._make_rows([row for side in split for row in side if isinstance(row, Row)])
            check_split(split, self.protocol, self.waveforms.content)
            self._split = split
            report = audit_split(split, self.labels, self.protocol.declared_leaks, self.protocol.texts_apart)
            self._certificate = str(report["hash"])
            for finding in report["findings"]:
                if finding["verdict"] == "fails":  # no leak, as these have been refused
                    rank_zero_warn(
                        f"Fold {self.fold} of protocol {self.protocol.name}: {finding['kind']} "
                        f"({', '.join(finding['examples'])}). A model cannot know what it is not taught.",
                        category=SERZooWarning,
                    )
            if out := {row.id for row in usable} - {utterance_of(row) for side in split for row in side}:
                say(f"Fold {self.fold} of protocol {self.protocol.name} leaves out {len(out)} of {len(usable)} utterances.")
        return self._split

    @property
    def certificate(self) -> str:
        """Hash of this fold's audit without audio, as ``ser-zoo audit`` gives it: who stands where, and what sides share."""
        _ = self.split
        return self._certificate

    def _make_rows(self, rows: Sequence[Row]) -> None:
        # They are the same in every epoch and fold, so what is kept of a waveform by id holds for them too.
        for row in rows:
            if row.id in self.waveforms:
                continue
            waveform = self.waveforms[row.utterance]
            generator = np.random.default_rng((self.seed, zlib.crc32(row.id.encode())))
            for change in row.variant:
                if change.startswith(SPEED):
                    rate = self.preparation.sample_rate
                    waveform = self.preparation(set_speed(waveform, float(change.removeprefix(SPEED))), rate)
                else:
                    waveform = ROW_CHANGES[change](waveform, generator)
            self.waveforms.arrays[row.id] = waveform
            self.waveforms.content[row.id] = "+".join((self.waveforms.content[row.utterance], *row.variant))

    @property
    def training_rows(self) -> list[Utterance]:
        """The training side of this fold, and its copies at ``speeds``; the first use makes these."""
        train = self.split.train
        copies = [Row.of(utterance, (f"{SPEED}{speed:g}",)) for speed in self.speeds for utterance in train]
        self._make_rows(copies)
        return [*train, *copies]

    @property
    def varying(self) -> list[str]:
        """Names of the settings by which what stands under an id in training is not what evaluation sees under it."""
        settings = {"augment": self.augment, "augment_rows": self.augment_rows, "crop_seconds": self.crop_seconds}
        return [name for name, value in settings.items() if value]

    def for_fold(self, fold: int) -> SERDataModule:
        """The same data under another fold; what is decoded already is shared, not read again."""
        other = SERDataModule(**{**self.hparams, "fold": fold})
        other._utterances, other._waveforms, other._pitched = self._utterances, self._waveforms, self._pitched
        return other

    def for_refit(self) -> SERDataModule:
        """The same fold, whose validation side trains as well and does not validate any more.

        Raises:
            ProtocolError: the fold validates on its test side.
        """
        if self.protocol.validates_on_test:
            raise ProtocolError(
                f"--refit trains on the validation side, and that of protocol {self.protocol.name} is its test side. Expected "
                "a protocol that validates on others than it tests; or leave --refit out."
            )
        train, validation, test = self.split
        other = self.for_fold(self.fold)
        other._split, other._certificate = Split([*train, *validation], [], test), self.certificate
        other._refit = True
        return other

    def identity(self) -> dict[str, object]:
        """What a checkpoint must remember to be tested on the same data: plain values, no path."""
        return {
            "corpus": self.corpus.name,
            "protocol": self.protocol.name,
            "protocol_version": self.protocol.version,
            "protocol_hash": self.protocol.hash,
            "world": self.protocol.world,
            "fold": self.fold,
            "labels": self.labels,
            "refit": self._refit,
        }

    def heard(self) -> list[str]:
        """Speakers by whom a model is trained and chosen, none of whom may be tested; empty where the protocol has it so."""
        if "speaker" in self.protocol.declared_leaks:
            return []
        chosen = [] if self.protocol.validates_on_test else self.split.validation
        return sorted({row.speaker for row in (*self.split.train, *chosen)})

    def class_counts(self) -> list[int]:
        """Training utterances per label, in the order of ``labels``."""
        labels = [utterance.label for utterance in self.split.train]
        return [labels.count(label) for label in self.labels]

    def prepare_data(self) -> None:
        """Make the corpus if it is one that can be made (demo)."""
        self.corpus.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Decode what is not decoded yet, and prove that the split does not leak.

        Raises:
            CorpusError: the release is not where it should be.
            AudioError: a recording cannot be decoded.
            ProtocolError: the fold cannot be made of what is there.
            LeakError: something stands on two sides.
            SERZooError: soft labels are asked for, and a training utterance has none.
        """
        split = self.split
        if stage in (None, "fit"):
            _ = self.training_rows
            if self.soft_labels:
                soft_targets(split.train, self.labels)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of the training speakers, with crops and augmentation."""
        return self._loader(self.training_rows, training=True, silent=self.silent)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation speakers."""
        return self._loader(self.split.validation, silent=self.silent)

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test speakers."""
        return self._loader(self.split.test)

    predict_dataloader = test_dataloader

    def statistics_dataloader(self) -> DataLoader[Batch]:
        """The training speakers with augmentation, once and all of them in every process: for statistics of features."""
        return self._loader(self.training_rows, training=True, shared=True)

    def _loader(
        self, utterances: list[Utterance], training: bool = False, shared: bool = False, silent: bool = False
    ) -> DataLoader[Batch]:
        changes = self._changes(utterances) if training else {}
        dataset = UtteranceDataset(utterances, self.labels, self.waveforms, **changes, silent=silent)
        alone = {"num_replicas": 1, "rank": 0} if shared else {}
        sampler = BucketSampler(
            dataset.lengths,
            self.batch_size,
            shuffle=training and not shared,
            seed=self.seed,
            classes=dataset.classes if self.balanced else None,
            **alone,
        )
        # The sampler gives whole batches, so the loader must not batch again.
        return _Loader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _changes(self, utterances: list[Utterance]) -> dict[str, Any]:
        """What sets training rows apart, as arguments of their dataset."""
        augmenter = Augmenter(self.augment, self.augment_probability, self.snr_db, self.preparation)
        return {
            "targets": soft_targets(utterances, self.labels) if self.soft_labels else None,
            "crop": round(self.crop_seconds * self.preparation.sample_rate) if self.crop_seconds else None,
            "augmenter": augmenter if self.augment else None,
            "variants": variants(self.augment_rows),
            "pitched": self._raised(utterances) if "pitch" in self.augment_rows else {},
            "seed": self.seed,
        }

    def _raised(self, utterances: list[Utterance]) -> dict[str, Waveform]:
        # Two semitones up is the same in every epoch and fold, and costs far more than a training step.
        for utterance in utterances:
            if utterance.id not in self._pitched:
                self._pitched[utterance.id] = raise_pitch(self.waveforms[utterance.id])
        return self._pitched


class UtteranceDataset(Dataset[Batch]):
    """Rows of a side; ``dataset[epoch, rows]`` is a whole Batch.

    Args:
        utterances: of the side.
        labels: class names in the order of the outputs.
        waveforms: id -> (T,) prepared waveform.
        targets: of each utterance, in place of its class: shares of the classes; None takes the class.
        crop: random stretch of this many samples; None takes all.
        augmenter: changes rows anew in each epoch; None changes nothing.
        variants: each utterance has one row per variant, to which noise and a raised pitch are added as it names them.
        pitched: id -> (T,) the utterance with raised pitch, where a variant names it.
        seed: of crops and augmentation, which are the same for the same seed, epoch and row.
        silent: leave waveforms out of rows that are the utterances as they are.

    Attributes:
        lengths: of each row in samples; with a changed speed approximately.
        classes: of each row, its number.
        whole: whether rows are the utterances as they are.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        labels: Sequence[str],
        waveforms: Mapping[str, Waveform],
        targets: Sequence[list[float]] | None = None,
        crop: int | None = None,
        augmenter: Augmenter | None = None,
        variants: Sequence[Sequence[RowAugmentation]] = ((),),
        pitched: Mapping[str, Waveform] | None = None,
        seed: int = 0,
        silent: bool = False,
    ) -> None:
        index = {label: number for number, label in enumerate(labels)}
        numbers = [index[utterance.label] for utterance in utterances]
        of_utterance: Sequence[int] | Sequence[list[float]] = numbers if targets is None else targets
        self.rows = [(utterance, variant) for utterance in utterances for variant in variants]
        self.classes = [number for number in numbers for _ in variants]
        self.targets = [target for target in of_utterance for _ in variants]
        self.waveforms = waveforms
        self.crop = crop
        self.augmenter = augmenter
        self.whole = crop is None and augmenter is None and not any(variants)
        self.silent = silent and self.whole
        self.pitched = pitched or {}
        self.seed = seed
        full = [len(waveforms[utterance.id]) for utterance, _ in self.rows]
        self.lengths = [min(length, crop) if crop else length for length in full]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, list[int]]) -> Batch:
        epoch, rows = key
        waveforms = [self._waveform(epoch, row) for row in rows]
        # The sampler numbers the repetitions of a row on beyond the last row.
        places = [row % len(self.rows) for row in rows]
        return collate(
            waveforms,
            [self.rows[place][0].id for place in places],
            [self.targets[place] for place in places],
            self.whole,
            self.silent,
        )

    def _waveform(self, epoch: int, row: int) -> Waveform:
        utterance, variant = self.rows[row % len(self.rows)]
        if self.whole:
            return self.waveforms[utterance.id]
        waveform = (self.pitched if "pitch" in variant else self.waveforms)[utterance.id]
        generator = np.random.default_rng((self.seed, epoch, row))
        chosen = self.augmenter.choose(generator) if self.augmenter else frozenset()
        if self.augmenter and "speed" in chosen:
            waveform = self.augmenter.respeed(waveform, generator)
        if self.crop and len(waveform) > self.crop:
            start = int(generator.integers(len(waveform) - self.crop + 1))
            waveform = waveform[start : start + self.crop]
        if "noise" in variant:
            waveform = add_noise(waveform, generator)
        return self.augmenter(waveform, chosen, generator) if self.augmenter else waveform


class _Loader(DataLoader[Batch]):
    """Its workers begin when the first batch is asked for.

    Lightning makes the iterator of a training before it names the epoch, so that after a checkpoint workers would begin with
    batches of another one.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names its private class
        yield from super().__iter__()


@rank_zero_only
def say(text: str) -> None:
    """Log for the user, in the first process alone; the command line prints it."""
    logging.getLogger(__name__).info(text)


def soft_targets(utterances: Sequence[Utterance], labels: Sequence[str]) -> list[list[float]]:
    """The annotators' distribution over ``labels`` per utterance, summing to 1; votes for other classes are left out.

    Raises:
        SERZooError: an utterance has none, or none over these labels.
    """
    votes = [[float((utterance.soft or {}).get(label, 0.0)) for label in labels] for utterance in utterances]
    if without := [row.id for row, given in zip(utterances, votes, strict=True) if min(given) < 0 or sum(given) <= 0]:
        raise SERZooError(
            f"--data.soft_labels: {len(without)} of {len(utterances)} training utterances have no distribution over "
            f"{', '.join(labels)}: {short_list(without, 3)}. Expected shares or votes of annotators for each. Take a corpus "
            "whose release has them, or leave --data.soft_labels out to train on the one label."
        )
    return [[vote / sum(given) for vote in given] for given in votes]


def collate(
    waveforms: Sequence[Waveform],
    ids: Sequence[str],
    labels: Sequence[int | list[float]] | None = None,
    whole: bool = True,
    silent: bool = False,
) -> Batch:
    """Pad B waveforms (T_b,) to a Batch, or leave them out where it is to be ``silent``.

    Labels are B numbers or B x C shares; without labels they are -1.
    """
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    known = torch.tensor(labels) if labels is not None else torch.full((len(waveforms),), -1)
    if silent:
        return Batch(torch.full((len(waveforms), 1), torch.nan), lengths, known, list(ids), whole)
    # Every sample is written once, which is half the time of a copy into zeros; and read once: it may be memory-mapped.
    padded = torch.empty(len(waveforms), int(lengths.max()))
    for row, waveform in zip(padded.numpy(), waveforms, strict=True):
        row[: len(waveform)], row[len(waveform) :] = waveform, 0.0
    return Batch(padded, lengths, known, list(ids), whole)
