"""Load a trained model, predict on recordings, and measure what it costs."""

from ser_zoo.inference.load import Checkpoint, check_identity, find_device, load_model, read_checkpoint
from ser_zoo.inference.prediction import Prediction, audio_paths, predict
from ser_zoo.inference.profiling import profile

__all__ = [
    "Checkpoint",
    "Prediction",
    "audio_paths",
    "check_identity",
    "find_device",
    "load_model",
    "predict",
    "profile",
    "read_checkpoint",
]
