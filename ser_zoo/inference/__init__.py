"""Load a trained model and predict on recordings."""

from ser_zoo.inference.load import Checkpoint, load_model, read_checkpoint
from ser_zoo.inference.prediction import Prediction, audio_paths, predict

__all__ = ["Checkpoint", "Prediction", "audio_paths", "load_model", "predict", "read_checkpoint"]
