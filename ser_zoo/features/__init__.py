"""Spectral features as modules."""

from ser_zoo.features.spectral import MFCC, Frames, Spectrogram, frame_mask, normalise_per_clip

__all__ = ["MFCC", "Frames", "Spectrogram", "frame_mask", "normalise_per_clip"]
