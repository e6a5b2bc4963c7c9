from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ser_zoo.errors import SERZooError
from ser_zoo.models import create_model
from ser_zoo.models.ecapa import CentredFbank, EcapaNetwork, mirror_index, prepare_speechbrain
from tests.models.small import batch_of, small_model


def plain(network: EcapaNetwork) -> nn.Module:
    """SpeechBrain's own network with the same weights."""
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    sizes = {"channels": [16, 16, 16, 16, 48], "res2net_scale": 4, "se_channels": 8, "attention_channels": 8}
    module: nn.Module = ECAPA_TDNN(80, lin_neurons=8, **sizes)
    module.load_state_dict(network.ecapa.state_dict())
    return module.train(network.training)


def test_default_sizes_are_those_of_the_recipe() -> None:
    network = create_model("ecapa", ["a", "b", "c", "d"]).network.ecapa
    kernels = [network.blocks[0].conv.conv, *(block.res2net_block.blocks[0].conv.conv for block in network.blocks[1:])]
    assert [(kernel.kernel_size[0], kernel.dilation[0]) for kernel in kernels] == [(5, 1), (3, 2), (3, 3), (3, 4)]
    assert network.blocks[0].conv.conv.weight.shape == (512, 80, 5)
    assert [len(block.res2net_block.blocks) for block in network.blocks[1:]] == [7, 7, 7]
    assert network.mfa.conv.conv.weight.shape == (1536, 1536, 1)
    assert network.asp.tdnn.conv.conv.weight.shape == (64, 3 * 1536, 1)
    assert network.fc.conv.weight.shape == (96, 2 * 1536, 1)


@pytest.mark.parametrize("count", [4, 5, 14, 130])  # 5 frames and more; the relative length of 15 of 19 frames is rounded up
def test_a_clip_in_a_padded_batch_is_what_speechbrain_gives_for_it_alone(count: int, tmp_path: Path) -> None:
    network = small_model("ecapa", tmp_path).eval().network
    settle(network)
    waveforms = 0.1 * torch.randn(3, 160 * 130 + 7, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([160 * 130 + 7, 160 * count, 16_000])
    alone = waveforms[1:2, : 160 * count]
    waveforms[1, 160 * count :] = 0
    ((values, counts),) = network.front_end(alone, lengths[1:2])
    assert counts.tolist() == [count + 1]
    with torch.no_grad():
        expected = 30 * network.classifier(plain(network)(values))[:, 0]
        torch.testing.assert_close(network(waveforms, lengths)[1:2], expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(network(alone, lengths[1:2]), expected, atol=1e-4, rtol=0)


def settle(network: EcapaNetwork) -> None:
    """Batch-norm statistics as after training, so that evaluation mode does something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.copy_(torch.rand(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))


def test_clips_are_continued_by_their_mirror_image() -> None:
    assert mirror_index(torch.tensor([4, 9, 2, 1]), 9).tolist() == [
        [0, 1, 2, 3, 2, 1, 0, 1, 2],
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
        [0, 1, 0, 1, 0, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_features_are_speechbrains_with_the_mean_of_each_clip_removed() -> None:
    prepare_speechbrain()
    from speechbrain.lobes.features import Fbank
    from speechbrain.processing.features import InputNormalization

    waveform = 0.1 * torch.randn(1, 9_000, generator=torch.Generator().manual_seed(0))
    normalise = InputNormalization(norm_type="sentence", std_norm=False)
    expected = normalise(Fbank(n_mels=80, left_frames=0, right_frames=0)(waveform), torch.ones(1))
    values, counts = CentredFbank(16_000, 80, 0.01)(waveform, torch.tensor([9_000]))
    assert counts.tolist() == [57]
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)


def test_the_floor_of_a_clip_is_its_own() -> None:
    # The click makes the frames after the end, which still reach it, louder than all of the clip's own.
    extractor = CentredFbank(16_000, 80, 0.01)
    waveform = 1e-4 * torch.randn(1, 1_000, generator=torch.Generator().manual_seed(0))
    waveform[0, 999] = 0.9
    lengths = torch.tensor([1_000])
    alone, padded = extractor(waveform, lengths), extractor(nn.functional.pad(waveform, (0, 3_000)), lengths)
    assert torch.equal(alone.values, padded.values)


def test_loss_is_speechbrains_angular_margin(tmp_path: Path) -> None:
    model = small_model("ecapa", tmp_path).eval()  # the same batch-norm statistics in both calls
    from speechbrain.nnet.losses import AdditiveAngularMargin, LogSoftmaxWrapper

    batch = batch_of(model, [0.3, 0.5, 0.4])
    cosines = model(batch)[:, None] / 30
    expected = LogSoftmaxWrapper(AdditiveAngularMargin(margin=0.2, scale=30))(cosines, batch.labels[:, None])
    torch.testing.assert_close(model.loss(batch), expected)
    shares = nn.functional.one_hot(batch.labels, 3).float()
    torch.testing.assert_close(model.loss(batch._replace(labels=shares)), expected)


def test_a_class_has_as_much_of_the_margin_as_its_share_of_the_label(tmp_path: Path) -> None:
    model = small_model("ecapa", tmp_path).eval()
    batch, shares = batch_of(model, [0.3, 0.5]), torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.0, 0.9]])
    cosines = model(batch) / 30
    within, without = (model.angular_margin(cosines, target(cosines)) for target in (torch.ones_like, torch.zeros_like))
    expected = nn.functional.cross_entropy(shares * within + (1 - shares) * without, shares)
    torch.testing.assert_close(model.loss(batch._replace(labels=shares)), expected)


def test_without_margin_the_loss_is_that_of_the_logits(tmp_path: Path) -> None:
    model = small_model("ecapa", tmp_path, margin=0.0, scale=12.0).eval()
    batch = batch_of(model, [0.3, 0.5])
    torch.testing.assert_close(model.loss(batch), model.criterion(model(batch), batch.labels), atol=1e-4, rtol=0)


def test_trains_on_a_batch_of_one_clip(tmp_path: Path) -> None:
    model = small_model("ecapa", tmp_path).train()
    model.loss(batch_of(model, [0.4])).backward()
    before = model.network.ecapa.asp_bn.norm.running_mean.clone()
    assert not before.any()
    model.loss(batch_of(model, [0.4, 0.3])).backward()
    assert model.network.ecapa.asp_bn.norm.running_mean.any()


def test_a_copy_mirrors_its_own_clips(tmp_path: Path) -> None:
    model = small_model("ecapa", tmp_path).eval()
    batch = batch_of(model, [0.4, 0.3])
    with torch.no_grad():
        expected: Tensor = model(batch)
        twin = copy.deepcopy(model)
        assert torch.equal(twin(batch), expected)
        assert torch.equal(model(batch), expected)


def test_another_sample_rate_has_a_window_of_25_ms(tmp_path: Path) -> None:
    model = small_model("ecapa", tmp_path, sample_rate=22_050).eval()
    assert model.network.front_end.extractors[0].fbank.compute_STFT.win_length == 551
    assert model(batch_of(model, [0.3])).isfinite().all()


def test_importing_speechbrain_changes_nothing_for_other_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SB_DISABLE_QUIRKS", raising=False)
    prepare_speechbrain()
    from speechbrain.utils.quirks import KNOWN_QUIRKS

    assert set(os.environ["SB_DISABLE_QUIRKS"].split(",")) == set(KNOWN_QUIRKS)


def test_switches_of_speechbrain_that_are_set_already_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SB_DISABLE_QUIRKS", "allow_tf32")
    prepare_speechbrain()
    assert os.environ["SB_DISABLE_QUIRKS"] == "allow_tf32"


def test_says_how_to_install_speechbrain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SERZooError, match=r"pip install 'ser-zoo\[speechbrain\]'"):
        create_model("ecapa", ["a", "b"])


def test_refuses_channels_that_cannot_be_split() -> None:
    with pytest.raises(SERZooError, match=r"channels 20 .* multiple of 8"):
        create_model("ecapa", ["a", "b"], channels=20)
