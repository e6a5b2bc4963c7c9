from __future__ import annotations

import warnings
from pathlib import Path

import lightning as L
import numpy as np
import opensmile
import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from ser_zoo.data import SERDataModule
from ser_zoo.errors import SERZooError
from ser_zoo.models import create_model
from ser_zoo.models.egemaps import Egemaps, EgemapsFunctionals
from ser_zoo.models.optim import Optim
from tests.models.small import small_model


@pytest.fixture(scope="module")
def functionals() -> EgemapsFunctionals:
    return EgemapsFunctionals(16_000)


def voice(seconds: float, level: float = 0.1) -> Tensor:
    """(1, T) twenty harmonics of 120 Hz at 16 kHz."""
    time = torch.arange(round(seconds * 16_000)) / 16_000
    return level * sum(torch.sin(2 * torch.pi * 120 * k * time) / k for k in range(1, 21))[None]


def values_of(functionals: EgemapsFunctionals, waveform: Tensor) -> Tensor:
    """(88,) of a (1, T) waveform, computed without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return functionals(waveform, torch.tensor([waveform.shape[1]])).values[0, 0]


def test_values_and_names_are_those_of_opensmile(functionals: EgemapsFunctionals) -> None:
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    expected = smile.process_signal(voice(0.5)[0].numpy(), 16_000)
    assert functionals.names == list(expected.columns)
    assert len(functionals.names) == functionals.size == 88
    np.testing.assert_array_equal(values_of(functionals, voice(0.5)).numpy(), expected.to_numpy()[0])
    pitch = dict(zip(functionals.names, values_of(functionals, voice(0.5)).tolist(), strict=True))
    assert pitch["F0semitoneFrom27.5Hz_sma3nz_amean"] == pytest.approx(12 * np.log2(120 / 27.5), abs=0.1)


def test_what_follows_a_clip_is_not_read(functionals: EgemapsFunctionals) -> None:
    waveforms = torch.cat([voice(0.5), voice(0.5, level=0.3)])
    values, counts = functionals(waveforms, torch.tensor([4_000, 8_000]))
    assert counts.tolist() == [1, 1]
    assert torch.equal(values[0, 0], values_of(functionals, voice(0.25)))


def test_full_scale_does_not_wrap_round(functionals: EgemapsFunctionals) -> None:
    square = voice(0.5).sign()
    torch.testing.assert_close(values_of(functionals, 2 * square), values_of(functionals, square))
    torch.testing.assert_close(
        values_of(functionals, square), values_of(functionals, square * 32_767 / 32_768), atol=0.1, rtol=0.01
    )


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100])
def test_one_sample_is_enough_at_any_rate(rate: int) -> None:
    assert values_of(EgemapsFunctionals(rate), torch.full((1, 1), 0.5)).isfinite().all()


def test_a_clip_too_short_is_continued_with_silence(functionals: EgemapsFunctionals) -> None:
    clip = voice(0.03)
    expected = values_of(functionals, nn.functional.pad(clip, (0, 960 - clip.shape[1])))
    assert torch.equal(values_of(functionals, clip), expected)


def test_silence_has_finite_values(functionals: EgemapsFunctionals) -> None:
    assert values_of(functionals, torch.zeros(1, 8_000)).isfinite().all()


def test_extractors_that_differ_in_rate_have_another_repr(functionals: EgemapsFunctionals) -> None:
    assert repr(functionals) != repr(EgemapsFunctionals(8_000))


def rows(count: int = 60, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    return torch.randn(count, 88, generator=generator) + 0.3 * labels[:, None] * torch.randn(88, generator=generator), labels


def test_minimum_of_the_svm_objective_is_that_of_liblinear(tmp_path: Path) -> None:
    model = small_model("egemaps", tmp_path)
    assert isinstance(model, Egemaps)
    values, labels = rows()
    penalty, classifier = 0.1, model.network.classifier
    optimiser = torch.optim.LBFGS(classifier.parameters(), max_iter=500, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        squares = sum(parameter.square().sum() for parameter in classifier.parameters())
        loss = model.criterion(classifier(values), labels) + penalty / 2 * squares
        loss.backward()
        return loss

    optimiser.step(objective)
    expected = LinearSVC(C=1 / (penalty * len(labels)), dual=False, tol=1e-8).fit(values.numpy(), labels.numpy())
    np.testing.assert_allclose(classifier(values).detach(), expected.decision_function(values.numpy()), atol=1e-3)


def test_shared_labels_share_the_hinge(tmp_path: Path) -> None:
    model = small_model("egemaps", tmp_path)
    logits = torch.tensor([[0.5, -2.0, 0.1]])
    one, other = (model.criterion(logits, torch.tensor([label])) for label in (0, 2))
    mixed = model.criterion(logits, torch.tensor([[0.25, 0.0, 0.75]]))
    torch.testing.assert_close(mixed, 0.25 * one + 0.75 * other)
    assert one.item() == pytest.approx(0.5**2 + 0.0 + 1.1**2)


def test_the_hinge_of_half_precision_is_that_of_full_precision(tmp_path: Path) -> None:
    model = small_model("egemaps", tmp_path)
    logits, label = torch.tensor([[0.503, -2.01, 0.107]]).bfloat16(), torch.tensor([0])
    found = model.criterion(logits, label)
    assert found.dtype == torch.float32
    assert torch.equal(found, model.criterion(logits.float(), label))


def test_class_weights_weigh_the_hinge(tmp_path: Path) -> None:
    model = small_model("egemaps", tmp_path)
    logits, labels = torch.tensor([[0.5, -2.0, 0.1], [0.0, 0.0, 0.0]]), torch.tensor([0, 1])
    one, other = (model.criterion(logits[[row]], labels[[row]]) for row in range(2))
    model.class_weights.copy_(torch.tensor([2.0, 3.0, 1.0]))
    torch.testing.assert_close(model.criterion(logits, labels), (2 * one + 3 * other) / 2)


def test_logistic_head_has_the_loss_of_optim(tmp_path: Path) -> None:
    model = small_model("egemaps", tmp_path, head="logistic", optim=Optim(label_smoothing=0.1))
    logits, labels = rows()[0][:, :3], rows()[1]
    expected = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(model.criterion(logits, labels), expected)


@pytest.mark.parametrize("optim", [Optim(loss="focal"), Optim(label_smoothing=0.1)], ids=["focal", "smoothing"])
def test_svm_head_refuses_another_loss(optim: Optim) -> None:
    with pytest.raises(SERZooError, match="head logistic"):
        create_model("egemaps", ["a", "b"], optim=optim)


def test_functionals_are_scaled_by_the_training_rows_only(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    model = small_model("egemaps", tmp_path)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, datamodule=data)
    (kept,) = data.waveforms.derived.values()
    training = torch.stack([kept.rows[utterance.id][0][0] for utterance in data.split.train])
    deviation = training.std(0, correction=0)
    torch.testing.assert_close(model.network.standardise.mean, training.mean(0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        model.network.standardise.deviation, torch.where(deviation > 1e-6, deviation, 1.0), atol=1e-3, rtol=1e-3
    )


def test_says_how_to_install_opensmile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SERZooError, match=r"pip install 'ser-zoo\[opensmile\]'"):
        create_model("egemaps", ["a", "b"])
