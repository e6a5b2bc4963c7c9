"""Nothing stays behind on the processor when a model is somewhere else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import nn

from ser_zoo import metrics
from ser_zoo.data import Batch
from ser_zoo.encoders import FeatureStore, SpeechEncoder
from ser_zoo.features import MFCC, FrontEnd, KeptFrames, rows_of
from ser_zoo.inference import predict
from ser_zoo.models import list_models
from ser_zoo.models.augment import change_batch
from tests.elsewhere import DEVICE, Elsewhere, elsewhere, send
from tests.models.small import batch_of, small_model
from tests.tiny import FAMILIES, tiny_encoder

SECONDS = [0.3, 0.6]
CASES = [(name, {}) for name in list_models()] + [
    ("co_attn", {"faithful": True}),
    ("cross_attn", {"directions": "both"}),
    ("cross_attn", {"state_scaling": "training"}),
    ("probe", {"state_scaling": "training", "batch_norm": True}),
]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


def sent(batch: Batch) -> Batch:
    return batch._replace(**{key: Elsewhere(getattr(batch, key)) for key in ("waveforms", "lengths", "labels")})


def test_tensors_on_two_devices_do_not_meet() -> None:
    with elsewhere():
        there = torch.ones(3, device=DEVICE)
        assert (2 * there + torch.tensor(1.0)).tolist() == [3, 3, 3]
        with pytest.raises(RuntimeError, match="elsewhere"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="brought"):
            there.numpy()
        assert there.cpu().numpy().tolist() == [1, 1, 1]


def test_what_a_module_does_not_register_stays_behind() -> None:
    module = nn.Linear(3, 3)
    module.scale = torch.ones(3)
    with elsewhere():
        send(module)
        with pytest.raises(RuntimeError, match="elsewhere"):
            module(torch.ones(1, 3, device=DEVICE)) * module.scale


@pytest.mark.parametrize(("name", "changes"), CASES, ids=[" ".join([name, *changes]) for name, changes in CASES])
def test_a_model_computes_elsewhere_what_it_computes_here(name: str, changes: dict[str, Any], encoders: Path) -> None:
    model = small_model(name, encoders, **changes).eval()
    batch = batch_of(model, SECONDS)
    expected = model(batch).detach()
    with elsewhere():
        send(model)
        found = model(sent(batch))
        assert found.device == DEVICE
        torch.testing.assert_close(found.detach().cpu(), expected, atol=1e-4, rtol=1e-4)
        weights = model.attention(sent(batch))
        assert weights is None or weights.values.device == DEVICE
        for scaler, rows in model.scalers():
            scaler.fit(map(rows, [sent(batch), sent(batch)]))
        changed = change_batch(sent(batch), 3, 0.2, (2, 0.1), (1, 0.3), delta=0.5)
        loss = model.train().loss(sent(batch) if changes.get("faithful") else changed)
        assert loss.device == DEVICE
        if not any(isinstance(module, nn.RNNBase) for module in model.modules()):  # torch's own parts take minutes here
            loss.backward()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_computes_elsewhere_what_it_computes_here(family: str, encoders: Path) -> None:
    place = encoders / f"{family}-alone"
    model = small_model("probe", encoders, encoder=str(tiny_encoder(place, family)), layers=(1, 2), finetune_from=1).eval()
    batch = batch_of(model, SECONDS)
    expected = model(batch).detach()
    with elsewhere():
        send(model)
        torch.testing.assert_close(model(sent(batch)).detach().cpu(), expected, atol=1e-4, rtol=1e-4)
        model.train().loss(sent(batch)).backward()


def test_kept_features_go_where_the_model_is(tmp_path: Path) -> None:
    encoder = SpeechEncoder(str(tiny_encoder(tmp_path / "encoder", "wav2vec2-stable")), (1, 2))
    waveforms = {"a": torch.randn(8_000).numpy(), "b": torch.randn(5_000).numpy()}
    store = FeatureStore(encoder, tmp_path / "features")
    store.fill(waveforms, progress=False)
    front_end, batch = FrontEnd(MFCC(16_000, 13, 0.01)), torch.randn(2, 8_000)
    compute = partial(rows_of, front_end, batch, torch.tensor([8_000, 5_000]))
    states, ((frames, counts),) = store.get(["a", "b"]), KeptFrames().get(["a", "b"], compute)
    with elsewhere():
        found = store.get(["a", "b"], DEVICE)
        ((values, lengths),) = KeptFrames().get(["a", "b"], compute, DEVICE)
        for there, here in (
            (found.states, states.states),
            (found.lengths, states.lengths),
            (values, frames),
            (lengths, counts),
        ):
            assert there.device == DEVICE
            assert torch.equal(there.cpu(), here)


def test_scores_and_probabilities_need_no_float64_where_the_model_is(
    encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    confusion = torch.tensor([[3, 1], [2, 2]])
    model, clip = small_model("mfcc_stats", encoders), tmp_path / "clip.wav"
    soundfile.write(clip, torch.randn(16_000).numpy() / 10, 16_000)
    expected = predict(model, clip, progress=False)
    with elsewhere():
        assert metrics.scores(Elsewhere(confusion)) == metrics.scores(confusion)
        send(model)
        monkeypatch.setattr(type(model), "device", DEVICE)
        monkeypatch.setattr(type(model), "transfer_batch_to_device", lambda self, batch, *_: sent(batch))
        (found,) = predict(model, clip, progress=False)
    assert found.probabilities == pytest.approx(expected[0].probabilities)
