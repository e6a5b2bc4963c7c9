from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_zoo.data import SERDataModule
from ser_zoo.errors import SERZooError
from ser_zoo.features import FrontEnd, frame_mask
from ser_zoo.models import create_model
from ser_zoo.models.cnn_attn import CNNAttnNetwork, ZeroCrossings
from tests.models.small import batch_of, small_model


def flat(**arguments: Any) -> CNNAttnNetwork:
    """The released network for the seven classes of EMO-DB."""
    network = create_model("cnn_attn", [f"e{number}" for number in range(7)], layout="flat", **arguments).network
    assert isinstance(network, CNNAttnNetwork)
    return network


def keras_count(network: CNNAttnNetwork) -> int:
    """Parameters as the notebooks print them: with the running statistics of the batch normalisations."""
    statistics = [value for key, value in network.named_buffers() if key.endswith(("running_mean", "running_var"))]
    return sum(value.numel() for value in [*network.parameters(), *statistics])


def test_flat_layout_has_the_released_parameter_counts() -> None:
    network = flat(zero_crossings=True)
    assert keras_count(network) == 37_434_661
    assert network.convolution1.weight.numel() + network.convolution1.bias.numel() == 2_048
    assert network.convolution2.weight.numel() + network.convolution2.bias.numel() == 459_008
    assert sum(p.numel() for p in network.channel.parameters()) == 8_464
    assert sum(p.numel() for p in network.spatial.parameters()) == 14
    assert network.dense.weight.numel() + network.dense.bias.numel() == 36_962_368
    assert sum(p.numel() for p in network.classifier.parameters()) == 455


@pytest.mark.parametrize(("attention", "missing"), [("channel", 14), ("spatial", 8_464)])
def test_one_attention_alone_lacks_the_parameters_of_the_other(attention: str, missing: int) -> None:
    # The saved runs are on vectors of other lengths, which only the dense layer sees: 251 (RAVDESS and SAVEE), 2060 (TESS).
    network = flat(attention=attention, coefficients=1)  # a short vector, which is built quickly
    rest = keras_count(network) - network.dense.weight.numel()
    assert rest + missing == 37_434_661 - 64 * 256 * (2268 - 12)
    printed = {"channel": [(251, 4_388_119)], "spatial": [(251, 4_379_669), (2060, 34_018_325)]}[attention]
    assert [rest + 64 * 256 * (length - 12) for length, _ in printed] == [count for _, count in printed]


def reference(network: CNNAttnNetwork, values: Tensor) -> Tensor:
    """Logits of standardised (B, L, D) rows without padding, from the equations of the card."""
    for convolution, norm in ((network.convolution1, network.norm1.norm), (network.convolution2, network.norm2.norm)):
        values = norm(convolution(values.transpose(1, 2)).relu()).transpose(1, 2)
    if network.channel is not None:
        values = values * (network.channel.shared(values.mean(1)) + network.channel.shared(values.amax(1))).sigmoid()[:, None]
    if network.spatial is not None:
        summary = torch.stack([values.mean(2), values.amax(2)], dim=1)
        values = values * network.spatial.convolution(summary).sigmoid().transpose(1, 2)
    flat = values.flatten(1) if network.layout == "flat" else torch.cat([values.mean(1), values.amax(1)], dim=1)
    return network.classifier(network.norm3(network.dense(flat).relu()))


@pytest.mark.parametrize("layout", ["flat", "frames"])
@pytest.mark.parametrize("attention", ["both", "channel", "spatial"])
@pytest.mark.parametrize("training", [True, False])
def test_logits_follow_the_equations(layout: str, attention: str, training: bool, tmp_path: Path) -> None:
    settings = {"layout": layout, "attention": attention, "zero_crossings": True, "dropout": 0.0}
    model = small_model("cnn_attn", tmp_path, **settings).train(training)
    batch = batch_of(model, [3.5, 3.5, 3.5])
    rows, _ = model.network.rows(model.frames(batch))
    expected = reference(copy.deepcopy(model.network), rows[..., None] if layout == "flat" else rows)
    torch.testing.assert_close(model(batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", ["flat", "frames"])
@pytest.mark.parametrize("attention", ["both", "channel", "spatial"])
def test_padding_changes_no_option(layout: str, attention: str, tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path, layout=layout, attention=attention, zero_crossings=True).eval()
    batch = batch_of(model, [0.4, 1.3, 3.6])
    with torch.no_grad():
        together = model(batch)
        for row, length in enumerate(batch.lengths.tolist()):
            alone = batch._replace(
                waveforms=batch.waveforms[row : row + 1, :length], lengths=batch.lengths[row : row + 1], ids=["x"]
            )
            torch.testing.assert_close(model(alone)[0], together[row], atol=1e-4, rtol=0)


def zero_crossing_rates(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """As librosa documents them: edge-padded, framed by 2048 with a hop of 512, zero counting as positive."""
    padded = np.pad(waveform, 1024, mode="edge")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2048)[::512]
    signs = np.where(np.abs(frames) <= 1e-10, False, frames < 0)
    return (signs[:, 1:] != signs[:, :-1]).sum(1) / 2048


@pytest.mark.parametrize("length", [1, 2, 511, 512, 3000, 55_125])
def test_zero_crossings_are_those_of_librosa(length: int) -> None:
    generator = np.random.default_rng(length)
    waveform = generator.choice([-0.5, -1e-11, 0.0, 0.2], length).astype(np.float32)
    extractor = ZeroCrossings(512)
    values, counts = extractor(torch.from_numpy(waveform)[None], torch.tensor([length]))
    np.testing.assert_array_equal(values[0, :, 0].numpy(), zero_crossing_rates(waveform))
    assert counts.tolist() == [len(values[0])]
    # Whatever a batch has behind the clip.
    behind = torch.cat([torch.from_numpy(waveform), torch.ones(2000)])[None]
    padded, counts = extractor(behind, torch.tensor([length]))
    assert torch.equal(padded[:, : int(counts)], values)
    assert not padded[:, int(counts) :].any()


def test_flat_rows_are_zero_crossings_and_then_mfcc_in_time_order(tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path, layout="flat", zero_crossings=True)
    batch = batch_of(model, [4.0, 1.6, 0.3])
    crossings, mfcc = model.frames(batch)
    rows, _ = model.network.rows((crossings, mfcc))
    assert rows.shape == (3, 2268)
    assert torch.equal(rows[0], torch.cat([crossings.values[0, :, 0], mfcc.values[0].flatten()]))
    frames = round(1.0 * model.sample_rate) // 512 + 1  # what is left of 1.6 s behind the offset
    assert rows[1, :frames].all()
    assert not rows[1, frames:108].any()
    assert not rows[1, 108 + 20 * frames :].any()
    assert not rows[2].any()  # it ends before the offset
    assert torch.equal(rows[0, :108] * 2048, (rows[0, :108] * 2048).round())


@pytest.mark.parametrize("layout", ["flat", "frames"])
def test_features_are_zero_beyond_each_clips_end(layout: str, tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path, layout=layout, zero_crossings=True)
    for values, lengths in model.frames(batch_of(model, [4.0, 1.6, 0.6, 0.3])):
        assert lengths.tolist()[2:] == ([0, 0] if layout == "flat" else [26, 13])
        assert not values[~frame_mask(lengths, values.shape[1])].any()


def test_features_of_a_protocols_rows_are_computed_once(
    small_emo_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), protocol="as_cnn_attn", batch_size=16, sample_rate=22_050)
    model = small_model("cnn_attn", tmp_path)
    computed: list[int] = []
    forward = FrontEnd.forward
    monkeypatch.setattr(FrontEnd, "forward", lambda self, *inputs: computed.append(len(inputs[0])) or forward(self, *inputs))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=2, accelerator="cpu", **quiet).fit(model, datamodule=data)
    assert computed == [1] * 240


def test_flat_layout_reads_two_and_a_half_seconds_from_0_6(tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path, layout="flat").eval()
    batch = batch_of(model, [4.0])
    changed = batch.waveforms.clone()
    rate = model.sample_rate
    changed[:, : round(0.55 * rate)] = 0.3
    changed[:, round(3.2 * rate) :] = 0.3
    with torch.no_grad():
        before, after = model(batch), model(batch._replace(waveforms=changed))
    torch.testing.assert_close(before, after)


def test_features_are_scaled_by_the_augmented_training_rows_only(small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16, sample_rate=22_050, augment_rows=["noise"])
    model = small_model("cnn_attn", tmp_path)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(model, datamodule=data)
    rows = []
    for batch in data.statistics_dataloader():
        ((values, counts),) = model.network.front_end(batch.waveforms, batch.lengths)
        rows.append(values[frame_mask(counts, values.shape[1])])
    frames = torch.cat(rows)
    torch.testing.assert_close(model.network.standardise.mean, frames.mean(0), atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(model.network.standardise.deviation, frames.std(0, correction=0), atol=1e-2, rtol=1e-3)


def test_needs_a_data_module_for_its_statistics(tmp_path: Path) -> None:
    model = small_model("cnn_attn", tmp_path)
    loader = [batch_of(model, [0.5, 0.5])]
    trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    with pytest.raises(SERZooError, match="SERDataModule"):
        trainer.fit(model, train_dataloaders=loader)


def test_l2_penalty_is_added_to_the_loss(tmp_path: Path) -> None:
    with_penalty, without = (small_model("cnn_attn", tmp_path, l2=l2).eval() for l2 in (1e-3, 0.0))
    batch = batch_of(without, [0.6, 0.6])
    network = without.network
    kernels = [network.convolution1.weight, network.convolution2.weight, network.dense.weight]
    expected = without.loss(batch) + 1e-3 * sum(kernel.square().sum() for kernel in kernels)
    found = with_penalty.loss(batch)
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    for parameter, oracle in zip(with_penalty.parameters(), without.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, oracle.grad)


def test_a_kernel_that_leaves_nothing_of_the_vector_is_refused() -> None:
    small = {"layout": "flat", "channels": 1, "reduction": 1, "dense": 1}
    create_model("cnn_attn", ["a", "b"], **small, kernel=1_080)  # which leaves one value
    with pytest.raises(SERZooError, match=r"model\.kernel 1081 makes no sense; expected 1 to 1,080"):
        create_model("cnn_attn", ["a", "b"], **small, kernel=1_081)
