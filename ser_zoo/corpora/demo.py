"""Demo: a synthetic corpus of four emotions, made on first use by the formant synthesiser espeak-ng.

It is there so that everything can be run and tested without a licence form. Nobody felt or acted anything: a
result on it says that the machinery works, and nothing about emotion in human speech.

Layout: ``<speaker>/<speaker>-<text>-<emotion>-<repetition>.wav`` (``f1/f1-s2-anger-1.wav``), mono, 22.05 kHz,
16 bit; ``README.txt`` says how the release was made, ``VERSION`` by which version of the generator. Eight
speakers (four with a female and four with a male voice, in eight accents of English) x six sentences without
emotional content x four emotions x two repetitions = 384 utterances.

The emotions are rules about prosody and voice quality (``RULES``), the same for all speakers and sentences:

- [B&S] Burkhardt & Sendlmeier (2000), "Verification of acoustical correlates of emotional speech using
  formant-synthesis", ISCA Workshop on Speech and Emotion, 151-156.
- [M&A95] Murray & Arnott (1995), "Implementation and testing of a system for producing emotion-by-rule in
  synthetic speech", Speech Communication 16, 369-390.
- [C] Cahn (1990), "The generation of affect in synthesized speech", Journal of the American Voice I/O Society
  8, 1-19.
- [M&A93] Murray & Arnott (1993), "Toward the simulation of emotion in synthetic speech: a review of the
  literature on human vocal emotion", Journal of the Acoustical Society of America 93, 1097-1108.
- [B&Sch] Banse & Scherer (1996), "Acoustic profiles in vocal emotion expression", Journal of Personality and
  Social Psychology 70, 614-636.

The settings of [B&S], [M&A95] and [C] are those that Schröder (2001), "Emotional speech synthesis: a review",
Eurospeech, 561-564, prints in his table 1. A comment at each number says whether it is the source's, or only
the direction is, and the amount ours. What these sources prescribe and espeak-ng has no control for is left
out: laryngealisation, single formants, precision of articulation, final lowering.

Two things keep the task from being trivial, both our choice: each utterance applies its rule at a strength of
its own (``STRENGTH``), and everything varies from utterance to utterance (``JITTER``).
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import tempfile
import uuid
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ser_zoo.corpora.base import FileNameCorpus, Utterance, audio_files, listing, match_name, short_list
from ser_zoo.errors import CorpusError

if TYPE_CHECKING:
    import ctypes

    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
"""Of the generator. Rises with every change to what it makes, so that no old release passes for a new one."""

SEED = 2000
"""Of everything that is drawn: strengths, jitter and noise."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice of espeak-ng, and how fast it speaks when neutral.

    Attributes:
        name: of the speaker.
        voice: espeak-ng's name: language and accent, then the variant.
        gender: as espeak-ng states it for the variant.
        rate: words per minute.
    """

    name: str
    voice: str
    gender: str
    rate: int


SPEAKERS = (
    Speaker("f1", "en-us+f1", "female", 170),
    Speaker("f2", "en-gb-x-rp+f2", "female", 178),
    Speaker("f3", "en-gb-scotland+f3", "female", 164),
    Speaker("f4", "en-029+f4", "female", 172),
    Speaker("m1", "en-gb-x-gbclan+m1", "male", 166),
    Speaker("m2", "en-us-nyc+m2", "male", 176),
    Speaker("m3", "en+m3", "male", 168),
    Speaker("m4", "en-gb-x-gbcwmd+m4", "male", 180),
)

SENTENCES = {
    "s1": "The *paper* is in the *drawer* | by the *door*.",
    "s2": "They *moved* the *meeting* | to *Thursday* morning.",
    "s3": "The *train* to the *city* | leaves at *seven*.",
    "s4": "She *put* the *blue* cup | on the *shelf*.",
    "s5": "There are *twelve* chairs | in the *next* room.",
    "s6": "He *left* the *keys* | with a *neighbour*.",
}
"""Text by id. ``*word*`` carries a main stress; ``|`` is where a pause may stand."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """Differences from the neutral way of speaking; all zero is neutral.

    Attributes:
        pitch: relative change of mean F0 (0.5 is +50 %).
        range: relative change of the F0 range.
        rate: relative change of the speech rate.
        level: dB.
        tilt: of the spectrum above 1 kHz, dB per octave.
        breath: amplitude of aspiration noise relative to the voice's.
        accent: relative change of F0 on the words with main stress, on top of ``pitch``.
        valley: the same on all other words.
        pause: seconds, at the place marked in the sentence.
    """

    pitch: float = 0.0
    range: float = 0.0
    rate: float = 0.0
    level: float = 0.0
    tilt: float = 0.0
    breath: float = 0.0
    accent: float = 0.0
    valley: float = 0.0
    pause: float = 0.0


RULES = {
    "anger": Prosody(
        pitch=0.08,  # [M&A95] +10 Hz, which is +8 % of a male voice of 120 Hz
        range=1.0,  # direction: [M&A95] +9 semitones; amount: the most that espeak-ng can do
        rate=0.18,  # [M&A95] +30 words per minute, which is +18 % of 170
        level=6.0,  # [M&A95] +6 dB
        tilt=2.0,  # direction: [B&Sch], a smaller part of the energy lies below 1 kHz; amount: ours
        accent=0.2,  # direction: [M&A95], stressed vowels raised; amount: ours
    ),
    "happiness": Prosody(
        pitch=0.5,  # [B&S] +50 %
        range=1.0,  # [B&S] +100 %
        rate=0.3,  # [B&S] +30 %
        level=3.0,  # direction: [M&A93], higher intensity; amount: ours
        accent=0.15,  # direction: [B&S] "wave" contour, main stresses raised; amount: ours
        valley=-0.05,  # direction: [B&S] "wave" contour, syllables in between lowered; amount: ours
    ),
    "neutral": Prosody(),
    "sadness": Prosody(
        pitch=-0.06,  # direction: [M&A93], slightly lower; amount: ours
        range=-0.5,  # direction: [C], -5 on her scale from -10 to 10; amount: ours
        rate=-0.25,  # direction: [C], -10; amount: ours
        level=-5.0,  # direction: [C], -5; amount: ours
        tilt=-3.0,  # direction: [C], brilliance -9; amount: ours
        breath=0.25,  # direction: [C], breathiness +10; amount: ours
        pause=0.25,  # direction: [C], hesitation pauses +10; amount: ours
    ),
}

STRENGTH = (0.4, 1.0)
"""Each utterance applies its rule times a factor drawn uniformly from here. Our choice."""

JITTER = Prosody(
    pitch=0.1,
    range=0.25,
    rate=0.1,
    level=2.0,
    tilt=1.0,
    breath=0.04,
    accent=0.05,
    valley=0.02,
    pause=0.08,
)
"""Each value then moves by a uniform draw from plus or minus this, for neutral as well. Our choice."""

REPETITIONS = 2

HEADROOM = -8.0
"""dB, on every utterance, so that the loudest is not clipped."""

INSTALL = "pip install 'ser-zoo[demo]'"


@dataclass(frozen=True, slots=True)
class Take:
    """One utterance that is to be made; ``text`` and ``emotion`` are keys of ``SENTENCES`` and ``RULES``."""

    speaker: Speaker
    text: str
    emotion: str
    repetition: int

    @property
    def name(self) -> str:
        """Its id, which with ``SEED`` also seeds what is drawn for it."""
        return f"{self.speaker.name}-{self.text}-{self.emotion}-{self.repetition}"


GRAMMAR = re.compile(
    rf"(?P<speaker>{'|'.join(speaker.name for speaker in SPEAKERS)})-(?P<text>{'|'.join(SENTENCES)})-"
    rf"(?P<emotion>{'|'.join(RULES)})-(?P<repetition>[1-{REPETITIONS}])"
)


class Demo(FileNameCorpus):
    """The synthetic demo corpus; the docstring of its module says what it is.

    Args:
        root: folder of the release, which ``prepare`` makes. None means ``$SER_ZOO_DATA/demo``, and without
            that variable ``data/demo`` below the working directory.
    """

    name: ClassVar[str] = "demo"
    title: ClassVar[str] = "Demo (synthetic)"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "synthesised by rules"
    licence: ClassVar[str] = "synthetic: made on your own machine by espeak-ng (GPL-3.0-or-later)"
    url: ClassVar[str] = "https://github.com/espeak-ng/espeak-ng"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("anger", "happiness", "neutral", "sadness"), len(SPEAKERS) * len(SENTENCES) * REPETITIONS
    )
    speakers: ClassVar[int] = len(SPEAKERS)
    layout: ClassVar[str] = "folders f1 ... m4 with files like f1-s2-anger-1.wav, and a file VERSION"
    synthetic: ClassVar[bool] = True

    def prepare(self) -> None:
        """Make the release if it is not there; a process that is killed meanwhile leaves no root.

        Raises:
            CorpusError: espeak-ng cannot be used, nothing can be written there, or the root holds something else or an older
                release.
        """
        if self.root.is_dir() and any(self.root.iterdir()):
            self._check_version()
            return
        work = self.root.parent / f".{self.root.name}-incomplete-{uuid.uuid4().hex}"
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            generate(work)
            work.rename(self.root)
        except OSError as error:
            if not self.found():  # otherwise another process was faster, and made the same
                raise CorpusError(
                    f"{self.title} cannot be made at {self.root}: {error.strerror or error}. Expected a place that can be "
                    "written to. Set SER_ZOO_DATA to another folder, or pass another root."
                ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def found(self) -> bool:
        """Whether the release has been made."""
        return (self.root / "VERSION").is_file()

    def files(self) -> Iterable[Path]:
        """The recordings, speaker by speaker."""
        for speaker in SPEAKERS:
            yield from audio_files(self.root / speaker.name)

    def parse(self, path: Path) -> Utterance:
        """The row of one recording.

        Raises:
            CorpusError: the name does not follow the grammar.
        """
        match = match_name(GRAMMAR, path, self.title, "f1-s2-anger-1.wav")
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["speaker"],
            label=match["emotion"],
            original_label=match["emotion"],
            gender=next(speaker.gender for speaker in SPEAKERS if speaker.name == match["speaker"]),
            text=match["text"],
            repetition=match["repetition"],
            language=self.language,
        )

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """The ids that are not there."""
        present = {utterance.id for utterance in utterances}
        absent = [take.name for take in takes(SPEAKERS) if take.name not in present]
        return [short_list(absent)] if absent else []

    def utterances(self) -> list[Utterance]:
        """All utterances, sorted by id; warns when the release is not complete.

        Raises:
            CorpusError: as for every corpus, or the release is of another version of the generator.
        """
        if self.root.is_dir():
            self._check_version()
        return super().utterances()

    def _check_version(self) -> None:
        if not self.found():
            raise CorpusError(
                f"{self.title} not found: {self.root} holds {listing(self.root)}, and no file VERSION. "
                "Expected the demo corpus, or no such folder, to make it there. Pass another --data.root."
            )
        version = (self.root / "VERSION").read_text(encoding="utf-8").strip()
        if version != str(VERSION):
            raise CorpusError(
                f"{self.title} at {self.root} was made by version {version} of its generator. Expected "
                f"version {VERSION}, which makes other recordings. Delete {self.root}, and it is made anew."
            )

    def _advice(self) -> str:
        return (
            f"Expected {self.layout}. The first training with --data {self.name} makes it, and so does "
            f'create_corpus("{self.name}").prepare() in Python.'
        )


def takes(speakers: Sequence[Speaker]) -> Iterator[Take]:
    """All that ``speakers`` say, in the order in which it is made."""
    for speaker in speakers:
        for text in SENTENCES:
            for emotion in RULES:
                for repetition in range(1, REPETITIONS + 1):
                    yield Take(speaker, text, emotion, repetition)


def generate(folder: Path, speakers: Sequence[Speaker] = SPEAKERS) -> None:
    """Write the release, or of it what ``speakers`` say, as the new folder ``folder``.

    The same versions of espeak-ng and numpy give the same bytes; one speaker's do not depend on another's.

    Raises:
        CorpusError: espeak-ng is not installed or does not work here.
    """
    # Here, like all that is slow to import, so that listing corpora stays instant.
    from tqdm import tqdm

    total = len(list(takes(speakers)))
    # None disables the bar where standard error is not a terminal.
    with tqdm(total=total, desc="Making the demo corpus", disable=None) as progress:
        for speaker in speakers:
            with Synthesiser(speaker.voice) as synthesiser:
                (folder / speaker.name).mkdir(parents=True)
                for take in takes([speaker]):
                    path = folder / speaker.name / f"{take.name}.wav"
                    write_wav(path, render(synthesiser, take), synthesiser.sample_rate)
                    progress.update()
    (folder / "README.txt").write_text(readme(synthesiser.version), encoding="utf-8")
    (folder / "VERSION").write_text(f"{VERSION}\n", encoding="utf-8")


def readme(espeak_version: str) -> str:
    """What stands in the release's ``README.txt``."""
    return (
        "SYNTHETIC SPEECH. Nobody spoke, felt or acted this. It is the demo corpus of ser-zoo, made to try\n"
        "the machinery; results on it say nothing about emotion in human speech.\n\n"
        f"synthesiser: espeak-ng {espeak_version} (GPL-3.0-or-later, {Demo.url})\n"
        f"generator:   ser_zoo.corpora.demo, version {VERSION}, seed {SEED}\n"
        "rules:       see the docstring of that module, which cites their sources\n"
    )


def draw(take: Take) -> Prosody:
    """The prosody of one utterance: the rule of its emotion at some strength, and jitter."""
    rng = random.Random(f"{SEED}/{take.name}")
    strength = rng.uniform(*STRENGTH)
    values = {}
    for field in fields(Prosody):
        rule, jitter = getattr(RULES[take.emotion], field.name), getattr(JITTER, field.name)
        values[field.name] = strength * rule + rng.uniform(-jitter, jitter)
    return Prosody(**values)


def render(synthesiser: Synthesiser, take: Take) -> NDArray[np.float64]:
    """The waveform (T,) of one utterance, full scale 1, by the synthesiser with the speaker's voice."""
    prosody = draw(take)
    factor = 1 + prosody.pitch
    waveform = synthesiser.say(
        ssml(SENTENCES[take.text], pitch_setting(factor * (1 + prosody.accent)), prosody.pause),
        rate=round(take.speaker.rate * (1 + prosody.rate)),
        pitch=pitch_setting(factor * (1 + prosody.valley)),
        pitch_range=min(max(round(50 * (1 + prosody.range)), 0), 99),
        seed=random.Random(f"{SEED}/voice/{take.name}").getrandbits(31),
    )
    return colour(waveform, synthesiser.sample_rate, prosody, random.Random(f"{SEED}/breath/{take.name}"))


def pitch_setting(factor: float) -> int:
    """espeak-ng's setting (0 to 99) for F0 times ``factor``: 50 is neutral, and 50 steps are an octave.

    Above 50 espeak-ng also raises the formants, by up to 10 %; [B&S] raise two of them by 10 % for happiness.
    """
    return min(max(round(50 + 50 * math.log2(factor)), 0), 99)


def ssml(sentence: str, stressed_pitch: int, pause: float) -> str:
    """The sentence for espeak-ng: ``stressed_pitch`` on the marked words, ``pause`` (seconds) at the bar.

    >>> ssml("He *left* | today.", 60, 0.2)
    'He <prosody pitch="60">left</prosody> <break time="200ms"/> today.'
    """
    text = re.sub(r"\*(.+?)\*", rf'<prosody pitch="{stressed_pitch}">\1</prosody>', sentence)
    milliseconds = round(1000 * pause)
    return text.replace(" | ", f' <break time="{milliseconds}ms"/> ' if milliseconds > 0 else " ")


def colour(waveform: NDArray[np.float64], sample_rate: int, prosody: Prosody, rng: random.Random) -> NDArray[np.float64]:
    """Add aspiration noise, tilt the spectrum and set the level.

    Args:
        waveform: (T,), full scale 1.
        sample_rate: Hz.
        prosody: says how much.
        rng: of the noise.

    Returns:
        (T,), full scale 1.
    """
    import numpy as np

    # Uniform noise of unit power has a peak of sqrt(3). Unlike numpy's, these are the same in every version.
    noise = np.frombuffer(rng.randbytes(2 * len(waveform)), dtype="<i2") * (math.sqrt(3) / 2**15)
    window = sample_rate // 100
    envelope = np.convolve(np.abs(waveform), np.full(window, 1 / window), mode="same")
    size = 1 << len(waveform).bit_length()  # other sizes can be ten times as slow
    spectrum = np.fft.rfft(waveform + max(prosody.breath, 0.0) * envelope * noise, size)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / sample_rate), 1000.0) / 1000.0)
    gain = 10 ** ((HEADROOM + prosody.level + prosody.tilt * octaves) / 20)
    coloured: NDArray[np.float64] = np.fft.irfft(spectrum * gain, size)[: len(waveform)]
    return coloured


def write_wav(path: Path, waveform: NDArray[np.float64], sample_rate: int) -> None:
    """Write ``waveform`` (T,), full scale 1, as 16-bit mono."""
    import numpy as np

    samples = np.clip(np.rint(waveform * 2**15), -(2**15), 2**15 - 1).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())


class Synthesiser:
    """espeak-ng with one voice, in the state of a process that has just loaded it.

    The library keeps state in global variables (the phase of the pitch's flutter, the gain control) that
    neither choosing a voice nor initialising again resets. Each instance therefore loads its own copy of the
    library: what it says depends on nothing said before, and it disturbs no other user of espeak-ng.

    Args:
        voice: espeak-ng's name of the voice, such as ``en-us+f1``.

    Attributes:
        sample_rate: Hz.
        version: of espeak-ng.

    Raises:
        CorpusError: espeak-ng is not installed, does not load, or does not have the voice.
    """

    def __init__(self, voice: str) -> None:
        import ctypes

        self._library, data = load_espeak()
        # speak_lib.h: 2 is AUDIO_OUTPUT_SYNCHRONOUS, 0x8000 espeakINITIALIZE_DONT_EXIT.
        self.sample_rate = int(self._library.espeak_Initialize(2, 0, os.fsencode(data), 0x8000))
        if self.sample_rate <= 0:
            raise CorpusError(f"espeak-ng cannot read its data in {data}. Install espeakng-loader anew.")
        self._library.espeak_Info.restype = ctypes.c_char_p
        self.version = self._library.espeak_Info(None).decode()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise CorpusError(f"espeak-ng {self.version} has no voice {voice}. Install version 1.52.")
        self._audio = bytearray()
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._callback = signature(self._collect)  # kept, since the library does not keep it alive
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: int | None, count: int, _events: int | None) -> int:
        import ctypes

        if samples is not None:
            self._audio += ctypes.string_at(samples, 2 * count)
        return 0  # go on

    def say(self, text: str, *, rate: int, pitch: int, pitch_range: int, seed: int) -> NDArray[np.float64]:
        """Speak.

        Args:
            text: SSML.
            rate: words per minute, 80 to 450.
            pitch: 0 to 99; 50 is the voice's own.
            pitch_range: 0 to 99; 50 is the voice's own.
            seed: of espeak-ng's noise, which it otherwise seeds with the time.

        Returns:
            (T,), full scale 1.

        Raises:
            CorpusError: nothing came out.
        """
        import ctypes

        import numpy as np

        self._audio.clear()
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in (
            (1, rate),
            (3, pitch),
            (4, pitch_range),
        ):  # espeakRATE, espeakPITCH, espeakRANGE
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        flags = 1 | 0x10  # espeakCHARS_UTF8, espeakSSML
        status = self._library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, flags, None, None)
        if status != 0 or not self._audio:
            raise CorpusError(f"espeak-ng {self.version} made no sound (status {status}) of {text!r}.")
        return np.frombuffer(bytes(self._audio), dtype=np.int16) / 2**15

    def __enter__(self) -> Synthesiser:
        return self

    def __exit__(self, *exception: object) -> None:
        self._library.espeak_Terminate()


def load_espeak() -> tuple[ctypes.CDLL, str]:
    """A copy of espeak-ng's library with global variables of its own, and the folder of its data.

    Raises:
        CorpusError: the package is not installed, or the library does not load.
    """
    import ctypes

    try:
        import espeakng_loader
    except ModuleNotFoundError as error:
        raise CorpusError(
            "The demo corpus is made by espeak-ng on first use, and the package that brings it, "
            f"espeakng-loader, is not installed. Install it: {INSTALL}"
        ) from error
    # On Windows the copy stays behind, since a loaded file cannot be deleted there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = shutil.copy(espeakng_loader.get_library_path(), folder)
        try:
            return ctypes.CDLL(copy), espeakng_loader.get_data_path()
        except OSError as error:
            raise CorpusError(
                f"espeak-ng does not load from {folder}: {error}. If no program may run from there, set "
                "TMPDIR to another folder; if the library is broken, install espeakng-loader anew."
            ) from error
