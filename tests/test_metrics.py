from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch
from numpy.typing import NDArray

from ser_zoo.metrics import confusion_matrix, macro_f1, recalls, scores, ua, wa

pytestmark = [
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
]


def draw(seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Labels, predictions and the number of classes; some classes are absent from either or from both."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 8))
    true, guessed = (rng.permutation(classes)[: rng.integers(1, classes + 1)] for _ in range(2))
    labels = rng.choice(true, size=int(rng.integers(1, 60)))
    predicted = np.where(rng.random(len(labels)) < 0.5, labels, rng.choice(guessed, size=len(labels)))
    return labels, predicted, classes


@pytest.mark.parametrize("seed", range(40))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    labels, predicted, classes = draw(seed)
    confusion = confusion_matrix(torch.tensor(labels), torch.tensor(predicted), classes)
    np.testing.assert_array_equal(confusion.numpy(), sklearn.metrics.confusion_matrix(labels, predicted, labels=range(classes)))
    assert scores(confusion) == pytest.approx(
        {
            "wa": sklearn.metrics.accuracy_score(labels, predicted),
            "ua": sklearn.metrics.balanced_accuracy_score(labels, predicted),
            "macro_f1": sklearn.metrics.f1_score(labels, predicted, average="macro"),
        }
    )


def test_the_cases_above_have_absent_classes_and_classes_that_are_only_predicted() -> None:
    drawn = [draw(seed) for seed in range(40)]
    assert any(len(set(labels)) < classes for labels, _, classes in drawn)
    assert any(set(predicted) - set(labels) for labels, predicted, _ in drawn)


def test_true_classes_are_rows_and_predicted_ones_columns() -> None:
    assert confusion_matrix(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 1]), 3).tolist() == [[1, 1, 0], [0] * 3, [0, 1, 0]]


def test_a_class_without_support_has_no_recall_and_does_not_count() -> None:
    confusion = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 0, 4]])
    assert recalls(confusion)[[0, 2]].tolist() == [0.75, 1.0]
    assert recalls(confusion)[1].isnan()
    assert float(ua(confusion)) == 0.875
    assert float(wa(confusion)) == 0.875


def test_a_class_that_is_only_predicted_counts_in_macro_f1() -> None:
    confusion = torch.tensor([[1, 1], [0, 0]])
    assert float(ua(confusion)) == 0.5
    assert float(macro_f1(confusion)) == pytest.approx((2 / 3 + 0) / 2)


def test_matrices_can_be_stacked() -> None:
    stack = torch.randint(0, 9, (5, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    for metric in (wa, ua, macro_f1):
        assert metric(stack).shape == (5, 2)
        assert float(metric(stack)[3, 1]) == pytest.approx(float(metric(stack[3, 1])))


def test_counts_of_millions_are_exact() -> None:
    confusion = torch.tensor([[2**25 + 1, 0], [1, 2**25]])
    assert float(wa(confusion)) == (2**26 + 1) / (2**26 + 2)
    assert recalls(confusion).tolist() == [1, 2**25 / (2**25 + 1)]
    assert float(macro_f1(confusion)) == pytest.approx(((2**26 + 2) / (2**26 + 3) + 2**26 / (2**26 + 1)) / 2, rel=1e-12)
