from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from ser_zoo.data import SERDataModule
from ser_zoo.encoders import EncoderOutput
from ser_zoo.errors import SERZooError
from ser_zoo.features import MFCC, Prosody
from ser_zoo.models import create_model
from ser_zoo.models.hump_cat import CrossAttentionTransformer, mean_and_deviation
from tests.models.small import attend, batch_of, small_model
from tests.tiny import tiny_encoder

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}


def test_both_directions_of_every_block_read_the_same_input() -> None:
    torch.manual_seed(0)
    transformer = CrossAttentionTransformer(width=8, blocks=2, heads=2, feedforward=12, dropout=0.5).eval()
    first, second = torch.randn(1, 5, 8), torch.randn(1, 7, 8)
    a, b = first[0], second[0]
    for ahead, back in zip(transformer.ahead, transformer.back, strict=True):
        a, b = attend(ahead, a, b), attend(back, b, a)
    # Two more frames that are masked change nothing.
    longer = torch.cat([second, torch.randn(1, 2, 8)], dim=1)
    mask = torch.tensor([[True] * 7 + [False] * 2])
    found = transformer(first, torch.ones(1, 5, dtype=torch.bool), longer, mask)
    torch.testing.assert_close(found[0][0], a)
    torch.testing.assert_close(found[1][0, :7], b)


def test_statistics_are_those_of_the_valid_frames() -> None:
    values = torch.randn(2, 6, 3)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    found = mean_and_deviation(values, mask)
    for row, length in enumerate((6, 4)):
        valid = values[row, :length]
        expected = torch.cat([valid.mean(0), valid.std(0, correction=0)])
        torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=1e-4)


def test_one_frame_has_a_finite_gradient() -> None:
    values = torch.randn(1, 1, 3, requires_grad=True)
    mean_and_deviation(values, torch.ones(1, 1, dtype=torch.bool)).sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_layers_have_the_sizes_of_the_card(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "e", "hubert")
    network = create_model("hump_cat", ["a", "b", "c", "d"], encoder=str(encoder), layers=(3,)).network
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in network.named_children()}

    def direction(width: int) -> int:
        return 4 * (width * width + width) + 2 * 2 * width + 2 * width * 512 + 512 + width

    lstm = [4 * 64 * (size + 64) + 2 * 4 * 64 for size in (40, 128)]
    assert counts["lstm"] == 2 * sum(lstm)
    assert counts["acoustic_fusion"] == 2 * 2 * direction(128)
    assert counts["fusion"] == 2 * 2 * direction(256)
    assert counts["classifier"] == 4 * 256 * 4 + 4
    assert network.encoder.frozen


def test_front_end_gives_mfcc_and_prosody_at_the_same_frames(tmp_path: Path) -> None:
    model = small_model("hump_cat", tmp_path, coefficients=13, hop=0.04)
    assert [type(extractor) for extractor in model.front_end.extractors] == [MFCC, Prosody]
    mfcc, prosody = model.frames(batch_of(model, [0.5, 1.2]))
    assert mfcc.values.shape == (2, 31, 13)
    assert prosody.values.shape == (2, 31, 4)
    assert mfcc.lengths.tolist() == prosody.lengths.tolist() == [13, 31]


def test_mfcc_are_of_windows_of_40_ms_and_64_bands(tmp_path: Path) -> None:
    for rate, points in ((16_000, 640), (22_050, 882)):
        mfcc, _ = small_model("hump_cat", tmp_path, sample_rate=rate).front_end.extractors
        assert repr(mfcc) == repr(MFCC(rate, 40, 0.02, n_fft=points, mels=64))
        assert mfcc.dct.shape == (64, 40)


def test_every_input_counts_and_known_inputs_are_used(tmp_path: Path) -> None:
    model = small_model("hump_cat", tmp_path).eval()
    batch = batch_of(model, [0.5, 0.8])
    with torch.no_grad():
        encoded = model.encode(batch)
        mfcc, prosody = model.frames(batch)
        logits = model.network(batch.waveforms, batch.lengths)
        assert torch.equal(model.network(batch.waveforms, batch.lengths, encoded, (mfcc, prosody)), logits)
        other = EncoderOutput(encoded.states.flip(-1), encoded.lengths)
        louder = prosody._replace(values=prosody.values + torch.tensor([0.0, 20.0, 0.0, 0.0]))
        upside_down = mfcc._replace(values=mfcc.values.flip(-1))
        for changed in [(other, (mfcc, prosody)), (encoded, (upside_down, prosody)), (encoded, (mfcc, louder))]:
            assert (model.network(batch.waveforms, batch.lengths, *changed) - logits).abs().max() > 1e-3


def test_what_is_pooled_is_dropped_before_the_classifier(tmp_path: Path) -> None:
    model = small_model("hump_cat", tmp_path, dropout=1.0).train()
    torch.testing.assert_close(model(batch_of(model, [0.5, 0.8])), model.network.classifier.bias.expand(2, -1))


def test_each_sequence_is_dropped_before_its_first_stage_and_not_again_after_it(tmp_path: Path) -> None:
    model = small_model("hump_cat", tmp_path, blocks=0, dropout=0.5).train()
    read: list[tuple[torch.Tensor, ...]] = []
    for stage in (model.network.acoustic_fusion, model.network.fusion):
        stage.register_forward_pre_hook(lambda _, inputs: read.append(inputs))
    model(batch_of(model, [0.5, 0.8]))
    (prosody, _, mfcc, mask), (states, states_mask, acoustic, _) = read
    assert (mfcc[mask] == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert (states[states_mask] == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert (prosody[mask] == 0).float().mean() > 0.6  # some by its ReLU
    torch.testing.assert_close(acoustic, torch.cat([prosody, mfcc], dim=-1))  # without blocks a stage passes on what it reads


@pytest.mark.parametrize("family", ["whisper", "hubert"])
def test_prosody_and_states_are_standardised_by_the_training_side(family: str, small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16)
    model = small_model("hump_cat", tmp_path, family=family, state_scaling="training")
    L.Trainer(max_epochs=1, limit_val_batches=1, default_root_dir=tmp_path, **QUIET).fit(model, datamodule=data)
    prosody, states = [], []
    extractor = model.front_end.extractors[1]
    with torch.no_grad():
        for row in data.split.train:
            waveform = torch.tensor(data.waveforms[row.id])[None]
            length = torch.tensor([waveform.shape[1]])
            prosody.append(extractor(waveform, length).values[0])
            states.append(model.encoder(waveform, length).states[0].transpose(0, 1))
    for found, rows in [(model.network.standardise_prosody, prosody), (model.network.mix.standardise, states)]:
        values = torch.cat(rows)
        torch.testing.assert_close(found.mean, values.mean(0), atol=1e-3, rtol=1e-3)
        deviation = values.std(0, correction=0)  # every frame of these tones is voiced, and a constant is not scaled
        torch.testing.assert_close(found.deviation, torch.where(deviation > 1e-6, deviation, 1.0), atol=1e-3, rtol=1e-3)


def test_states_are_left_alone_by_default(tmp_path: Path) -> None:
    assert small_model("hump_cat", tmp_path).network.mix.standardise is None


@pytest.mark.parametrize(("width", "heads"), [(12, 4), (15, 1), (16, 3)])
def test_a_width_that_does_not_divide_among_the_heads_is_refused(width: int, heads: int) -> None:
    with pytest.raises(SERZooError, match=f"width {width} .* multiple of {2 * heads}, .* {heads} heads"):
        create_model("hump_cat", ["a", "b"], width=width, heads=heads)
