"""ser-zoo: fusion architectures for speech emotion recognition, compared under speaker-independent protocols.

The names below are imported on their first use, so that ``import ser_zoo`` and the listing commands stay instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ser_zoo.registry import resolve

if TYPE_CHECKING:
    from ser_zoo.corpora import create_corpus
    from ser_zoo.data import Batch, SERDataModule
    from ser_zoo.inference import load_model, predict
    from ser_zoo.models import create_model, list_models

__version__ = "0.1.0"

_PUBLIC = {
    "Batch": "ser_zoo.data:Batch",
    "SERDataModule": "ser_zoo.data:SERDataModule",
    "create_corpus": "ser_zoo.corpora:create_corpus",
    "create_model": "ser_zoo.models:create_model",
    "list_models": "ser_zoo.models:list_models",
    "load_model": "ser_zoo.inference:load_model",
    "predict": "ser_zoo.inference:predict",
}

__all__ = [
    "Batch",
    "SERDataModule",
    "__version__",
    "create_corpus",
    "create_model",
    "list_models",
    "load_model",
    "predict",
]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return resolve(_PUBLIC[name])
    raise AttributeError(f"module 'ser_zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
