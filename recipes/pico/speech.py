"""Shards of synthesised speech as a recording room, a line or a coder would leave it, for `distil.py`.

A shard is a safetensors file: ``waveforms`` (N,) int16 at 16 kHz, the clips one after the other, and ``lengths`` (clips,)
int64. What is in it follows from its number and the settings alone, so that shards are made by several processes in any order,
and only those that are missing.
"""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from shutil import which

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchaudio.functional import resample
from tqdm import tqdm
from voices import MODULES, PROGRAMS, RATE, SYNTHESISERS, Say, Waveform

from ser_zoo.cache import atomic_path
from ser_zoo.data.augment import add_white_noise, change_pitch, perturb_vocal_tract
from ser_zoo.evaluation.robustness import MP3_LEVELS, OPUS_LEVELS, Scene, babble, mp3, opus, room, telephone

TURNS = 10  # clips that a voice says
SECONDS = (1.0, 6.0)  # shorter clips are made again, longer ones are cut


@dataclass(frozen=True)
class Speech:
    """What is said, and how much of it.

    Attributes:
        hours: of speech.
        hibari: share of the voices that are Hibari's.
        kokoro: share of the voices that are Kokoro's; a second takes about a second, and is said in five manners.
        flite: share of the voices that are Flite's.
        festival: share of the voices that are Festival's; the rest is espeak-ng's.
        clips: of a shard.
        seed: of everything that is drawn.
    """

    hours: float = 8.0
    hibari: float = 0.3
    kokoro: float = 0.08
    flite: float = 0.12
    festival: float = 0.15
    clips: int = 200
    seed: int = 1

    @property
    def shares(self) -> dict[str, float]:
        """Of the voices of each synthesiser."""
        others = {"flite": self.flite, "festival": self.festival, "hibari": self.hibari, "kokoro": self.kokoro}
        return {"espeak": 1 - sum(others.values()), **others}

    @property
    def shards(self) -> int:
        """How many; a clip has some 4.1 s on average."""
        return max(1, round(self.hours * 3600 / 4.1 / self.clips))

    def path(self, folder: Path, number: int) -> Path:
        """File of a shard: another for other speech, whatever its amount."""
        shares = "-".join(f"{share:g}" for share in self.shares.values())
        kind = f"speech-{self.seed}-{self.clips}-{shares}"
        return folder / kind / f"{number:04d}.safetensors"


def make(speech: Speech, folder: Path, workers: int) -> list[Path]:
    """The files of all shards, of which the missing ones are made by ``workers`` processes.

    Raises:
        SystemExit: voices are asked for that are not installed.
    """
    paths = [speech.path(folder, number) for number in range(speech.shards)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if missing:
        check_installed(speech)
        # Not forked: threads of torch that are there already would be missing in the copies.
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            jobs = [pool.submit(write_shard, speech, number, paths[number]) for number in missing]
            for job in tqdm(as_completed(jobs), "Speech", len(jobs), unit="shard", disable=None):
                job.result()
    return paths


def check_installed(speech: Speech) -> None:
    """Look for what the voices need.

    Raises:
        SystemExit: something is not installed.
    """
    used = [name for name, share in speech.shares.items() if share > 0]
    modules = sorted({module for name in used for module in MODULES[name] if find_spec(module) is None})
    programs = [name for name in used if name in PROGRAMS and which(name) is None]
    if modules or programs:
        raise SystemExit(
            f"The voices of {', '.join(used)} need {', '.join([*modules, *programs])}, not installed here. Install what "
            "recipes/pico/README.md names, or leave voices out, for example with --speech.kokoro 0."
        )


def read_shard(path: Path) -> list[Tensor]:
    """The clips of a shard, (T,) float32 each."""
    content = load_file(path)
    waveforms = content["waveforms"].float() / 2**15
    return list(torch.split(waveforms, content["lengths"].tolist()))


def write_shard(speech: Speech, number: int, path: Path) -> None:
    """Make one shard."""
    rng = random.Random(f"{speech.seed}/{number}")
    dry: list[Waveform] = []
    while len(dry) < speech.clips:
        name = rng.choices(tuple(speech.shares), tuple(speech.shares.values()))[0]
        with ExitStack() as stack:
            say = SYNTHESISERS[name](rng, stack)
            dry += [utter(say, rng) for _ in range(TURNS)]
    clips = [torch.from_numpy(place(clip, dry, rng)) for clip in dry[: speech.clips]]
    content = {
        "waveforms": (torch.cat(clips).clamp(-1.0, 1.0 - 2**-15) * 2**15).round().short(),
        "lengths": torch.tensor([len(clip) for clip in clips]),
    }
    with atomic_path(path) as temporary:
        save_file(content, temporary, metadata={key: str(value) for key, value in asdict(speech).items()})


def utter(say: Say, rng: random.Random) -> Waveform:
    """One utterance (T,) at 16 kHz, from the voice alone, its peak at half of full scale."""
    for _ in range(20):
        waveform, rate = say(rng)
        if len(waveform) >= SECONDS[0] * rate and np.abs(waveform).max() > 1e-3:
            start = rng.randint(0, max(0, len(waveform) - int(SECONDS[1] * rate)))
            cut = torch.from_numpy(np.array(waveform[start : start + int(SECONDS[1] * rate)], dtype=np.float32))
            heard: Waveform = resample(cut / cut.abs().max() * 0.5, rate, RATE).numpy()
            return heard
    raise RuntimeError("A voice made no second of sound in twenty attempts.")


def place(clip: Waveform, others: list[Waveform], rng: random.Random) -> Waveform:
    """The utterance as it is recorded: another tract or pitch, pauses around, a room, a microphone, noise, a coder, a level."""
    generator = np.random.default_rng(rng.getrandbits(63))
    scene = Scene(RATE, generator, others)
    chance = rng.random()
    if chance < 0.15:
        clip = perturb_vocal_tract(clip, RATE, rng.uniform(0.85, 1.18))
    elif chance < 0.3:
        clip = change_pitch(clip, generator)
    if rng.random() < 0.6:
        clip = np.pad(clip, [round(RATE * rng.uniform(0.0, 1.0) ** 2) for _ in range(2)])
    if rng.random() < 0.35:
        clip = room(clip, scene)
    clip = equalise(clip, rng)
    chance = rng.random()
    if chance < 0.65:  # most recordings have some noise, few have much
        clip = add_white_noise(clip, rng.uniform(20.0, 70.0), generator)
    elif chance < 0.77:
        clip = add_white_noise(clip, rng.uniform(0.0, 20.0), generator)
    elif chance < 0.88:
        clip = babble(clip, scene, rng.uniform(0.0, 25.0))
    chance = rng.random()
    if chance < 0.06:
        clip = telephone(clip, scene)
    elif chance < 0.12:
        clip = mp3(clip, scene, rng.choice(tuple(MP3_LEVELS.values())))
    elif chance < 0.16:
        clip = opus(clip, scene, rng.choice(tuple(OPUS_LEVELS.values())))
    level = 10 ** (rng.uniform(-30.0, 0.0) / 20) / max(float(np.abs(clip).max()), 1e-9)
    return (clip * level).astype(np.float32)


def equalise(clip: Waveform, rng: random.Random) -> Waveform:
    """A smooth random response of some decibels: (T,) -> (T,)."""
    points = 2 ** (len(clip) - 1).bit_length()
    hertz = np.fft.rfftfreq(points, 1 / RATE)
    octaves = np.log2(np.maximum(hertz, 62.5) / 62.5)  # 0 to 7
    decibels = np.interp(octaves, range(8), [rng.gauss(0.0, 3.0) for _ in range(8)])
    filtered: Waveform = np.fft.irfft(np.fft.rfft(clip, points) * 10 ** (decibels / 20), points)[: len(clip)].astype(np.float32)
    return filtered
