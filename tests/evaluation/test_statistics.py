from __future__ import annotations

import json
import sys
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from ser_zoo.errors import RunError, SERZooError
from ser_zoo.evaluation import Predicted, statistics
from ser_zoo.evaluation.statistics import (
    Comparison,
    Counts,
    bootstrap_interval,
    compare_confusions,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_confusions,
    scores,
    seed_spread,
    speaker_confusions,
    spread,
    verdict,
    wilcoxon_holm,
)


def predictions(
    right: float = 0.7, speakers: int = 8, utterances: int = 12, classes: int = 3, seed: int = 0, labels_seed: int = 7
) -> Predicted:
    """Of a model that is right so often; the utterances are the same for every ``right`` and ``seed``."""
    count = speakers * utterances
    labels = np.random.default_rng(labels_seed).integers(0, classes, count)
    rng = np.random.default_rng(seed)
    predicted = np.where(rng.random(count) < right, labels, rng.integers(0, classes, count))
    names = [f"s{index // utterances}" for index in range(count)]
    genders = ["female" if index // utterances % 2 else "male" for index in range(count)]
    return Predicted([f"u{index:03}" for index in range(count)], names, genders, labels, np.eye(classes)[predicted])


def shuffled(predicted: Predicted) -> Predicted:
    order = np.random.default_rng(3).permutation(len(predicted.ids))
    texts = ([column[index] for index in order] for column in predicted[:3])
    return Predicted(*texts, predicted.labels[order], predicted.probabilities[order])


def confusions(predicted: Predicted) -> Counts:
    classes = predicted.probabilities.shape[1]
    return speaker_confusions(predicted.labels, predicted.probabilities.argmax(1), predicted.speakers, classes)


def single(predicted: Predicted) -> Counts:
    """Every utterance as a cluster of its own."""
    classes = predicted.probabilities.shape[1]
    return speaker_confusions(predicted.labels, predicted.probabilities.argmax(1), predicted.ids, classes)


def comparison(low: float | None, high: float | None, p: float = 0.001) -> Comparison:
    return Comparison(0.0, low, high, 10, 0, None, p)


# Confusion matrices


def test_there_is_one_matrix_per_speaker_in_sorted_order() -> None:
    labels, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
    found = speaker_confusions(labels, predicted, ["b", "a", "b", "b"], 2)
    assert found.tolist() == [[[0, 0], [0, 1]], [[1, 1], [1, 0]]]


def test_predictions_without_speakers_are_refused() -> None:
    with pytest.raises(RunError, match="1 of 2 predictions do not say who speaks"):
        speaker_confusions(np.array([0, 1]), np.array([0, 1]), ["a", ""], 2)


def test_scores_of_stacked_matrices_are_those_of_scikit_learn() -> None:
    sides = [predictions(right, classes=4, seed=seed, labels_seed=seed) for seed, right in enumerate((0.2, 0.5, 0.9))]
    found = scores(np.stack([confusions(side).sum(0) for side in sides]))
    for index, side in enumerate(sides):
        predicted = side.probabilities.argmax(1)
        assert found["wa"][index] == pytest.approx(sklearn.metrics.accuracy_score(side.labels, predicted))
        assert found["ua"][index] == pytest.approx(sklearn.metrics.balanced_accuracy_score(side.labels, predicted))
        assert found["macro_f1"][index] == pytest.approx(sklearn.metrics.f1_score(side.labels, predicted, average="macro"))


# The bootstrap


def of_scipy(columns: tuple[np.ndarray, ...], statistic, resamples: int, seed: int) -> tuple[float, float]:
    interval = scipy.stats.bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return interval.low, interval.high


SCIKIT_LEARN = {
    "wa": sklearn.metrics.accuracy_score,
    "ua": sklearn.metrics.balanced_accuracy_score,
    "macro_f1": lambda labels, predicted: sklearn.metrics.f1_score(labels, predicted, average="macro"),
}


@pytest.mark.parametrize("metric", SCIKIT_LEARN)
def test_with_every_utterance_its_own_cluster_the_interval_is_exactly_scipys(metric: str) -> None:
    side = predictions()
    found = bootstrap_interval(single(side), resamples=60, seed=5)[metric]
    # The clusters are sorted by id, as the utterances are, so that the same indices draw the same utterances.
    columns = side.labels, side.probabilities.argmax(1)
    assert (found.low, found.high) == pytest.approx(of_scipy(columns, SCIKIT_LEARN[metric], 60, 5), abs=1e-11)
    assert found.value == pytest.approx(SCIKIT_LEARN[metric](*columns))


def test_speakers_are_drawn_whole_as_scipy_draws_them() -> None:
    stack = confusions(predictions())
    found = bootstrap_interval(stack, resamples=300, seed=1)["ua"]
    low, high = of_scipy((np.arange(len(stack)),), lambda drawn: float(scores(stack[drawn].sum(0))["ua"]), 300, 1)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-11)


def test_drawing_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (confusions(predictions(right, speakers=15)) for right in (0.6, 0.7))
    whole = bootstrap_interval(one, resamples=101), compare_confusions(one, other, resamples=101)
    monkeypatch.setattr(statistics, "DRAWN_AT_ONCE", 100)  # six resamples at once
    assert (bootstrap_interval(one, resamples=101), compare_confusions(one, other, resamples=101)) == whole


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly_the_same() -> None:
    stack = confusions(predictions(speakers=30))
    first, again, other = (bootstrap_interval(stack, seed=seed)["macro_f1"] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.01)


def test_speakers_who_differ_widen_the_interval_beyond_that_of_utterances() -> None:
    side = predictions(speakers=20)
    good = np.arange(len(side.ids)) // 12 % 2 == 0  # every other speaker is understood always, the rest never
    side = side._replace(probabilities=np.eye(3)[np.where(good, side.labels, (side.labels + 1) % 3)])
    by_speaker, by_utterance = (bootstrap_interval(stack, 2000)["wa"] for stack in (confusions(side), single(side)))
    assert by_speaker.value == by_utterance.value == 0.5
    assert by_speaker.high - by_speaker.low > 3 * (by_utterance.high - by_utterance.low)


def test_with_one_speaker_there_is_no_interval_and_it_is_said_why() -> None:
    found = bootstrap_interval(confusions(predictions(speakers=1)))["ua"]
    assert (found.low, found.high) == (None, None)
    assert found.note is not None
    assert "one speaker" in found.note


def test_an_interval_of_few_speakers_says_that_it_is_too_narrow() -> None:
    few, enough = (bootstrap_interval(confusions(predictions(speakers=count)), 100)["ua"].note for count in (19, 20))
    assert few is not None
    assert "19 speakers" in few
    assert enough is None


def test_resamples_without_a_class_are_counted_and_average_the_other_classes() -> None:
    # Only the first speaker has class 2; both others are never drawn together with it in many resamples.
    stack = np.zeros((3, 3, 3), np.int64)
    stack[:, 0, 0], stack[:, 1, 1], stack[0, 2, 0] = 4, 4, 4
    found = bootstrap_interval(stack, resamples=4000)["ua"]
    assert found.lacking / 4000 == pytest.approx((2 / 3) ** 3, abs=0.03)  # the first speaker is drawn in no draw of three
    assert found.value == pytest.approx(2 / 3)
    assert found.high == 1.0
    assert found.low == pytest.approx(2 / 3)


def test_a_class_that_the_test_has_not_is_not_lacking() -> None:
    stack = np.zeros((4, 3, 3), np.int64)
    stack[:, 0, 0], stack[:, 1, 2] = 3, 3
    assert bootstrap_interval(stack, 100)["ua"].lacking == 0


# Comparing two models


def test_models_are_joined_by_id_and_not_by_position() -> None:
    one, other = predictions(0.8), predictions(0.5, seed=1)
    assert paired_bootstrap(one, shuffled(other), 200) == paired_bootstrap(shuffled(one), other, 200)
    assert mcnemar(one, shuffled(other)) == mcnemar(one, other)


def test_the_difference_is_the_first_models_value_minus_the_seconds() -> None:
    one, other = predictions(0.8), predictions(0.5, seed=1)
    found, back = paired_bootstrap(one, other, 500), paired_bootstrap(other, one, 500)
    for name, metric in SCIKIT_LEARN.items():
        values = [metric(side.labels, side.probabilities.argmax(1)) for side in (one, other)]
        assert found[name].value == pytest.approx(values[0] - values[1])
        assert (found[name].low, found[name].high) == pytest.approx((-back[name].high, -back[name].low))
        assert found[name].p == back[name].p


def test_the_interval_of_a_difference_is_scipys_paired_one() -> None:
    one, other = paired_confusions(predictions(0.8), predictions(0.5, seed=1))
    found = compare_confusions(one, other, 300, seed=2)["ua"]

    def difference(drawn: np.ndarray) -> float:
        return float(scores(one[drawn].sum(0))["ua"] - scores(other[drawn].sum(0))["ua"])

    assert (found.low, found.high) == pytest.approx(of_scipy((np.arange(len(one)),), difference, 300, 2), abs=1e-11)


@pytest.mark.parametrize(("right", "seed"), [(0.8, 0), (0.6, 1), (0.5, 2)])
def test_p_is_that_of_scipys_test_over_all_swaps(right: float, seed: int) -> None:
    one, other = paired_confusions(predictions(0.5, seed=9), predictions(right, seed=seed))

    def difference(first: np.ndarray, second: np.ndarray) -> float:
        stack = np.concatenate([one, other])
        ours, theirs = (scores(stack[chosen].sum(0))["ua"] for chosen in (first, second))
        return float(ours - theirs)

    members = np.arange(8), np.arange(8, 16)
    oracle = scipy.stats.permutation_test(
        members, difference, permutation_type="samples", n_resamples=np.inf, vectorized=False
    ).pvalue
    assert compare_confusions(one, other)["ua"].p == pytest.approx(oracle)


def test_random_swaps_come_near_to_all_swaps() -> None:
    one, other = paired_confusions(predictions(0.6, speakers=10), predictions(0.5, speakers=10, seed=1))
    every, some = (compare_confusions(one, other, resamples)["macro_f1"].p for resamples in (1024, 1023))
    assert every != some
    assert some == pytest.approx(every, abs=0.05)


@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_all_swaps_of_up_to_forty_speakers_count_in_wa_and_ua(metric: str) -> None:
    few = paired_confusions(predictions(0.6, speakers=11), predictions(0.5, speakers=11, seed=1))
    swaps = np.arange(2**11)[:, None] >> np.arange(11) & 1
    moved = np.tensordot(swaps, few[1] - few[0], 1)
    differences = scores(few[0].sum(0) + moved)[metric] - scores(few[1].sum(0) - moved)[metric]
    oracle = (np.abs(differences).round(12) >= abs(differences[0]).round(12)).mean()
    assert compare_confusions(*few, resamples=10)[metric].p == pytest.approx(oracle, abs=1e-15)
    one, other = (predictions(right, speakers=24, seed=seed) for right, seed in ((0.6, 0), (0.5, 1)))
    drawn = {paired_bootstrap(one, other, 50, seed)[metric].p for seed in range(3)}
    assert len(drawn) == 1


def test_p_is_never_zero() -> None:
    found = paired_bootstrap(predictions(1.0, speakers=24), predictions(0.1, speakers=24), resamples=99)
    assert found["macro_f1"].p == 1 / 100
    assert found["ua"].p == 2 / 2**24


def test_equal_models_do_not_differ() -> None:
    found = paired_bootstrap(predictions(), predictions(), 200)["ua"]
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert verdict(found) == "no difference shown"


def test_fewer_than_six_speakers_show_nothing_and_six_can() -> None:
    verdicts = [
        verdict(paired_bootstrap(predictions(1.0, speakers=count), predictions(0.0, speakers=count))["ua"])
        for count in (1, 2, 5, 6)
    ]
    assert verdicts == ["no difference shown"] * 3 + ["better"]


def test_one_speaker_gives_a_difference_without_interval() -> None:
    found = paired_bootstrap(predictions(1.0, speakers=1), predictions(0.0, speakers=1))["ua"]
    assert (found.low, found.high, found.p) == (None, None, 1.0)
    assert found.value > 0.5


def test_seeds_that_are_summed_give_the_difference_of_their_means() -> None:
    pairs = [paired_confusions(predictions(0.8, seed=seed), predictions(0.6, seed=seed + 10)) for seed in range(3)]
    each = [compare_confusions(*pair, resamples=10)["ua"].value for pair in pairs]
    one, other = (sum(pair[side] for pair in pairs) for side in (0, 1))
    assert compare_confusions(one, other, resamples=10)["ua"].value == pytest.approx(np.mean(each))


def test_ids_that_differ_are_named() -> None:
    one = predictions()
    other = one._replace(ids=[*one.ids[:-2], "x", "y"])
    with pytest.raises(
        RunError, match=r"2 utterances \(u094, u095\) only in the first, 2 utterances \(x, y\) only in the second"
    ):
        paired_bootstrap(one, other)
    with pytest.raises(RunError, match="not tested on the same utterances"):
        mcnemar(one, other)


def test_many_differing_ids_are_counted_and_the_first_named() -> None:
    one = predictions()
    with pytest.raises(RunError, match=r"96 utterances \(u000, u001, u002, u003, u004 \.\.\.\)"):
        paired_bootstrap(one, one._replace(ids=[f"x{key}" for key in one.ids]))


def test_an_utterance_that_comes_twice_is_named() -> None:
    one = predictions()
    with pytest.raises(RunError, match=r"second model's predictions hold 1 utterance \(u000\) more than once"):
        paired_bootstrap(one, one._replace(ids=[*one.ids[:-1], "u000"]))


@pytest.mark.parametrize("column", ["labels", "speakers"])
def test_another_label_or_speaker_of_the_same_id_is_named(column: str) -> None:
    one = predictions()
    changed = {"labels": np.r_[(one.labels[0] + 1) % 3, one.labels[1:]], "speakers": ["somebody", *one.speakers[1:]]}
    with pytest.raises(RunError, match=r"another label or speaker for 1 utterance \(u000\)"):
        paired_bootstrap(one, one._replace(**{column: changed[column]}))


def test_models_of_other_tasks_are_not_compared() -> None:
    with pytest.raises(RunError, match="3 classes and the second 4"):
        paired_bootstrap(predictions(), predictions(classes=4, labels_seed=7))


@pytest.mark.parametrize(
    ("found", "p", "expected"),
    [
        (comparison(0.01, 0.05), None, "better"),
        (comparison(-0.05, -0.01), None, "worse"),
        (comparison(-0.01, 0.05), None, "no difference shown"),
        (comparison(0.0, 0.05), None, "no difference shown"),
        (comparison(0.01, 0.05, p=0.06), None, "no difference shown"),
        (comparison(0.01, 0.05, p=0.01), 0.06, "no difference shown"),
        (comparison(None, None, p=0.001), None, "no difference shown"),
    ],
)
def test_a_win_needs_an_interval_without_zero_and_a_small_corrected_p(
    found: Comparison, p: float | None, expected: str
) -> None:
    assert verdict(found, p) == expected


# McNemar


def with_table(only_one: int, only_other: int, both: int = 5) -> tuple[Predicted, Predicted]:
    one = predictions(1.0, speakers=1, utterances=only_one + only_other + both)
    wrong = np.eye(3)[(one.labels + 1) % 3]
    first, second = one.probabilities.copy(), one.probabilities.copy()
    second[:only_one] = wrong[:only_one]
    first[only_one : only_one + only_other] = wrong[only_one : only_one + only_other]
    return one._replace(probabilities=first), one._replace(probabilities=second)


@pytest.mark.parametrize(("only_one", "only_other"), [(0, 1), (3, 0), (4, 4), (12, 3), (40, 61), (900, 1000)])
def test_mcnemar_is_that_of_statsmodels_and_of_the_binomial_distribution(only_one: int, only_other: int) -> None:
    found = mcnemar(*with_table(only_one, only_other))
    assert (found.only_one, found.only_other) == (only_one, only_other)
    assert found.p == pytest.approx(statsmodels_mcnemar([[5, only_one], [only_other, 0]], exact=True).pvalue)
    assert found.p == pytest.approx(scipy.stats.binomtest(only_one, only_one + only_other).pvalue)
    # Mid-p: the tail without half of the observed point, on both sides.
    fewer, total = min(only_one, only_other), only_one + only_other
    half = scipy.stats.binom.cdf(fewer, total, 0.5) - scipy.stats.binom.pmf(fewer, total, 0.5) / 2
    assert found.mid_p == pytest.approx(min(2 * half, 1 - scipy.stats.binom.pmf(fewer, total, 0.5) / 2))


def test_models_that_never_differ_have_p_one() -> None:
    found = mcnemar(predictions(), predictions())
    assert (found.only_one, found.only_other, found.p) == (0, 0, 1)


# Wilcoxon and Holm

KEYS = [(corpus, seed) for corpus in ("emo_db", "ravdess", "savee", "tess") for seed in (1, 2, 3)]


def values_of(shift: float, seed: int) -> dict[tuple[str, int], float]:
    rng = np.random.default_rng(seed)
    return {key: 0.6 + shift + 0.05 * float(rng.normal()) for key in KEYS}


def test_wilcoxon_and_holm_are_those_of_scipy_and_statsmodels() -> None:
    values = {name: values_of(shift, seed) for seed, (name, shift) in enumerate([("a", 0.0), ("b", 0.02), ("c", 0.2)])}
    rows = wilcoxon_holm(values)
    assert [(row.one, row.other) for row in rows] == list(combinations("abc", 2))
    oracle = [
        scipy.stats.wilcoxon([values[one][key] for key in KEYS], [values[other][key] for key in KEYS]).pvalue
        for one, other in combinations("abc", 2)
    ]
    assert [row.p for row in rows] == pytest.approx(oracle)
    assert [row.adjusted for row in rows] == pytest.approx(multipletests(oracle, method="holm")[1])
    assert {(row.pairs, row.corpora, row.unpaired, row.note) for row in rows} == {(12, 4, 0, None)}
    assert rows[1].median < 0


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(7) ** 3
    p_values[2] = p_values[4]
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_nothing_to_correct_is_corrected_to_nothing() -> None:
    assert holm([]) == []


def test_too_few_pairs_have_no_p_and_do_not_count_in_the_correction() -> None:
    values = {"a": values_of(0, 0), "b": values_of(0.2, 1), "c": dict.fromkeys(KEYS[:5], 0.5)}
    rows = {(row.one, row.other): row for row in wilcoxon_holm(values)}
    few, enough = rows["a", "c"], rows["a", "b"]
    assert (few.pairs, few.unpaired, few.p, few.adjusted) == (5, 7, None, None)
    assert few.note is not None
    assert "5 pairs" in few.note
    assert enough.adjusted == enough.p


def test_models_without_a_common_corpus_have_no_pairs() -> None:
    (row,) = wilcoxon_holm({"a": {("emo_db", 1): 0.5}, "b": {("ravdess", 1): 0.5}})
    assert (row.pairs, row.corpora, row.unpaired, row.median, row.p) == (0, 0, 2, None, None)


def test_equal_models_have_p_one() -> None:
    (row,) = wilcoxon_holm({"a": values_of(0, 0), "b": values_of(0, 0)})
    assert (row.p, row.adjusted, row.median) == (1, 1, 0)


def test_ties_that_floats_would_break_are_ties() -> None:
    steps = dict(zip(KEYS, (1, 1, 1, 2, -1, 1, -2, 1), strict=False))
    base = {key: 0.1 * index for index, key in enumerate(steps)}
    (row,) = wilcoxon_holm({"a": {key: base[key] + 0.1 * step for key, step in steps.items()}, "b": base})
    assert row.p == pytest.approx(scipy.stats.wilcoxon(list(steps.values())).pvalue)


def test_few_pairs_that_differ_show_nothing_however_many_do_not() -> None:
    keys = [(f"corpus{number}", 1) for number in range(14)]
    (row,) = wilcoxon_holm(
        {"a": {key: 0.5 + 0.01 * max(0, place - 8) for place, key in enumerate(keys)}, "b": dict.fromkeys(keys, 0.5)}
    )
    assert row.p == 2 / 2**5


def test_without_scipy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(SERZooError, match=r"pip install 'ser-zoo\[report\]'"):
        wilcoxon_holm({})


# Spread


def test_the_worst_speaker_is_found_and_those_with_few_utterances_are_set_apart() -> None:
    labels = np.array([0, 1] * 6 + [0, 1])
    predicted = np.array([0, 1] * 3 + [0, 0] * 3 + [1, 0])
    speakers = ["good"] * 6 + ["half"] * 6 + ["rare"] * 2
    side = Predicted([str(index) for index in range(14)], speakers, [""] * 14, labels, np.eye(2)[predicted])
    found = spread(side, ["x", "y"], minimum=6)
    assert [(person.speaker, person.ua, person.utterances) for person in found.speakers] == [
        ("rare", 0.0, 2),
        ("half", 0.5, 6),
        ("good", 1.0, 6),
    ]
    assert found.worst is not None
    assert found.worst.speaker == "half"
    assert found.deviation == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert (found.minimum, found.too_few) == (6, 1)
    assert found.recalls == {"x": pytest.approx(6 / 7), "y": pytest.approx(3 / 7)}


def test_genders_have_their_own_ua_and_interval() -> None:
    side = predictions(speakers=10)
    found = spread(side, ["x", "y", "z"])
    for gender, interval in found.genders.items():
        chosen = [own == gender for own in side.genders]
        predicted = side.probabilities.argmax(1)
        assert interval.value == pytest.approx(sklearn.metrics.balanced_accuracy_score(side.labels[chosen], predicted[chosen]))
        assert interval.speakers == 5
        assert interval.low <= interval.value <= interval.high
    assert list(found.genders) == ["female", "male"]


def test_speakers_of_unknown_gender_stand_apart() -> None:
    side = predictions(speakers=4)
    genders = ["" if name == "s0" else "female" for name in side.speakers]
    found = spread(side._replace(genders=genders), ["x", "y", "z"]).genders
    assert list(found) == ["female", "unknown"]
    assert (found["unknown"].speakers, found["unknown"].low) == (1, None)


def test_a_speaker_with_two_genders_is_an_error() -> None:
    side = predictions()
    with pytest.raises(RunError, match="Speaker s0 is female in one prediction and male in another"):
        spread(side._replace(genders=["female", *side.genders[1:]]), ["x", "y", "z"])


def test_a_label_without_support_has_no_recall() -> None:
    side = predictions(utterances=9, speakers=1)
    side = side._replace(probabilities=np.pad(side.probabilities, ((0, 0), (0, 1))))
    found = spread(side, ["x", "y", "z", "never"])
    assert found.recalls["never"] is None
    assert (found.worst, found.deviation, found.too_few) == (None, None, 1)


def row(seed: int, fold: int, right: int, wrong: int) -> dict:
    return {"seed": seed, "fold": fold, "metrics": {"confusion": [[right, wrong], [0, 10]]}}


def test_seeds_and_folds_spread_separately() -> None:
    rows = [row(1, 1, 10, 0), row(1, 2, 0, 10), row(2, 1, 8, 2), row(2, 2, 0, 10)]
    found = seed_spread(rows)
    seeds, folds = found.over_seeds["ua"], found.over_folds["ua"]
    assert (seeds.mean, seeds.deviation, seeds.count) == pytest.approx((0.725, np.std([0.75, 0.7], ddof=1), 2))
    assert (folds.mean, folds.deviation, folds.count) == pytest.approx((0.725, np.std([0.95, 0.5], ddof=1), 2))


def test_one_seed_has_no_deviation() -> None:
    found = seed_spread([row(1, 1, 10, 0), row(1, 2, 0, 10)])
    assert found.over_seeds["wa"].deviation is None
    assert found.over_folds["wa"].deviation is not None


def test_seeds_of_other_folds_are_not_compared() -> None:
    with pytest.raises(RunError, match="Seeds 1 and 2 do not have the same folds: only one of them has fold 2"):
        seed_spread([row(1, 1, 1, 1), row(1, 2, 1, 1), row(2, 1, 1, 1)])


def test_a_fold_that_comes_twice_is_refused() -> None:
    with pytest.raises(RunError, match="Fold 1 of seed 1 came twice"):
        seed_spread([row(1, 1, 1, 1), row(1, 1, 1, 1)])


# The benchmark that measures how often all this is right


def test_the_benchmark_writes_rates_and_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    intervals = import_module("intervals")
    monkeypatch.setattr(intervals, "SPEAKERS", (2, 30))
    monkeypatch.setattr(sys, "argv", ["intervals", "--trials", "2", "--output", str(tmp_path / "intervals.json")])
    intervals.main()
    written = json.loads((tmp_path / "intervals.json").read_text())
    assert set(written["speakers"]["2"]) - set(written["speakers"]["30"]) == {"coverage_utterances"}
    assert all(0 <= rate <= 1 for rates in written["speakers"].values() for rate in rates.values())
    assert written["speakers"]["2"]["verdict"] == 0
    assert set(written["seconds"]) == {"interval", "comparison"}
