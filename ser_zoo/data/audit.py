"""The certificate of a protocol, or of somebody else's split: who stands on which side, and what the sides share.

A finding *fails* the certificate when it lets a model know what it is tested on and the protocol does not declare it: the same
speaker, recording or audio on two sides, a near-duplicate, rows of one utterance that was augmented before the split, one side
for validation and test, a text where the protocol keeps texts apart. So do a class that is tested but never trained, and names
in somebody's split that the corpus does not have. What a reader should know but no rule forbids is a *note*: texts and sessions
that sides share, classes that are not tested.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from ser_zoo.corpora import Corpus, Several, Utterance
from ser_zoo.corpora.base import short_list
from ser_zoo.data.audio import Waveform, content_hash, resample
from ser_zoo.data.fingerprint import RATE, Copy, Fingerprint, find_copies, fingerprint
from ser_zoo.data.recordings import decoded
from ser_zoo.errors import AudioError, ProtocolError
from ser_zoo.protocols import Leak, Protocol, Row, Split
from ser_zoo.protocols.base import utterance_of

SCHEMA_VERSION = 1
EXAMPLES = 5  # of a finding

Verdict = Literal["fails", "declared", "note"]
Pair = tuple[str, str]
Report = dict[str, Any]
SIDES: Mapping[str, str] = {
    **{side: side for side in Split._fields},
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "development": "validation",
}
"""How splits name a side -> its name here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a side lacks or that sides share.

    Attributes:
        kind: what it is.
        sides: on which.
        count: how many of the kind: speakers, recordings, classes, pairs of near-duplicates ...
        verdict: whether it fails the certificate.
        examples: a few of them.
    """

    kind: str
    sides: tuple[str, ...]
    count: int
    verdict: Verdict
    examples: tuple[str, ...]


class Sound(NamedTuple):
    """What was heard in the recordings.

    Attributes:
        seconds: utterance id -> its length.
        content: utterance id -> hash of its decoded samples.
        copies: near-duplicates, those of equal samples not among them.
        short: how many have too little sound to be told from others.
        bad: utterance id -> why it cannot be decoded.
    """

    seconds: dict[str, float]
    content: dict[str, str]
    copies: list[Copy]
    short: int
    bad: dict[str, str]

    @property
    def identical(self) -> list[list[str]]:
        """Ids of equal samples, group by group."""
        groups: dict[str, list[str]] = {}
        for key, content in self.content.items():
            groups.setdefault(content, []).append(key)
        return sorted(sorted(group) for group in groups.values() if len(group) > 1)


class Placed(NamedTuple):
    """A fold that is to be audited.

    Attributes:
        split: its sides.
        findings: what was found when it was read.
    """

    split: Split
    findings: tuple[Finding, ...] = ()


def listen(utterances: Sequence[Utterance], skip_bad: bool = False) -> Sound:
    """Decode all utterances, one after the other in several threads; only hashes and fingerprints are kept.

    Args:
        utterances: whose recordings are wanted.
        skip_bad: list those that cannot be decoded, instead of stopping.

    Raises:
        AudioError: a recording cannot be decoded and ``skip_bad`` is False.
    """

    def describe(waveform: Waveform, rate: int) -> tuple[float, str, Fingerprint]:
        return len(waveform) / rate, content_hash(waveform), fingerprint(resample(waveform, rate, RATE))

    sound = Sound({}, {}, [], 0, {})
    prints: dict[str, Fingerprint] = {}
    for row, heard in decoded(utterances, describe, skip_bad, "listening"):
        if isinstance(heard, AudioError):
            sound.bad[row.id] = str(heard)
        else:
            sound.seconds[row.id], sound.content[row.id], prints[row.id] = heard
    copies = [copy for copy in find_copies(prints) if sound.content[copy.first] != sound.content[copy.second]]
    return sound._replace(copies=copies, short=sum(not of_clip.comparable for of_clip in prints.values()))


def audit_split(
    split: Split,
    labels: Sequence[str],
    declared: Sequence[Leak] = (),
    texts_apart: Sequence[Pair] = (),
    findings: Sequence[Finding] = (),
) -> Report:
    """The part of a fold's audit that opens no recording, cheap enough for every run.

    Args:
        split: the sides; without a validation side it may be empty.
        labels: the classes that are told apart.
        declared: leaks that the protocol declares.
        texts_apart: sides that must have no text in common.
        findings: those of the fold's reading.

    Returns:
        ``sides``: utterances and speakers of each, all and by class; ``findings``; ``hash`` over these and over which
        utterance stands where.
    """
    found = [*findings, *_on_sides(split, labels), *_between_sides(split, declared, texts_apart)]
    report: Report = {
        "sides": {side: _counts(rows, labels) for side, rows in split._asdict().items()},
        "findings": [asdict(finding) for finding in found],
    }
    placed = sorted(f"{side} {row.id} {row.label}" for side, rows in split._asdict().items() for row in rows)
    return {**report, "hash": _digest([report, placed])}


def add_sound(report: Report, split: Split, sound: Sound, declared: Sequence[Leak] = ()) -> Report:
    """The report of ``audit_split`` with the hours of its sides and the audio that they share; its hash stays."""
    sides = {
        side: {
            **counts,
            "hours": _hours(split._asdict()[side], sound),
            "classes": {
                label: {**of_label, "hours": _hours([row for row in split._asdict()[side] if row.label == label], sound)}
                for label, of_label in counts["classes"].items()
            },
        }
        for side, counts in report["sides"].items()
    }
    verdict: Verdict = "declared" if "audio" in declared else "fails"
    findings: list[Finding] = []
    for pair in _compared(split):
        one, other = (_first_ids(getattr(split, side), lambda row: _content(row, sound)) for side in pair)
        equal = [f"{one[content]}, {other[content]}" for content in one if content in other]
        findings += _shared("identical audio", pair, equal, verdict)
        ids, other_ids = ({utterance_of(row) for row in getattr(split, side)} for side in pair)
        near = [
            f"{copy.first}, {copy.second}"
            for copy in sound.copies
            if (copy.first in ids and copy.second in other_ids) or (copy.second in ids and copy.first in other_ids)
        ]
        findings += _shared("near-duplicate", pair, near, verdict)
    return {**report, "sides": sides, "findings": [*report["findings"], *map(asdict, findings)]}


def protocol_folds(protocol: Protocol, utterances: Sequence[Utterance]) -> dict[str, Placed]:
    """All folds of a protocol.

    Raises:
        ProtocolError: one of them cannot be made of these utterances.
    """
    numbers = range(1, protocol.folds_of(utterances) + 1)
    return {str(number): Placed(protocol.split(number, utterances)) for number in numbers}


def certify(
    corpus: Corpus | Several,
    utterances: Sequence[Utterance],
    folds: Mapping[str, Placed],
    protocol: Protocol | None = None,
    sound: Sound | None = None,
) -> Report:
    """The certificate.

    Args:
        corpus: whose name, task and classes it gives.
        utterances: those that are split.
        folds: by name.
        protocol: whose declarations hold; None declares nothing.
        sound: what was heard; None says that audio was not checked.

    Returns:
        JSON values. ``hash`` is the SHA-256, 12 digits, of everything else, in which there is no path, no date and no version
        of a program. Each fold has the ``hash`` of ``audit_split``, by which a run finds its certificate.
    """
    present = {row.label for row in utterances}
    labels = [label for label in corpus.labels if label in present]
    declared, texts_apart = (protocol.declared_leaks, protocol.texts_apart) if protocol else ((), ())
    reports = []
    for name, (split, findings) in folds.items():
        report = audit_split(split, labels, declared, texts_apart, findings)
        reports.append({"fold": name, **(add_sound(report, split, sound, declared) if sound else report)})
    certificate = {
        "schema": SCHEMA_VERSION,
        "corpus": corpus.name,
        "task": corpus.task.name,
        "labels": labels,
        "utterances": len(utterances),
        "protocol": _rule(protocol) if protocol else None,
        "audio": _heard(sound) if sound else None,
        "passes": not any(finding["verdict"] == "fails" for report in reports for finding in report["findings"]),
        "folds": reports,
    }
    plain: Report = json.loads(json.dumps(certificate))  # tuples become the lists that a reader of the file gets
    return {"hash": _digest(plain), **plain}


def read_split(path: Path, release: Sequence[Utterance], utterances: Sequence[Utterance], root: Path) -> dict[str, Placed]:
    """Somebody else's split: a CSV file with the columns ``id`` or ``path``, ``side``, and where there are several ``fold``.

    A path is that of the recording: absolute, below ``root`` (of a table, below its folder), or its name alone where that is
    unique. An id with ``+`` and words after it, ``03a01Fa+noise``, is an augmented copy of that utterance.

    Args:
        path: the file.
        release: all utterances of the corpus.
        utterances: those of the task that can be used; any others of the release are left out and counted.
        root: of the corpus, a folder or a table.

    Raises:
        ProtocolError: the file cannot be read, lacks a column, names an unknown side or an ambiguous path, or has a fold
            without training or test.
    """
    if root.is_file():
        root = root.parent
    known, wanted = _names(release, root), {row.id for row in utterances}
    of_task = {row.id: row for row in utterances}  # under the labels of the task
    rows: dict[str, dict[str, list[Utterance]]] = {}
    strange: dict[str, Counter[str]] = {}
    for line, name, fold, side in _lines(path):
        sides = rows.setdefault(fold, {side: [] for side in Split._fields})
        unknown = strange.setdefault(fold, Counter())
        plain, *variant = name.split("+") if name not in known else [name]
        ids = known.get(plain, [])
        if len(ids) > 1:
            raise ProtocolError(
                f"{path}, line {line}: {name} stands for {len(ids)} utterances, such as {short_list(ids, 2)}. Expected the id "
                "of one, or a path that only one has."
            )
        if not ids:
            unknown[name] += 1
        elif ids[0] not in wanted:
            unknown[""] += 1
        else:
            sides[side].append(Row.of(of_task[ids[0]], tuple(variant)) if variant else of_task[ids[0]])
    folds = {}
    for fold, sides in rows.items():
        if empty := [side for side in ("train", "test") if not sides[side]]:
            raise ProtocolError(
                f"{path}: fold {fold} has no known utterance of {' and '.join(empty)}. Expected both, under ids such as "
                f"{release[0].id} or paths such as {_relative(release[0].path, root)}."
            )
        folds[fold] = Placed(*_once(sides, wanted, strange[fold]))
    return folds


def _on_sides(split: Split, labels: Sequence[str]) -> Iterator[Finding]:
    trained = {row.label for row in split.train}
    for side, rows in split._asdict().items():
        if not rows:
            yield Finding("side without utterances", (side,), 1, "note", ())
            continue
        present = {row.label for row in rows}
        if side == "train":
            used = {row.label for row in (*split.validation, *split.test)}
            yield from _finding("class never trained", (side,), sorted(used - trained), "fails")
        yield from _finding("class missing", (side,), [label for label in labels if label not in present], "note")


def _between_sides(split: Split, declared: Sequence[Leak], texts_apart: Sequence[Pair]) -> Iterator[Finding]:
    if _validates_on_test(split):
        verdict: Verdict = "declared" if "validation is test" in declared else "fails"
        yield Finding("validation is test", ("validation", "test"), len(split.test), verdict, ())
    augmented = {row.utterance for rows in split for row in rows if isinstance(row, Row)}
    shared: dict[str, Callable[[Utterance], str | None]] = {
        "speaker": lambda row: row.speaker,
        # Tables may write a path in several ways.
        "recording": lambda row: f"{os.path.abspath(row.path)}@{row.start}-{row.end}",  # noqa: PTH100 - resolve() would ask the disk
        "augmentation before split": lambda row: utterance_of(row) if utterance_of(row) in augmented else None,
        "session": lambda row: row.session,
        "text": lambda row: row.text,
    }
    ids = {(side, kind): _first_ids(rows, key) for side, rows in split._asdict().items() for kind, key in shared.items()}
    for pair in _compared(split):
        noted = {"session"} if pair in texts_apart else {"session", "text"}
        allowed = {"recording", "augmentation before split"} if "recording" in declared else set()
        if "speaker" in declared or (pair == ("train", "validation") and "validation speaker" in declared):
            allowed.add("speaker")
        for kind in shared:
            verdict = "note" if kind in noted else "declared" if kind in allowed else "fails"
            one, other = (ids[side, kind] for side in pair)
            # By ids alone: a recording's path differs from disk to disk.
            yield from _shared(kind, pair, [f"{one[value]}, {other[value]}" for value in one if value in other], verdict)


def _first_ids(rows: Sequence[Utterance], key: Callable[[Utterance], str | None]) -> dict[str, str]:
    """Each value of ``key`` with the first id, by name, that has it: the order of the rows must not change a certificate."""
    ids: dict[str, str] = {}
    for row in rows:
        value = key(row)
        if value is not None and row.id <= ids.get(value, row.id):
            ids[value] = row.id
    return ids


def _shared(kind: str, sides: Pair, found: Sequence[str], verdict: Verdict) -> list[Finding]:
    """What nobody has to look into is only counted: certificates do not spread ids of corpora that must be asked for."""
    return [
        finding if verdict == "fails" else replace(finding, examples=()) for finding in _finding(kind, sides, found, verdict)
    ]


def _finding(kind: str, sides: tuple[str, ...], found: Sequence[str], verdict: Verdict) -> list[Finding]:
    return [Finding(kind, sides, len(found), verdict, tuple(sorted(found)[:EXAMPLES]))] if found else []


def _compared(split: Split) -> list[Pair]:
    """Pairs of sides that must not share; validation needs no comparison where it is the test."""
    sides = ("train", "test") if _validates_on_test(split) else Split._fields
    return list(combinations(sides, 2))


def _validates_on_test(split: Split) -> bool:
    return bool(split.test) and {row.id for row in split.validation} == {row.id for row in split.test}


def _content(row: Utterance, sound: Sound) -> str:
    return "+".join((sound.content[utterance_of(row)], *(row.variant if isinstance(row, Row) else ())))


def _counts(rows: Sequence[Utterance], labels: Sequence[str]) -> Report:
    return {**_size(rows), "classes": {label: _size([row for row in rows if row.label == label]) for label in labels}}


def _size(rows: Sequence[Utterance]) -> dict[str, int]:
    return {"utterances": len(rows), "speakers": len({row.speaker for row in rows})}


def _hours(rows: Sequence[Utterance], sound: Sound) -> float:
    return round(math.fsum(sound.seconds[utterance_of(row)] for row in rows) / 3600, 4)


def _heard(sound: Sound) -> Report:
    return {
        "utterances": len(sound.content),
        "hours": round(math.fsum(sound.seconds.values()) / 3600, 4),
        "identical": sound.identical,
        "near_duplicates": sorted(sorted(copy[:2]) for copy in sound.copies),
        "too_short_for_near_duplicates": sound.short,
        "unreadable": sorted(sound.bad),
    }


def _rule(protocol: Protocol) -> Report:
    return {
        "name": protocol.name,
        "version": protocol.version,
        "hash": protocol.hash,
        "world": protocol.world,
        "declared_leaks": protocol.declared_leaks,
        "texts_apart": protocol.texts_apart,
    }


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _lines(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line number, name, fold and side of each line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or []
            name = next((column for column in ("id", "path") if column in columns), None)
            if name is None or "side" not in columns:
                raise ProtocolError(
                    f"{path}: its columns are {', '.join(columns) or 'none'}. Expected id or path, side, and where there are "
                    "several folds fold, separated by commas, with these names in the first line."
                )
            for row in table:
                line, side = table.line_num, SIDES.get((row["side"] or "").strip().lower())
                if side is None or not row[name]:
                    raise ProtocolError(
                        f"{path}, line {line}: {name} {row[name]!r} with side {row['side']!r}. Expected a name, and train, "
                        "validation (val, dev) or test."
                    )
                yield line, cast(str, row[name]).strip(), (row.get("fold") or "1").strip(), side
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProtocolError(f"Cannot read the split {path}: {error}. Expected a CSV file in UTF-8.") from error


def _names(release: Sequence[Utterance], root: Path) -> dict[str, list[str]]:
    """What an utterance may be called in somebody's split -> ids of all that are called so."""
    names: dict[str, list[str]] = {row.id: [row.id] for row in release}
    for row in release:
        for name in {row.path.as_posix(), row.path.absolute().as_posix(), _relative(row.path, root), row.path.name}:
            ids = names.setdefault(name, [])
            if row.id not in ids:
                ids.append(row.id)
    return names


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _once(
    sides: Mapping[str, Sequence[Utterance]], wanted: set[str], strange: Counter[str]
) -> tuple[Split, tuple[Finding, ...]]:
    """The sides with each row once, and what the reading has found."""
    unique = {side: {row.id: row for row in rows} for side, rows in sides.items()}
    twice = [key for rows in sides.values() for key, count in Counter(row.id for row in rows).items() if count > 1]
    placed = {utterance_of(row) for rows in sides.values() for row in rows}
    every = tuple(Split._fields)
    others = strange.pop("", 0)
    findings = [
        *_finding("unknown utterance", every, sorted(strange), "fails"),
        *([Finding("utterance that is left out", every, others, "note", ())] if others else []),
        *_finding("utterance listed twice on a side", every, twice, "note"),
        *_finding("utterance on no side", every, sorted(wanted - placed), "note"),
    ]
    return Split(**{side: list(rows.values()) for side, rows in unique.items()}), tuple(findings)
