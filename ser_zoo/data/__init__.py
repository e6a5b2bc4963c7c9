"""Decode, resample, crop, augment, bucket, collate: the one LightningDataModule and the Batch it gives.

The names below are imported on their first use, so that recordings can be verified without waiting for torch and Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ser_zoo.registry import resolve

if TYPE_CHECKING:
    from ser_zoo.data.audio import Preparation, content_hash, read_audio, resample
    from ser_zoo.data.batch import Batch
    from ser_zoo.data.datamodule import SERDataModule

_PUBLIC = {
    "Batch": "ser_zoo.data.batch:Batch",
    "Preparation": "ser_zoo.data.audio:Preparation",
    "SERDataModule": "ser_zoo.data.datamodule:SERDataModule",
    "content_hash": "ser_zoo.data.audio:content_hash",
    "read_audio": "ser_zoo.data.audio:read_audio",
    "resample": "ser_zoo.data.audio:resample",
}

__all__ = ["Batch", "Preparation", "SERDataModule", "content_hash", "read_audio", "resample"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return resolve(_PUBLIC[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
