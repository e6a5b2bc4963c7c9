"""The benchmarks of corpora: that they run on fake releases, and write what is true of these. Times mean nothing here."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ser_zoo.data.fingerprint import RATE
from ser_zoo.protocols import protocols_of
from tests.releases import ravdess_names, write_emo_db, write_ravdess

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """The benchmark that a test names, imported as its file finds what is beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module(request.param)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the benchmarks look for corpora; the folder is not there yet."""
    monkeypatch.setenv("SER_ZOO_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def run(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [benchmark.__name__, *arguments])
    benchmark.main()


# Fingerprints.


@pytest.mark.parametrize("benchmark", ["fingerprint"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_false_alarms_misses_and_cost_are_measured(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ravdess(data / "ravdess", ravdess_names(actors=("01", "02"), emotions=("01", "05"), takes=1), seconds=1.0)
    output = tmp_path / "fingerprint.json"
    run(benchmark, monkeypatch, "--corpora", "ravdess", "--copies=2", "--clips=5", f"--output={output}")
    result = json.loads(output.read_text())
    alarms = result["corpora"]["ravdess"]["false_alarms"]
    assert alarms["pairs"] == alarms["clips"] * (alarms["clips"] - 1) // 2 > 0
    assert result["all_together"]["clips"] == alarms["clips"]
    misses = result["corpora"]["ravdess"]["misses"]
    assert misses.keys() == benchmark.CHANGES.keys()
    assert all(of_change["copies"] == 2 for of_change in misses.values())
    assert misses["gain -12 dB"]["missed"] == []
    assert result["cost"]["clips"] == 5
    assert {"machine", "versions", "commit", "threshold"} <= result.keys()
    printed = capsys.readouterr().out
    assert f"ravdess: {alarms['clips']} clips" in printed
    assert all(f"  {change} " in printed for change in misses)


@pytest.mark.parametrize("benchmark", ["fingerprint"], indirect=True)
def test_changes_of_a_copy_are_what_they_are_called(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(0)
    waveform = generator.normal(0, 0.1, 2 * RATE).astype(np.float32)
    changed = {name: change(waveform, generator) for name, change in benchmark.CHANGES.items()}
    assert all(np.isfinite(copy).all() for copy in changed.values())
    assert len(waveform) - len(changed["trimmed 0.2 to 0.5 s at both ends"]) in range(2 * RATE // 5, RATE)
    assert 20 * np.log10(np.std(changed["gain -12 dB"]) / np.std(waveform)) == pytest.approx(-12, abs=0.01)
    noise = changed["noise 20 dB below"] - waveform
    assert 20 * np.log10(np.std(noise) / np.std(waveform)) == pytest.approx(-20, abs=0.5)
    assert np.abs(changed["flac, 16 bit"] - waveform).max() < 2**-15
    assert len(benchmark.at_speed(waveform, 1.25)) == pytest.approx(len(waveform) / 1.25, abs=1)


# Certificates.


@pytest.fixture
def written(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the certificates go, in place of those of the repository."""
    (tmp_path / "certificates").mkdir()
    monkeypatch.setattr(benchmark, "TARGET", tmp_path / "certificates")
    return tmp_path / "certificates"


def honest(name: str) -> list[str]:
    return sorted(f"{name}-{protocol.name}.json" for protocol in protocols_of(name).values() if protocol.world == "honest")


@pytest.mark.parametrize("benchmark", ["certificates"], indirect=True)
def test_certificates_by_the_rule_of_the_names_are_those_of_the_repository(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    run(benchmark, monkeypatch, "--only=savee")
    assert sorted(path.name for path in written.iterdir()) == honest("savee")
    for path in written.iterdir():
        certificate = json.loads(path.read_text())
        assert certificate == json.loads((FOLDER / "certificates" / path.name).read_text())
        assert certificate["passes"]
        assert certificate["audio"] is None


@pytest.mark.parametrize("benchmark", ["certificates"], indirect=True)
def test_a_recorded_corpus_is_listened_to(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, written: Path, data: Path, emo_db: Path
) -> None:
    data.mkdir()
    (data / "emo_db").symlink_to(emo_db)
    run(benchmark, monkeypatch, "--only=emo_db")
    assert sorted(path.name for path in written.iterdir()) == honest("emo_db")
    for path in written.iterdir():
        assert json.loads(path.read_text())["audio"]["utterances"] == 339


@pytest.mark.parametrize("benchmark", ["certificates"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_a_leak_ends_it(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, written: Path, data: Path) -> None:
    root = write_emo_db(data / "emo_db", emotions="WTNF", takes=1)
    people = sorted((root / "wav").iterdir())
    people[-1].write_bytes(people[0].read_bytes())  # by another speaker
    with pytest.raises(SystemExit, match=r"emo_db \w+: the audit failed"):
        run(benchmark, monkeypatch, "--only=emo_db")
