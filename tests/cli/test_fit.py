from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from ser_zoo.cli import main
from ser_zoo.cli.fit import expand_names, parse
from ser_zoo.encoders import EncoderOptions
from ser_zoo.evaluation import read_result
from ser_zoo.evaluation.checkpoints import read_entry
from ser_zoo.inference import load_model
from ser_zoo.models import list_models
from tests.cli.commands import QUICK, fit_command, ser_zoo
from tests.releases import write_emo_db
from tests.tiny import tiny_encoder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of fold 2."""
    folder = tmp_path_factory.mktemp("run") / "r"
    assert main(fit_command(small_emo_db, folder, "--data.fold=2")) == 0
    return folder


def test_fit_prints_the_result_and_writes_the_row(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", "--data.fold=3")) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("WA", "UA", "macro-F1", "anger", "neutral", "sadness", "recall"))
    row = read_result(tmp_path / "r" / "fold-3" / "result.json")
    assert (row["model"], row["corpus"], row["fold"], row["seed"]) == ("cnn_attn", "emo_db", 3, 7)
    assert row["data"]["test"] == sum(map(sum, row["metrics"]["confusion"])) == 6
    assert f"{row['metrics']['ua']:.4f}" in printed
    assert str(tmp_path) not in json.dumps(row)
    assert {path.name for path in (tmp_path / "r" / "fold-3").iterdir()} >= {"config.yaml", "predictions.csv", "checkpoints"}
    assert row["config"]["data"]["task"] == "7class"
    logged = (tmp_path / "r" / "fold-3" / "curves" / "version_0" / "hparams.yaml").read_text()
    assert "\n  corpus: emo_db\n" in logged
    assert "\nlabels:\n- anger\n" in logged


def test_the_row_names_the_certificate_of_its_fold(run: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--data=emo_db", f"--data.root={small_emo_db}", "--no-audio", "--format=json"]) == 0
    folds = {fold["fold"]: fold["hash"] for fold in json.loads(capsys.readouterr().out)["folds"]}
    assert read_result(run / "fold-2" / "result.json")["protocol"]["certificate"] == folds["2"]


@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_what_a_task_leaves_out_is_counted_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_emo_db(tmp_path / "emo_db", ["03", "08", "09"], "WNL", 1)
    assert main(fit_command(root, tmp_path / "r", "--data.task=4class", epochs=1)) == 0
    printed = capsys.readouterr().err
    assert "EMO-DB: 6 utterances of anger, neutral; 3 of other labels or parts are left out: boredom 3." in printed
    assert read_result(tmp_path / "r" / "fold-1" / "result.json")["labels"] == ["anger", "neutral"]


def test_the_same_seed_gives_the_same_metrics_and_another_seed_other_ones(
    run: Path, small_emo_db: Path, tmp_path: Path
) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", "--data.fold=2")) == 0
    first, second = (folder / "fold-2" / "predictions.csv" for folder in (run, tmp_path / "r"))
    assert first.read_text() == second.read_text()
    assert main(fit_command(small_emo_db, tmp_path / "s", "--data.fold=2", "--seed_everything=8")) == 0
    assert (tmp_path / "s" / "fold-2" / "predictions.csv").read_text() != first.read_text()


def test_a_config_file_repeats_the_run(run: Path, tmp_path: Path) -> None:
    assert main(["fit", "--config", str(run / "fold-2" / "config.yaml"), "--run_dir", str(tmp_path / "r")]) == 0
    assert (tmp_path / "r" / "fold-2" / "predictions.csv").read_text() == (run / "fold-2" / "predictions.csv").read_text()


def test_a_run_is_not_overwritten(run: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "fold-2" / "result.json").read_text()
    assert main(fit_command(small_emo_db, run, "--data.fold=2")) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert (run / "fold-2" / "result.json").read_text() == before


def test_a_second_run_of_the_same_name_gets_its_own_folder(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [item for item in fit_command(small_emo_db, tmp_path, epochs=1) if not item.startswith("--run_dir")]
    assert main(command) == 0
    assert main(command) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "emo_db-cnn_attn-loso10-seed7",
        "emo_db-cnn_attn-loso10-seed7-2",
    }


@pytest.mark.parametrize("more", ["--refit", "--validate_only"])
def test_the_model_is_summarised_once_for_all_folds(
    more: str, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ["--trainer.enable_model_summary=true", "--folds=1,2", more]
    assert main(fit_command(small_emo_db, tmp_path / "r", *shown, epochs=1)) == 0
    assert capsys.readouterr().out.count("Trainable params") == 1


def test_what_a_killed_start_has_left_is_not_gone_on_with(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [item for item in fit_command(small_emo_db, tmp_path, epochs=1) if not item.startswith("--run_dir")]
    assert main(command) == 0
    first, second = Path("runs/emo_db-cnn_attn-loso10-seed7"), Path("runs/emo_db-cnn_attn-loso10-seed7-2")
    (second / "fold-1").mkdir(parents=True)
    shutil.copy(first / "fold-1" / "config.yaml", second / "fold-1")
    capsys.readouterr()
    assert main([*command, "--ckpt_path=last"]) == 0
    assert capsys.readouterr().out.endswith(f"results: {first / 'fold-1'}\n")


@pytest.mark.parametrize("wrong", ["--model.sample_rate=8000", "--trainer.limit_train_batches=0.01", "--trainer.max_epochs=0"])
def test_a_start_that_is_refused_leaves_nothing_behind(wrong: str, small_emo_db: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for root in (tmp_path / "runs" / "r", tmp_path / "mine"):
        assert main([*fit_command(small_emo_db, root, epochs=1), wrong]) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_what_was_there_before_a_refused_start_stays(run: Path, small_emo_db: Path) -> None:
    before = sorted(run.rglob("*"))
    assert main(fit_command(small_emo_db, run, "--data.fold=3", "--trainer.limit_train_batches=0.01")) == 1
    assert main(fit_command(small_emo_db, run, "--data.fold=2", "--ckpt_path=last", "--model.sample_rate=8000")) == 1
    assert sorted(run.rglob("*")) == before


def test_several_folds_are_pooled(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", "--folds=1,3-4", epochs=1)) == 0
    assert "3 folds pooled" in capsys.readouterr().out
    pooled = json.loads((tmp_path / "r" / "pooled.json").read_text())
    rows = [read_result(tmp_path / "r" / f"fold-{fold}" / "result.json") for fold in (1, 3, 4)]
    assert pooled["folds"] == [1, 3, 4]
    assert sum(map(sum, pooled["pooled"]["confusion"])) == sum(row["data"]["test"] for row in rows) == 18

    assert main(fit_command(small_emo_db, tmp_path / "r", "--folds=3,4", "--ckpt_path=last", epochs=1)) == 0
    printed = capsys.readouterr()
    assert "2 folds pooled" in printed.out
    assert "pooled.json stays as it was, over folds 1,3,4: this command has not 1." in printed.err
    assert json.loads((tmp_path / "r" / "pooled.json").read_text()) == pooled
    assert main(fit_command(small_emo_db, tmp_path / "r", "--folds=1-4", "--ckpt_path=last", epochs=1)) == 0
    assert json.loads((tmp_path / "r" / "pooled.json").read_text())["folds"] == [1, 2, 3, 4]


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(small_emo_db: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(fit_command(small_emo_db, whole, epochs=12)) == 0
    command = fit_command(small_emo_db, killed, epochs=12)
    process = subprocess.Popen([sys.executable, "-c", "import sys; from ser_zoo.cli import main; sys.exit(main())", *command])
    last = killed / "fold-1" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert last.exists()
    assert not (killed / "fold-1" / "result.json").exists()
    assert main([*command, "--ckpt_path=last"]) == 0
    assert (killed / "fold-1" / "predictions.csv").read_text() == (whole / "fold-1" / "predictions.csv").read_text()
    assert read_result(killed / "fold-1" / "result.json")["selection"]["epochs"] == 12


def test_resuming_keeps_finished_folds(run: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "fold-2" / "result.json").stat().st_mtime_ns
    assert main(fit_command(small_emo_db, run, "--data.fold=2", "--ckpt_path=last")) == 0
    assert (run / "fold-2" / "result.json").stat().st_mtime_ns == before
    assert "WA" in capsys.readouterr().out


def test_resuming_under_another_configuration_is_refused(
    run: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command(small_emo_db, run, "--data.fold=2", "--ckpt_path=last", "--model.dropout=0.5")) == 1
    assert "model.dropout was 0.2, is 0.5" in capsys.readouterr().err


def test_a_fold_does_not_join_folds_of_another_configuration(
    run: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, told in (([], "pass another --run_dir"), (["--ckpt_path=last"], "Cannot go on with")):
        assert main(fit_command(small_emo_db, run, "--data.fold=3", "--model.dropout=0.5", *more)) == 1
        error = capsys.readouterr().err
        assert told in error
        assert "holds fold 2 of another configuration (model.dropout was 0.2, is 0.5)" in error
    assert [path.name for path in run.iterdir()] == ["fold-2"]


def test_folds_of_one_configuration_share_a_folder_and_others_get_their_own(
    run: Path, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "emo_db-cnn_attn-loso10-seed7"
    shutil.copytree(run, tmp_path / "runs" / name)
    command = [item for item in fit_command(small_emo_db, tmp_path) if not item.startswith("--run_dir")]
    assert main([*command, "--data.fold=3", "--model.dropout=0.5"]) == 0
    assert main([*command, "--data.fold=4"]) == 0
    folds = {str(path.relative_to(tmp_path / "runs")) for path in tmp_path.glob("runs/*/*")}
    assert folds == {f"{name}/fold-2", f"{name}-2/fold-3", f"{name}/fold-4"}


def test_a_run_that_was_stopped_before_a_checkpoint_goes_on_beside_one_of_another_configuration(
    run: Path, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "runs" / "emo_db-cnn_attn-loso10-seed7"
    stopped = other.with_name(f"{other.name}-2") / "fold-2"
    shutil.copytree(run, other)
    stopped.mkdir(parents=True)
    config = (other / "fold-2" / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(config.replace("dropout: 0.2", "dropout: 0.5"))
    command = [item for item in fit_command(small_emo_db, tmp_path) if not item.startswith("--run_dir")]
    assert main([*command, "--data.fold=2", "--model.dropout=0.5", "--ckpt_path=last"]) == 0
    assert (stopped / "result.json").is_file()


def test_the_newest_run_is_gone_on_with_where_the_first_one_is_no_longer_there(
    run: Path, small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "emo_db-cnn_attn-loso10-seed7-2")
    command = [item for item in fit_command(small_emo_db, tmp_path) if not item.startswith("--run_dir")]
    assert main([*command, "--data.fold=2", "--ckpt_path=last"]) == 0
    assert [path.name for path in tmp_path.glob("runs/*")] == ["emo_db-cnn_attn-loso10-seed7-2"]


def test_a_leaderboard_makes_its_folds_anew_one_at_a_time(run: Path, small_emo_db: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "r" / "fold-2.json").write_text("{}")  # the fingerprint under which it was begun
    assert main(fit_command(small_emo_db, tmp_path / "r", "--data.fold=3", epochs=1)) == 0


def test_a_fold_that_a_table_has_too_few_speakers_for_is_refused_before_others_train(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [next(small_emo_db.rglob(f"{speaker}*.wav")) for speaker in ("03", "08", "09", "10")]
    table = tmp_path / "mine.csv"
    table.write_text("path,label,speaker\n" + "".join(f"{path},anger,{path.name[:2]}\n" for path in paths))
    assert main(fit_command(small_emo_db, tmp_path / "r", "--data=csv", f"--data.root={table}", "--folds=1,7")) == 1
    assert "there is no fold 7; the protocol has 1 to 4" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_folds_that_run_backwards_are_refused(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", "--folds=3-1")) == 1
    assert "--folds 3-1 is not understood" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_damaged_configuration_is_nothing_to_go_on_under(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r" / "fold-1").mkdir(parents=True)
    (tmp_path / "r" / "fold-1" / "config.yaml").write_text("model: [")
    assert main(fit_command(small_emo_db, tmp_path / "r", "--ckpt_path=last")) == 1
    assert "fold 1, whose config.yaml is damaged (ParserError)" in capsys.readouterr().err


def test_a_fold_that_was_stopped_before_its_configuration_was_written_is_begun(
    run: Path, small_emo_db: Path, tmp_path: Path
) -> None:
    """An empty ``config.yaml`` takes a fold, and is all that a kill or a full disk leaves of one there."""
    shutil.copytree(run, tmp_path / "r")
    for fold in (3, 4):
        (tmp_path / "r" / f"fold-{fold}").mkdir()
        (tmp_path / "r" / f"fold-{fold}" / "config.yaml").touch()
    (tmp_path / "r" / "fold-3" / ".config.0123456789ab.tmp.yaml").write_text("seed")  # half of it
    assert main(fit_command(small_emo_db, tmp_path / "r", "--folds=2,3", "--ckpt_path=last")) == 0
    assert yaml.safe_load((tmp_path / "r" / "fold-3" / "config.yaml").read_text())["data"]["fold"] == 3
    assert (tmp_path / "r" / "fold-3" / "result.json").is_file()


def test_an_empty_configuration_beside_a_checkpoint_is_damaged(
    run: Path, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "r" / "fold-2" / "config.yaml").write_text("")  # after a power cut
    assert main(fit_command(small_emo_db, tmp_path / "r", "--data.fold=2", "--ckpt_path=last")) == 1
    assert "fold 2, whose config.yaml is damaged (it is empty)" in capsys.readouterr().err


def test_what_decides_no_number_may_differ_when_a_run_goes_on(
    run: Path, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(small_emo_db, tmp_path / "moved")
    passing = [
        "--data.num_workers=1",
        "--data.cache=disk",
        "--trainer.enable_progress_bar=true",
        "--trainer.log_every_n_steps=5",
    ]
    assert main(fit_command(moved, run, "--data.fold=2", "--ckpt_path=last", *passing)) == 0
    assert "WA" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["last.ckpt", "run/checkpoints/last.ckpt", "run/fold-x/checkpoints/last.ckpt"])
def test_a_checkpoint_outside_a_run_is_nothing_to_go_on_from(
    place: str, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    assert main(fit_command(small_emo_db, tmp_path / "r", f"--ckpt_path={tmp_path / place}")) == 1
    assert "expected last, or a file RUN/fold-K/checkpoints/last.ckpt" in capsys.readouterr().err


def test_resuming_nothing_is_refused(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "none", "--ckpt_path=last")) == 1
    assert "Nothing to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model", "cros_attn", "--data", "emo_db"], "Unknown model 'cros_attn'. Did you mean cross_attn"),
        (["--model", "cnn_attn", "--data", "emodb"], "Unknown corpus 'emodb'. Did you mean emo_db"),
        (["--model", "cnn_attn"], "--data NAME is missing"),
        (["--data", "emo_db"], "--model NAME is missing"),
        (["--model", "cnn_attn", "--data", "emo_db", "--data.root", "/nowhere"], "there is no folder /nowhere"),
        (["--model", "cnn_attn", "--data", "emo_db", "--data.protocol", "loso"], "Did you mean loso10"),
        (["--model", "cnn_attn", "--data", "emo_db", "--data.fold", "11"], "folds 1 to 10"),
        (["--model", "cnn_attn", "--data", "emo_db", "--folds", "9-12"], "there is no fold 11"),
        (["--model", "cnn_attn", "--data", "emo_db", "--folds", "some"], "not understood"),
        (["--model", "cnn_attn", "--data", "emo_db", "--folds", "²"], "not understood"),
        (["--model", "cnn_attn", "--data", "emo_db", "--folds", "1-99999999999"], "there is no fold 11"),
        (["--config", "nowhere.yaml"], "Cannot read the configuration"),
    ],
)
def test_a_mistake_is_explained_without_a_traceback(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *arguments]) == 1
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error


def test_a_root_that_is_a_link_to_itself_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (loop := tmp_path / "loop").symlink_to("loop")
    assert main(["fit", "--model=mfcc_stats", "--data=emo_db", f"--data.root={loop}"]) == 1
    assert f"there is no folder {loop}" in capsys.readouterr().err


def test_what_a_callback_refuses_is_explained_without_a_traceback(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/ua", "--trainer.callbacks.mode=up")
    assert main(fit_command(small_emo_db, tmp_path / "run", *options)) == 1
    assert "refuses its arguments: `mode` can be min, max, got up" in capsys.readouterr().err


def test_tensorboard_that_is_not_installed_is_told_with_the_extra(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    options = ("--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={tmp_path}")
    assert main(fit_command(small_emo_db, tmp_path / "run", *options)) == 1
    assert "which is not installed. Install it with pip install 'ser-zoo[tensorboard]'." in capsys.readouterr().err


def test_bad_audio_stops_fit_or_is_listed(small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_emo_db(tmp_path / "emo_db", emotions="WT", takes=2)
    bad = sorted((root / "wav").iterdir())[-1]
    bad.write_bytes(b"not audio")
    assert main(fit_command(root, tmp_path / "a", epochs=1)) == 1
    assert bad.name in capsys.readouterr().err
    assert main(fit_command(root, tmp_path / "b", "--data.on_bad_audio=skip", epochs=1)) == 0
    excluded = read_result(tmp_path / "b" / "fold-1" / "result.json")["data"]["excluded"]
    assert [item["id"] for item in excluded] == [bad.stem]
    assert str(tmp_path) not in excluded[0]["reason"]


def test_print_config_shows_the_settings_of_the_source() -> None:
    shown = ser_zoo("fit", "--model", "cross_attn", "--data", "emo_db", "--print_config")
    config = yaml.safe_load(shown.stdout)
    assert config["model"]["name"] == "cross_attn"
    assert config["model"]["optim"]["lr"] == 4e-5
    assert (config["data"]["batch_size"], config["trainer"]["accumulate_grad_batches"], config["patience"]) == (2, 4, 7)


def test_model_help_explains_an_architecture() -> None:
    shown = ser_zoo("fit", "--model.help", "cross_attn").stdout
    assert "--model.finetune_from" in shown
    assert "first encoder block that is trained" in shown


@pytest.mark.parametrize("verb", ["fit", "profile"])
def test_a_wrong_argument_is_not_hidden_below_all_that_there_are(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--model", "cross_attn", "--model.foo", "1"])
    assert ended.value.code == 2
    usage, tip, error = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: ser-zoo {verb} ")
    assert tip.endswith("--help")
    assert error == "error: unrecognized arguments: --model.foo 1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model.widht=3"], "unrecognized arguments: --model.widht=3. Did you mean --model.width?"),
        (["--seed", "3", "--trainer.max_epoch", "2"], "--trainer.max_epoch 2. Did you mean --trainer.max_epochs or"),
        (["model: {widht: 3}"], "Group 'model' does not accept option 'widht'. Did you mean --model.width?"),
        (["model: {optim: {los: focal}}"], "does not accept option 'optim.los'. Did you mean --model.optim.loss"),
        (["sede_everything: 3"], "Option 'sede_everything' is not accepted. Did you mean --seed_everything?"),
    ],
)
def test_an_error_names_what_comes_near_an_unknown_option(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not arguments[0].startswith("--"):
        (tmp_path / "c.yaml").write_text(arguments[0])
        arguments = ["--config", str(tmp_path / "c.yaml")]
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--model", "cross_attn", "--data", "emo_db", *arguments])
    assert told in capsys.readouterr().err


def test_an_option_that_is_known_but_wrong_has_no_others_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--model", "cnn_attn", "--data", "emo_db", "--trainer.max_epochs"])
    assert capsys.readouterr().err.endswith("error: argument --trainer.max_epochs: expected one argument\n")


@pytest.mark.parametrize("command", ["fit --data emo_db", "profile"])
def test_an_argument_is_not_cut_short(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*command.split(), "--model", "cnn_attn", "--model.channe", "8"])
    assert "unrecognized arguments: --model.channe" in capsys.readouterr().err


@pytest.mark.parametrize("model", list_models())
def test_a_training_without_a_recipe_ends(model: str) -> None:
    _, options = parse(["--model.name", model, "--data.corpus", "demo"])
    bounds = options.trainer.max_steps, options.trainer.max_epochs
    assert bounds[0] > 0 or 0 < bounds[1] <= 100  # Lightning goes on for a thousand epochs


def test_a_configuration_holds_the_defaults_of_callbacks_that_are_members_of_enumerations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--model=cnn_attn", "--data=demo", "--trainer.callbacks=[Timer]", "--print_config"])
    assert not ended.value.code
    (timer,) = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    assert timer["init_args"]["interval"] == "step"


def test_help_of_fit_lists_data_and_trainer() -> None:
    shown = ser_zoo("fit", "--help").stdout
    assert all(option in shown for option in ("--data.fold", "--trainer.max_epochs", "--folds", "--ckpt_path"))
    assert "auto: one, or under torchrun and srun all" in " ".join(shown.split())


def test_help_says_that_model_and_data_are_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--model=probe", "--help"])
    shown = capsys.readouterr().out
    assert "--model NAME is short for it" in " ".join(shown.split())
    assert "--data NAME is short for it" in " ".join(shown.split())
    assert not {"--model CONFIG", "--data CONFIG"} & {line[2:].partition("  ")[0] for line in shown.splitlines()}


def test_cross_attn_runs_with_a_frozen_encoder_and_keeps_its_features(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    encoder = tiny_encoder(tmp_path / "encoder", "whisper")
    recipe = ROOT / "recipes" / "emo_db" / "cross_attn.yaml"
    command = ["fit", "--config", str(recipe), f"--data.root={small_emo_db}", f"--model.encoder={encoder}", *QUICK]
    command += ["--model.layers=[1,3]", "--trainer.max_epochs=1", "--folds=1,2", f"--run_dir={tmp_path / 'r'}"]
    assert main(command) == 0
    assert not [str(warning.message) for warning in recwarn if "eval mode" in str(warning.message)]
    row = read_result(tmp_path / "r" / "fold-2" / "result.json")
    assert row["encoder"]["name"] == "encoder"
    assert row["parameters"]["trained"] < row["parameters"]["total"]
    shards = list((tmp_path / "cache" / "features").glob("*/*.safetensors"))
    assert len(shards) == 1  # the second fold has used those of the first


def test_encoder_options_reach_the_row_and_the_checkpoint(small_emo_db: Path, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "encoder", "wav2vec2-stable")
    recipe = ROOT / "recipes" / "emo_db" / "cross_attn.yaml"
    command = ["fit", "--config", str(recipe), f"--data.root={small_emo_db}", f"--model.encoder={encoder}", *QUICK]
    command += ["--model.layers=[3]", "--model.finetune_from=2", "--model.encoder_options.lora_rank=2"]
    command += ["--model.state_scaling=none", "--trainer.max_epochs=1", f"--run_dir={tmp_path / 'r'}"]
    assert main(command) == 0
    row = read_result(tmp_path / "r" / "fold-1" / "result.json")
    assert row["config"]["model"]["encoder_options"] == asdict(EncoderOptions(lora_rank=2))
    best = tmp_path / "r" / "fold-1" / "checkpoints" / "best.ckpt"
    assert load_model(best).encoder.options == EncoderOptions(lora_rank=2)
    assert main(["test", "--ckpt_path", str(best), f"--data.root={small_emo_db}"]) == 0


RECIPES = sorted(path for path in (ROOT / "recipes").glob("*/*.yaml") if path.parent.name != "sweeps")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_runs_to_a_result(
    recipe: Path, small_emo_db: Path, ravdess: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader", reason="the demo corpus needs the extra demo")
    monkeypatch.setenv("SER_ZOO_DATA", str(tmp_path))
    roots = {"emo_db": small_emo_db, "ravdess": ravdess}
    if recipe.parent.name in roots:
        (tmp_path / recipe.parent.name).symlink_to(roots[recipe.parent.name])
    command = ["fit", "--config", str(recipe), "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUICK]
    command += ["--trainer.max_epochs=1", f"--run_dir={tmp_path / 'r'}"]
    if "encoder" in recipe.read_text() and recipe.parent.name != "demo":  # whose encoder is in the package
        command += [f"--model.encoder={tiny_encoder(tmp_path / 'encoder', 'whisper')}", "--model.layers=[1,2,3]"]
    assert main(command) == 0
    row = read_result(tmp_path / "r" / "fold-1" / "result.json")
    assert row["synthetic"] == (recipe.parent.name == "demo")


@pytest.mark.parametrize("model", ["cross_attn", "co_attn", "cta_rnn", "hump_cat", "probe"])
def test_the_demo_corpus_takes_the_encoder_of_the_package(model: str, tmp_path: Path) -> None:
    _, options = parse(expand_names(["--model", model, "--data", "demo"]))
    assert (options.model.encoder, options.model.layers) == ("pico", [2, 3, 4])
    _, options = parse(expand_names(["--model", model, "--data", "demo", "--model.encoder", "other", "--model.layers", "[1]"]))
    assert (options.model.encoder, options.model.layers) == ("other", [1])
    _, options = parse(expand_names(["--model", model, "--data", "emo_db"]))
    assert options.model.encoder != "pico"
    config = tmp_path / "config.yaml"
    config.write_text(f"model: {{name: {model}}}\ndata: {{corpus: demo}}\n")
    assert parse(["--config", str(config)])[1].model.encoder == "pico"


def test_several_configurations_name_model_and_corpus_together_and_the_later_one_counts(tmp_path: Path) -> None:
    for name, text in (("a", "model: {name: probe}"), ("b", "data: {corpus: demo}"), ("c", "model: {name: cnn_attn}")):
        (tmp_path / f"{name}.yaml").write_text(text)
    a, b, c = (f"--config={tmp_path / name}.yaml" for name in "abc")
    for given, model in (([a, b], "probe"), ([b, a], "probe"), ([a, b, c], "cnn_attn"), (["--model=probe", c, b], "cnn_attn")):
        _, options = parse(expand_names(given))
        assert (options.model.name, options.data.corpus) == (model, "demo")
        assert options.model.get("encoder") == ("pico" if model == "probe" else None)
    assert parse(expand_names(["-c", c.partition("=")[2], b, "--model=probe"]))[1].model.encoder == "pico"


def test_names_are_also_found_in_a_configuration_that_writes_them_with_dots(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("model.name: probe\ndata.corpus: demo\n")
    _, options = parse(expand_names(["--model=cnn_attn", f"--config={config}"]))
    assert (options.model.name, options.data.corpus, options.model.encoder) == ("probe", "demo", "pico")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty. Expected arguments of ser-zoo fit"),
        ("- data.fold=2", "holds ['data.fold=2']. Expected arguments of ser-zoo fit"),
        ("1: 2", "has the key 1. Expected arguments of ser-zoo fit"),
        ("data: &d {fold: 2, augment: *d}", "an alias in it stands for all of it"),
        ("data: {fold: 2, batch_size: 4, fold: 3}", "the key 'fold' stands there twice"),
        ("data: {fold: 2}\nmodel: {}\ndata: {batch_size: 4}", "the key 'data' stands there twice"),
        ("trainer:", "has trainer: null. Expected its arguments below it, or nothing."),
        ("trainer: [max_epochs]", "has trainer: ['max_epochs']. Expected its arguments below it, or nothing."),
        ("model: {optim: 3}", "has model.optim: 3. Expected its arguments below it, or nothing."),
    ],
)
def test_a_configuration_that_could_only_be_read_in_part_is_refused(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(text)
    assert main(["fit", "--model=cnn_attn", "--data=emo_db", f"--config={config}"]) == 1
    error = capsys.readouterr().err
    assert str(config) in error
    assert told in error


@pytest.mark.parametrize(("group", "key"), [("model", "name"), ("data", "corpus")])
def test_a_name_in_the_place_of_a_group_is_explained(
    group: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(f"{group}: probe")
    assert main(["fit", "--model=cnn_attn", "--data=emo_db", f"--config={tmp_path / 'c.yaml'}"]) == 1
    assert f"has {group}: probe. Expected {group}: {{{key}: probe}}." in capsys.readouterr().err


def test_two_processes_count_every_test_utterance_once(small_emo_db: Path, tmp_path: Path) -> None:
    command = fit_command(small_emo_db, tmp_path / "r", "--trainer.devices=2", "--trainer.strategy=ddp", epochs=1)
    script = tmp_path / "run.py"  # Lightning starts its further processes by calling the script again
    script.write_text(
        "import sys\nimport torch.distributed\nfrom ser_zoo.cli import main\nstatus = main()\n"
        "sys.exit(status or int(torch.distributed.is_initialized()))  # a group that is left open aborts at times\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Three test batches a fold over two processes, each of which trains twice a fold.
    arguments = [*command, "--data.batch_size=2", "--folds=1,2", "--refit"]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "sync_dist" not in done.stderr
    for fold in (1, 2):
        row = read_result(tmp_path / "r" / f"fold-{fold}" / "result.json")
        assert sum(map(sum, row["metrics"]["confusion"])) == row["data"]["test"] == 6
        assert row["calibration"]["validation"]["utterances"] == row["data"]["validation"] == 6
        assert row["machine"]["processes"] == 2
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"fold-1", "fold-2", "pooled.json"}


def test_two_processes_end_together_when_one_is_told_to(small_emo_db: Path, tmp_path: Path) -> None:
    """Lightning's own handler, which calls the others from within a step, now and then has both wait without end."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, signal, sys\nfrom ser_zoo.cli import main\nfrom ser_zoo.models import cnn_attn\n"
        "step = cnn_attn.CNNAttn.training_step\n"
        "def training_step(self, batch, *rest):\n"
        "    if self.trainer.current_epoch == 1 and self.trainer.global_rank == 1:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return step(self, batch, *rest)\n"
        "cnn_attn.CNNAttn.training_step = training_step\nsys.exit(main())\n"
    )
    arguments = fit_command(small_emo_db, tmp_path / "r", "--trainer.devices=2", "--trainer.strategy=ddp", epochs=3)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), *arguments, "--data.batch_size=2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert (
        done.stderr.splitlines().count("ser-zoo: error: Interrupted. Repeat the command with --ckpt_path last to go on.") == 1
    )
    assert "Traceback" not in done.stderr
    assert read_entry(tmp_path / "r" / "fold-1" / "checkpoints" / "last.ckpt", "epoch") == 0
    assert not (tmp_path / "r" / "fold-1" / ".lock").exists()
