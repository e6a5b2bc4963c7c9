"""The reports, rendered from stored rows: ``leaderboard.md``, ``leaderboard.csv``, ``leaderboard.html``, the README's tables.

The same rows give the same bytes: there is no date, no path and no name of a machine in them. The page needs no server and no
network; style, pictures and the few lines of script that sort its tables stand inside it, and it reads without the script.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ser_zoo.cache import atomic_path, write_csv
from ser_zoo.errors import RunError, SERZooError
from ser_zoo.evaluation.result import SHARED, Row
from ser_zoo.evaluation.statistics import Interval, SignedRank
from ser_zoo.leaderboard import figures
from ser_zoo.leaderboard.aggregate import (
    COST_SECONDS,
    ClaimRow,
    Line,
    Standing,
    Table,
    claim_rows,
    other_references,
    over_corpora,
    tables,
)
from ser_zoo.leaderboard.references import Claim, Reference, claims
from ser_zoo.leaderboard.results import read_entries

if TYPE_CHECKING:
    from jinja2 import Environment

BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"
INSTALL = "pip install 'ser-zoo[report]'"
NEEDED = ("jinja2", "matplotlib", "scipy")
CERTIFICATES = "certificates"  # folder beside that of the results
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
MOST_SPEAKERS = 30  # of more, only the worst are listed
NAMES = {"ua": "UA", "wa": "WA", "macro_f1": "macro-F1"}
KINDS = {
    "honest": "Speaker-independent",
    "as_published": "As published: with the leaks of a paper",
    "synthetic": "SYNTHETIC: speech that no person spoke",
}
REFIT = (
    "a second model is tested, trained on training and validation speakers for as many epochs as the checkpoint of the first"
)
CSV = (
    "kind",
    "corpus",
    "protocol",
    "protocol_hash",
    "refit",
    "declared_leaks",
    SHARED,
    "classes",
    "rank",
    "model",
    "encoder",
    "variant",
    "settings",
    "seeds",
    "folds",
    "folds_expected",
    "missing",
    "utterances",
    "parameters_total",
    "parameters_trained",
    *(f"{name}{end}" for name in NAMES for end in ("", "_low", "_high", "_fold_mean", "_fold_deviation", "_seed_deviation")),
    "ece",
    "ece_at_temperature",
    "worst_speaker",
    "worst_speaker_ua",
    "minutes",
    "macs_per_second",
    "latency_ms",
    "real_time_factor",
    "measured_on",
    "behind_first",
    "behind_first_low",
    "behind_first_high",
    "against_first",
)


class Certificate(NamedTuple):
    """The certificate of a table's protocol, and which runs name its folds.

    Attributes:
        content: as ``ser-zoo audit`` gives it; None where there is no file of it.
        hashes: of its folds, by number.
    """

    content: Mapping[str, Any] | None
    hashes: Mapping[int, str]

    def of(self, line: Line) -> str:
        """What the rows of a line say about it."""
        named = {row["fold"]: row["protocol"].get("certificate") for row in line.rows}
        if not any(named.values()):
            return "These rows were made before rows named the certificate of their fold."
        if self.content is None:
            return f"Named by its folds: {', '.join(sorted({str(name) for name in named.values()}))}; no file of it was found."
        if wrong := [fold for fold, name in named.items() if name != self.hashes.get(fold)]:
            return f"NOT the certificate above: fold {', '.join(map(str, wrong))} was run on other utterances."
        return f"All folds name the certificate {self.content['hash']}."


class Content:
    """Everything that the templates show.

    Args:
        results: rows are found anywhere below it; certificates in the folder of that name beside it.

    Raises:
        RunError: there is no row, or one cannot be read.
    """

    def __init__(self, results: Path) -> None:
        self.tables = tables(read_entries(results))
        self.folder = results.absolute().parent / CERTIFICATES

    @cached_property
    def claims(self) -> list[tuple[Claim, list[ClaimRow]]]:
        """The founding papers, each with its rows."""
        return [(claim, claim_rows(claim, self.tables)) for claim in claims()]

    @cached_property
    def other_references(self) -> dict[str, list[Reference]]:
        """Published figures of corpora without rows here."""
        return other_references(self.tables)

    @cached_property
    def over_corpora(self) -> list[SignedRank]:
        """Models against each other over corpora and seeds."""
        return over_corpora(self.tables)

    @cached_property
    def certificates(self) -> dict[str, Certificate]:
        """By the anchor of the table."""
        files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.json"))]
        by_key = {(one["protocol"]["hash"], one["corpus"], tuple(one["labels"])): one for one in files if one.get("protocol")}
        found = {}
        for table in self.tables:
            content = by_key.get((table.first.protocol["hash"], table.corpus, tuple(table.first.labels)))
            folds = content["folds"] if content else []
            found[table.anchor] = Certificate(content, {int(fold["fold"]): fold["hash"] for fold in folds})
        return found

    @property
    def lines(self) -> Iterator[tuple[Table, Line]]:
        """Every line with its table."""
        return ((table, line) for table in self.tables for line in table.lines)

    @property
    def rows(self) -> int:
        """Stored rows that count."""
        return sum(len(line.rows) for _, line in self.lines)

    @property
    def hours(self) -> float:
        """Training and test of all these rows, one after the other."""
        return sum(line.minutes * len(line.entries) for _, line in self.lines) / 60


def write_report(results: Path, output: Path) -> list[Path]:
    """Write ``leaderboard.md``, ``leaderboard.csv`` and ``leaderboard.html``, which replace those that are there.

    Args:
        results: folder of the rows.
        output: folder of the reports.

    Returns:
        The files.

    Raises:
        RunError: there is no row, or one cannot be read.
        SERZooError: the extra ``report`` is not installed.
    """
    environment = _environment()
    board = Content(results)
    paths = [output / f"leaderboard.{suffix}" for suffix in ("md", "csv", "html")]
    for path in paths:
        with atomic_path(path) as temporary:
            if path.suffix == ".csv":
                _write_csv(board, temporary)
            else:
                temporary.write_text(environment.get_template(f"{path.name}.j2").render(board=board), encoding="utf-8")
    return paths


def update_readme(readme: Path, results: Path, check: bool = False) -> None:
    """Write the tables between the markers of a README, or check that they are there already.

    Args:
        readme: has a line ``<!-- leaderboard:begin -->`` and after it one ``<!-- leaderboard:end -->``.
        results: folder of the rows.
        check: change nothing, and fail when the tables are not those of the rows.

    Raises:
        RunError: there is no row, one cannot be read, the README lacks the markers, or the check fails.
        SERZooError: the extra ``report`` is not installed.
    """
    environment = _environment()
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"Cannot read {readme}: {error}. Expected a text with the lines {BEGIN} and {END}.") from error
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise RunError(
            f"{readme} has not one line {BEGIN} and after it one line {END}. Write both where the tables are to stand."
        )
    tables = environment.get_template("readme.md.j2").render(board=Content(results)).strip()
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    new = f"{before}{BEGIN}\n{tables}\n\n{after}"  # without the empty line a table would go on
    if new == text:
        return
    if check:
        raise RunError(
            f"The tables of {readme} are not those of the rows below {results}. Write them: "
            f"ser-zoo leaderboard report {results} --readme {readme}"
        )
    with atomic_path(readme) as temporary:
        temporary.write_text(new, encoding="utf-8")


def percent(value: float | None, digits: int = 1) -> str:
    """``95.4`` of 0.954, with a true minus sign; a dash for None."""
    return DASH if value is None else f"{100 * value:.{digits}f}".replace("-", MINUS)


def interval(found: Interval) -> str:
    """``[92.1, 97.0]``; nothing where there is no interval."""
    return "" if found.low is None else f"[{percent(found.low)}, {percent(found.high)}]"


def moments(mean: float, deviation: float | None) -> str:
    """``95.4 ± 3.1``, without the deviation where there is none."""
    return percent(mean) if deviation is None else f"{percent(mean)} ± {percent(deviation)}"


def cell(text: str | None) -> str:
    """A name in a table of Markdown, which a bar would divide and a bracket begin a tag in; a dash for None."""
    return DASH if text is None else text.replace("|", "\\|").replace("<", "&lt;")


def against(standing: Standing, table: Table) -> str:
    """Where a ranked line stands against the first of its table, in a few words."""
    if standing.note is not None:
        return standing.note
    if standing.comparison is not None:
        gap = f"{percent(standing.comparison.value)} {interval(standing.comparison)}".strip()
        return gap if standing.verdict == "better" else f"{gap}, tied"
    if len(table.standings) == 1:
        return DASH
    return f"first, tied with {len(table.tied)}" if table.tied else "first"


def outcome(table: Table) -> str:
    """What the ranked lines of a table show, in a sentence."""
    if len(table.standings) < 2:
        return "There is nothing to compare it with." if table.standings else "No line is complete, so none is ranked."
    first, tied, uncompared = table.lines[0].name, table.tied, table.uncompared
    words = []
    if tied:
        words.append(f"There is no winner: {first} has the highest UA, and is tied with {', '.join(tied)}.")
    elif not uncompared:
        words.append(f"{first} is ahead of all others: every paired interval excludes 0.")
    if uncompared:
        words.append(f"{first} could not be compared with {', '.join(uncompared)}.")
    return " ".join(words)


def domain(table: Table) -> tuple[float, float]:
    """The range that a table's bars show: its intervals, widened to whole tens of percent."""
    ends = [end for line in table.lines for end in _ends(line.scores["ua"])]
    return floor(10 * min(ends)) / 10, ceil(10 * max(ends)) / 10


def place(value: float, ends: tuple[float, float]) -> float:
    """Percent of the way from the first end to the second."""
    return round(100 * (value - ends[0]) / (ends[1] - ends[0]), 2) if ends[1] > ends[0] else 50.0


def classes_note(reference: Reference, table: Table) -> str:
    """``7 classes, 4 here`` where a published figure is of other classes than a table's."""
    here = len(table.first.labels)
    if reference.classes is None:
        return "classes not stated"
    return "" if reference.classes == here else f"{reference.classes} classes, {here} here"


def dependence(reference: Reference) -> str:
    """Whether test speakers train too, in a word."""
    return {True: "speaker-dependent", False: "speaker-independent", None: "not stated"}[reference.speaker_dependent]


def commits(line: Line) -> str:
    """The commits of a line's rows."""
    return ", ".join(sorted({row["commit"] or "not recorded" for row in line.rows}))


def versions(line: Line) -> str:
    """Versions of what the rows depend on; several where rows differ."""
    found: dict[str, set[str]] = {}
    for row in line.rows:
        for name, version in row["versions"].items():
            found.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {' / '.join(sorted(values))}" for name, values in found.items())


def searches(line: Line) -> list[tuple[str, dict[str, Any]]]:
    """The searches that found a line's settings, each in a few sentences and with its space; mostly none or one."""
    found: dict[str, list[Row]] = {}
    for row in line.rows:
        if search := row.get("search"):
            same = {key: value for key, value in search.items() if key != "test_speakers_validated"}
            found.setdefault(json.dumps(same, sort_keys=True), []).append(search)
    told = []
    for same_rows in found.values():
        search, scored = same_rows[0], [row["test_speakers_validated"] for row in same_rows]
        if None in scored:
            heard = "It was on another corpus."
        elif any(scored):
            heard = f"Of {sum(map(bool, scored))} of {len(scored)} rows test speakers were among those validation speakers."
        else:
            heard = "No test speaker was among them."
        told.append(
            (
                f"{search['trials']} trials ({search['finished']} finished, {search['pruned']} pruned, {search['failed']} "
                f"failed; {search['method']}) to {search['goal']} {search['metric']} on the validation speakers of folds "
                f"{', '.join(map(str, search['folds']))} of {search['corpus']}, {search['protocol']}; the best has "
                f"{search['value']:.4f}. {heard}",
                search["space"],
            )
        )
    return told


def reliability_figure(line: Line) -> str:
    """The reliability diagram of a line."""
    found = line.calibration
    return figures.reliability(found.before, found.after, f"r-{line.anchor}")


def pareto_figures(table: Table) -> list[str]:
    """UA against trained parameters, and against latency where at least two lines have a profile."""
    complete = table.lines[: len(table.standings)]
    costs = (
        ("trained parameters", {line.anchor: float(line.trained) for line in complete}),
        (
            f"ms for {COST_SECONDS:g} s of audio",
            {line.anchor: line.cost.latency for line in complete if line.cost is not None},
        ),
    )
    found = []
    for number, (title, cost) in enumerate(costs):
        drawn = [line for line in complete if line.anchor in cost]
        points = [figures.Point(cost[line.anchor], *_percents(line.scores["ua"]), line.name) for line in drawn]
        if len(points) > 1:
            found.append(figures.pareto(points, title, f"p{number}-{table.anchor}"))
    return found


def robustness_figure(table: Table) -> str | None:
    """UA over the signal-to-noise ratio of the lines that have a robustness report; None where none has."""
    reports = {line.name: line.robustness for line in table.lines if line.robustness}
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, report in reports.items():
        for of in report["perturbations"].values():
            if of["unit"] == "dB SNR":
                curves.setdefault(of["family"], {}).setdefault(name, []).append((of["level"], 100 * of["ua"]))
    clean = {name: 100 * report["clean"]["ua"] for name, report in reports.items()}
    return figures.robustness(curves, clean, f"n-{table.anchor}") if curves else None


def changes(table: Table) -> list[tuple[str, str]]:
    """Name and title of every change of recordings that a line of a table was measured under, in the order of the first."""
    reports = [line.robustness for line in table.lines if line.robustness]
    return list({name: of["title"] for report in reports for name, of in report["perturbations"].items()}.items())


def curves_figure(line: Line) -> str | None:
    """The learning curves of a line; None where none were kept.

    Raises:
        RunError: a file cannot be read.
    """
    runs = {name: _curves(path) for name, path in line.curves.items()}
    return figures.learning_curves(runs, f"c-{line.anchor}") if runs else None


def recalls(line: Line) -> list[float | None]:
    """Per class in the order of the labels."""
    return [line.spread.recalls[label] for label in line.first.labels]


def _curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name in ("train/loss", "val/loss", "val/ua"):
                    if row.get(name):
                        found.setdefault(name, []).append((int(row["epoch"]), float(row[name])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"Cannot read the learning curves {path}: {error!r}. Expected the CSV that training writes.") from error
    return found


def _ends(found: Interval) -> list[float]:
    return [value for value in (found.low, found.value, found.high) if value is not None]


def _percents(found: Interval) -> tuple[float, float | None, float | None]:
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return 100 * found.value, low, high


def _write_csv(board: Content, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        found = (_csv_row(table, line, standing) for table in board.tables for line, standing in table.standing_of)
        write_csv(file, [CSV, *([_plain(row[key]) for key in CSV] for row in found)])


def _csv_row(table: Table, line: Line, standing: Standing | None) -> dict[str, Any]:
    first, worst, calibrated, cost = line.first, line.spread.worst, line.calibration, line.cost
    comparison = None if standing is None else standing.comparison
    scores: dict[str, float | None] = {}
    for name in NAMES:
        folds, seeds, found = line.moments.over_folds[name], line.moments.over_seeds[name], line.scores[name]
        scores |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        scores |= {f"{name}_fold_mean": folds.mean, f"{name}_fold_deviation": folds.deviation}
        scores |= {f"{name}_seed_deviation": seeds.deviation}
    return {
        "kind": table.kind,
        "corpus": table.corpus,
        "protocol": table.protocol,
        "protocol_hash": first.protocol["hash"],
        "refit": table.refit,
        "declared_leaks": "; ".join(table.leaks),
        SHARED: line.shared,
        "classes": len(first.labels),
        "rank": None if standing is None else standing.rank,
        "model": first.model,
        "encoder": first.encoder,
        "variant": line.variant,
        "settings": first.settings,
        "seeds": " ".join(map(str, line.seeds)),
        "folds": len(first.folds),
        "folds_expected": first.folds_expected,
        "missing": line.missing,
        "utterances": line.utterances,
        "parameters_total": first.rows[0]["parameters"]["total"],
        "parameters_trained": line.trained,
        **scores,
        "ece": calibrated.ece_before,
        "ece_at_temperature": calibrated.ece_after,
        "worst_speaker": None if worst is None else worst.speaker,
        "worst_speaker_ua": None if worst is None else worst.ua,
        "minutes": line.minutes,
        "macs_per_second": None if cost is None else cost.macs,
        "latency_ms": None if cost is None else cost.latency,
        "real_time_factor": None if cost is None else cost.real_time_factor,
        "measured_on": None if cost is None else cost.where,
        "behind_first": None if comparison is None else comparison.value,
        "behind_first_low": None if comparison is None else comparison.low,
        "behind_first_high": None if comparison is None else comparison.high,
        "against_first": None if standing is None else standing.note or standing.verdict,
    }


def _plain(value: object) -> object:
    # Digits beyond these differ between processors.
    return f"{value:.6f}" if isinstance(value, float) else value


def _environment() -> Environment:
    """The templates with what they call.

    Raises:
        SERZooError: the extra ``report`` is not installed.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SERZooError(f"Reports need {' and '.join(missing)}, not installed here. Install what they need: {INSTALL}")
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("ser_zoo.leaderboard", "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "dash": DASH,
        "cost_seconds": COST_SECONDS,
        "names": NAMES,
        "kinds": KINDS,
        "most_speakers": MOST_SPEAKERS,
        "refit_note": REFIT,
        "domain": domain,
        "classes_note": classes_note,
        "json": lambda content: json.dumps(content, indent=2, ensure_ascii=False),
    }
    used = (
        percent,
        interval,
        moments,
        cell,
        against,
        outcome,
        place,
        dependence,
        commits,
        versions,
        reliability_figure,
        pareto_figures,
        robustness_figure,
        changes,
        curves_figure,
        recalls,
        searches,
    )
    environment.filters |= {function.__name__: function for function in used} | {"zip": zip}
    return environment
