"""The benchmarks: that what they compare does the same, and that they write what they say. Times mean nothing here."""

from __future__ import annotations

import json
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ser_zoo.data.fingerprint import RATE
from ser_zoo.protocols import protocols_of
from tests.releases import ravdess_names, write_emo_db, write_ravdess
from tests.tiny import tiny_encoder

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """The benchmark that a test names, imported as its file finds what is beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module(request.param)


@pytest.fixture
def corpora(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the benchmarks look for corpora; the folder is not there yet."""
    monkeypatch.setenv("SER_ZOO_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def data(corpora: Path) -> None:
    """A fake RAVDESS of all actors, where the benchmarks look for it."""
    write_ravdess(corpora / "ravdess", ravdess_names(emotions=("01", "05"), takes=1), seconds=0.3)


def run(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [benchmark.__name__, *arguments])
    benchmark.main()


@pytest.mark.usefixtures("data")
@pytest.mark.filterwarnings("ignore:.*is not complete")
@pytest.mark.parametrize("benchmark", ["front_end"], indirect=True)
def test_front_end_computes_what_its_reference_computes(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "speed" / "front_end.json"
    run(benchmark, monkeypatch, "--corpora=ravdess", "--clips=5", "--repeats=1", f"--output={output}")
    result = json.loads(output.read_text())["corpora"]["ravdess"]
    assert result["clips"] == 5
    assert set(result["ratio_to_reference"]) == {"reference", "first_epoch", "later_epochs"}
    assert 0 < result["largest_difference"]["spectrogram_db"] < 0.05
    assert 0 < result["largest_difference"]["mfcc"] < 0.05


@pytest.mark.parametrize("benchmark", ["training"], indirect=True)
@pytest.mark.parametrize(
    ("compared", "name", "samples"), [("co_attn", "co_attn (faithful)", 47_999), ("cross_attn", "cross_attn", 16_000)]
)
def test_the_references_learn_as_our_networks_do(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compared: str, name: str, samples: int
) -> None:
    monkeypatch.setattr(benchmark, "CLIPS", 1)
    monkeypatch.setattr(benchmark, "SAMPLES", samples)
    monkeypatch.setattr(benchmark, "low_precision", lambda: False)
    monkeypatch.setattr(benchmark, "fastest", lambda ways, **_: dict.fromkeys(ways, 1.0))
    encoder = tiny_encoder(tmp_path / "encoder", "wav2vec2", num_hidden_layers=9)
    result = getattr(benchmark, compared)(str(encoder), repeats=1, steps=3)[name]
    assert result["largest_relative_difference_of_loss"]["float32_to_reference"] < 1e-4
    first, *_, last = result["losses"]["float32"]
    assert first != last


@pytest.mark.parametrize("benchmark", ["training"], indirect=True)
def test_losses_are_followed_without_moving_the_weights(benchmark: ModuleType) -> None:
    module = torch.nn.Linear(3, 2)
    before = module.weight.clone()
    optimizer = partial(torch.optim.AdamW, module.parameters(), lr=0.1)
    trained = benchmark.Trained(module, lambda batch: module(batch).square().sum(), optimizer)
    losses = trained.curve(False, [torch.ones(1, 3)], 4)
    assert losses[-1] < losses[0]
    assert torch.equal(module.weight, before)


@pytest.mark.usefixtures("data")
@pytest.mark.filterwarnings("ignore:.*is not complete")
@pytest.mark.parametrize("benchmark", ["training"], indirect=True)
def test_an_epoch_is_timed_and_other_parts_are_kept(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoder, output = tiny_encoder(tmp_path / "encoder", "whisper", encoder_layers=6), tmp_path / "training.json"
    output.write_text(json.dumps({"memory": {"kept": True}}))
    arguments = ["--only=epoch", f"--encoder={encoder}", f"--output={output}"]
    run(benchmark, monkeypatch, *arguments, "--models=cta_rnn")
    results = json.loads(output.read_text())
    assert results["memory"] == {"kept": True}
    result = results["epoch"]["models"]["cta_rnn"]
    assert result["clips"] == 32
    assert result["steps"] == -(-32 // result["batch_size"])
    assert 0 < result["seconds_of_its_training"] <= result["seconds_of_second_epoch"]
    assert 0 < result["share_waiting_for_batches"] + result["share_reading_features"] < 1


@pytest.mark.parametrize("benchmark", ["training"], indirect=True)
def test_memory_is_that_of_the_command_and_not_of_an_earlier_one(benchmark: ModuleType) -> None:
    sizes = [benchmark.peak_memory([sys.executable, "-c", f"b'x' * ({size} << 20)"], {}) for size in (300, 0)]
    assert sizes[0] > 300 * 2**20
    assert sizes[1] < 200 * 2**20


# Fingerprints.


@pytest.mark.parametrize("benchmark", ["fingerprint"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_false_alarms_misses_and_cost_are_measured(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ravdess(corpora / "ravdess", ravdess_names(actors=("01", "02"), emotions=("01", "05"), takes=1), seconds=1.0)
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
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, written: Path, corpora: Path, emo_db: Path
) -> None:
    corpora.mkdir()
    (corpora / "emo_db").symlink_to(emo_db)
    run(benchmark, monkeypatch, "--only=emo_db")
    assert sorted(path.name for path in written.iterdir()) == honest("emo_db")
    for path in written.iterdir():
        assert json.loads(path.read_text())["audio"]["utterances"] == 339


@pytest.mark.parametrize("benchmark", ["certificates"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*is not complete")
def test_a_leak_ends_it(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, written: Path, corpora: Path) -> None:
    root = write_emo_db(corpora / "emo_db", emotions="WTNF", takes=1)
    people = sorted((root / "wav").iterdir())
    people[-1].write_bytes(people[0].read_bytes())  # by another speaker
    with pytest.raises(SystemExit, match=r"emo_db \w+: the audit failed"):
        run(benchmark, monkeypatch, "--only=emo_db")


@pytest.mark.parametrize("benchmark", ["latency"], indirect=True)
def test_latency_is_of_each_encoder_with_what_it_costs(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "latency.json"
    monkeypatch.setattr(benchmark, "base_encoder", lambda folder: str(tiny_encoder(folder, "wav2vec2")))
    monkeypatch.setattr(benchmark, "SECONDS", 0.5)
    encoder = tiny_encoder(tmp_path / "whisper", "whisper", encoder_layers=4)
    run(benchmark, monkeypatch, f"--encoders={encoder}", "--repeats=2", f"--output={output}")
    rows = json.loads(output.read_text())["rows"]
    plain = [row for row in rows if row["precision"] == "float32"]
    assert [row["encoder"] for row in plain] == ["pico", "whisper", "wav2vec2-base-shaped"]
    assert 2.7e6 < plain[0]["parameters"]["total"] < 3.2e6
    assert all(row["macs"] > 0 and 0 < row["p50_ms"] <= row["p95_ms"] for row in rows)
    text = output.with_suffix(".md").read_text()
    assert "from `latency.json`" in text
    assert f"| pico | float32 | {plain[0]['parameters']['total'] / 1e6:.1f} M |" in text


# Arguments.


@pytest.mark.parametrize(
    "benchmark", ["extraction", "fingerprint", "front_end", "intervals", "latency", "training"], indirect=True
)
def test_a_number_of_nothing_is_refused(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    option = {"fingerprint": "copies", "intervals": "trials"}.get(benchmark.__name__, "repeats")
    for number in ("0", "-3", "some"):
        with pytest.raises(SystemExit) as ended:
            run(benchmark, monkeypatch, f"--{option}={number}")
        assert ended.value.code == 2
        assert f"argument --{option}: {number} makes no sense; expected a whole number, 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "benchmark", ["extraction", "fingerprint", "front_end", "intervals", "latency", "training"], indirect=True
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for output, words in ((tmp_path, "is a folder"), (tmp_path / "file" / "result.json", "cannot be made")):
        with pytest.raises(SystemExit):
            run(benchmark, monkeypatch, f"--output={output}")
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("benchmark", "arguments", "words"),
    [
        ("extraction", ["--encoder=/no/encoder"], r"Encoder not found: .* Pass it with --encoder\."),
        ("extraction", ["--encoder=pico"], "pico is no Whisper"),
        ("front_end", ["--corpora=emodb"], "Unknown corpus 'emodb'"),
        ("latency", ["--encoders", "/no/encoder"], "Encoder not found"),
        ("training", ["--only=epoch", "--encoder=pico", "--models=nothing"], "Unknown model 'nothing'"),
    ],
    indirect=["benchmark"],
)
def test_a_mistake_ends_a_benchmark_in_words(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], words: str
) -> None:
    monkeypatch.setattr(sys, "argv", [benchmark.__name__, *arguments, f"--output={tmp_path / 'result.json'}"])
    with pytest.raises(SystemExit, match=f"error: {words}"):
        benchmark.in_words(benchmark.main)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("benchmark", ["training"], indirect=True)
def test_a_measured_command_that_fails_ends_it_in_words(benchmark: ModuleType) -> None:
    with pytest.raises(SystemExit, match="error: The command that is measured failed"):
        benchmark.in_words(lambda: benchmark.peak_memory([sys.executable, "-c", "raise SystemExit(1)"], {}))


@pytest.mark.parametrize("benchmark", ["training"], indirect=True)
def test_a_file_that_holds_no_results_is_not_overwritten(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "notes.txt"
    output.write_text("mine")
    with pytest.raises(SystemExit):
        run(benchmark, monkeypatch, "--only=step", f"--output={output}")
    assert "holds no results" in capsys.readouterr().err
    assert output.read_text() == "mine"


@pytest.mark.parametrize("benchmark", ["latency"], indirect=True)
def test_the_table_of_latencies_does_not_replace_the_results(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(benchmark, monkeypatch, f"--output={tmp_path / 'latency.md'}")
    assert "latency.md is where the table goes; expected the name of a JSON file" in capsys.readouterr().err


@pytest.mark.parametrize("benchmark", ["certificates"], indirect=True)
def test_a_certificate_that_needs_a_list_asks_for_it(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ids.csv").write_text("id,label\n")
    for arguments, words in (
        (["--only=tess"], "--only tess needs --tess-words"),
        (["--only=iemocap"], "--only iemocap needs --iemocap"),
        ([f"--tess-words={tmp_path / 'none'}"], "argument --tess-words: there is no file"),
        ([f"--iemocap={tmp_path / 'ids.csv'}"], "has not the columns utterance and label"),
    ):
        with pytest.raises(SystemExit):
            run(benchmark, monkeypatch, *arguments)
        assert words in capsys.readouterr().err
