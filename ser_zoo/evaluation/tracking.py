"""Weights & Biases: one run per fold, with its learning curves, result row, predictions, and what its worst errors sound like.

Runs of one model, corpus and protocol form a group. Their configuration is the row's, which holds no local path, and their
numbers at the end are those of the stored row. Where nobody is logged in everything is written into the fold's folder, and
``wandb sync`` sends the same later.
"""

from __future__ import annotations

import atexit
import json
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ser_zoo.data import SERDataModule
from ser_zoo.data.audio import Waveform
from ser_zoo.data.audit import audit_split
from ser_zoo.data.datamodule import collate
from ser_zoo.errors import RunError
from ser_zoo.evaluation.result import PREDICTIONS, ROW, Row, Scored, protocol_of
from ser_zoo.features import Frames, Spectrogram
from ser_zoo.metrics import METRICS
from ser_zoo.models.base import SERModule

if TYPE_CHECKING:  # wandb and matplotlib are an extra
    import wandb
    from PIL import Image

PROJECT = "ser-zoo"
INSTALL = "pip install 'ser-zoo[wandb]'"
FOLDER = "wandb"  # in that of the fold; wandb gives it that name
STEP = "trainer/global_step"  # the horizontal axis, by Lightning's name
OF_LOGGER = ("prefix", "log_model", "checkpoint_name", "add_file_policy")  # arguments of WandbLogger that are not wandb.init's
LONGEST, LONGEST_TAG = 128, 64  # characters of names and groups, and of tags, that W&B takes
CONNECT_SECONDS = 30
RESULTS = ("metrics", "predictions", "durations", "selection", "calibration")  # what a row knows only at its end


@dataclass(frozen=True)
class Tracking:
    """What is sent to W&B.

    Attributes:
        arguments: of ``lightning.pytorch.loggers.WandbLogger``, and of ``wandb.init``, that are not to be as `FoldTracker` sets
            them.
        errors: how many of the most confident errors of the test can be listened to.

    Raises:
        RunError: wandb or matplotlib is not installed; the arguments name one run, which several folds cannot share; or the
            number is negative.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    errors: int = 20

    def __post_init__(self) -> None:
        if missing := [name for name in ("wandb", "matplotlib") if find_spec(name) is None]:
            raise RunError(f"--wandb needs {' and '.join(missing)}, not installed here. Install what it needs: {INSTALL}.")
        if taken := [key for key in ("id", "version", "experiment") if self.arguments.get(key) is not None]:
            raise RunError(
                f"--trainer.logger WandbLogger with {taken[0]} names one W&B run, but every fold, and every start of it, is a "
                "run of its own. Leave it out; runs of one model, corpus and protocol form a group."
            )
        if self.errors < 0:
            raise RunError(f"--wandb_errors {self.errors} makes no sense; expected 0 or more.")


class RowLogger(WandbLogger):
    """Lightning's logger, except that it leaves the configuration to `FoldTracker`: Lightning's holds local paths."""

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Do nothing."""


class FoldTracker(Callback):
    """The W&B run of one fold, begun at once; in all processes but the first it does nothing.

    Args:
        tracking: what is sent.
        model: that is trained.
        data: the fold.
        seed: of the run.
        config: of the row.
        folder: of the fold.

    Attributes:
        logger: by which the trainer that it follows writes the learning curves.

    Raises:
        RunError: W&B refuses the run or cannot be reached.
    """

    def __init__(
        self, tracking: Tracking, model: SERModule, data: SERDataModule, seed: int, config: Mapping[str, Any], folder: Path
    ) -> None:
        self.tracking, self.data, self.folder = tracking, data, folder
        given = {key: value for key, value in tracking.arguments.items() if value is not None}
        of_logger = {key: given.pop(key) for key in OF_LOGGER if key in given}
        self.run = self._begin(given, model.name, seed, config)
        self.logger = RowLogger(experiment=self.run, save_dir=folder, **of_logger)

    def follow(self, trainer: L.Trainer) -> None:
        """Have a trainer write its curves into the run, beside its other loggers, and tell of its failure."""
        trainer.loggers = [*trainer.loggers, self.logger]
        callbacks: list[Callback] = vars(trainer)["callbacks"]
        callbacks.append(self)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End the run as failed."""
        self.fail()

    def fail(self) -> None:
        """End the run as failed, before its folder may be given back."""
        if self.run is not None:
            self.run.finish(exit_code=1)

    def finish(self, trainer: L.Trainer, row: Row, scored: Scored) -> None:
        """Send what the test gave, and end the run; called in the first process.

        Args:
            trainer: that has tested.
            row: as it is stored in the fold's folder.
            scored: its predictions.
        """
        import wandb

        assert self.run is not None, "only the first process has a row"
        run, labels = self.run, row["labels"]
        run.config.update({key: value for key, value in row.items() if key not in RESULTS}, allow_val_change=True)  # type: ignore[no-untyped-call]
        metrics = {key: row["metrics"][key] for key in METRICS}
        results = {key: row[key] for key in ("selection", "calibration", "durations") if key in row}
        run.summary.update({**metrics, "recall": row["metrics"]["recalls"], **results})
        recalls = [[label, value] for label, value in row["metrics"]["recalls"].items()]
        title = describe(row)
        with _kept_in(self.folder / FOLDER):
            run.log(
                {
                    "test/confusion": wandb.plot.confusion_matrix(
                        y_true=scored.labels.tolist(),
                        preds=scored.probabilities.argmax(1).tolist(),
                        class_names=labels,
                        title=f"Confusion: {title}",
                    ),
                    "test/recall": wandb.plot.bar(
                        wandb.Table(columns=["label", "recall"], data=recalls), "label", "recall", f"Recall: {title}"
                    ),
                    "test/predictions": self._predictions(trainer, labels, scored),
                    STEP: trainer.global_step,
                }
            )
            self._artifacts(run)
        run.finish()

    @rank_zero_only
    def _begin(self, given: dict[str, Any], model: str, seed: int, config: Mapping[str, Any]) -> wandb.Run:
        import wandb

        corpus, protocol = self.data.corpus, protocol_of(self.data)
        begun = {
            "model": model,
            "corpus": corpus.name,
            "synthetic": corpus.synthetic,
            "protocol": protocol,
            "fold": self.data.fold,
            "seed": seed,
            "config": dict(config),
        }
        group = group_of(model, corpus.name, protocol["name"], config["refit"])
        offline, own_tags = given.pop("offline", False), given.pop("tags", ())
        if "save_dir" in given:
            given["dir"] = given.pop("save_dir")
        settings: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "dir": self.folder,
            "group": group,
            "name": f"{group}-fold{self.data.fold}-seed{seed}"[-LONGEST:],
            "job_type": f"fold {self.data.fold}",
            "reinit": "create_new",  # never the run of another fold
            "settings": wandb.Settings(console="off", init_timeout=CONNECT_SECONDS),  # the terminal is this program's own
            **given,
            "tags": [world_of(begun), corpus.name[:LONGEST_TAG], *own_tags],
            "config": begun,
        }
        Path(settings["dir"]).mkdir(parents=True, exist_ok=True)  # or wandb would write somewhere else
        try:
            run = wandb.init(**{"mode": "offline" if offline else choose_mode(), **settings})
        except (wandb.Error, ValueError) as error:  # ValueError: a setting that wandb does not know
            raise RunError(
                f"W&B did not begin a run: {error}. Nothing was trained. Set WANDB_MODE=offline to write it into {self.folder} "
                "and send it later with wandb sync, or leave --wandb out."
            ) from error
        # Whatever ends the program before has failed; wandb does not learn of it from a program that ends with an exit status.
        atexit.register(run.finish, exit_code=1)
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        return run

    def _predictions(self, trainer: L.Trainer, labels: Sequence[str], scored: Scored) -> wandb.Table:
        """All predictions: errors first, the most confident at the top, and these with their recording."""
        import wandb

        people = {utterance.id: utterance for utterance in self.data.split.test}
        confidence, predicted = (values.tolist() for values in scored.probabilities.max(1))
        truth, probabilities = scored.labels.tolist(), scored.probabilities.tolist()
        order = sorted(range(len(truth)), key=lambda place: (truth[place] == predicted[place], -confidence[place]))
        columns: list[str | int] = [
            "id",
            "speaker",
            "gender",
            "label",
            "predicted",
            "confidence",
            *(f"p({label})" for label in labels),
        ]
        heard = [place for place in order if truth[place] != predicted[place]][: self.tracking.errors]
        media: dict[int, list[Any]] = {}
        for place in heard:
            key = scored.ids[place]
            waveform, rate = self.data.waveforms[key], self.data.preparation.sample_rate
            error = f"{key}: {labels[truth[place]]} taken for {labels[predicted[place]]}, {confidence[place]:.2f}"
            weights = self._attention(trainer, key)
            picture = None if weights is None else wandb.Image(attention_picture(waveform, rate, weights, error))
            media[place] = [wandb.Audio(waveform, sample_rate=rate, caption=error), picture]
        rows = []
        for place in order:
            person = people[scored.ids[place]]
            names = labels[truth[place]], labels[predicted[place]]
            known = [person.id, person.speaker, person.gender or "", *names, confidence[place], *probabilities[place]]
            rows.append([*known, *media.get(place, [None, None])])
        # Without media of a kind its column would only be empty.
        width = len(columns) + (0 if not media else 1 if all(row[1] is None for row in media.values()) else 2)
        return wandb.Table(columns=[*columns, "recording", "attention"][:width], data=[row[:width] for row in rows])

    def _attention(self, trainer: L.Trainer, key: str) -> Frames | None:
        """The weights over time of one test utterance."""
        model, precision = trainer.lightning_module, trainer.precision_plugin
        assert isinstance(model, SERModule), "what was tested"
        batch = model.transfer_batch_to_device(collate([self.data.waveforms[key]], [key]), model.device, 0)
        model.eval()
        with precision.forward_context():
            return model.attention(precision.convert_input(batch))

    def _artifacts(self, run: wandb.Run) -> None:
        """The row with its predictions, and who stands on which side."""
        import wandb

        split, protocol = self.data.split, self.data.protocol
        certificate = audit_split(split, self.data.labels, protocol.declared_leaks, protocol.texts_apart)
        result = wandb.Artifact(f"result-{run.id}", "result", "result row and predictions of one fold")
        for name in (ROW, PREDICTIONS):
            result.add_file(str(self.folder / name))
        run.log_artifact(result)
        proof = wandb.Artifact(
            f"certificate-{run.id}", "certificate", "who stands on which side of the fold, and what they share"
        )
        with proof.new_file("certificate.json") as file:
            json.dump(certificate, file, indent=2, ensure_ascii=False)
        run.log_artifact(proof)


def choose_mode() -> str:
    """The mode of a run: what the user has set, else ``online`` where there is a key, else ``offline``.

    Nothing is asked and nobody is contacted.

    Raises:
        RunError: WANDB_MODE says online, but there is no key.
    """
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth  # it knows under which other names a server's key may stand

    settings = wandb.setup().settings
    wished = os.environ.get("WANDB_MODE")
    mode = wished or str(settings.mode)  # the default, or what `wandb offline` has written here
    if mode not in ("online", "run"):
        return mode
    keys = (os.environ.get("WANDB_API_KEY"), os.environ.get("WANDB_IDENTITY_TOKEN_FILE"), settings.api_key)
    if any(keys) or read_netrc_auth(host=settings.base_url):
        return "online"
    if wished:
        raise RunError(
            f"WANDB_MODE is {wished}, but nobody is logged in to {settings.base_url}. Log in with wandb login, or leave "
            "WANDB_MODE out: then the run is written offline, to be sent later with wandb sync."
        )
    return "offline"


def group_of(model: str, corpus: str, protocol: str, refit: bool) -> str:
    """The group of all folds and seeds of a model on a corpus under a protocol; those that were trained anew are another."""
    return f"{model}-{corpus}-{protocol}{'-refit' if refit else ''}"[:LONGEST]


def world_of(row: Mapping[str, Any]) -> str:
    """``synthetic``, ``honest`` or ``as_published``: the tag that tells runs apart which must never be ranked together."""
    return "synthetic" if row["synthetic"] else str(row["protocol"]["world"])


def describe(row: Mapping[str, Any]) -> str:
    """Model, corpus, protocol and fold of a row, with its world where that is not the honest one."""
    mark = {"synthetic": " (SYNTHETIC)", "as_published": " (AS PUBLISHED)", "honest": ""}[world_of(row)]
    return f"{row['model']} on {row['corpus']}, {row['protocol']['name']}{mark}, fold {row['fold']}"


def attention_picture(waveform: Waveform, rate: int, weights: Frames, title: str) -> Image.Image:
    """A clip's log-mel spectrogram, with what each head takes of each step of time below it on the same axis.

    Args:
        waveform: (T,).
        rate: Hz.
        weights: (1, steps, H), the steps evenly over the clip.
        title: of the picture.
    """
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen
    from PIL import Image

    seconds = len(waveform) / rate
    # 32 ms: as fine in time as the steps of the encoders, 20 ms, allow to be told apart.
    spectrogram = Spectrogram(rate, round(0.032 * rate), 0.01, mels=64)
    ((decibel, _), (values, counts)) = spectrogram(torch.tensor(waveform)[None], torch.tensor([len(waveform)])), weights
    heads = values[0, : int(counts[0])].float().cpu().T
    figure = Figure(figsize=(8, 4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.imshow(decibel[0].T.numpy(), origin="lower", aspect="auto", extent=(0, seconds, 0, 64), cmap="magma")
    above.set(title=title, ylabel="mel band")
    shown = below.imshow(heads.numpy(), aspect="auto", extent=(0, seconds, len(heads) + 0.5, 0.5), cmap="viridis", vmin=0.0)
    below.set(xlabel="seconds", ylabel="head", yticks=sorted({1, len(heads)}))
    figure.colorbar(shown, ax=below, label="weight")
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return Image.open(picture)


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Let wandb stage files in ``folder`` until they are sent, unless the user has chosen a place.

    Its own would be the home folder, where recordings under licence do not belong.
    """
    chosen = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = chosen or str(folder.absolute())
    try:
        yield
    finally:
        if chosen is None:
            del os.environ["WANDB_DATA_DIR"]
