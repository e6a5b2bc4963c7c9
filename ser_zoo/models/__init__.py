"""The architectures, one file each; a file's docstring is its model card.

``MODELS`` is the table of the names that ``--model`` takes. Importing this package imports no architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ser_zoo.registry import expect_known, lookup, resolve

if TYPE_CHECKING:
    from ser_zoo.models.base import SERModule


@dataclass(frozen=True)
class ModelEntry:
    """A row of the table.

    Attributes:
        target: module and class.
        summary: one line.
        source: the paper.
        parameters: trained outside the encoder at default arguments with four classes (a test counts them).
    """

    target: str
    summary: str
    source: str
    parameters: int


MODELS: dict[str, ModelEntry] = {
    "area_attn": ModelEntry(
        target="ser_zoo.models.area_attn:AreaAttn",
        summary="CNN on log-mel with multiscale area attention",
        source="Xu et al., ICASSP 2021, arXiv 2102.01813",
        parameters=108_100,
    ),
    "cnn_attn": ModelEntry(
        target="ser_zoo.models.cnn_attn:CNNAttn",
        summary="1D CNN on MFCC with channel and spatial attention",
        source="Lee & Nadeem 2025, arXiv 2507.03251",
        parameters=537_826,
    ),
    "co_attn": ModelEntry(
        target="ser_zoo.models.co_attn:CoAttn",
        summary="spectrogram and MFCC weigh the frames of a pre-trained encoder",
        source="Zou et al., ICASSP 2022, arXiv 2203.15326",
        parameters=5_478_084,
    ),
    "cross_attn": ModelEntry(
        target="ser_zoo.models.cross_attn:CrossAttn",
        summary="acoustic frames attend to the frames of a pre-trained encoder",
        source="Deeb, Savchenko & Makarov 2025, IEEE Access 13:54454",
        parameters=17_375_492,
    ),
    "cta_rnn": ModelEntry(
        target="ser_zoo.models.cta_rnn:CTARNN",
        summary="RNN with channel and temporal attention on layers of an ASR encoder",
        source="after the abstract of Chen & Zhang, Interspeech 2022",
        parameters=695_476,
    ),
    "probe": ModelEntry(
        target="ser_zoo.models.probe:Probe",
        summary="learned layer weights, mean pooling and a linear classifier",
        source="Yang et al., SUPERB, Interspeech 2021",
        parameters=197_905,
    ),
    "eca_cnn": ModelEntry(
        target="ser_zoo.models.eca_cnn:EcaCNN",
        summary="six-layer CNN on log-mel with efficient channel attention",
        source="Kim & Kwon 2025, Scientific Reports 15, arXiv 2409.04007",
        parameters=287_406,
    ),
    "ecapa": ModelEntry(
        target="ser_zoo.models.ecapa:Ecapa",
        summary="SpeechBrain's ECAPA-TDNN on log-mel filter banks",
        source="Desplanques, Thienpondt & Demuynck 2020, arXiv 2005.07143",
        parameters=5_506_016,
    ),
    "egemaps": ModelEntry(
        target="ser_zoo.models.egemaps:Egemaps",
        summary="linear classifier of openSMILE's eGeMAPS functionals",
        source="Eyben et al. 2016, IEEE TAC 7(2):190",
        parameters=356,
    ),
    "hump_cat": ModelEntry(
        target="ser_zoo.models.hump_cat:HumpCat",
        summary="encoder states, MFCC and prosody in two stages of cross-attention",
        source="after the abstract of Zhao et al. 2025, arXiv 2501.10408",
        parameters=3_273_220,
    ),
    "mfcc_stats": ModelEntry(
        target="ser_zoo.models.mfcc_stats:MFCCStats",
        summary="linear classifier of the mean and deviation of MFCC",
        source="none: the plainest baseline",
        parameters=324,
    ),
}


def list_models() -> list[str]:
    """Names of all architectures."""
    return sorted(MODELS)


def model_class(name: str) -> type[SERModule]:
    """The LightningModule of the architecture ``name``.

    Raises:
        UnknownNameError: no such architecture.
    """
    return cast("type[SERModule]", resolve(lookup(MODELS, name, "model").target))


def create_model(name: str, labels: Sequence[str], **arguments: Any) -> SERModule:
    """A new model.

    Args:
        name: as ``list_models`` gives it.
        labels: class names in the order of the outputs.
        **arguments: of the architecture's class (``ser-zoo models NAME`` lists them), such as the block ``model`` of a recipe.

    Raises:
        UnknownNameError: no such architecture, or no such field of ``optim`` or ``encoder_options``.
        SERZooError: an argument is none of its choices, or makes no sense.
    """
    architecture = model_class(name)
    expect_known(architecture.__init__, arguments, "--model")
    return architecture(labels=labels, **arguments)


__all__ = ["MODELS", "ModelEntry", "create_model", "list_models", "model_class"]
