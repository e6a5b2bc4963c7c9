"""What every architecture must do; runs over ``list_models()``."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import lightning as L
import pytest
import torch
import yaml
from torch import Tensor

from ser_zoo.cli.fit import build_parser, model_arguments
from ser_zoo.data import Batch, SERDataModule
from ser_zoo.data.datamodule import collate
from ser_zoo.encoders import EncoderOptions
from ser_zoo.errors import SERZooError, UnknownNameError
from ser_zoo.inference import load_model
from ser_zoo.models import MODELS, create_model, list_models, model_class
from ser_zoo.models.base import SERModule
from ser_zoo.models.kept import ENCODER_PREFIX
from ser_zoo.models.optim import Optim
from tests.models.small import NEEDS_ENCODER, SMALL, batch_of, small_model
from tests.tiny import FAMILIES, tiny_encoder

DEFAULT_ENCODERS = {  # width and blocks
    "facebook/hubert-base-ls960": (768, 12),
    "facebook/wav2vec2-base": (768, 12),
    "facebook/wav2vec2-base-960h": (768, 12),
    "openai/whisper-base": (512, 6),
    "pico": (256, 4),
}
ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4  # of logits, in float32, for the same clip in another company


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


every_model = pytest.mark.parametrize("name", list_models())


@every_model
def test_listed_parameter_count_is_the_real_one(name: str, tmp_path: Path) -> None:
    def count(**changes: str) -> int:
        model = create_model(name, ["a", "b", "c", "d"], **changes)
        named = model.network.named_parameters()
        return sum(p.numel() for key, p in named if not key.startswith("encoder.") and p.requires_grad)

    if name not in NEEDS_ENCODER:
        assert MODELS[name].parameters == count()
        return
    width, blocks = DEFAULT_ENCODERS[inspect.signature(model_class(name)).parameters["encoder"].default]
    # The default encoder would take long to make, and the count is linear in its width.
    encoders = {w: tiny_encoder(tmp_path / str(w), "wav2vec2", hidden_size=w, num_hidden_layers=blocks) for w in (32, 64)}
    narrow, wide = (count(encoder=str(encoder)) for encoder in encoders.values())
    assert MODELS[name].parameters == narrow + (wide - narrow) // 32 * (width - 32)


@every_model
@pytest.mark.parametrize("classes", [2, 9])
@pytest.mark.parametrize("seconds", [[0.5], [0.3, 1.0, 0.6]])
def test_logits_have_a_column_per_class(name: str, classes: int, seconds: list[float], encoders: Path) -> None:
    model = small_model(name, encoders, classes).eval()
    logits = model(batch_of(model, seconds))
    assert logits.shape == (len(seconds), classes)
    assert logits.isfinite().all()


@every_model
@pytest.mark.parametrize("seconds", [[0.1], [0.5], [1e-9, 0.1, 0.5, 1.0]], ids=["0.1 s", "0.5 s", "mixed"])
def test_every_trained_parameter_gets_a_gradient(name: str, seconds: list[float], encoders: Path) -> None:
    model = small_model(name, encoders).train()
    model.loss(batch_of(model, seconds)).backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.abs().sum() > 0] == []
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


@every_model
def test_a_clip_of_one_sample_can_be_trained_on(name: str, encoders: Path) -> None:
    """Of its one frame attention takes all whatever its scores, and recurrent weights see zeros: their gradients are zero."""
    model = small_model(name, encoders).train()
    model.loss(batch_of(model, [1e-9])).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("name", sorted(NEEDS_ENCODER))
@pytest.mark.parametrize(
    ("first", "trained"),
    [(None, ()), (0, ("",)), (2, ("network.blocks.1.", "network.blocks.2.", "network.norm_after."))],
    ids=["frozen", "everything", "from the second block"],
)
def test_a_step_changes_the_chosen_blocks_and_no_others(
    name: str, first: int | None, trained: tuple[str, ...], encoders: Path
) -> None:
    model = small_model(name, encoders, finetune_from=first).train()
    assert model.encoder is not None
    chosen = {key for key, parameter in model.encoder.named_parameters() if parameter.requires_grad}
    assert chosen == {key for key, _ in model.encoder.named_parameters() if key.startswith(trained)}
    assert all(p.requires_grad for key, p in model.named_parameters() if not key.startswith(ENCODER_PREFIX))
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    optimiser = model.configure_optimizers()
    assert isinstance(optimiser, torch.optim.Optimizer)
    model.loss(batch_of(model, [0.6, 1.0, 0.8])).backward()
    optimiser.step()
    assert {key for key, value in model.encoder.state_dict().items() if not torch.equal(value, before[key])} == chosen


@every_model
def test_a_clip_alone_padded_or_permuted_has_the_same_logits(name: str, encoders: Path) -> None:
    model = small_model(name, encoders).eval()
    batch = batch_of(model, [0.4, 1.3, 0.9])
    with torch.no_grad():
        together = model(batch)
        order = [2, 0, 1]
        permuted = Batch(batch.waveforms[order], batch.lengths[order], batch.labels[order], [batch.ids[i] for i in order])
        torch.testing.assert_close(model(permuted), together[order], atol=TOLERANCE, rtol=0)
        for row, length in enumerate(batch.lengths.tolist()):
            alone = Batch(batch.waveforms[row : row + 1, :length], batch.lengths[row : row + 1], batch.labels[:1], ["x"])
            torch.testing.assert_close(model(alone)[0], together[row], atol=TOLERANCE, rtol=0)


@every_model
@pytest.mark.parametrize("seconds", [1e-9, 0.1, 30.0], ids=["one sample", "0.1 s", "30 s"])
def test_very_short_and_long_clips_have_finite_logits(name: str, seconds: float, encoders: Path) -> None:
    model = small_model(name, encoders).eval()
    with torch.no_grad():
        assert model(batch_of(model, [seconds])).isfinite().all()


@every_model
@pytest.mark.parametrize("level", [0.0, 1e4], ids=["silence", "clipped"])
def test_silence_and_clipping_have_a_finite_loss_and_gradient(name: str, level: float, encoders: Path) -> None:
    model = small_model(name, encoders).train()
    batch = batch_of(model, [0.8, 0.8])
    batch = batch._replace(waveforms=(batch.waveforms * level).clamp(-1, 1))
    loss = model.loss(batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every_model
def test_overfits_sixteen_clips(name: str, encoders: Path) -> None:
    changes = {key: 0.0 for key in inspect.signature(model_class(name)).parameters if "dropout" in key}
    model = small_model(name, encoders, **changes).train()
    time = torch.arange(model.sample_rate // 2) / model.sample_rate
    labels = [number % 3 for number in range(16)]
    tones = [(0.3 * torch.sin(2 * torch.pi * (200 + 500 * label + 5 * n) * time)).numpy() for n, label in enumerate(labels)]
    batch = collate(tones, [str(number) for number in range(16)], labels)
    if model.front_end is not None:  # it has no parameters, so its output is the same in every step
        frames = model.frames(batch)
        model.frames = lambda _: frames
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    with torch.no_grad():
        assert (model.eval()(batch).argmax(1) == batch.labels).all()


@every_model
def test_saved_and_loaded_model_predicts_the_same(name: str, encoders: Path, small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=16, sample_rate=22_050 if name == "cnn_attn" else 16_000)
    model = small_model(name, encoders, labels_of(data))
    trainer = L.Trainer(max_epochs=1, logger=False, default_root_dir=tmp_path, enable_progress_bar=False, accelerator="cpu")
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    loaded = load_model(tmp_path / "m.ckpt")
    batch = batch_of(model, [0.7, 0.4])
    with torch.no_grad():
        assert torch.equal(loaded(batch), model.eval()(batch))
    assert loaded.preparation == data.preparation
    ((expected,), (found,)) = (trainer.predict(which, datamodule=data) for which in (model, loaded))
    assert found["ids"] == expected["ids"]
    assert sorted(found["ids"]) == sorted(row.id for row in data.split.test)
    assert torch.equal(found["logits"], expected["logits"])


def default_optim(name: str) -> Optim:
    default = inspect.signature(model_class(name)).parameters["optim"].default
    assert isinstance(default, Optim)
    return default


@every_model
def test_a_mapping_of_optim_goes_on_top_of_the_models_own(name: str, encoders: Path) -> None:
    assert small_model(name, encoders, optim={"warmup": 0.2}).optim == replace(default_optim(name), warmup=0.2)
    assert small_model(name, encoders, optim={}).optim == default_optim(name)


@every_model
def test_an_unknown_field_of_optim_is_refused(name: str, encoders: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"field of optim 'weigt_decay'. Did you mean weight_decay\?"):
        small_model(name, encoders, optim={"weigt_decay": 0.1})


@every_model
def test_a_choice_that_there_is_not_is_refused(name: str, encoders: Path) -> None:
    kinds = get_type_hints(model_class(name).__init__)
    for choice in (argument for argument, kind in kinds.items() if get_origin(kind) is Literal):
        with pytest.raises(SERZooError, match=rf"--model\.{choice} 'mean_' is unknown\. Expected one of "):
            small_model(name, encoders, **{choice: "mean_"})


@pytest.mark.parametrize(
    ("name", "argument", "value", "expected"),
    [
        ("cnn_attn", "coefficients", 129, "1 to 128"),  # beyond the bands they would be rounding errors and copies
        ("hump_cat", "coefficients", 65, "1 to 64"),
        ("co_attn", "sample_rate", 4000, "8000 or more"),
        ("egemaps", "sample_rate", 1, "2000 or more"),
        ("co_attn", "lstm_layers", 2**31, "1 to 1,000"),
        ("hump_cat", "blocks", 1001, "0 to 1,000"),
        ("area_attn", "mels", 10**400, "4 to 1,000,000"),
        ("ecapa", "sample_rate", 2**63, "1 to 1,000,000"),
        ("area_attn", "channels", [8, 2**63], "1 to 1,000,000"),
        ("eca_cnn", "mels", 2**31, "8 to 1,000,000"),
        ("eca_cnn", "hop", 1e300, "6.25e-05 to 1,000,000"),
    ],
)
def test_more_than_a_spectrum_or_any_machine_has_is_refused(
    name: str, argument: str, value: float | list[int], expected: str, encoders: Path
) -> None:
    found = re.escape(str(value[-1] if isinstance(value, list) else value))
    with pytest.raises(SERZooError, match=rf"--model\.{argument} {found} makes no sense; expected {expected}\."):
        small_model(name, encoders, **{argument: value})


@pytest.mark.parametrize("name", sorted(NEEDS_ENCODER))
def test_an_unknown_field_of_encoder_options_is_refused(name: str, encoders: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"field of encoder_options 'precison'. Did you mean precision"):
        small_model(name, encoders, encoder_options={"precison": "bfloat16"})


@every_model
@pytest.mark.parametrize("optim", [Optim(), {"warmup": 0.2}], ids=["object", "mapping"])
def test_a_loaded_model_has_the_optim_that_was_saved(
    name: str, optim: Optim | Mapping[str, Any], encoders: Path, tmp_path: Path
) -> None:
    model = small_model(name, encoders, optim=optim)
    trainer = L.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    assert load_model(tmp_path / "m.ckpt").optim == model.optim
    content = torch.load(tmp_path / "m.ckpt", weights_only=True)
    del content["hyper_parameters"]["optim"]["linear_delta"]  # older than that field
    torch.save(content, tmp_path / "old.ckpt")
    assert load_model(tmp_path / "old.ckpt").optim == model.optim


@pytest.mark.parametrize("name", ["cnn_attn", "egemaps", "mfcc_stats"])
def test_a_recipes_model_is_the_same_from_python_and_from_the_command_line(name: str) -> None:
    recipe = ROOT / "recipes" / "emo_db" / f"{name}.yaml"
    block = yaml.safe_load(recipe.read_text())["model"]
    options = build_parser(name).parse_args(["--config", str(recipe)])
    there = create_model(name, ["a", "b"], **model_arguments(options))
    here = create_model(labels=["a", "b"], **block)
    assert here.optim == there.optim
    assert shapes(here.state_dict()) == shapes(there.state_dict())


@every_model
def test_a_captured_graph_gives_the_same_logits(name: str, encoders: Path) -> None:
    """torch.compile as far as it is Python: what a backend then makes of the graphs is torch's own matter."""
    model = small_model(name, encoders).eval()
    torch.compiler.reset()
    compiled = torch.compile(model.network, backend="eager")
    for seconds in ([0.5, 1.2], [0.8]):  # the second shape makes it guess which sizes vary
        inputs = model.inputs(batch_of(model, seconds))
        with torch.no_grad():
            torch.testing.assert_close(compiled(**inputs), model.network(**inputs), atol=TOLERANCE, rtol=0)


@every_model
def test_trains_under_bf16(name: str, encoders: Path, small_emo_db: Path, tmp_path: Path) -> None:
    data = SERDataModule("emo_db", str(small_emo_db), batch_size=30, sample_rate=22_050 if name == "cnn_attn" else 16_000)
    model = small_model(name, encoders, labels_of(data))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "default_root_dir": tmp_path}
    trainer = L.Trainer(max_epochs=1, precision="bf16-mixed", accelerator="cpu", **quiet)
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert all(value.isfinite().all() for value in model.state_dict().values())
    moved = {key for key, parameter in model.named_parameters() if not torch.equal(parameter, before[key])}
    assert moved == {key for key, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("name", "family"),
    dict.fromkeys([*((name, "wav2vec2-stable") for name in list_models()), *(("probe", family) for family in FAMILIES)]),
)
def test_the_float16_of_a_gpu_gives_nearly_the_same_logits_and_can_be_trained_in(
    name: str, family: str, encoders: Path
) -> None:
    """What ``--trainer.precision 16-mixed`` does there, done here by the parts of torch that it is made of."""
    finetuned = {"finetune_from": 0} if name in NEEDS_ENCODER else {}
    model = small_model(name, encoders, family=family, **finetuned).eval()
    batch = batch_of(model, [0.3, 1.0, 0.6])
    for scaler, rows in model.scalers():
        scaler.fit(map(rows, [batch]))
    half = torch.autocast("cpu", torch.float16)
    with torch.no_grad():
        expected = model(batch)
        with half:
            found = model(batch)
    assert not torch.equal(found.float(), expected)
    torch.testing.assert_close(found.float(), expected, atol=0.01, rtol=0.01)
    optimiser = torch.optim.SGD(model.train().parameters(), 0.01)
    amp = torch.amp.GradScaler("cpu")
    scale = amp.get_scale() * 2
    while 16 < amp.get_scale() < scale:  # a step that overflows is left out, and halves it
        scale = amp.get_scale()
        optimiser.zero_grad()
        with half:
            loss = model.loss(batch)
        amp.scale(loss).backward()
        amp.step(optimiser)
        amp.update()
    assert amp.get_scale() == scale
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    still = {key for key, parameter in model.named_parameters() if parameter.grad is not None and not parameter.grad.any()}
    assert {key for key in still if not key.endswith("k_proj.bias")} == set()  # softmax makes these irrelevant


def test_every_architecture_trains_and_predicts_over_two_processes(encoders: Path, small_emo_db: Path) -> None:
    for name in NEEDS_ENCODER:
        small_model(name, encoders)  # makes the encoder, which both processes read
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", "-m", "tests.models.ddp"]
    done = subprocess.run([*command, str(small_emo_db), str(encoders)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in [*list_models(), "cross_attn resting"]:
        assert f"{name} trained=True alike=True predicted=True world=2" in done.stdout


@every_model
def test_names_of_parameters_are_those_of_earlier_checkpoints(name: str, encoders: Path) -> None:
    """To change a name on purpose, say in the commit which checkpoints no longer load, and mend the golden file."""
    state = small_model(name, encoders).state_dict()
    own = {key: value for key, value in state.items() if not key.startswith(ENCODER_PREFIX)}
    known = golden("parameter_names")
    assert name in known, f"A new architecture: add to parameter_names.json\n{json.dumps({name: shapes(own)}, indent=1)}"
    assert shapes(own) == known[name]


@pytest.mark.parametrize("family", [*FAMILIES, "pico"])
def test_names_of_an_encoders_parameters_are_those_of_earlier_checkpoints(family: str, encoders: Path) -> None:
    """Those of a fine-tuned encoder hold them all; for a change see above."""
    source = {"encoder": "pico"} if family == "pico" else {"family": family}
    model = small_model("probe", encoders, finetune_from=1, **source)
    assert shapes(encoder_state(model)) == golden("encoder_parameter_names")[family]


@pytest.mark.parametrize("family", ["wav2vec2-stable", "whisper"])
def test_names_of_adapters_are_those_of_earlier_checkpoints(family: str, encoders: Path) -> None:
    model = small_model("probe", encoders, family=family, finetune_from=2, encoder_options=EncoderOptions(lora_rank=2))
    assert model.encoder is not None
    left_out = {ENCODER_PREFIX + key for key in model.encoder.in_source()}
    adapters = {key: value for key, value in encoder_state(model).items() if key not in left_out}
    assert shapes(adapters) == golden("encoder_parameter_names")[f"{family}, adapters"]


@every_model
def test_numbers_that_make_no_sense_are_refused_by_name(name: str, encoders: Path) -> None:
    arguments = inspect.signature(model_class(name)).parameters.values()
    senseless = [(argument.name, 0) for argument in arguments if argument.annotation == "int" and argument.name != "blocks"]
    senseless += [(argument.name, -1) for argument in arguments if argument.annotation in ("int", "float")]
    senseless += [(argument.name, 1.5) for argument in arguments if "dropout" in argument.name]
    senseless += [("projection", 0)] if name == "probe" else []
    for option, value in senseless:
        with pytest.raises(SERZooError, match=rf"--model\.{option}\b"):
            small_model(name, encoders, **{option: value})


@every_model
def test_small_settings_exist(name: str) -> None:
    assert name in SMALL


def encoder_state(model: SERModule) -> dict[str, Tensor]:
    return {key: value for key, value in model.state_dict().items() if key.startswith(ENCODER_PREFIX)}


def shapes(state: Mapping[str, Tensor]) -> list[str]:
    return [f"{key} {list(value.shape)}" for key, value in state.items()]


def golden(file: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = json.loads((Path(__file__).parent / f"{file}.json").read_text())
    return names


def labels_of(data: SERDataModule) -> int:
    return len(data.labels)
