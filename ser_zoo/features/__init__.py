"""Spectral and prosodic features as modules, and what keeps their output."""

from ser_zoo.features.front_end import FrontEnd, KeptFrames, rows_of
from ser_zoo.features.prosody import Prosody
from ser_zoo.features.spectral import MFCC, Frames, Spectrogram, fine_points, frame_mask, normalise_per_clip

__all__ = [
    "MFCC",
    "Frames",
    "FrontEnd",
    "KeptFrames",
    "Prosody",
    "Spectrogram",
    "fine_points",
    "frame_mask",
    "normalise_per_clip",
    "rows_of",
]
