"""How far probabilities can be taken at their word, and temperature scaling, which mends them without a change of any label.

Labels are (N,) class numbers, probabilities (N, C) rows that sum to 1. An utterance's confidence is its largest probability.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

BINS = 15  # Guo et al. 2017
# Ends of the range in which a temperature is looked for. Our choice: so far apart that whoever gets there has logits which no
# finite temperature suits.
LOWEST, HIGHEST = 0.01, 100.0
HALVINGS = 60  # of the range of log T, after which it is narrower than float64 can tell


class Reliability(NamedTuple):
    """The bars of a reliability diagram, one per bin of confidence.

    Attributes:
        counts: (M,) utterances.
        confidence: (M,) their mean confidence; NaN for a bin without utterances.
        accuracy: (M,) the share of them that is right; NaN likewise.
    """

    counts: Labels
    confidence: Values
    accuracy: Values

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of accuracy and confidence, a bin counting by its utterances."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float((self.counts[filled] * gaps).sum() / self.counts.sum())


class Fit(NamedTuple):
    """A fitted temperature.

    Attributes:
        temperature: T of softmax(logits / T).
        at_bound: the likelihood still rises at the end of the range, so that the utterances do not determine T: all of them
            are right (T would go to 0), or the logits tell less than none (T would go to infinity).
    """

    temperature: float
    at_bound: bool


def reliability(probabilities: Values, labels: Labels, bins: int = BINS, adaptive: bool = False) -> Reliability:
    """Confidence against accuracy.

    Args:
        probabilities: (N, C).
        labels: (N,).
        bins: M, how many.
        adaptive: bins of equally many utterances (Nguyen & O'Connor 2015) in place of those of equal width, whose m-th is
            ((m - 1) / M, m / M] (Guo et al. 2017). Equal confidences stay in one bin, so that it may hold more.
    """
    confidence = probabilities.max(1)
    shares = np.linspace(0, 1, bins + 1)[1:-1]
    edges = np.quantile(confidence, shares) if adaptive else shares
    places = np.searchsorted(edges, confidence)
    counts = np.bincount(places, minlength=bins)
    right = probabilities.argmax(1) == labels
    with np.errstate(invalid="ignore"):
        means = (np.bincount(places, weights, bins) / counts for weights in (confidence, right))
        return Reliability(counts, *means)


def ece(probabilities: Values, labels: Labels, bins: int = BINS, adaptive: bool = False) -> float:
    """Expected calibration error, 0 to 1, of the most probable class (Guo et al. 2017); the arguments of ``reliability``."""
    return reliability(probabilities, labels, bins, adaptive).error


def brier(probabilities: Values, labels: Labels) -> float:
    """Mean squared distance of probabilities and one-hot labels, summed over the classes: 0 to 2 (Brier 1950)."""
    onehot = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - onehot) ** 2).sum(1).mean())


def nll(probabilities: Values, labels: Labels) -> float:
    """Mean negative natural logarithm of the true class's probability; infinite where one of these is 0."""
    with np.errstate(divide="ignore"):
        return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


def apply_temperature(probabilities: Values, temperature: float) -> Values:
    """What softmax(logits / T) gives, from softmax(logits): (N, C) p^(1/T), normalised. The order within a row stays.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, not {temperature}")
    with np.errstate(divide="ignore"):
        return softmax(np.log(probabilities) / temperature)


def softmax(logits: Values) -> Values:
    """(N, C) logits -> (N, C) probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: Values = powers / powers.sum(1, keepdims=True)
    return shares


def fit_temperature(logits: Values, labels: Labels) -> Fit:
    """The temperature under which the labels are likeliest (Guo et al. 2017, section 4.2).

    The NLL is convex in b = 1 / T, and its slope there is the mean of E_p[z] - z_y with p = softmax(b z), so that halving the
    range by the sign of the slope finds the one minimum: the same for the same input, whatever the order of the rows but for
    rounding, and never worse than T = 1.

    Args:
        logits: (N, C) of utterances that neither trained nor will be tested.
        labels: (N,).
    """
    gaps = _gaps(logits, labels)

    def slope(temperature: float) -> float:
        return float((softmax(logits / temperature) * gaps).sum(1).mean())

    if slope(1.0) == 0:  # equal logits, or none of them wrong and all of them saturated: no T is better
        return Fit(1.0, False)
    if slope(LOWEST) <= 0:
        return Fit(LOWEST, True)
    if slope(HIGHEST) >= 0:
        return Fit(HIGHEST, True)
    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) > 0 else (low, middle)
    return Fit(float(np.exp((low + high) / 2)), False)


def calibrate(logits: Values, labels: Labels, validation_is_test: bool) -> dict[str, Any]:
    """The ``calibration`` of a row: the temperature, and what it does on the validation side that it is fitted on.

    Args:
        logits: (N, C) of the validation side.
        labels: (N,).
        validation_is_test: whether the protocol has one side for both, so that the temperature knows the test.
    """
    temperature, at_bound = fit_temperature(logits, labels)
    gaps = _gaps(logits, labels)
    return {
        "temperature": temperature,
        "at_bound": at_bound,
        "validation_is_test": validation_is_test,
        "validation": {
            "utterances": len(labels),
            # From logits, because a probability may be too small for float64 where its logarithm is not.
            "nll_before": float(np.logaddexp.reduce(gaps, axis=1).mean()),
            "nll_after": float(np.logaddexp.reduce(gaps / temperature, axis=1).mean()),
            "ece_before": ece(softmax(logits), labels),
            "ece_after": ece(softmax(logits / temperature), labels),
        },
    }


def _gaps(logits: Values, labels: Labels) -> Values:
    """(N, C) each logit's distance from that of the true class."""
    gaps: Values = logits - logits[np.arange(len(labels)), labels][:, None]
    return gaps
