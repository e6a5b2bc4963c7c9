from __future__ import annotations

import shutil
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.encoders import checkpoint as loading
from ser_zoo.errors import EncoderError

pytest.importorskip("speechbrain")

BLOCKS, WIDTH = 3, 16
KINDS = ["transformer", "conformer", "branchformer"]
EXACT = EncoderOptions(feature_dtype="float32")

# As the published recognisers have it, but small, and with a language model and a search that are nothing to the encoder.
TEMPLATE = """
sample_rate: 16000
n_mels: 20
d_model: 16
nhead: 2
pretrained_path: someone/somewhere
activation: !name:torch.nn.GELU

normalizer: !new:speechbrain.processing.features.InputNormalization
    norm_type: global

compute_features: !new:speechbrain.lobes.features.Fbank
    sample_rate: !ref <sample_rate>
    n_fft: 400
    n_mels: !ref <n_mels>

CNN: !new:speechbrain.lobes.models.convolution.ConvolutionFrontEnd
    input_shape: (8, 10, 20)
    num_blocks: 2
    num_layers_per_block: 1
    out_channels: (4, 4)
    kernel_sizes: (3, 3)
    strides: (2, 2)
    residuals: (False, False)

Transformer: !new:speechbrain.lobes.models.transformer.TransformerASR.TransformerASR
    input_size: !ref <n_mels>
    tgt_vocab: 7
    d_model: !ref <d_model>
    nhead: !ref <nhead>
    num_encoder_layers: 3
    num_decoder_layers: 1
    d_ffn: !ref <d_model> * 2
    csgu_linear_units: 24
    kernel_size: 5
    dropout: 0.1
    activation: !ref <activation>
    encoder_module: KIND
    attention_type: ATTENTION
    normalize_before: True
    causal: False
    layerdrop_prob: 0.5

ctc_lin: !new:speechbrain.nnet.linear.Linear
    input_size: !ref <d_model>
    n_neurons: 7

asr_model: !new:torch.nn.ModuleList
    - [!ref <CNN>, !ref <Transformer>, !ref <ctc_lin>]

lm_model: !new:torch.nn.Linear
    in_features: 2
    out_features: 2

Tencoder: !new:speechbrain.lobes.models.transformer.TransformerASR.EncoderWrapper
    transformer: !ref <Transformer>

encoder: !new:speechbrain.nnet.containers.LengthsCapableSequential
    input_shape: [null, null, !ref <n_mels>]
    compute_features: !ref <compute_features>
    normalize: !ref <normalizer>
    cnn: !ref <CNN>
    transformer_encoder: !ref <Tencoder>

search: !apply:math.sqrt [4]

modules:
    encoder: !ref <encoder>
    lm: !ref <lm_model>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        normalizer: !ref <normalizer>
        asr: !ref <asr_model>
        lm: !ref <lm_model>
    paths:
        asr: !ref <pretrained_path>/model.ckpt
"""


def recogniser(folder: Path, kind: str = "conformer", seed: int = 0) -> Path:
    """Write a recogniser with random weights."""
    from hyperpyyaml import load_hyperpyyaml

    folder.mkdir(parents=True, exist_ok=True)
    text = TEMPLATE.replace("KIND", kind).replace("ATTENTION", "regularMHA" if kind == "transformer" else "RelPosMHAXL")
    (folder / "hyperparams.yaml").write_text(text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = load_hyperpyyaml(text)
        for parameter in made["asr_model"].parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        features = made["compute_features"](torch.randn(4, 16000))
    made["normalizer"](features, torch.ones(4))
    made["normalizer"]._save(folder / "normalizer.ckpt")
    torch.save(made["asr_model"].state_dict(), folder / "model.ckpt")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("recognisers")
    return {kind: str(recogniser(root / kind, kind)) for kind in KINDS}


@pytest.fixture
def own(folders: dict[str, str], tmp_path: Path) -> Path:
    """A recogniser that a test may change."""
    return Path(shutil.copytree(folders["conformer"], tmp_path / "own"))


def changed(folder: Path, old: str, new: str) -> str:
    """The recogniser with another description."""
    file = folder / "hyperparams.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    return str(folder)


def alone(encoder: SpeechEncoder, clip: Tensor) -> Tensor:
    return encoder(clip[None], torch.tensor([len(clip)])).states[0]


def batch(encoder: SpeechEncoder, clips: list[Tensor]) -> EncoderOutput:
    return encoder(pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips]))


def oracle(folder: str, clip: Tensor, tmp_path: Path) -> list[Tensor]:
    """Hidden states (T, D) by SpeechBrain's own loading, the last one being what its encoder returns."""
    from speechbrain.inference.interfaces import Pretrained

    file = Path(folder) / "hyperparams.yaml"
    own = tmp_path / "own"
    own.mkdir()
    text = file.read_text().replace("someone/somewhere", folder).replace("        lm: !ref <lm_model>\n    paths", "    paths")
    (own / "hyperparams.yaml").write_text(text)
    (own / "normalizer.ckpt").symlink_to(Path(folder) / "normalizer.ckpt")
    model = Pretrained.from_hparams(str(own), savedir=str(tmp_path / "savedir"), run_opts={"device": "cpu"})
    inputs: list[Tensor] = []
    blocks: Any = model.mods.encoder.transformer_encoder.transformer.encoder.layers
    for block in blocks:
        block.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    last = model.mods.encoder(clip[None], torch.ones(1))
    return [state[0] for state in (*inputs, last)]


@pytest.mark.parametrize("kind", KINDS)
def test_states_equal_those_of_speechbrain(folders: dict[str, str], clips: list[Tensor], kind: str, tmp_path: Path) -> None:
    encoder = SpeechEncoder(folders[kind], options=EXACT)
    assert (encoder.depth, encoder.width, encoder.sample_rate) == (BLOCKS, WIDTH, 16000)
    states, expected = alone(encoder, clips[1]), oracle(folders[kind], clips[1], tmp_path)
    assert len(states) == len(expected) == BLOCKS + 1
    for layer, wanted in zip(states, expected, strict=True):
        torch.testing.assert_close(layer, wanted, atol=1e-5, rtol=1e-5)
    for layer in range(BLOCKS + 1):  # with the blocks above it dropped
        single = SpeechEncoder(folders[kind], layers=[layer], options=EXACT)
        torch.testing.assert_close(alone(single, clips[1]), states[layer : layer + 1], atol=1e-5, rtol=1e-5)


def test_a_clip_has_the_same_states_alone_padded_and_permuted(folders: dict[str, str], clips: list[Tensor]) -> None:
    encoder = SpeechEncoder(folders["conformer"], options=EXACT)
    together, permuted = batch(encoder, clips), batch(encoder, [clips[i] for i in (2, 0, 1)])
    for row, clip in enumerate(clips):
        wanted = alone(encoder, clip)
        frames = int(together.lengths[row])
        torch.testing.assert_close(together.states[row, :, :frames], wanted)
        assert not together.states[row, :, frames:].any()
        torch.testing.assert_close(permuted.states[(1, 2, 0)[row], :, :frames], wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_clips_from_one_sample_to_thirty_seconds_have_finite_states(folders: dict[str, str], kind: str) -> None:
    encoder = SpeechEncoder(folders[kind])
    for length in (1, 160, 1601, 30 * 16000):
        output = encoder(torch.full((1, length), 0.1), torch.tensor([length]))
        assert output.lengths.item() == output.states.shape[2] >= 1
        assert output.states.isfinite().all()


@pytest.mark.parametrize("layers", [[0], [2], None])
def test_every_trained_parameter_gets_a_gradient_and_frozen_ones_none(
    folders: dict[str, str], clips: list[Tensor], layers: list[int] | None
) -> None:
    highest = BLOCKS if layers is None else max(layers)
    for finetune_from in (0, 1, 2):
        if finetune_from > max(highest, 1):
            with pytest.raises(EncoderError, match="trains nothing: the highest chosen layer is"):
                SpeechEncoder(folders["conformer"], layers, finetune_from)
            continue
        encoder = SpeechEncoder(folders["conformer"], layers, finetune_from).train()
        batch(encoder, clips[:2]).states.square().sum().backward()
        trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        moved = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
        assert trained == moved
        assert any("cnn" in name for name in trained) == (finetune_from == 0)
        assert any("custom_src_module" in name for name in trained) == (finetune_from < 2)
        assert any("blocks.0" in name for name in trained) == (finetune_from < 2 and highest > 0)
        assert any(name.startswith("network.norm.") for name in trained) == (highest == BLOCKS)


def test_training_changes_no_statistics_and_drops_no_block(folders: dict[str, str], clips: list[Tensor]) -> None:
    encoder = SpeechEncoder(folders["conformer"], finetune_from=0, options=EXACT).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    for _ in range(5):
        assert alone(encoder, clips[1]).shape[0] == BLOCKS + 1
    assert before.keys() == {name for name, _ in encoder.named_buffers()}
    assert all(torch.equal(before[name], value) for name, value in encoder.named_buffers())
    assert any(name.endswith("glob_mean") for name in before)


def test_gradient_checkpointing_changes_no_gradient(folders: dict[str, str], clips: list[Tensor]) -> None:
    gradients = []
    for options in (EXACT, EncoderOptions(feature_dtype="float32", gradient_checkpointing=True)):
        encoder = SpeechEncoder(folders["conformer"], finetune_from=1, options=options).eval()
        alone(encoder, clips[1]).square().sum().backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-3)


def test_bfloat16_gives_nearly_the_same_states(folders: dict[str, str], clips: list[Tensor]) -> None:
    exact, low = (
        alone(SpeechEncoder(folders["conformer"], options=options), clips[1])
        for options in (EXACT, EncoderOptions(precision="bfloat16"))
    )
    assert torch.cosine_similarity(exact, low, dim=-1).min() > 0.99


def test_the_decoder_is_no_part_of_the_encoder(folders: dict[str, str]) -> None:
    names = [name for name, _ in SpeechEncoder(folders["transformer"]).named_parameters()]
    assert not [name for name in names if "decoder" in name or "tgt" in name or "ctc" in name]


def test_an_encoder_can_be_copied_and_its_state_loaded(folders: dict[str, str], clips: list[Tensor], tmp_path: Path) -> None:
    encoder = SpeechEncoder(folders["conformer"])
    other = SpeechEncoder(str(recogniser(tmp_path / "other", seed=1)))
    wanted = alone(encoder, clips[1])
    assert not torch.equal(alone(other, clips[1]), wanted)
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(alone(other, clips[1]), wanted)
    assert torch.equal(alone(deepcopy(encoder), clips[1]), wanted)


def test_fingerprint_depends_on_content_and_not_on_the_folder(folders: dict[str, str], own: Path) -> None:
    found = SpeechEncoder(folders["conformer"]).fingerprint()
    assert SpeechEncoder(str(own)).fingerprint() == found
    state = torch.load(own / "normalizer.ckpt", weights_only=True)
    torch.save(state | {"glob_mean": state["glob_mean"] + 1}, own / "normalizer.ckpt")
    normalised = SpeechEncoder(str(own)).fingerprint()
    windowed = SpeechEncoder(changed(own, "n_fft: 400", "n_fft: 512")).fingerprint()
    assert len({str(found), str(normalised), str(windowed)}) == 3


def test_weights_on_the_hub_are_fetched_with_the_commit_of_the_description(
    tmp_path: Path, clips: list[Tensor], folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(folders["conformer"], tmp_path / ("a" * 40)))
    weights = {name: (folder / name).read_bytes() for name in ("model.ckpt", "normalizer.ckpt")}
    asked = []

    def downloaded(source: str, revision: str | None, files: object = None) -> Path:
        asked.append((revision, files))
        if files is not None:
            for name, content in weights.items():
                (folder / name).write_bytes(content)
        return folder

    for name in weights:
        (folder / name).unlink()
    monkeypatch.setattr(loading, "_downloaded", downloaded)
    assert torch.equal(alone(SpeechEncoder("someone/thing"), clips[1]), alone(SpeechEncoder(folders["conformer"]), clips[1]))
    assert asked == [(None, None), ("a" * 40, ["model.ckpt", "normalizer.ckpt"])]


# What could run code, does not.


@pytest.mark.parametrize(
    "tag",
    [
        "!apply:os.mkdir [TRACE]",
        "!applyref:os.mkdir [TRACE]",
        "!<!apply%72ef:os.mkdir> [TRACE]",
        "!!python/object/apply:os.mkdir [TRACE]",
        "!new:subprocess.Popen [[mkdir, TRACE]]",
        "!name:os.mkdir",
        "!new:torch.nn.modules.module.functools.partial [!name:torch.nn.GELU ]",
        "!new:speechbrain.nnet.CNN.torch.jit.ScriptModule",
        "!include:other.yaml",
    ],
)
def test_a_description_that_could_run_code_is_refused(tag: str, own: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    source = changed(own, "n_fft: 400", f"n_fft: {tag.replace('TRACE', str(trace))}")
    with pytest.raises(EncoderError, match=r"which could run any code\. Only layers are built"):
        SpeechEncoder(source)
    assert not trace.exists()


def test_a_tuple_that_could_run_code_is_refused(own: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    tag = f"(!!python/object/apply:os.mkdir [{trace}])"
    with pytest.raises(EncoderError, match="cannot be built"):
        SpeechEncoder(changed(own, "(3, 3)", tag))
    assert not trace.exists()


def test_a_file_of_weights_that_could_run_code_is_refused(own: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.mkdir, (tmp_path / "trace",)

    torch.save({"0.weight": Trap()}, own / "model.ckpt")
    with pytest.raises(EncoderError, match=r"model.ckpt holds more than tensors and is not loaded"):
        SpeechEncoder(str(own))
    assert not (tmp_path / "trace").exists()


# What is wrong is said.


def test_without_speechbrain_the_error_says_what_to_install(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyperpyyaml", None)
    with pytest.raises(EncoderError, match=r"pip install 'ser-zoo\[speechbrain\]'"):
        SpeechEncoder(folders["conformer"])


def test_missing_weights_are_an_error_and_not_random(own: Path) -> None:
    state = torch.load(own / "model.ckpt", weights_only=True)
    name = next(name for name in state if "encoder.layers.1" in name)
    torch.save({key: value for key, value in state.items() if key != name}, own / "model.ckpt")
    with pytest.raises(EncoderError, match=f"no weights for 1 parameters, such as {name}"):
        SpeechEncoder(str(own))
    (own / "model.ckpt").unlink()
    with pytest.raises(EncoderError, match=r"there is no .*/model.ckpt. Expected model.ckpt, normalizer.ckpt beside"):
        SpeechEncoder(str(own))


@pytest.mark.parametrize("part", ["normalizer", "asr"])
def test_a_part_that_is_never_loaded_is_an_error(part: str, own: Path) -> None:
    line = next(line for line in TEMPLATE.splitlines() if line.startswith(f"        {part}:"))
    with pytest.raises(EncoderError, match=r"has no weights for .* tensors of the encoder"):
        SpeechEncoder(changed(own, line + "\n", ""))


def test_damaged_weights_are_an_error(own: Path) -> None:
    weights = own / "model.ckpt"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(EncoderError, match=r"model\.ckpt"):
        SpeechEncoder(str(weights.parent))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sample_rate: 16000", "rate: 16000", "cannot be read"),
        ("n_mels: 20", "n_mels: !PLACEHOLDER", "is a !PLACEHOLDER"),
        ("    encoder: !ref <encoder>\n", "", "cannot be read"),
        ("    transformer_encoder: !ref <Tencoder>\n", "", "has no blocks of SpeechBrain's transformer"),
        ("d_ffn: !ref <d_model> * 2", "d_fnn: 3", "cannot be built"),
        ("modules:", "modules: [", "cannot be read"),
    ],
)
def test_a_description_of_something_else_is_an_error(old: str, new: str, message: str, own: Path) -> None:
    with pytest.raises(EncoderError, match=message):
        SpeechEncoder(changed(own, old, new))


def test_pad_to_30s_is_refused(folders: dict[str, str]) -> None:
    with pytest.raises(EncoderError, match=r"pad_to_30s is for Whisper: .* is of type speechbrain"):
        SpeechEncoder(folders["conformer"], options=EncoderOptions(pad_to_30s=True))
