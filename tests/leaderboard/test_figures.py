"""The pictures of the page: that they show the values that they were given, and stand beside each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ser_zoo.evaluation.calibration import Reliability
from ser_zoo.leaderboard import figures
from ser_zoo.leaderboard.figures import COLOURS, Point, learning_curves, pareto, reliability, robustness

pytest.importorskip("matplotlib")

BEFORE = Reliability(np.array([0, 3, 1]), np.array([np.nan, 0.5, 0.9]), np.array([np.nan, 0.25, 1.0]))
AFTER = Reliability(np.array([2, 2, 0]), np.array([0.2, 0.4, np.nan]), np.array([0.1, 0.5, np.nan]))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of each figure that is written, panel by panel."""
    axes: list[Any] = []
    write = figures._svg

    def keep(figure: Any, key: str, title: str) -> str:
        axes.extend(figure.axes)
        return write(figure, key, title)

    monkeypatch.setattr(figures, "_svg", keep)
    return axes


def points_of(line: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def lines_of(axes: Any, colour: str) -> list[list[tuple[float, float]]]:
    return [points_of(line) for line in axes.lines if line.get_color() == colour]


def point(name: str, cost: float, value: float, width: float | None = None) -> Point:
    return Point(cost, value, None if width is None else value - width, None if width is None else value + width, name)


def places_of(axes: Any) -> dict[str, float]:
    """How high the name of each model stands."""
    return {text.get_text(): text.xyann[1] for text in axes.texts}


def test_reliability_is_accuracy_over_confidence_before_and_after(drawn: list[Any]) -> None:
    reliability(BEFORE, AFTER, "r")
    (axes,) = drawn
    assert lines_of(axes, figures.MAIN) == [[(50, 25), (90, 100)]]
    assert lines_of(axes, figures.SECOND) == [[(20, pytest.approx(10)), (40, 50)]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["as trained", "at temperature"]
    first, second = (dots.get_sizes().tolist() for dots in axes.collections)
    assert first[0] > first[1]
    assert second[0] == second[1]


def test_without_a_temperature_reliability_is_of_the_network_alone(drawn: list[Any]) -> None:
    reliability(BEFORE, None, "r")
    (axes,) = drawn
    assert lines_of(axes, figures.SECOND) == []
    assert axes.get_legend() is None


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)])
def test_the_step_joins_what_nothing_as_cheap_beats(order: Sequence[int], drawn: list[Any]) -> None:
    models = [point("a", 10, 50), point("b", 10, 60), point("c", 100, 60), point("d", 1000, 70), point("e", 2000, 65)]
    pareto([models[number] for number in order], "parameters", "p")
    (axes,) = drawn
    (front,) = (line for line in axes.lines if line.get_color() == figures.INK)
    assert points_of(front) == [(10, 60), (1000, 70)]
    assert front.get_drawstyle() == "steps-post"
    assert axes.get_xscale() == "log"


def test_a_model_is_drawn_with_its_whole_interval_inside_the_picture(drawn: list[Any]) -> None:
    pareto([point("a", 10, 50, 8), point("b", 100, 60)], "parameters", "p")
    (axes,) = drawn
    assert lines_of(axes, COLOURS[1]) == [[(10, 42), (10, 58)], [(10, 50)]]
    assert lines_of(axes, COLOURS[0]) == [[(100, 60)]]
    low, high = axes.get_ylim()
    assert low < 42
    assert high > 60
    left, right = axes.get_xlim()
    assert left < 10 < 100 < right


@pytest.mark.parametrize("values", [(60.0, 60.0, 60.0), (90.0, 50.0, 50.0, 50.0), (90.0, 90.0, 90.0, 50.0)])
def test_names_stand_apart_in_the_order_of_the_models(values: Sequence[float], drawn: list[Any]) -> None:
    pareto([point(f"m{number}", 10 + number, value) for number, value in enumerate(values)], "parameters", "p")
    (axes,) = drawn
    low, high = axes.get_ylim()
    places = places_of(axes)
    assert list(places) == sorted(places)
    heights = np.array(list(places.values()))
    assert (-np.diff(heights) > 0.99 * (high - low) / 12).all()
    assert low < heights.min() < heights.max() < high


def test_noise_grows_to_the_right_and_each_model_keeps_its_colour(drawn: list[Any]) -> None:
    curves = {"babble": {"b": [(0, 30.0), (20, 55.0), (10, 40.0)]}, "white noise": {"a": [(0, 20.0)], "b": [(0, 10.0)]}}
    robustness(curves, {"a": 70.0, "b": 60.0}, "n")
    babble, white = drawn
    assert [axes.get_title() for axes in drawn] == ["babble", "white noise"]
    levels, clean = lines_of(babble, COLOURS[1])
    assert levels == [(0, 30), (10, 40), (20, 55)]
    assert [value for _, value in clean] == [60, 60]
    assert [[value for _, value in line] for line in lines_of(white, COLOURS[0])] == [[20], [70, 70]]
    assert all(axes.xaxis_inverted() for axes in drawn)


def test_learning_curves_count_epochs_from_one_and_have_their_mean(drawn: list[Any]) -> None:
    of_loss = {"1": [(0, 2.0), (1, 1.0)], "2": [(0, 4.0)], "3": [(0, 9.0)]}
    learning_curves({name: {"train/loss": values, "val/ua": [(0, 0.25)]} for name, values in of_loss.items()}, "c")
    losses, scores = drawn
    *_, mean = lines_of(losses, figures.MAIN)
    assert lines_of(losses, figures.MAIN)[:1] == [[(1, 2), (2, 1)]]
    assert mean == [(1, 5), (2, 1)]
    assert lines_of(scores, figures.SECOND) == [[(1, 25)]] * 4


def test_pictures_of_one_page_share_no_id_and_refer_to_their_own() -> None:
    ids: list[set[str]] = []
    for key in ("one", "two"):
        text = reliability(BEFORE, AFTER, key)
        ids.append(set(re.findall(r'\bid="([^"]*)"', text)))
        referred = {*re.findall(r'href="#([^"]*)"', text), *re.findall(r"url\(#([^)]*)\)", text)}
        assert referred
        assert referred <= ids[-1]
    assert not ids[0] & ids[1]


def test_a_picture_says_what_it_is_and_nothing_of_when_it_was_made() -> None:
    text = pareto([point("a", 10, 50), point("b", 100, 60)], "parameters", "p")
    assert text == pareto([point("a", 10, 50), point("b", 100, 60)], "parameters", "p")
    assert 'role="img" aria-label="UA over parameters"' in text
    assert "<dc:date>" not in text
    assert ">a</text>" in text
