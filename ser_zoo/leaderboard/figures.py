"""The pictures of the page, drawn by matplotlib as SVG that stands inside HTML.

The same values give the same bytes. Text, axes and grid take the colour of the page's text, so that a picture reads on a light
and on a dark ground; the colours of the data are of middle lightness for the same reason. Markers tell models apart as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ser_zoo.evaluation.calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"  # replaced by the colour of the page's text; nothing else has it
# After Okabe & Ito, "Color Universal Design", 2008, with lightness moved to the middle.
COLOURS = ("#3388cc", "#d9822b", "#2a9d77", "#c65d9e", "#a38a00", "#d1553d", "#7a7fd0", "#4aa3b5")
MARKERS = "osD^vPX*"
MAIN, SECOND = COLOURS[:2]
NAMES = 3.7  # inches beside a picture for models with encoder and variant
REM_PER_INCH = 6.2  # of a picture in the page, which makes its text about as large as that of a table


class Point(NamedTuple):
    """A model in the Pareto picture: its cost, its UA in percent with the ends of its interval, its name."""

    cost: float
    value: float
    low: float | None
    high: float | None
    name: str


def reliability(before: Reliability, after: Reliability | None, key: str) -> str:
    """Accuracy over confidence, with the line on which both agree.

    Args:
        before: of the network's own probabilities.
        after: at the fitted temperature.
        key: tells this picture from all others of the page.
    """
    figure, axes = _figure(3.2, 3.0)
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=":")
    for bins, colour, marker, name in ((before, MAIN, "o", "as trained"), (after, SECOND, "s", "at temperature")):
        if bins is not None:
            filled = bins.counts > 0
            sizes = 12 + 80 * bins.counts[filled] / bins.counts.sum()
            axes.plot(100 * bins.confidence[filled], 100 * bins.accuracy[filled], color=colour, linewidth=1.2, alpha=0.8)
            axes.scatter(
                100 * bins.confidence[filled], 100 * bins.accuracy[filled], sizes, color=colour, marker=marker, label=name
            )
    axes.set(xlim=(0, 102), ylim=(0, 102), xlabel="confidence, %", ylabel="right, %")
    if after is not None:
        _legend(axes, loc="upper left")
    return _svg(figure, key, "Reliability: share of right answers over confidence")


def pareto(points: Sequence[Point], cost: str, key: str) -> str:
    """UA over what a model costs; the stepped line joins those that nothing cheaper beats.

    Args:
        points: one per model.
        cost: what the horizontal axis, which is logarithmic, shows.
        key: tells this picture from all others of the page.
    """
    ordered = sorted(points, key=lambda point: (-point.value, point.cost, point.name))
    figure, axes = _figure(9.0, max(3.2, 0.26 * len(ordered) + 0.8), right=NAMES)
    front = _front(ordered)
    axes.step([point.cost for point in front], [point.value for point in front], where="post", color=INK, lw=0.8, alpha=0.5)
    ends = [value for point in ordered for value in (point.value, point.low, point.high) if value is not None]
    low, high = min(ends), max(ends)
    margin = max(1.0, 0.05 * (high - low))
    costs = [point.cost for point in ordered]
    decades = 10.0 ** np.floor(np.log10(min(costs) / 1.2)), 10.0 ** np.ceil(np.log10(max(costs) * 1.2))
    axes.set(xscale="log", xlim=decades, ylim=(low - margin, high + margin), xlabel=cost, ylabel="UA, %")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    # Names stand in a column on the right, at equal distances where they would overlap.
    spacing = (high - low + 2 * margin) / max(len(ordered), 12)
    places = _apart([point.value for point in ordered], spacing, high + margin - spacing / 2, low - margin + spacing / 2)
    for number, (point, place) in enumerate(zip(ordered, places, strict=True)):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        if point.low is not None and point.high is not None:
            axes.plot([point.cost] * 2, [point.low, point.high], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot([point.cost], [point.value], marker, color=colour, markersize=7)
        axes.annotate(
            _plain(point.name),
            (point.cost, point.value),
            (1.04, place),
            textcoords=axes.get_yaxis_transform(),
            verticalalignment="center",
            color=INK,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7, "relpos": (0, 0.5)},
        )
    return _svg(figure, key, f"UA over {cost}")


def robustness(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], clean: Mapping[str, float], key: str) -> str:
    """UA over the signal-to-noise ratio, a panel per kind of noise; the dashed lines are what clean recordings give.

    Args:
        curves: noise -> model -> (level in dB, UA in percent), at least one of each.
        clean: model -> UA in percent.
        key: tells this picture from all others of the page.
    """
    figure, *panels = _figure(3.5 * len(curves) + NAMES, 3.2, len(curves), right=NAMES)
    models = list(clean)
    for axes, (noise, by_model) in zip(panels, curves.items(), strict=True):
        for model, values in by_model.items():
            number = models.index(model)
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            levels, scores = zip(*sorted(values), strict=True)
            axes.plot(levels, scores, marker=marker, color=colour, linewidth=1.4, label=_plain(model))
            axes.axhline(clean[model], color=colour, linewidth=0.8, linestyle="--")
        axes.invert_xaxis()
        axes.set(xlabel="signal to noise, dB", ylabel="UA, %", title=noise)
    _legend(panels[-1], loc="upper left", anchor=(1.02, 1.0))
    return _svg(figure, key, "UA under noise")


def learning_curves(runs: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], key: str) -> str:
    """Loss and validation UA over the epochs, a thin line per training and a thick one for the mean of those that still go on.

    Args:
        runs: run -> metric (``train/loss``, ``val/loss``, ``val/ua`` as a fraction) -> (epoch, value).
        key: tells this picture from all others of the page.
    """
    figure, losses, scores = _figure(7.0, 2.8, 2)
    drawn = (
        (losses, "train/loss", MAIN, "training", 1),
        (losses, "val/loss", SECOND, "validation", 1),
        (scores, "val/ua", SECOND, "validation", 100),
    )
    for axes, metric, colour, name, factor in drawn:
        by_epoch: dict[int, list[float]] = {}
        for metrics in runs.values():
            values = metrics.get(metric, ())
            points = [(epoch + 1, factor * value) for epoch, value in values]
            axes.plot([epoch for epoch, _ in points], [value for _, value in points], color=colour, linewidth=0.5, alpha=0.4)
            for epoch, value in points:
                by_epoch.setdefault(epoch, []).append(value)
        epochs = sorted(by_epoch)
        axes.plot(epochs, [np.mean(by_epoch[epoch]) for epoch in epochs], color=colour, linewidth=1.8, label=name)
    losses.set(xlabel="epoch", ylabel="loss")
    scores.set(xlabel="epoch", ylabel="UA of validation, %")
    _legend(losses, loc="upper right")
    return _svg(figure, key, "Learning curves")


def _figure(width: float, height: float, panels: int = 1, right: float = 0.1) -> tuple[Any, ...]:
    """A figure and its axes, (figure, axes, ...), sizes in inches; ``right`` of it is left free."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        # Not left to matplotlib, which would draw everything twice to find them.
        edges = {"left": 0.55 / width, "right": 1 - right / width, "bottom": 0.5 / height, "top": 1 - 0.3 / height}
        axes = figure.subplots(1, panels, squeeze=False, gridspec_kw={**edges, "wspace": 0.28})[0]
        for one in axes:
            one.grid(color=INK, alpha=0.15, linewidth=0.6)
    return figure, *axes


_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "font.size": 9,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: it can be read out, found and copied
    "svg.hashsalt": "ser-zoo",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def _svg(figure: Figure, key: str, title: str) -> str:
    """An ``<svg>`` element for HTML, its ids made unique by ``key``."""
    from matplotlib import rc_context

    text = StringIO()
    with rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # Groups are numbered by id, which is needed nowhere; what is referred to must not meet that of another picture.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = svg.replace('href="#', f'href="#{key}-').replace("url(#", f"url(#{key}-").replace("xlink:href", "href")
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace(INK, "currentColor")
    width = f"{REM_PER_INCH * figure.get_figwidth():.1f}rem"
    opening = rf'<svg \1 style="width: {width}" role="img" aria-label="{title}">'
    return re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", opening, svg, count=1)


def _legend(axes: Axes, loc: Literal["upper left", "upper right"], anchor: tuple[float, float] | None = None) -> None:
    axes.legend(loc=loc, bbox_to_anchor=anchor, fontsize=8, frameon=False, labelcolor=INK)


def _plain(name: str) -> str:
    """A name in which dollar signs are no formula."""
    return name.replace("$", r"\$")


def _front(points: Sequence[Point]) -> list[Point]:
    """Those that no cheaper or equally cheap one beats, by cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.value)):
        if not front or point.value > front[-1].value:
            front.append(point)
    return front


def _apart(values: Sequence[float], spacing: float, top: float, bottom: float) -> list[float]:
    """Falling values moved so that neighbours are at least ``spacing`` apart between ``top`` and ``bottom``."""
    places: list[float] = []
    for value in values:
        places.append(min(value, places[-1] - spacing if places else top))
    low = bottom
    for index in reversed(range(len(places))):
        places[index] = max(places[index], low)
        low = places[index] + spacing
    return places
