"""How fast spectrogram and MFCC of a corpus are computed, reading its files included, beside the loop that the field writes.

    python benchmarks/front_end.py [--corpora emo_db ravdess] [--clips 1440] [--repeats 3]

The features are those of ``co_attn``: 200 bins of a spectrogram in dB, and 40 MFCC, 100 frames per second of each. They are
computed of utterances of each corpus (under ``$SER_ZOO_DATA``) in these ways, one after the other and that ``--repeats`` times;
the fastest repetition of each counts:

reference     librosa in one process, one file at a time, as the field (and the released code of Zou et al. 2022) writes it
first_epoch   ``load_waveforms`` and ``FrontEnd``, as the first epoch of a run meets them: files decoded by several threads,
              features by torch, each utterance by itself, and kept
later_epochs  what is kept, put into batches: all that a later epoch, or another fold, takes

Files are read once before, so that no way waits for the disk. The number of threads is that of torch (``OMP_NUM_THREADS``).
Writes ``benchmarks/results/speed/front_end.json``: utterances and seconds of audio per second, their ratios to the reference,
and the largest difference between its features and ours. librosa comes with the extra ``dev``.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import librosa
import numpy as np
import soundfile
from common import RATE, SPEED, circumstances, fastest, in_words, output_file, positive

from ser_zoo.cache import write_json
from ser_zoo.corpora import Utterance, create_corpus
from ser_zoo.data import Preparation
from ser_zoo.data.datamodule import collate
from ser_zoo.data.waveforms import Waveforms, load_waveforms
from ser_zoo.features import MFCC, FrontEnd, KeptFrames, rows_of
from ser_zoo.models.co_attn import COEFFICIENTS, EMPHASIS, HOP, NarrowSpectrogram

RESULT = SPEED / "front_end.json"
BATCH = 16  # utterances; that of the recipes
# Zou et al. 2022 as released: the spectrogram's transform and window in samples, and its bins up to 4 kHz ...
POINTS, WINDOW, BINS = 800, 640, 200
# ... and librosa's defaults for MFCC.
MFCC_POINTS, MELS = 2048, 128
STEP = round(HOP * RATE)  # samples between frames

Features = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", default=["emo_db", "ravdess"])
    parser.add_argument("--clips", type=positive, default=1440, help="of each corpus, chosen at random; all if it has no more")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--output", type=output_file, default=RESULT)
    options = parser.parse_args()
    corpora = {name: measure(utterances_of(name, options.clips), options.repeats) for name in options.corpora}
    write_json(options.output, {"repeats": options.repeats, "corpora": corpora, **circumstances()})
    show(corpora)


def utterances_of(corpus: str, count: int) -> list[Utterance]:
    """Random utterances of a corpus, always the same ones."""
    utterances = create_corpus(corpus).utterances()
    return random.Random(0).sample(utterances, min(count, len(utterances)))


def measure(utterances: Sequence[Utterance], repeats: int) -> dict[str, Any]:
    """Speeds of all ways on the same utterances, and how far the reference's features and ours are apart."""
    ours = Ours()
    ways: dict[str, Callable[[Sequence[Utterance]], object]] = {
        "reference": lambda work: [reference(utterance) for utterance in work],
        "first_epoch": ours.first,
        "later_epochs": ours.again,
    }
    load_waveforms(utterances, Preparation(RATE))  # from now on the files are in memory
    seconds = fastest(ways, warm=utterances[:2], work=utterances, repeats=repeats)
    audio = sum(map(len, ours.waveforms.values())) / RATE
    return {
        "clips": len(utterances),
        "audio_seconds": audio,
        "utterances_per_second": {name: len(utterances) / value for name, value in seconds.items()},
        "audio_seconds_per_second": {name: audio / value for name, value in seconds.items()},
        "ratio_to_reference": {name: seconds["reference"] / value for name, value in seconds.items()},
        "largest_difference": largest_difference(utterances, ours),
    }


class Ours:
    """Waveforms and kept features as a run has them."""

    def __init__(self) -> None:
        self.front_end = FrontEnd(NarrowSpectrogram(RATE, HOP), MFCC(RATE, COEFFICIENTS, HOP, emphasis=EMPHASIS))
        self.waveforms = Waveforms({}, {}, {})
        self.kept = KeptFrames()

    def first(self, utterances: Sequence[Utterance]) -> None:
        """Decode, compute and keep."""
        self.waveforms, self.kept = load_waveforms(utterances, Preparation(RATE)), KeptFrames()
        self.again(utterances)

    def again(self, utterances: Sequence[Utterance]) -> None:
        """All utterances in batches."""
        for start in range(0, len(utterances), BATCH):
            ids = [utterance.id for utterance in utterances[start : start + BATCH]]
            batch = collate([self.waveforms[id] for id in ids], ids)
            self.kept.get(batch.ids, partial(rows_of, self.front_end, batch.waveforms, batch.lengths))


def largest_difference(utterances: Sequence[Utterance], ours: Ours) -> dict[str, float]:
    """Between the reference's features and ours, over all values of the utterances whose files have our sample rate.

    Files of another rate are left out: the two resample by different filters.
    """
    largest = {"spectrogram_db": 0.0, "mfcc": 0.0}
    for utterance in utterances:
        if soundfile.info(utterance.path).samplerate != RATE:
            continue
        for name, plain, kept in zip(largest, reference(utterance), ours.kept.rows[utterance.id], strict=True):
            largest[name] = max(largest[name], float(np.abs(plain - kept.numpy()).max()))
    return largest


def reference(utterance: Utterance) -> Features:
    """(T, 200) spectrogram in dB below its loudest value, up to 4 kHz, and (T, 40) MFCC of one file."""
    waveform, _ = librosa.load(utterance.path, sr=RATE)
    # The first sample passes as it is, as in torchaudio; librosa's filter would start from an extrapolated one.
    waveform = librosa.effects.preemphasis(waveform, coef=EMPHASIS, zi=np.zeros(1))
    spectra = librosa.stft(waveform, n_fft=POINTS, hop_length=STEP, win_length=WINDOW, window="hamming")
    spectrogram: np.ndarray = librosa.amplitude_to_db(np.abs(spectra), ref=np.max)
    # Mel filters by the HTK formula, each as high as 1, as torchaudio has them.
    mfcc: np.ndarray = librosa.feature.mfcc(
        y=waveform, sr=RATE, n_mfcc=COEFFICIENTS, n_fft=MFCC_POINTS, hop_length=STEP, n_mels=MELS, htk=True, mel_norm=None
    )
    return spectrogram[:BINS].T, mfcc.T


def show(corpora: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the tables."""
    for name, result in corpora.items():
        print(f"\n{name}: {result['clips']} clips, {result['audio_seconds']:.0f} s\n")
        for way, speed in result["audio_seconds_per_second"].items():
            print(f"  {way:12} {speed:8.0f} s of audio per s   {result['ratio_to_reference'][way]:6.1f} x")
        print(
            "\n  largest difference: " + ", ".join(f"{key} {value:.1e}" for key, value in result["largest_difference"].items())
        )


if __name__ == "__main__":
    in_words(main)
