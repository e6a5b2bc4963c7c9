"""Spectral features as modules, and what keeps their output."""

from ser_zoo.features.front_end import FrontEnd, KeptFrames
from ser_zoo.features.spectral import MFCC, Frames, Spectrogram, frame_mask, normalise_per_clip

__all__ = ["MFCC", "Frames", "FrontEnd", "KeptFrames", "Spectrogram", "frame_mask", "normalise_per_clip"]
