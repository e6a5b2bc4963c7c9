from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import melscale_fbanks
from transformers import WhisperFeatureExtractor

from ser_zoo.encoders import SpeechEncoder
from ser_zoo.encoders.checkpoint import BUNDLED
from ser_zoo.encoders.pico import HOP, Pico, PicoConfig, log_mel, save_pico
from ser_zoo.errors import EncoderError

SMALL = PicoConfig(channels=12, width=16, heads=2, feedforward=24, depth=3, reach=5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small encoder with random weights."""
    torch.manual_seed(0)
    save_pico(Pico(SMALL), SMALL, tmp_path / "small")
    return tmp_path / "small"


def test_a_clip_gives_the_same_states_alone_and_in_a_batch(folder: Path, clips: list[Tensor]) -> None:
    encoder = SpeechEncoder(str(folder), options={"feature_dtype": "float32"})
    lengths = torch.tensor([len(clip) for clip in clips])
    states, frames = encoder(pad_sequence(clips, batch_first=True), lengths)
    assert states.shape == (3, 4, 25, 16)
    assert frames.tolist() == [-(-len(clip) // 640) for clip in clips]
    for row, clip in enumerate(clips):
        alone, count = encoder(clip[None], lengths[row : row + 1])
        torch.testing.assert_close(states[row, :, :count], alone[0], atol=1e-5, rtol=1e-5)
        assert not states[row, :, count:].any()


def test_the_last_digits_of_a_clip_longer_than_whispers_window_do_not_depend_on_a_window(folder: Path) -> None:
    encoder = SpeechEncoder(str(folder), [3])
    waveform = torch.randn(1, 31 * 16_000, generator=torch.Generator().manual_seed(1))
    states, frames = encoder(waveform, torch.tensor([31 * 16_000]))
    assert frames.tolist() == [775]
    assert states.shape == (1, 1, 775, 16)
    assert states.isfinite().all()


def test_its_spectrogram_is_whispers(clips: list[Tensor]) -> None:
    extractor = WhisperFeatureExtractor()
    waveform = clips[0]
    mel, _ = log_mel(PicoConfig())(waveform[None], torch.tensor([len(waveform)]), len(waveform) // HOP)
    expected = torch.tensor(extractor(waveform.numpy(), sampling_rate=16_000).input_features[0])[:, : mel.shape[2]]
    torch.testing.assert_close(mel[0], expected, atol=2e-4, rtol=0.0)
    assert melscale_fbanks(201, 0.0, 8000.0, 80, 16_000).shape == extractor.mel_filters.shape


def test_what_is_saved_is_loaded_as_half_precision_keeps_it(folder: Path) -> None:
    torch.manual_seed(0)
    before = Pico(SMALL).state_dict()
    after = SpeechEncoder(str(folder)).network.state_dict()
    torch.testing.assert_close(after["conv1.weight"], before["conv1.weight"].half().float(), atol=0.0, rtol=0.0)
    assert all(tensor.dtype == torch.float32 for tensor in after.values())


def test_a_save_that_fails_leaves_the_weights_as_they_were(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(state: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(OSError, match="no space"):
        save_pico(Pico(SMALL), SMALL, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (0, {"conv1", "conv2", "near", "blocks.0", "blocks.1", "blocks.2", "norm"}),
        (1, {"near", "blocks.0", "blocks.1", "blocks.2", "norm"}),
        (3, {"blocks.2", "norm"}),
    ],
)
def test_fine_tuning_trains_from_the_block_it_is_given(folder: Path, first: int, expected: set[str]) -> None:
    encoder = SpeechEncoder(str(folder), finetune_from=first)
    trained = {name for name, parameter in encoder.network.named_parameters() if parameter.requires_grad}
    assert {".".join(name.split(".")[: 2 if "blocks" in name else 1]) for name in trained} == expected
    states, _ = encoder(torch.randn(1, 8000), torch.tensor([8000]))
    states.square().sum().backward()
    missing = [name for name, p in encoder.network.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_it_goes_on_from_what_is_kept_below_the_trained_blocks(folder: Path) -> None:
    encoder = SpeechEncoder(str(folder), finetune_from=2, options={"feature_dtype": "float32"}).eval()
    inputs = torch.randn(2, 8000), torch.tensor([8000, 5000])
    with torch.no_grad():
        resumed = encoder.resume(encoder.kept(encoder.kept_layers)(*inputs))
        assert resumed is not None
        torch.testing.assert_close(resumed.states, encoder(*inputs).states)


def test_adapters_find_its_projections(folder: Path) -> None:
    pytest.importorskip("peft", reason="adapters are an extra")
    encoder = SpeechEncoder(str(folder), finetune_from=2, options={"lora_rank": 2})
    assert any("lora" in name for name, parameter in encoder.named_parameters() if parameter.requires_grad)


def test_other_sizes_than_those_of_the_weights_are_refused(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "width": 32}))
    with pytest.raises(EncoderError, match=r"small cannot be loaded as a pico encoder: .*Expected in .*model\.safetensors"):
        SpeechEncoder(str(folder))
    (folder / "config.json").write_text(json.dumps({**content, "wide": 32}))
    with pytest.raises(EncoderError, match=r"unexpected keyword argument 'wide'.*sample_rate, mels, channels, width"):
        SpeechEncoder(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"config\.json is not JSON"):
        SpeechEncoder(str(folder))


def test_a_damaged_file_of_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(EncoderError, match="cannot be loaded as a pico encoder"):
        SpeechEncoder(str(folder))


def test_the_encoder_in_the_package_is_small_and_says_what_it_heard() -> None:
    folder = BUNDLED["pico"]
    encoder = SpeechEncoder("pico")
    assert sum(parameter.numel() for parameter in encoder.parameters()) <= 3_000_000
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000
    account, card = json.loads((folder / "training.json").read_text()), (folder / "README.md").read_text()
    assert f"{account['speech']['clips']} clips of synthesised speech" in card
    assert f"{account['training']['steps']} steps" in card
    assert f"loss {account['held-out']['loss']:.3f}" in card


def test_a_folder_named_as_the_encoder_in_the_package_is_written_with_a_dot(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(folder.parent / "pico")
    monkeypatch.chdir(folder.parent)
    assert SpeechEncoder("pico").width == 256
    assert SpeechEncoder("./pico").width == SMALL.width


def test_the_encoder_in_the_package_gives_what_it_gave_when_it_was_trained() -> None:
    time = torch.arange(16_000) / 16_000
    sweep = 0.1 * torch.sin(2 * torch.pi * (100 * time + 400 * time**2))
    states, _ = SpeechEncoder("pico", options={"feature_dtype": "float32"})(sweep[None], torch.tensor([16_000]))
    levels = torch.tensor([1.2885, 1.8062, 2.1878, 2.6434, 0.5144])
    torch.testing.assert_close(states[0].abs().mean((1, 2)), levels, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(states[0, 4, 10, :3], torch.tensor([1.2238, -0.5952, 0.1001]), atol=5e-3, rtol=0.0)
