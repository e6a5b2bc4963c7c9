"""Finds recordings that are copies of each other though no sample is equal: re-encoded, trimmed, louder, resampled.

A clip is described by its log-mel spectrogram relative to its loudest value, so that gain does not matter. Copies are searched
in two steps, as Haitsma & Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, do:

1. The signs of the change over time of the difference between neighbouring bands make a word of 17 bits per frame; only frames
   that can be heard have one. Clips are candidates when at least ``VOTES`` of their words are equal at one distance in time.
2. Candidates are laid over each other at that distance. They are copies when the changes of their levels over time correlate by
   at least ``SIMILAR``.

Where Haitsma & Kalker count unequal bits over three seconds, utterances are shorter than that, and levels tell more than signs.
Changes, because an actor who repeats a sentence repeats its loudness and timbre closely; and in bands narrow enough that the
harmonics of the voice stand out, which are not repeated.

Cost: clips are not compared one by one. What counts is how many frames share their words, which grows with the square of the
number of clips. ``benchmarks/results/fingerprint.json`` has the time, the false alarms on two corpora, and the misses for every
kind of copy. A copy at another speed or pitch is not found, nor is one that shares less than half a second of sound with the
original, or less than half of the shorter one's; one that is clipped hard may be missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ser_zoo.data.audio import Waveform

RATE = 16_000  # Hz of what is described
# Samples: 100 frames a second of 64 ms, so that half a hop, the most that copies are off, changes little.
HOP, WINDOW = 160, 1024
BANDS, LOWEST, HIGHEST = 36, 150.0, 3600.0  # Hz: what telephone bands and lossy codecs keep
RANGE = 40.0  # dB below the loudest value; what is quieter is noise, which codecs change
STEPS = 4  # per dB, so that levels fit a byte
AUDIBLE = 25.0  # dB below the loudest value: frames with a band above that count
EVERY = 2  # frames from word to word
SPAN = 4  # frames to either side over which a word's change is taken
VOTES = 3  # equal words at one distance
SLACK = 2  # frames around that distance at which levels are compared
LEAST = 50  # audible frames in common: half a second
SHARE = 0.5  # of the audible frames of the clip that has fewer
SIMILAR = 0.82
BLOCK = 1 << 15  # words that are looked up at a time, which bounds the memory

Levels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


class Fingerprint(NamedTuple):
    """What is kept of a clip: less than 5 kB a second.

    Attributes:
        levels: (T, 36), quarter dB above what is ``RANGE`` dB below the loudest value.
        audible: (T,) which frames can be heard.
        words: (A,) of those frames that have one.
        places: (A,) where they stand, in steps of ``EVERY`` frames.
    """

    levels: Levels
    audible: npt.NDArray[np.bool_]
    words: Numbers
    places: Numbers

    @property
    def comparable(self) -> bool:
        """Whether there is enough of it to be told from others."""
        return int(self.audible.sum()) >= LEAST


class Copy(NamedTuple):
    """Two clips that are copies of each other.

    Attributes:
        first: key of the one.
        second: key of the other, which comes later in the order given.
        similarity: correlation of the changes of their levels, at most 1.
        lag: seconds by which the second has what they share later.
    """

    first: str
    second: str
    similarity: float
    lag: float


def fingerprint(waveform: Waveform) -> Fingerprint:
    """Describe a clip, (T,) at 16 kHz."""
    framed = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, WINDOW // 2), WINDOW)[::HOP]
    window, filters = _analysis()
    spectra = np.fft.rfft(framed * window)[:, : len(filters)]
    level = 10 * np.log10((spectra.real**2 + spectra.imag**2) @ filters + np.float32(1e-20))
    above = np.maximum(level - level.max() + RANGE, 0)
    audible = (above.max(1) > RANGE - AUDIBLE) & (waveform.min() < waveform.max())  # in silence nothing is
    padded = np.pad(above, ((SPAN, SPAN), (0, 0)), mode="edge")
    change = (padded[2 * SPAN :] - padded[: -2 * SPAN])[::EVERY].reshape(-1, BANDS // 2, 2).sum(2)
    places = np.flatnonzero(audible[::EVERY])
    words = (np.diff(change[places]) > 0) @ (1 << np.arange(BANDS // 2 - 1))
    return Fingerprint(np.round(above * STEPS).astype(np.uint8), audible, words, places)


def find_copies(prints: Mapping[str, Fingerprint]) -> list[Copy]:
    """All pairs of clips that are copies of each other, in the order of ``prints``."""
    keys, clips = list(prints), list(prints.values())
    found: dict[tuple[int, int], Copy] = {}
    for first, second, lag in candidates(clips):
        for near in range(lag - SLACK, lag + SLACK + 1):
            value = similarity(clips[first], clips[second], near)
            known = found.get((first, second))
            if value >= SIMILAR and (known is None or value > known.similarity):
                found[first, second] = Copy(keys[first], keys[second], value, near * HOP / RATE)
    return [found[pair] for pair in sorted(found)]


def candidates(clips: Sequence[Fingerprint]) -> Iterator[tuple[int, int, int]]:
    """Numbers of two clips, the smaller first, and the frames by which the second lags; a pair may come with several lags."""
    if not clips:
        return
    words, places = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("words", "places"))
    counts = [len(clip.words) for clip in clips]
    owners = np.repeat(np.arange(len(clips)), counts)
    order = np.argsort(words, kind="stable")
    ranked = words[order]
    span = 1 + max(len(clip.levels) for clip in clips) // EVERY  # more than any lag
    for start, stop in _blocks(counts):
        low, high = (np.searchsorted(ranked, words[start:stop], side) for side in ("left", "right"))
        equal = high - low
        one = np.repeat(np.arange(start, stop), equal)
        other = order[np.arange(len(one)) - np.repeat(np.cumsum(equal) - equal - low, equal)]
        later = owners[one] < owners[other]
        one, other = one[later], other[later]
        # One number says which clips and which lag; the next number is the next lag of the same clips.
        key = (owners[one] * len(clips) + owners[other]) * 2 * span + places[other] - places[one] + span
        known, votes = np.unique(key, return_counts=True)
        # Between two lags, votes fall to both.
        votes[:-1] += np.where(np.diff(known) == 1, votes[1:], 0)
        for chosen in known[votes >= VOTES].tolist():
            pair, lag = divmod(chosen, 2 * span)
            yield *divmod(pair, len(clips)), (lag - span) * EVERY


def similarity(first: Fingerprint, second: Fingerprint, lag: int) -> float:
    """Correlation of the changes of two clips' levels where either can be heard.

    Args:
        first: the one.
        second: the other.
        lag: frames by which the second has what they share later.

    Returns:
        At most 1; 0 where too little of them can be heard.
    """
    begin, end = max(0, -lag), min(len(first.levels), len(second.levels) - lag)
    if end - begin < LEAST:
        return 0.0
    heard = (first.audible[begin:end] | second.audible[begin + lag : end + lag])[1:-1]
    if heard.sum() < max(LEAST, SHARE * min(first.audible.sum(), second.audible.sum())):
        return 0.0
    one, other = (
        (levels[2:] - levels[:-2])[heard]
        for levels in (first.levels[begin:end].astype(np.float32), second.levels[begin + lag : end + lag].astype(np.float32))
    )
    power = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / power if power > 0 else 0.0


def _blocks(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches of about ``BLOCK`` words that hold whole clips, so that all votes for a pair are counted together."""
    start = stop = 0
    for count in counts:
        stop += count
        if stop - start >= BLOCK:
            yield start, stop
            start = stop
    if stop > start:
        yield start, stop


@lru_cache(maxsize=1)
def _analysis() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The window, and triangular filters (F, 36) equally spaced by mel (HTK's formula) over the F lowest bins."""
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST, HIGHEST]) / 700)
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    bins = bins[bins < HIGHEST, None]
    widths = np.diff(edges)
    filters = np.maximum(0, np.minimum((bins - edges[:-2]) / widths[:-1], (edges[2:] - bins) / widths[1:]))
    return np.hanning(WINDOW).astype(np.float32), filters.astype(np.float32)
