from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ser_zoo.cli import main
from ser_zoo.cli import profile as command
from ser_zoo.data import Batch
from ser_zoo.inference import profile, profiling
from ser_zoo.models.base import SERModule
from tests.cli.commands import cells
from tests.models.small import small_model


def test_json_has_a_row_per_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "profile",
                "--model",
                "cnn_attn",
                "--model.channels",
                "8",
                "--seconds",
                "[0.5,1]",
                "--repeats",
                "3",
                "--format",
                "json",
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "cnn_attn"
    assert found["parameters"]["total"] == found["parameters"]["trained"] > 0
    assert [row["seconds"] for row in found["clips"]] == [0.5, 1.0]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in found["clips"])
    assert found["peak_memory_mib"] > 50  # Python and torch alone take more


def test_table_shows_what_json_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--model", "cnn_attn", "--seconds", "[1]", "--repeats", "2"]) == 0
    shown = capsys.readouterr().out
    assert "537,826" in shown
    assert "MACs per second of audio" in shown


def test_the_table_names_its_units_and_tells_trained_from_frozen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = {"seconds": 2.5, "macs_per_second": 1.2345e9, "p50_ms": 10.04, "p95_ms": 20.06, "real_time_factor": 0.00402}
    found = {
        "model": "cnn_attn",
        "parameters": {"total": 3000, "trained": 1000},
        "device": "cpu",
        "threads": 1,
        "peak_memory_mib": 99.6,
        "clips": [clip],
    }
    monkeypatch.setattr(command, "profile", lambda *_: found)
    assert main(["profile", "--model", "cnn_attn", "--model.channels", "8"]) == 0
    assert cells(capsys.readouterr().out) == [
        ["cnn_attn", "3,000", "1,000", "100", "cpu", "1"],
        ["2.5", "1,234.5 M", "10.0", "20.1", "0.0040"],
    ]


def test_figures_are_those_of_the_classes_asked_for_and_kept_where_they_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "profile", lambda model, *_: {"labels": model.labels})
    output = tmp_path / "new" / "profile.json"
    call = ["profile", "--model=cnn_attn", "--model.channels=8", "--classes=5", "--format=json", f"--output={output}"]
    assert main(call) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(output.read_text())
    assert len(json.loads(output.read_text())["labels"]) == 5


def test_latencies_are_percentiles_of_the_calls_in_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[bool] = []
    seconds = iter(range(40, -1, -1))

    def timed(model: SERModule, batch: Batch) -> float:
        trained.append(model.training)
        return next(seconds) / 1000

    monkeypatch.setattr(profiling, "_timed", timed)
    (row,) = profile(small_model("cnn_attn", tmp_path).train(), [0.5], repeats=41)["clips"]
    assert (row["p50_ms"], row["p95_ms"]) == (20.0, 38.0)
    assert row["real_time_factor"] == 0.020 / 0.5
    assert not any(trained)


@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 1)])
def test_memory_is_in_mebibytes_whatever_the_system_counts_in(
    platform: str, unit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(ru_maxrss=300 * 2**20 // unit)
    monkeypatch.setattr(profiling, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr("resource.getrusage", lambda _: usage)
    assert profile(small_model("cnn_attn", tmp_path), [], repeats=1)["peak_memory_mib"] == 300.0


class Known(nn.Module):
    """A layer over ten frames of six values, whose arithmetic is known, in place of a network."""

    def __init__(self, layer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        return self.layer(waveforms.new_ones(1, 10, 6))[:, 0]


def recurrent() -> Callable[[Tensor], Tensor]:
    lstm = nn.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True).eval()
    return lambda frames: lstm(frames)[0]


def dot_products(frames: Tensor) -> Tensor:
    heads = frames.view(1, 10, 2, 3).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)


def multihead(need_weights: bool) -> Callable[[Tensor], Tensor]:
    attention = nn.MultiheadAttention(6, 2, batch_first=True).eval()
    return lambda frames: attention(frames, frames, frames, need_weights=need_weights)[0]


GATES = 4 * 4 * (6 + 4) + 4 * 4 * (8 + 4)  # of two layers of an LSTM: four, of input and hidden weights, per direction
ATTENTION = 2 * 10 * 10 * 6  # scores and weighed sums, of all heads
PROJECTIONS = 4 * 10 * 6 * 6  # to queries, keys and values, and of what comes out


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Linear(6, 5), 10 * 6 * 5),
        (recurrent(), 10 * 2 * GATES),
        (dot_products, ATTENTION),
        (multihead(need_weights=False), PROJECTIONS + ATTENTION),
        (multihead(need_weights=True), PROJECTIONS + ATTENTION),
        (nn.TransformerEncoderLayer(6, 2, 7, batch_first=True), PROJECTIONS + ATTENTION + 2 * 10 * 6 * 7),
    ],
    ids=["linear", "LSTM", "attention", "multi-head attention", "with its weights", "transformer layer"],
)
@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], ids=["matrix products", "fused attention"])
def test_multiply_accumulates_are_those_of_the_layers(
    layer: Callable[[Tensor], Tensor], expected: int, kernel: SDPBackend, tmp_path: Path
) -> None:
    model = small_model("cnn_attn", tmp_path)
    model.network = Known(layer)
    with sdpa_kernel(kernel):
        (row,) = profile(model, [2.0], repeats=1)["clips"]
    assert row["macs_per_second"] == expected / 2.0
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("both", [[], ["--model=cnn_attn", "--ckpt_path=best.ckpt"]])
def test_a_checkpoint_or_a_model_must_be_named(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *both]) == 1
    assert "either --model NAME or --ckpt_path FILE" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--seconds", "[0]"], ["--repeats", "0"], ["--classes", "-1"]])
def test_nonsense_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--model", "cnn_attn", *wrong]) == 1
    assert "makes no sense" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model=probe", "--encoder=pico"], "--encoder pico is for --ckpt_path FILE. Expected --model.encoder"),
        (["--ckpt_path=best.ckpt", "--classes=7"], "--classes 7 is for --model NAME"),
        (["--model=cnn_attn", "--seconds=[]"], "--seconds [] names no clip"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", *arguments]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without CUDA is meant")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cpu:1", "foo", "meta", ""])
def test_a_device_that_cannot_be_used_is_explained(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--model", "cnn_attn", f"--device={device}"]) == 1
    assert f"error: --device {device} cannot be used here" in (error := capsys.readouterr().err)
    assert re.search(r"This machine has (one )?cpu", error)
