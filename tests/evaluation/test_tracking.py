"""What a fold leaves for Weights & Biases, read back from the files that ``wandb sync`` would send; no network is used."""

from __future__ import annotations

import csv
import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

from ser_zoo.cli import main
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.data import SERDataModule
from ser_zoo.errors import RunError
from ser_zoo.evaluation import Tracking, protocol_of, read_predictions, read_result, tracking
from ser_zoo.evaluation.result import Scored
from ser_zoo.evaluation.tracking import FoldTracker, attention_picture, choose_mode, describe, world_of
from ser_zoo.features import Frames
from ser_zoo.models.cnn_attn import CNNAttn
from tests.cli.commands import QUICK, fit_command, ser_zoo
from tests.models.small import small_model
from tests.tiny import tiny_encoder

wandb = pytest.importorskip("wandb")
pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # noqa: E402
from wandb.proto import wandb_internal_pb2  # noqa: E402

PATIENCE = 30.0  # seconds
HEADER, BLOCK = 7, 32768  # bytes
FULL, LAST = 1, 4  # kinds of a part that ends a record
CURVES = "train/loss", "val/loss", "val/ua", "test/ua"


pytestmark = pytest.mark.usefixtures("nobody_is_logged_in")


def ignore(*_: Any, **__: Any) -> None:
    """Stand in for a method of a run that matters to no test."""


class Offline:
    """An offline run as it is on disk: the records of its ``.wandb`` file, which has the format of LevelDB's log."""

    def __init__(self, folder: Path) -> None:
        (self.path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
        self.files = self.path.parent / "files"
        end = time.monotonic() + PATIENCE
        # Another process writes the file, and of a failed run nobody waits for that.
        while not {"run", "exit"} <= self._records().keys():
            assert time.monotonic() < end, f"{self.path} holds {sorted(self._records())} only"
            time.sleep(0.1)
        self.records = self._records()
        (self.run,) = self.records["run"]
        (self.exit,) = self.records["exit"]

    def _records(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for record in self._read(self.path.read_bytes()):
            kind = record.WhichOneof("record_type")
            found.setdefault(kind, []).append(getattr(record, kind))
        return found

    @staticmethod
    def _read(data: bytes) -> Iterator[Any]:
        assert data.startswith(b":W&B")
        place, content = HEADER, b""
        while place + HEADER <= len(data):
            if (left := BLOCK - place % BLOCK) < HEADER:
                place += left
                continue
            _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
            if place + HEADER + length > len(data):  # of which the rest is still being written
                return
            content += data[place + HEADER : place + HEADER + length]
            place += HEADER + length
            if kind in (FULL, LAST):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(content)
                content = b""
                yield record

    @staticmethod
    def _items(updates: Any) -> dict[str, Any]:
        return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}

    @property
    def config(self) -> dict[str, Any]:
        updates = [self.run.config, *self.records.get("config", [])]
        return {key: value for part in updates for key, value in self._items(part.update).items() if key[0] != "_"}

    @property
    def summary(self) -> dict[str, Any]:
        return {key: value for part in self.records["summary"] for key, value in self._items(part.update).items()}

    @property
    def history(self) -> list[dict[str, Any]]:
        return [self._items(part.item) for part in self.records["history"]]

    def artifacts(self, kind: str) -> dict[str, Path]:
        """Every file of the artifacts of a kind, by its path there."""
        return {
            file.path: Path(file.local_path)
            for artifact in self.records["artifact"]
            if artifact.type == kind
            for file in artifact.manifest.contents
        }

    def table(self, key: str) -> dict[str, Any]:
        """A table with its media."""
        content: dict[str, Any] = json.loads(self.artifacts("run_table")[f"{key}.table.json"].read_text())
        return content


@pytest.fixture(scope="module")
def folder(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two folds by a network with attention."""
    folder = tmp_path_factory.mktemp("run")
    encoder = tiny_encoder(folder / "encoder", "whisper")
    small = ["--model.width=8", "--model.hidden=8", "--model.dense=8", "--model.layers=[1,3]", f"--model.encoder={encoder}"]
    data = ["--data=emo_db", f"--data.root={small_emo_db}", f"--run_dir={folder / 'r'}", "--folds=1,2"]
    command = ["fit", "--model=cta_rnn", *small, *data, *QUICK, "--trainer.max_epochs=2", "--seed_everything=7"]
    assert main([*command, "--wandb", "--wandb_errors=2"]) == 0
    return folder / "r"


@pytest.fixture(scope="module")
def offline(folder: Path) -> Offline:
    return Offline(folder / "fold-1")


def test_every_fold_is_a_finished_run_of_one_group(folder: Path) -> None:
    first, second = (Offline(folder / f"fold-{fold}") for fold in (1, 2))
    assert first.run.run_id != second.run.run_id
    assert first.run.run_group == second.run.run_group == "cta_rnn-emo_db-loso10"
    assert [run.run.job_type for run in (first, second)] == ["fold 1", "fold 2"]
    assert second.run.display_name == "cta_rnn-emo_db-loso10-fold2-seed7"
    assert (first.run.project, list(first.run.tags)) == ("ser-zoo", ["honest", "emo_db"])
    assert [run.exit.exit_code for run in (first, second)] == [0, 0]
    assert wandb.run is None


def test_configuration_and_summary_are_those_of_the_row(folder: Path, offline: Offline) -> None:
    row = read_result(folder / "fold-1" / "result.json")
    assert offline.config == {key: value for key, value in row.items() if key not in tracking.RESULTS}
    assert str(folder.parent) not in json.dumps(offline.config)
    summary = offline.summary
    assert {key: summary[key] for key in ("wa", "ua", "macro_f1")} == {
        key: row["metrics"][key] for key in ("wa", "ua", "macro_f1")
    }
    assert summary["recall"] == row["metrics"]["recalls"]
    known_at_the_end = ("selection", "calibration", "durations")
    assert [summary[key] for key in known_at_the_end] == [row[key] for key in known_at_the_end]


def test_learning_curves_are_those_that_are_kept_as_csv(folder: Path, offline: Offline) -> None:
    with (folder / "fold-1" / "curves" / "version_0" / "metrics.csv").open() as file:
        kept = [(int(line["step"]), name, float(line[name])) for line in csv.DictReader(file) for name in CURVES if line[name]]
    sent = [(step["trainer/global_step"], name, step[name]) for step in offline.history for name in CURVES if name in step]
    assert len(kept) == 7  # two epochs of three, and one test
    assert sorted(sent) == [(step, name, pytest.approx(value)) for step, name, value in sorted(kept)]


def test_confusion_and_recall_are_charts_of_the_row(folder: Path, offline: Offline) -> None:
    row = read_result(folder / "fold-1" / "result.json")
    labels, counts = row["labels"], row["metrics"]["confusion"]
    confusion = {(true, predicted): count for true, predicted, count in offline.table("test/confusion_table")["data"]}
    assert confusion == {(a, b): counts[i][j] for i, a in enumerate(labels) for j, b in enumerate(labels)}
    assert dict(offline.table("test/recall_table")["data"]) == row["metrics"]["recalls"]
    told = str(offline.records["config"])
    for chart in ("Confusion", "Recall"):
        assert f"{chart}: cta_rnn on emo_db, loso10, fold 1" in told


def test_predictions_begin_with_the_most_confident_errors_which_can_be_heard(
    folder: Path, offline: Offline, small_emo_db: Path
) -> None:
    row = read_result(folder / "fold-1" / "result.json")
    stored = read_predictions(folder / "fold-1" / "predictions.csv", row["labels"])
    table, media = offline.table("test/predictions"), offline.artifacts("run_table")
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert sorted(line["id"] for line in lines) == sorted(stored.ids)
    for line in lines:
        place = stored.ids.index(line["id"])
        assert (line["speaker"], line["gender"]) == (stored.speakers[place], stored.genders[place])
        shares = [line[f"p({label})"] for label in row["labels"]]
        assert shares == pytest.approx(stored.probabilities[place].tolist(), abs=1e-7)
        assert line["confidence"] == max(shares)
        assert line["label"] == row["labels"][stored.labels[place]]
    wrong = [line["confidence"] for line in lines if line["label"] != line["predicted"]]
    assert len(wrong) > 2
    assert wrong == sorted(wrong, reverse=True)
    assert [line["label"] != line["predicted"] for line in lines] == [True] * len(wrong) + [False] * (len(lines) - len(wrong))
    assert [line["recording"] is not None for line in lines] == [True] * 2 + [False] * (len(lines) - 2)
    waveforms = SERDataModule("emo_db", str(small_emo_db)).waveforms
    for line in lines[:2]:
        samples, rate = soundfile.read(media[line["recording"]["path"]])
        np.testing.assert_allclose(samples, waveforms[line["id"]], atol=2**-15)
        assert rate == 16_000
        error = f"{line['id']}: {line['label']} taken for {line['predicted']}, {line['confidence']:.2f}"
        assert line["recording"]["caption"] == error
        assert media[line["attention"]["path"]].read_bytes().startswith(b"\x89PNG")


def test_row_predictions_and_certificate_are_artifacts(folder: Path, offline: Offline) -> None:
    results = offline.artifacts("result")
    assert {name: path.read_text() for name, path in results.items()} == {
        name: (folder / "fold-1" / name).read_text() for name in ("result.json", "predictions.csv")
    }
    certificate = json.loads(offline.artifacts("certificate")["certificate.json"].read_text())
    assert certificate["hash"] == offline.config["protocol"]["certificate"]
    assert certificate["sides"]["test"]["utterances"] == offline.config["data"]["test"]


def test_the_certificate_that_is_sent_declares_what_the_protocol_leaks(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    run: Any = SimpleNamespace(id="abc", define_metric=ignore, finish=ignore, log_artifact=sent.append)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    data = SERDataModule("emo_db", str(small_emo_db), protocol="as_cnn_attn", sample_rate=22_050)
    tracker = FoldTracker(Tracking(), small_model("cnn_attn", tmp_path), data, 7, {"refit": False}, tmp_path)
    for name in ("result.json", "predictions.csv"):
        (tmp_path / name).touch()
    tracker._artifacts(run)
    assert [artifact.name for artifact in sent] == ["result-abc", "certificate-abc"]
    certificate = json.loads(Path(sent[1].manifest.entries["certificate.json"].local_path).read_text())
    verdicts = {finding["verdict"] for finding in certificate["findings"] if finding["count"]}
    assert "declared" in verdicts
    assert "fails" not in verdicts
    assert certificate["hash"] == protocol_of(data)["certificate"]


def test_what_waits_to_be_sent_stays_in_the_folder_of_the_fold(folder: Path, offline: Offline) -> None:
    waiting = [path for kind in ("run_table", "result", "certificate") for path in offline.artifacts(kind).values()]
    assert waiting
    assert all(path.is_relative_to(folder / "fold-1") for path in waiting)


def test_wandb_logger_by_its_name_is_the_same_and_takes_its_arguments(small_emo_db: Path, tmp_path: Path) -> None:
    logger = ["--trainer.logger=WandbLogger", "--trainer.logger.project=mine", "--trainer.logger.dict_kwargs.tags=[tried]"]
    assert main(fit_command(small_emo_db, tmp_path / "r", *logger, "--wandb_errors=0", epochs=1)) == 0
    run = Offline(tmp_path / "r" / "fold-1")
    assert (run.run.project, run.run.run_group) == ("mine", "cnn_attn-emo_db-loso10")
    assert list(run.run.tags) == ["honest", "emo_db", "tried"]
    assert {Path(name).suffix for name in run.artifacts("run_table")} == {".json"}
    assert "recording" not in run.table("test/predictions")["columns"]
    assert (tmp_path / "r" / "fold-1" / "curves" / "version_0" / "metrics.csv").is_file()
    assert (
        yaml.safe_load((tmp_path / "r" / "fold-1" / "config.yaml").read_text())["trainer"]["logger"]["init_args"]["project"]
        == "mine"
    )


def test_a_refit_is_a_run_of_another_group_with_the_curves_of_the_first_training(small_emo_db: Path, tmp_path: Path) -> None:
    assert main([*fit_command(small_emo_db, tmp_path / "r", "--refit"), "--wandb", "--wandb_errors=0"]) == 0
    found, row = Offline(tmp_path / "r" / "fold-1"), read_result(tmp_path / "r" / "fold-1" / "result.json")
    assert (found.run.run_group, found.exit.exit_code) == ("cnn_attn-emo_db-loso10-refit", 0)
    assert (found.config["config"]["refit"], found.summary["ua"]) == (True, row["metrics"]["ua"])
    assert sum("train/loss" in step for step in found.history) == sum("val/ua" in step for step in found.history) == 2
    # What was sent of the predictions is of the model that was tested.
    stored = read_predictions(tmp_path / "r" / "fold-1" / "predictions.csv", row["labels"])
    sent = {line[0]: line[5] for line in found.table("test/predictions")["data"]}
    assert sent == {
        key: pytest.approx(max(shares)) for key, shares in zip(stored.ids, stored.probabilities.tolist(), strict=True)
    }


def test_a_training_that_fails_ends_its_run_as_failed(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ArithmeticError

    monkeypatch.setattr(CNNAttn, "training_step", fails)
    with pytest.raises(ArithmeticError):
        main(fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=1))
    run = Offline(tmp_path / "r" / "fold-1")
    assert run.exit.exit_code == 1
    assert (run.config["model"], run.config["config"]["model"]["channels"]) == ("cnn_attn", 16)


def test_a_refit_that_fails_ends_its_run_as_failed(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trains = CNNAttn.training_step

    def fails(model: CNNAttn, *arguments: Any) -> Any:
        if model.trainer.limit_val_batches == 0:
            raise ArithmeticError
        return trains(model, *arguments)

    monkeypatch.setattr(CNNAttn, "training_step", fails)
    with pytest.raises(ArithmeticError):
        main(fit_command(small_emo_db, tmp_path / "r", "--wandb", "--refit", epochs=1))
    assert Offline(tmp_path / "r" / "fold-1").exit.exit_code == 1


def test_a_training_whose_result_is_refused_ends_its_run_as_failed(small_emo_db: Path, tmp_path: Path) -> None:
    command = fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=4)
    growing = ["--model.optim.optimizer=adamw", "--model.optim.lr=1e6", "--model.optim.weight_decay=1e6"]
    ended = ser_zoo(*command, *growing, "--monitor=last")
    assert ended.returncode == 1
    assert "The training diverged" in ended.stderr
    assert Offline(tmp_path / "r" / "fold-1").exit.exit_code == 1


@pytest.mark.parametrize(
    "refused",
    ["--trainer.precision=64", "--trainer.max_epochs=0", "--trainer.logger+=CSVLogger --trainer.logger.save_dir=/dev/null/x"],
)
def test_a_training_that_is_refused_gives_its_folder_back_with_its_run(
    small_emo_db: Path, tmp_path: Path, refused: str
) -> None:
    command = fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=1)
    assert main([*command, *refused.split()]) == 1
    assert not (tmp_path / "r").exists()
    assert main(command) == 0


def test_disabled_by_the_environment_trains_as_usual(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=1)) == 0
    assert not list(tmp_path.rglob("*.wandb"))
    assert (tmp_path / "r" / "fold-1" / "result.json").is_file()


def test_csv_and_tensorboard_loggers_get_a_version_per_fold(small_emo_db: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loggers = [
        part
        for name in ("CSV", "TensorBoard")
        for part in (f"--trainer.logger+={name}Logger", f"--trainer.logger.save_dir={tmp_path / name}")
    ]
    assert main(fit_command(small_emo_db, tmp_path / "r", *loggers, "--folds=2,3", epochs=1)) == 0
    for version, fold in enumerate((2, 3)):
        with (tmp_path / "CSV" / "lightning_logs" / f"version_{version}" / "metrics.csv").open() as file:
            (tested,) = [float(line["test/ua"]) for line in csv.DictReader(file) if line["test/ua"]]
        events = accumulator.EventAccumulator(str(tmp_path / "TensorBoard" / "lightning_logs" / f"version_{version}")).Reload()
        row = read_result(tmp_path / "r" / f"fold-{fold}" / "result.json")
        assert tested == pytest.approx(row["metrics"]["ua"])
        assert [event.value for event in events.Scalars("test/ua")] == [pytest.approx(tested)]
    assert not (tmp_path / "r" / "fold-2" / "curves").exists()  # other loggers take the place of the usual one


@pytest.mark.parametrize(
    ("variables", "machine", "expected"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": "k" * 40}, None, "online"),
        ({"WANDB_IDENTITY_TOKEN_FILE": "token"}, None, "online"),
        ({"WANDB_MODE": "run", "WANDB_API_KEY": "k" * 40}, None, "online"),
        ({}, "api.wandb.ai", "online"),
        ({}, "elsewhere.example", "offline"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "k" * 40}, None, "offline"),
        ({"WANDB_MODE": "disabled"}, "api.wandb.ai", "disabled"),
    ],
)
def test_a_run_is_offline_unless_there_is_a_key(
    variables: dict[str, str], machine: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if machine:
        (tmp_path / ".netrc").write_text(f"machine {machine} login user password {'k' * 40}\n")
        (tmp_path / ".netrc").chmod(0o600)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choose_mode() == expected


@pytest.mark.parametrize(
    ("settings", "machine", "expected"),
    [
        ({}, "elsewhere.example", "online"),
        ({}, "api.wandb.ai", "offline"),
        ({"api_key": "k" * 40}, None, "online"),
        ({"mode": "offline"}, "elsewhere.example", "offline"),
    ],
)
def test_a_server_of_ones_own_and_what_wandb_offline_has_written_are_heeded(
    settings: dict[str, str], machine: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = SimpleNamespace(**{"mode": "online", "base_url": "https://elsewhere.example", "api_key": None, **settings})
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=known))
    monkeypatch.setenv("HOME", str(tmp_path))
    if machine:
        (tmp_path / ".netrc").write_text(f"machine {machine} login user password {'k' * 40}\n")
        (tmp_path / ".netrc").chmod(0o600)
    assert choose_mode() == expected


def test_errors_of_a_model_without_attention_are_heard_and_not_drawn(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Any = SimpleNamespace(define_metric=ignore, finish=ignore)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    model, ids = small_model("cnn_attn", tmp_path), [row.id for row in data.split.test[:2]]
    precision = SimpleNamespace(forward_context=nullcontext, convert_input=lambda batch: batch)
    trainer: Any = SimpleNamespace(lightning_module=model, precision_plugin=precision)
    in_training: list[bool] = []
    monkeypatch.setattr(CNNAttn, "attention", lambda model, _: in_training.append(model.training))
    tracker = FoldTracker(Tracking(errors=1), model, data, 7, {"refit": False}, tmp_path)
    scored = Scored(ids, torch.tensor([0, 1]), torch.tensor([[0.75, 0.25, 0.0], [0.5, 0.25, 0.25]]))
    table = tracker._predictions(trainer, data.labels, scored)
    assert in_training == [False]
    assert table.columns[-1] == "recording"
    assert [(line[0], line[-1] is None) for line in table.data] == [(ids[1], False), (ids[0], True)]


def test_online_without_a_key_is_refused_and_not_asked_for(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert main(fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=1)) == 1
    assert "nobody is logged in" in capsys.readouterr().err


def test_a_mode_that_wandb_does_not_know_is_explained(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    assert main(fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=1)) == 1
    assert "W&B did not begin a run: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["wandb", "matplotlib"])
def test_a_missing_package_is_named(
    name: str, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda wanted: None if wanted == name else wanted)
    assert main(fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=1)) == 1
    error = capsys.readouterr().err
    assert f"--wandb needs {name}, not installed here. Install what it needs: pip install 'ser-zoo[wandb]'." in error


def test_all_packages_that_are_missing_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"--wandb needs wandb and matplotlib, not installed here"):
        Tracking()


def test_a_run_that_is_begun_already_serves_no_fold() -> None:
    with pytest.raises(RunError, match=r"WandbLogger with experiment names one W&B run"):
        Tracking({"experiment": "begun"})


def test_a_refusal_of_wandb_is_explained_before_anything_is_trained(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)
    assert main(fit_command(small_emo_db, tmp_path / "r", "--wandb", epochs=1)) == 1
    assert "no route to host. Nothing was trained. Set WANDB_MODE=offline" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_only_the_first_process_has_a_run(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.rank_zero_only, "rank", 1)
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    tracker = FoldTracker(Tracking(), small_model("cnn_attn", tmp_path), data, 7, {}, tmp_path / "fold-1")
    assert tracker.run is None
    assert not (tmp_path / "fold-1").exists()
    tracker.logger.log_metrics({"val/ua": 0.5})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--wandb", "--wandb_errors=-1"], "--wandb_errors -1 makes no sense"),
        (["--trainer.logger=WandbLogger", "--trainer.logger.id=abc"], "names one W&B run"),
        (["--trainer.logger=WandbLogger", "--trainer.logger.version=abc"], "names one W&B run"),
        (["--trainer.logger+=WandbLogger", "--trainer.logger+=WandbLogger"], "names WandbLogger twice"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], told: str, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", *arguments)) == 1
    assert told in capsys.readouterr().err


@pytest.fixture
def begin(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Begins a run with arguments of the logger, and returns what W&B was asked for instead."""

    def begin(**arguments: Any) -> dict[str, Any]:
        asked: dict[str, Any] = {"axes": []}

        def init(**given: Any) -> SimpleNamespace:
            asked.update(given)
            return SimpleNamespace(define_metric=lambda name, **axis: asked["axes"].append((name, axis)), finish=ignore)

        monkeypatch.setattr(wandb, "init", init)
        data = SERDataModule("emo_db", str(small_emo_db), fold=2, sample_rate=22_050)
        FoldTracker(Tracking(arguments), small_model("cnn_attn", tmp_path), data, 7, {"refit": False}, tmp_path / "fold-2")
        return asked

    return begin


def test_a_run_is_where_and_how_the_user_wants_it(
    begin: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = begin(project=None, save_dir=None)
    assert (usual["project"], usual["dir"], usual["mode"]) == ("ser-zoo", tmp_path / "fold-2", "offline")
    assert usual["reinit"] == "create_new"
    assert usual["axes"] == [(tracking.STEP, {}), ("*", {"step_metric": tracking.STEP, "step_sync": True})]
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    chosen = begin(save_dir=str(tmp_path / "a" / "b"), log_model=False, notes="tried")
    assert (chosen["project"], chosen["dir"], chosen["mode"]) == ("theirs", str(tmp_path / "a" / "b"), "online")
    assert (chosen["notes"], (tmp_path / "a" / "b").is_dir()) == ("tried", True)
    assert not {"save_dir", "log_model", "offline"} & chosen.keys()
    assert begin(offline=True)["mode"] == "offline"


def test_a_run_may_stand_in_a_group_of_the_users_own(begin: Callable[..., dict[str, Any]]) -> None:
    asked = begin(group="mine", job_type="trial")
    assert (asked["group"], asked["job_type"]) == ("mine", "trial")
    assert asked["name"] == "cnn_attn-emo_db-loso10-fold2-seed7"


def test_the_terminal_is_not_sent_and_a_server_out_of_reach_not_waited_for(begin: Callable[..., dict[str, Any]]) -> None:
    settings = begin()["settings"]
    assert (settings.console, settings.init_timeout) == ("off", 30)


def test_a_run_of_a_synthetic_corpus_is_tagged_so(
    begin: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmoDB, "synthetic", True)
    asked = begin()
    assert (asked["tags"], asked["config"]["synthetic"]) == (["synthetic", "emo_db"], True)


def test_curves_have_the_prefix_that_the_user_gives_their_logger(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, float]] = []
    run: Any = SimpleNamespace(define_metric=ignore, finish=ignore, log=sent.append)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    model = small_model("cnn_attn", tmp_path)
    tracker = FoldTracker(Tracking({"prefix": "mine"}), model, data, 7, {"refit": False}, tmp_path)
    tracker.logger.log_metrics({"val/ua": 0.5}, step=3)
    assert sent == [{"mine-val/ua": 0.5, "trainer/global_step": 3}]


def test_names_are_cut_to_what_w_and_b_takes_and_still_tell_folds_and_refits_apart(
    begin: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmoDB, "name", "c" * 130)
    asked = begin()
    assert asked["group"] == f"cnn_attn-{'c' * 119}"
    assert (len(asked["name"]), asked["name"][-12:]) == (128, "-fold2-seed7")
    assert asked["tags"] == ["honest", "c" * 64]


@pytest.mark.parametrize("chosen", [None, "/elsewhere"])
def test_what_waits_is_kept_with_the_fold_unless_the_user_has_a_place_for_it(
    chosen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is not None:
        monkeypatch.setenv("WANDB_DATA_DIR", chosen)
    with tracking._kept_in(tmp_path):
        assert os.environ["WANDB_DATA_DIR"] == (chosen or str(tmp_path))
    assert os.environ.get("WANDB_DATA_DIR") == chosen


def test_what_waits_is_kept_at_a_place_that_does_not_move_with_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with tracking._kept_in(Path("fold-1")):
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "fold-1")


def test_attention_is_drawn_over_the_seconds_of_the_clip_without_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *given, **how: (figures.append(self), save(self, *given, **how))[1])
    weights = torch.rand(1, 10, 2, generator=torch.Generator().manual_seed(0))
    attention_picture(np.zeros(4000, np.float32), 8000, Frames(weights, torch.tensor([7])), "title")
    above, below = (axes.images[0] for axes in figures[0].axes[:2])
    assert [tuple(image.get_extent()[:2]) for image in (above, below)] == [(0, 0.5)] * 2
    assert above.origin == "lower"
    np.testing.assert_array_equal(below.get_array(), weights[0, :7].T.numpy())
    assert (below.origin, tuple(below.get_extent()[2:]), below.get_clim()[0]) == ("upper", (2.5, 0.5), 0)
    assert figures[0].axes[0].get_xlim() == (0, 0.5)


@pytest.mark.parametrize(
    ("synthetic", "world", "tag", "mark"),
    [
        (False, "honest", "honest", "p, fold 1"),
        (False, "as_published", "as_published", "p (AS PUBLISHED), fold 1"),
        (True, "honest", "synthetic", "p (SYNTHETIC), fold 1"),
    ],
)
def test_the_world_of_a_row_is_marked(synthetic: bool, world: str, tag: str, mark: str) -> None:
    row = {"model": "m", "corpus": "c", "fold": 1, "synthetic": synthetic, "protocol": {"name": "p", "world": world}}
    assert world_of(row) == tag
    assert describe(row) == f"m on c, {mark}"
