"""Tables from stored rows: what is one line, what is ranked, and what stands beside what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ser_zoo.errors import RunError
from ser_zoo.evaluation import calibration, pool, read_result
from ser_zoo.evaluation.statistics import Comparison
from ser_zoo.leaderboard import aggregate
from ser_zoo.leaderboard.aggregate import Cost
from ser_zoo.leaderboard.references import claims
from ser_zoo.leaderboard.results import read_entries
from tests.leaderboard.rows import PER_SPEAKER, write_curves, write_entry, write_profile, write_robustness


def tables(root: Path) -> list[aggregate.Table]:
    return aggregate.tables(read_entries(root))


def test_a_line_has_the_numbers_of_its_rows(tmp_path: Path) -> None:
    rows = [read_result(path) for path in write_entry(tmp_path)]
    line = tables(tmp_path)[0].lines[0]
    pooled = pool(rows)
    for name in ("wa", "ua", "macro_f1"):
        assert line.scores[name].value == pytest.approx(pooled["pooled"][name], abs=1e-12)
        assert line.moments.over_folds[name].mean == pytest.approx(pooled["mean"][name], abs=1e-7)
        assert line.moments.over_folds[name].deviation == pytest.approx(pooled["deviation"][name], abs=1e-7)
    assert line.confusion.tolist() == pooled["pooled"]["confusion"]
    assert line.minutes == pytest.approx(10 * 66 / 60)
    assert line.utterances == 10 * PER_SPEAKER
    worst = min(rows, key=lambda row: row["metrics"]["ua"])
    assert line.spread.worst is not None
    assert line.spread.worst.ua == pytest.approx(worst["metrics"]["ua"])


def test_seeds_are_one_line_whose_ua_is_their_mean(tmp_path: Path) -> None:
    rows = [[read_result(path) for path in write_entry(tmp_path, seed=seed)] for seed in (1, 2, 3)]
    (line,) = tables(tmp_path)[0].lines
    seeds = [pool(of_seed)["pooled"]["ua"] for of_seed in rows]
    assert line.seeds == [1, 2, 3]
    assert line.scores["ua"].value == pytest.approx(np.mean(seeds))
    assert line.moments.over_seeds["ua"].deviation == pytest.approx(np.std(seeds, ddof=1))
    assert line.utterances == 10 * PER_SPEAKER
    assert line.minutes == pytest.approx(11)


def test_the_worst_speaker_has_enough_utterances_in_each_seed(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_entry(tmp_path, seed=seed)
    (line,) = tables(tmp_path)[0].lines
    assert line.spread.minimum == 3 * aggregate.FEWEST_UTTERANCES


def test_the_share_of_known_recordings_is_of_all_test_rows(tmp_path: Path) -> None:
    write_entry(tmp_path, folds=[1, 2], protocol={"name": "as_cross_attn"})
    (line,) = tables(tmp_path)[0].lines
    for row, count, share in zip(line.rows, (30, 10), (1.0, 0.0), strict=True):
        row["data"]["test"], row["protocol"]["test_rows_with_utterance_in_training"] = count, share
    assert line.shared == 0.75


def test_other_settings_are_another_line_that_says_what_differs(tmp_path: Path) -> None:
    write_entry(tmp_path / "a", right=0.6)
    write_entry(tmp_path / "b", config={"model": {"width": 16, "optim": {"lr": 0.001}}})
    lines = tables(tmp_path)[0].lines
    assert sorted(line.name for line in lines) == ["probe (width 16)", "probe (width 8)"]
    assert len({line.anchor for line in lines}) == 2


def test_lines_that_differ_in_much_are_told_apart_by_their_hash(tmp_path: Path) -> None:
    write_entry(tmp_path / "a")
    write_entry(tmp_path / "b", config={"model": {"a": 1, "b": 2, "c": 3, "d": 4}})
    assert all(line.variant == f"settings {line.first.settings}" for line in tables(tmp_path)[0].lines)


def test_of_lines_that_differ_in_much_it_is_told_which_was_fine_tuned(tmp_path: Path) -> None:
    for first in (None, 4):
        more = {"model": {"finetune_from": first}, "trainer": {f"key{number}": first for number in range(4)}}
        write_entry(tmp_path / str(first), "cta_rnn", config=more)
    found = {line.first.config["model"]["finetune_from"]: line for line in tables(tmp_path)[0].lines}
    for first, line in found.items():
        assert line.variant == f"finetune_from {first}, settings {line.first.settings}"


def test_which_was_fine_tuned_is_told_where_other_lines_differ_in_no_setting_of_the_network(tmp_path: Path) -> None:
    for number, first in enumerate((None, None, 4)):
        more = {"model": {"finetune_from": first}, "trainer": {f"key{key}": number for key in range(4)}}
        write_entry(tmp_path / str(number), "cta_rnn", config=more)
    lines = tables(tmp_path)[0].lines
    assert sorted(line.variant.rpartition(", ")[0] for line in lines) == ["finetune_from 4", *["finetune_from None"] * 2]


def test_settings_of_the_network_that_tell_three_lines_apart_are_written_out(tmp_path: Path) -> None:
    for number, (first, members) in enumerate([(4, 1), (None, 1), (None, 3)]):
        network = {"finetune_from": first, "members": members, "finer": first, "finest": first}
        more = {"model": network, "trainer": {"epochs": first, "key": number}}
        write_entry(tmp_path / str(number), "cta_rnn", config=more)
    found = {str(line.first.config["model"]): line.variant.rpartition(", ")[0] for line in tables(tmp_path)[0].lines}
    assert sorted(found.values()) == [
        "finetune_from 4, members 1",
        "finetune_from None, members 1",
        "finetune_from None, members 3",
    ]


def test_lines_with_missing_folds_are_not_ranked(tmp_path: Path) -> None:
    write_entry(tmp_path, "cta_rnn", right=0.5)
    write_entry(tmp_path, "probe", right=0.9, folds=range(1, 8))
    table = tables(tmp_path)[0]
    ranked, other = table.standing_of
    assert ranked[0].first.model == "cta_rnn"
    assert ranked[1] is not None
    assert ranked[1].rank == "alone"
    assert other[1] is None
    assert other[0].missing == "seed 1: 7 of 10 folds"


def test_an_incomplete_seed_does_not_count_beside_a_complete_one(tmp_path: Path) -> None:
    write_entry(tmp_path, seed=1)
    write_entry(tmp_path, seed=2, folds=[1, 2])
    (line,) = tables(tmp_path)[0].lines
    assert line.complete
    assert (line.seeds, line.missing) == ([1], "seed 2: 2 of 10 folds")


def test_a_seed_that_was_tested_on_other_utterances_is_not_counted_and_named(tmp_path: Path) -> None:
    write_entry(tmp_path, seed=1)
    for path in write_entry(tmp_path, seed=2):
        file = path.with_name("predictions.csv")
        file.write_text(file.read_text().replace("a0", "b0"))  # as those of another table of csv with the same classes
    (line,) = tables(tmp_path)[0].lines
    assert (line.seeds, line.utterances, line.complete) == ([1], 10 * PER_SPEAKER, True)
    assert line.caveat == "seed 2: tested on other utterances than seed 1, not counted"


def test_of_incomplete_seeds_the_fullest_is_shown(tmp_path: Path) -> None:
    write_entry(tmp_path, seed=1, folds=[1, 2])
    write_entry(tmp_path, seed=2, folds=[1, 2, 3])
    (line,) = tables(tmp_path)[0].lines
    assert (line.seeds, line.complete) == ([2], False)
    assert line.missing == "seed 2: 3 of 10 folds; seed 1: 2 of 10 folds"


def test_a_difference_inside_its_interval_is_a_tie(tmp_path: Path) -> None:
    for model, right in (("probe", 0.80), ("cta_rnn", 0.81), ("egemaps", 0.3)):
        write_entry(tmp_path, model, right=right)
    table = tables(tmp_path)[0]
    first, second, third = table.standings
    assert (first.rank, second.rank, third.rank) == ("1=", "1=", "3")
    assert second.comparison is not None
    assert second.comparison.low is not None
    assert second.comparison.low <= 0
    assert second.verdict == "no difference shown"
    assert third.verdict == "better"
    assert table.tied == [table.lines[1].name]


def test_a_clear_difference_is_a_win(tmp_path: Path) -> None:
    write_entry(tmp_path, "probe", right=0.95)
    write_entry(tmp_path, "cta_rnn", right=0.3)
    table = tables(tmp_path)[0]
    assert [standing.rank for standing in table.standings] == ["1", "2"]
    assert table.tied == []


def test_every_seed_in_common_is_compared(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_entry(tmp_path, "probe", right=0.9, seed=seed)
        write_entry(tmp_path, "cta_rnn", right=0.6, seed=seed)
    table = tables(tmp_path)[0]
    comparison, (first, second) = table.standings[1].comparison, table.lines
    assert comparison is not None
    assert comparison.value == pytest.approx(first.scores["ua"].value - second.scores["ua"].value)


@pytest.mark.parametrize(("models", "ranks"), [(2, ["1", "2"]), (3, ["1=", "1=", "1="])])
def test_a_difference_has_to_hold_for_the_number_of_comparisons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: int, ranks: list[str]
) -> None:
    monkeypatch.setattr(aggregate, "_compare", lambda *_: Comparison(0.1, 0.05, 0.15, 10, 0, None, p=0.03))
    for model in ("probe", "cta_rnn", "egemaps")[:models]:
        write_entry(tmp_path, model)
    assert [standing.rank for standing in tables(tmp_path)[0].standings] == ranks


def test_without_a_seed_in_common_nothing_is_compared(tmp_path: Path) -> None:
    write_entry(tmp_path, "probe", right=0.95, seed=1)
    write_entry(tmp_path, "cta_rnn", right=0.3, seed=2)
    first, second = tables(tmp_path)[0].standings
    assert (first.rank, second.rank) == ("1=", "1=")
    assert second.note == "not compared: no seed in common"


def test_worlds_and_synthetic_speech_have_tables_of_their_own(tmp_path: Path) -> None:
    write_entry(tmp_path / "honest", "cnn_attn")
    write_entry(tmp_path / "leaking", "cnn_attn", folds=[1], protocol={"name": "as_cnn_attn"})
    write_entry(tmp_path / "made", "probe", synthetic=True)
    found = tables(tmp_path)
    assert [table.kind for table in found] == ["honest", "as_published", "synthetic"]
    assert all(len(table.lines) == 1 for table in found)
    assert found[1].standings == ()
    assert [bool(table.references) for table in found] == [True, False, False]


def test_what_learned_from_validation_speakers_too_has_a_table_of_its_own(tmp_path: Path) -> None:
    write_entry(tmp_path / "plain", "probe")
    write_entry(tmp_path / "other", "cta_rnn")
    write_entry(tmp_path / "refit", "probe", config={"refit": True})
    plain, refit = tables(tmp_path)
    assert ([line.name for line in plain.lines], [line.name for line in refit.lines]) == (["cta_rnn", "probe"], ["probe"])
    assert (plain.title, refit.title) == ("emo_db, loso10", "emo_db, loso10, refit")
    assert refit.anchor == f"{plain.anchor}-refit"
    assert (plain.refit, refit.refit, bool(refit.references)) == (False, True, False)
    # Older rows do not say so, and are those without.
    assert "refit" not in plain.first.config
    (claim,) = aggregate.claim_rows(next(claim for claim in claims() if claim.model == "cta_rnn"), [plain, refit])
    assert [line.first.refit for line in claim.honest] == [False]


def test_temperatures_mend_each_fold(tmp_path: Path) -> None:
    write_entry(tmp_path, "probe", calibrated=True)
    write_entry(tmp_path, "cta_rnn")
    with_it, without = sorted(tables(tmp_path)[0].lines, key=lambda line: line.first.model, reverse=True)
    assert with_it.calibration.ece_after is not None
    assert with_it.calibration.ece_after < with_it.calibration.ece_before
    assert without.calibration.ece_after is None
    assert without.calibration.missing == "the row has no temperature"


def test_each_fold_has_its_own_temperature(tmp_path: Path) -> None:
    write_entry(tmp_path, calibrated=True)
    (line,) = tables(tmp_path)[0].lines
    folds = np.split(line.predicted.probabilities, 10)
    for fold, row in enumerate(line.rows, 1):
        row["calibration"]["temperature"] = fold
    mended = np.concatenate([calibration.apply_temperature(part, fold) for fold, part in enumerate(folds, 1)])
    assert line.calibration.ece_after == pytest.approx(calibration.ece(mended, line.predicted.labels))


def test_a_temperature_that_nothing_determines_is_not_applied(tmp_path: Path) -> None:
    """As ``predict`` does not."""
    validation = {"utterances": 20, "nll_before": 1.0, "nll_after": 0.9, "ece_before": 0.2, "ece_after": 0.1}
    write_entry(
        tmp_path, calibration={"temperature": 0.01, "at_bound": True, "validation_is_test": False, "validation": validation}
    )
    found = tables(tmp_path)[0].lines[0].calibration
    assert (found.ece_after, found.missing) == (found.ece_before, None)


def test_a_temperature_that_knows_the_test_calibrates_nothing(tmp_path: Path) -> None:
    validation = {"utterances": 20, "nll_before": 1.0, "nll_after": 0.9, "ece_before": 0.2, "ece_after": 0.1}
    of_test = {"temperature": 2.0, "at_bound": False, "validation_is_test": True, "validation": validation}
    write_entry(tmp_path, calibration=of_test)
    assert tables(tmp_path)[0].lines[0].calibration.missing == "the temperature was fitted on the test"


def test_a_claim_stands_beside_its_repetition_and_the_same_network_honestly(tmp_path: Path) -> None:
    write_entry(tmp_path / "recipe", "cnn_attn", config={"model": {"width": 99}})
    write_entry(tmp_path / "same", "cnn_attn")
    write_entry(tmp_path / "leaking", "cnn_attn", folds=[1], protocol={"name": "as_cnn_attn"})
    claim = next(claim for claim in claims() if claim.model == "cnn_attn")
    rows = {row.corpus: row for row in aggregate.claim_rows(claim, tables(tmp_path))}
    assert [figure.value for figure in rows["emo_db"].figures] == [99.53]
    assert [line.first.world for line in rows["emo_db"].repeated] == ["as_published"]
    first, second = rows["emo_db"].honest
    assert first.anchor in rows["emo_db"].same
    assert second.anchor not in rows["emo_db"].same
    assert rows["ravdess"].repeated == rows["ravdess"].honest == ()


def test_every_rule_of_a_paper_stands_beside_its_claim_and_the_habit_of_many_does_not(tmp_path: Path) -> None:
    names = ["as_co_attn", "as_co_attn_sessions"]
    for name in (*names, "random5"):
        write_entry(tmp_path / name, "co_attn", folds=[1], corpus="iemocap", protocol={"name": name})
    claim = next(claim for claim in claims() if claim.model == "co_attn")
    (row,) = aggregate.claim_rows(claim, tables(tmp_path))
    assert [line.first.protocol["name"] for line in row.repeated] == names
    assert {figure.protocol for figure in row.figures} == set(names)


def test_synthetic_rows_never_stand_beside_a_claim(tmp_path: Path) -> None:
    write_entry(tmp_path, "cross_attn", synthetic=True)
    claim = next(claim for claim in claims() if claim.model == "cross_attn")
    assert [row.corpus for row in aggregate.claim_rows(claim, tables(tmp_path))] == ["iemocap"]


def test_published_figures_of_other_corpora_are_kept_apart(tmp_path: Path) -> None:
    write_entry(tmp_path)
    found = tables(tmp_path)
    others = aggregate.other_references(found)
    assert "emo_db" not in others
    assert "iemocap" in others
    assert {figure.corpus for figure in found[0].references} == {"emo_db"}


def test_models_are_compared_over_corpora_and_seeds(tmp_path: Path) -> None:
    for seed in range(1, 8):
        write_entry(tmp_path, "probe", right=0.9, seed=seed)
        write_entry(tmp_path, "cta_rnn", right=0.4, seed=seed)
    (pair,) = aggregate.over_corpora(tables(tmp_path))
    assert (pair.one, pair.other, pair.pairs) == ("probe", "cta_rnn", 7)
    assert pair.p is not None
    assert pair.p < 0.05


def test_one_table_of_a_corpus_counts_over_corpora(tmp_path: Path) -> None:
    for model, right in (("probe", 0.9), ("cta_rnn", 0.4)):
        write_entry(tmp_path / "plain", model, right=right)
    write_entry(tmp_path / "refit", "egemaps", config={"refit": True})
    assert [(pair.one, pair.other) for pair in aggregate.over_corpora(tables(tmp_path))] == [("probe", "cta_rnn")]


def test_what_lies_beside_the_rows_is_found(tmp_path: Path) -> None:
    paths = write_entry(tmp_path)
    for path in paths:
        write_robustness(path)
        write_curves(path)
    write_profile(paths[0], "probe", 4.0)
    line = tables(tmp_path)[0].lines[0]
    assert line.cost == Cost(12.0, 15.0, 0.004, 2e8, "cpu, 2 threads")
    assert line.robustness is not None
    assert line.robustness["clean"]["ua"] == pytest.approx(line.scores["ua"].value)
    assert line.robustness["folds"] == list(range(1, 11))
    assert list(line.curves)[:2] == ["seed 1, fold 1", "seed 1, fold 2"]


def test_robustness_of_some_folds_is_not_that_of_all(tmp_path: Path) -> None:
    for path in write_entry(tmp_path)[:3]:
        write_robustness(path)
    assert tables(tmp_path)[0].lines[0].robustness is None


def test_what_is_of_another_model_is_refused(tmp_path: Path) -> None:
    paths = write_entry(tmp_path)
    write_profile(paths[0], "cta_rnn", 4.0)
    with pytest.raises(RunError, match=r"is of cta_rnn with 2,000 parameters .*, the rows beside it are of probe with 2,000"):
        _ = tables(tmp_path)[0].lines[0].cost
    write_profile(paths[0], "probe", 4.0)
    profile = paths[0].with_name("profile.json")
    profile.write_text(profile.read_text().replace('"total": 2000', '"total": 3000'))
    with pytest.raises(RunError, match=r"is of probe with 3,000 parameters .*, the rows beside it are of probe with 2,000"):
        _ = tables(tmp_path)[0].lines[0].cost
    for path in paths:
        write_robustness(path)
    report = paths[2].with_name("robustness.json")
    report.write_text(report.read_text().replace('"model": "probe"', '"model": "cta_rnn"'))
    with pytest.raises(RunError, match="another model than the row beside it"):
        _ = tables(tmp_path)[0].lines[0].robustness
    write_robustness(paths[2])
    report.write_text(report.read_text().replace('"encoder": null', '"encoder": "pico"'))
    with pytest.raises(RunError, match="another encoder than the row beside it"):
        _ = tables(tmp_path)[0].lines[0].robustness
    write_robustness(paths[2])
    report.write_text(report.read_text().replace('"epoch": 3', '"epoch": 4'))
    with pytest.raises(RunError, match="another epoch than the row beside it"):
        _ = tables(tmp_path)[0].lines[0].robustness
