"""Robustness: WA and UA of a trained model when the waveforms of the test speakers are changed.

``PERTURBATIONS`` is the table of changes. They are made at test time only; training and validation never see them. What they
draw (noise, talkers, rooms) is decided by a seed and the utterance's id, so that a model meets the same audio whenever it is
measured, and the same draw serves all levels of a family. Each acts on the waveform that the model would be given, and the
bounds of length of the model's preparation hold afterwards too.

A frozen encoder and a front end compute live here, with and without a perturbation: nothing is read from or added to the
features that are kept by utterance id.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ser_zoo import metrics
from ser_zoo.cache import write_json
from ser_zoo.data import Batch, SERDataModule, resample
from ser_zoo.data.audio import Waveform
from ser_zoo.data.augment import add_white_noise, reverberate
from ser_zoo.data.datamodule import collate
from ser_zoo.data.sampler import BucketSampler
from ser_zoo.errors import RunError, SERZooError
from ser_zoo.evaluation.callbacks import PredictionCollector
from ser_zoo.evaluation.result import ROW, commit, protocol_of, read_result, score, versions
from ser_zoo.evaluation.run import interruptible, make_trainer
from ser_zoo.evaluation.schema import Schema
from ser_zoo.models.base import CHECKPOINT_KEY, SERModule
from ser_zoo.protocols.base import utterance_of
from ser_zoo.registry import lookup
from ser_zoo.settings import settled

SCHEMA, SCHEMA_VERSION = Schema("robustness", "robustness report"), 1
ROBUSTNESS = "robustness.json"
Report = dict[str, Any]
# What two folds must share to be pooled; the perturbations as well.
IDENTITY = ("model", "corpus", "synthetic", "labels", "seed", "encoder", "refit", "perturbation_seed")
PROTOCOL = ("name", "version", "hash", "world", "declared_leaks")

SNRS_DB = (20, 10, 5, 0)
# Simpson & Cooke 2005: listeners understand least among 6 to 128 talkers.
TALKERS = 8
# G.711 samples at 8 kHz; G.712 passes 300 to 3400 Hz. The slopes beside that band are ours: G.712 gives bounds only.
TELEPHONE_RATE = 8_000
TELEPHONE_BAND = ((200.0, 0.0), (300.0, 1.0), (3400.0, 1.0), (3700.0, 0.0))  # Hz, gain
# Wideband speech, and the one rate that both coders take and libsndfile writes.
CODING_RATE = 16_000
# Where libsndfile reads no length from an MP3, decoding begins this many samples early: LAME adds 576, a decoder 529.
MP3_DELAY = 1105
# libsndfile sets the bit rate by a number from 0 to 1, in kbit/s 160 - 152 x for MP3 at 16 kHz and 256 - 250 x for Opus.
MP3_LEVELS = {32: 0.842, 16: 0.947}
OPUS_LEVELS = {16: 0.96, 8: 0.992}
GAINS_DB = (6, -6)
SILENT = 1e-30  # keeps silence from being divided by


class Scene(NamedTuple):
    """What a perturbation may use besides the waveform.

    Attributes:
        rate: Hz of the waveform.
        generator: seeded by the user's seed and the utterance.
        voices: waveforms of training speakers, for babble: no test audio is mixed into other test audio.
    """

    rate: int
    generator: np.random.Generator
    voices: Sequence[Waveform]


@dataclass(frozen=True)
class Perturbation:
    """A change of a waveform.

    Attributes:
        title: for tables.
        family: perturbations of one family differ in the level only.
        level: how strong; None where a family has one member.
        unit: of the level.
        source: of its constants.
        change: (T,) and a scene -> (T',), T' > 0.
    """

    title: str
    family: str
    level: float | None
    unit: str
    source: str
    change: Callable[[Waveform, Scene], Waveform]

    def describe(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"title": self.title, "family": self.family, "level": self.level, "unit": self.unit}


def white_noise(waveform: Waveform, scene: Scene, snr_db: float) -> Waveform:
    """White noise at a ratio of powers over the whole clip, not limited to full scale: (T,) -> (T,). Silence stays silent."""
    return add_white_noise(waveform, snr_db, scene.generator)


def babble(waveform: Waveform, scene: Scene, snr_db: float) -> Waveform:
    """``TALKERS`` utterances of training speakers, equally strong, at a ratio of powers over the whole clip: (T,) -> (T,).

    Each begins at a place of its own and is repeated until the clip ends. Silence stays silent.
    """
    count, samples = len(scene.voices), len(waveform)
    noise = np.zeros(samples)
    for number in scene.generator.choice(count, TALKERS, replace=count < TALKERS):
        voice = scene.voices[number]
        stretch = voice[(scene.generator.integers(len(voice)) + np.arange(samples)) % len(voice)].astype(np.float64)
        noise += stretch / max(float(np.linalg.norm(stretch)), SILENT)
    scale = np.linalg.norm(waveform) / max(float(np.linalg.norm(noise)), SILENT) * 10 ** (-snr_db / 20)
    return (waveform + scale * noise).astype(np.float32)


def room(waveform: Waveform, scene: Scene) -> Waveform:
    """Reverberation of a made-up room, of the same kind as ``--data.augment reverb`` makes: (T,) -> (T,)."""
    return reverberate(waveform, scene.rate, scene.generator)


def telephone(waveform: Waveform, scene: Scene) -> Waveform:
    """The band of a telephone line and its 8 bits a sample in mu-law: (T,) -> (T,)."""
    narrow = resample(np.array(waveform), scene.rate, TELEPHONE_RATE)
    # Room for the filter to ring, or its end would reach into the beginning.
    points = len(narrow) + TELEPHONE_RATE // 10
    hertz, gains = zip(*TELEPHONE_BAND, strict=True)
    response = np.interp(np.fft.rfftfreq(points, 1 / TELEPHONE_RATE), hertz, gains)
    line = np.fft.irfft(np.fft.rfft(narrow, points) * response, points)[: len(narrow)]
    heard = _coded(line.astype(np.float32), TELEPHONE_RATE, format="WAV", subtype="ULAW")
    return _of_length(resample(heard, TELEPHONE_RATE, scene.rate), len(waveform))


def mp3(waveform: Waveform, scene: Scene, level: float) -> Waveform:
    """Coded as MP3 at a constant bit rate and decoded, without delay: (T,) -> (T,).

    Args:
        waveform: to change.
        scene: its rate.
        level: libsndfile's compression level.
    """
    options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": level}
    return _at_coding_rate(waveform, scene, **options)


def opus(waveform: Waveform, scene: Scene, level: float) -> Waveform:
    """Coded as Opus and decoded: (T,) -> (T,); arguments as those of ``mp3``."""
    return _at_coding_rate(waveform, scene, format="OGG", subtype="OPUS", compression_level=level)


def middle_half(waveform: Waveform, scene: Scene) -> Waveform:
    """The clip without its first and last quarter: (T,) -> (T / 2,), rounded up."""
    start = len(waveform) // 4
    return waveform[start : start + (len(waveform) + 1) // 2]


def gain(waveform: Waveform, scene: Scene, decibels: float) -> Waveform:
    """Louder or softer; what exceeds full scale is clipped: (T,) -> (T,)."""
    changed: Waveform = np.clip(waveform * np.float32(10 ** (decibels / 20)), -1.0, 1.0)
    return changed


PERTURBATIONS: Mapping[str, Perturbation] = {
    **{
        f"white_{snr}": Perturbation(
            f"white noise at {snr} dB SNR", "white noise", snr, "dB SNR", "levels: ours", partial(white_noise, snr_db=snr)
        )
        for snr in SNRS_DB
    },
    **{
        f"babble_{snr}": Perturbation(
            f"babble at {snr} dB SNR",
            "babble",
            snr,
            "dB SNR",
            f"{TALKERS} talkers of the training side: Simpson & Cooke 2005; levels: ours",
            partial(babble, snr_db=snr),
        )
        for snr in SNRS_DB
    },
    "reverb": Perturbation(
        "reverberation", "reverberation", None, "", "decaying noise: Polack 1988; 0.2 to 0.8 s, 0 to 10 dB direct: ours", room
    ),
    "telephone": Perturbation(
        "telephone", "telephone", None, "", "300 to 3400 Hz: ITU-T G.712; 8 kHz, mu-law: ITU-T G.711", telephone
    ),
    **{
        f"mp3_{rate}": Perturbation(
            f"MP3 at {rate} kbit/s",
            "MP3",
            rate,
            "kbit/s",
            "LAME in libsndfile; rates: ours",
            partial(mp3, level=level),
        )
        for rate, level in MP3_LEVELS.items()
    },
    **{
        f"opus_{rate}": Perturbation(
            f"Opus at {rate} kbit/s",
            "Opus",
            rate,
            "kbit/s",
            "libsndfile; rates: RFC 7587 3.1.1, the lowest for wideband (16) and narrowband (8) speech",
            partial(opus, level=level),
        )
        for rate, level in OPUS_LEVELS.items()
    },
    "crop": Perturbation("middle half", "middle half", None, "", "ours", middle_half),
    **{
        f"gain_{'up' if decibels > 0 else 'down'}": Perturbation(
            f"gain of {decibels:+} dB",
            "gain",
            decibels,
            "dB",
            "levels: ours",
            partial(gain, decibels=decibels),
        )
        for decibels in GAINS_DB
    },
}


def choose(names: Sequence[str] | None = None) -> dict[str, Perturbation]:
    """Perturbations by name, each tried on a moment of silence.

    Args:
        names: which; None takes all.

    Raises:
        UnknownNameError: there is none of that name.
        SERZooError: libsndfile here has not the coder that one needs.
    """
    chosen = {name: lookup(PERTURBATIONS, name, "perturbation") for name in (PERTURBATIONS if names is None else names)}
    silence = np.zeros(1600, np.float32)
    for name, perturbation in chosen.items():
        try:
            perturbation.change(silence, Scene(16_000, np.random.default_rng(0), [silence]))
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            raise SERZooError(
                f"Perturbation {name}: soundfile {soundfile.__version__} with libsndfile {soundfile.__libsndfile_version__} "
                f"cannot code it here ({error}). Expected soundfile 0.13 or newer with a libsndfile 1.2 that writes MP3 and "
                "Opus, as its wheels do: pip install --upgrade soundfile. Or name others with --perturbations."
            ) from error
    return chosen


class PerturbedTest(Dataset[Batch]):
    """The test side of a fold under one perturbation; ``dataset[epoch, rows]`` is a whole Batch.

    Args:
        data: the fold.
        perturbation: None leaves the waveforms as they are.
        seed: of what is drawn, together with the id.

    Attributes:
        rows: the test side.
        lengths: of each row in samples, before the perturbation.
    """

    def __init__(self, data: SERDataModule, perturbation: Perturbation | None, seed: int) -> None:
        self.rows = data.split.test
        self.lengths = [len(data.waveforms[row.id]) for row in self.rows]
        self.labels = data.labels
        self.waveforms = data.waveforms
        self.preparation = data.preparation
        self.perturbation = perturbation
        self.seed = seed
        # Under as_published protocols a training row may be made of a test utterance.
        tested = {utterance_of(row) for row in self.rows}
        self.voices = [data.waveforms[row.id] for row in data.split.train if utterance_of(row) not in tested]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, list[int]]) -> Batch:
        rows = [self.rows[row] for row in key[1]]
        classes = [self.labels.index(row.label) for row in rows]
        # Not whole: no feature that is kept under an id holds for these rows, and none of theirs may be kept.
        return collate([self.waveform(row.id) for row in rows], [row.id for row in rows], classes, whole=False)

    def waveform(self, id: str) -> Waveform:
        """What the model hears of an utterance: (T,)."""
        waveform = self.waveforms[id]
        if self.perturbation is None:
            return waveform
        rate = self.preparation.sample_rate
        scene = Scene(rate, np.random.default_rng((self.seed, zlib.crc32(id.encode()))), self.voices)
        return self.preparation(self.perturbation.change(waveform, scene), rate)


def measure_robustness(
    model: SERModule,
    data: SERDataModule,
    perturbations: Mapping[str, Perturbation],
    trainer: Mapping[str, Any],
    epoch: int,
    seed: int | None = None,
    perturbation_seed: int = 0,
    refit: bool = False,
) -> Report:
    """Test a loaded model on the test speakers of ``data``, as recorded and under each perturbation.

    Args:
        model: as ``load_model`` gives it.
        data: the fold.
        perturbations: as ``choose`` gives them.
        trainer: arguments of ``lightning.Trainer``.
        epoch: of the checkpoint.
        seed: of the training; None where it is not known.
        perturbation_seed: of noise, babble and rooms.
        refit: whether the model was trained on the validation speakers too.

    Returns:
        What ``robustness.schema.json`` describes.
    """
    commit()  # of the code that measures, not of what the checkout has by the end; what it gives is kept
    bar = tqdm({"clean": None, **perturbations}.items(), desc="perturbations", leave=False, disable=None)
    measured: dict[str, dict[str, Any]] = {}
    for name, perturbation in bar:
        confusion = _test(model, PerturbedTest(data, perturbation, perturbation_seed), data.batch_size, trainer)
        measured[name] = {**(perturbation.describe() if perturbation else {}), **_measures(confusion)}
    clean = measured.pop("clean")
    return {
        "schema": SCHEMA_VERSION,
        "model": model.name,
        "corpus": data.corpus.name,
        "synthetic": data.corpus.synthetic,
        "labels": model.labels,
        "protocol": protocol_of(data),
        "fold": data.fold,
        "seed": seed,
        "encoder": None if model.encoder is None else Path(model.encoder.source).name,
        "refit": refit,
        "epoch": epoch,
        "test": len(data.split.test),
        "perturbation_seed": perturbation_seed,
        "clean": clean,
        "perturbations": measured,
        "versions": {**versions(), "soundfile": soundfile.__version__, "libsndfile": soundfile.__libsndfile_version__},
        "commit": commit(),
    }


class Origin(NamedTuple):
    """Where a checkpoint comes from.

    Attributes:
        epoch: of the checkpoint, from 0.
        seed: of its training; None where no result row says it.
        refit: whether it was trained on the validation speakers too.
        target: the report to write.
    """

    epoch: int
    seed: int | None
    refit: bool
    target: Path


def find_origin(checkpoint: Path, output: Path | None = None) -> Origin:
    """Where the report of a checkpoint belongs: beside the result row that the same checkpoint gave, or where the user says.

    Args:
        checkpoint: such as ``RUN/fold-1/checkpoints/best.ckpt``.
        output: the user's own place, which needs no row.

    Raises:
        RunError: there is no row, it is that of another checkpoint, or the report is there already.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    identity, trained_on, epoch = content[CHECKPOINT_KEY], content[CHECKPOINT_KEY]["trained_on"] or {}, int(content["epoch"])
    path = checkpoint.absolute().parent.parent / ROW
    row = read_result(path) if path.is_file() else None
    if output is None:
        if row is None:
            raise RunError(f"There is no result row {path}, beside which {ROBUSTNESS} would stand. Pass --output FILE.")
        of_row = {
            "model": row["model"],
            "labels": row["labels"],
            "corpus": row["corpus"],
            "protocol_hash": row["protocol"]["hash"],
            "fold": row["fold"],
            "epoch": row["selection"]["epoch"],
            "refit": settled(row["config"])["refit"],
        }
        here = {"refit": False, **trained_on, "model": identity["model"], "labels": identity["labels"], "epoch": epoch}
        if differing := [f"{key} {here.get(key)}, not {value}" for key, value in of_row.items() if here.get(key) != value]:
            raise RunError(
                f"The row {path} was computed from another checkpoint than {checkpoint}, which has {'; '.join(differing)}. "
                "Expected the one that was tested (refit.ckpt with --refit, else best.ckpt, or last.ckpt with --monitor last); "
                "or pass --output FILE."
            )
    target = output or path.with_name(ROBUSTNESS)
    if target.exists():
        raise RunError(f"{target} exists already. Results are never overwritten: remove it, or pass another --output.")
    return Origin(epoch, None if row is None else int(row["seed"]), bool(trained_on.get("refit")), target)


def write_robustness(path: Path, report: Report) -> None:
    """Write a report, whole or not at all.

    Raises:
        RunError: it does not fit its schema, or one is there already.
    """
    SCHEMA.check(report, "the new report")
    if path.exists():
        raise RunError(f"{path} exists already. Results are never overwritten: remove it, or pass another --output.")
    write_json(path, report)


def read_robustness(path: Path) -> Report:
    """A stored report.

    Raises:
        RunError: it is missing, is not JSON, or does not fit the schema.
    """
    return {"refit": False, **SCHEMA.read(path)}  # older reports do not say


def pool_robustness(reports: Sequence[Report]) -> Report:
    """Several folds of one model as configured, with one seed, taken together.

    Args:
        reports: of the folds.

    Returns:
        What the folds share; ``folds``; ``test``, all utterances; ``clean`` and ``perturbations`` as in a report, with the
        confusion matrices summed over the folds, and WA and UA of the sums.

    Raises:
        RunError: there is none, a fold is there twice, or they differ in model, corpus, protocol, labels, seeds, encoder,
            refit or perturbations.
    """
    if not reports:
        raise RunError("No robustness report to pool. Expected one per fold; see ser-zoo robustness.")
    folds = [report["fold"] for report in reports]
    if len(set(folds)) < len(folds):
        raise RunError(f"Robustness reports of folds {', '.join(map(str, folds))} cannot be pooled: one is there twice.")
    first = reports[0]
    for report in reports[1:]:
        if differing := [name for name, value in _shared(first).items() if _shared(report)[name] != value]:
            raise RunError(
                f"Robustness reports of folds {first['fold']} and {report['fold']} differ in {', '.join(differing)}. Expected "
                "folds of one model, measured alike; measure the others again."
            )
    return {
        **{key: first[key] for key in IDENTITY},
        "protocol": {key: value for key, value in first["protocol"].items() if key in PROTOCOL},
        "folds": folds,
        "test": sum(report["test"] for report in reports),
        "clean": _pooled([report["clean"] for report in reports]),
        "perturbations": {
            name: _pooled([report["perturbations"][name] for report in reports]) for name in first["perturbations"]
        },
    }


def _shared(report: Report) -> dict[str, Any]:
    perturbations = {name: {key: of[key] for key in ("family", "level")} for name, of in report["perturbations"].items()}
    protocol = {key: report["protocol"][key] for key in PROTOCOL}
    return {**{key: report[key] for key in IDENTITY}, "protocol": protocol, "perturbations": perturbations}


def _pooled(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {**parts[0], **_measures(torch.tensor([part["confusion"] for part in parts]).sum(0))}


def _measures(confusion: Tensor) -> dict[str, Any]:
    return {"wa": float(metrics.wa(confusion)), "ua": float(metrics.ua(confusion)), "confusion": confusion.tolist()}


def _test(model: SERModule, side: PerturbedTest, batch_size: int, trainer: Mapping[str, Any]) -> Tensor:
    collector = PredictionCollector()
    sampler = BucketSampler(side.lengths, batch_size, shuffle=False)
    loader = DataLoader(side, batch_size=None, sampler=sampler)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "enable_progress_bar": False}
    # Not given as a data module, for which the model would keep features.
    tester = make_trainer({**trainer, **quiet, "callbacks": [collector]})
    with interruptible(tester, resumable=False):
        tester.test(model, loader, verbose=False)
    return score(collector.batches).confusion


def _at_coding_rate(waveform: Waveform, scene: Scene, **coder: Any) -> Waveform:
    sent = resample(np.array(waveform), scene.rate, CODING_RATE)
    heard = _coded(sent, CODING_RATE, **coder)
    if len(heard) > len(sent):  # an MP3 of so low a rate that its first frame has no room for the length
        heard = heard[MP3_DELAY:]
    return _of_length(resample(_of_length(heard, len(sent)), CODING_RATE, scene.rate), len(waveform))


def _coded(waveform: Waveform, rate: int, **coder: Any) -> Waveform:
    """Through a coder and back, in memory; what exceeds full scale is clipped, as it has no code."""
    buffer = BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1.0, 1.0), rate, **coder)
    buffer.seek(0)
    heard: Waveform = soundfile.read(buffer, dtype="float32")[0]
    return heard


def _of_length(waveform: Waveform, samples: int) -> Waveform:
    return np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))
