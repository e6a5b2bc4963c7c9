"""Search of settings: trials are trained on the training speakers of some folds and scored on their validation speakers.

The space is that of a W&B sweep file, which ``wandb sweep`` takes as it is; here Optuna draws from it. No test speaker is
evaluated. A study's folder::

    runs/search-emo_db-probe/
        journal.log       all trials, by Optuna; an interrupted search goes on from it
        trial-0/fold-1/   config.yaml and learning curves; checkpoints are not kept
        trial-3/error.txt why a trial failed
        best.yaml         the best settings as a configuration of fit, with the account of the search for every row
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import lightning as L
import numpy as np
import yaml
from lightning.pytorch.callbacks import Callback

from ser_zoo.cache import alone, atomic_path
from ser_zoo.data import SERDataModule
from ser_zoo.errors import InterruptedRunError, ProtocolError, RunError, SERZooError
from ser_zoo.evaluation.folders import fold_folder
from ser_zoo.evaluation.run import Run, interruptible, train_fold, without_summary
from ser_zoo.registry import lookup
from ser_zoo.settings import deciding, load_yaml

if TYPE_CHECKING:  # an extra
    import optuna

INSTALL = "pip install 'ser-zoo[search]'"
JOURNAL, BEST = "journal.log", "best.yaml"
GOALS: dict[str, Literal["maximize", "minimize"]] = {
    "val/ua": "maximize",
    "val/wa": "maximize",
    "val/macro_f1": "maximize",
    "val/loss": "minimize",
}
METHODS = {"bayes": "tree-structured Parzen estimator (Bergstra et al. 2011)", "random": "independent draws"}
# The distributions of W&B that can be drawn from here, and what each needs.
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values",),
    "uniform": ("min", "max"),
    "int_uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "log_uniform_values": ("min", "max"),
}
NOT_FOR_TRIALS = ("--wandb", "--validate_only")  # of a sweep's command: what an agent's run needs
ACCOUNT, ERROR, SECONDS = "account", "error", "seconds"  # what a study and its trials remember


@dataclass(frozen=True)
class Sweep:
    """What a sweep file asks for.

    Attributes:
        method: ``bayes`` or ``random``.
        metric: on the validation speakers.
        space: argument of ``fit`` -> its distribution, as W&B writes it, with its name.
        base: the other arguments of ``fit``.
        warmup: epochs that no trial is pruned in; None: none is pruned at all.
        hash: first 12 hex digits of the SHA-256 of the file.
    """

    method: str
    metric: str
    space: Mapping[str, Mapping[str, Any]]
    base: tuple[str, ...]
    warmup: int | None
    hash: str


class Planned(NamedTuple):
    """What a trial trains.

    Attributes:
        run: the training.
        data: any fold; what it has decoded serves all folds.
        config: gives the text of a fold's ``config.yaml``.
    """

    run: Run
    data: SERDataModule
    config: Callable[[int], str]


class Trial(NamedTuple):
    """What became of a trial.

    Attributes:
        number: of its folder.
        state: ``finished``, ``pruned`` or ``failed``.
        value: mean of the metric over the folds; None where it has not finished.
        values: argument -> what it was set to.
        seconds: that it took.
        error: why it failed.
    """

    number: int
    state: str
    value: float | None
    values: dict[str, Any]
    seconds: float
    error: str | None


def validate_fold(
    run: Run, data: SERDataModule, folder: Path, config: str = "", resume: bool = False, callbacks: Sequence[Callback] = ()
) -> dict[str, float] | None:
    """Train on one fold, and score the checkpoint that ``run.monitor`` chooses on the validation speakers.

    Args:
        run: what is trained.
        data: the fold.
        folder: of this fold; it gets no row.
        config: text of ``config.yaml``.
        resume: go on from ``checkpoints/last.ckpt`` where there is one.
        callbacks: for the trainer, besides those of ``run``.

    Returns:
        ``val/ua``, ``val/wa``, ``val/macro_f1`` and ``val/loss``; None in all processes but the first.

    Raises:
        ProtocolError: the protocol validates on test speakers.
        RunError: the training was interrupted, or ended without a checkpoint.
    """
    _check_protocol(data)
    with train_fold(run, data, folder, config, resume, callbacks) as trained:
        checkpoint = trained.chosen.best_model_path
        # W&B's summary, which a sweep goes by, keeps what is logged last: this, not the last epoch.
        with interruptible(trained.trainer):
            (values,) = trained.trainer.validate(
                trained.model, datamodule=data, ckpt_path=checkpoint, verbose=False, weights_only=True
            )
        if trained.tracker is not None and trained.tracker.run is not None:
            trained.tracker.run.finish()
    return {name: float(values[name]) for name in GOALS} if trained.trainer.is_global_zero else None


def read_sweep(path: Path) -> Sweep:
    """Read a W&B sweep file.

    Raises:
        SERZooError: it cannot be read, or asks for what is not known here.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = load_yaml(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SERZooError(f"Cannot read the sweep {path}: {error}") from error
    if not isinstance(content, dict):
        raise SERZooError(f"The sweep {path} holds {content!r:.60}; expected method, metric, command and parameters.")
    sections = ("name", "description", "project", "entity", "method", "metric", "early_terminate", "command", "parameters")
    for section in content:
        lookup(dict.fromkeys(sections), str(section), f"section of the sweep {path}:")
    method = str(content.get("method"))
    lookup(METHODS, method, f"method of the sweep {path}:")
    metric = content.get("metric")
    if not isinstance(metric, dict) or GOALS.get(name := str(metric.get("name"))) != metric.get("goal"):
        known = ", ".join(f"{name} ({goal})" for name, goal in GOALS.items())
        raise SERZooError(f"The sweep {path} has the metric {metric}. Expected name and goal, one of: {known}.")
    parameters = content.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise SERZooError(f"The sweep {path} has no parameters. Expected arguments of ser-zoo fit with their distributions.")
    space = {str(key): _distribution(f"{path}, {key}", given) for key, given in parameters.items()}
    base = _base(path, content.get("command"))
    warmup = _warmup(path, content["early_terminate"]) if "early_terminate" in content else None
    return Sweep(method, name, space, base, warmup, hashlib.sha256(text.encode()).hexdigest()[:12])


def sample_values(sweep: Sweep) -> list[dict[str, Any]]:
    """Points of the space, as few as have every value that is listed in it; the first has the first of each."""
    listed = {
        key: given["values"] if "values" in given else [given.get("value", given.get("min"))]
        for key, given in sweep.space.items()
    }
    most = max(map(len, listed.values()))
    return [{key: values[min(place, len(values) - 1)] for key, values in listed.items()} for place in range(most)]


def run_search(
    sweep: Sweep,
    plan: Callable[[Mapping[str, Any]], Planned],
    data: SERDataModule,
    folds: Sequence[int],
    trials: int,
    seed: int,
    folder: Path,
    settings: Mapping[str, Any],
    report: Callable[[Trial, Sequence[Trial]], None],
) -> tuple[list[Trial], dict[str, Any]]:
    """Try settings until there are ``trials`` trials, and write the best as ``best.yaml``.

    A trial that fails counts, and is no reason to stop. One that was interrupted does not count and is made anew. Each trial's
    draw depends on ``seed`` and on the trials before it alone, so that an interrupted search ends like an uninterrupted one.

    Args:
        sweep: metric and space.
        plan: what is trained with some values.
        data: the data without values, of which speakers and hashes are noted.
        folds: that each trial is trained on, one after the other.
        trials: finished, pruned and failed ones together, those of earlier calls included.
        seed: of the draws, 0 or more; the trainings have the seed of their ``Run``.
        folder: of the study.
        settings: what does not vary; a study is gone on with only under the same.
        report: told each trial as it ends, and all that there are now.

    Returns:
        All trials, in the order in which they ended, and the account of the search, the ``search`` of a recipe and of rows.

    Raises:
        RunError: Optuna is missing, the seed is negative, the study was begun with something else or is in use, or no trial
            has finished.
        ProtocolError: the protocol validates on test speakers, or a fold cannot be made of what is there.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise RunError(f"A search needs Optuna, not installed here. Install it with: {INSTALL}.") from error
    if seed < 0:
        raise RunError(f"--seed {seed} makes no sense. Expected 0 or more.")
    _check_protocol(data)
    validated = sorted({row.speaker for fold in folds for row in data.for_fold(fold).split.validation})
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # its own line per trial would stand beside ours
    busy = RunError(f"Another search is at work in {folder}. Wait for it, or pass another --study.")
    with alone(folder / "lock", busy):
        study = _open_study(sweep, folder)
        account = {
            "sweep": sweep.hash,
            "method": sweep.method,
            "metric": sweep.metric,
            "goal": GOALS[sweep.metric],
            "space": {key: dict(given) for key, given in sweep.space.items()},
            "corpus": data.corpus.name,
            "protocol": data.protocol.name,
            "protocol_hash": data.protocol.hash,
            "folds": list(folds),
            "validation_speakers": validated,
            "seed": seed,
        }
        _check_same(study, {**account, "settings": settings}, folder)
        _repeat_interrupted(study)
        while len(done := _done(study, sweep)) < trials:
            study.sampler = _sampler(sweep, seed, len(done))
            _try(study, sweep, plan, folds, folder)
            ended = _done(study, sweep)
            report(max(ended, key=lambda trial: trial.number), ended)
        finished = ranked(done, sweep.metric)
        if not finished:
            errors = next((f" The last error: {trial.error.rstrip('.')}." for trial in reversed(done) if trial.error), "")
            raise RunError(f"None of the {len(done)} trials in {folder} has finished.{errors} Begin a new --study.")
        best = finished[0]
        states = [trial.state for trial in done]
        account |= {
            "optuna": optuna.__version__,
            "trials": len(done),
            **{state: states.count(state) for state in ("finished", "pruned", "failed")},
            "value": best.value,
            "values": best.values,
        }
        recipe = {**yaml.safe_load(plan(best.values).config(data.fold)), "search": account}
        with atomic_path(folder / BEST) as temporary:
            temporary.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return done, account


def _open_study(sweep: Sweep, folder: Path) -> optuna.Study:
    """The study of a folder, begun or gone on with."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    _mend(folder / JOURNAL)
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        study_name="search",
        direction=GOALS[sweep.metric],
        load_if_exists=True,
        # It compares a trial with the median of the others after as many epochs, once there are five.
        pruner=optuna.pruners.NopPruner()
        if sweep.warmup is None
        else optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=sweep.warmup),
    )


def _mend(journal: Path) -> None:
    """Remove what a search that was killed, or found no room, has left of a write; nobody else writes under our own lock.

    Optuna would wait for its lock, a link that leads nowhere from a relative path, without end, and write on after half a line.
    """
    for left in journal.parent.glob(f"{journal.name}.lock*"):
        left.unlink()
    if journal.is_file():
        content = journal.read_bytes()
        if (whole := content.rfind(b"\n") + 1) < len(content):
            os.truncate(journal, whole)


def _sampler(sweep: Sweep, seed: int, done: int) -> optuna.samplers.BaseSampler:
    """What draws the trial after ``done`` others; one that went on from where it was could not be stored."""
    import optuna

    drawn = int(np.random.SeedSequence((seed, done)).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=drawn) if sweep.method == "bayes" else optuna.samplers.RandomSampler(seed=drawn)


def ranked(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """Finished trials, the best first; of equal ones the earlier."""
    sign = -1 if GOALS[metric] == "maximize" else 1
    return sorted((trial for trial in trials if trial.value is not None), key=lambda trial: sign * (trial.value or 0.0))


class Pruning(Callback):
    """Tells Optuna the metric after each epoch, and ends a trial that lags behind.

    Over several folds, one after the other, it is the mean of their scores and of the running fold's newest value.

    Args:
        trial: that runs.
        metric: on the validation speakers.
        scores: of the trial's folds that are done.
    """

    def __init__(self, trial: optuna.Trial, metric: str, scores: Sequence[float]) -> None:
        self.trial, self.metric, self.scores = trial, metric, scores
        self.epochs = 0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After the epoch's validation.

        Raises:
            optuna.TrialPruned: the trial lags behind.
        """
        import optuna

        self.epochs += 1
        value = trainer.callback_metrics.get(self.metric)
        if value is None:  # the trainer validates more seldom than once an epoch
            return
        self.trial.report(float(np.mean([*self.scores, float(value)])), self.epochs)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def _check_protocol(data: SERDataModule) -> None:
    if data.protocol.validates_on_test:
        raise ProtocolError(
            f"Protocol {data.protocol.name} of {data.corpus.name} validates on its test speakers: settings chosen there would "
            "be chosen on the test. Search under a protocol that has a validation side of its own (--data.protocol)."
        )


def _try(
    study: optuna.Study,
    sweep: Sweep,
    plan: Callable[[Mapping[str, Any]], Planned],
    folds: Sequence[int],
    folder: Path,
) -> None:
    """Make one trial, and keep what became of it."""
    import optuna

    started, trial = time.perf_counter(), study.ask()
    place = folder / f"trial-{trial.number}"
    value: float | None = None
    state = optuna.trial.TrialState.COMPLETE
    try:
        value = _score(trial, sweep, plan(_draw(trial, sweep)), folds, place)
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    except InterruptedRunError as error:
        raise InterruptedRunError(f"Interrupted. Repeat the command to go on with {folder}.") from error
    except Exception as error:  # whatever it is, other settings may do without it
        with atomic_path(place / "error.txt") as temporary:
            temporary.write_text(traceback.format_exc(), encoding="utf-8")
        trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
        state = optuna.trial.TrialState.FAIL
    trial.set_user_attr(SECONDS, round(time.perf_counter() - started, 3))
    study.tell(trial, value, state)


def _score(trial: optuna.Trial, sweep: Sweep, planned: Planned, folds: Sequence[int], place: Path) -> float:
    """Mean of the metric over the folds."""
    scores: list[float] = []
    run = planned.run
    callbacks = [] if sweep.warmup is None else [Pruning(trial, sweep.metric, scores)]
    _ = planned.data.waveforms  # decoded here, or each fold would do it for itself
    for fold in folds:
        where = fold_folder(place, fold)
        try:
            data = planned.data.for_fold(fold)
            values = validate_fold(run, data, where, planned.config(fold), callbacks=callbacks)
        finally:
            shutil.rmtree(where / "checkpoints", ignore_errors=True)
        if values is None or not math.isfinite(values[sweep.metric]):
            raise RunError(f"The training of fold {fold} diverged: {sweep.metric} is no finite number.")
        scores.append(values[sweep.metric])
        run = without_summary(run)
    return float(np.mean(scores))


def _draw(trial: optuna.Trial, sweep: Sweep) -> dict[str, Any]:
    """Draw a value for each argument."""
    for key, given in sweep.space.items():
        match given["distribution"]:
            case "categorical":  # as JSON, because Optuna stores no lists
                trial.suggest_categorical(key, [json.dumps(value) for value in given["values"]])
            case "int_uniform":
                trial.suggest_int(key, given["min"], given["max"])
            case "uniform":
                trial.suggest_float(key, given["min"], given["max"])
            case "q_uniform":
                trial.suggest_float(key, given["min"], given["max"], step=given["q"])
            case "log_uniform_values":
                trial.suggest_float(key, given["min"], given["max"], log=True)
    return _values(trial.params, sweep)


def _values(drawn: Mapping[str, Any], sweep: Sweep) -> dict[str, Any]:
    """The values of a trial, constants among them; fewer when it was not drawn to the end."""
    values = {}
    for key, given in sweep.space.items():
        if given["distribution"] == "constant":
            values[key] = given["value"]
        elif key in drawn:
            values[key] = json.loads(drawn[key]) if given["distribution"] == "categorical" else drawn[key]
    return values


def _done(study: optuna.Study, sweep: Sweep) -> list[Trial]:
    """Trials that have ended by themselves."""
    from optuna.trial import TrialState

    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return [
        Trial(
            trial.number,
            names[trial.state],
            trial.value if trial.state == TrialState.COMPLETE else None,
            _values(trial.params, sweep),
            trial.user_attrs[SECONDS],
            trial.user_attrs.get(ERROR),
        )
        for trial in study.get_trials(deepcopy=False)
        # A failure without an error is what an interruption leaves.
        if trial.state in names and (trial.state != TrialState.FAIL or ERROR in trial.user_attrs)
    ]


def _repeat_interrupted(study: optuna.Study) -> None:
    """Put the settings of trials that were running when the search ended in line again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.params and ERROR not in trial.user_attrs:
            study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)


def _check_same(study: optuna.Study, asked: Mapping[str, Any], folder: Path) -> None:
    """A study is gone on with only under the conditions it was begun with.

    Raises:
        RunError: they differ.
    """
    asked = json.loads(json.dumps(asked))
    begun = study.user_attrs.get(ACCOUNT)
    if begun is None:
        study.set_user_attr(ACCOUNT, asked)
        return
    # Older studies have all settings, as config.yaml has them.
    before, now = ({**account, "settings": deciding(account["settings"])} for account in (begun, asked))
    if differing := sorted(_differences(before, now)):
        raise RunError(
            f"The study {folder} was begun with something else ({'; '.join(differing[:5])}). Repeat the command that began it, "
            "or pass another --study."
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in before.keys() | now.keys():
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} was {old}, is {new}".replace("settings.", "")


def _distribution(where: str, given: object) -> dict[str, Any]:
    """A parameter of the file with the name of its distribution, which W&B lets one leave out.

    Raises:
        SERZooError: it is none that is known here, lacks something, or has something wrong or unknown.
    """
    if not isinstance(given, dict):
        raise SERZooError(f"{where}: {given!r} is no distribution. Expected value, values, or min and max.")
    if "parameters" in given:
        raise SERZooError(f"{where}: nested parameters are not read. Expected names with dots, such as model.optim.lr.")
    whole = all(isinstance(given.get(end), int) for end in ("min", "max"))
    usual = "constant" if "value" in given else "categorical" if "values" in given else "int_uniform" if whole else "uniform"
    name = str(given.get("distribution", usual))
    if name not in DISTRIBUTIONS:
        raise SERZooError(f"{where}: the distribution {name} is not known here. Known: {', '.join(DISTRIBUTIONS)}.")
    needed = DISTRIBUTIONS[name]
    rest = {key: value for key, value in given.items() if key != "distribution"}
    if rest.keys() != set(needed):
        raise SERZooError(f"{where}: {name} has {', '.join(map(str, rest)) or 'nothing'}; expected {' and '.join(needed)}.")
    if name == "categorical" and not (isinstance(rest["values"], list) and rest["values"]):
        raise SERZooError(f"{where}: values is {rest['values']!r}; expected a list of them.")
    if "min" in rest:
        kinds = int if name == "int_uniform" else (int, float)
        if wrong := [key for key, value in rest.items() if not isinstance(value, kinds) or isinstance(value, bool)]:
            kind = "a whole number" if name == "int_uniform" else "a number; YAML takes 1e-4 for text and 1.0e-4 for a number"
            raise SERZooError(f"{where}: {wrong[0]} is {rest[wrong[0]]!r}; expected {kind}.")
        lowest = rest["min"]
        if endless := [key for key, value in rest.items() if not math.isfinite(value)]:
            raise SERZooError(f"{where}: {endless[0]} is {rest[endless[0]]}; expected a finite number.")
        if lowest > rest["max"] or rest.get("q", 1) <= 0 or (name == "log_uniform_values" and lowest <= 0):
            raise SERZooError(f"{where}: {rest} is empty; expected min <= max, with logarithms above 0, and q above 0.")
    return {"distribution": name, **rest}


def _base(path: Path, command: object) -> tuple[str, ...]:
    """The arguments of ``fit`` in a sweep's command, without those that only an agent's run needs."""
    parts = [str(part) for part in command] if isinstance(command, list) else []
    if "fit" not in parts or parts[-1] != "${args}":
        raise SERZooError(
            f"The sweep {path} has the command {command}. Expected a list: ser-zoo, fit, arguments of it, "
            "and ${args} as the last."
        )
    return tuple(part for part in parts[parts.index("fit") + 1 : -1] if part not in NOT_FOR_TRIALS)


def _warmup(path: Path, given: object) -> int:
    """The epochs in which nothing is pruned."""
    known = isinstance(given, dict) and given.keys() == {"type", "min_iter"} and given["type"] == "hyperband"
    epochs = given["min_iter"] if known and isinstance(given, dict) else None
    if not isinstance(epochs, int) or epochs < 1:
        raise SERZooError(
            f"The sweep {path} has early_terminate {given}. Expected type: hyperband and min_iter, the epochs in which no "
            "trial is ended, or no early_terminate."
        )
    return epochs
