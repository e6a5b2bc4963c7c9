from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from ser_zoo.cli import main
from ser_zoo.data import SERDataModule
from ser_zoo.errors import RunError
from ser_zoo.evaluation import Run, read_predictions, read_result, run_fold
from ser_zoo.evaluation.calibration import (
    HIGHEST,
    LOWEST,
    apply_temperature,
    brier,
    calibrate,
    ece,
    fit_temperature,
    nll,
    reliability,
    softmax,
)
from ser_zoo.inference import load_model, predict
from ser_zoo.models.base import CHECKPOINT_KEY, Calibration
from ser_zoo.models.optim import Optim
from tests.cli.commands import fit_command
from tests.models.small import NEEDS_ENCODER, SMALL
from tests.tiny import tiny_encoder

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": 1,
}
KEPT = "the temperature in its checkpoint"


def draw(count: int = 400, classes: int = 5, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the distribution of the labels, times ``sharpness``."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (count, classes))
    labels = np.array([generator.choice(classes, p=row) for row in softmax(logits)])
    return logits * sharpness, labels


# Measures


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_expected_calibration_error_is_that_of_torchmetrics(bins: int, sharpness: float) -> None:
    logits, labels = draw(sharpness=sharpness)
    found = ece(softmax(logits), labels, bins)
    # torchmetrics counts in float32.
    expected = multiclass_calibration_error(torch.from_numpy(softmax(logits)), torch.from_numpy(labels), 5, bins)
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_reliability_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.55, 0.45], [1.0, 0.0]])
    counts, confidence, accuracy = reliability(probabilities, np.array([0, 0, 0, 1, 0]), bins=5)
    assert counts.tolist() == [0, 0, 1, 2, 2]  # 0.8 ends its bin
    assert confidence[2:] == pytest.approx([0.55, 0.8, 0.95])
    assert accuracy[2:] == pytest.approx([0, 0.5, 1])
    assert np.isnan(confidence[:2]).all()
    assert np.isnan(accuracy[:2]).all()
    assert ece(probabilities, np.array([0, 0, 0, 1, 0]), 5) == pytest.approx((0.55 + 2 * 0.3 + 2 * 0.05) / 5)


def test_adaptive_bins_hold_equally_many_and_ties_stay_together() -> None:
    logits, labels = draw(150)
    counts = reliability(softmax(logits), labels, adaptive=True).counts
    assert counts.tolist() == [10] * 15
    equal = np.full((20, 2), 0.5)
    assert sorted(reliability(equal, np.arange(20) % 2, 4, adaptive=True).counts.tolist()) == [0, 0, 0, 20]
    assert ece(equal, np.arange(20) % 2, 4, adaptive=True) == 0


def test_measures_do_not_depend_on_the_order_of_the_utterances() -> None:
    logits, labels = draw()
    order = np.random.default_rng(1).permutation(len(labels))
    for measure in (brier, nll, ece, lambda *given: ece(*given, adaptive=True)):
        assert measure(softmax(logits)[order], labels[order]) == pytest.approx(measure(softmax(logits), labels), rel=1e-12)


def test_nll_is_the_log_loss_of_scikit_learn() -> None:
    logits, labels = draw()
    assert nll(softmax(logits), labels) == pytest.approx(log_loss(labels, softmax(logits), labels=range(5)), rel=1e-12)


def test_nll_of_an_impossible_truth_is_infinite() -> None:
    assert nll(np.array([[1.0, 0.0]]), np.array([1])) == np.inf


def test_brier_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert brier(probabilities, np.array([0, 1, 2])) == pytest.approx((0.3**2 + 0.2**2 + 0.1**2 + 0 + 2) / 3)


# Temperature


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 3.0, 30.0])
def test_the_temperature_is_that_of_a_general_minimiser(sharpness: float) -> None:
    logits, labels = draw(sharpness=sharpness)
    temperature, at_bound = fit_temperature(logits, labels)
    best = minimize_scalar(
        lambda power: log_loss(labels, softmax(logits / np.exp(power)), labels=range(5)),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert temperature == pytest.approx(np.exp(best.x), rel=1e-5)
    assert temperature == pytest.approx(sharpness, rel=0.2)
    assert not at_bound


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_a_temperature_never_makes_the_validation_side_less_likely(seed: int, sharpness: float) -> None:
    validation = calibrate(*draw(30, sharpness=sharpness, seed=seed), validation_is_test=False)["validation"]
    assert validation["nll_after"] <= validation["nll_before"]


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 7.0])
def test_scaled_probabilities_are_those_of_scaled_logits_and_rank_alike(temperature: float) -> None:
    logits, _ = draw()
    scaled = apply_temperature(softmax(logits), temperature)
    assert scaled == pytest.approx(softmax(logits / temperature), abs=1e-12)
    assert (scaled.argmax(1) == logits.argmax(1)).all()


def test_a_probability_of_zero_stays_zero() -> None:
    assert apply_temperature(np.array([[1.0, 0.0]]), 3.0).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        apply_temperature(np.array([[0.5, 0.5]]), temperature)


@pytest.mark.parametrize(
    ("labels", "bound"),
    [([0, 1, 2, 0, 1, 2], LOWEST), ([1, 2, 0, 1, 2, 0], HIGHEST), ([0, 0, 0], LOWEST)],
    ids=["all right", "all wrong", "one class, all right"],
)
@pytest.mark.parametrize("sharpness", [0.001, 1.0, 20.0])
def test_labels_that_determine_no_temperature_hit_the_bound(labels: list[int], bound: float, sharpness: float) -> None:
    shown = [0] * 3 if labels == [0] * 3 else [0, 1, 2] * 2
    assert fit_temperature(np.eye(3)[shown] * sharpness, np.array(labels)) == (bound, True)


def test_logits_that_say_nothing_keep_temperature_one() -> None:
    assert fit_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == (1.0, False)


def test_what_a_row_stores_is_measured_before_and_after_scaling() -> None:
    logits, labels = draw(sharpness=3.0)
    stored = calibrate(logits, labels, validation_is_test=False)
    after = softmax(logits / stored["temperature"])
    assert stored["validation"] == {
        "utterances": len(labels),
        "nll_before": pytest.approx(nll(softmax(logits), labels)),
        "nll_after": pytest.approx(nll(after, labels)),
        "ece_before": ece(softmax(logits), labels),
        "ece_after": ece(after, labels),
    }
    assert stored["validation"]["ece_after"] < stored["validation"]["ece_before"]


def test_what_a_row_stores_is_finite_where_probabilities_are_not() -> None:
    logits = np.array([[0.0, 2000.0], [0.0, 2000.0], [2000.0, 0.0]])
    stored = calibrate(logits, np.array([1, 1, 1]), validation_is_test=False)
    assert nll(softmax(logits), np.array([1, 1, 1])) == np.inf
    assert stored["validation"]["nll_before"] == pytest.approx(2000 / 3)
    assert (stored["temperature"], stored["at_bound"]) == (HIGHEST, True)  # the best would be 2000 / log 2


# In a run


@pytest.fixture(scope="module")
def fold(small_emo_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished fold 1."""
    folder = tmp_path_factory.mktemp("run") / "r"
    assert main(fit_command(small_emo_db, folder)) == 0
    return folder / "fold-1"


def stored_calibration(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, weights_only=True)[CHECKPOINT_KEY]["calibration"]
    return content


@pytest.fixture
def altered(fold: Path, tmp_path: Path) -> Callable[[dict[str, Any] | None], Path]:
    """Gives a copy of the checkpoint with another calibration; None: as it was before there were any."""

    def copy(calibration: dict[str, Any] | None) -> Path:
        content = torch.load(fold / "checkpoints" / "best.ckpt", weights_only=True)
        content[CHECKPOINT_KEY].pop("calibration")
        if calibration is not None:
            content[CHECKPOINT_KEY]["calibration"] = calibration
        torch.save(content, tmp_path / "altered.ckpt")
        return tmp_path / "altered.ckpt"

    return copy


def test_row_and_tested_checkpoint_hold_the_temperature_of_the_validation_side(fold: Path, small_emo_db: Path) -> None:
    row = read_result(fold / "result.json")
    model = load_model(fold / "checkpoints" / "best.ckpt")
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    batches = list(data.val_dataloader())
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in batches]).double().numpy()
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    expected = calibrate(logits, labels, validation_is_test=False)
    assert row["calibration"]["temperature"] == pytest.approx(expected["temperature"], rel=1e-4)
    assert row["calibration"]["validation"] == pytest.approx(expected["validation"], rel=1e-4)
    assert row["calibration"]["validation"]["utterances"] == row["data"]["validation"] == len(labels)
    assert model.calibration == Calibration(row["calibration"]["temperature"], row["calibration"]["at_bound"], False)
    assert stored_calibration(fold / "checkpoints" / "last.ckpt") is None


def test_stored_predictions_are_without_the_temperature(fold: Path, small_emo_db: Path) -> None:
    row, checkpoint = read_result(fold / "result.json"), fold / "checkpoints" / "best.ckpt"
    ids, _, _, _, probabilities = read_predictions(fold / "predictions.csv", row["labels"])
    files = [small_emo_db / "wav" / f"{key}.wav" for key in ids]
    with_it, without = (predict(load_model(checkpoint), files, calibrated=choice) for choice in (True, False))
    raw = np.array([list(item.probabilities.values()) for item in without])
    assert probabilities == pytest.approx(raw, abs=1e-4)
    temperature = row["calibration"]["temperature"]
    calibrated = np.array([list(item.probabilities.values()) for item in with_it])
    assert calibrated == pytest.approx(apply_temperature(raw, temperature), abs=1e-6)
    assert [item.label for item in with_it] == [item.label for item in without]
    assert {item.temperature for item in with_it} == {temperature}
    assert {item.temperature for item in without} == {None}


def test_predict_says_what_its_probabilities_are(
    fold: Path, small_emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    temperature = read_result(fold / "result.json")["calibration"]["temperature"]
    command = ["predict", str(small_emo_db / "wav"), "--ckpt_path", str(fold / "checkpoints" / "best.ckpt"), "--device=cpu"]
    assert main([*command, "--format=json"]) == 0
    shown = capsys.readouterr()
    assert f"probabilities are calibrated with temperature {temperature:.4g}, fitted on validation speakers" in shown.err
    assert {item["temperature"] for item in json.loads(shown.out)} == {temperature}
    assert main([*command, "--format=csv", f"--output={tmp_path / 'p.csv'}"]) == 0
    with (tmp_path / "p.csv").open() as file:
        assert {float(line["temperature"]) for line in csv.DictReader(file)} == {temperature}
    capsys.readouterr()
    assert main([*command, "--format=csv", "--raw"]) == 0
    shown = capsys.readouterr()
    assert "uncalibrated, as --raw asks for" in shown.err
    assert {line["temperature"] for line in csv.DictReader(shown.out.splitlines())} == {""}


@pytest.mark.parametrize(
    ("calibration", "told"),
    [
        (None, "its checkpoint has no temperature"),
        (
            asdict(Calibration(LOWEST, True, False)),
            f"{KEPT}, 0.01, is not determined by its validation speakers",
        ),
        (asdict(Calibration(2.0, False, True)), f"{KEPT} was fitted on tested utterances"),
    ],
    ids=["older checkpoint", "bound", "validation is test"],
)
def test_predict_stays_uncalibrated_without_a_temperature_that_holds(
    calibration: dict[str, Any] | None,
    told: str,
    altered: Callable[[dict[str, Any] | None], Path],
    small_emo_db: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["predict", str(small_emo_db / "wav"), "--ckpt_path", str(altered(calibration)), "--device=cpu", "--format=json"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert f"probabilities are uncalibrated: {told}." in shown.err
    assert {item["temperature"] for item in json.loads(shown.out)} == {None}


def test_testing_an_older_checkpoint_gives_the_same_metrics(
    fold: Path, altered: Callable[[dict[str, Any] | None], Path], tmp_path: Path
) -> None:
    command = ["test", "--ckpt_path", str(altered(None)), "--accelerator=cpu", f"--output={tmp_path / 't.json'}"]
    assert main(command) == 0
    assert json.loads((tmp_path / "t.json").read_text())["metrics"] == read_result(fold / "result.json")["metrics"]


def test_a_run_stopped_before_its_row_goes_on_to_the_same_row(small_emo_db: Path, tmp_path: Path) -> None:
    command = fit_command(small_emo_db, tmp_path / "r", "--monitor=last")
    assert main(command) == 0
    result = tmp_path / "r" / "fold-1" / "result.json"
    first = read_result(result)
    assert stored_calibration(result.parent / "checkpoints" / "last.ckpt")["temperature"] == first["calibration"]["temperature"]
    result.unlink()
    assert main([*command, "--ckpt_path=last"]) == 0
    second = read_result(result)
    assert (second["metrics"], second["calibration"]) == (first["metrics"], first["calibration"])


def test_further_training_drops_the_temperature(fold: Path, small_emo_db: Path, tmp_path: Path) -> None:
    best = fold / "checkpoints" / "best.ckpt"
    model = load_model(best)
    assert model.calibration is not None
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050)
    trainer = L.Trainer(**{**QUIET, "max_epochs": 4}, default_root_dir=tmp_path)
    trainer.fit(model, datamodule=data, ckpt_path=best, weights_only=True)
    trainer.save_checkpoint(tmp_path / "more.ckpt")
    assert trainer.current_epoch == 4
    assert stored_calibration(tmp_path / "more.ckpt") is None


def relabelled(root: Path, *sides: str) -> SERDataModule:
    """The fold with the labels of these sides passed on from one class to the next."""
    data = SERDataModule("emo_db", str(root), sample_rate=22_050, seed=0)
    labels, split = data.labels, data.split
    turned = dict(zip(labels, labels[1:] + labels[:1], strict=True))
    changed = {side: [replace(row, label=turned[row.label]) for row in getattr(split, side)] for side in sides}
    data._split = split._replace(**changed)
    return data


def test_test_speakers_do_not_influence_the_temperature(small_emo_db: Path, tmp_path: Path) -> None:
    run = Run("cnn_attn", {**SMALL["cnn_attn"], "optim": Optim(lr=0.01)}, {**QUIET, "max_epochs": 6}, seed=3, monitor="last")
    rows = {
        sides: run_fold(run, relabelled(small_emo_db, *sides), tmp_path / "-".join(sides or ("as they are",)))
        for sides in ((), ("test",), ("validation",))
    }
    assert rows[()]["metrics"] != rows["test",]["metrics"]
    assert rows[()]["calibration"] == rows["test",]["calibration"]
    assert rows[()]["calibration"] != rows["validation",]["calibration"]
    assert rows[()]["metrics"] == rows["validation",]["metrics"]


@pytest.mark.parametrize("name", ["egemaps", "probe", "ecapa"])
def test_every_kind_of_model_is_calibrated(name: str, small_emo_db: Path, tmp_path: Path) -> None:
    pytest.importorskip("opensmile" if name == "egemaps" else "speechbrain")
    arguments = dict(SMALL[name])
    if name in NEEDS_ENCODER:
        arguments["encoder"] = str(tiny_encoder(tmp_path / "encoder", "wav2vec2-stable"))
    row = run_fold(Run(name, arguments, QUIET), SERDataModule("emo_db", str(small_emo_db), seed=0), tmp_path / "f")
    assert row is not None
    assert row["calibration"]["validation"]["utterances"] == row["data"]["validation"]
    assert load_model(tmp_path / "f" / "checkpoints" / "best.ckpt").calibration is not None


def test_a_protocol_that_validates_on_the_test_is_marked(small_emo_db: Path, tmp_path: Path) -> None:
    run = Run("cnn_attn", SMALL["cnn_attn"], QUIET, monitor="last")
    data = SERDataModule("emo_db", str(small_emo_db), protocol="as_cnn_attn", sample_rate=22_050, seed=0)
    row = run_fold(run, data, tmp_path / "f")
    assert row is not None
    assert row["calibration"]["validation_is_test"]
    assert stored_calibration(tmp_path / "f" / "checkpoints" / "last.ckpt")["validation_is_test"]


def test_a_training_that_diverged_is_explained(small_emo_db: Path, tmp_path: Path) -> None:
    run = Run("cnn_attn", {**SMALL["cnn_attn"], "optim": Optim(lr=1e6, weight_decay=1e6)}, QUIET, monitor="last")
    data = SERDataModule("emo_db", str(small_emo_db), sample_rate=22_050, seed=0)
    with pytest.raises(RunError, match=r"The training diverged: .*last\.ckpt gives logits that are not finite"):
        run_fold(run, data, tmp_path / "f")
    assert not (tmp_path / "f" / "result.json").exists()
