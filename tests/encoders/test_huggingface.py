from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy as copy_of
from pathlib import Path
from shutil import copyfile
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.encoders import checkpoint as loading
from ser_zoo.encoders.options import Precision
from ser_zoo.encoders.whisper import WhisperNetwork
from ser_zoo.errors import EncoderError
from tests.tiny import BLOCKS, FAMILIES, WIDTH, tiny_encoder

Tiny = Callable[[str], str]
FEATURES = "preprocessor_config.json"
WAVEFORM = [family for family in FAMILIES if family not in ("whisper", "speech-to-text", "moonshine")]


def alone(encoder: SpeechEncoder, clip: Tensor) -> Tensor:
    """(L, T, D) states of one clip."""
    return encoder(clip[None], torch.tensor([len(clip)])).states[0]


def batch(encoder: SpeechEncoder, clips: list[Tensor]) -> EncoderOutput:
    return encoder(pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips]))


def oracle(source: str, clip: Tensor) -> list[Tensor]:
    """Hidden states (T, D) by transformers alone, the last one being last_hidden_state."""
    from transformers import AutoFeatureExtractor, AutoModel

    model = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    inputs = AutoFeatureExtractor.from_pretrained(source)(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    inputs.pop("attention_mask", None)
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    return [state[0] for state in (*output.hidden_states[:-1], output.last_hidden_state)]


@pytest.mark.parametrize("family", FAMILIES)
def test_states_equal_those_of_transformers(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    source = tiny(family)
    options = EncoderOptions(pad_to_30s=family == "whisper", feature_dtype="float32")
    encoder = SpeechEncoder(source, options=options)
    assert (encoder.depth, encoder.width, encoder.sample_rate) == (BLOCKS, WIDTH, 16000)
    assert encoder.layers == tuple(range(BLOCKS + 1))
    expected = oracle(source, clips[1])
    states = alone(encoder, clips[1])
    assert len(states) == len(expected)
    for layer, wanted in zip(states, expected, strict=True):
        torch.testing.assert_close(layer, wanted[: len(layer)], atol=1e-4, rtol=1e-4)
    for layer in range(BLOCKS + 1):  # with the blocks above it dropped
        single = SpeechEncoder(source, layers=[layer - BLOCKS - 1], options=options)
        assert single.layers == (layer,)
        torch.testing.assert_close(alone(single, clips[1]), states[layer : layer + 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_gives_the_same_states_alone_padded_and_permuted(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    encoder = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype="float32"))
    together, permuted = batch(encoder, clips), batch(encoder, [clips[i] for i in (2, 0, 1)])
    for row, clip in enumerate(clips):
        wanted = alone(encoder, clip)
        frames = int(together.lengths[row])
        assert wanted.shape == (BLOCKS + 1, frames, WIDTH)
        torch.testing.assert_close(together.states[row, :, :frames], wanted, atol=1e-4, rtol=0)
        assert not together.states[row, :, frames:].any()
        torch.testing.assert_close(permuted.states[(1, 2, 0)[row], :, :frames], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_beyond_the_valid_samples_does_not_matter(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    encoder = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype="float32"))
    waveforms, lengths = pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])
    noisy = waveforms.clone()
    noisy[1, lengths[1] :] = 1.0
    torch.testing.assert_close(encoder(noisy, lengths), encoder(waveforms, lengths))


@pytest.mark.parametrize("family", FAMILIES)
def test_clips_of_a_few_samples_give_one_frame_or_more(tiny: Tiny, family: str) -> None:
    encoder = SpeechEncoder(tiny(family))
    for length in (1, 2, 160, 399, 401):
        output = encoder(torch.full((1, length), 0.1), torch.tensor([length]))
        assert output.lengths.item() == output.states.shape[2] >= 1
        assert output.states.isfinite().all()
    mixed = encoder(torch.randn(3, 8000), torch.tensor([8000, 1, 0]))
    assert mixed.lengths[1] == mixed.lengths[2] >= 1
    assert mixed.states.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [[0], [2], None])
def test_every_trained_parameter_gets_a_gradient_and_frozen_ones_none(
    tiny: Tiny, clips: list[Tensor], family: str, layers: list[int] | None
) -> None:
    highest = BLOCKS if layers is None else max(layers)
    between = family in WAVEFORM  # what lies between front end and blocks has parameters
    for finetune_from in (0, 1, 2):
        if finetune_from > highest and not (finetune_from == 1 and between):
            with pytest.raises(EncoderError, match=f"trains nothing: the highest chosen layer is {highest}"):
                SpeechEncoder(tiny(family), layers=layers, finetune_from=finetune_from)
            continue
        encoder = SpeechEncoder(tiny(family), layers=layers, finetune_from=finetune_from).train()
        batch(encoder, clips[:2]).states.square().sum().backward()
        trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        moved = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
        assert trained == moved
        assert trained
        if finetune_from == 2:
            assert all(".1." in name or ".2." in name or "norm" in name for name in trained)
        if finetune_from > 0:
            assert not any("conv1" in name or "convolutions" in name for name in trained)


@pytest.mark.parametrize("family", ["wav2vec2-stable", "whisper"])
def test_finetune_from_trains_what_it_says(tiny: Tiny, family: str) -> None:
    def trained(finetune_from: int | None) -> set[str]:
        encoder = SpeechEncoder(tiny(family), finetune_from=finetune_from)
        assert encoder.frozen == (finetune_from is None)
        return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}

    everything = {name for name, _ in SpeechEncoder(tiny(family)).named_parameters()}
    front = {name for name in everything if "convolutions" in name or "conv1" in name or "conv2" in name}
    blocks = {name for name in everything if "blocks" in name}
    fixed = {"network.positions.weight"} if family == "whisper" else set()
    assert trained(None) == set()
    assert trained(0) == everything - fixed
    assert trained(1) == everything - fixed - front
    assert {name for name in trained(3) if "blocks" in name} == {n for n in blocks if "blocks.2." in n}
    assert not any("masked_spec_embed" in name for name in everything)


def test_a_frozen_encoder_stays_in_evaluation_mode_without_gradients(tiny: Tiny, clips: list[Tensor]) -> None:
    encoder = SpeechEncoder(tiny("wav2vec2"))
    parent = nn.Sequential(encoder, nn.Linear(2, 2)).train()
    assert parent.training
    assert not any(module.training for module in encoder.modules())
    first, second = batch(encoder, clips), batch(encoder, clips)
    assert torch.equal(first.states, second.states)
    assert not first.states.requires_grad


def test_only_trained_blocks_follow_train(tiny: Tiny) -> None:
    encoder = SpeechEncoder(tiny("hubert-batch-norm"), finetune_from=2).train()
    network = encoder.network
    assert [block.training for block in network.blocks] == [False, True, True]
    assert not network.projection.training
    assert not any(module.training for module in encoder.eval().modules())
    whole = SpeechEncoder(tiny("hubert-batch-norm"), finetune_from=0).train()
    assert whole.network.projection.training
    assert not whole.network.positions.batch_norm.training


def test_frozen_features_are_rounded_and_float32(tiny: Tiny, clips: list[Tensor]) -> None:
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        states = alone(SpeechEncoder(tiny("hubert"), options=EncoderOptions(feature_dtype=name)), clips[0])
        assert states.dtype == torch.float32
        assert torch.equal(states, states.to(dtype).float())
    exact = alone(SpeechEncoder(tiny("hubert"), options=EncoderOptions(feature_dtype="float32")), clips[0])
    assert not torch.equal(exact, exact.half().float())


def test_states_too_large_for_float16_stay_finite(tiny: Tiny, clips: list[Tensor]) -> None:
    encoder = SpeechEncoder(tiny("wav2vec2-stable"), layers=[0])
    encoder.network.projection.projection.weight.data.mul_(1e6)
    states = alone(encoder, clips[0])
    assert states.isfinite().all()
    assert states.abs().max() == torch.finfo(torch.float16).max


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm", "whisper", "speech-to-text"])
def test_autocast_changes_nothing_when_frozen_and_little_when_trained(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    frozen, trained = SpeechEncoder(tiny(family)), SpeechEncoder(tiny(family), finetune_from=1).eval()
    plain = batch(frozen, clips).states
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(batch(frozen, clips).states, plain)
        low = batch(trained, clips).states
    assert low.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(low.flatten(), plain.flatten(), dim=0) > 0.99


def test_spec_augment_and_layer_drop_are_off_in_training(tmp_path: Path, clips: list[Tensor]) -> None:
    import json

    folder = tiny_encoder(tmp_path / "m", "wav2vec2-stable")
    config = json.loads((folder / "config.json").read_text())
    config |= {"mask_time_prob": 0.9, "layerdrop": 0.9, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    config |= {"activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    encoder = SpeechEncoder(str(folder), finetune_from=0).train()
    torch.testing.assert_close(batch(encoder, clips), batch(encoder.eval(), clips))


def test_whisper_mel_equals_the_official_one_where_the_clip_is(tiny: Tiny) -> None:
    from transformers import WhisperFeatureExtractor

    network = SpeechEncoder(tiny("whisper")).network
    assert isinstance(network, WhisperNetwork)
    generator = torch.Generator().manual_seed(0)
    for length in (1, 159, 160, 161, 201, 320, 16000, 479_800, 479_990, 480_000):
        clip = torch.randn(length, generator=generator) * 0.1
        clip[-1] = 3.0  # a click at the very end is loudest in a frame whose centre lies beyond it
        mel, frames = network.mel(clip[None], torch.tensor([length]), 3000)
        official = WhisperFeatureExtractor()(clip.numpy(), sampling_rate=16000, return_tensors="pt")
        assert frames.item() == -(-length // 160)
        torch.testing.assert_close(mel, official.input_features, atol=1e-5, rtol=0)
        short, _ = network.mel(clip[None], torch.tensor([length]), int(frames))
        torch.testing.assert_close(short, official.input_features[..., : int(frames)], atol=1e-5, rtol=0)


def test_the_floor_of_whispers_mel_is_that_of_the_clip(tiny: Tiny) -> None:
    network = SpeechEncoder(tiny("whisper")).network
    assert isinstance(network, WhisperNetwork)
    clips = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [1e-4]])
    lengths = torch.full((2,), 16000)
    together, _ = network.mel(clips, lengths, 100)
    alone = [network.mel(clips[row : row + 1], lengths[:1], 100)[0] for row in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_whisper_runs_long_clips_in_windows(tiny: Tiny) -> None:
    encoder = SpeechEncoder(tiny("whisper"), options=EncoderOptions(feature_dtype="float32"))
    generator = torch.Generator().manual_seed(0)
    clip = torch.randn(480_000 * 2 + 3200, generator=generator) * 0.1
    short = torch.randn(16000, generator=generator) * 0.1
    output = batch(encoder, [short, clip])
    assert output.lengths.tolist() == [50, 3010]
    parts = torch.cat([alone(encoder, part) for part in clip.split(480_000)], dim=1)
    torch.testing.assert_close(output.states[1], parts, atol=1e-4, rtol=0)
    torch.testing.assert_close(output.states[0, :, :50], alone(encoder, short), atol=1e-4, rtol=0)


def test_a_real_whisper_equals_transformers(real_whisper: str, clips: list[Tensor]) -> None:
    encoder = SpeechEncoder(real_whisper, options=EncoderOptions(pad_to_30s=True, feature_dtype="float32"))
    assert (encoder.depth, encoder.width) == (6, 512)
    for states, wanted in zip(alone(encoder, clips[0]), oracle(real_whisper, clips[0]), strict=True):
        torch.testing.assert_close(states, wanted[:50], atol=1e-3, rtol=1e-4)
    own = SpeechEncoder(real_whisper, options=EncoderOptions(feature_dtype="float32"))
    together = batch(own, clips)
    for row, clip in enumerate(clips):
        wanted = alone(own, clip)
        scale = wanted.abs().amax(dim=(1, 2), keepdim=True)  # states of some layers reach several hundred
        difference = (together.states[row, :, : wanted.shape[1]] - wanted) / scale
        assert difference.abs().max() < 1e-4


def test_fingerprint_depends_on_content_and_not_on_the_folder(tiny: Tiny, tmp_path: Path) -> None:
    source = tiny("whisper")
    base = SpeechEncoder(source).fingerprint()
    assert base == SpeechEncoder(str(tiny_encoder(tmp_path / "copy", "whisper"))).fingerprint()
    others = [
        SpeechEncoder(str(tiny_encoder(tmp_path / "other", "whisper", seed=1))),
        SpeechEncoder(source, layers=[1]),
        SpeechEncoder(source, options=EncoderOptions(pad_to_30s=True)),
        SpeechEncoder(source, options=EncoderOptions(feature_dtype="bfloat16")),
    ]
    prints = [repr(base), *(repr(other.fingerprint()) for other in others)]
    assert len(set(prints)) == len(prints)


def test_fingerprint_of_a_model_without_a_path_of_its_own_does_not_depend_on_the_folder(tiny: Tiny, tmp_path: Path) -> None:
    copy = tiny_encoder(tmp_path / "copy", "moonshine")
    assert SpeechEncoder(tiny("moonshine")).fingerprint() == SpeechEncoder(str(copy)).fingerprint()


def test_fingerprint_depends_on_the_layers_that_are_chosen_of_the_same_blocks(tiny: Tiny) -> None:
    chosen = ([BLOCKS], [0, BLOCKS], [1, BLOCKS], [BLOCKS, 0])
    prints = [SpeechEncoder(tiny("whisper"), layers=layers).fingerprint() for layers in chosen]
    assert len({repr(found) for found in prints}) == len(chosen)


def test_fingerprint_depends_on_the_rate_of_the_audio_and_on_the_revision_that_is_asked_for(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "m", "hubert")
    base = SpeechEncoder(str(folder)).fingerprint()
    asked = SpeechEncoder(str(folder), options=EncoderOptions(revision="v2")).fingerprint()
    (folder / FEATURES).write_text(json.dumps({**json.loads((folder / FEATURES).read_text()), "sampling_rate": 8000}))
    slower = SpeechEncoder(str(folder)).fingerprint()
    assert base["weights"] == asked["weights"] == slower["weights"]
    assert len({repr(found) for found in (base, asked, slower)}) == 3


def test_fingerprint_depends_on_the_precision_of_weights_that_fit_both(tiny: Tiny) -> None:
    prints = []
    for precision in get_args(Precision):
        encoder = SpeechEncoder(tiny("whisper"), options=EncoderOptions(precision=precision))
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.copy_(parameter.bfloat16())
        prints.append(encoder.fingerprint())
    assert prints[0]["weights"] == prints[1]["weights"]
    assert prints[0] != prints[1]


def test_an_encoder_can_be_copied_and_its_state_loaded(tiny: Tiny, clips: list[Tensor]) -> None:
    encoder = SpeechEncoder(tiny("wavlm"))
    copy = copy_of(encoder)
    assert torch.equal(batch(copy, clips).states, batch(encoder, clips).states)
    SpeechEncoder(tiny("wavlm")).load_state_dict(encoder.state_dict())


def test_importing_the_room_does_not_import_transformers() -> None:
    code = "import sys, ser_zoo.encoders; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize("layer", [BLOCKS + 1, -BLOCKS - 2])
def test_a_layer_out_of_range_is_told_how_many_there_are(tiny: Tiny, layer: int) -> None:
    with pytest.raises(EncoderError, match=rf"no layer {layer}: it has {BLOCKS} blocks.* 0 .* to {BLOCKS}"):
        SpeechEncoder(tiny("hubert"), layers=[layer])


def test_wrong_options_are_told_what_is_expected(tiny: Tiny) -> None:
    with pytest.raises(EncoderError, match="No layers chosen"):
        SpeechEncoder(tiny("hubert"), layers=[])
    with pytest.raises(EncoderError, match=r"finetune_from=4 does not exist: .* has 3 blocks"):
        SpeechEncoder(tiny("hubert"), finetune_from=4)
    with pytest.raises(EncoderError, match="pad_to_30s is for Whisper"):
        SpeechEncoder(tiny("hubert"), options=EncoderOptions(pad_to_30s=True))
    with pytest.raises(EncoderError, match="Unknown feature_dtype 'float8'"):
        SpeechEncoder(tiny("hubert"), options=EncoderOptions(feature_dtype="float8"))


def test_a_folder_that_is_missing_or_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"there is no folder .*/nothing"):
        SpeechEncoder(str(tmp_path / "nothing"))
    with pytest.raises(EncoderError, match=r"not a checkpoint: .* has no config.json.*--model.encoder DIR"):
        SpeechEncoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError, match="cannot be loaded as a speech encoder"):
        SpeechEncoder(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "m", "hubert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"no safetensors weights.*pytorch_model.bin.*never loaded"):
        SpeechEncoder(str(folder))


def test_missing_weights_are_an_error_and_not_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_encoder(tmp_path / "m", "hubert")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layers.1.attention.q_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"no weights for 1 parameters.*layers.1.attention.q_proj.weight"):
        SpeechEncoder(str(folder))


@pytest.mark.parametrize(("family", "size"), [("hubert", "intermediate_size"), ("whisper", "encoder_ffn_dim")])
def test_weights_that_do_not_fit_their_description_are_named(tmp_path: Path, family: str, size: str) -> None:
    file = tiny_encoder(tmp_path / "m", family) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), size: 64}))
    with pytest.raises(EncoderError, match=r"other sizes than its config.json says: .* is \(\d+.*\), expected \(\d+"):
        SpeechEncoder(str(file.parent))


def test_weights_that_only_the_decoder_lacks_are_not_missed(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_encoder(tmp_path / "m", "whisper")
    tensors = load_file(folder / "model.safetensors")
    own = {name: tensor for name, tensor in tensors.items() if "decoder." not in name}
    assert len(own) < len(tensors)
    save_file(own, folder / "model.safetensors", {"format": "pt"})
    assert SpeechEncoder(str(folder)).depth == BLOCKS


def test_transformers_reports_as_before_once_an_encoder_is_loaded(tiny: Tiny) -> None:
    from transformers import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_info()
        logging.enable_progress_bar()
        SpeechEncoder(tiny("hubert"))
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, True)
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    weights = tiny_encoder(tmp_path / "m", "hubert") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        SpeechEncoder(str(weights.parent))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 1}'])
def test_a_damaged_index_of_the_weights_is_an_error(tmp_path: Path, content: str) -> None:
    folder = tiny_encoder(tmp_path / "m", "hubert")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(EncoderError, match=r"model.safetensors.index.json does not say which files.*Download it again"):
        SpeechEncoder(str(folder))


def test_the_feature_extractor_of_another_encoder_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    from transformers import WhisperFeatureExtractor

    whisper, hubert = tiny_encoder(tmp_path / "w", "whisper"), tiny_encoder(tmp_path / "h", "hubert")
    copyfile(Path(tiny("hubert")) / FEATURES, whisper / FEATURES)
    with pytest.raises(EncoderError, match=r"of type whisper.*Wav2Vec2FeatureExtractor\) has no mel_filters, n_fft, hop"):
        SpeechEncoder(str(whisper))
    WhisperFeatureExtractor(feature_size=128).save_pretrained(whisper)
    with pytest.raises(EncoderError, match=r"makes 128 mel bands, where the weights take 80.*same model"):
        SpeechEncoder(str(whisper))
    copyfile(whisper / FEATURES, hubert / FEATURES)
    with pytest.raises(EncoderError, match=r"of type hubert.*WhisperFeatureExtractor\) has no do_normalize"):
        SpeechEncoder(str(hubert))


@pytest.mark.parametrize("rate", [None, "16k", 0])
def test_a_sample_rate_that_is_none_is_refused(tmp_path: Path, rate: object) -> None:
    file = tiny_encoder(tmp_path / "m", "hubert") / FEATURES
    file.write_text(json.dumps({**json.loads(file.read_text()), "sampling_rate": rate}))
    with pytest.raises(EncoderError, match=rf"preprocessor_config.json .* has {rate!r} as sampling_rate"):
        SpeechEncoder(str(file.parent))


def test_a_damaged_description_of_the_features_is_an_error(tmp_path: Path) -> None:
    file = tiny_encoder(tmp_path / "m", "hubert") / FEATURES
    file.write_text("[]")
    with pytest.raises(EncoderError, match=r"cannot be loaded as a speech encoder.*preprocessor_config.json"):
        SpeechEncoder(str(file.parent))


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, Wav2Vec2FeatureExtractor

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8)
    BertModel(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="of type bert, which does not turn audio into hidden states"):
        SpeechEncoder(str(tmp_path))


def test_a_model_of_clips_of_one_length_is_refused(tmp_path: Path) -> None:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ASTModel(ASTConfig(**small, max_length=64)).save_pretrained(tmp_path)
    ASTFeatureExtractor(max_length=64).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"62 frames of a clip of one second and 62 of two: .* window of its own"):
        SpeechEncoder(str(tmp_path))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local cache, and no network."""
    from huggingface_hub import constants

    def refuse(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "hub"


def cached(hub: Path, family: str, ref: str, name: str = "someone/thing") -> None:
    """Put a tiny checkpoint into the local cache, as a download would."""
    commit = "a" * 40
    folder = hub / f"models--{name.replace('/', '--')}"
    tiny_encoder(folder / "snapshots" / commit, family)
    (folder / "refs" / ref).parent.mkdir(parents=True)
    (folder / "refs" / ref).write_text(commit)


def test_without_a_network_the_error_says_what_was_tried(hub_cache: Path) -> None:
    with pytest.raises(EncoderError, match=r"someone/thing is neither .* cannot be reached .*--model.encoder DIR"):
        SpeechEncoder("someone/thing")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_repository_that_the_hub_does_not_give_is_told_from_a_hub_out_of_reach(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        error = RuntimeError("refused")
        error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(EncoderError, match=r"the hub has no such public repository or revision .*`hf auth login`"):
        loading.locate("someone/thing")


def test_without_a_network_the_local_cache_serves(hub_cache: Path) -> None:
    cached(hub_cache, "hubert", "main")
    assert SpeechEncoder("someone/thing").depth == BLOCKS


def test_without_a_network_a_cached_conversion_to_safetensors_serves(hub_cache: Path) -> None:
    cached(hub_cache, "hubert", "refs/pr/7")
    assert SpeechEncoder("someone/thing").depth == BLOCKS


def test_without_a_network_the_local_cache_serves_the_revision_that_is_asked_for(hub_cache: Path) -> None:
    cached(hub_cache, "hubert", "v1")
    assert SpeechEncoder("someone/thing", options=EncoderOptions(revision="v1")).depth == BLOCKS
    with pytest.raises(EncoderError, match="someone/thing at revision v2 is neither"):
        SpeechEncoder("someone/thing", options=EncoderOptions(revision="v2"))


def test_a_repository_of_pickles_is_replaced_by_its_conversion(
    hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def downloaded(source: str, revision: str | None) -> Path:
        asked.append(revision)
        folder = tiny_encoder(tmp_path / (revision or "main").replace("/", "-"), "hubert")
        if revision is None:
            (folder / "model.safetensors").unlink()
        return folder

    monkeypatch.setattr(loading, "_downloaded", downloaded)
    monkeypatch.setattr(loading, "_conversion", lambda source: "refs/pr/7")
    assert SpeechEncoder("someone/thing").depth == BLOCKS
    assert asked == [None, "refs/pr/7"]
    monkeypatch.setattr(loading, "_conversion", lambda source: None)
    with pytest.raises(EncoderError, match="no safetensors weights"):
        SpeechEncoder("someone/thing")


def holding(folder: Path, *files: str) -> Path:
    """A folder of a configuration and of files without content."""
    folder.mkdir()
    for file in ("config.json", *files):
        (folder / file).touch()
    return folder


def test_no_conversion_stands_in_for_a_revision_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"v1": holding(tmp_path / "v1"), "refs/pr/7": holding(tmp_path / "7", "model.safetensors")}
    monkeypatch.setattr(loading, "_cached", lambda source, revision: folders[revision])
    monkeypatch.setattr(loading, "_downloaded", lambda source, revision: folders[revision])
    monkeypatch.setattr(loading, "_conversion", lambda source: "refs/pr/7")
    with pytest.raises(EncoderError, match="no safetensors weights"):
        loading.locate("someone/thing", "v1")


def test_of_the_pull_requests_of_the_hubs_bot_the_conversion_to_safetensors_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {None: holding(tmp_path / "main"), "refs/pr/7": holding(tmp_path / "7", "model.safetensors")}
    titles = {"refs/pr/3": "Adding ONNX file of this model", "refs/pr/7": loading.CONVERSION}
    pulls = [SimpleNamespace(git_reference=reference, title=title) for reference, title in titles.items()]
    monkeypatch.setattr("huggingface_hub.HfApi.get_repo_discussions", lambda *_, **__: iter(pulls))
    monkeypatch.setattr(loading, "_cached", lambda source, revision: None)
    monkeypatch.setattr(loading, "_downloaded", lambda source, revision: folders[revision])
    assert loading.locate("someone/thing") == folders["refs/pr/7"]


def test_a_cached_repository_that_lacks_a_part_of_its_weights_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ("model-1.safetensors", "model-2.safetensors")
    kept, whole = holding(tmp_path / "cached", parts[0]), holding(tmp_path / "hub", *parts)
    for folder in (kept, whole):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(zip("ab", parts, strict=True))}))
    monkeypatch.setattr(loading, "_cached", lambda source, revision: kept)
    monkeypatch.setattr(loading, "_downloaded", lambda source, revision: whole)
    assert loading.locate("someone/thing") == whole
    (kept / parts[1]).touch()
    assert loading.locate("someone/thing") == kept


def test_a_folder_may_be_written_from_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = holding(tmp_path / "mine", "model.safetensors")
    assert loading.locate("~/mine") == folder
