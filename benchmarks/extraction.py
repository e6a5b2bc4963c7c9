"""How fast a frozen Whisper is extracted, beside the loop that the field writes, and what bfloat16 changes.

    python benchmarks/extraction.py --encoder FOLDER_OF_WHISPER_BASE [--corpora emo_db ravdess] [--clips 300] [--repeats 2]

All hidden states of random clips of each corpus (under ``$SER_ZOO_DATA``), decoded beforehand, are computed in four ways,
one after the other and that ``--repeats`` times; the fastest repetition of each counts:

reference    transformers alone: its feature extractor pads a clip to 30 s, its encoder runs it in float32, one clip at a time
single       ``SpeechEncoder`` at the clip's real length in float32, one clip at a time
float32      ``FeatureStore.fill``: batches of similar length, files written
bfloat16     the same with ``precision: bfloat16``

The number of threads is that of torch (``OMP_NUM_THREADS``). Writes ``benchmarks/results/speed/extraction.json``: seconds of
audio per second and their ratios to the reference, and the cosine of frames, by layer, between bfloat16 and float32.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RATE, SPEED, circumstances, fastest, in_words, output_file, positive
from torch.nn import functional as F

from ser_zoo.cache import write_json
from ser_zoo.corpora import create_corpus
from ser_zoo.data.audio import Preparation
from ser_zoo.data.waveforms import load_waveforms
from ser_zoo.encoders import EncoderOptions, FeatureStore, SpeechEncoder
from ser_zoo.encoders.whisper import WhisperNetwork
from ser_zoo.errors import EncoderError

RESULT = SPEED / "extraction.json"

Clips = Mapping[str, np.ndarray]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="folder or hub name of a Whisper")
    parser.add_argument("--corpora", nargs="+", default=["emo_db", "ravdess"])
    parser.add_argument(
        "--clips", type=positive, default=300, help="of each corpus; many, so that most find others of their length"
    )
    parser.add_argument("--repeats", type=positive, default=2)
    parser.add_argument("--output", type=output_file, default=RESULT)
    options = parser.parse_args()
    if not isinstance(SpeechEncoder(options.encoder).network, WhisperNetwork):
        raise EncoderError(f"{options.encoder} is no Whisper, and the reference runs nothing else. Pass one with --encoder.")
    corpora = {name: measure(options.encoder, clips_of(name, options.clips), options.repeats) for name in options.corpora}
    result = {
        "encoder": Path(options.encoder).name,
        "repeats": options.repeats,
        "corpora": corpora,
        **circumstances(),
    }
    write_json(options.output, result)
    show(corpora)


def clips_of(corpus: str, count: int) -> Clips:
    """Random utterances of a corpus, always the same ones."""
    utterances = create_corpus(corpus).utterances()
    return load_waveforms(random.Random(0).sample(utterances, min(count, len(utterances))), Preparation(RATE))


def measure(source: str, clips: Clips, repeats: int) -> dict[str, Any]:
    """Speeds of all ways on the same clips, and how much bfloat16 differs from float32."""
    ways: dict[str, Callable[[Clips], object]] = {"reference": reference(source), "single": single(source)}
    stores: dict[str, FeatureStore] = {}
    for precision in ("float32", "bfloat16"):
        ways[precision] = filling(SpeechEncoder(source, options=EncoderOptions(precision=precision)), stores)
    seconds = fastest(ways, warm=dict(list(clips.items())[:2]), work=clips, repeats=repeats)
    audio = sum(map(len, clips.values())) / RATE
    return {
        "clips": len(clips),
        "audio_seconds": audio,
        "audio_seconds_per_second": {name: audio / value for name, value in seconds.items()},
        "ratio_to_reference": {name: seconds["reference"] / value for name, value in seconds.items()},
        "cosine_of_bfloat16": cosine(stores["bfloat16"], stores["float32"], list(clips)),
    }


def reference(source: str) -> Callable[[Clips], object]:
    """Hidden states as transformers alone gives them."""
    from transformers import AutoFeatureExtractor, AutoModel

    extractor: Any = AutoFeatureExtractor.from_pretrained(source)  # type: ignore[no-untyped-call]
    encoder: Any = AutoModel.from_pretrained(source, dtype=torch.float32).get_encoder().eval()

    def run(clips: Clips) -> None:
        with torch.no_grad():
            for waveform in clips.values():
                inputs = extractor(waveform, sampling_rate=RATE, return_tensors="pt")
                encoder(inputs.input_features, output_hidden_states=True)

    return run


def single(source: str) -> Callable[[Clips], object]:
    """One clip at a time at its real length."""
    encoder = SpeechEncoder(source)

    def run(clips: Clips) -> None:
        for waveform in clips.values():
            encoder(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))

    return run


def filling(encoder: SpeechEncoder, stores: dict[str, FeatureStore]) -> Callable[[Clips], object]:
    """An empty feature store each time; the last one stays in ``stores`` under the encoder's precision."""
    folders: list[tempfile.TemporaryDirectory[str]] = []

    def run(clips: Clips) -> None:
        while folders:
            folders.pop().cleanup()
        folders.append(tempfile.TemporaryDirectory())
        store = FeatureStore(encoder, Path(folders[-1].name))
        store.fill(clips, progress=False)
        stores[encoder.options.precision] = store

    return run


def cosine(low: FeatureStore, high: FeatureStore, ids: list[str]) -> dict[str, list[float]]:
    """Cosine of the frames of two stores, by layer: mean, first percentile and minimum, and the minimum over clip means."""
    pairs = [(low.get([id]).states[0], high.get([id]).states[0]) for id in ids]
    frames = torch.cat([F.cosine_similarity(a, b, dim=-1) for a, b in pairs], dim=1)
    means = torch.stack([F.cosine_similarity(a.mean(1), b.mean(1), dim=-1) for a, b in pairs], dim=1)
    return {
        "mean": frames.mean(1).tolist(),
        "percentile_1": frames.quantile(0.01, dim=1).tolist(),
        "minimum": frames.amin(1).tolist(),
        "minimum_of_clip_means": means.amin(1).tolist(),
    }


def show(corpora: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the tables."""
    for name, result in corpora.items():
        print(f"\n{name}: {result['clips']} clips, {result['audio_seconds']:.0f} s\n")
        for way, speed in result["audio_seconds_per_second"].items():
            print(f"  {way:10} {speed:8.1f} s of audio per s   {result['ratio_to_reference'][way]:6.1f} x")
        print("\n  bfloat16, cosine of frames to float32, by layer")
        for what, values in result["cosine_of_bfloat16"].items():
            print(f"  {what:22} " + "  ".join(f"{value:.5f}" for value in values))


if __name__ == "__main__":
    in_words(main)
