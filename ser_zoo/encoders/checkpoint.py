"""Finding and loading a pre-trained checkpoint from a folder or the Hugging Face hub, or saying why not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ser_zoo.encoders.pico import MODEL_TYPE, load_pico
from ser_zoo.encoders.speechbrain import HYPERPARAMS, Recipe, transformer_of
from ser_zoo.encoders.waveform import FAMILIES
from ser_zoo.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

FILES = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    HYPERPARAMS,
]
# The hub's own converter opens a pull request of this title on repositories that hold only pickled weights;
# the revision of that pull request holds the same weights as safetensors.
CONVERTER, CONVERSION = "SFconvertbot", "Adding `safetensors` variant of this model"

# Encoders whose weights are part of the package, by name; a folder of the same name is written ./NAME.
BUNDLED = {"pico": Path(__file__).parent / "weights" / "pico"}

EXPECTED = (
    "Expected wav2vec 2.0, HuBERT, WavLM, data2vec-audio, UniSpeech, Whisper or a similar speech encoder; "
    "choose one with --model.encoder."
)


class Checkpoint(NamedTuple):
    """A loaded checkpoint.

    Attributes:
        encoder: the encoder in float32; of an encoder-decoder model only the encoder.
        config: its transformers configuration; of a SpeechBrain model ``model_type`` and ``description``; of pico
            ``model_type`` and ``pico``, its sizes.
        extractor: its transformers feature extractor; of a SpeechBrain model and of pico ``sampling_rate``.
        depth: number of transformer blocks of the encoder.
    """

    encoder: Any
    config: Any
    extractor: Any
    depth: int


def load(source: str, revision: str | None = None) -> Checkpoint:
    """The encoder of a checkpoint.

    Args:
        source: folder, repository on the hub, or name of an encoder in the package (`BUNDLED`). A repository is looked
            for in the local cache first and asked for on the hub only when it is not there.
        revision: branch, tag or commit of the repository; None is its main branch, or, where that holds only
            pickled weights, the conversion by the hub's own bot.

    Raises:
        EncoderError: no such folder or repository, no safetensors weights, not a speech encoder, or one with the feature
            extractor of another.
    """
    folder = locate(source, revision)
    if (folder / HYPERPARAMS).is_file():
        return _load_speechbrain(folder, source)
    if _model_type(folder, source) == MODEL_TYPE:
        pico, sizes = load_pico(folder, source)
        config = SimpleNamespace(model_type=MODEL_TYPE, pico=sizes)
        return Checkpoint(pico, config, SimpleNamespace(sampling_rate=sizes.sample_rate), sizes.depth)
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

    try:
        config = AutoConfig.from_pretrained(folder)
        auto: Any = AutoFeatureExtractor
        extractor = auto.from_pretrained(folder)
        # Masking and layer drop are regularisers of the pre-training; features must not be random.
        for name in ("mask_time_prob", "mask_feature_prob", "layerdrop", "encoder_layerdrop"):
            if hasattr(config, name):
                setattr(config, name, 0.0)
        model, info = _quietly(AutoModel, folder, config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EncoderError(
            f"{source} cannot be loaded as a speech encoder: {reason} Looked for config.json, "
            f"preprocessor_config.json and model.safetensors in {folder}. {EXPECTED}"
        ) from error
    encoder: nn.Module = model.get_encoder() if config.is_encoder_decoder else model
    part = next((f"{name}." for name, module in model.named_modules() if module is encoder and name), "")
    missing = sorted(name for name in info["missing_keys"] if name.startswith(part))
    if missing:
        raise EncoderError(
            f"{source} has no weights for {len(missing)} parameters of the encoder, such as {missing[0]}: "
            "they would be random. Expected a complete checkpoint; download it again or choose another."
        )
    mismatched = sorted(entry for entry in info["mismatched_keys"] if entry[0].startswith(part))
    if mismatched:
        name, found, expected = mismatched[0]
        raise EncoderError(
            f"{source} has weights of other sizes than its config.json says: {name} is {tuple(found)}, expected "
            f"{tuple(expected)}. They are of two models, or one of the files was changed; download both again."
        )
    # num_hidden_layers comes last: in some encoder-decoder models it counts the decoder's blocks.
    names = ("encoder_layers", "encoder_num_hidden_layers", "num_hidden_layers")
    depth = next((int(getattr(config, name)) for name in names if hasattr(config, name)), None)
    if depth is None:
        raise EncoderError(f"{source} is of type {config.model_type}, which has no transformer blocks. {EXPECTED}")
    _check_extractor(extractor, config, source)
    return Checkpoint(encoder, config, extractor, depth)


def _check_extractor(extractor: Any, config: Any, source: str) -> None:
    """Refuse a feature extractor that is not of this kind of encoder.

    Raises:
        EncoderError: it has not what the encoder's network reads of it, or makes other features than the weights take.
    """
    read = {"whisper": ("mel_filters", "n_fft", "hop_length"), **dict.fromkeys(FAMILIES, ("do_normalize",))}
    missing = [name for name in read.get(config.model_type, ()) if not hasattr(extractor, name)]
    rate = getattr(extractor, "sampling_rate", None)
    if missing:
        found = f"has no {', '.join(missing)}"
    elif not isinstance(rate, (int, float)) or rate < 1:
        found = f"has {rate!r} as sampling_rate"
    elif config.model_type == "whisper" and extractor.feature_size != config.num_mel_bins:
        found = f"makes {extractor.feature_size} mel bands, where the weights take {config.num_mel_bins}"
    else:
        return
    raise EncoderError(
        f"{source} is of type {config.model_type}, but what its preprocessor_config.json describes "
        f"({type(extractor).__name__}) {found}. Expected the file of the same model; download it again."
    )


def _load_speechbrain(folder: Path, source: str) -> Checkpoint:
    """The encoder of a SpeechBrain model, of which ``folder`` has the description."""
    recipe = Recipe(folder / HYPERPARAMS, source)
    missing = [name for name in recipe.files if not (folder / name).is_file()]
    if missing and not Path(source).expanduser().is_dir():
        # In the hub's cache a folder has the name of the commit, which the weights must be of too.
        folder = _downloaded(source, folder.name, missing)
    encoder, description = recipe.load(folder)
    config = SimpleNamespace(model_type="speechbrain", description=description)
    extractor = SimpleNamespace(sampling_rate=recipe.sample_rate)
    return Checkpoint(encoder, config, extractor, len(transformer_of(encoder).encoder.layers))


def locate(source: str, revision: str | None = None) -> Path:
    """The local folder with the files of ``source``, downloaded from the hub if need be.

    Raises:
        EncoderError: as `load` says.
    """
    if source in BUNDLED:
        return BUNDLED[source]
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _checked(folder, source)
    if source.startswith((".", "/", "~", "\\")) or source.count("/") != 1:
        raise EncoderError(
            f"Encoder not found: there is no folder {folder.absolute()}. Expected a folder with a checkpoint "
            "in Hugging Face format, or the name of one on the hub such as microsoft/wavlm-base-plus. Pass "
            "it with --model.encoder."
        )
    for candidate in [revision] if revision else [None, *_cached_conversions(source)]:
        cached = _cached(source, candidate)
        if cached is not None and _complete(cached):
            return cached
    found = _downloaded(source, revision)
    if not _complete(found) and revision is None and (converted := _conversion(source)):
        found = _downloaded(source, converted)
    return _checked(found, source)


def _model_type(folder: Path, source: str) -> str | None:
    """What ``config.json`` says of the architecture."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(
            f"{source} cannot be loaded: {folder / 'config.json'} is not JSON ({error}). Download it again."
        ) from error
    return content.get("model_type") if isinstance(content, dict) else None


def _cached(source: str, revision: str | None) -> Path | None:
    """Folder of a repository in the local cache, whatever is there of it; None if nothing is."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, local_files_only=True))
    except Exception:  # as in _downloaded, and names that are none of a repository
        return None


def _downloaded(source: str, revision: str | None, files: list[str] = FILES) -> Path:
    """Folder of a repository's files, which are downloaded where they are not in the local cache.

    Raises:
        EncoderError: the hub has no such repository or revision, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=files, etag_timeout=10))
    except Exception as error:  # which HTTP library's errors these are depends on huggingface_hub's version
        status = getattr(getattr(error, "response", None), "status_code", None)
        at = f" at revision {revision}" if revision else ""
        if status in (401, 403, 404):
            why = "the hub has no such public repository or revision (a gated one needs `hf auth login`)"
        else:
            why = f"the hub cannot be reached ({str(error).strip().splitlines()[0]})"
        raise EncoderError(
            f"Encoder not found: {source}{at} is neither a folder here nor in the local Hugging Face cache, "
            f"and {why}. Download it on a machine with access and pass its folder with --model.encoder DIR."
        ) from error


def _conversion(source: str) -> str | None:
    """Revision of the hub's own conversion of pickled weights to safetensors, if there is one."""
    from huggingface_hub import HfApi

    try:
        pulls = list(HfApi().get_repo_discussions(source, author=CONVERTER, discussion_type="pull_request"))
    except Exception:  # as in _downloaded; without an answer the missing weights are the error to report
        return None
    return next((pull.git_reference for pull in pulls if pull.title == CONVERSION), None)


def _cached_conversions(source: str) -> list[str]:
    """Pull requests of ``source`` in the local cache, where an earlier run left what `_conversion` named."""
    from huggingface_hub import constants

    refs = Path(constants.HF_HUB_CACHE) / ("models--" + source.replace("/", "--")) / "refs" / "refs" / "pr"
    return [f"refs/pr/{path.name}" for path in sorted(refs.glob("*"))]


def _weights(folder: Path) -> list[str]:
    """Names of the safetensors files that hold the weights; none if there are no such weights.

    Raises:
        EncoderError: the index of them is damaged.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    if index.is_file():
        try:
            return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise EncoderError(
                f"{folder} cannot be loaded: its {index.name} does not say which files hold the weights "
                f"({type(error).__name__}: {error}). Download it again."
            ) from error
    return []


def _complete(folder: Path) -> bool:
    """Whether every file that loading needs is there; of a SpeechBrain model, what says which these are."""
    if (folder / HYPERPARAMS).is_file():
        return True
    weights = _weights(folder)
    return (folder / "config.json").is_file() and bool(weights) and all((folder / w).is_file() for w in weights)


def _checked(folder: Path, source: str) -> Path:
    """``folder``, if it holds a SpeechBrain model or a checkpoint with safetensors weights."""
    if (folder / HYPERPARAMS).is_file():
        return folder
    if not (folder / "config.json").is_file():
        raise EncoderError(
            f"{source} is not a checkpoint: {folder} has no config.json. Expected a folder in Hugging Face "
            f"format, as save_pretrained writes it, or one of SpeechBrain, with {HYPERPARAMS}. Pass another with "
            "--model.encoder DIR."
        )
    if not _weights(folder):
        raise EncoderError(
            f"{source} has no safetensors weights: {folder} has neither model.safetensors nor "
            "model.safetensors.index.json. Pickled weights (pytorch_model.bin) are never loaded, because "
            "they can run code. Convert them on a machine you trust with them (transformers: "
            "AutoModel.from_pretrained(...).save_pretrained(DIR)) and pass --model.encoder DIR."
        )
    return folder


def _quietly(auto: Any, folder: Path, config: Any) -> tuple[Any, dict[str, Any]]:
    """``auto.from_pretrained`` without its report, for a missing encoder weight is our error anyway."""
    from transformers import logging as module

    logging: Any = module
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # ours to refuse: the error of transformers refers to its report
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    return model.float(), info
