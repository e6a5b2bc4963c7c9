"""How often the fingerprint calls different recordings copies, how often it misses a copy, and what the search costs.

    python benchmarks/fingerprint.py [--corpora emo_db ravdess] [--copies 100] [--clips 10000]

False alarms: all recordings of each corpus (under ``$SER_ZOO_DATA``) and of all together are searched as ``ser-zoo audit``
does, and a pair counts unless its decoded samples are equal. Misses: random recordings are changed in each of the ways of
``CHANGES``, and every copy is searched among the originals and all other recordings of its corpus. For both, the similarities
that come closest to the threshold are given. The cost of ``--clips`` clips is that of all recordings and of as many of them at
other speeds, which stand for other recordings; nothing is decoded for it.

Writes ``benchmarks/results/fingerprint.json``.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from common import circumstances, in_words, output_file, positive

from ser_zoo.cache import write_json
from ser_zoo.corpora import create_corpus
from ser_zoo.data.audio import Preparation, Waveform, resample
from ser_zoo.data.fingerprint import HOP, RATE, SIMILAR, SLACK, Fingerprint, candidates, find_copies, fingerprint, similarity
from ser_zoo.data.waveforms import Waveforms, load_waveforms

RESULT = Path(__file__).resolve().parent / "results" / "fingerprint.json"
CLOSEST = 3  # similarities that are listed
SPEEDS = (1.0, 0.9, 1.1, 0.8, 1.2, 0.7, 1.3, 0.6, 1.4)

Change = Callable[[Waveform, np.random.Generator], Waveform]


def encoded(form: str, subtype: str, **settings: float) -> Change:
    """Through a file of that format and back."""

    def change(waveform: Waveform, _: np.random.Generator) -> Waveform:
        file = io.BytesIO()
        soundfile.write(file, np.clip(waveform, -1, 1), RATE, format=form, subtype=subtype, **settings)
        file.seek(0)
        decoded: Waveform = soundfile.read(file, dtype="float32")[0]
        return decoded

    return change


def trimmed(waveform: Waveform, generator: np.random.Generator) -> Waveform:
    """Without 0.2 to 0.5 s at either end."""
    first, last = generator.integers(RATE // 5, RATE // 2, 2)
    return waveform[first : len(waveform) - last]


def noisy(decibel: float) -> Change:
    """With white noise so far below the mean power."""

    def change(waveform: Waveform, generator: np.random.Generator) -> Waveform:
        scale = np.sqrt(np.mean(waveform**2)) * 10 ** (-decibel / 20)
        return waveform + generator.normal(0, scale, len(waveform)).astype(np.float32)

    return change


def through(rate: int) -> Change:
    """Resampled to ``rate`` and back."""
    return lambda waveform, _: resample(resample(waveform, RATE, rate), rate, RATE)


CHANGES: Mapping[str, Change] = {
    "gain +12 dB, clipped": lambda waveform, _: np.clip(waveform * 10**0.6, -1, 1),
    "gain -12 dB": lambda waveform, _: waveform / np.float32(10**0.6),
    "trimmed 0.2 to 0.5 s at both ends": trimmed,
    "resampled to 8 kHz": through(8000),
    "resampled to 24 kHz": through(24_000),
    "flac, 16 bit": encoded("FLAC", "PCM_16"),
    "vorbis, default quality": encoded("OGG", "VORBIS"),
    "vorbis, lowest quality": encoded("OGG", "VORBIS", compression_level=1.0),
    "mp3, default quality": encoded("MP3", "MPEG_LAYER_III"),
    "mp3, lowest quality": encoded("MP3", "MPEG_LAYER_III", compression_level=0.99),
    "noise 40 dB below": noisy(40),
    "noise 20 dB below": noisy(20),
    "mp3, trimmed, -12 dB": lambda waveform, generator: (
        trimmed(encoded("MP3", "MPEG_LAYER_III")(waveform, generator), generator) / np.float32(10**0.6)
    ),
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", default=["emo_db", "ravdess"])
    parser.add_argument("--copies", type=positive, default=100, help="recordings of each corpus that are changed in every way")
    parser.add_argument("--clips", type=positive, default=10_000, help="among which copies are searched to see what that costs")
    parser.add_argument("--output", type=output_file, default=RESULT)
    options = parser.parse_args()
    loaded = {name: load_waveforms(create_corpus(name).utterances(), Preparation(RATE)) for name in options.corpora}
    prints, seconds = {}, {}
    for name, waveforms in loaded.items():
        started = time.perf_counter()
        prints[name] = {key: fingerprint(waveform) for key, waveform in waveforms.items()}
        seconds[name] = time.perf_counter() - started
    result = {
        "threshold": SIMILAR,
        "corpora": {
            name: {
                "seconds_of_fingerprints": seconds[name],
                "false_alarms": false_alarms(prints[name], waveforms.content),
                "misses": misses(waveforms, prints[name], options.copies),
            }
            for name, waveforms in loaded.items()
        },
        "all_together": false_alarms(
            {f"{name}/{key}": of_clip for name, of_corpus in prints.items() for key, of_clip in of_corpus.items()},
            {f"{name}/{key}": content for name, waveforms in loaded.items() for key, content in waveforms.content.items()},
        ),
        "cost": cost([waveform for waveforms in loaded.values() for waveform in waveforms.values()], options.clips),
        **circumstances(),
    }
    write_json(options.output, result)
    show(result)


def false_alarms(prints: Mapping[str, Fingerprint], content: Mapping[str, str]) -> dict[str, Any]:
    """Pairs of recordings with different samples that are called copies, and the most similar ones."""
    keys, clips = list(prints), list(prints.values())
    started = time.perf_counter()
    found = find_copies(prints)
    seconds = time.perf_counter() - started
    best: dict[tuple[int, int], float] = {}
    count = 0
    for first, second, lag in candidates(clips):
        count += 1
        value = max(similarity(clips[first], clips[second], near) for near in range(lag - SLACK, lag + SLACK + 1))
        if content[keys[first]] != content[keys[second]]:
            best[first, second] = max(value, best.get((first, second), 0.0))
    wrong = [copy for copy in found if content[copy.first] != content[copy.second]]
    return {
        "clips": len(clips),
        "pairs": len(clips) * (len(clips) - 1) // 2,
        "candidates": count,
        "copies_of_equal_samples": [[copy.first, copy.second] for copy in found if copy not in wrong],
        "false_alarms": [[copy.first, copy.second] for copy in wrong],
        "most_similar": sorted(best.values(), reverse=True)[:CLOSEST],
        "seconds_of_search": seconds,
    }


def misses(waveforms: Waveforms, prints: Mapping[str, Fingerprint], count: int) -> dict[str, Any]:
    """Of each change: which copies were not found, and the least similarities; a copy that was not found has 0."""
    chosen = random.Random(0).sample(sorted(prints), min(count, len(prints)))
    results = {}
    for name, change in CHANGES.items():
        generator = np.random.default_rng(0)
        copies = {f"copy of {key}": fingerprint(change(waveforms[key], generator)) for key in chosen}
        found = {copy[:2]: copy.similarity for copy in find_copies({**prints, **copies})}
        values = [found.get((key, f"copy of {key}"), 0.0) for key in chosen]
        results[name] = {
            "copies": len(chosen),
            "missed": [key for key, value in zip(chosen, values, strict=True) if value == 0],
            "least_similar": sorted(values)[:CLOSEST],
        }
    return results


def cost(waveforms: Sequence[Waveform], count: int) -> dict[str, Any]:
    """Seconds for fingerprints of ``count`` clips in one thread and for the search among them, and what they take to keep."""
    started = time.perf_counter()
    prints = {
        f"{number} at {speed}": fingerprint(at_speed(waveform, speed))
        for speed in SPEEDS[: -(-count // len(waveforms))]
        for number, waveform in enumerate(waveforms)
    }
    searched = dict(list(prints.items())[:count])
    made = time.perf_counter()
    pairs = len(find_copies(searched))
    return {
        "clips": len(searched),
        "audio_hours": sum(len(of_clip.levels) for of_clip in searched.values()) * HOP / RATE / 3600,
        "megabytes": sum(part.nbytes for of_clip in searched.values() for part in of_clip) / 1e6,
        "seconds_of_fingerprints": made - started,
        "seconds_of_search": time.perf_counter() - made,
        "pairs": pairs,
    }


def at_speed(waveform: Waveform, speed: float) -> Waveform:
    """Shorter and higher, or longer and lower."""
    if speed == 1:
        return waveform
    moments = np.arange(0, len(waveform) - 1, speed)
    changed: Waveform = np.interp(moments, np.arange(len(waveform)), waveform).astype(np.float32)
    return changed


def show(result: Mapping[str, Any]) -> None:
    """Print the tables."""
    for name, alarms in (
        *((name, of["false_alarms"]) for name, of in result["corpora"].items()),
        ("all", result["all_together"]),
    ):
        print(
            f"{name}: {alarms['clips']} clips, {alarms['pairs']:,} pairs, {alarms['candidates']:,} candidates, "
            f"{len(alarms['false_alarms'])} false alarms, most similar {shown(alarms['most_similar'])}, "
            f"{alarms['seconds_of_search']:.1f} s"
        )
    for name, of_corpus in result["corpora"].items():
        print(f"\n{name}")
        for change, found in of_corpus["misses"].items():
            missed = f"{len(found['missed'])} of {found['copies']} missed"
            print(f"  {change:34} {missed:18} least similar {shown(found['least_similar'])}")
    of_all = result["cost"]
    print(
        f"\n{of_all['clips']} clips, {of_all['audio_hours']:.1f} h: fingerprints {of_all['seconds_of_fingerprints']:.0f} s, "
        f"search {of_all['seconds_of_search']:.0f} s, {of_all['megabytes']:.0f} MB, {of_all['pairs']} pairs"
    )


def shown(values: Sequence[float]) -> str:
    """To three digits."""
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    in_words(main)
