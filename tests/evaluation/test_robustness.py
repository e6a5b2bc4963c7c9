from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ser_zoo.cache import cache_root
from ser_zoo.data import SERDataModule
from ser_zoo.data.audio import Waveform
from ser_zoo.data.datamodule import collate
from ser_zoo.errors import RunError, SERZooError, UnknownNameError
from ser_zoo.evaluation import robustness, score_checkpoint
from ser_zoo.evaluation.robustness import (
    PERTURBATIONS,
    SNRS_DB,
    PerturbedTest,
    Report,
    Scene,
    choose,
    measure_robustness,
    pool_robustness,
    read_robustness,
    write_robustness,
)
from ser_zoo.models.base import SERModule
from tests.models.small import small_model

RATE = 16_000
CPU = {"accelerator": "cpu", "devices": 1}
KEEP_LENGTH = [name for name in PERTURBATIONS if name != "crop"]
Spectrum = np.ndarray[Any, np.dtype[np.float64]]


def tone(hertz: float, seconds: float = 1.0, level: float = 0.1, rate: int = RATE) -> Waveform:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def speech_like(seconds: float = 3.0, rate: int = RATE) -> Waveform:
    """A sweep of the speech band in bursts, with a little noise: it has one best alignment with itself."""
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(3).standard_normal(len(times))
    bursts = np.sin(2 * np.pi * 2.5 * times) ** 2
    return (bursts * (0.2 * np.sin(2 * np.pi * (150 + 150 * times) * times) + 0.01 * noise)).astype(np.float32)


def scene(rate: int = RATE, seed: int = 0, voices: int = 10) -> Scene:
    drawn = np.random.default_rng(9)
    return Scene(
        rate, np.random.default_rng(seed), [0.1 * drawn.standard_normal(4000).astype(np.float32) for _ in range(voices)]
    )


def change(name: str, waveform: Waveform, seed: int = 0, rate: int = RATE) -> Waveform:
    return PERTURBATIONS[name].change(waveform, scene(rate, seed))


def decibels(above: Waveform, below: Waveform) -> float:
    return float(20 * np.log10(np.linalg.norm(above) / np.linalg.norm(below)))


@pytest.mark.parametrize("snr", SNRS_DB)
@pytest.mark.parametrize("family", ["white", "babble"])
def test_noise_and_babble_have_the_ratio_that_their_names_say(family: str, snr: int) -> None:
    clean = speech_like()
    assert decibels(clean, change(f"{family}_{snr}", clean) - clean) == pytest.approx(snr, abs=0.01)


def test_white_noise_is_white() -> None:
    clean = tone(1000, 4)
    power = np.abs(np.fft.rfft(change("white_0", clean) - clean)) ** 2
    eighths = [part.mean() for part in np.array_split(power, 8)]
    assert max(eighths) / min(eighths) < 1.1


def test_babble_is_the_sum_of_eight_different_voices_of_equal_strength() -> None:
    clean, voices = tone(300), [tone(1000 + 100 * number, 0.5, 0.02 * (number + 1)) for number in range(10)]
    heard = PERTURBATIONS["babble_0"].change(clean, Scene(RATE, np.random.default_rng(0), voices))
    power = np.abs(np.fft.rfft(heard - clean)) ** 2
    of_voice = np.array([power[1000 + 100 * number] for number in range(10)])
    assert (of_voice > 0.5 * of_voice.max()).sum() == 8
    assert of_voice.sum() == pytest.approx(power.sum(), rel=1e-3)  # nothing but the voices


def test_babble_repeats_where_there_are_few_or_short_voices() -> None:
    clean = speech_like()
    few = Scene(RATE, np.random.default_rng(0), [tone(440, 0.01), np.zeros(1, np.float32)])
    assert decibels(clean, PERTURBATIONS["babble_10"].change(clean, few) - clean) == pytest.approx(10, abs=0.01)


def test_every_talker_of_babble_begins_at_a_place_of_its_own() -> None:
    clean, voice = tone(300), np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    heard = PERTURBATIONS["babble_0"].change(clean, Scene(RATE, np.random.default_rng(0), [voice] * 8))
    assert abs(np.corrcoef(heard - clean, voice)[0, 1]) < 0.1


def test_a_room_rings_after_a_click_and_keeps_the_loudness() -> None:
    click = np.zeros(RATE, np.float32)
    click[4000] = 0.5
    heard = change("reverb", click)
    assert np.abs(heard[:4000]).max() < 1e-5
    assert np.abs(heard[4100:6000]).max() > 1e-3
    assert decibels(heard, click) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("hertz", "most_loss"), [(320, 0.5), (1000, 0.5), (2800, 0.5), (3300, 1.8)])
def test_the_telephone_passes_its_band(hertz: float, most_loss: float) -> None:
    sent = tone(hertz, 1.0, 0.5)
    assert -most_loss < decibels(change("telephone", sent), sent) < 0.5


@pytest.mark.parametrize("hertz", [100, 3850, 5000, 7000])
def test_the_telephone_passes_nothing_beside_its_band(hertz: float) -> None:
    sent = tone(hertz, 1.0, 0.5)
    assert decibels(change("telephone", sent), sent) < -25


def test_the_telephone_has_the_noise_of_mu_law() -> None:
    sent = tone(1000, 1.0, 0.5)
    heard = change("telephone", sent)
    middle = slice(RATE // 4, 3 * RATE // 4)  # away from where the filters settle
    assert 30 < decibels(sent[middle], heard[middle] - sent[middle]) < 45  # 38 dB by the theory of its 8 bits


def test_the_end_of_a_call_is_not_heard_at_its_beginning() -> None:
    sent = np.zeros(RATE, np.float32)
    sent[-160:] = tone(1000, 0.01, 0.5)
    assert np.abs(change("telephone", sent)[: RATE // 2]).max() < 1e-6


def test_what_is_too_loud_for_a_code_is_clipped() -> None:
    loud = tone(500, 1.0, 1.6)
    for name in ("mp3_16", "opus_16"):
        assert np.array_equal(change(name, loud), change(name, np.clip(loud, -1, 1)))
    assert np.corrcoef(change("telephone", loud), loud)[0, 1] > 0.95


@pytest.mark.parametrize("name", ["mp3_32", "mp3_16", "opus_16", "opus_8"])
def test_coders_keep_to_their_bit_rate_and_add_no_delay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, read = [], soundfile.read

    def spy(buffer: Any, **options: Any) -> Any:
        sizes.append(len(buffer.getvalue()))
        return read(buffer, **options)

    monkeypatch.setattr(soundfile, "read", spy)
    seconds = 6
    clean = speech_like(seconds)
    heard = change(name, clean)
    expected = float(PERTURBATIONS[name].level or 0)
    # Opus comes in Ogg, whose headers take a few kbit/s of a clip as short as this.
    assert expected * 0.9 < sizes[0] * 8 / seconds / 1000 < expected * 1.05 + (3 if "opus" in name else 0)
    lags = range(-40, 41)
    fits = [float(np.dot(clean[1000:-1000], heard[1000 + lag : len(heard) - 1000 + lag])) for lag in lags]
    assert abs(lags[int(np.argmax(fits))]) <= 1
    assert 0.8 < np.corrcoef(clean, heard)[0, 1] < 1 - 1e-5
    assert abs(decibels(heard, clean)) < 1.5


def test_the_crop_is_the_middle_half() -> None:
    clean = speech_like()
    assert np.array_equal(change("crop", clean), clean[len(clean) // 4 : len(clean) * 3 // 4])
    assert len(change("crop", clean[:7])) == 4


def test_gain_scales_and_clips_at_full_scale() -> None:
    clean = np.array([0.1, -0.2, 0.6, -0.9, 0.0], np.float32)
    assert np.allclose(change("gain_down", clean), clean * 10**-0.3)
    assert np.allclose(change("gain_up", clean), [0.1 * 10**0.3, -0.2 * 10**0.3, 1, -1, 0])


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_silence_and_very_short_clips_stay_numbers_and_inputs_stay_as_they_are(name: str, rate: int) -> None:
    for clean in (np.zeros(3000, np.float32), *(speech_like(1)[4000 : 4000 + samples] for samples in (1, 10, 777))):
        clean.flags.writeable = False  # as those of the disk cache
        heard = change(name, clean, rate=rate)
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all()
        assert len(heard) == (len(clean) if name in KEEP_LENGTH else (len(clean) + 1) // 2)
        if not clean.any():
            assert np.abs(heard).max() < 1e-4


@pytest.mark.parametrize("name", ["white_5", "babble_5", "reverb"])
def test_what_is_drawn_follows_from_seed_and_id_alone(name: str, small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", root=str(small_emo_db))
    one, again, other = (PerturbedTest(data, PERTURBATIONS[name], seed) for seed in (0, 0, 1))
    first, second = (row.id for row in one.rows[:2])
    again.waveform(second)
    assert np.array_equal(one.waveform(first), again.waveform(first))
    assert not np.array_equal(one.waveform(first), other.waveform(first))
    alike = copy.copy(one)
    alike.waveforms = {first: data.waveforms[first], second: data.waveforms[first]}  # type: ignore[assignment]
    assert not np.array_equal(alike.waveform(first), alike.waveform(second))


def test_the_same_draw_serves_all_levels() -> None:
    clean = speech_like()
    for family in ("white", "babble"):
        weak, strong = (change(f"{family}_{snr}", clean) - clean for snr in (20, 0))
        assert np.allclose(10 * weak, strong, atol=1e-4)


def test_waveforms_and_the_other_sides_stay_as_they_are(small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", root=str(small_emo_db))
    before = {id: data.waveforms[id].copy() for id in data.waveforms}
    for perturbation in choose().values():
        side = PerturbedTest(data, perturbation, 0)
        batch = side[0, list(range(len(side)))]
        assert set(batch.ids) == {row.id for row in data.split.test}
        assert not batch.whole
    assert set(data.waveforms) == set(before)
    assert all(np.array_equal(data.waveforms[id], before[id]) for id in before)


@pytest.mark.parametrize("protocol", ["loso10", "as_cnn_attn"])
def test_talkers_are_of_the_training_side_and_never_of_a_tested_utterance(protocol: str, emo_db: Path) -> None:
    data = SERDataModule("emo_db", root=str(emo_db), task="4class" if protocol == "as_cnn_attn" else None, protocol=protocol)
    voices = {id(voice) for voice in PerturbedTest(data, PERTURBATIONS["babble_0"], 0).voices}
    train = {id(data.waveforms[row.id]) for row in data.split.train}
    tested = {getattr(row, "utterance", row.id) for row in data.split.test}
    assert voices
    assert voices <= train
    assert not voices & {id(data.waveforms[row.id]) for row in data.split.train if getattr(row, "utterance", row.id) in tested}


def test_the_bounds_of_length_hold_after_a_perturbation(small_emo_db: Path) -> None:
    data = SERDataModule("emo_db", root=str(small_emo_db), min_seconds=1.0, max_seconds=2.0)
    side = PerturbedTest(data, PERTURBATIONS["crop"], 0)
    assert all(RATE <= len(side.waveform(row.id)) <= 2 * RATE for row in side.rows)


def stored() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (cache_root() / "features").rglob("*.safetensors")}


def test_features_that_are_kept_are_neither_used_nor_made(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", root=str(small_emo_db))
    model = small_model("probe", tmp_path, classes=3, family="whisper")
    model.labels = data.labels
    before = stored()
    fresh = measure_robustness(model, data, choose(["white_0", "crop"]), CPU, epoch=0)
    assert stored() == before
    assert score_checkpoint(model, data, CPU).confusion.tolist() == fresh["clean"]["confusion"]  # fills the store
    kept = stored()
    assert kept != before
    heard = logits_of(model, data, "white_0")
    assert measure_robustness(model, data, choose(["white_0", "crop"]), CPU, epoch=0) == fresh
    assert stored() == kept
    side = PerturbedTest(data, PERTURBATIONS["white_0"], 0)
    for row in side.rows[:2]:
        with torch.no_grad():
            alone = model.network(**direct(model, side.waveform(row.id)))[0]
            clean = model.network(**direct(model, data.waveforms[row.id]))[0]
        assert torch.allclose(heard[row.id], alone, atol=1e-4)
        assert not torch.allclose(heard[row.id], clean, atol=1e-4)


def direct(model: SERModule, waveform: Waveform) -> dict[str, Any]:
    """What the network takes of one clip, by the encoder alone."""
    batch = collate([waveform], ["x"])
    assert model.encoder is not None
    return {
        "waveforms": batch.waveforms,
        "lengths": batch.lengths,
        "encoded": model.encoder(batch.waveforms, batch.lengths),
    }


def logits_of(model: SERModule, data: SERDataModule, name: str) -> dict[str, torch.Tensor]:
    """Logits of the perturbed test side by id, of a model whose features are in its store."""
    side = PerturbedTest(data, PERTURBATIONS[name], 0)
    batch = side[0, list(range(len(side)))]
    model.eval()
    with torch.no_grad():
        return dict(zip(batch.ids, model(batch), strict=True))


def test_a_report_names_its_encoder_and_not_the_folder_that_it_was_in(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", root=str(small_emo_db))
    model = small_model("probe", tmp_path, classes=3, family="whisper")
    model.labels = data.labels
    report = measure_robustness(model, data, {}, CPU, epoch=4)
    assert (report["encoder"], report["epoch"]) == ("whisper", 4)


def test_a_report_is_that_of_the_code_that_measured_and_of_what_was_heard(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = ["before"]

    def measure(*_: Any) -> torch.Tensor:
        checkout[0] = "while it was measured"
        return torch.eye(3, dtype=torch.long)

    monkeypatch.setattr(robustness, "commit", cache(lambda: checkout[0]))
    monkeypatch.setattr(robustness, "_test", measure)
    data = SERDataModule("emo_db", root=str(small_emo_db))
    monkeypatch.setattr(data.corpus, "synthetic", True)
    report = measure_robustness(small_model("cnn_attn", tmp_path), data, {}, CPU, epoch=0)
    assert (report["commit"], report["synthetic"]) == ("before", True)
    assert report["versions"]["libsndfile"] == soundfile.__libsndfile_version__


def test_a_front_end_computes_the_changed_waveforms(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", root=str(small_emo_db), sample_rate=22_050)
    model = small_model("cnn_attn", tmp_path, classes=3)
    model.labels = data.labels
    report = measure_robustness(model, data, choose(["telephone"]), CPU, epoch=0)
    assert report["clean"]["confusion"] == score_checkpoint(model, data, CPU).confusion.tolist()
    (frames,) = data.waveforms.derived.values()
    kept = dict(frames.rows)
    assert measure_robustness(model, data, choose(["telephone"]), CPU, epoch=0) == report
    assert frames.rows == kept
    model.eval()
    heard = logits_of(model, data, "telephone")
    with torch.no_grad():
        clean = {row.id: model(collate([data.waveforms[row.id]], [row.id]))[0] for row in data.split.test}
    assert not any(torch.allclose(heard[id], clean[id], atol=1e-4) for id in heard)


def test_unknown_perturbations_are_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean white_10"):
        choose(["white_1O"])
    assert list(choose(["white_5", "crop"])) == ["white_5", "crop"]


def test_a_coder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: Any, **options: Any) -> None:
        raise ValueError(f"Unknown format: {options['format']!r}")

    monkeypatch.setattr(soundfile, "write", write)
    with pytest.raises(
        SERZooError, match=r"Perturbation opus_8: soundfile .*Unknown format: 'OGG'.*pip install --upgrade soundfile"
    ):
        choose(["white_0", "opus_8"])


def report_of(fold: int, confusion: list[list[int]], changed: list[list[int]], **more: Any) -> Report:
    def measured(counts: list[list[int]]) -> dict[str, Any]:
        true, predicted = labels_of(counts)
        return {
            "wa": accuracy_score(true, predicted),
            "ua": balanced_accuracy_score(true, predicted),
            "confusion": counts,
        }

    return {
        "schema": 1,
        "model": "probe",
        "corpus": "emo_db",
        "synthetic": False,
        "labels": ["anger", "neutral"],
        "protocol": {
            "name": "loso10",
            "version": 1,
            "hash": "0" * 12,
            "world": "honest",
            "declared_leaks": [],
            "certificate": f"{fold}",
        },
        "fold": fold,
        "seed": 7,
        "encoder": None,
        "refit": False,
        "epoch": fold,
        "test": sum(map(sum, confusion)),
        "perturbation_seed": 0,
        "clean": measured(confusion),
        "perturbations": {"white_0": {**PERTURBATIONS["white_0"].describe(), **measured(changed)}},
        "versions": {},
        "commit": None,
        **more,
    }


def labels_of(confusion: list[list[int]]) -> tuple[list[int], list[int]]:
    pairs = [(t, p) for t, row in enumerate(confusion) for p, count in enumerate(row) for _ in range(count)]
    return [t for t, _ in pairs], [p for _, p in pairs]


def test_folds_are_pooled_by_their_summed_confusion() -> None:
    pooled = pool_robustness(
        [report_of(1, [[3, 1], [0, 2]], [[1, 3], [1, 1]]), report_of(2, [[5, 0], [2, 2]], [[0, 5], [1, 3]])]
    )
    assert pooled["folds"] == [1, 2]
    assert pooled["test"] == 15
    changed = pooled["perturbations"]["white_0"]
    assert changed["confusion"] == [[1, 8], [2, 4]]
    assert changed["ua"] == pytest.approx(balanced_accuracy_score(*labels_of([[1, 8], [2, 4]])))
    assert changed["wa"] == pytest.approx(5 / 15)
    assert changed["family"] == "white noise"
    assert pooled["clean"]["confusion"] == [[8, 1], [2, 4]]
    assert "certificate" not in pooled["protocol"]


def test_what_does_not_belong_together_is_not_pooled() -> None:
    first, counts = report_of(1, [[1, 0], [0, 1]], [[1, 0], [0, 1]]), [[1, 0], [0, 1]]
    with pytest.raises(RunError, match="No robustness report"):
        pool_robustness([])
    with pytest.raises(RunError, match="one is there twice"):
        pool_robustness([first, first])
    for key, value in (
        ("model", "cnn_attn"),
        ("seed", 8),
        ("perturbation_seed", 1),
        ("encoder", "whisper-base"),
        ("refit", True),
        ("synthetic", True),
        ("corpus", "ravdess"),
        ("labels", ["neutral", "anger"]),
    ):
        with pytest.raises(RunError, match=f"differ in {key}"):
            pool_robustness([first, report_of(2, counts, counts, **{key: value})])
    for key, value in (("hash", "1" * 12), ("world", "as_published"), ("version", 2), ("declared_leaks", ["text"])):
        other = report_of(2, counts, counts, protocol={**first["protocol"], key: value})
        with pytest.raises(RunError, match="differ in protocol"):
            pool_robustness([first, other])
    for key, value in (("level", 10), ("family", "babble")):
        other = report_of(2, counts, counts)
        other["perturbations"]["white_0"][key] = value
        with pytest.raises(RunError, match="differ in perturbations"):
            pool_robustness([first, other])
    fewer = report_of(2, counts, counts)
    fewer["perturbations"] = {"crop": {**PERTURBATIONS["crop"].describe(), **fewer["clean"]}}
    with pytest.raises(RunError, match="differ in perturbations"):
        pool_robustness([first, fewer])


def test_a_report_is_read_back_as_it_was_written_and_never_overwritten(tmp_path: Path) -> None:
    report, path = report_of(1, [[3, 1], [0, 2]], [[1, 3], [1, 1]]), tmp_path / "fold-1" / "robustness.json"
    write_robustness(path, report)
    assert read_robustness(path) == report
    with pytest.raises(RunError, match="exists already"):
        write_robustness(path, report)
    assert [item.name for item in path.parent.iterdir()] == ["robustness.json"]


def test_a_report_that_cannot_be_written_to_its_end_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text[: len(text) // 2].encode())
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space left"):
        write_robustness(tmp_path / "robustness.json", report_of(1, [[3, 1], [0, 2]], [[1, 3], [1, 1]]))
    assert not list(tmp_path.iterdir())


def test_an_older_report_is_of_a_model_without_a_refit(tmp_path: Path) -> None:
    report, path = report_of(1, [[3, 1], [0, 2]], [[1, 3], [1, 1]]), tmp_path / "robustness.json"
    write_robustness(path, {key: value for key, value in report.items() if key != "refit"})
    assert read_robustness(path) == report


def test_a_report_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    report, path = report_of(1, [[3, 1], [0, 2]], [[1, 3], [1, 1]]), tmp_path / "robustness.json"
    report["clean"]["ua"] = 1.5
    with pytest.raises(RunError, match=r"does not fit .* at \$\.clean\.ua"):
        write_robustness(path, report)
    path.write_text("{}")
    with pytest.raises(RunError, match=r"robustness\.json does not fit the schema .* at \$: "):
        read_robustness(path)
    path.write_text("{")
    with pytest.raises(RunError, match="Cannot read the robustness report"):
        read_robustness(path)
    with pytest.raises(RunError, match="Cannot read the robustness report"):
        read_robustness(tmp_path / "none.json")
