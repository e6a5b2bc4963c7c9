from __future__ import annotations

from typing import Any

import pytest

from ser_zoo.cli.report import protocol_text, show_metrics, show_pooled, title_of
from tests.cli.commands import cells

METRICS = {
    "wa": 0.5,
    "ua": 0.625,
    "macro_f1": 0.75,
    "confusion": [[3, 1], [0, 2]],
    "recalls": {"anger": 0.75, "neutral": 1.0},
}
LABELS = ["anger", "neutral"]


def protocol(world: str = "honest", *leaks: str) -> dict[str, Any]:
    return {"name": "loso10", "world": world, "declared_leaks": leaks, "test_rows_with_utterance_in_training": 0.1234}


def test_the_confusion_matrix_has_true_classes_in_rows_and_their_recalls_behind(capsys: pytest.CaptureFixture[str]) -> None:
    show_metrics("Title", LABELS, METRICS)
    printed = capsys.readouterr().out
    assert printed.startswith("Title\n")
    heads = [[head.strip() for head in line.split("┃")[1:-1]] for line in printed.splitlines() if line.startswith("┃")]
    assert heads == [["WA", "UA", "macro-F1"], ["true / predicted", "anger", "neutral", "recall"]]
    assert cells(printed) == [["0.5000", "0.6250", "0.7500"], ["anger", "3", "1", "0.7500"], ["neutral", "0", "2", "1.0000"]]


def test_folds_are_printed_pooled_and_with_their_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    pooled = {
        **{"model": "probe", "corpus": "demo", "synthetic": True, "labels": LABELS, "seed": 7, "protocol": protocol()},
        **{"folds": [1, 3], "refit": True, "pooled": METRICS},
        **{"mean": {"wa": 0.1, "ua": 0.2, "macro_f1": 0.3}, "deviation": {"wa": 0.01, "ua": 0.02, "macro_f1": 0.03}},
    }
    show_pooled(pooled)
    printed = capsys.readouterr().out
    assert printed.startswith("probe on demo (SYNTHETIC), loso10, refit, 2 folds pooled, seed 7\n")
    assert cells(printed)[0] == ["0.5000", "0.6250", "0.7500"]
    assert cells(printed)[-1] == ["0.1000 ± 0.0100", "0.2000 ± 0.0200", "0.3000 ± 0.0300"]
    title = title_of({**pooled, "synthetic": False}, False, "fold 3")
    assert title == "probe on demo, loso10, fold 3, seed 7"


@pytest.mark.parametrize(
    ("given", "refit", "text"),
    [
        (protocol(), False, "loso10"),
        (protocol(), True, "loso10, refit"),
        (protocol("honest", "text", "session"), False, "loso10 (declared: text, session)"),
        (
            protocol("as_published"),
            False,
            "loso10 (AS PUBLISHED; declared leaks: none; 12.3% of the test rows have their utterance in training)",
        ),
        (
            protocol("as_published", "speaker"),
            True,
            "loso10 (AS PUBLISHED; declared leaks: speaker; 12.3% of the test rows have their utterance in training), refit",
        ),
    ],
)
def test_a_protocol_is_named_with_what_it_declares_to_leak(given: dict[str, Any], refit: bool, text: str) -> None:
    assert protocol_text(given, refit) == text
