from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from ser_zoo.data import SERDataModule
from ser_zoo.models import create_model
from ser_zoo.models.optim import Optim
from tests.models.small import batch_of, small_model
from tests.tiny import BLOCKS, tiny_encoder


def reference(network: nn.Module, states: Tensor) -> Tensor:
    """Logits of one clip with (L, T, D) states as the source has it: mix and project every frame, then the mean."""
    if network.mix.standardise is not None:
        states = network.mix.standardise(states.transpose(0, 1)).transpose(0, 1)
    elif network.condense.scaling != "none":
        states = (states - states.mean(-1, keepdim=True)) / (states.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        states = states.tanh() if network.condense.scaling == "squash" else states
    weights = torch.ones(1) if network.mix.weights is None else network.mix.weights.softmax(0)
    mean = torch.einsum("l,ltd->td", weights, states).mean(0)
    if isinstance(network.norm, nn.BatchNorm1d):
        norm = network.norm
        mean = (mean - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    return network.classifier(network.project(mean))


@pytest.mark.parametrize("layers", [None, (2,), (0, 3)])
@pytest.mark.parametrize("projection", [16, None])
@pytest.mark.parametrize("scaling", ["none", "training", "frame", "squash"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_are_those_of_the_equations(
    layers: tuple[int, ...] | None, projection: int | None, scaling: str, batch_norm: bool, tmp_path: Path
) -> None:
    settings = {"layers": layers, "projection": projection, "state_scaling": scaling, "batch_norm": batch_norm}
    model = small_model("probe", tmp_path, **settings).eval()
    network = model.network
    assert network.encoder.layers == (layers or tuple(range(BLOCKS + 1)))
    if network.mix.weights is not None:
        nn.init.normal_(network.mix.weights)
    if batch_norm:
        nn.init.normal_(network.norm.running_mean)
        nn.init.uniform_(network.norm.running_var, 0.5, 2.0)
        nn.init.normal_(network.norm.weight)
    if network.mix.standardise is not None:
        network.mix.standardise.fit([3 + torch.randn(9, len(network.encoder.layers), network.encoder.width)])
    batch = batch_of(model, [0.5, 1.2])
    with torch.no_grad():
        states, lengths = model.encoder(batch.waveforms, batch.lengths)
        logits = model(batch)
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(logits[row], reference(network, states[row, :, :length]), atol=1e-5, rtol=1e-4)


def test_defaults_are_those_of_the_source(tmp_path: Path) -> None:
    model = create_model("probe", ["a", "b", "c", "d"], encoder=str(tiny_encoder(tmp_path / "e", "wav2vec2")))
    assert model.network.encoder.frozen
    assert model.network.project.out_features == 256
    assert model.network.mix.standardise is None
    assert len(model.network.mix.weights) == BLOCKS + 1
    assert model.optim == Optim(lr=1e-4, optimizer="adam", weight_decay=0.0)


def test_states_are_standardised_by_the_training_side(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    model = small_model("probe", tmp_path, state_scaling="training")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, datamodule=data)
    with torch.no_grad():
        states = [
            model.encoder(waveform, torch.tensor([waveform.shape[1]])).states[0].transpose(0, 1)
            for row in data.split.train
            for waveform in [torch.tensor(data.waveforms[row.id])[None]]
        ]
    frames = torch.cat(states)
    torch.testing.assert_close(model.network.mix.standardise.mean, frames.mean(0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(model.network.mix.standardise.deviation, frames.std(0, correction=0), atol=1e-3, rtol=1e-3)
