"""The grid of a leaderboard: models, corpora, protocols, encoders, seeds and folds of one YAML file, as the cells to be run.

    recipes: ../recipes               # folder of CORPUS/MODEL.yaml; this and all paths are relative to the file
    encoders: [$SER_ZOO_ENCODERS/whisper-base-encoder]   # hub names or folders; for models that take one
    seeds: [1]
    measure: [profile]                # beside the rows: what the model costs, and robustness, each for the first seed
    durations: [results]              # folders of further rows, whose durations the estimate may use
    runs:
      - models: [probe, cta_rnn]
        corpora: [emo_db, ravdess]
        seeds: [1, 2, 3]              # encoders, seeds and measures of a run stand in place of those above
      - config: as_published.yaml     # one configuration in place of models and corpora
        name: cnn_attn_as_published   # in place of the model's, where the same model stands in the grid twice
        protocols: [as_cnn_attn]      # default: that of the configuration, which is the honest default of the corpus
        folds: [1]                    # default: all
        arguments: {trainer.max_epochs: 100}   # further ones of ser-zoo fit, but for those that the keys above say

A cell is one fold. Its fingerprint is a hash over what decides its numbers: the arguments of ``fit`` without paths, the
protocol, the manifest of the corpus, the version of this package, and the weights of an encoder that is part of it. A setting
that came after a row was made sets nothing apart while it stands as that row had it (`ser_zoo.settings`).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ser_zoo import __version__
from ser_zoo.errors import SERZooError, UnknownNameError
from ser_zoo.registry import lookup
from ser_zoo.settings import KEEPING, as_arguments, flat, load_yaml

if TYPE_CHECKING:
    from ser_zoo.corpora.base import Corpus, Utterance
    from ser_zoo.corpora.manifest import Manifest
    from ser_zoo.data import SERDataModule

KEYS = ("recipes", "encoders", "seeds", "measure", "durations", "runs")
RUN_KEYS = ("models", "corpora", "config", "name", "protocols", "encoders", "seeds", "folds", "measure", "arguments")
MEASURES = ("profile", "robustness")
NAME = re.compile(r"[\w][\w.+-]*")  # of a folder
# What a cell says itself, whatever the arguments of a run do; and what would end it without a row.
OWN = {
    "config": "config, or models and corpora, of the run",
    "model.name": "models of the run, or another config",
    "seed_everything": "seeds",
    "folds": "folds of the run",
    "data.fold": "folds of the run",
    "run_dir": "--runs of ser-zoo leaderboard run",
    "ckpt_path": "nothing: a cell that was begun goes on by itself",
    "validate_only": "nothing: a cell is tested",
}
PASSING_DATA = (*KEEPING, "fold")  # which fold is meant is no part of what all of them have

Resolve = Callable[[Sequence[str]], dict[str, Any]]
"""Gives all arguments that ``ser-zoo fit`` would run with, defaults included, for those of a command line."""


@dataclass(frozen=True)
class Cell:
    """One fold of a model as configured, with one seed.

    Attributes:
        group: ``corpus/protocol/model/encoder/seed-S``, where ``encoder`` is ``none`` for models without one, and ``-refit``
            follows the protocol under ``fit --refit``.
        fold: its number.
        arguments: of ``ser-zoo fit``, without the fold and the folder of the run.
        parts: what the fingerprint is made of: plain values.
        measures: what is measured of its model besides.
    """

    group: str
    fold: int
    arguments: tuple[str, ...]
    parts: Mapping[str, Any]
    measures: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The group and the fold; also the folder of the row below that of the results."""
        return f"{self.group}/fold-{self.fold}"

    @property
    def kind(self) -> tuple[str, str]:
        """Architecture and corpus, by which durations are estimated."""
        return self.parts["config"]["model.name"], self.parts["corpus"]["name"]

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 over the parts."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Grid:
    """What a file asks for.

    Attributes:
        cells: in the order of the file.
        durations: folders of further rows, for the estimate.
    """

    cells: list[Cell]
    durations: tuple[Path, ...]


def read_grid(path: Path, resolve: Resolve, only: Sequence[str] = (), write: bool = True) -> Grid:
    """The cells of a file.

    Args:
        path: of the YAML file.
        resolve: the parser of ``ser-zoo fit``.
        only: names between the slashes of a cell's id, ``*`` for any; one of these must be in it. All cells without any.
        write: write the manifest of a corpus that has none, so that it need not be decoded again.

    Raises:
        SERZooError: the file is not understood; the text names the place. Nothing matches ``only``.
        CorpusError: a release is not where it should be.
    """
    content = _mapping(_load(path), KEYS, str(path))
    corpora = _Corpora(write)
    cells: list[Cell] = []
    runs = content.get("runs")
    if not isinstance(runs, list) or not runs:
        raise SERZooError(f"{path}, runs: found {runs!r}. Expected a list of what is to be run.")
    known: dict[str, str] = {}
    for number, run in enumerate(runs, 1):
        place = f"{path}, run {number}"
        try:
            for group in _groups(run, content, path.parent, resolve, place):
                if other := known.get(group.id):
                    raise SERZooError(f"{group.id} is that of {other} already. Give one of them a name of its own.")
                known[group.id] = f"run {number}"
                cells += group.cells(corpora, only)
        except SERZooError as error:
            if str(error).startswith(place):
                raise
            raise type(error)(f"{place}: {error}") from error
    if not cells:
        raise SERZooError(
            f"Nothing in {path} matches --only {' '.join(only)}. There is: {', '.join(known)}; each with /fold-1 and so on."
        )
    durations = tuple(path.parent / folder for folder in _texts(content, "durations", str(path)))
    if absent := [folder for folder in durations if not folder.is_dir()]:
        raise SERZooError(f"{path}, durations: there is no folder {absent[0]}. Expected one with rows, or none.")
    return Grid(cells, durations)


def shard(cells: Sequence[Cell], part: str) -> list[Cell]:
    """The cells of part ``i/n``: every n-th one, so that the parts are disjoint and complete whatever is done already.

    Raises:
        SERZooError: not of that form, or i is not among 1 to n.
    """
    first, slash, count = part.partition("/")
    if not (slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise SERZooError(
            f"--shard {part} is not understood. Expected i/n with i from 1 to n, such as 1/8; the indices of a job array "
            "begin with 1 by --array=1-8."
        )
    return list(cells[int(first) - 1 :: int(count)])


# From the file to groups.


@dataclass(frozen=True)
class _Group:
    """The folds of one model as configured, with one seed.

    Attributes:
        id: see ``Cell.group``.
        arguments: of ``ser-zoo fit``.
        resolved: all of them, defaults included.
        data: any fold of it.
        folds: which; None for all.
        measures: see ``Cell.measures``; what a model costs is that of its first fold.
        weights: SHA-256 of those of an encoder in the package, which its name does not tell; None for any other.
    """

    id: str
    arguments: tuple[str, ...]
    resolved: Mapping[str, Any]
    data: SERDataModule
    folds: tuple[int, ...] | None
    measures: tuple[str, ...]
    weights: str | None

    def cells(self, corpora: _Corpora, only: Sequence[str]) -> Iterator[Cell]:
        """Those that match; the corpus is read only if one may."""
        protocol = self.data.protocol
        wanted = [
            fold for fold in self.folds or range(1, protocol.folds + 1) if not only or _matches(f"{self.id}/fold-{fold}", only)
        ]
        if not wanted:
            return
        utterances, manifest = corpora.of(self.data)
        for fold in self.folds or ():
            protocol.check_fold(fold, utterances)
        parts = {
            "config": _config(self.resolved),
            "corpus": {"name": self.data.corpus.name, "manifest": manifest},
            "protocol": {"name": protocol.name, "version": protocol.version, "hash": protocol.hash},
            "ser_zoo": __version__,
            **({} if self.weights is None else {"encoder": {"weights": self.weights}}),
        }
        count = protocol.folds_of(utterances)
        first = min(self.folds or (1,))
        for fold in wanted:
            if fold <= count:  # of all that there can be
                measures = tuple(name for name in self.measures if name != "profile" or fold == first)
                yield Cell(self.id, fold, self.arguments, {**parts, "fold": fold}, measures)


def _groups(run: object, defaults: Mapping[str, Any], folder: Path, resolve: Resolve, place: str) -> Iterator[_Group]:
    from ser_zoo.data import SERDataModule
    from ser_zoo.encoders.checkpoint import BUNDLED

    options = _mapping(run, RUN_KEYS, place)
    folds = None if options.get("folds", "all") == "all" else tuple(_numbers(options, "folds", place))
    if folds is not None and len(set(folds)) != max(1, len(folds)):
        raise SERZooError(f"{place}, folds: found {list(folds)}. Expected each fold once; leave folds out for all of them.")
    seeds = _numbers({**defaults, **options}, "seeds", place) or [1]
    if wrong := [seed for seed in seeds if not 0 <= seed < 2**32]:
        raise SERZooError(f"{place}, seeds: found {wrong[0]}. Expected 0 to {2**32 - 1}.")
    encoders = _texts({**defaults, **options}, "encoders", place)
    given = _passed_on(options, encoders, place)
    measures = tuple(_texts({**defaults, **options}, "measure", place))
    for measure in measures:
        lookup(dict.fromkeys(MEASURES), measure, "measure")
    for config in _configs(options, defaults, folder, place):
        for protocol in _texts(options, "protocols", place) or [""]:
            arguments = [f"--config={config}", *([f"--data.protocol={protocol}"] if protocol else []), *given]
            resolved = resolve(arguments)
            model: Mapping[str, Any] = resolved["model"]
            data = SERDataModule(**resolved["data"], seed=0)
            rule = data.protocol.name + ("-refit" if resolved["refit"] else "")
            name = options.get("name", model["name"])
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise SERZooError(
                    f"{place}, name: found {name!r}. Expected letters, digits, and _ . + - between them, and quotes around "
                    "what YAML takes for something else than text."
                )
            takes_one = "encoder" in model
            for text in encoders if takes_one and encoders else [model.get("encoder")]:
                encoder = None if text is None else _expand(str(text), folder, f"{place}, encoders")
                short = "none" if encoder is None else Path(encoder).name
                chosen = [] if encoder is None else [f"--model.encoder={encoder}"]
                weights = None
                if encoder in BUNDLED:
                    weights = hashlib.sha256((BUNDLED[encoder] / "model.safetensors").read_bytes()).hexdigest()
                for seed in seeds:
                    yield _Group(
                        id=f"{data.corpus.name}/{rule}/{name}/{short}/seed-{seed}",
                        arguments=(*arguments, *chosen, f"--seed_everything={seed}"),
                        resolved={
                            **resolved,
                            "model": {**model, "encoder": short} if takes_one else model,
                            "data": {**resolved["data"], "protocol": data.protocol.name},
                            "seed_everything": seed,
                        },
                        data=data,
                        folds=folds,
                        measures=measures if seed == seeds[0] else (),
                        weights=weights,
                    )


def _config(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Of all arguments of ``fit`` those that decide a number, with dots between the keys, as plain values."""
    from ser_zoo.evaluation.run import TRAINER_KEYS

    chosen = {
        "seed_everything": resolved["seed_everything"],
        "monitor": resolved["monitor"],
        "patience": resolved["patience"],
        "refit": resolved["refit"],
        "model": resolved["model"],
        "data": {key: value for key, value in resolved["data"].items() if key not in PASSING_DATA},
        "trainer": {key: resolved["trainer"].get(key) for key in TRAINER_KEYS},
    }
    plain: dict[str, Any] = json.loads(json.dumps(flat(chosen)))
    return plain


def _passed_on(options: Mapping[str, Any], encoders: Sequence[str], place: str) -> list[str]:
    """The further arguments of a run, none of which says what the grid says itself."""
    extra = options.get("arguments", {})
    if not isinstance(extra, dict):
        raise SERZooError(f"{place}, arguments: found {extra!r}. Expected arguments of ser-zoo fit with their values.")
    if own := [key for key in extra if key in OWN]:
        raise SERZooError(f"{place}, arguments: {own[0]} is not for a grid to pass on. Expected in its place: {OWN[own[0]]}.")
    if encoders and "model.encoder" in extra:
        raise SERZooError(
            f"{place}, arguments: model.encoder is {extra['model.encoder']}, and encoders has {', '.join(encoders)}. Expected "
            "one of the two; encoders of the run stand in place of those of the grid."
        )
    return as_arguments(extra)


def _matches(cell: str, only: Sequence[str]) -> bool:
    # By whole names between slashes, or fold-1 would be fold-10 too.
    return any(fnmatch.fnmatchcase(f"/{cell}/", f"*/{pattern.strip('/')}/*") for pattern in only)


def _configs(options: Mapping[str, Any], defaults: Mapping[str, Any], folder: Path, place: str) -> list[Path]:
    if "config" in options:
        if clash := [key for key in ("models", "corpora") if key in options]:
            raise SERZooError(f"{place} has config and {clash[0]}. Expected config, or models and corpora.")
        config = (folder / str(options["config"])).resolve()
        if not config.is_file():
            raise SERZooError(f"{place}, config: there is no file {config}. Expected a configuration of ser-zoo fit.")
        return [config]
    recipes = (folder / str(defaults.get("recipes", "recipes"))).resolve()
    configs = []
    for corpus in _texts(options, "corpora", place):
        there = {path.name: path for path in sorted(recipes.glob("*")) if path.is_dir()}
        of_corpus = {path.stem: path for path in sorted(_look(there, corpus, f"{place}, corpora", recipes).glob("*.yaml"))}
        configs += [_look(of_corpus, model, f"{place}, models", recipes / corpus) for model in _texts(options, "models", place)]
    if not configs:
        raise SERZooError(f"{place} names nothing to run. Expected models and corpora, or config.")
    return configs


def _look(table: Mapping[str, Path], name: str, place: str, folder: Path) -> Path:
    try:
        return lookup(table, name, "name")
    except UnknownNameError as error:
        raise UnknownNameError(f"{place}: {error} Expected what is in {folder}.") from error


def _expand(text: str, folder: Path, place: str) -> str:
    """An encoder with environment variables filled in; one that begins as a path does is a folder."""
    missing = [name for name in re.findall(r"\$\{?(\w+)", text) if name not in os.environ]
    if missing:
        raise SERZooError(
            f"{place}: {text} needs the environment variable {missing[0]}, which is not set. Set it to the folder that holds "
            f"{Path(text).name}."
        )
    encoder = os.path.expandvars(text)
    if not encoder.startswith(("/", "~", ".")):
        return encoder
    local = (folder / Path(encoder).expanduser()).resolve()
    if not local.is_dir():
        raise SERZooError(f"{place}: there is no folder {local} (from {text}). Expected that of an encoder, or a hub name.")
    return str(local)


def _load(path: Path) -> object:
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SERZooError(f"Cannot read the grid {path}: {error}") from error


def _mapping(content: object, keys: Sequence[str], place: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SERZooError(f"{place}: found {content!r}. Expected a mapping with the keys {', '.join(keys)}.")
    for key in content:
        try:
            lookup(dict.fromkeys(keys), str(key), "key")
        except UnknownNameError as error:
            raise UnknownNameError(f"{place}: {error}") from error
    return content


def _texts(content: Mapping[str, Any], key: str, place: str) -> list[str]:
    found = content.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise SERZooError(f"{place}, {key}: found {found!r}. Expected a list of names.")
    return found


def _numbers(content: Mapping[str, Any], key: str, place: str) -> list[int]:
    found = content.get(key, [])
    if not isinstance(found, list) or not all(type(item) is int for item in found):
        raise SERZooError(f"{place}, {key}: found {found!r}. Expected a list of whole numbers.")
    return found


# What is known of a release.


class _Corpora:
    """Folds and manifests, each found once.

    Args:
        write: write manifests that are not there.
    """

    def __init__(self, write: bool) -> None:
        self.write = write
        self._utterances: dict[str, Sequence[Utterance]] = {}
        self._hashes: dict[tuple[str, Path], str] = {}

    def of(self, data: SERDataModule) -> tuple[Sequence[Utterance], str]:
        """The utterances, and the hash of the manifest, or of those of several corpora."""
        from ser_zoo.corpora import Several

        key = json.dumps([data.hparams[name] for name in ("corpus", "root", "test", "task", "labels")])
        parts = data.corpus.parts if isinstance(data.corpus, Several) else [data.corpus]
        if key not in self._utterances:
            self._utterances[key] = data.utterances
        return self._utterances[key], "+".join(self._hash(part) for part in parts)

    def _hash(self, corpus: Corpus) -> str:
        key = corpus.name, corpus.root
        if key not in self._hashes:
            self._hashes[key] = digest(manifest_of(corpus, self.write))
        return self._hashes[key]


def manifest_of(corpus: Corpus, write: bool) -> Manifest:
    """The manifest of a release; where there is none that holds, it is made, which decodes all recordings.

    Args:
        corpus: that is there.
        write: also write it, as ``ser-zoo prepare`` does.
    """
    from ser_zoo.corpora.manifest import Stamp, fresh, survey
    from ser_zoo.data.prepare import fill, prepare

    if (found := fresh(corpus)) is not None:
        return found
    if write:
        return prepare(corpus).manifest
    manifest, utterances = survey(corpus), corpus.scan()
    fill(manifest, utterances, {path: Stamp.of(path) for path in {row.path for row in utterances}}, {})
    return manifest


def digest(manifest: Manifest) -> str:
    """12 hex digits over what a manifest says of utterances and their audio, but for where these lie and since when."""
    lines = []
    for entry in manifest.entries:
        row = {item.name: getattr(entry.utterance, item.name) for item in fields(entry.utterance) if item.name != "path"}
        lines.append(json.dumps([row, entry.measured.content], sort_keys=True, default=dict))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]
