"""Checkpoints of the real architectures with few, random weights, as save_pretrained writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

BLOCKS, WIDTH = 3, 32

# Convolutions of one frame per 20 ms as in the published checkpoints, the other sizes as small as they can
# be.
_SPEECH: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 2,
}
_STABLE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_LONG: dict[str, Any] = {"num_conv_pos_embeddings": 16}

# family -> (configuration class, its settings, normalise the waveform)
_FAMILIES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "wav2vec2": ("Wav2Vec2Config", _SPEECH | _LONG, True),
    "wav2vec2-stable": ("Wav2Vec2Config", _SPEECH | _LONG | _STABLE, True),
    "hubert": ("HubertConfig", _SPEECH | _LONG, True),
    "hubert-stable": ("HubertConfig", _SPEECH | _LONG | _STABLE, True),
    "hubert-batch-norm": ("HubertConfig", _SPEECH | _LONG | {"conv_pos_batch_norm": True}, True),
    "wavlm": ("WavLMConfig", _SPEECH | _LONG | {"num_buckets": 32}, False),
    "wavlm-stable": ("WavLMConfig", _SPEECH | _LONG | _STABLE | {"num_buckets": 32}, True),
    "data2vec-audio": ("Data2VecAudioConfig", _SPEECH | {"conv_pos_kernel_size": 5}, True),
    "unispeech-sat": ("UniSpeechSatConfig", _SPEECH | _LONG, False),
    "whisper": (
        "WhisperConfig",
        {
            "d_model": WIDTH,
            "encoder_layers": BLOCKS,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "vocab_size": 8,
            "num_mel_bins": 80,
            "pad_token_id": 0,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "decoder_start_token_id": 0,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        },
        False,
    ),
    "speech-to-text": (
        "Speech2TextConfig",
        {
            "d_model": WIDTH,
            "encoder_layers": BLOCKS,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "vocab_size": 8,
            "conv_channels": 16,
            "pad_token_id": 0,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
        False,
    ),
    "moonshine": (
        "MoonshineConfig",
        {
            "hidden_size": WIDTH,
            "encoder_num_hidden_layers": BLOCKS,
            "decoder_num_hidden_layers": 1,
            "encoder_num_attention_heads": 2,
            "decoder_num_attention_heads": 2,
            "intermediate_size": 48,
            "vocab_size": 8,
        },
        False,
    ),
}

FAMILIES = tuple(_FAMILIES)


def tiny_encoder(folder: Path, family: str, seed: int = 0, **changes: Any) -> Path:
    """Write a checkpoint with its feature extractor.

    Args:
        folder: to write to; created.
        family: one of `FAMILIES`.
        seed: of the random weights; torch's global generator is left as it was.
        **changes: settings of the family's configuration that are not to be the usual tiny ones.

    Returns:
        ``folder``.
    """
    import transformers

    name, settings, normalize = _FAMILIES[family]
    config = getattr(transformers, name)(**(settings | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(config)
        # Fresh weights are so small that attention is uniform and biases zero: mistakes would not show.
        for parameter in model.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.uniform_(-1, 1)
    model.save_pretrained(folder)
    _extractor(family, normalize).save_pretrained(folder)
    return folder


def _extractor(family: str, normalize: bool) -> Any:
    """The feature extractor that published checkpoints of the family come with."""
    import transformers

    if family == "whisper":
        return transformers.WhisperFeatureExtractor()
    if family == "speech-to-text":
        return transformers.Speech2TextFeatureExtractor()
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize)
