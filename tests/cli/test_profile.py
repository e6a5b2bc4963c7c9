from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ser_zoo.cli import main
from ser_zoo.inference import profile
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


def test_multiply_accumulates_are_those_of_the_layers(tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path)

    class Known(nn.Module):
        """A linear layer and an LSTM over ten frames, whose arithmetic is known."""

        def __init__(self) -> None:
            super().__init__()
            self.linear, self.lstm = nn.Linear(6, 5), nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.lstm(self.linear(waveforms.new_ones(1, 10, 6)))[0]
            return hidden[:, 0]

    model.network = Known()
    (row,) = profile(model, [2.0], repeats=1)["clips"]
    first, second = 4 * 4 * (5 + 4), 4 * 4 * (8 + 4)  # four gates of input and hidden weights, per direction
    assert row["macs_per_second"] == (10 * 6 * 5 + 10 * 2 * (first + second)) / 2.0


def test_a_checkpoint_or_a_model_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile"]) == 1
    assert "either --model NAME or --ckpt_path FILE" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--seconds", "[0]"], ["--repeats", "0"], ["--classes", "-1"]])
def test_nonsense_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--model", "cnn_attn", *wrong]) == 1
    assert "makes no sense" in capsys.readouterr().err
