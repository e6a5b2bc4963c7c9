"""Searches from the command line on a fake EMO-DB, and what a sweep's agent would run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ser_zoo.cli import main
from ser_zoo.cli import search as command_line
from ser_zoo.cli.fit import parse
from ser_zoo.data import SERDataModule
from ser_zoo.evaluation import read_result
from ser_zoo.evaluation.search import Trial, read_sweep, sample_values
from ser_zoo.models.base import SERModule
from ser_zoo.settings import PASSING, PASSING_SETTINGS, as_arguments
from tests.cli.commands import QUICK, SMALL_CNN, fit_command

pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[2]
SWEEP: dict[str, Any] = {
    "method": "bayes",
    "metric": {"name": "val/ua", "goal": "maximize"},
    "command": ["ser-zoo", "fit", "--validate_only", "--wandb", *SMALL_CNN, *QUICK, "--trainer.max_epochs=1", "${args}"],
    "parameters": {
        "model.optim.lr": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0e-1},
        "model.dense": {"values": [4, 8]},
    },
}


def search_command(folder: Path, root: Path, *more: str, **changes: Any) -> list[str]:
    """Arguments of a search on the fake EMO-DB at ``root``, with a study in ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, **changes}))
    data = ["--data=emo_db", f"--data.root={root}"]
    return ["search", str(folder / "sweep.yaml"), *data, f"--study={folder / 's'}", "--trials=2", *more]


@pytest.fixture(scope="module")
def study(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of two trials on fold 2."""
    folder = tmp_path_factory.mktemp("search")
    assert main(search_command(folder, small_emo_db, "--folds=2", "--seed=1")) == 0
    return folder / "s"


def test_no_test_speaker_is_evaluated(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the test side was asked for")

    seen: set[str] = set()
    step = SERModule.validation_step
    monkeypatch.setattr(SERDataModule, "test_dataloader", never)
    monkeypatch.setattr(SERDataModule, "predict_dataloader", never)
    monkeypatch.setattr(SERModule, "test_step", never)
    monkeypatch.setattr(SERModule, "predict_step", never)
    monkeypatch.setattr(SERModule, "validation_step", lambda *given: (seen.update(given[1].ids), step(*given))[1])
    assert main(search_command(tmp_path, small_emo_db, "--folds=2", "--trials=1")) == 0
    data = SERDataModule("emo_db", str(small_emo_db), fold=2)
    assert seen == {row.id for row in data.split.validation}
    assert not [*tmp_path.rglob("result.json"), *tmp_path.rglob("predictions.csv")]


def test_the_best_settings_are_a_configuration_whose_rows_tell_of_the_search(
    study: Path, small_emo_db: Path, tmp_path: Path
) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    account = best["search"]
    assert account["values"] == {"model.optim.lr": best["model"]["optim"]["lr"], "model.dense": best["model"]["dense"]}
    assert (account["folds"], account["seed"], account["trials"], account["finished"]) == ([2], 1, 2, 2)
    assert best["trainer"]["devices"] == "auto"  # a trial has one, which decides nothing about a later training
    assert not list(study.rglob("*.ckpt"))

    # Fold 2 was searched: its validation speakers are among the test speakers of another fold, and not among its own.
    folds = {fold: SERDataModule("emo_db", str(small_emo_db), fold=fold).split for fold in range(1, 11)}
    validated = {row.speaker for row in folds[2].validation}
    other = next(fold for fold, split in folds.items() if validated & {row.speaker for row in split.test})
    command = ["fit", "--config", str(study / "best.yaml"), f"--run_dir={tmp_path / 'r'}", f"--folds=2,{other}"]
    assert main(command) == 0
    rows = {fold: read_result(tmp_path / "r" / f"fold-{fold}" / "result.json") for fold in (2, other)}
    assert rows[2]["search"] == {**account, "test_speakers_validated": []}
    assert rows[other]["search"]["test_speakers_validated"] == sorted(validated)
    assert rows[2]["config"]["model"]["dense"] == account["values"]["model.dense"]
    # The score of the search is what the row's training found on the validation speakers.
    assert rows[2]["selection"]["value"] == pytest.approx(account["value"])


SCORES = ["0.7500", "0.5000", "0.5000", "0.2500", "0.1250"]
TRIALS = [
    Trial(0, "failed", None, {"model.optim.lr": 0.000123456, "model.dense": 4}, 1.6, "ValueError: no\nsecond line"),
    Trial(1, "pruned", None, {"model.optim.lr": 0.5, "model.dense": 4}, 2.0, None),
    *(
        Trial(number, "finished", value, {"model.optim.lr": 0.5, "model.dense": 8}, 3.0, None)
        for number, value in enumerate((0.5, 0.25, 0.75, 0.125, 0.5, 0.0625), 2)
    ),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the search was asked for; instead of it there are `TRIALS`."""
    asked: dict[str, Any] = {}
    names = ("sweep", "plan", "data", "folds", "trials", "seed", "folder", "settings", "report")

    def search(*given: Any) -> tuple[list[Trial], dict[str, Any]]:
        asked.update(zip(names, given, strict=True))
        for count, trial in enumerate(TRIALS, 1):
            asked["report"](trial, TRIALS[:count])
        return TRIALS, {"finished": 6, "pruned": 1, "failed": 1, "validation_speakers": [f"s{n}" for n in range(10)]}

    monkeypatch.setattr(command_line, "run_search", search)
    return asked


def test_each_trial_is_told_as_it_ends_and_the_five_best_at_the_end(
    asked: dict[str, Any],
    small_emo_db: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(type(SERDataModule("emo_db", str(small_emo_db)).corpus), "synthetic", True)
    assert main(search_command(tmp_path, small_emo_db, "--folds=2,3", "--trials=8")) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    title = "cnn_attn on emo_db (SYNTHETIC), loso10, validation speakers of folds 2, 3"
    assert first == f"{title}: 8 trials in {tmp_path / 's'}"
    assert lines[:2] == [
        "1/8 trial 0: failed; model.optim.lr 0.0001235, model.dense 4; 2 s: ValueError: no",
        "2/8 trial 1: pruned; model.optim.lr 0.5, model.dense 4; 2 s",
    ]
    assert lines[3] == "4/8 trial 3: val/ua 0.2500, best 0.5000 (trial 2); model.optim.lr 0.5, model.dense 8; 3 s"
    assert lines[8] == f"{title}: the best of 8 trials (6 finished, 1 pruned, 1 failed)"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    assert [row[:2] for row in rows if row] == [[number, value] for number, value in zip("42635", SCORES, strict=True)]
    assert all(f"s{number}" in lines[-2] for number in range(10))
    assert lines[-1] == f"best settings: {tmp_path / 's' / 'best.yaml'}"


def test_what_is_given_on_the_command_line_outweighs_the_sweep(
    asked: dict[str, Any], small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = search_command(tmp_path, small_emo_db, "--trainer.max_epochs=3", "--data.fold=4", "--seed=9")
    assert main([part for part in command if not part.startswith(("--study", "--trials"))]) == 0
    assert asked["settings"]["trainer.max_epochs"] == 3
    assert asked["settings"]["model.channels"] == 16
    assert not asked["settings"].keys() & {*PASSING, *PASSING_SETTINGS}
    assert (asked["folds"], asked["trials"], asked["seed"]) == ([4], 20, 9)
    assert asked["folder"] == Path("runs") / "search-emo_db-cnn_attn"


def test_a_trial_has_its_values_and_one_device_and_decodes_only_what_is_not_there(
    asked: dict[str, Any], small_emo_db: Path, tmp_path: Path
) -> None:
    assert main(search_command(tmp_path, small_emo_db)) == 0
    planned = asked["plan"]({"model.dense": 4})
    assert (planned.run.arguments["dense"], planned.run.trainer["devices"]) == (4, 1)
    assert planned.data is asked["data"]
    config = yaml.safe_load(planned.config(3))
    assert (config["data"]["fold"], config["model"]["dense"]) == (3, 4)
    other = asked["plan"]({"data.sample_rate": 8000}).data
    assert other.preparation.sample_rate == 8000
    assert asked["plan"]({"data.sample_rate": 8000, "model.dense": 4}).data is other


def test_a_number_of_trials_that_makes_no_sense_is_a_wrong_call(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for trials in ("0", "-1", "two"):
        with pytest.raises(SystemExit) as ended:
            main(search_command(tmp_path, small_emo_db, f"--trials={trials}"))
        assert ended.value.code == 2
        assert f"'{trials}' is no number of trials; expected 1 or more" in capsys.readouterr().err


def test_a_row_without_a_search_does_not_speak_of_one(small_emo_db: Path, tmp_path: Path) -> None:
    assert main(fit_command(small_emo_db, tmp_path / "r", epochs=1)) == 0
    assert "search" not in read_result(tmp_path / "r" / "fold-1" / "result.json")


def test_an_account_that_no_search_has_written_is_refused_before_the_training(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = yaml.safe_load((study / "best.yaml").read_text())
    del best["search"]["folds"]
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(best))
    assert main(["fit", "--config", str(tmp_path / "changed.yaml"), f"--run_dir={tmp_path / 'r'}"]) == 1
    assert "'folds' is a required property" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_finished_search_makes_no_further_trial_and_says_the_same(
    study: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (study / "best.yaml").read_text()
    assert main(search_command(study.parent, small_emo_db, "--folds=2", "--seed=1")) == 0
    assert (study / "best.yaml").read_text() == before
    assert not (study / "trial-2").exists()
    assert "the best of 2 trials (2 finished, 0 pruned, 0 failed)" in capsys.readouterr().out


def test_a_study_is_not_gone_on_with_under_other_conditions(
    study: Path, small_emo_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, change in (("--folds=3", "folds was [2], is [3]"), ("--data.batch_size=8", "data.batch_size was 16, is 8")):
        assert main(search_command(study.parent, small_emo_db, "--folds=2", "--seed=1", more)) == 1
        assert change in capsys.readouterr().err


def test_a_study_is_gone_on_with_where_the_release_has_moved(
    study: Path, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "moved").symlink_to(small_emo_db)
    assert main(search_command(study.parent, tmp_path / "moved", "--folds=2", "--seed=1", "--data.num_workers=1")) == 0
    assert "the best of 2 trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--run_dir=r"], "--run_dir is of ser-zoo fit"),
        (["--ckpt_path", "last"], "--ckpt_path is of ser-zoo fit"),
        (["--validate_only"], "--validate_only is of ser-zoo fit"),
        (["--trainer.devices=2"], "on one device"),
        (["--seed=-1"], "--seed -1 makes no sense"),
        (["--seed_everything=-1"], "--seed_everything -1 makes no sense"),
        (["--folds="], "--folds  is not understood"),
        (["--trainer.accelerator=foo"], "The trainer refuses its arguments"),
    ],
)
def test_what_makes_no_search_is_refused(
    more: list[str], told: str, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(search_command(tmp_path, small_emo_db, *more)) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_value_that_is_refused_ends_a_search_wherever_it_stands_in_its_list(
    small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"model.optim.lr": {"values": [0.1, 0.2, 0.3]}, "model.optim.optimizer": {"values": ["adam", "nope"]}}
    with pytest.raises(SystemExit):
        main(search_command(tmp_path, small_emo_db, parameters=space))
    assert "--model.optim.optimizer nope: expected one of adamw, adam" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("data.corpus", "pass --data.corpus behind the sweep file"),
        ("data.protocol", "pass --data.protocol behind the sweep file"),
        ("data.fold", "on the same validation speakers"),
        ("run_dir", "decides no score"),
        ("refit", "decides no score"),
    ],
)
def test_whoever_validates_is_not_searched(
    argument: str, told: str, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(search_command(tmp_path, small_emo_db, parameters={argument: {"values": ["2"]}})) == 1
    assert f"sweep.yaml, parameters: {argument} " in (error := capsys.readouterr().err)
    assert told in error
    assert not (tmp_path / "s").exists()


def test_the_folds_of_a_sweeps_command_are_searched_unless_others_are_named(
    asked: dict[str, Any], small_emo_db: Path, tmp_path: Path
) -> None:
    command = [*SWEEP["command"][:-1], "--folds=2-3", "${args}"]
    assert main(search_command(tmp_path, small_emo_db, command=command)) == 0
    assert asked["folds"] == [2, 3]
    assert main(search_command(tmp_path, small_emo_db, "--folds=1", command=command)) == 0
    assert asked["folds"] == [1]


def test_a_search_over_several_machines_is_refused(
    asked: dict[str, Any], small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(search_command(tmp_path, small_emo_db, "--trainer.num_nodes=2")) == 1
    assert "A search trains on one device" in capsys.readouterr().err
    assert not asked


def test_the_sweep_file_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--data", "emo_db", "sweep.yaml"]) == 1
    assert "expected the sweep file first" in capsys.readouterr().err


def test_a_sweep_file_may_be_named_from_the_current_folder(
    asked: dict[str, Any], small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    verb, _, *rest = search_command(tmp_path, small_emo_db)
    assert main([verb, "./sweep.yaml", *rest]) == 0
    assert asked["sweep"] == read_sweep(Path("sweep.yaml"))


def test_an_unknown_argument_in_a_sweep_ends_it_before_any_trial(small_emo_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(search_command(tmp_path, small_emo_db, parameters={"model.optim.rate": {"values": [1.0]}}))
    assert ended.value.code == 2
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_for_sweeps_name_arguments_that_fit_has(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sweep = read_sweep(path)
    _, options = parse([*sweep.base, *as_arguments(sample_values(sweep)[0])])
    assert options.model.name == path.stem
    assert options.model.optim.lr == pytest.approx(sweep.space["model.optim.lr"]["min"])
    recipe = yaml.safe_load(path.read_text())
    assert {"--validate_only", "--wandb"} < set(recipe["command"])


def test_the_command_of_a_sweeps_agent_ends_with_validation_metrics_in_w_and_b(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.setenv("WANDB_MODE", "offline")
    drawn = {"args": {"model.optim.lr": {"value": 0.001}, "model.dense": {"value": 4}}}
    arguments = utils.create_sweep_command_args(drawn)["args"]
    command = [part for given in SWEEP["command"] for part in (arguments if given == "${args}" else [given])]
    data = ["--data=emo_db", f"--data.root={small_emo_db}", f"--run_dir={tmp_path / 'r'}"]
    assert main([*command[1:], *data]) == 0
    assert "validation speakers" in capsys.readouterr().out
    fold = tmp_path / "r" / "fold-1"
    assert not (fold / "result.json").exists()
    assert yaml.safe_load((fold / "config.yaml").read_text())["model"]["dense"] == 4
    (log,) = fold.glob("wandb/offline-run-*/run-*.wandb")
    written = log.read_bytes()
    assert b"val/ua" in written
    assert b"test/" not in written
