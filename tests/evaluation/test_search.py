"""Sweep files, and what a search does with trials; trainings stand in the tests of the command line."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import yaml
from lightning.pytorch.callbacks import Callback
from torch import tensor

from ser_zoo.data import SERDataModule
from ser_zoo.errors import InterruptedRunError, ProtocolError, RunError, SERZooError
from ser_zoo.evaluation import Run, search
from ser_zoo.evaluation.search import Planned, Sweep, Trial, ranked, read_sweep, run_search, validate_fold
from ser_zoo.models.base import SERModule
from ser_zoo.settings import as_arguments, deciding
from tests.models.small import SMALL

optuna = pytest.importorskip("optuna")
RATE = {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0}
SWEEP: dict[str, Any] = {
    "method": "bayes",
    "metric": {"name": "val/ua", "goal": "maximize"},
    "command": ["ser-zoo", "fit", "--config", "c.yaml", "--wandb", "--validate_only", "${args}"],
    "parameters": {"lr": RATE, "layers": {"values": [[1, 2], [3]]}, "kind": {"value": "adam"}},
}
Score = Callable[..., float]
QUIET = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def sweep_of(folder: Path, **changes: Any) -> Sweep:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in {**SWEEP, **changes}.items() if value is not None}))
    return read_sweep(path)


class Searcher:
    """Searches whose trainings are replaced by a function of values, fold and callbacks."""

    def __init__(self, root: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.data, self.folder, self.patch = SERDataModule("emo_db", str(root), seed=0), folder, patch
        self.sweep = sweep_of(folder)

    def __call__(self, score: Score, trials: int, name: str = "s", **changes: Any) -> tuple[list[Trial], dict[str, Any]]:
        def fake(run: Run, data: SERDataModule, *_: object, callbacks: Any) -> dict[str, float]:
            return {**dict.fromkeys(search.GOALS, -1.0), self.sweep.metric: score(run.arguments, data.fold, callbacks)}

        self.patch.setattr(search, "validate_fold", fake)

        def plan(values: Mapping[str, Any]) -> Planned:
            return Planned(Run("probe", values), self.data, lambda fold: f"fold: {fold}")

        given: dict[str, Any] = {"folds": [1], "seed": 1, "settings": {}, "report": lambda *_: None, **changes}
        return run_search(self.sweep, plan, self.data, trials=trials, folder=self.folder / name, **given)


@pytest.fixture
def searcher(small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searcher:
    return Searcher(small_emo_db, tmp_path, monkeypatch)


def by_rate(values: Mapping[str, Any], fold: int, callbacks: Any) -> float:
    """Best at 0.01, worth 0 to 1."""
    return 1 / (1 + abs(float(values["lr"]) - 0.01))


def test_a_sweep_file_is_read_with_its_distributions_named(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, early_terminate={"type": "hyperband", "min_iter": 3})
    assert sweep.space == {
        "lr": RATE,
        "layers": {"distribution": "categorical", "values": [[1, 2], [3]]},
        "kind": {"distribution": "constant", "value": "adam"},
    }
    assert (sweep.base, sweep.warmup, sweep.metric) == (("--config", "c.yaml"), 3, "val/ua")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parameters": {"lr": {"distribution": "beta", "min": 0, "max": 1}}}, "beta is not known here. Known: constant, cat"),
        ({"parameters": {"lr": {"min": "1e-4", "max": 1.0}}}, "YAML takes 1e-4 for text"),
        ({"parameters": {"lr": {**RATE, "min": 0.0}}}, "with logarithms above 0"),
        ({"parameters": {"lr": {"min": 2.0, "max": 1.0}}}, "expected min <= max"),
        ({"parameters": {"lr": {"min": 2.0, "max": math.inf}}}, "max is inf; expected a finite number"),
        ({"parameters": {"lr": {"min": math.nan, "max": 1.0}}}, "min is nan; expected a finite number"),
        ({"parameters": {"lr": {"min": 2.0}}}, "expected min and max"),
        ({"parameters": {"lr": {"min": True, "max": 2.0}}}, "min is True; expected a number"),
        ({"parameters": {"lr": {"distribution": "int_uniform", "min": 1, "max": 2.5}}}, "max is 2.5; expected a whole number"),
        ({"parameters": {"lr": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0}}}, "and q above 0"),
        ({"parameters": {"lr": 0.1}}, "0.1 is no distribution"),
        ({"parameters": {"lr": {"values": 0.1}}}, "expected a list"),
        ({"parameters": {"lr": {"values": []}}}, "expected a list"),
        ({"parameters": {"model": {"parameters": {"lr": RATE}}}}, "names with dots"),
        ({"parameters": {}}, "no parameters"),
        ({"metric": {"name": "test/ua", "goal": "maximize"}}, "one of: val/ua (maximize)"),
        ({"metric": {"name": "val/loss", "goal": "maximize"}}, "val/loss (minimize)"),
        ({"method": "grid"}, "Unknown method"),
        ({"command": ["python", "train.py"]}, "ser-zoo, fit"),
        ({"command": ["ser-zoo", "fit", "${args}", "--wandb"]}, "as the last"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 3}}, "min_iter"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "min_iter"),
        ({"early_terminate": {"type": "envelope", "min_iter": 3}}, "Expected type: hyperband"),
        ({"run_cap": 3}, "Unknown section"),
    ],
)
def test_what_a_sweep_file_must_not_say_is_refused(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(SERZooError, match=told.replace("(", r"\(").replace(")", r"\)")):
        sweep_of(tmp_path, **changes)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "Cannot read the sweep .*No such file"),
        (b"method: [", "Cannot read the sweep"),
        (b"\xff", "Cannot read the sweep"),
        (
            b"parameters: {model.dropout: {value: 0.1}, model.dropout: {value: 0.2}}",
            "the key 'model.dropout' stands there twice",
        ),
        (b"- bayes", "holds .'bayes'.; expected method, metric, command and parameters"),
    ],
)
def test_a_file_that_is_no_sweep_is_explained(content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "sweep.yaml").write_bytes(content)
    with pytest.raises(SERZooError, match=told):
        read_sweep(tmp_path / "sweep.yaml")


def test_a_sweep_may_warm_up_for_one_epoch_and_leave_a_range_of_one_number(tmp_path: Path) -> None:
    parameters = {"layer": {"min": 3, "max": 3}}
    sweep = sweep_of(tmp_path, early_terminate={"type": "hyperband", "min_iter": 1}, parameters=parameters)
    assert (sweep.warmup, sweep.space["layer"]) == (1, {"distribution": "int_uniform", "min": 3, "max": 3})


def test_a_sweep_is_told_from_another_by_the_content_of_its_file(tmp_path: Path) -> None:
    first, second = sweep_of(tmp_path), sweep_of(tmp_path, method="random")
    assert first.hash == sweep_of(tmp_path).hash
    assert first.hash != second.hash


def test_the_arguments_of_a_sweep_are_those_after_fit_whatever_starts_it(tmp_path: Path) -> None:
    command = ["${env}", "python", "-m", "ser_zoo", "fit", "--model", "probe", "${args}"]
    assert sweep_of(tmp_path, command=command).base == ("--model", "probe")


def test_values_become_arguments_that_fit_reads_as_the_same_values() -> None:
    values = {"model.pool": "mean", "model.layers": [1, 2], "model.optim.lr": 0.001, "model.frozen": True, "data.task": None}
    arguments = ["--model.pool=mean", "--model.layers=[1, 2]", "--model.optim.lr=0.001", "--model.frozen=true"]
    assert as_arguments(values) == [*arguments, "--data.task=null"]


def test_draws_keep_to_the_space(searcher: Searcher) -> None:
    searcher.sweep = sweep_of(
        searcher.folder,
        parameters={
            "lr": RATE,
            "whole": {"min": 2, "max": 4},
            "real": {"min": 0.5, "max": 1.0},
            "step": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25},
            "layers": {"values": [[1, 2], [3]]},
            "kind": {"value": "adam"},
            "decay": {"value": 0},
        },
    )
    drawn = [trial.values for trial in searcher(by_rate, 12)[0]]
    assert all(1e-4 <= values["lr"] <= 1 and 0.5 <= values["real"] <= 1 for values in drawn)
    assert {str(values["whole"]) for values in drawn} <= {"2", "3", "4"}  # whole numbers; which ones, TPE decides
    assert {values["step"] for values in drawn} <= {0, 0.25, 0.5, 0.75, 1}
    assert {str(values["layers"]) for values in drawn} <= {"[1, 2]", "[3]"}
    assert {(values["kind"], values["decay"]) for values in drawn} == {("adam", 0)}


def test_the_best_of_a_search_is_found_written_and_accounted_for(searcher: Searcher) -> None:
    told: list[tuple[Trial, int]] = []
    trials, account = searcher(by_rate, 25, report=lambda trial, ended: told.append((trial, len(ended))))
    assert told == [(trial, count) for count, trial in enumerate(trials, 1)]
    best = max(trials, key=lambda trial: trial.value or 0)
    assert account["value"] == best.value
    assert account["values"] == best.values
    assert abs(best.values["lr"] - 0.01) < 0.005  # 0.3 of the range's four decades
    assert yaml.safe_load((searcher.folder / "s" / "best.yaml").read_text()) == {"fold": 1, "search": account}


@pytest.mark.parametrize("metric", ["val/ua", "val/wa", "val/macro_f1", "val/loss"])
def test_scores_are_maximised_and_a_loss_is_minimised(metric: str, searcher: Searcher) -> None:
    goal, best = ("minimize", min) if metric == "val/loss" else ("maximize", max)
    searcher.sweep = sweep_of(searcher.folder, method="random", metric={"name": metric, "goal": goal})
    trials, account = searcher(by_rate, 4)
    scores = [by_rate(trial.values, 1, ()) for trial in trials]
    assert [trial.value for trial in trials] == scores
    assert account["value"] == best(scores)


@pytest.mark.parametrize(("metric", "expected"), [("val/ua", [1, 3, 0, 4]), ("val/loss", [0, 4, 1, 3])])
def test_of_equal_trials_the_earlier_is_the_better(metric: str, expected: list[int]) -> None:
    values = [0.25, 0.5, None, 0.5, 0.25]
    trials = [Trial(number, "finished" if value else "pruned", value, {}, 1.0, None) for number, value in enumerate(values)]
    assert [trial.number for trial in ranked(trials, metric)] == expected


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_only_a_bayesian_search_learns_from_the_scores(method: str, searcher: Searcher) -> None:
    searcher.sweep = sweep_of(searcher.folder, method=method)
    rising, falling = (
        [trial.values for trial in searcher(lambda *given, sign=sign: sign * by_rate(*given), 13, name)[0]]
        for name, sign in (("rising", 1), ("falling", -1))
    )
    assert rising[:10] == falling[:10]
    assert (rising == falling) == (method == "random")


def test_a_disk_that_fills_leaves_the_best_settings_that_were_there(searcher: Searcher) -> None:
    searcher(by_rate, 1)
    best = searcher.folder / "s" / "best.yaml"
    before, write = best.read_text(), Path.write_text

    def fill(self: Path, text: str, encoding: str) -> int:
        write(self, text[:10])
        raise OSError(28, "No space left on device")

    searcher.patch.setattr(Path, "write_text", fill)
    with pytest.raises(OSError, match="No space left"):
        searcher(by_rate, 2)
    assert best.read_text() == before


def test_a_trial_knows_the_seconds_that_it_took(searcher: Searcher) -> None:
    ticks = iter([10.0, 12.5])
    searcher.patch.setattr(search, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    (trial,), _ = searcher(by_rate, 1)
    assert trial.seconds == 2.5


def test_the_score_is_the_mean_over_the_folds(searcher: Searcher) -> None:
    _, account = searcher(lambda values, fold, _: fold / 10, 1, folds=[2, 5])
    assert yaml.safe_load((searcher.folder / "s" / "best.yaml").read_text())["fold"] == searcher.data.fold == 1
    assert account["value"] == pytest.approx(0.35)
    assert account["folds"] == [2, 5]
    data = searcher.data
    assert account["validation_speakers"] == sorted(
        {row.speaker for fold in (2, 5) for row in data.for_fold(fold).split.validation}
    )


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_an_interrupted_search_ends_like_an_uninterrupted_one(method: str, searcher: Searcher) -> None:
    searcher.sweep = sweep_of(searcher.folder, method=method)
    whole = [(trial.values, trial.value) for trial in searcher(by_rate, 14, "whole")[0]]
    calls: list[object] = []

    def killed(*given: Any) -> float:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        if len(calls) == 7:  # as the trainer's answer to Ctrl-C arrives
            raise InterruptedRunError
        return by_rate(*given)

    with pytest.raises(KeyboardInterrupt):
        searcher(killed, 14, "parts")
    with pytest.raises(InterruptedRunError, match="Repeat the command"):
        searcher(killed, 14, "parts")
    parts, account = searcher(killed, 14, "parts")
    assert [(trial.values, trial.value) for trial in parts] == whole
    assert (account["trials"], account["failed"]) == (14, 0)


def test_a_search_goes_on_from_a_journal_in_whose_midst_another_was_killed(searcher: Searcher) -> None:
    whole = [(trial.values, trial.value) for trial in searcher(by_rate, 4, "whole")[0]]
    searcher(by_rate, 2, "parts")
    journal = searcher.folder / "parts" / "journal.log"
    with journal.open("a") as file:
        file.write('{"op_code":8,"work')
    # Optuna's own lock, as it makes it of a relative --study.
    journal.with_name("journal.log.lock").symlink_to("parts/journal.log")
    for trials in (3, 4):
        parts = [(trial.values, trial.value) for trial in searcher(by_rate, trials, "parts")[0]]
    assert parts == whole
    assert not list(journal.parent.glob("*lock*"))


def test_the_same_seed_draws_the_same_and_another_seed_something_else(searcher: Searcher) -> None:
    first, second, other = (
        [trial.values for trial in searcher(by_rate, 3, name, seed=seed)[0]] for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second
    assert first != other


def test_a_failing_trial_is_recorded_and_stops_nothing(searcher: Searcher) -> None:
    def score(values: Mapping[str, Any], fold: int, callbacks: Any) -> float:
        if values["layers"] == [3]:
            raise ValueError("no such layer")
        return by_rate(values, fold, callbacks)

    trials, account = searcher(score, 8)
    failed = [trial for trial in trials if trial.state == "failed"]
    assert 0 < len(failed) == account["failed"] < 8
    assert all(trial.error == "ValueError: no such layer" and trial.values["layers"] == [3] for trial in failed)
    assert "Traceback" in (searcher.folder / "s" / f"trial-{failed[0].number}" / "error.txt").read_text()
    assert account["values"]["layers"] == [1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_fail(value: float, searcher: Searcher) -> None:
    with pytest.raises(RunError, match=r"None of the 2 trials.*diverged"):
        searcher(lambda *_: value, 2)


def test_where_all_trials_fail_the_last_error_is_told(searcher: Searcher) -> None:
    errors = iter(["first", "second"])

    def score(*_: object) -> float:
        raise ValueError(next(errors))

    with pytest.raises(RunError, match=r"The last error: ValueError: second\. Begin"):
        searcher(score, 2)


def test_a_trial_that_lags_behind_is_pruned_after_the_warm_up(searcher: Searcher) -> None:
    searcher.sweep = sweep_of(searcher.folder, early_terminate={"type": "hyperband", "min_iter": 2})
    trainer: Any = SimpleNamespace(callback_metrics={})
    told: list[list[float]] = []

    def score(values: Mapping[str, Any], fold: int, callbacks: Any) -> float:
        level = 0.1 if len(told) in (3, 5) else 0.8  # of the fourth there are too few to compare it with
        told.append([])
        for epoch in range(4):
            trainer.callback_metrics["val/ua"] = tensor(level + epoch / 100)
            told[-1].append(level)
            callbacks[0].on_train_epoch_end(trainer, None)
        return level

    trials, account = searcher(score, 7)
    assert [trial.state for trial in trials] == [*["finished"] * 5, "pruned", "finished"]
    assert [len(epochs) for epochs in told] == [4, 4, 4, 4, 4, 2, 4]
    assert account["pruned"] == 1


def test_a_trial_of_several_folds_is_compared_by_their_mean_so_far(searcher: Searcher) -> None:
    searcher.sweep = sweep_of(searcher.folder, early_terminate={"type": "hyperband", "min_iter": 2})
    told: list[tuple[int, float]] = []
    searcher.patch.setattr(optuna.Trial, "report", lambda _, value, epoch: told.append((epoch, value)))
    trainer: Any = SimpleNamespace()
    curves: dict[int, list[float | None]] = {2: [0.125, 0.5], 5: [0.25, None, 1.0]}  # None: the epoch was not validated

    def score(values: Mapping[str, Any], fold: int, callbacks: Any) -> float:
        for value in curves[fold]:
            trainer.callback_metrics = {} if value is None else {"val/ua": tensor(value)}
            callbacks[0].on_train_epoch_end(trainer, None)
        return 0.75

    searcher(score, 1, folds=[2, 5])
    assert told == [(1, 0.125), (2, 0.5), (3, (0.75 + 0.25) / 2), (5, (0.75 + 1.0) / 2)]


def test_without_early_termination_nothing_is_pruned(searcher: Searcher) -> None:
    searcher(lambda values, fold, callbacks: float(not callbacks), 1)
    assert search.JOURNAL in {path.name for path in (searcher.folder / "s").iterdir()}


def test_two_searches_do_not_share_a_study(searcher: Searcher) -> None:
    def second(*given: Any) -> float:
        with pytest.raises(RunError, match="Another search is at work"):
            searcher(by_rate, 1)
        return by_rate(*given)

    assert searcher(second, 1)[1]["finished"] == 1


def test_a_study_is_gone_on_with_under_the_same_conditions_alone(searcher: Searcher) -> None:
    searcher(by_rate, 1, settings={"trainer.max_epochs": 2})
    with pytest.raises(RunError, match=r"trainer.max_epochs was 2, is 3"):
        searcher(by_rate, 2, settings={"trainer.max_epochs": 3})
    with pytest.raises(RunError, match="seed was 1, is 2"):
        searcher(by_rate, 2, settings={"trainer.max_epochs": 2}, seed=2)


def test_of_many_differences_to_the_conditions_of_a_study_five_are_told(searcher: Searcher) -> None:
    before, now = ({f"data.{name}": value for name in "abcdef"} for value in (1, 2))
    searcher(by_rate, 1, settings=before)
    told = "; ".join(f"data.{name} was 1, is 2" for name in "abcde")
    with pytest.raises(RunError, match=rf"something else \({told}\)\."):
        searcher(by_rate, 2, settings=now)


def test_a_study_that_remembers_all_settings_as_older_ones_do_is_gone_on_with(searcher: Searcher) -> None:
    nested = {"data": {"root": "before", "batch_size": 4, "augment": []}, "model": {"encoder": "a/pico"}, "monitor": "val/ua"}
    searcher(by_rate, 1, settings=nested)
    now = deciding(nested)
    assert len(searcher(by_rate, 2, settings=now)[0]) == 2
    with pytest.raises(RunError, match=r"something else \(data\.batch_size was 4, is 8\)"):
        searcher(by_rate, 2, settings={**now, "data.batch_size": 8})


def test_a_missing_optuna_is_named_with_its_extra(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RunError, match=r"pip install 'ser-zoo\[search\]'"):
        searcher(by_rate, 1)


class Spoiler(Callback):
    """Notes the metrics of each epoch, and makes nothing of the last epoch's weights."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs.append({name: float(trainer.callback_metrics[name]) for name in search.GOALS})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for weights in pl_module.parameters():
            weights.data.zero_()


def test_the_score_is_that_of_the_chosen_checkpoint_and_not_of_the_last_weights(small_emo_db: Path, tmp_path: Path) -> None:
    spoiler, data = Spoiler(), SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050, seed=0)
    run = Run("cnn_attn", SMALL["cnn_attn"], QUIET, monitor="val/loss")
    values = validate_fold(run, data, tmp_path / "f", callbacks=[spoiler])
    assert values == pytest.approx(min(spoiler.epochs, key=lambda epoch: epoch["val/loss"]))


def test_an_interruption_of_the_last_validation_says_how_to_go_on(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SERModule, "on_validation_start", lambda model: model.trainer.state.fn == "validate" and stopped())
    data, answer = SERDataModule("emo_db", str(small_emo_db), sample_rate=16_000, seed=0), signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(InterruptedRunError, match="--ckpt_path last"):
            validate_fold(Run("mfcc_stats", trainer=QUIET), data, tmp_path / "f")
    finally:
        signal.signal(signal.SIGINT, answer)  # which Lightning ignores from here on


def test_no_search_where_validation_is_test(searcher: Searcher, small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), protocol="as_co_attn")
    assert data.protocol.validates_on_test
    with pytest.raises(ProtocolError, match="validates on its test speakers"):
        validate_fold(Run("cnn_attn"), data, tmp_path)
    searcher.data = data
    with pytest.raises(ProtocolError, match="validates on its test speakers"):
        searcher(by_rate, 1)
