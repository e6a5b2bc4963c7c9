from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ser_zoo.data import SERDataModule
from ser_zoo.encoders import EncoderOptions, FeatureStore
from ser_zoo.errors import EncoderError, SERZooError
from ser_zoo.features import frame_mask
from ser_zoo.inference import load_model
from ser_zoo.models import create_model
from ser_zoo.models.optim import Optim
from tests.models.small import attend, batch_of, small_model
from tests.tiny import tiny_encoder

CHECKPOINTED = EncoderOptions(gradient_checkpointing=True)


@pytest.mark.parametrize("acoustic", ["mfcc", "log_mel", "spectrogram"])
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_every_acoustic_input_and_pooling_is_independent_of_padding(acoustic: str, pooling: str, tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, acoustic=acoustic, pooling=pooling).eval()
    batch = batch_of(model, [0.5, 1.2])
    with torch.no_grad():
        alone = model(batch_of(model, [0.5]))
        torch.testing.assert_close(model(batch)[:1], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("scaling", ["training", "frame"])
def test_averaged_states_and_normalised_pooling_are_independent_of_padding(
    stride: int, residual: bool, scaling: str, tmp_path: Path
) -> None:
    options = {"state_stride": stride, "residual": residual, "batch_norm": True, "pooling": "mean"}
    model = small_model("cross_attn", tmp_path, state_scaling=scaling, **options).eval()
    with torch.no_grad():
        alone = model(batch_of(model, [0.5]))
        torch.testing.assert_close(model(batch_of(model, [0.5, 1.2]))[:1], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("residual", [True, False])
def test_without_residual_acoustic_frames_only_choose(residual: bool, tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, residual=residual, pooling="mean").eval()
    torch.nn.init.zeros_(model.network.fusion.attention.query.weight)  # all states are chosen alike
    torch.nn.init.zeros_(model.network.fusion.attention.query.bias)
    batch = batch_of(model, [0.6])
    (frames,) = model.network.front_end(batch.waveforms, batch.lengths)
    with torch.no_grad():
        encoded = model.network.encoder(batch.waveforms, batch.lengths)
        one, other = (
            model.network(batch.waveforms, batch.lengths, encoded, [frames._replace(values=values)])
            for values in (frames.values, frames.values.flip(-1))
        )
    assert torch.allclose(one, other, atol=1e-5) is not residual


VARIANTS: list[dict[str, Any]] = [
    {"directions": "both"},
    {"directions": "both", "batch_norm": True, "pooling": "mean", "residual": False, "state_stride": 3, "clip_dropout": 0.2},
    {"directions": "both", "frame_encoder": "linear", "finetune_from": 2, "encoder_options": CHECKPOINTED},
    {"frame_encoder": "linear"},
    {"frame_encoder": "none", "acoustic": "log_mel"},
    {"frame_encoder": "none", "blocks": 0},
]
every_variant = pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: " ".join(changes))


@every_variant
def test_a_variant_is_independent_of_padding_and_of_the_encoders_output_being_known(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    model = small_model("cross_attn", tmp_path, **changes).eval()
    batch = batch_of(model, [0.5, 1.2])
    with torch.no_grad():
        together = model(batch)
        torch.testing.assert_close(together[:1], model(batch_of(model, [0.5])), atol=1e-4, rtol=0)
        torch.testing.assert_close(model.network(batch.waveforms, batch.lengths), together, atol=1e-5, rtol=0)


@every_variant
def test_every_parameter_of_a_variant_gets_a_gradient(changes: dict[str, Any], tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, **changes).train()
    model.loss(batch_of(model, [0.6, 1.0, 0.8])).backward()
    trained = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    assert [key for key, gradient in trained.items() if gradient is None or not gradient.abs().sum() > 0] == []


@every_variant
def test_a_saved_variant_has_the_same_logits(changes: dict[str, Any], tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, **changes)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", **quiet)
    trainer.fit(model, train_dataloaders=DataLoader([batch_of(model, [0.5, 0.7, 0.6])], batch_size=None))
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    batch = batch_of(model, [0.5, 0.8])
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "m.ckpt")(batch), model.eval()(batch))


@pytest.mark.parametrize("settings", [{"pooling": "max"}, {"pooling": "mean"}, {"pooling": "mean", "batch_norm": True}])
def test_both_directions_add_the_logits_of_states_that_attend_to_acoustic_frames(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    model = small_model("cross_attn", tmp_path, directions="both", **settings).eval()
    network, back = model.network, model.network.back
    batch = batch_of(model, [0.5, 1.2])
    with torch.no_grad():
        for norm in (network.norm, back.norm):
            if norm is not None:
                torch.nn.init.normal_(norm.running_mean)
                torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
        logits = model(batch)
        (acoustic, mask), (semantic, lengths) = network._branches(batch.waveforms, batch.lengths, None, None)
        for row, states in enumerate(lengths.tolist()):
            a, s = acoustic[row, mask[row]], semantic[row, :states]
            expected = torch.zeros(3)
            parts = [(network.fusion, network.norm, network.classifier, a, s), (back.fusion, back.norm, back.classifier, s, a)]
            for fusion, norm, classifier, queries, memory in parts:
                fused = attend(fusion, queries, memory)
                if norm is not None:
                    fused = (fused - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
                frames = classifier(fused)
                expected += frames.amax(0) if settings["pooling"] == "max" else frames.mean(0)
            torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=1e-4)


def test_a_second_direction_has_a_fusion_and_a_classifier_more(tmp_path: Path) -> None:
    one, both = (small_model("cross_attn", tmp_path, directions=directions) for directions in ("acoustic", "both"))
    added = both.state_dict().keys() - one.state_dict().keys()
    parts = [key for key in one.state_dict() if key.startswith(("network.fusion.", "network.classifier."))]
    assert added == {key.replace("network.", "network.back.", 1) for key in parts}
    assert one.state_dict().keys() < both.state_dict().keys()


def test_channels_are_dropped_before_the_classifier(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, clip_dropout=1.0).train()
    torch.testing.assert_close(model(batch_of(model, [0.5, 0.8])), model.network.classifier.bias.expand(2, -1))


def test_no_dropout_draws_a_number_for_each_entry(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, directions="both", lstm_layers=2)
    assert not [name for name, part in model.named_modules() if type(part) is nn.Dropout]


def test_both_directions_let_padding_in_where_nothing_is_masked(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, directions="both", masked=False, pooling="mean").eval()
    network, batch = model.network, batch_of(model, [0.5, 1.2])
    with torch.no_grad():
        (acoustic, _), (semantic, _) = network._branches(batch.waveforms, batch.lengths, None, None)
        fused = attend(network.fusion, acoustic[0], semantic[0]), attend(network.back.fusion, semantic[0], acoustic[0])
        expected = network.classifier(fused[0]).mean(0) + network.back.classifier(fused[1]).mean(0)
        torch.testing.assert_close(model(batch)[0], expected, atol=1e-5, rtol=1e-4)


def test_weights_over_time_are_those_of_acoustic_frames_in_both_directions(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, directions="both").eval()
    alone = small_model("cross_attn", tmp_path).eval()
    alone.load_state_dict(model.state_dict(), strict=False)
    batch = batch_of(model, [0.5, 1.2])
    found, expected = model.attention(batch), alone.attention(batch)
    torch.testing.assert_close(found.values, expected.values)
    assert torch.equal(found.lengths, expected.lengths)


@pytest.mark.parametrize("kind", ["linear", "none"])
def test_without_a_bilstm_acoustic_frames_pass_linear_layers_alone(kind: str, tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, frame_encoder=kind, blocks=0).eval()
    network, batch = model.network, batch_of(model, [0.5])
    (frames,) = network.front_end(batch.waveforms, batch.lengths)
    with torch.no_grad():
        (acoustic, mask), _ = network._branches(batch.waveforms, batch.lengths, None, None)
        values = frames.values / frames.values.norm(dim=-1, keepdim=True)
        if kind == "linear":
            assert network.linear.weight.shape == (8, 40)
            values = F.linear(values, network.linear.weight, network.linear.bias)
        expected = network.positions(F.linear(values, network.project.weight, network.project.bias))
    torch.testing.assert_close(acoustic, expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(mask, frame_mask(frames.lengths, acoustic.shape[1]))
    assert not [key for key in network.state_dict() if key.startswith("lstm.")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lstm_layers": -2}, r"--model\.lstm_layers -2 makes no sense; expected 1 to 1,000"),
        ({"state_stride": 0}, r"--model\.state_stride 0 makes no sense; expected 1 or more"),
        ({"blocks": -1}, r"--model\.blocks -1 makes no sense; expected 0 to 1,000"),
        ({"fusion_dropout": 1.5}, r"--model\.fusion_dropout 1\.5 makes no sense; expected 0 to 1"),
        ({"block_dropout": float("nan")}, r"--model\.block_dropout nan makes no sense"),
        ({"hop": 0.0}, r"--model\.hop 0 makes no sense"),
        ({"width": 15, "block_heads": 3}, r"--model\.width 15 makes no sense; expected a multiple of 2, because positions"),
        ({"width": 16, "block_heads": 3}, r"--model\.width 16 .* multiple of 3, .* \(--model\.block_heads\)"),
        ({"inner": 15}, r"--model\.inner 15 .* multiple of 2, the number of heads \(--model\.heads\)"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SERZooError, match=message):
        small_model("cross_attn", tmp_path, **changes)


def test_normalising_a_maximum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SERZooError, match="Set pooling to mean"):
        small_model("cross_attn", tmp_path, batch_norm=True, pooling="max")


def test_released_behaviour_lets_padding_in(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, masked=False).eval()
    with torch.no_grad():
        padded, alone = model(batch_of(model, [0.5, 1.2]))[0], model(batch_of(model, [0.5]))[0]
    assert (padded - alone).abs().max() > 1e-3


def test_loss_is_focal_main_plus_weighted_auxiliary(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, auxiliary=0.4).eval()
    batch = batch_of(model, [0.5, 0.7, 0.6])

    def focal(logits: torch.Tensor) -> torch.Tensor:
        p = logits.softmax(1)[torch.arange(3), batch.labels]
        return (-(1 - p).sqrt() * p.log()).mean()

    with torch.no_grad():
        main, auxiliary = model.network.with_auxiliary(batch.waveforms, batch.lengths)
        torch.testing.assert_close(model.loss(batch), focal(main) + 0.4 * focal(auxiliary))


def test_auxiliary_logits_are_those_of_acoustic_frames_after_a_relu(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, pooling="mean").eval()
    network, batch = model.network, batch_of(model, [0.5])
    with torch.no_grad():
        (acoustic, _), _ = network._branches(batch.waveforms, batch.lengths, None, None)
        frames = network.classifier(acoustic)
        _, auxiliary = network.with_auxiliary(batch.waveforms, batch.lengths)
    assert (frames < 0).any()
    torch.testing.assert_close(auxiliary, frames.clamp(min=0).mean(1))


def test_defaults_are_those_of_the_source(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "e", "wav2vec2")
    model = create_model("cross_attn", ["a", "b", "c", "d"], encoder=str(encoder), layers=(3,))
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in model.network.named_children()}
    # The counts that systems of the released code have: the layer table of the model card.
    assert counts["lstm"] == 8_568_832
    assert counts["project"] == 524_800
    assert counts["blocks"] == 3 * 2_102_784
    assert counts["fusion"] == 1_577_728
    assert counts["classifier"] == 2_052
    assert model.optim == Optim(lr=4e-5, loss="focal", focal_gamma=0.5)


@pytest.mark.parametrize("family", ["whisper", "wav2vec2", "wav2vec2-stable"])
def test_kept_and_live_features_give_the_same_logits(family: str, tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, family=family, finetune_from=None).eval()
    batch = batch_of(model, [0.5, 1.2, 0.8])
    store = FeatureStore(model.encoder, tmp_path / "store")
    clips = {key: row[:n].numpy() for key, row, n in zip(batch.ids, batch.waveforms, batch.lengths.tolist(), strict=True)}
    with torch.no_grad():
        live = model(batch)
        store.fill(clips, progress=False)
        model._store = store
        torch.testing.assert_close(model(batch), live, atol=1e-3, rtol=0)
        assert model.encode(batch._replace(whole=False)).states.shape == model.encode(batch).states.shape


def test_states_are_standardised_by_the_training_side(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    model = small_model("cross_attn", tmp_path, finetune_from=None, state_scaling="training")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, datamodule=data)
    states = []
    with torch.no_grad():
        for row in data.split.train:
            waveform = torch.tensor(data.waveforms[row.id])[None]
            states.append(model.encoder(waveform, torch.tensor([waveform.shape[1]])).states[0].transpose(0, 1))
    frames = torch.cat(states)
    torch.testing.assert_close(model.network.mix.standardise.mean, frames.mean(0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(model.network.mix.standardise.deviation, frames.std(0, correction=0), atol=1e-3, rtol=1e-3)


def test_criterion_is_torchs_cross_entropy_with_weights_and_smoothing(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, optim=Optim(label_smoothing=0.1))
    model.class_weights.copy_(torch.tensor([1.0, 2.0, 0.5]))
    logits, labels = torch.randn(8, 3), torch.randint(3, (8,))
    expected = F.cross_entropy(logits, labels, model.class_weights, label_smoothing=0.1, reduction="none").mean()
    torch.testing.assert_close(model.criterion(logits, labels), expected)


def test_a_fine_tuned_encoder_has_its_own_learning_rate(tmp_path: Path) -> None:
    model = small_model("cross_attn", tmp_path, optim=Optim(lr=1e-3, encoder_lr=1e-5))
    groups = model.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == [1e-3, 1e-5]
    assert all(p.requires_grad for group in groups for p in group["params"])


def test_a_checkpoint_with_adapters_holds_them_alone_of_the_encoder(tmp_path: Path) -> None:
    options = EncoderOptions(lora_rank=2, gradient_checkpointing=True)
    model = small_model("cross_attn", tmp_path, finetune_from=2, encoder_options=options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", **quiet)
    trainer.fit(model, train_dataloaders=DataLoader([batch_of(model, [0.5, 0.7, 0.6])], batch_size=None))
    path = tmp_path / "m.ckpt"
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    held = [name for name in content["state_dict"] if name.startswith("network.encoder.")]
    assert held == [f"network.encoder.{name}" for name in model.encoder.state_dict() if ".lora_" in name]
    assert any(content["state_dict"][name].any() for name in held if "lora_B" in name)
    assert content["hyper_parameters"]["encoder_options"]["lora_rank"] == 2
    loaded, batch = load_model(path), batch_of(model, [0.5, 0.8])
    assert loaded.encoder.options == options
    with torch.no_grad():
        assert torch.equal(loaded(batch), model.eval()(batch))
    other = tiny_encoder(tmp_path / "other", "wav2vec2-stable", seed=1)
    with pytest.raises(EncoderError, match="differs from the one this checkpoint was trained with in weights"):
        load_model(path, encoder=str(other))


def test_a_fine_tuned_encoder_is_not_put_on_the_network_of_another(tmp_path: Path) -> None:
    model, path = small_model("cross_attn", tmp_path, finetune_from=2), tmp_path / "m.ckpt"
    trainer = L.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    others = {
        "preprocessing": tiny_encoder(tmp_path / "whisper", "whisper"),
        "the sizes of its weights": tiny_encoder(tmp_path / "wide", "wav2vec2-stable", intermediate_size=64),
    }
    for what, other in others.items():
        with pytest.raises(EncoderError, match=f"differs from the one this checkpoint was trained with in {what}"):
            load_model(path, encoder=str(other))
    extractor = tmp_path / "wav2vec2-stable" / "preprocessor_config.json"
    extractor.write_text(extractor.read_text().replace('"do_normalize": true', '"do_normalize": false'))
    with pytest.raises(EncoderError, match="trained with in preprocessing"):  # the same weights would hear something else
        load_model(path)
    content = torch.load(path, weights_only=True)
    content["ser_zoo"]["encoder"] = None  # as older checkpoints have it
    torch.save(content, path)
    assert load_model(path).encoder.source == model.encoder.source


@pytest.mark.parametrize("labels", [["a"], ["a", "a"]])
def test_labels_must_be_several_and_different(labels: list[str]) -> None:
    with pytest.raises(SERZooError, match="two or more different labels"):
        create_model("cnn_attn", labels)
