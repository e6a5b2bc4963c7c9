"""Stored rows, put together to the tables of the reports: a line per model as configured.

There is a table per corpus and protocol, and another for what was trained anew on training and validation speakers together.

A line counts all its complete seeds. WA and UA of the seeds' summed confusion matrices are exactly the means of the seeds' own,
as every seed is tested on the same utterances; so the interval over speakers is that of the mean. Rows as published are not
ranked, nor are those with missing folds, and a rank is shared by all that the first is not shown to be better than.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ser_zoo.errors import RunError
from ser_zoo.evaluation import calibration, statistics
from ser_zoo.evaluation.result import SHARED, Predicted, Row
from ser_zoo.evaluation.robustness import ROBUSTNESS, Report, pool_robustness, read_robustness
from ser_zoo.evaluation.statistics import Comparison, Counts, Interval, SeedSpread, SignedRank, Spread, Verdict
from ser_zoo.leaderboard.references import Claim, Figure, Reference, references
from ser_zoo.leaderboard.results import Entry, same_but_seed
from ser_zoo.settings import settled

Kind = Literal["honest", "as_published", "synthetic"]
KINDS: tuple[Kind, ...] = ("honest", "as_published", "synthetic")
FEWEST_UTTERANCES = 10  # of a speaker who may be called the worst
TUNED = "model.finetune_from"
MOST_DIFFERENCES = 3  # settings that are written out to tell lines apart; of more the digits of their hash stand for the rest
COST_SECONDS = 3.0  # length of the clip whose cost is shown
PROFILE, CURVES = "profile.json", "metrics.csv"


class Calibration(NamedTuple):
    """How far a line's probabilities can be taken at their word.

    Attributes:
        before: of the network's own probabilities.
        after: of those that ``predict`` gives, at each fold's temperature where its validation side determines one; None where
            there is a fold without, or its temperature knows the test.
        ece_before: expected calibration error.
        ece_after: likewise.
        missing: why there is no ``after``.
    """

    before: calibration.Reliability
    after: calibration.Reliability | None
    ece_before: float
    ece_after: float | None
    missing: str | None


class Cost(NamedTuple):
    """What a model costs on one clip of ``COST_SECONDS``, alone in its batch, from waveform to logits.

    Attributes:
        latency: median, ms.
        slow: 95th percentile, ms.
        real_time_factor: median time per second of audio.
        macs: multiply-accumulates per second of audio.
        where: device and number of threads.
    """

    latency: float
    slow: float
    real_time_factor: float
    macs: float
    where: str


class Standing(NamedTuple):
    """Where a line stands against the first of its table.

    Attributes:
        rank: shared by all lines that the first is not shown to be better than.
        comparison: the first's UA minus this one's; None for the first, and where the two could not be compared.
        verdict: of the first against this one, after Holm's correction for all comparisons of the table.
        note: why they could not be compared.
    """

    rank: str
    comparison: Comparison | None
    verdict: Verdict | None
    note: str | None


@dataclass(frozen=True)
class Line:
    """A model as configured, on one corpus under one protocol.

    Attributes:
        entries: its complete seeds that were tested on what the first of them was; without any, the one with the most folds.
        left_out: the other seeds, which do not count.
        variant: settings that tell it from others of the same model and encoder in its table.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[Entry, ...] = ()
    variant: str = ""

    @property
    def first(self) -> Entry:
        """The first seed, for what all seeds share."""
        return self.entries[0]

    @property
    def name(self) -> str:
        """Model, and in brackets encoder and variant."""
        beside = "; ".join(part for part in (self.first.encoder, self.variant) if part)
        return f"{self.first.model} ({beside})" if beside else self.first.model

    @property
    def anchor(self) -> str:
        """Of its section in the page."""
        first = self.first
        parts = first.corpus, first.protocol["name"], first.model, first.encoder or "", first.settings
        return re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower())

    @property
    def rows(self) -> list[Row]:
        """All rows that count."""
        return [row for entry in self.entries for row in entry.rows]

    @property
    def seeds(self) -> list[int]:
        """Those that count."""
        return [entry.seed for entry in self.entries]

    @property
    def complete(self) -> bool:
        """Whether every fold is there, for each seed that counts."""
        return all(entry.complete for entry in self.entries)

    @property
    def missing(self) -> str:
        """What is not there, in words; empty if nothing."""
        entries = (*(() if self.complete else self.entries), *self.left_out)
        return "; ".join(
            f"seed {entry.seed}: tested on other utterances than seed {self.first.seed}" if entry.complete else _missing(entry)
            for entry in entries
        )

    @property
    def caveat(self) -> str:
        """``missing``, and whether the line lacks it or does without."""
        if not self.missing:
            return ""
        return f"{self.missing}, not counted" if self.complete else f"incomplete: {self.missing}"

    @property
    def trained(self) -> int:
        """Trained parameters."""
        return int(self.first.rows[0]["parameters"]["trained"])

    @property
    def minutes(self) -> float:
        """Training and test of all folds, mean over the seeds."""
        seconds: float = sum(row["durations"]["fit"] + row["durations"]["test"] for row in self.rows)
        return seconds / 60 / len(self.entries)

    @property
    def utterances(self) -> int:
        """Test rows of all folds of a seed."""
        return len(self.first.predicted.ids)

    @property
    def shared(self) -> float | None:
        """Share of test rows of whose recording training has a row too; None where a row does not say."""
        if any(SHARED not in row["protocol"] for row in self.rows):
            return None
        counts = [row["data"]["test"] for row in self.rows]
        return float(np.average([row["protocol"][SHARED] for row in self.rows], weights=counts))

    @cached_property
    def predicted(self) -> Predicted:
        """Predictions of all folds and seeds."""
        return Predicted.joined([entry.predicted for entry in self.entries])

    @cached_property
    def confusion(self) -> Counts:
        """Counts (C, C) over all folds and seeds, rows true, columns predicted."""
        counts: Counts = np.array([row["metrics"]["confusion"] for row in self.rows]).sum(0)
        return counts

    @cached_property
    def scores(self) -> dict[str, Interval]:
        """WA, UA and macro-F1 over all folds and seeds, with their intervals over speakers."""
        predicted = self.predicted
        classes = predicted.probabilities.argmax(1)
        confusions = statistics.speaker_confusions(predicted.labels, classes, predicted.speakers, len(self.first.labels))
        return statistics.bootstrap_interval(confusions)

    @cached_property
    def moments(self) -> SeedSpread:
        """Over seeds and over folds."""
        return statistics.seed_spread(self.rows)

    @cached_property
    def spread(self) -> Spread:
        """Over classes, genders and speakers."""
        return statistics.spread(self.predicted, self.first.labels, FEWEST_UTTERANCES * len(self.entries))

    @cached_property
    def calibration(self) -> Calibration:
        """Before and after temperature scaling."""
        probabilities, labels = self.predicted.probabilities, self.predicted.labels
        before = calibration.reliability(probabilities, labels)
        stored = [row.get("calibration") for row in self.rows]
        if None in stored or any(found["validation_is_test"] for found in stored if found):
            why = "the row has no temperature" if None in stored else "the temperature was fitted on the test"
            return Calibration(before, None, before.error, None, why)
        sizes = np.cumsum([row["data"]["test"] for row in self.rows])[:-1]
        # What `predict` gives: a temperature that the validation side does not determine is not applied.
        mended = [
            part if found["at_bound"] else calibration.apply_temperature(part, found["temperature"])
            for part, found in zip(np.split(probabilities, sizes), stored, strict=True)
            if found
        ]
        after = calibration.reliability(np.concatenate(mended), labels)
        return Calibration(before, after, before.error, after.error, None)

    @cached_property
    def cost(self) -> Cost | None:
        """By the profile beside the rows; None where there is none.

        Raises:
            RunError: the profile cannot be read, or is of another model.
        """
        for folder in (self.first.paths[0].parent, self.first.paths[0].parent.parent):
            if (folder / PROFILE).is_file():
                return _cost(folder / PROFILE, self.first.rows[0])
        return None

    @cached_property
    def robustness(self) -> Report | None:
        """Of the first seed whose folds all have a report, the folds taken together; None where there is none.

        Raises:
            RunError: a report cannot be read, or is not of the row beside it.
        """
        for entry in self.entries:
            files = [path.with_name(ROBUSTNESS) for path in entry.paths]
            if all(file.is_file() for file in files):
                return pool_robustness([_robustness(file, row) for file, row in zip(files, entry.rows, strict=True)])
        return None

    @property
    def curves(self) -> dict[str, Path]:
        """Files of learning curves by ``seed 1, fold 2``, where they were kept."""
        found = {}
        for entry in self.entries:
            for path, row in zip(entry.paths, entry.rows, strict=True):
                if (path.parent / CURVES).is_file():
                    found[f"seed {entry.seed}, fold {row['fold']}"] = path.parent / CURVES
        return found


@dataclass(frozen=True)
class Table:
    """All lines of one corpus under one protocol, either with or without a refit.

    Attributes:
        kind: what its rows may be compared with: only those of the same kind.
        lines: ranked ones first, the best first; then the others by name.
        standings: of the ranked lines, in their order.
        references: published figures of the corpus; only the first honest table of a corpus has them.
        alike: how many tables before it nothing but the names of their classes tells from it, as with two tables of ``csv``.
    """

    kind: Kind
    lines: tuple[Line, ...]
    standings: tuple[Standing, ...] = ()
    references: tuple[Reference, ...] = ()
    alike: int = 0

    @property
    def first(self) -> Entry:
        """An entry, for what all share."""
        return self.lines[0].first

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return self.first.corpus

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.first.protocol["name"])

    @property
    def refit(self) -> bool:
        """Whether the validation speakers of each fold trained as well."""
        return self.first.refit

    @property
    def title(self) -> str:
        """Corpus and protocol, and whether validation speakers trained as well."""
        return f"{self.corpus}, {self.protocol}{', refit' if self.refit else ''}"

    @property
    def leaks(self) -> list[str]:
        """What the protocol declares."""
        return list(self.first.protocol["declared_leaks"])

    @property
    def anchor(self) -> str:
        """Of its section in the page."""
        classes, version = len(self.first.labels), self.first.protocol["hash"]
        anchor = f"{self.kind}-{self.corpus}-{self.protocol}-{classes}-{version}"
        return f"{anchor}{'-refit' if self.refit else ''}{f'-{self.alike + 1}' if self.alike else ''}".replace("_", "-")

    @property
    def utterances(self) -> int:
        """Test rows of the line that has most."""
        return max(line.utterances for line in self.lines)

    @property
    def speakers(self) -> int:
        """How many people the line with most of them was tested on."""
        return max(len(set(line.predicted.speakers)) for line in self.lines)

    @property
    def standing_of(self) -> list[tuple[Line, Standing | None]]:
        """Every line with its standing; None for what is not ranked."""
        return [*zip(self.lines, (*self.standings, *[None] * (len(self.lines) - len(self.standings))), strict=True)]

    @property
    def tied(self) -> list[str]:
        """Names of the lines that the first is not shown to be better than, but for the first."""
        ranked = zip(self.lines, self.standings, strict=False)
        return [line.name for line, standing in ranked if standing.verdict not in (None, "better")]

    @property
    def uncompared(self) -> list[str]:
        """Names of the ranked lines that could not be compared with the first."""
        return [line.name for line, standing in zip(self.lines, self.standings, strict=False) if standing.note]


class ClaimRow(NamedTuple):
    """What is known of a paper's claim on one corpus.

    Attributes:
        corpus: its name.
        figures: that the paper claims.
        repeated: the paper's own rule, repeated here.
        honest: lines of the same architecture under honest protocols; those of the repeated network and schedule first.
        same: which of ``honest`` these are.
    """

    corpus: str
    figures: tuple[Figure, ...]
    repeated: tuple[Line, ...]
    honest: tuple[Line, ...]
    same: frozenset[str]


def tables(entries: Sequence[Entry]) -> list[Table]:
    """Honest tables first, then those as published, then synthetic speech; each by corpus, the fullest protocol first."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        protocol = entry.protocol
        kind = KINDS.index(_kind(entry))
        key = kind, entry.corpus, protocol["name"], protocol["hash"], tuple(entry.labels), entry.refit
        groups.setdefault(key, []).append(entry)
    made = [(key[:2], _table(KINDS[key[0]], group)) for key, group in sorted(groups.items())]
    made.sort(key=lambda pair: (pair[0], -len(pair[1].lines)))
    found = []
    for (kind, corpus), same in groupby(made, key=lambda pair: pair[0]):
        first, *others = (table for _, table in same)
        figures = tuple(figure for figure in references() if figure.corpus == corpus) if KINDS[kind] == "honest" else ()
        found += [replace(first, references=figures), *others]
    before: Counter[str] = Counter()
    for place, table in enumerate(found):
        found[place] = replace(table, alike=before[table.anchor])
        before[table.anchor] += 1
    return found


def claim_rows(claim: Claim, made: Iterable[Table]) -> list[ClaimRow]:
    """A row per corpus that the paper claims a figure for, or that its architecture was run on."""
    lines = [(table, line) for table in made for line in table.lines if line.first.model == claim.model]
    corpora = dict.fromkeys([figure.corpus for figure in claim.figures])
    corpora |= dict.fromkeys(table.corpus for table, _ in lines if table.kind != "synthetic")
    found = []
    for corpus in corpora:
        here = [(table, line) for table, line in lines if table.corpus == corpus]
        repeated = tuple(line for table, line in here if table.kind == "as_published" and claim.repeated_by(table.protocol))
        honest = [line for table, line in here if table.kind == "honest"]
        same = frozenset(line.anchor for line in honest if any(_same_network(line, other) for other in repeated))
        honest.sort(key=lambda line: line.anchor not in same)
        figures = tuple(figure for figure in claim.figures if figure.corpus == corpus)
        found.append(ClaimRow(corpus, figures, repeated, tuple(honest), same))
    return found


def other_references(made: Iterable[Table]) -> dict[str, list[Reference]]:
    """Published figures by corpus, of the corpora that have no honest table here."""
    shown = {table.corpus for table in made if table.references}
    left = sorted((figure for figure in references() if figure.corpus not in shown), key=lambda figure: figure.corpus)
    return {corpus: list(figures) for corpus, figures in groupby(left, key=lambda figure: figure.corpus)}


def over_corpora(made: Iterable[Table]) -> list[SignedRank]:
    """Every honest model against every other over corpora and seeds, by UA; the first table of each corpus counts.

    Raises:
        SERZooError: scipy is not installed.
    """
    values: dict[str, dict[tuple[str, int], float]] = {}
    seen: set[str] = set()
    for table in made:
        if table.kind != "honest" or table.corpus in seen:
            continue
        seen.add(table.corpus)
        for line in table.lines:
            if line.complete:
                by_seed = {(table.corpus, entry.seed): _ua(entry) for entry in line.entries}
                values.setdefault(line.name, {}).update(by_seed)
    return statistics.wilcoxon_holm(values)


def _kind(entry: Entry) -> Kind:
    if entry.synthetic:
        return "synthetic"
    return "honest" if entry.world == "honest" else "as_published"


def _table(kind: Kind, entries: Sequence[Entry]) -> Table:
    lines = [_line(group) for group in same_but_seed(entries)]
    lines = [replace(line, variant=variant) for line, variant in zip(lines, _variants(lines), strict=True)]
    if kind == "as_published":
        return Table(kind, tuple(sorted(lines, key=lambda line: line.name)))
    ranked = sorted((line for line in lines if line.complete), key=lambda line: (-line.scores["ua"].value, line.name))
    others = sorted((line for line in lines if not line.complete), key=lambda line: line.name)
    return Table(kind, (*ranked, *others), tuple(_standings(ranked)))


def _line(entries: Sequence[Entry]) -> Line:
    complete = [entry for entry in entries if entry.complete]
    # As where two tables of csv have the same classes, or a release lacked recordings.
    first = [_tested(entry) for entry in complete[:1]]
    counted = [entry for entry in complete if _tested(entry) in first] or [max(entries, key=lambda entry: len(entry.folds))]
    return Line(tuple(counted), tuple(entry for entry in entries if entry not in counted))


def _tested(entry: Entry) -> list[tuple[str, str, int]]:
    predicted = entry.predicted
    return sorted(zip(predicted.ids, predicted.speakers, predicted.labels.tolist(), strict=True))


def _standings(ranked: Sequence[Line]) -> Iterator[Standing]:
    """The first against each other line, Holm-corrected over the table."""
    compared = [_compare(ranked[0], line) for line in ranked[1:]]
    adjusted = iter(statistics.holm([found.p for found in compared if isinstance(found, Comparison)]))
    verdicts = [statistics.verdict(found, next(adjusted)) if isinstance(found, Comparison) else None for found in compared]
    tied = any(verdict != "better" for verdict in verdicts)
    if ranked:
        yield Standing("1=" if tied else "1" if compared else "alone", None, None, None)
    for place, (found, verdict) in enumerate(zip(compared, verdicts, strict=True), 2):
        if isinstance(found, str):
            yield Standing("1=", None, None, found)
        else:
            yield Standing(str(place) if verdict == "better" else "1=", found, verdict, None)


def _compare(one: Line, other: Line) -> Comparison | str:
    """UA of both over the seeds that both have; in words why not, where that cannot be."""
    ours, theirs = ({entry.seed: entry for entry in line.entries} for line in (one, other))
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return "not compared: no seed in common"
    try:
        pairs = [statistics.paired_confusions(ours[seed].predicted, theirs[seed].predicted) for seed in common]
    except RunError as error:
        return f"not compared: {error}"
    first, second = (np.sum([pair[side] for pair in pairs], axis=0) for side in (0, 1))
    return statistics.compare_confusions(first, second)["ua"]


def _variants(lines: Sequence[Line]) -> list[str]:
    """What tells each line from the others of its model and encoder."""
    settings = [settled(line.first.config) for line in lines]
    names = [(line.first.model, line.first.encoder) for line in lines]
    found = []
    for own, name, line in zip(settings, names, lines, strict=True):
        same = [other for other, theirs in zip(settings, names, strict=True) if theirs == name]
        keys = sorted({key for one in same for key in one})
        differing = [key for key in keys if len({str(one.get(key)) for one in same}) > 1]
        # What older rows did not record says little, if anything else tells them apart.
        differing = [key for key in differing if all(key in one for one in same)] or differing
        if len(same) == 1:
            found.append("")
        elif 0 < len(differing) <= MOST_DIFFERENCES:
            found.append(", ".join(f"{key.rpartition('.')[2]} {own.get(key, 'not recorded')}" for key in differing))
        else:
            telling = [f"{key.rpartition('.')[2]} {own.get(key)}" for key in _fewest(differing, same)]
            found.append(", ".join([*telling, f"settings {line.first.settings}"]))
    # The same few words may still stand for two: then nothing but the hash tells them apart.
    whole = list(zip(names, found, strict=True))
    return [
        f"settings {line.first.settings}" if whole.count(key) > 1 else key[1] for key, line in zip(whole, lines, strict=True)
    ]


def _fewest(differing: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Of the settings of the network in ``differing`` the fewest that tell all ``settings`` apart.

    Where that takes too many it is only told which encoder was trained, if that differs.
    """
    network = [key for key in differing if key.startswith("model.") and not key.startswith("model.optim.")]
    network = [key for key in network if all(key in one for one in settings)]
    network.sort(key=lambda key: key != TUNED)  # whether an encoder was trained is what a reader asks first
    for size in range(1, MOST_DIFFERENCES):
        for keys in combinations(network, size):
            if len({str([one.get(key) for key in keys]) for one in settings}) == len(settings):
                return keys
    return [TUNED] if TUNED in differing else []


def _same_network(one: Line, other: Line) -> bool:
    own, theirs = ({**line.first.config, "data": {}} for line in (one, other))
    return settled(own) == settled(theirs)


def _missing(entry: Entry) -> str:
    if entry.folds_expected is None:
        return f"seed {entry.seed}: {len(entry.folds)} folds, of how many is not known here"
    return f"seed {entry.seed}: {len(entry.folds)} of {entry.folds_expected} folds"


def _ua(entry: Entry) -> float:
    confusion: Counts = np.array([row["metrics"]["confusion"] for row in entry.rows]).sum(0)
    return float(statistics.scores(confusion)["ua"])


def _robustness(path: Path, row: Row) -> Report:
    report = read_robustness(path)
    encoder = None if row["encoder"] is None else row["encoder"]["name"]
    expected = {key: row[key] for key in ("model", "corpus", "fold", "seed", "labels")} | {
        "encoder": encoder,
        "epoch": row["selection"]["epoch"],  # of the checkpoint
        "test": row["data"]["test"],
    }
    differing = [key for key, value in expected.items() if report[key] != value]
    if report["protocol"]["hash"] != row["protocol"]["hash"]:
        differing.append("protocol")
    if differing:
        raise RunError(
            f"{path} is of another {', '.join(differing)} than the row beside it. Expected the report that ser-zoo robustness "
            "writes for the checkpoint of this row."
        )
    return report


def _cost(path: Path, row: Row) -> Cost:
    expected = "Expected the output of ser-zoo profile --format json for the model of the rows beside it."
    try:
        profile = json.loads(path.read_text(encoding="utf-8"))
        clip = {clip["seconds"]: clip for clip in profile["clips"]}[COST_SECONDS]
        p50, p95, factor, macs = (float(clip[key]) for key in ("p50_ms", "p95_ms", "real_time_factor", "macs_per_second"))
        found = {key: profile[key] for key in ("model", "parameters")}
        where = f"{profile['device']}, {profile['threads']} thread{'s' * (profile['threads'] != 1)}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"Cannot read a clip of {COST_SECONDS:g} s from the profile {path}: {error!r}. {expected}") from error
    if found != {key: row[key] for key in found}:
        theirs, own = (
            f"{of['model']} with {of['parameters']['total']:,} parameters ({of['parameters']['trained']:,} trained)"
            for of in (found, row)
        )
        raise RunError(f"The profile {path} is of {theirs}, the rows beside it are of {own}. {expected}")
    return Cost(p50, p95, factor, macs, where)
