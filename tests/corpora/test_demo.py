"""The demo corpus: what is made, that it is made the same each time, and that it sounds as its rules say."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ser_zoo.corpora import Utterance, create_corpus, demo
from ser_zoo.corpora.demo import (
    RULES,
    SPEAKERS,
    Demo,
    Prosody,
    Synthesiser,
    Take,
    draw,
    pitch_setting,
    ssml,
    takes,
)
from ser_zoo.errors import CorpusError, SERZooWarning

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The whole release, made once."""
    corpus = Demo(tmp_path_factory.mktemp("data") / "demo")
    corpus.prepare()
    return corpus


@pytest.fixture
def empty_files(tmp_path: Path) -> Demo:
    """The layout of the release; the reader never opens a recording."""
    corpus = Demo(tmp_path / "demo")
    for take in takes(SPEAKERS):
        folder = corpus.root / take.speaker.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{take.name}.wav").touch()
    (corpus.root / "VERSION").write_text(f"{demo.VERSION}\n")
    return corpus


def read(path: Path) -> NDArray[np.float64]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 2**15


def voiced_f0(waveform: NDArray[np.float64], sample_rate: int = 22050) -> NDArray[np.float64]:
    """F0 (Hz) of the clearly voiced frames, by the peak of the autocorrelation between 60 and 450 Hz."""
    size = 2048
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[::512]
    frames = frames[np.abs(frames).mean(1) > 0.2 * np.abs(frames).mean(1).max()]
    frames = frames - frames.mean(1, keepdims=True)
    power = np.abs(np.fft.rfft(frames, 2 * size)) ** 2
    correlation = np.fft.irfft(power)[:, :size]
    # Fewer samples overlap at larger lags.
    correlation = correlation / correlation[:, :1] / (1 - np.arange(size) / size)
    low, high = sample_rate // 450, sample_rate // 60
    best = correlation[:, low:high].max(1)
    # The first lag that comes near the best one, so as not to halve the pitch.
    lag = low + (correlation[:, low:high] > 0.9 * best[:, None]).argmax(1)
    # ... and from there up to the peak.
    peak = np.array([at + row[at : at + 30].argmax() for at, row in zip(lag, correlation, strict=True)])
    f0: NDArray[np.float64] = sample_rate / peak[best > 0.6]
    return f0


def measure(path: Path) -> dict[str, float]:
    waveform = read(path)
    octaves = np.log2(voiced_f0(waveform))
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    frequency = np.fft.rfftfreq(len(waveform), 1 / 22050)
    return {
        "pitch": 12 * float(np.median(octaves)),  # semitones
        "range": 12 * float(np.subtract(*np.percentile(octaves, [90, 10]))),  # semitones
        "level": 10 * float(np.log10(np.mean(waveform**2))),  # dB
        "duration": len(waveform) / 22050,  # seconds
        "brightness": 10 * float(np.log10(spectrum[frequency > 4000].sum() / spectrum.sum())),  # dB
    }


# What is made.


def test_every_label_has_a_rule_and_the_size_is_as_documented() -> None:
    assert tuple(RULES) == tuple(Demo.counts)
    assert sum(Demo.counts.values()) == 384


@needs_espeak
def test_release_is_complete_and_balanced(made: Demo, recwarn: pytest.WarningsRecorder) -> None:
    utterances = made.utterances()
    assert not [warning for warning in recwarn if warning.category is SERZooWarning]
    assert len(utterances) == sum(Demo.counts.values())
    assert set(Counter((row.speaker, row.label, row.text) for row in utterances).values()) == {2}
    assert Counter(row.label for row in utterances) == dict.fromkeys(Demo.counts, 96)
    assert Counter(row.speaker for row in utterances) == {speaker.name: 48 for speaker in SPEAKERS}
    assert Counter(row.gender for row in utterances) == {"female": 192, "male": 192}
    assert len({row.text for row in utterances}) == 6


@needs_espeak
def test_a_row_says_what_its_file_name_says(made: Demo) -> None:
    assert made.utterances()[0] == Utterance(
        id="f1-s1-anger-1",
        path=made.root / "f1" / "f1-s1-anger-1.wav",
        speaker="f1",
        label="anger",
        original_label="anger",
        gender="female",
        text="s1",
        repetition="1",
        language="en",
    )


@needs_espeak
def test_release_says_that_it_is_synthetic_and_how_it_was_made(made: Demo) -> None:
    text = (made.root / "README.txt").read_text()
    assert "SYNTHETIC" in text
    assert "espeak-ng 1." in text
    assert f"version {demo.VERSION}, seed {demo.SEED}" in text
    assert Demo.synthetic


@needs_espeak
def test_recordings_are_audible_unclipped_and_short(made: Demo) -> None:
    for path in made.files():
        waveform = read(path)
        assert 1.0 < len(waveform) / 22050 < 4.0, path
        assert 0.05 < np.abs(waveform).max() < 0.99, path
        loud = np.abs(waveform) > 0.01
        assert loud.mean() > 0.1, path


# It sounds as its rules say.


@needs_espeak
def test_emotions_differ_as_the_rules_say_with_every_voice(made: Demo) -> None:
    rows = [row for row in made.utterances() if row.text in ("s1", "s3", "s5")]
    measured = {row.id: measure(row.path) for row in rows}

    def mean(what: str, speaker: str, label: str) -> float:
        return float(np.mean([measured[row.id][what] for row in rows if (row.speaker, row.label) == (speaker, label)]))

    for speaker in (speaker.name for speaker in SPEAKERS):
        pitch, spread, level, duration, brightness = (
            {label: mean(what, speaker, label) for label in Demo.counts}
            for what in ("pitch", "range", "level", "duration", "brightness")
        )
        assert pitch["happiness"] > pitch["anger"] > pitch["neutral"] > pitch["sadness"], speaker
        assert min(spread["anger"], spread["happiness"]) > spread["neutral"] > spread["sadness"], speaker
        assert level["anger"] > level["happiness"] > level["neutral"] > level["sadness"], speaker
        assert duration["happiness"] < duration["anger"] < duration["neutral"] < duration["sadness"], speaker
        assert brightness["anger"] > brightness["neutral"] > brightness["sadness"], speaker


@needs_espeak
def test_emotions_overlap(made: Demo) -> None:
    """No single threshold on the strongest cue separates the labels, so that there is something to learn."""
    loudness = {
        label: [measure(row.path)["level"] for row in made.utterances() if row.label == label and row.text == "s1"]
        for label in Demo.counts
    }
    assert max(loudness["neutral"]) > min(loudness["anger"])
    assert max(loudness["sadness"]) > min(loudness["neutral"])


def test_a_draw_is_repeatable_and_stays_within_strength_and_jitter() -> None:
    for take in takes(SPEAKERS[:1]):
        prosody = draw(take)
        assert prosody == draw(take)
        for name in Prosody.__slots__:
            rule, jitter = getattr(RULES[take.emotion], name), getattr(demo.JITTER, name)
            bounds = sorted(factor * rule for factor in demo.STRENGTH)
            assert bounds[0] - jitter <= getattr(prosody, name) <= bounds[1] + jitter
    assert draw(Take(SPEAKERS[0], "s1", "anger", 1)) != draw(Take(SPEAKERS[0], "s1", "anger", 2))


@pytest.mark.parametrize(("factor", "setting"), [(0.5, 0), (1.0, 50), (2**0.5, 75), (2.0, 99), (4.0, 99), (0.1, 0)])
def test_pitch_is_set_in_fiftieths_of_an_octave(factor: float, setting: int) -> None:
    assert pitch_setting(factor) == setting


def test_ssml_has_no_break_where_no_pause_is_drawn() -> None:
    assert ssml("He *left* | today.", 60, 0.2) == ('He <prosody pitch="60">left</prosody> <break time="200ms"/> today.')
    assert ssml("He *left* | today.", 60, -0.01) == 'He <prosody pitch="60">left</prosody> today.'


# It is made the same each time.


@needs_espeak
@pytest.mark.parametrize("speaker", ["f3", "m2"])  # f3's voice has breath noise, which espeak-ng seeds by the time
def test_another_process_makes_the_same_bytes(made: Demo, tmp_path: Path, speaker: str) -> None:
    code = (
        "import sys; from pathlib import Path; from ser_zoo.corpora.demo import SPEAKERS, generate\n"
        "generate(Path(sys.argv[1]), [speaker for speaker in SPEAKERS if speaker.name == sys.argv[2]])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "demo"), speaker], check=True)
    again = sorted((tmp_path / "demo" / speaker).iterdir())
    assert len(again) == 48
    for path in again:
        assert path.read_bytes() == (made.root / speaker / path.name).read_bytes(), path.name


@needs_espeak
def test_synthesisers_do_not_share_state() -> None:
    with Synthesiser("en+f3") as one, Synthesiser("en+f3") as other:
        first = one.say("The paper is in the drawer.", rate=170, pitch=50, pitch_range=50, seed=1)
        one.say("Something else.", rate=200, pitch=70, pitch_range=90, seed=2)
        second = other.say("The paper is in the drawer.", rate=170, pitch=50, pitch_range=50, seed=1)
    assert np.array_equal(first, second)


# All or nothing.


def failing(after: int, fail: Callable[[], None]) -> Callable[[Path, NDArray[np.float64], int], None]:
    """A ``write_wav`` that calls ``fail`` once it has written ``after`` files."""
    write_wav, written = demo.write_wav, [0]

    def write(path: Path, waveform: NDArray[np.float64], sample_rate: int) -> None:
        if written[0] == after:
            fail()
        write_wav(path, waveform, sample_rate)
        written[0] += 1

    return write


@needs_espeak
def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(demo, "write_wav", failing(3, fail))
    corpus = Demo(tmp_path / "demo")
    with pytest.raises(CorpusError, match="No space left"):
        corpus.prepare()
    assert list(tmp_path.iterdir()) == []
    assert not corpus.found()


@needs_espeak
def test_a_kill_leaves_no_root(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from ser_zoo.corpora import demo\n"
        "render = demo.render\n"
        "def killed(synthesiser, take):\n"
        "    if take.name == 'f1-s1-anger-2': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return render(synthesiser, take)\n"
        "demo.render = killed\n"
        "demo.Demo(sys.argv[1]).prepare()"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "demo")], check=False)
    assert result.returncode == -9
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.wav")]
    assert [path.name for path in left] == ["f1-s1-anger-1.wav"]
    assert left[0].parts[0].startswith(".demo-incomplete-")
    assert not Demo(tmp_path / "demo").root.exists()


def test_the_faster_of_two_processes_wins(tmp_path: Path, empty_files: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Demo(tmp_path / "data" / "demo")

    def generate(folder: Path) -> None:
        (folder / "f1").mkdir(parents=True)
        empty_files.root.rename(corpus.root)  # the other process is done first

    monkeypatch.setattr(demo, "generate", generate)
    corpus.prepare()
    assert len(corpus.utterances()) == sum(Demo.counts.values())
    assert list(corpus.root.parent.iterdir()) == [corpus.root]


def test_a_release_that_is_there_is_not_made_again(empty_files: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(demo, "generate")
    empty_files.prepare()
    assert empty_files.found()


# What is refused.


def test_the_error_before_the_release_is_made_says_how_to_make_it(tmp_path: Path) -> None:
    corpus = create_corpus("demo", tmp_path / "demo")
    assert not corpus.found()
    with pytest.raises(CorpusError, match=r"there is no folder .*prepare\(\)"):
        corpus.utterances()


def test_a_place_that_cannot_be_written_to_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "demo"
    with pytest.raises(CorpusError, match=rf"cannot be made at {re.escape(str(root))}: .* Set SER_ZOO_DATA to another folder"):
        Demo(root).prepare()


def test_a_release_of_another_version_is_refused_and_kept(empty_files: Demo) -> None:
    (empty_files.root / "VERSION").write_text("0\n")
    with pytest.raises(CorpusError, match=r"made by version 0 .* Delete "):
        empty_files.prepare()
    with pytest.raises(CorpusError, match=r"made by version 0 .* Delete "):
        empty_files.utterances()
    assert len(list(empty_files.files())) == sum(Demo.counts.values())


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CorpusError, match=r"holds thesis\.txt, and no file VERSION"):
        Demo(tmp_path).prepare()
    with pytest.raises(CorpusError, match=r"holds thesis\.txt, and no file VERSION"):
        Demo(tmp_path).utterances()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "f9-s1-anger-1",
        "f1-s7-anger-1",
        "f1-s1-rage-1",
        "f1-s1-anger-3",
        "f1-s1-anger",
        "f1-s1-anger-1 (copy)",
    ],
)
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(CorpusError, match="unexpected file name"):
        Demo("data").parse(Path("data/f1") / f"{name}.wav")


def test_a_recording_that_is_missing_is_named(empty_files: Demo) -> None:
    (empty_files.root / "m3" / "m3-s4-sadness-2.wav").unlink()
    with pytest.warns(SERZooWarning, match=r"383 of 384 utterances\. Missing: m3-s4-sadness-2"):
        assert len(empty_files.utterances()) == 383


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(CorpusError, match=r"pip install 'ser-zoo\[demo\]'"):
        Demo(tmp_path / "demo").prepare()
    assert list(tmp_path.iterdir()) == []


@needs_espeak
def test_a_library_that_does_not_load_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "libespeak-ng.so"
    broken.write_text("not a library")
    monkeypatch.setattr("espeakng_loader.get_library_path", lambda: str(broken))
    with pytest.raises(CorpusError, match="espeak-ng does not load"):
        Synthesiser("en+f1")


@needs_espeak
def test_data_that_is_not_there_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espeakng_loader.get_data_path", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match=r"cannot read its data in .*nowhere"):
        Synthesiser("en+f1")


@needs_espeak
def test_an_unknown_voice_is_reported() -> None:
    with pytest.raises(CorpusError, match="no voice nowhere"):
        Synthesiser("nowhere")


def test_importing_the_reader_imports_nothing_slow() -> None:
    code = (
        "import sys, ser_zoo.corpora; before = set(sys.modules); import ser_zoo.corpora.demo\n"
        "print(*{'ctypes', 'numpy', 'soundfile', 'torch', 'tqdm'} & (set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == ""
