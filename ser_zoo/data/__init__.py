"""Decode, resample, crop, augment, bucket, collate: the one LightningDataModule and the Batch it gives."""

from ser_zoo.data.audio import Preparation, content_hash, read_audio, resample
from ser_zoo.data.batch import Batch
from ser_zoo.data.datamodule import SERDataModule

__all__ = ["Batch", "Preparation", "SERDataModule", "content_hash", "read_audio", "resample"]
