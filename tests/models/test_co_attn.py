from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ser_zoo.data import Batch, SERDataModule
from ser_zoo.encoders import EncoderOutput
from ser_zoo.errors import EncoderError, SERZooError, SERZooWarning
from ser_zoo.features import Frames, frame_mask
from ser_zoo.inference import load_model
from ser_zoo.models import create_model
from ser_zoo.models.co_attn import AlexNet, CoAttention, CoAttnNetwork, MinMax, NarrowSpectrogram, ReleasedNetwork
from ser_zoo.models.optim import Optim
from tests.models.small import batch_of, small_model
from tests.tiny import tiny_encoder

RATE = 16_000
QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


def reference_alexnet(channels: int) -> nn.Sequential:
    """torchvision's ``alexnet().features``, at its indices."""
    c = channels
    return nn.Sequential(
        *(nn.Conv2d(3, c, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(c, 3 * c, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(3 * c, 6 * c, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(6 * c, 4 * c, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(4 * c, 4 * c, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


def weights_of(network: nn.Sequential) -> dict[str, Tensor]:
    """With the classifier that the file of torchvision also holds."""
    return {f"features.{key}": value for key, value in network.state_dict().items()} | {"classifier.6.bias": torch.zeros(5)}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, small_emo_db: Path) -> Any:
    """Fits a small model on a few batches and returns model and data."""
    folder = tmp_path_factory.mktemp("fitted")

    def fit(**changes: Any) -> tuple[Any, SERDataModule]:
        data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
        model = small_model("co_attn", folder, finetune_from=None, **changes)
        limits = {"limit_train_batches": 1, "limit_val_batches": 1, "enable_checkpointing": False}
        L.Trainer(max_epochs=1, default_root_dir=folder, **limits, **QUIET).fit(model, datamodule=data)
        return model, data

    return fit


# The default network


@pytest.mark.parametrize(
    "changes",
    [
        {"softmax": False},
        {"spectrogram_scaling": "clip", "mfcc_scaling": "clip", "hop": 0.02},
        {"lstm_layers": 2, "state_scaling": "training"},
        {"batch_norm": True, "state_scaling": "frame"},
    ],
)
def test_every_setting_is_independent_of_padding(changes: dict[str, Any], tmp_path: Path) -> None:
    model = small_model("co_attn", tmp_path, **changes).eval()
    batch = batch_of(model, [0.3, 0.8, 1.7])  # the first is shorter than AlexNet's pooling needs
    with torch.no_grad():
        together = model(batch)
        for row, length in enumerate(batch.lengths.tolist()):
            alone = model.network(batch.waveforms[row : row + 1, :length], batch.lengths[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=0)


def test_layer_sizes_are_those_of_the_source(tmp_path: Path) -> None:
    encoder = str(tiny_encoder(tmp_path / "e", "wav2vec2"))
    network = create_model("co_attn", ["a", "b", "c", "d"], encoder=encoder, layers=(3,), faithful=True).network
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in network.named_modules()}
    assert counts["spectrogram.alexnet"] == 2_469_696  # the convolutions of torchvision's 61.1 million
    assert counts["spectrogram.project"] == 9216 * 128 + 128
    assert counts["mfcc.lstm"] == 4 * 256 * 2 * ((40 + 256 + 2) + (512 + 256 + 2))
    assert counts["mfcc.project"] == 153_600 * 128 + 128
    assert counts["attention.score"] == 256 * 149 + 149
    assert counts["head"] == 384 * 128 + 128 + 128 * 128 + 128 + 128 * 4 + 4
    # 120.1 million with wav2vec2-base and its 768 dimensions.
    trained = sum(count for name, count in counts.items() if name in ("spectrogram", "mfcc", "attention", "head"))
    assert 94.4e6 + trained + (768 - 32) * 128 == pytest.approx(120.1e6, abs=5e4)


def test_attention_is_a_softmax_over_valid_frames_of_what_s_and_m_make_of_them() -> None:
    torch.manual_seed(0)
    layer = CoAttention(size=6, width=4, dropout=0.0, softmax=True, batch_norm=False)
    summaries, states, lengths = torch.randn(2, 8), torch.randn(2, 5, 6), torch.tensor([5, 3])
    with torch.no_grad():
        result = layer(summaries, states, frame_mask(lengths, 5))
    for row, length in enumerate(lengths.tolist()):
        query = layer.score.weight @ summaries[row] + layer.score.bias
        scores = [(query @ states[row, t]).item() / 6**0.5 for t in range(length)]
        total = sum(np.exp(scores))
        mixture = sum(np.exp(score) / total * states[row, t] for t, score in enumerate(scores))
        torch.testing.assert_close(result[row], F.relu(layer.semantic.weight @ mixture + layer.semantic.bias))


def test_without_softmax_a_frame_counts_by_its_positive_score() -> None:
    layer = CoAttention(size=2, width=1, dropout=0.0, softmax=False, batch_norm=False)
    queries, states = torch.tensor([[2.0**0.5, 0.0]]), torch.tensor([[[3.0, 1.0], [-2.0, 1.0], [5.0, 0.0]]])
    weights = layer.weights(queries, states, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights, torch.tensor([[3.0, 0.0, 0.0]]))


def test_the_sum_of_the_frames_is_normalised_over_the_training_batch_where_asked_for() -> None:
    torch.manual_seed(0)
    layer = CoAttention(size=6, width=4, dropout=0.0, softmax=True, batch_norm=True)
    summaries, states, mask = torch.randn(3, 8), 5 + torch.randn(3, 5, 6), torch.ones(3, 5).bool()
    with torch.no_grad():
        sums = torch.einsum("bt,btd->bd", layer.time_weights(summaries, states, mask), states)
        expected = layer.semantic((sums - sums.mean(0)) / (sums.var(0, correction=0) + 1e-5).sqrt()).relu()
        torch.testing.assert_close(layer(summaries, states, mask), expected)


def test_softmax_is_on_by_default_and_off_in_the_released_network(tmp_path: Path) -> None:
    for faithful, softmax, expected in [(False, None, True), (True, None, False), (True, True, True), (False, False, False)]:
        assert small_model("co_attn", tmp_path, faithful=faithful, softmax=softmax).network.attention.softmax is expected


def test_spectrogram_is_that_of_the_source() -> None:
    generator = np.random.default_rng(0)
    waveform = 0.1 * generator.standard_normal(4000)
    values, lengths = NarrowSpectrogram(RATE, 0.01)(torch.tensor(waveform, dtype=torch.float32)[None], torch.tensor([4000]))
    emphasised = np.append(waveform[0], waveform[1:] - 0.97 * waveform[:-1])
    padded = np.pad(emphasised, 400)
    window = np.pad(0.54 - 0.46 * np.cos(2 * np.pi * np.arange(640) / 640), 80)
    magnitude = np.abs([np.fft.rfft(window * padded[160 * t : 160 * t + 800]) for t in range(26)])
    decibel = 20 * np.log10(np.maximum(magnitude, 1e-5) / magnitude.max())
    assert lengths.tolist() == [26]
    np.testing.assert_allclose(values[0], np.maximum(decibel, -80)[:, :200], atol=1e-2)


def test_range_is_that_of_scikit_learn() -> None:
    from sklearn.preprocessing import MinMaxScaler

    generator = torch.Generator().manual_seed(0)
    training, test = torch.randn(30, 3, generator=generator), 2 * torch.randn(10, 3, generator=generator)
    training[:, 1] = 4.0  # a constant column
    scale = MinMax(3)
    scale.fit([training[:11], training[11:]])
    expected = MinMaxScaler(clip=True).fit(training.numpy()).transform(test.numpy())
    np.testing.assert_allclose(scale(test), expected, atol=1e-6)


def test_the_spectrogram_is_scaled_by_valid_frames_of_the_training_side(fitted: Any) -> None:
    model, data = fitted()
    extractor = model.network.front_end.extractors[0]
    frames = [
        extractor(torch.tensor(data.waveforms[row.id])[None], torch.tensor([len(data.waveforms[row.id])]))
        for row in data.split.train
    ]
    rows = torch.cat([values[0] for values, _ in frames])
    torch.testing.assert_close(model.network.spectrogram.scale.low, rows.amin(0), atol=1e-3, rtol=0)
    torch.testing.assert_close(model.network.spectrogram.scale.high, rows.amax(0), atol=1e-3, rtol=0)


def test_scaling_by_the_clip_needs_no_training_side(tmp_path: Path) -> None:
    model = small_model("co_attn", tmp_path, spectrogram_scaling="clip")
    loader = DataLoader([batch_of(model, [0.5, 0.5])], batch_size=None)
    L.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET).fit(model, train_dataloaders=loader)
    with pytest.raises(SERZooError, match="SERDataModule"):
        L.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET).fit(
            small_model("co_attn", tmp_path), train_dataloaders=loader
        )


def test_images_stand_upright_and_are_empty_beyond_the_clip(tmp_path: Path) -> None:
    branch = small_model("co_attn", tmp_path).network.spectrogram
    values = torch.full((2, 80, 200), -80.0)
    values[:, :, 199] = 0.0  # the highest bin is the loudest
    values[1, 70:] = 0.0
    images, widths = branch._images(Frames(values, torch.tensor([80, 70])))
    assert images.shape == (2, 3, 200, 80)
    assert (images[0, :, 0] > images[0, :, 1]).all()
    assert (images[1, :, :, 70:] == 0).all()
    assert widths.tolist() == [80, 70]


# AlexNet and its weights


@pytest.mark.parametrize("width", [63, 100, 301])
def test_convolutions_are_those_of_torchvision(width: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference, network = reference_alexnet(4), AlexNet(4)
    save_file(weights_of(reference), tmp_path / "a.safetensors")
    network.load(str(tmp_path / "a.safetensors"))
    images = torch.randn(1, 3, 200, width)
    maps, widths = network(images, torch.tensor([width]))
    torch.testing.assert_close(maps, reference(images))
    assert widths.tolist() == [maps.shape[-1]]
    assert network.shortest == 63


def test_valid_columns_of_a_wider_image_are_those_of_the_narrow_one() -> None:
    torch.manual_seed(0)
    network, images = AlexNet(2), torch.randn(1, 3, 80, 90)
    alone, narrow = network(images, torch.tensor([90]))
    padded, widths = network(F.pad(images, (0, 110)), torch.tensor([90]))
    assert widths.equal(narrow)
    torch.testing.assert_close(padded[..., : int(narrow)], alone)
    assert (padded[..., int(narrow) :] == 0).all()


def test_imagenet_weights_are_read_from_pth_safetensors_and_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_of(reference_alexnet(4))
    torch.save(weights, tmp_path / "alexnet.pth")
    save_file(weights, tmp_path / "alexnet.safetensors")
    asked: list[tuple[str, str]] = []

    def download(repository: str, name: str, **_: object) -> str:
        asked.append((repository, name))
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    for source in (tmp_path / "alexnet.pth", tmp_path / "alexnet.safetensors", "someone/alexnet:alexnet.safetensors"):
        model = small_model("co_attn", tmp_path, alexnet=str(source))
        loaded = model.network.spectrogram.alexnet.convolutions[1].weight
        assert loaded.equal(weights["features.3.weight"])
    assert asked == [("someone/alexnet", "alexnet.safetensors")]


def test_files_that_are_not_alexnet_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    save_file({"layer1.weight": torch.zeros(2)}, tmp_path / "resnet.safetensors")
    save_file(weights_of(reference_alexnet(8)), tmp_path / "wide.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not safetensors")
    (tmp_path / "broken.pth").write_bytes(b"not tensors")
    (tmp_path / "weights.txt").write_text("1 2 3")
    torch.save({"model": "alexnet"}, tmp_path / "other.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "pickle.pth")
    wrong = {
        str(tmp_path / "nothing.pth"): "there is no file",
        "someone/alexnet:alexnet.pth": "no network",
        str(tmp_path / "resnet.safetensors"): "no features.0.weight",
        str(tmp_path / "wide.safetensors"): r"shape \(8, 3, 11, 11\), expected \(4, 3, 11, 11\)",
        str(tmp_path / "broken.safetensors"): "cannot be read as weights",
        str(tmp_path / "broken.pth"): "cannot be read as weights",
        str(tmp_path / "weights.txt"): "does not end in .safetensors",
        str(tmp_path / "other.pth"): "something else than tensors",
        str(tmp_path / "pickle.pth"): "cannot be read as weights",
    }
    for source, message in wrong.items():
        with pytest.raises(EncoderError, match=message):
            small_model("co_attn", tmp_path, alexnet=source)


def test_a_file_of_weights_that_could_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.mkdir, (tmp_path / "trace",)

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(EncoderError, match="cannot be read as weights"):
        small_model("co_attn", tmp_path, alexnet=str(tmp_path / "trap.pth"))
    assert not (tmp_path / "trace").exists()


def test_a_checkpoint_does_not_need_the_file_that_the_training_began_with(small_emo_db: Path, tmp_path: Path) -> None:
    save_file(weights_of(reference_alexnet(4)), tmp_path / "alexnet.safetensors")
    model = small_model("co_attn", tmp_path, alexnet=str(tmp_path / "alexnet.safetensors"))
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    trainer = L.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    (tmp_path / "alexnet.safetensors").unlink()
    loaded, trained = (m.network.spectrogram.alexnet.convolutions[0].weight for m in (load_model(tmp_path / "m.ckpt"), model))
    assert loaded.equal(trained)


def test_training_says_when_alexnet_starts_from_scratch(small_emo_db: Path, tmp_path: Path) -> None:
    def said(model: Any) -> bool:
        data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
        limits = {"limit_train_batches": 0, "limit_val_batches": 0, "default_root_dir": tmp_path}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            L.Trainer(max_epochs=1, **limits, **QUIET).fit(model, datamodule=data)
        return any(issubclass(w.category, SERZooWarning) and "random weights" in str(w.message) for w in caught)

    assert said(small_model("co_attn", tmp_path, channels=64))
    assert not said(small_model("co_attn", tmp_path))  # smaller than what ImageNet weights would fit
    save_file(weights_of(reference_alexnet(64)), tmp_path / "alexnet.safetensors")
    assert not said(small_model("co_attn", tmp_path, channels=64, alexnet=str(tmp_path / "alexnet.safetensors")))


# The released network


def released(folder: Path, **changes: Any) -> Any:
    return small_model("co_attn", folder, faithful=True, **changes)


def test_segments_are_cut_and_filled_up_as_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network: ReleasedNetwork = released(tmp_path).network
    lengths = torch.tensor([100_000, 48_000, 1_600])  # 626, 301 and 11 frames
    waveforms = torch.randn(3, 100_000) * frame_mask(lengths, 100_000)
    read: list[Tensor] = []

    def encoder(segments: Tensor, sizes: Tensor) -> EncoderOutput:
        assert sizes.tolist() == [48_000] * 6
        read.append(segments)
        return EncoderOutput(torch.zeros(len(segments), 2, 149, 32), torch.full((len(segments),), 149))

    monkeypatch.setattr(network.encoder, "forward", encoder)
    network(waveforms, lengths)
    spectrogram, mfcc = network.front_end(waveforms, lengths)
    row, expected = 0, []
    for clip, length in enumerate(lengths.tolist()):
        x = waveforms[clip, :length].numpy()
        x = torch.tensor(np.append(x[0], x[1:] - 0.97 * x[:-1]))
        frames = length // 160 + 1
        for k in range(-(-frames // 300)):
            part = x[48_000 * k : 48_000 * (k + 1)]
            expected.append(torch.cat([torch.zeros(48_000 - len(part)), part]))  # filled up at the start
            for source in (spectrogram, mfcc):
                cut = source.values[clip, :frames][300 * k : 300 * (k + 1)]
                filled = torch.cat([cut, torch.zeros(300 - len(cut), cut.shape[1])])  # and at the end
                assert network._segments(source)[0].values[row].equal(filled)
            row += 1
    torch.testing.assert_close(read[0], torch.stack(expected))
    assert [int((segment != 0).any()) for segment in expected] == [1, 1, 1, 1, 0, 1]  # 3.0 s has a second, empty segment


def test_images_of_segments_have_eight_bits_and_imagenets_size(tmp_path: Path) -> None:
    branch = released(tmp_path).network.spectrogram
    values = -80 * torch.rand(2, 300, 200, generator=torch.Generator().manual_seed(0))
    values[:, :, 199] = 0.0
    images, widths = branch._images(Frames(values, torch.tensor([300, 300])))
    assert images.shape == (2, 3, 256, 384)
    assert widths.tolist() == [384, 384]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    levels = (images * deviation[:, None, None] + mean[:, None, None]) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    torch.testing.assert_close(levels[:, 0], levels[:, 2], atol=1e-3, rtol=0)
    assert levels[:, :, 0].min() > 254
    # Away from the edges a pixel lies between those of the 200 x 300 image that surround it.
    grey = ((values + 80) / 80 * 255).floor().flip(-1).transpose(1, 2)
    y, x = (100 + 0.5) * 200 / 256 - 0.5, (200 + 0.5) * 300 / 384 - 0.5
    (top, left), (down, right) = (int(y), int(x)), (y % 1, x % 1)
    upper = grey[:, top, left] * (1 - right) + grey[:, top, left + 1] * right
    lower = grey[:, top + 1, left] * (1 - right) + grey[:, top + 1, left + 1] * right
    torch.testing.assert_close(levels[:, 0, 100, 200], upper * (1 - down) + lower * down, atol=0.51, rtol=0)


def test_a_clip_is_the_mean_log_softmax_of_its_segments_and_the_loss_that_of_segments(tmp_path: Path) -> None:
    model = released(tmp_path).eval()
    batch = batch_of(model, [7.0, 2.0, 3.5])
    with torch.no_grad():
        logits, used = model.network.segment_logits(batch.waveforms, batch.lengths)
        assert used.sum(1).tolist() == [3, 1, 2]
        means = [part.log_softmax(-1).mean(0) for part in logits.split([3, 1, 2])]
        torch.testing.assert_close(model(batch), torch.stack(means))
        expected = F.cross_entropy(logits, batch.labels.repeat_interleave(torch.tensor([3, 1, 2])))
        torch.testing.assert_close(model.loss(batch), expected)
        soft = F.one_hot(batch.labels, 3).float()
        torch.testing.assert_close(model.loss(batch._replace(labels=soft)), expected)


def test_frame_numbers_are_weighed_by_a_relu_of_s_and_m(tmp_path: Path) -> None:
    layer = released(tmp_path).network.attention.eval()
    summaries, states = torch.randn(2, 32), torch.randn(2, 149, 32)
    weights = F.relu(summaries @ layer.score.weight.T + layer.score.bias)
    expected = F.relu(layer.semantic((weights[..., None] * states).sum(1)))
    torch.testing.assert_close(layer(summaries, states, torch.ones(2, 149, dtype=torch.bool)), expected)


def test_released_network_is_independent_of_company_and_trains_every_parameter(tmp_path: Path) -> None:
    model = released(tmp_path)
    batch = batch_of(model, [0.4, 3.2, 0.9])
    model.loss(batch).backward()
    assert [key for key, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0] == []
    model.eval()
    with torch.no_grad():
        together, order = model(batch), [2, 0, 1]
        permuted = Batch(batch.waveforms[order], batch.lengths[order], batch.labels[order], batch.ids)
        torch.testing.assert_close(model(permuted), together[order], atol=1e-4, rtol=0)
        for row, length in enumerate(batch.lengths.tolist()):
            alone = model.network(batch.waveforms[row : row + 1, :length], batch.lengths[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=0)
        for seconds in (1e-9, 30.0):
            assert model(batch_of(model, [seconds])).isfinite().all()


def test_released_network_keeps_no_features_and_scales_by_filled_segments(fitted: Any) -> None:
    model, data = fitted(faithful=True)
    assert model._store is None
    extractor = model.network.front_end.extractors[0]
    clips = [torch.tensor(data.waveforms[row.id])[None] for row in data.split.train]
    lowest = torch.cat([extractor(clip, torch.tensor([clip.shape[1]])).values[0] for clip in clips]).amin(0)
    torch.testing.assert_close(model.network.spectrogram.scale.low, lowest, atol=1e-3, rtol=0)
    assert (model.network.spectrogram.scale.high == 0).all()  # what the last segments are filled with
    assert isinstance(fitted()[0].network, CoAttnNetwork)
    assert fitted()[0]._store is not None


def test_what_the_released_network_reads_may_change_under_a_frozen_encoder_and_is_never_kept(
    small_emo_db: Path, tmp_path: Path
) -> None:
    limits = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0, "enable_checkpointing": False}
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=4, augment=["noise"])
    L.Trainer(default_root_dir=tmp_path, **limits, **QUIET).fit(released(tmp_path, finetune_from=None), datamodule=data)
    model = released(tmp_path, optim=Optim(schedule="cosine", encoder_rest=0.5))
    same = SERDataModule("emo_db", str(small_emo_db), batch_size=4)
    L.Trainer(default_root_dir=tmp_path, **limits, **QUIET).fit(model, datamodule=same)
    assert (model._store, model._resting_store) == (None, None)


def test_only_the_released_mfcc_have_bands_divided_by_their_widths(tmp_path: Path) -> None:
    norms = [small_model("co_attn", tmp_path, faithful=faithful).network.front_end.extractors[1] for faithful in (True, False)]
    assert [mfcc.spectrogram.norm for mfcc in norms] == ["slaney", None]


def test_mfcc_are_scaled_by_their_frame_or_by_their_clip(tmp_path: Path) -> None:
    values, lengths = torch.randn(1, 7, 40, generator=torch.Generator().manual_seed(0)), torch.tensor([7])
    changed = {"frame": values * torch.arange(1.0, 8.0)[:, None], "clip": 2 * values + torch.arange(40.0)}
    for scaling in changed:
        branch = small_model("co_attn", tmp_path, mfcc_scaling=scaling).eval().network.mfcc
        with torch.no_grad():
            expected = branch(Frames(values, lengths))
            for kind, rows in changed.items():
                alike = torch.allclose(branch(Frames(rows, lengths)), expected, atol=1e-4)
                assert alike is (kind == scaling)


def test_spectrogram_and_mfcc_are_of_the_emphasised_waveform(tmp_path: Path) -> None:
    spectrogram, mfcc = small_model("co_attn", tmp_path).front_end.extractors
    assert spectrogram.emphasis == mfcc.spectrogram.emphasis == 0.97


@pytest.mark.parametrize("layers", [1, 3])
def test_mfcc_pass_as_many_recurrent_layers_as_are_asked_for(layers: int, tmp_path: Path) -> None:
    assert len(small_model("co_attn", tmp_path, lstm_layers=layers).network.mfcc.lstm.ahead) == layers


def test_an_encoder_with_other_frames_is_refused_by_the_released_network(tmp_path: Path) -> None:
    model = released(tmp_path, family="whisper")
    with pytest.raises(SERZooError, match="gives 150 frames for a segment of 3 s"):
        model(batch_of(model, [0.5]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop": 0.02}, r"faithful has hop 0\.01; found hop 0\.02\."),
        ({"spectrogram_scaling": "clip"}, "has spectrogram_scaling training; found spectrogram_scaling clip"),
        ({"mfcc_scaling": "clip"}, "has mfcc_scaling frame; found mfcc_scaling clip"),
        ({"state_scaling": "squash"}, "has state_scaling none; found state_scaling squash"),
        ({"batch_norm": True, "state_scaling": "frame"}, "has state_scaling none, batch_norm False; found .*, batch_norm True"),
        ({"optim": Optim(mixup=0.2)}, "mixup, linear_delta and masks"),
        ({"optim": Optim(linear_delta=0.5)}, "mixup, linear_delta and masks"),
        ({"optim": Optim(time_masks=1)}, "mixup, linear_delta and masks"),
        ({"optim": Optim(channel_masks=1)}, "mixup, linear_delta and masks"),
    ],
)
def test_what_the_released_network_does_not_have_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SERZooError, match=message):
        released(tmp_path, **changes)
