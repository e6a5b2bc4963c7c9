"""WA, UA and macro-F1 from a confusion matrix; the one place where they are defined.

The matrix has the true class in rows and the predicted class in columns. Matrices may be stacked in leading dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts (C, C) of true against predicted class from (N,) labels and (N,) predictions."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def recalls(confusion: Tensor) -> Tensor:
    """Recall per class (..., C) of (..., C, C) counts; NaN for a class without support."""
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1) / counts.sum(-1)


def wa(confusion: Tensor) -> Tensor:
    """Weighted accuracy: the share of utterances that are right, (..., C, C) -> (...)."""
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1).sum(-1) / counts.sum((-2, -1))


def ua(confusion: Tensor) -> Tensor:
    """Unweighted accuracy: mean recall over the classes with support, (..., C, C) -> (...).

    A class that is predicted but absent from the targets has no recall and does not count; torchmetrics' macro accuracy
    counts it as 0, scikit-learn's ``balanced_accuracy_score`` agrees with this one.
    """
    return recalls(confusion).nanmean(-1)


def macro_f1(confusion: Tensor) -> Tensor:
    """Mean F1 over the classes that occur as target or as prediction, (..., C, C) -> (...).

    The same classes as scikit-learn's ``f1_score(average="macro")``.
    """
    counts = confusion.double()
    total = counts.sum(-1) + counts.sum(-2)  # support + predictions; F1 = 2 TP / (support + predictions)
    return (2 * counts.diagonal(dim1=-2, dim2=-1) / total).nanmean(-1)


METRICS = {"wa": wa, "ua": ua, "macro_f1": macro_f1}
"""Name in rows and reports -> function of (..., C, C) confusion matrices."""


def scores(confusion: Tensor) -> dict[str, float]:
    """``wa``, ``ua`` and ``macro_f1`` of one (C, C) matrix, on any device."""
    counts = confusion.cpu()  # Apple's GPUs have no float64
    return {name: float(metric(counts)) for name, metric in METRICS.items()}
