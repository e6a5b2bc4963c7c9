"""Pre-trained speech encoders, frozen or fine-tuned, and the store of what the frozen ones compute."""

from ser_zoo.encoders.huggingface import EncoderOutput, SpeechEncoder
from ser_zoo.encoders.options import EncoderOptions
from ser_zoo.encoders.store import FeatureStore

__all__ = ["EncoderOptions", "EncoderOutput", "FeatureStore", "SpeechEncoder"]
