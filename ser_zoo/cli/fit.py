"""``ser-zoo fit``: arguments of model, data and trainer, in a file, on the command line, or both."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ActionConfigFile, ActionYesNo, Namespace  # type: ignore[attr-defined]
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from ser_zoo.cli.parser import Parser
from ser_zoo.cli.report import show_pooled, show_row
from ser_zoo.cli.tables import quiet_lightning, table
from ser_zoo.corpora import CORPORA
from ser_zoo.data import SERDataModule
from ser_zoo.errors import ProtocolError, RunError, SERZooError
from ser_zoo.evaluation import (
    Run,
    Tracking,
    choose_root,
    end_with_first,
    fold_folder,
    part_processes,
    run_folds,
    without_summary,
    write_pooled,
)
from ser_zoo.evaluation.search import validate_fold
from ser_zoo.models import MODELS, model_class
from ser_zoo.settings import deciding, flat, load_yaml

Monitor = Literal["val/ua", "val/wa", "val/macro_f1", "val/loss", "last"]
USAGE = "ser-zoo fit --model NAME --data NAME [ARGUMENTS]"  # a line: all of them would hide the mistake that it is shown with
DESCRIPTION = """Train on the training speakers of a fold, choose the epoch on its validation speakers, test that checkpoint
on its test speakers, and write the result row; with --refit the model that is tested learns from the validation speakers too,
once they have chosen. Arguments of an architecture: --model.help NAME."""
NAMED = {"model": "name", "data": "corpus"}  # group -> its key on which further arguments or their defaults depend
# In place of Lightning's, by which auto is all of them.
DEVICES = """how many, which ([0, 2]), or -1 for all; each takes batches of its own, so that a step has as many more utterances;
auto: one, or under torchrun and srun all"""
GROUPS = ("trainer", "model.optim", "model.encoder_options")  # in a configuration also the name of a file of their arguments
# The demo corpus is made on the spot without a network, and its encoder lies in the package.
DEMO = {"model.encoder": "pico", "model.layers": [2, 3, 4]}


def run(argv: Sequence[str]) -> int:
    """Train and test."""
    end_with_first()
    quiet_lightning()
    arguments = expand_names(argv)
    if (name := value_of(arguments, "--model.help")) is not None:
        _model_parser(name).print_help()
        return 0
    parser, options = parse(arguments)
    data = data_of(options)

    def config(fold: int) -> str:
        return dump(parser, options, fold)

    root, folds, resume = _place(options, data, config)
    plan = plan_of(parser, options)
    try:
        if options.validate_only:
            for fold in folds:
                values = validate_fold(plan, data.for_fold(fold), fold_folder(root, fold), config(fold), resume)
                plan = without_summary(plan)
                if values is not None:
                    table([values], f"fold {fold}, validation speakers; the test speakers are left alone")
            rows = []
        else:
            rows = run_folds(plan, data, folds, root, config, resume, report=show_row)
    except MisconfigurationException as error:  # what the trainer finds only when it has begun
        raise SERZooError(f"The trainer refuses its arguments: {error}") from error
    part_processes()
    if len(rows) > 1:
        show_pooled(write_pooled(root, rows))
    if rows:
        print(f"results: {root if len(folds) > 1 else fold_folder(root, folds[0])}")
    return 0


def parse(arguments: Sequence[str], exit_on_error: bool = True) -> tuple[LightningArgumentParser, Namespace]:
    """The parser of the architecture that the arguments name, and what it makes of them.

    Args:
        arguments: after ``expand_names``.
        exit_on_error: end the program at an argument that is refused; else raise ``argparse.ArgumentError``.

    Raises:
        SERZooError: model or corpus is missing, or a configuration file cannot be read.
    """
    model = named(arguments, "model")
    parser = build_parser(model, named(arguments, "data"))
    parser.exit_on_error = exit_on_error
    options = parser.parse_args(list(arguments))
    if model is None or options.data.corpus is None:
        missing = "--model NAME" if model is None else "--data NAME"
        known: Any = MODELS if model is None else CORPORA
        raise SERZooError(f"{missing} is missing. Known: {', '.join(sorted(known))}.")
    return parser, options


def data_of(options: Namespace) -> SERDataModule:
    """The data that the options name."""
    return SERDataModule(**_arguments(options.data), seed=options.seed_everything)


def plan_of(parser: LightningArgumentParser, options: Namespace) -> Run:
    """What the options train."""
    local, tracking = _tracking(options)
    trainer = _arguments(_instantiate(parser, local).trainer)
    for name in ("logger", "callbacks"):  # new ones for each training
        if local.trainer[name]:
            trainer[name] = partial(_made, parser, local, name)
    return Run(
        model=options.model.name,
        arguments=model_arguments(options),
        trainer=trainer,
        seed=options.seed_everything,
        monitor=options.monitor,
        patience=options.patience,
        tracking=tracking,
        search=options.search,
        refit=options.refit,
    )


def build_parser(model: str | None, corpus: str | None = None) -> LightningArgumentParser:
    """The parser of ``fit`` for one architecture, with the settings of its source as defaults.

    Args:
        model: name of the architecture.
        corpus: name of the corpus; the encoder's default depends on it.

    Raises:
        UnknownNameError: no such architecture.
    """
    prog = "ser-zoo fit" if model is None else f"ser-zoo fit --model {model}"  # whose --help an error points to
    parser = Parser(prog=prog, usage=USAGE, description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "-c",
        "--config",
        action=ActionConfigFile,
        help="YAML file of arguments, such as a recipe; of several, and of arguments beside them, the later one counts",
    )
    parser.add_argument("--seed_everything", type=int, default=42, help="of weights, dropout, order and augmentation")
    parser.add_argument(
        "--folds",
        default=None,
        help="all, or folds like 1,3 or 2-5, one after the other and pooled; overrides --data.fold",
    )
    parser.add_argument(
        "--monitor",
        type=Monitor,
        default="val/ua",
        help="metric on the validation speakers that chooses the epoch; last: none is chosen, the newest is tested",
    )
    parser.add_argument(
        "--refit",
        action=ActionYesNo,
        nargs="?",  # a grid writes --refit=true
        default=False,
        help="once the epoch is chosen, train anew on training and validation speakers together, for as many epochs, and test "
        "that; the temperature stays that of the first training, which has not heard the validation speakers",
    )
    parser.add_argument("--patience", type=int | None, default=None, help="stop after so many epochs without improvement")
    parser.add_argument(
        "--run_dir",
        type=str | None,
        default=None,
        help="folder of the run; default: runs/<corpus>-<model>-<protocol>-seed<seed>",
    )
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        default=None,
        help="last: go on with the newest run of this name and configuration that has a checkpoint; or a last.ckpt",
    )
    parser.add_argument(
        "--wandb",
        action=ActionYesNo,
        nargs="?",
        default=False,
        help="a Weights & Biases run per fold, beside other loggers, as also by --trainer.logger WandbLogger; without a login "
        "there, or with WANDB_MODE=offline, it stays in the fold's folder until wandb sync sends it",
    )
    parser.add_argument(
        "--wandb_errors",
        type=int,
        default=20,
        help="how many of the most confident errors of the test W&B gets with their recording; 0: none. Recordings of a corpus "
        "under licence leave this machine where one is logged in to W&B, else only by wandb sync",
    )
    parser.add_argument(
        "--validate_only",
        action=ActionYesNo,
        default=False,
        help="end with the metrics on the validation speakers, without a test and a row, as the agents of a sweep do",
    )
    parser.add_argument(
        "--search",
        type=dict[str, Any] | None,
        default=None,
        help="the search that found the settings, for the row; ser-zoo search writes it into its best.yaml",
    )
    add_model_arguments(parser, model)
    # Groups of our own, as those of jsonargparse come with --data FILE, but --data NAME is what fit takes.
    group = parser.add_argument_group("utterances of a corpus, split by a fold of a protocol", name="data")
    group.add_argument("--data.corpus", type=str | None, default=None, help="corpus; --data NAME is short for it")
    group.add_class_arguments(SERDataModule, "data", as_group=False, skip={"corpus", "seed"}, instantiate=False)
    parser.add_lightning_class_args(Trainer, "trainer")
    for action in vars(parser)["_actions"]:
        if action.dest == "trainer.devices":
            action.help = DEVICES
    if model is not None:
        parser.set_defaults(dict(model_class(model).published))
        if corpus == "demo" and "encoder" in inspect.signature(model_class(model)).parameters:
            parser.set_defaults(DEMO)
    return parser


def add_model_arguments(parser: LightningArgumentParser, model: str | None) -> None:
    """Add ``--model.name`` and, where it is known already, the arguments of that architecture.

    Raises:
        UnknownNameError: no such architecture.
    """
    group = parser.add_argument_group("architecture", name="model")
    group.add_argument("--model.name", type=str | None, default=None, help="architecture; --model NAME is short for it")
    if model is not None:
        group.add_class_arguments(model_class(model), "model", as_group=False, skip={"labels"}, instantiate=False)


def model_arguments(options: Namespace) -> dict[str, Any]:
    """What ``create_model`` takes besides name and labels."""
    return {key: value for key, value in _arguments(options.model).items() if key != "name"}


def expand_names(argv: Sequence[str]) -> list[str]:
    """``--model NAME`` and ``--data NAME`` written out as ``--model.name NAME`` and ``--data.corpus NAME``."""
    full = {"--model": "--model.name", "--data": "--data.corpus"}
    expanded = []
    for argument in argv:
        option, equals, value = argument.partition("=")
        expanded.append(full.get(option, option) + equals + value)
    return expanded


def parse_folds(text: str, available: int) -> list[int]:
    """Folds of ``all``, ``3``, ``1,3`` or ``2-5``.

    Raises:
        ProtocolError: not of that form, or not among the folds 1 to ``available``.
    """
    if text == "all":
        return list(range(1, available + 1))
    folds: list[int] = []
    for part in str(text).split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) < int(first):
            raise ProtocolError(f"--folds {text} is not understood. Expected all, or numbers like 1,3 or 2-5.")
        folds += range(int(first), min(int(last or first), max(int(first), available + 1)) + 1)  # one too many is enough
    if wrong := [fold for fold in folds if not 1 <= fold <= available]:
        raise ProtocolError(f"--folds {text}: there is no fold {wrong[0]}; the protocol has 1 to {available}.")
    return sorted(set(folds))


def _tracking(options: Namespace) -> tuple[Namespace, Tracking | None]:
    """The options without W&B, and what is sent there: settings of WandbLogger among the loggers, or ``--wandb`` alone."""
    from lightning.pytorch.loggers import WandbLogger

    defaults = {name: parameter.default for name, parameter in inspect.signature(WandbLogger).parameters.items()}
    local, given = copy.deepcopy(options), options.trainer.logger
    specifications = given if isinstance(given, list) else [given]
    wanted = [item for item in specifications if isinstance(item, Namespace) and item.class_path.endswith(".WandbLogger")]
    if not wanted and not options.wandb:
        return local, None
    if len(wanted) > 1:
        raise SERZooError("--trainer.logger names WandbLogger twice. Expected it once: every fold is one W&B run.")
    arguments: dict[str, Any] = {}
    if wanted:
        chosen = wanted[0].init_args.as_dict() | dict(wanted[0].get("dict_kwargs") or {})
        arguments = {key: value for key, value in chosen.items() if key not in defaults or value != defaults[key]}
        local.trainer.logger = [item for item in specifications if item is not wanted[0]] or None
    return local, Tracking(arguments, options.wandb_errors)


def _made(parser: LightningArgumentParser, options: Namespace, name: str) -> Any:
    """The trainer's ``logger`` or ``callbacks``, and none of the other."""
    alone = copy.deepcopy(options)
    for other in {"logger", "callbacks"} - {name}:
        alone.trainer[other] = None
    return _instantiate(parser, alone).trainer[name]


def _instantiate(parser: LightningArgumentParser, options: Namespace) -> Namespace:
    """The options with their callbacks and loggers made.

    Raises:
        SERZooError: one of them refuses its arguments; or TensorBoardLogger is asked for, and TensorBoard is not installed.
    """
    try:
        ready: Namespace = parser.instantiate_classes(options)
        return ready
    except (ModuleNotFoundError, ValueError) as error:  # jsonargparse tells the reason beside why the value is of no other type
        if "`tensorboard`" in str(error):
            raise SERZooError(
                "--trainer.logger TensorBoardLogger needs TensorBoard, which is not installed. Install it with "
                "pip install 'ser-zoo[tensorboard]'."
            ) from error
        reason = error.__cause__ or error
        raise SERZooError(f"A logger, a callback or another class below --trainer refuses its arguments: {reason}") from error


def _place(options: Namespace, data: SERDataModule, config: Callable[[int], str]) -> tuple[Path, list[int], bool]:
    """Folder of the run, its folds, and whether it is resumed."""
    folds = [data.fold]
    if options.folds is not None:
        available = data.protocol.folds_of(data.utterances) if data.protocol.folds_vary else data.protocol.folds
        folds = parse_folds(options.folds, available)
    chosen = None if options.run_dir is None else Path(options.run_dir)
    if options.ckpt_path not in (None, "last"):
        checkpoint = Path(options.ckpt_path).absolute()
        place = re.search(r"/fold-([1-9]\d*)/checkpoints/last\.ckpt$", checkpoint.as_posix())
        if place is None or not checkpoint.is_file():
            raise RunError(
                f"Cannot go on from {checkpoint}: expected last, or a file RUN/fold-K/checkpoints/last.ckpt that exists."
            )
        chosen, folds = checkpoint.parents[2], [int(place[1])]
    name = f"{data.corpus.name}-{options.model.name}-{data.protocol.name}-seed{options.seed_everything}"
    resume = options.ckpt_path is not None
    return choose_root(name, folds, chosen, resume, lambda root: _apart(root, folds, config)), folds, resume


def _apart(root: Path, folds: Sequence[int], config: Callable[[int], str]) -> str:
    """Which fold of a run is of another configuration than these folds will be, and what differs; empty: none.

    Where all of these folds are there, the others do not matter: none joins them. Nor do those with a fingerprint beside them,
    which a leaderboard has begun: when its settings change, it makes one fold after the other anew.
    """
    joined = any(not fold_folder(root, fold).exists() for fold in folds)
    for file in sorted(root.glob("fold-*/config.yaml")):
        number = file.parent.name.removeprefix("fold-")
        if not number.isdigit():
            continue
        fold = int(number)
        if fold not in folds and (not joined or file.parent.with_suffix(".json").is_file()):
            continue
        try:
            begun = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            return f"fold {fold}, whose {file.name} is damaged ({type(error).__name__})"
        if begun is None:
            if any(path != file and not path.name.startswith(".") for path in file.parent.iterdir()):
                return f"fold {fold}, whose {file.name} is damaged (it is empty)"
            continue  # a fold that was taken, and stopped before its configuration was written
        before, now = deciding(begun), deciding(yaml.safe_load(config(fold)))
        if differing := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
            changes = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in differing[:5])
            return f"fold {fold} of another configuration ({changes})"
    return ""


def dump(parser: LightningArgumentParser, options: Namespace, fold: int) -> str:
    """The options as the text of a configuration file, under another fold."""
    config = copy.deepcopy(options)
    config.data.fold = fold
    text: str = parser.dump(config, skip_none=False)
    return text


def _arguments(options: Namespace) -> dict[str, Any]:
    """The namespace of a group as keyword arguments; nested groups become dictionaries."""
    return {key: value.as_dict() if isinstance(value, Namespace) else value for key, value in vars(options).items()}


def value_of(arguments: Sequence[str], option: str) -> str | None:
    """The last value given to an option."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif argument.startswith(f"{option}="):
            found = argument.partition("=")[2]
    return found


def named(arguments: Sequence[str], group: str) -> str | None:
    """A name on which further arguments or their defaults depend: the last one that an option or a configuration file gives.

    Args:
        arguments: after ``expand_names``.
        group: ``model`` or ``data``.

    Raises:
        SERZooError: a configuration file cannot be read, has a key twice, or something else than a group where one is expected.
    """
    found, name = None, f"{group}.{NAMED[group]}"
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if not equals:
            value = arguments[index + 1] if index + 1 < len(arguments) else ""
        if option == f"--{name}":
            found = value
        elif option in ("-c", "--config") and value:
            given = _read_config(Path(value)).get(name)
            found = found if given is None else str(given)
    return found


def _read_config(path: Path) -> dict[str, Any]:
    """The settings of a configuration, flat."""
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SERZooError(f"Cannot read the configuration {path}: {error}") from error
    expected = "Expected arguments of ser-zoo fit, such as model: {name: probe}."
    if not isinstance(content, dict):
        what = "is empty" if content is None else f"holds {content!r:.60}"
        raise SERZooError(f"The configuration {path} {what}. {expected}")
    if wrong := [name for name in content if not isinstance(name, str)]:
        raise SERZooError(f"The configuration {path} has the key {wrong[0]}. {expected}")
    for group, key in NAMED.items():
        if not isinstance(value := content.get(group), dict | None):
            raise SERZooError(f"The configuration {path} has {group}: {value}. Expected {group}: {{{key}: {value}}}.")
    settings = flat(content)
    for group in GROUPS:  # the parser would take such a value for all of the group
        if group in settings and not isinstance(value := settings[group], str):
            told = "null" if value is None else value
            raise SERZooError(f"The configuration {path} has {group}: {told}. Expected its arguments below it, or nothing.")
    return settings


def _model_parser(name: str) -> LightningArgumentParser:
    parser = LightningArgumentParser(prog=f"ser-zoo fit --model {name}", description=f"Arguments of {name}.")
    parser.add_class_arguments(model_class(name), "model", skip={"labels"}, instantiate=False)
    return parser
