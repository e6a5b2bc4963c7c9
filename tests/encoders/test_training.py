"""Gradient checkpointing, adapters, and the precision of frozen encoders."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ser_zoo.encoders import EncoderOptions, EncoderOutput, SpeechEncoder
from ser_zoo.errors import EncoderError
from tests.tiny import BLOCKS, FAMILIES

Tiny = Callable[[str], str]


def batch(encoder: SpeechEncoder, clips: list[Tensor]) -> EncoderOutput:
    return encoder(pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips]))


def step(encoder: SpeechEncoder, clips: list[Tensor]) -> tuple[dict[str, Tensor], int]:
    """Gradients by name, and the bytes that the forward pass kept for the backward pass, each storage once."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    torch.manual_seed(0)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = batch(encoder.train(), clips).states.square().mean()
    size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    kept.clear()
    loss.backward()
    return {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}, size


@pytest.mark.parametrize("family", FAMILIES)
def test_no_dropout_of_an_encoder_draws_a_number_for_each_entry(tiny: Tiny, family: str) -> None:
    encoder = SpeechEncoder(tiny(family), finetune_from=1)
    assert not [name for name, part in encoder.named_modules() if type(part) is nn.Dropout]


@pytest.mark.parametrize("family", ["hubert", "wavlm", "whisper"])
def test_trained_blocks_drop_attention_weights_in_training_alone(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    encoder = SpeechEncoder(tiny(family), finetune_from=1)
    for part in encoder.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif type(part).__name__.endswith("Attention"):
            part.dropout = 0.5
    for training in (True, False):
        one, other = (batch(encoder.train(training), clips).states for _ in range(2))
        assert torch.equal(one, other) is not training


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    plain = SpeechEncoder(tiny(family), finetune_from=1)
    frugal = SpeechEncoder(tiny(family), finetune_from=1, options=EncoderOptions(gradient_checkpointing=True))
    expected, all_of_it = step(plain, clips)
    found, kept = step(frugal, clips)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name])
    assert kept < 0.7 * all_of_it


@pytest.mark.parametrize("family", FAMILIES)
def test_only_adapters_of_the_chosen_blocks_are_trained_and_they_change_nothing_at_first(
    tiny: Tiny, clips: list[Tensor], family: str
) -> None:
    encoder = SpeechEncoder(tiny(family), finetune_from=2, options=EncoderOptions(lora_rank=2, feature_dtype="float32"))
    plain = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype="float32"))
    assert not encoder.frozen
    torch.testing.assert_close(batch(encoder.eval(), clips).states, batch(plain, clips).states)
    for name, parameter in encoder.named_parameters():
        assert parameter.requires_grad == (".lora_" in name)
        if parameter.requires_grad:
            # The second matrix of an adapter is zero at first, and so is the gradient of the first.
            torch.nn.init.normal_(parameter, std=0.1)
    gradients, _ = step(encoder, clips)
    assert set(gradients) == {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert all(gradient.abs().sum() > 0 for name, gradient in gradients.items() if "k_proj" not in name)
    assert len(gradients) == 2 * 4 * (BLOCKS - 1)
    assert not any(".0." in name for name in gradients)
    assert (batch(encoder.eval(), clips).states - batch(plain, clips).states).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["whisper", "wavlm"])
def test_an_adapter_is_a_product_of_two_matrices_added_to_a_projection(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    options = EncoderOptions(lora_rank=2, lora_alpha=6.0)
    adapted, plain = SpeechEncoder(tiny(family), None, 1, options).eval(), SpeechEncoder(tiny(family), None, 1).eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    state = adapted.state_dict()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            stem = name.removesuffix(".weight")
            if f"{stem}.lora_A.default.weight" in state:
                product = state[f"{stem}.lora_B.default.weight"] @ state[f"{stem}.lora_A.default.weight"]
                parameter += 6.0 / 2 * product
        torch.testing.assert_close(batch(adapted, clips).states, batch(plain, clips).states, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("finetune_from", "expected"), [(0, [2, 2, 2]), (1, [2, 2, 2]), (2, [1, 2, 2])])
def test_gradient_checkpointing_computes_the_trained_blocks_twice(
    tiny: Tiny, clips: list[Tensor], finetune_from: int, expected: list[int]
) -> None:
    options = EncoderOptions(gradient_checkpointing=True)
    encoder = SpeechEncoder(tiny("hubert"), finetune_from=finetune_from, options=options)
    calls = [0] * BLOCKS

    def count(number: int) -> None:
        calls[number] += 1

    for number, block in enumerate(encoder.network.blocks):
        block.attention.register_forward_pre_hook(lambda *_, number=number: count(number))
    step(encoder, clips)
    assert calls == expected


@pytest.mark.parametrize("family", ["whisper", "hubert"])
def test_fingerprint_with_adapters_is_that_of_what_they_adapt(tiny: Tiny, family: str) -> None:
    frozen = SpeechEncoder(tiny(family))
    adapted = SpeechEncoder(tiny(family), finetune_from=2, options=EncoderOptions(lora_rank=2))
    assert adapted.fingerprint() == frozen.fingerprint()
    assert frozen.in_source() == set(frozen.state_dict())
    assert set(adapted.state_dict()) - adapted.in_source() == {name for name in adapted.state_dict() if ".lora_" in name}
    assert SpeechEncoder(tiny(family), finetune_from=2).in_source() == set()


def test_adapters_without_peft_say_how_to_get_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EncoderError, match=r"needs the package peft.*pip install 'ser-zoo\[lora\]'"):
        SpeechEncoder(tiny("whisper"), finetune_from=1, options=EncoderOptions(lora_rank=2))


def test_options_without_an_effect_are_refused(tiny: Tiny) -> None:
    for finetune_from in (None, 0):
        with pytest.raises(EncoderError, match=rf"lora_rank=4 with finetune_from={finetune_from}: .*1: all blocks"):
            SpeechEncoder(tiny("whisper"), finetune_from=finetune_from, options=EncoderOptions(lora_rank=4))
    for finetune_from in (0, 1):
        trained = rf"this one is trained \(finetune_from={finetune_from}\).*--trainer.precision bf16-mixed"
        with pytest.raises(EncoderError, match=trained):
            SpeechEncoder(tiny("whisper"), finetune_from=finetune_from, options=EncoderOptions(precision="bfloat16"))
    with pytest.raises(EncoderError, match=r"LoRA of rank -1 and alpha 16 makes no sense"):
        EncoderOptions(lora_rank=-1)
    with pytest.raises(EncoderError, match=r"LoRA of rank 2 and alpha 0 makes no sense"):
        EncoderOptions(lora_rank=2, lora_alpha=0)
    with pytest.raises(EncoderError, match=r"Unknown precision 'half'. Expected one of float32, bfloat16"):
        EncoderOptions(precision="half")  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_changes_little_and_only_says_so_in_the_fingerprint(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    plain = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype="float32"))
    low = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype="float32", precision="bfloat16"))
    expected, found = batch(plain, clips), batch(low, clips)
    assert found.states.dtype == torch.float32
    assert torch.equal(found.lengths, expected.lengths)
    assert not torch.equal(found.states, expected.states)
    for row, frames in enumerate(found.lengths.tolist()):
        same = F.cosine_similarity(found.states[row, :, :frames], expected.states[row, :, :frames], dim=-1)
        assert same.mean() > 0.995
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(batch(low, clips).states, found.states)
    assert low.fingerprint() != plain.fingerprint()


@pytest.mark.parametrize("family", ["hubert", "wavlm-stable", "whisper"])
def test_sums_over_blocks_stay_in_float32(tiny: Tiny, clips: list[Tensor], family: str) -> None:
    encoder = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype="float32", precision="bfloat16"))
    states = batch(encoder, clips).states
    assert not torch.equal(states, states.bfloat16().float())


def test_options_may_come_as_a_mapping_of_plain_values(tiny: Tiny) -> None:
    encoder = SpeechEncoder(tiny("whisper"), [1], None, {"precision": "bfloat16", "feature_dtype": "float32"})
    assert encoder.options == EncoderOptions(precision="bfloat16", feature_dtype="float32")


@pytest.mark.parametrize("family", ["whisper", "wav2vec2", "hubert-stable"])
@pytest.mark.parametrize("layers", [(1, 3), (3, 0, 2), (2,), (3,)])
def test_a_trained_encoder_goes_on_from_what_is_kept_below(
    tiny: Tiny, clips: list[Tensor], family: str, layers: tuple[int, ...]
) -> None:
    encoder = SpeechEncoder(tiny(family), layers, finetune_from=2, options={"feature_dtype": "float32"}).eval()
    assert encoder.kept_layers == (*sorted({0, 1} & set(layers) - {1}), 1)
    next(encoder.network.blocks[0].parameters()).data.add_(0.1)  # as if it came from a checkpoint
    kept = encoder.kept(encoder.kept_layers)
    assert kept.frozen
    assert max(kept.layers) == 1
    with torch.no_grad():
        live, resumed = batch(encoder, clips), encoder.resume(batch(kept, clips))
    assert resumed is not None
    assert torch.equal(resumed.lengths, live.lengths)
    torch.testing.assert_close(resumed.states, live.states)


def test_what_is_kept_below_is_computed_without_what_is_only_for_training(tiny: Tiny) -> None:
    options = EncoderOptions(gradient_checkpointing=True, lora_rank=2, feature_dtype="bfloat16")
    kept = SpeechEncoder(tiny("whisper"), finetune_from=2, options=options).kept([0, 1])
    assert (kept.frozen, kept.layers) == (True, (0, 1))
    assert kept.options == EncoderOptions(feature_dtype="bfloat16")


@pytest.mark.parametrize(("family", "first"), [("wavlm", 2), ("speech-to-text", 2), ("whisper", 1), ("whisper", None)])
def test_nothing_is_kept_where_nothing_lies_below_or_more_than_a_state_is_needed(
    tiny: Tiny, family: str, first: int | None
) -> None:
    encoder = SpeechEncoder(tiny(family), finetune_from=first)
    assert encoder.kept_layers == ()


def test_clips_of_more_than_a_window_of_whisper_are_not_gone_on_from(tiny: Tiny) -> None:
    encoder = SpeechEncoder(tiny("whisper"), finetune_from=2)
    states = torch.zeros(1, len(encoder.kept_layers), 1501, encoder.width)
    assert encoder.resume(EncoderOutput(states, torch.tensor([1501]))) is None
    padded = SpeechEncoder(tiny("whisper"), finetune_from=2, options={"pad_to_30s": True})
    assert padded.kept_layers == ()


def test_what_a_frozen_encoder_never_does_is_refused(tiny: Tiny) -> None:
    with pytest.raises(EncoderError, match=r"gradient_checkpointing is of blocks that are trained.*frozen"):
        SpeechEncoder(tiny("whisper"), options=EncoderOptions(gradient_checkpointing=True))
