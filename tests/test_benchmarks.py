"""The speed benchmarks: that what they compare does the same, and that they write what they say. Times mean nothing here."""

from __future__ import annotations

import json
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.releases import ravdess_names, write_ravdess
from tests.tiny import tiny_encoder

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """The benchmark that a test names, imported as its file finds what is beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module(request.param)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fake RAVDESS of all actors, where the benchmarks look for it."""
    write_ravdess(tmp_path / "data" / "ravdess", ravdess_names(emotions=("01", "05"), takes=1), seconds=0.3)
    monkeypatch.setenv("SER_ZOO_DATA", str(tmp_path / "data"))


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
