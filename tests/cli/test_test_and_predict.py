from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

import ser_zoo
from ser_zoo.cli import main
from ser_zoo.data import SERDataModule
from ser_zoo.errors import AudioError, EncoderError, MismatchError, RunError, SERZooError, SERZooWarning
from ser_zoo.evaluation import protocol_of, read_result
from ser_zoo.inference import (
    Checkpoint,
    Prediction,
    audio_paths,
    check_identity,
    find_device,
    load_model,
    predict,
    read_checkpoint,
)
from ser_zoo.models.base import SERModule
from tests.cli.commands import QUICK, fit_command
from tests.releases import write_emo_db, write_tone
from tests.tiny import tiny_encoder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoint(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "r"
    assert main(fit_command(small_emo_db, folder)) == 0
    return folder / "fold-1" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def fused(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint with a frozen encoder, and the encoder's folder."""
    folder = tmp_path_factory.mktemp("fused")
    encoder = tiny_encoder(folder / "encoder", "whisper")
    recipe = ROOT / "recipes" / "emo_db" / "cross_attn.yaml"
    command = ["fit", "--config", str(recipe), f"--data.root={small_emo_db}", f"--model.encoder={encoder}", *QUICK]
    assert main([*command, "--model.layers=[1,3]", "--trainer.max_epochs=1", f"--run_dir={folder / 'r'}"]) == 0
    return folder / "r" / "fold-1" / "checkpoints" / "best.ckpt", encoder


def test_test_gives_the_same_numbers_to_the_last_digit(checkpoint: Path, fused: tuple[Path, Path], tmp_path: Path) -> None:
    for path in (checkpoint, fused[0]):
        assert main(["test", "--ckpt_path", str(path), "--output", str(tmp_path / "t.json")]) == 0
        row = read_result(path.parents[1] / "result.json")
        assert json.loads((tmp_path / "t.json").read_text())["metrics"] == row["metrics"]


def end_with_workers() -> RuntimeError:
    """SIGTERM to all processes, as ``timeout`` and SLURM send it: torch raises in the middle of a step."""
    os.kill(os.getpid(), signal.SIGTERM)
    return RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")


@pytest.mark.parametrize("verb", ["test", "robustness"])
@pytest.mark.parametrize("ending", [KeyboardInterrupt, SIGTERMException, end_with_workers])
def test_an_interrupted_test_says_so_and_does_not_pass_for_a_finished_one(
    ending: Callable[[], BaseException],
    verb: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lightning ends the program on its own: after Ctrl-C with exit status 1, after SIGTERM with 0, and without a word."""

    def stopped(*_: object) -> None:
        raise ending()

    monkeypatch.setattr(SERModule, "test_step", stopped)
    answer = signal.getsignal(signal.SIGINT)
    try:
        assert main([verb, "--ckpt_path", str(checkpoint), "--output", str(tmp_path / "t.json")]) == 130
    finally:
        signal.signal(signal.SIGINT, answer)  # which Lightning ignores from here on
    assert "ser-zoo: interrupted" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--data.fold", "4"], "fold was 1, is 4"), (["--data.protocol", "pairs5"], "protocol was loso10, is pairs5")],
)
def test_another_fold_or_protocol_is_refused_unless_allowed(
    arguments: list[str], expected: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "--ckpt_path", str(checkpoint), *arguments]) == 1
    assert expected in capsys.readouterr().err
    written = checkpoint.with_name("metrics.json")
    assert main(["test", "--ckpt_path", str(checkpoint), *arguments, "--allow-mismatch", "--output", str(written)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "UA" in printed
    assert "NOT WHAT IT WAS TRAINED FOR" in printed
    assert expected in json.loads(written.read_text())["mismatch"]


TRAINED: dict[str, Any] = {
    "corpus": "emo_db",
    "root": "r",
    "protocol": "pairs5",
    "fold": 3,
    "sample_rate": 8000,
    "batch_size": 16,
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], TRAINED),
        (["--data=emo_db", "--data.root=moved", "--data.batch_size=4"], TRAINED | {"root": "moved", "batch_size": 4}),
        (["--data=ravdess", "--data.fold=2"], {"corpus": "ravdess", "fold": 2, "sample_rate": 8000, "batch_size": 16}),
    ],
)
def test_what_a_checkpoint_says_of_its_corpus_is_not_taken_for_another(
    arguments: list[str], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def note(**given: Any) -> None:
        asked.update(given)
        raise RunError("That is enough.")

    monkeypatch.setattr("ser_zoo.cli.test.read_checkpoint", lambda _: Checkpoint("egemaps", ["joy"], None, {}, TRAINED))
    monkeypatch.setattr("ser_zoo.cli.test.SERDataModule", note)
    assert main(["test", "--ckpt_path=best.ckpt", *arguments]) == 1
    assert asked == expected


def test_a_checkpoint_of_plain_loaders_must_be_told_what_to_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ser_zoo.cli.test.read_checkpoint", lambda _: Checkpoint("egemaps", ["joy"], None, {}, {}))
    assert main(["test", "--ckpt_path=best.ckpt"]) == 1
    assert "trained on plain data loaders. Say what to test it on: --data NAME." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("protocol", "changed", "title"),
    [
        ("loso10", {}, "egemaps on emo_db (SYNTHETIC), loso10, fold 1"),
        ("loso10", {"refit": True}, "egemaps on emo_db (SYNTHETIC), loso10, refit, fold 1"),
        ("as_cnn_attn", {}, "egemaps on emo_db (SYNTHETIC), as_cnn_attn (AS PUBLISHED"),
        ("loso10", None, "egemaps on emo_db (SYNTHETIC), loso10, fold 1 (NOT WHAT IT WAS TRAINED FOR: corpus was None"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_what_is_tested_is_said_above_its_metrics_and_in_their_file(
    protocol: str,
    changed: dict[str, Any] | None,
    title: str,
    small_emo_db: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), protocol=protocol)
    trained_on = None if changed is None else data.identity() | changed
    arguments = {"corpus": "emo_db", "root": str(small_emo_db), "protocol": protocol}
    asked: list[dict[str, Any]] = []

    def score(model: object, data: SERDataModule, trainer: dict[str, Any]) -> SimpleNamespace:
        asked.append(trainer)
        return SimpleNamespace(confusion=torch.eye(3, dtype=torch.long))

    monkeypatch.setattr(type(data.corpus), "synthetic", True)
    monkeypatch.setattr(
        "ser_zoo.cli.test.read_checkpoint", lambda _: Checkpoint("egemaps", data.labels, trained_on, {}, arguments)
    )
    monkeypatch.setattr("ser_zoo.cli.test.load_model", lambda *_, **__: SimpleNamespace(labels=data.labels))
    monkeypatch.setattr("ser_zoo.cli.test.score_checkpoint", score)
    command = ["test", "--ckpt_path=best.ckpt", "--accelerator=cpu", "--allow-mismatch", f"--output={tmp_path / 't.json'}"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith(title)
    assert asked == [{"accelerator": "cpu", "devices": 1}]
    written = json.loads((tmp_path / "t.json").read_text())
    assert (written["model"], written["protocol"], written["identity"]) == ("egemaps", protocol_of(data), data.identity())
    assert bool(written["mismatch"]) == (changed is None)
    assert written["metrics"]["ua"] == 1


@pytest.mark.parametrize("key", ["corpus", "protocol", "protocol_hash", "fold"])
@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_all_that_a_checkpoint_was_trained_on_is_compared(key: str, small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db))
    same = Checkpoint("egemaps", data.labels, data.identity(), {}, {})
    assert check_identity(same, data) == ""
    other = same._replace(trained_on=data.identity() | {key: "other"})
    with pytest.raises(MismatchError, match=rf"not trained for this test \({key} was other, is [^;]*\)"):
        check_identity(other, data)
    assert check_identity(other, data, allow=True) == f"{key} was other, is {data.identity()[key]}"


def test_a_table_whose_test_speakers_trained_is_refused_though_it_is_the_same_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(name: str, sides: Mapping[str, str]) -> Path:
        rows = [f"{who}/{label}.wav,{label},{who},{side}" for who, side in sides.items() for label in ("anger", "fear")]
        (tmp_path / name).write_text("\n".join(["path,label,speaker,split", *rows]))
        return tmp_path / name

    for number, who in enumerate("abcd"):
        for emotion, label in enumerate(("anger", "fear")):
            write_tone(tmp_path / who / f"{label}.wav", emotion, number)
    root = write("mine.csv", {"a": "train", "b": "train", "c": "validation", "d": "test"})
    data = ["--data=csv", f"--data.root={root}", "--data.protocol=official"]
    assert main(["fit", "--model=mfcc_stats", *data, *QUICK, "--trainer.max_epochs=1", f"--run_dir={tmp_path / 'r'}"]) == 0
    test = ["test", "--ckpt_path", str(tmp_path / "r" / "fold-1" / "checkpoints" / "best.ckpt"), "--accelerator=cpu"]
    assert main(test) == 0
    write("mine.csv", {"a": "train", "b": "test", "c": "test", "d": "validation"})
    capsys.readouterr()
    assert main(test) == 1
    assert "it has heard 2 of the 2 test speakers, b, c, as the data at" in capsys.readouterr().err
    assert main([*test, "--allow-mismatch"]) == 0
    assert "NOT WHAT IT WAS TRAINED FOR: it has heard 2 of the 2 test speakers" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_labels_in_another_order_and_a_checkpoint_of_unknown_data_are_refused(small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db))
    with pytest.raises(MismatchError, match="Expected the same labels"):
        check_identity(Checkpoint("egemaps", data.labels[::-1], data.identity(), {}, {}), data)
    with pytest.raises(MismatchError, match="corpus was None, is emo_db"):
        check_identity(Checkpoint("egemaps", data.labels, None, {}, {}), data)


@pytest.mark.parametrize("verb", ["test", "robustness"])
def test_a_processor_that_is_not_there_is_refused(verb: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--ckpt_path", str(checkpoint), "--accelerator", "foo"]) == 1
    assert "The trainer refuses its arguments: You selected an invalid accelerator name" in capsys.readouterr().err


def test_another_corpus_is_refused(checkpoint: Path, ravdess: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["test", "--ckpt_path", str(checkpoint), "--data", "ravdess", "--data.root", str(ravdess)]
    assert main(command) == 1
    assert "Expected the same labels" in capsys.readouterr().err


def test_another_label_set_is_refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_emo_db(tmp_path / "emo_db", emotions="WTNF", takes=1)
    assert main(["test", "--ckpt_path", str(checkpoint), "--data.root", str(root), "--allow-mismatch"]) == 1
    assert "anger, neutral, sadness apart" in capsys.readouterr().err


def test_fewer_labels_are_told_by_the_outputs_that_mean_them(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_emo_db(tmp_path / "emo_db", emotions="TN", takes=2)
    command = ["test", "--ckpt_path", str(checkpoint), "--data.root", str(root), "--output", str(tmp_path / "metrics.json")]
    assert main(command) == 1
    assert main([*command, "--allow-mismatch"]) == 0
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["identity"]["labels"] == ["neutral", "sadness"]
    confusion = written["metrics"]["confusion"]
    assert [sum(row) for row in confusion] == [0, 2, 2]  # anger, neutral and sadness
    model = load_model(checkpoint)
    data = SERDataModule("emo_db", str(root), sample_rate=22_050)
    found = {str(item.path): item.label for item in predict(model, [row.path for row in data.split.test])}
    right = sum(found[str(row.path)] == row.label for row in data.split.test)
    assert right == sum(confusion[place][place] for place in range(3))


def test_a_missing_or_foreign_checkpoint_is_explained(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    assert main(["test", "--ckpt_path", str(checkpoint.parents[1])]) == 1
    assert f"Did you mean {checkpoint}?" in capsys.readouterr().err
    assert main(["test", "--ckpt_path", str(checkpoint.with_name("refit.ckpt"))]) == 1
    assert f"Did you mean {checkpoint}?" in capsys.readouterr().err
    for fold in ("fold-1", "fold-2"):
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "last.ckpt").touch()
    assert main(["test", "--ckpt_path", str(tmp_path)]) == 1
    expected = f"Below it are those of 2 folds, such as {tmp_path / 'fold-1' / 'last.ckpt'}. Name one of them."
    assert expected in capsys.readouterr().err
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    torch.save(torch.zeros(3), tmp_path / "tensor.ckpt")
    torch.save({"ser_zoo": {}, "hyper_parameters": {}}, tmp_path / "bare.ckpt")
    (tmp_path / "broken.ckpt").write_bytes(checkpoint.read_bytes()[:1000])
    for name in ("other.ckpt", "tensor.ckpt", "bare.ckpt", "broken.ckpt"):
        assert main(["test", "--ckpt_path", str(tmp_path / name)]) == 1
        assert "not a checkpoint of ser-zoo" in capsys.readouterr().err
    assert not [warning for warning in recwarn if "non-tuple sequence" in str(warning.message)]  # torch's, of the tensor


def test_a_folder_stands_for_its_recordings_each_once_and_for_none_that_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "deep" / "folder.wav").mkdir(parents=True)
    for name in ("b.wav", "._b.wav", "notes.txt", "deep/A.FLAC"):
        (tmp_path / name).touch()
    expected = [tmp_path / "b.wav", tmp_path / "deep" / "A.FLAC"]
    assert audio_paths([tmp_path, tmp_path / "b.wav"]) == expected


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.wav", "lost/2.wav"):
        write_tone(tmp_path / name, 0, 0)

    def scandir(place: str, scandir: Any = os.scandir) -> Any:
        if Path(place).name == "lost":
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.warns(SERZooWarning, match=r"The folder .*lost cannot be read \(Permission denied\), and is left out"):
        assert audio_paths([tmp_path]) == [tmp_path / "a" / "1.wav"]


def test_links_are_followed_but_not_in_circles_and_those_to_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.wav").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "there").symlink_to(tmp_path / "store")
    (folder / "back").symlink_to(folder)
    (folder / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    found = audio_paths([folder])
    assert found == [folder / "gone.wav", folder / "there" / "a.wav"]
    assert audio_paths(found) == found  # as predict is given them


def test_predict_labels_files_and_folders(
    checkpoint: Path, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav = small_emo_db / "wav"
    files = sorted(wav.glob("*.wav"))[:3]
    assert main(["predict", "--ckpt_path", str(checkpoint), *map(str, files)]) == 0
    printed = capsys.readouterr().out
    assert all(str(file) in printed for file in files)
    assert main(["predict", "--ckpt_path", str(checkpoint), str(wav), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 60
    for row in rows:
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["probability"] == max(row["probabilities"].values()) == row["probabilities"][row["label"]]
    output = tmp_path / "p.csv"
    assert main(["predict", "--ckpt_path", str(checkpoint), str(wav), "--format", "csv", "--output", str(output)]) == 0
    with output.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == [row["label"] for row in rows]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Prediction]:
    """What predict is made to answer for the recordings of a folder, whatever the checkpoint."""
    (tmp_path / "in").mkdir()
    predictions = []
    for name, probabilities in (("ä.wav", {"joy": 0.75, "anger": 0.25}), ("ö.wav", {"joy": 1 / 3, "anger": 2 / 3})):
        (tmp_path / "in" / name).touch()
        label = max(probabilities, key=lambda key: probabilities[key])
        predictions.append(Prediction(tmp_path / "in" / name, label, probabilities[label], probabilities, 1.5))
    monkeypatch.setattr("ser_zoo.inference.load_model", lambda *_, **__: SimpleNamespace(calibration=None))
    monkeypatch.setattr("ser_zoo.inference.predict", lambda *_, **__: predictions)
    return predictions


def test_predictions_are_written_with_their_labels_in_the_order_of_the_outputs(
    told: list[Prediction], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (str(item.path) for item in told)
    command = ["predict", "--ckpt_path=best.ckpt", str(tmp_path / "in")]
    assert main([*command, "--format=csv"]) == 0
    table = f"""file,label,probability,temperature,probability_joy,probability_anger
{first},joy,0.75,1.5,0.75,0.25
{second},anger,0.66666667,1.5,0.33333333,0.66666667
"""
    assert capsys.readouterr().out == table
    assert main([*command, "--format=json"]) == 0
    printed = capsys.readouterr().out
    assert "ä.wav" in printed
    assert json.loads(printed) == [item._asdict() | {"path": str(item.path)} for item in told]
    assert main([*command, f"--output={tmp_path / 'p.csv'}"]) == 0
    assert (tmp_path / "p.csv").read_text(encoding="utf-8") == table
    assert not capsys.readouterr().out
    assert main(command) == 0
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in cells if row] == [[first, "joy", "0.7500"], [second, "anger", "0.6667"]]


def test_predict_passes_on_how_it_is_to_be_done(
    told: list[Prediction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def load(path: str, **given: Any) -> SimpleNamespace:
        asked.update(given, path=path)
        return SimpleNamespace(calibration=None)

    def answer(model: object, paths: list[Path], batch_size: int, **given: Any) -> list[Prediction]:
        asked.update(given, paths=paths, batch_size=batch_size)
        return told

    monkeypatch.setattr("ser_zoo.inference.load_model", load)
    monkeypatch.setattr("ser_zoo.inference.predict", answer)
    command = ["predict", "--ckpt_path=best.ckpt", str(tmp_path / "in"), "--batch_size=3", "--device=cuda:1", "--encoder=e"]
    for more, calibrated in (([], True), (["--raw"], False)):
        assert main([*command, *more]) == 0
        assert (asked["path"], asked["encoder"], asked["device"]) == ("best.ckpt", "e", "cuda:1")
        assert (asked["paths"], asked["batch_size"]) == ([item.path for item in told], 3)
        assert asked["calibrated"] is calibrated
    with pytest.raises(SystemExit) as ended:
        main([*command, "--batch_size=0"])
    assert ended.value.code == 2
    assert "--batch_size must be at least 1" in capsys.readouterr().err


def test_a_wrong_path_is_noticed_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_zoo.inference.load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    assert main(["predict", "--ckpt_path=best.ckpt", str(tmp_path / "nowhere.wav")]) == 1


def test_predict_agrees_with_the_stored_predictions(checkpoint: Path, small_emo_db: Path) -> None:
    model = ser_zoo.load_model(checkpoint)
    with (checkpoint.parents[1] / "predictions.csv").open() as file:
        stored = {line["id"]: line for line in csv.DictReader(file)}
    for item in ser_zoo.predict(model, [small_emo_db / "wav" / f"{key}.wav" for key in stored], calibrated=False):
        line = stored[item.path.stem]
        assert item.label == line["predicted"]
        assert item.probability == pytest.approx(float(line[f"probability_{item.label}"]), abs=1e-4)


def test_predict_takes_one_path_for_itself(checkpoint: Path, small_emo_db: Path) -> None:
    model, path = load_model(checkpoint), small_emo_db / "wav" / "03a01Wa.wav"
    assert predict(model, path) == predict(model, str(path)) == predict(model, [path])


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"on_bad_audio": "ignore"}])
def test_predict_refuses_what_it_cannot_do(wrong: dict[str, Any], checkpoint: Path, small_emo_db: Path) -> None:
    with pytest.raises(SERZooError, match=rf"predict\.{next(iter(wrong))} "):
        predict(load_model(checkpoint), [small_emo_db], **wrong)


def test_predict_prepares_recordings_as_in_training(checkpoint: Path, small_emo_db: Path, tmp_path: Path) -> None:
    model = ser_zoo.load_model(checkpoint)
    original = next(iter((small_emo_db / "wav").glob("*.wav")))
    samples, rate = soundfile.read(original)
    soundfile.write(tmp_path / "stereo.flac", torch.tensor(samples)[:, None].repeat(1, 2).numpy(), rate)
    one, other = ser_zoo.predict(model, [original, tmp_path / "stereo.flac"])
    assert one.probability == pytest.approx(other.probability, abs=1e-3)


def test_predict_explains_what_it_cannot_read(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.wav").write_text("no sound")
    for item, expected in (("nowhere.wav", "no file or folder"), ("empty", "holds no recording"), ("text.wav", "Cannot read")):
        assert main(["predict", "--ckpt_path", str(checkpoint), str(tmp_path / item)]) == 1
        assert expected in capsys.readouterr().err


def test_damaged_recordings_do_not_take_the_others_with_them(
    checkpoint: Path, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = sorted((small_emo_db / "wav").glob("*.wav"))[:3]
    for path in good:
        shutil.copy(path, tmp_path)
    (tmp_path / "a.wav").write_text("no sound")
    (tmp_path / "z.wav").touch()
    output = tmp_path / "p.csv"
    # By two: one batch holds a damaged recording beside a good one, another nothing else.
    command = ["predict", "--ckpt_path", str(checkpoint), str(tmp_path), "--batch_size", "2"]
    assert main([*command, "--format", "csv", "--output", str(output)]) == 1
    told = capsys.readouterr()
    assert not told.out
    assert all(f"warning: Cannot read {tmp_path / name}: " in told.err for name in ("a.wav", "z.wav"))
    assert "2 of 5 recordings cannot be used and are left out" in told.err
    expected = ser_zoo.predict(ser_zoo.load_model(checkpoint), good)
    with output.open() as file:
        lines = list(csv.DictReader(file))
    assert [(Path(line["file"]).name, line["label"]) for line in lines] == [(item.path.name, item.label) for item in expected]
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(AudioError, match=r"a\.wav"):
        ser_zoo.predict(ser_zoo.load_model(checkpoint), [tmp_path])


@pytest.mark.parametrize("form", ["json", "csv"])
def test_predict_tells_what_is_cut_and_what_means_nothing(
    form: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = 0.1 * torch.randn(31 * 8000, generator=torch.Generator().manual_seed(0)).numpy()
    clips = {
        "exact": noise[: 30 * 8000],
        "long": noise,
        "offset": [0.25] * 8000,
        "one": [0.1],
        "short": noise[:199],
        "silent": [0.0] * 8000,
        "usual": noise[:200],
    }
    for name, samples in clips.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000)
    assert main(["predict", "--ckpt_path", str(checkpoint), str(tmp_path), "--batch_size", "2", "--format", form]) == 0
    told = capsys.readouterr()
    rows = json.loads(told.out) if form == "json" else list(csv.DictReader(told.out.splitlines()))
    assert len(rows) == len(clips)
    cut, empty = (line for line in told.err.splitlines() if "warning" in line)
    assert "Longer than 30 s, and cut to that as in training" in cut
    assert cut.endswith(f": 1 of 7 recordings, {tmp_path / 'long.wav'}.")
    assert "Silent or shorter than 25 ms, so that the probabilities mean nothing: 4 of 7 recordings, " in empty
    assert all(str(tmp_path / f"{name}.wav") in empty for name in ("offset", "one", "short", "silent"))


def test_of_a_folder_the_checkpoint_that_was_tested_is_proposed(tmp_path: Path) -> None:
    for name in ("last", "best", "refit"):
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "checkpoints" / f"{name}.ckpt").touch()
        with pytest.raises(RunError, match=rf"Did you mean .*{name}\.ckpt\?"):
            read_checkpoint(tmp_path)


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_another_fold_is_named_rather_than_those_whom_it_has_heard(small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db))
    trained_on = data.identity() | {"fold": 3, "heard": ["03", "08"]}
    assert check_identity(Checkpoint("egemaps", data.labels, trained_on, {}, {}), data, allow=True) == "fold was 3, is 1"


def test_the_only_recording_is_not_skipped_but_its_damage_told(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"Cannot read .*a\.wav"):
        ser_zoo.predict(load_model(checkpoint), tmp_path / "a.wav", on_bad_audio="skip")


def test_what_is_silent_up_to_where_it_is_cut_means_nothing(checkpoint: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "late.wav", [0.0] * 30 * 1000 + [0.5, -0.5] * 500, 1000)
    with pytest.warns(SERZooWarning) as told:
        ser_zoo.predict(load_model(checkpoint), tmp_path / "late.wav")
    assert [str(warning.message).split(",")[0] for warning in told] == ["Longer than 30 s", "Silent or shorter than 25 ms"]


def test_nothing_is_written_when_no_recording_can_be_read(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_text("no sound")
    assert main(["predict", "--ckpt_path", str(checkpoint), str(tmp_path), "--output", str(tmp_path / "p.csv")]) == 1
    error = capsys.readouterr().err
    assert all(f"Cannot read {tmp_path / name}: " in error for name in ("a.wav", "b.wav"))
    assert "None of the 2 recordings can be used" in error
    assert not (tmp_path / "p.csv").exists()


def test_nothing_is_predicted_where_nothing_can_be_written(
    checkpoint: Path, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ser_zoo.inference.load_model", lambda *args, **kwargs: pytest.fail("the model was loaded"))
    (tmp_path / "file").touch()
    call = ["predict", "--ckpt_path", str(checkpoint), str(small_emo_db), "--output"]
    assert main([*call, str(tmp_path / "file" / "p.csv")]) == 1
    assert f"Cannot use {tmp_path / 'file'}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_that_is_not_utf_8_loses_no_prediction(checkpoint: Path, small_emo_db: Path, tmp_path: Path) -> None:
    recording = tmp_path / os.fsdecode(b"caf\xe9.wav")
    try:
        shutil.copy(next(small_emo_db.rglob("*.wav")), recording)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    program = "import sys; from ser_zoo.cli import main; sys.exit(main())"
    call = ["predict", "--ckpt_path", str(checkpoint), str(tmp_path), "--format"]
    for form in ("table", "csv", "json"):
        printed = subprocess.run([sys.executable, "-c", program, *call, form], check=True, capture_output=True).stdout
        assert b"caf\\udce9.wav" in printed
    assert [row["path"] for row in json.loads(printed)] == [str(recording)]
    assert main([*call, "json", "--output", str(tmp_path / "p.json")]) == 0
    assert (tmp_path / "p.json").read_bytes() == printed


def test_an_encoder_is_refused_where_there_is_none(checkpoint: Path) -> None:
    with pytest.raises(EncoderError, match=r"cnn_attn has no encoder, but --encoder pico names one\. Leave it out\."):
        ser_zoo.load_model(checkpoint, encoder="pico")


def test_a_frozen_encoder_is_not_in_the_checkpoint_and_is_compared_on_loading(fused: tuple[Path, Path], tmp_path: Path) -> None:
    path, encoder = fused
    state = torch.load(path, weights_only=True)["state_dict"]
    assert not any(key.startswith("network.encoder.") for key in state)
    moved = tmp_path / "moved"
    shutil.copytree(encoder, moved)
    assert ser_zoo.load_model(path, encoder=str(moved)).labels == ["anger", "neutral", "sadness"]
    torch.manual_seed(1)
    with pytest.raises(EncoderError, match="differs from the one this checkpoint was trained with in weights"):
        ser_zoo.load_model(path, encoder=str(tiny_encoder(tmp_path / "other", "whisper", seed=1)))


@pytest.mark.parametrize(("verb", "more"), [("predict", ["clip.wav"]), ("test", []), ("robustness", []), ("profile", [])])
def test_the_advice_on_an_encoder_names_the_option_of_the_command(
    verb: str, more: list[str], fused: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("clip.wav", [0.0, 0.1], 16_000)
    assert main([verb, "--ckpt_path", str(fused[0]), "--encoder", str(tmp_path / "nowhere"), *more]) == 1
    error = capsys.readouterr().err
    assert "Pass it with --encoder." in error
    assert "--model.encoder" not in error


@pytest.mark.parametrize("accelerator", ["mps", None])
def test_auto_is_the_accelerator_of_the_machine_or_its_processor(
    accelerator: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(str(accelerator)))
    assert find_device("auto") == torch.device(accelerator or "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without CUDA is meant")
def test_predict_explains_a_device_that_cannot_be_used(
    checkpoint: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--ckpt_path", str(checkpoint), str(small_emo_db), "--device", "cuda"]) == 1
    assert "--device cuda cannot be used here" in capsys.readouterr().err


def test_a_model_is_loaded_ready_to_predict(checkpoint: Path) -> None:
    assert not any(module.training for module in load_model(checkpoint).modules())


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Permission denied")

    (tmp_path / "best.ckpt").touch()
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(RunError, match=r"best\.ckpt cannot be read: Permission denied"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_load_model_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no checkpoint file"):
        ser_zoo.load_model(tmp_path / "none.ckpt")
