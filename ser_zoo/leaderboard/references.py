"""What others published: figures to stand beside ours, and what the founding papers claim. The data are in ``references.yaml``.

A figure of ``figures`` says of what ``source``, ``corpus`` and number of ``classes`` it is (null: not stated), under which
``split``, whether test speakers train too (``speaker_dependent``, null: not stated), whether it is ``comparable`` with a row of
an honest protocol here (``partly`` or ``no``) and ``why``; ``values`` has a list per model in the order of ``metrics``. A claim
has the ``figures`` of a paper that an architecture here goes back to, each with the ``protocol`` that repeats how it came about
where there is one, and the ``leaks`` of that. ``read`` says what of a source was at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

METRICS = ("wa", "ua", "macro_f1")


@dataclass(frozen=True)
class Source:
    """Where a figure was read.

    Attributes:
        paper: authors or name, and where it appeared.
        read: what of it was at hand.
        url: of the paper or of the data file; None where neither was at hand.
    """

    paper: str
    read: str
    url: str | None


@dataclass(frozen=True)
class Reference:
    """A published figure.

    Attributes:
        model: as its source calls it.
        corpus: name here.
        classes: how many were told apart; None where the source does not say.
        scores: percent by ``wa``, ``ua`` and ``macro_f1``; None for what was not published.
        head: how the model was trained on the corpus.
        split: the rule that chose the test utterances.
        speaker_dependent: whether test speakers train too; None where the source does not say.
        comparable: with a row of an honest protocol here.
        why: of ``comparable``.
        source: where it was read.
    """

    model: str
    corpus: str
    classes: int | None
    scores: dict[str, float | None]
    head: str
    split: str
    speaker_dependent: bool | None
    comparable: Literal["partly", "no"]
    why: str
    source: Source


@dataclass(frozen=True)
class Figure:
    """A figure that a paper claims for its model, in percent.

    Attributes:
        corpus: name here.
        classes: how many were told apart.
        metric: of ``METRICS``.
        value: percent.
        split: tells two of the same corpus apart.
        protocol: that repeats how it came about; empty where that is not known.
    """

    corpus: str
    classes: int
    metric: str
    value: float
    split: str = ""
    protocol: str = ""


@dataclass(frozen=True)
class Claim:
    """What the paper that an architecture goes back to claims.

    Attributes:
        model: name of the architecture here.
        source: the paper.
        figures: empty where it names none that could be read.
        leaks: how the figures came about, a sentence each.
    """

    model: str
    source: Source
    figures: tuple[Figure, ...]
    leaks: tuple[str, ...]

    def repeated_by(self, protocol: str) -> bool:
        """Whether a protocol of this name repeats the paper's rule, or one of several that its code has."""
        return f"{protocol}_".startswith(f"as_{self.model}_")


@cache
def references() -> tuple[Reference, ...]:
    """All figures, in the order of the file."""
    content = _content()
    sources = {name: Source(**source) for name, source in content["sources"].items()}
    found = []
    for figure in content["figures"]:
        metrics, values, source = figure.pop("metrics"), figure.pop("values"), sources[figure.pop("source")]
        for model, printed in values.items():
            scores = dict.fromkeys(METRICS) | dict(zip(metrics, printed, strict=True))
            found.append(Reference(model=model, scores=scores, source=source, **figure))
    return tuple(found)


@cache
def claims() -> tuple[Claim, ...]:
    """The claims of the founding papers, in the order of the file."""
    return tuple(
        Claim(
            claim["model"],
            Source(claim["paper"], claim["read"], claim["url"]),
            tuple(Figure(**figure) for figure in claim["figures"]),
            tuple(claim["leaks"]),
        )
        for claim in _content()["claims"]
    )


def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return content
