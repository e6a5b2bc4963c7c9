from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ser_zoo.encoders import EncoderOptions, FeatureStore, SpeechEncoder, store
from ser_zoo.errors import EncoderError, SERZooWarning
from tests.encoders.stub import StubEncoder, noise
from tests.tiny import BLOCKS, WIDTH

Tiny = Callable[[str], str]
ROOT = Path(__file__).parents[2]
STORED = 10 * 400 * 2  # bytes of an utterance of a StubEncoder


class Clips(Mapping[str, np.ndarray]):
    """Waveforms by id that count how often they are asked for, and fail at one if told to."""

    def __init__(self, count: int = 7, fail_at: int | None = None) -> None:
        self.waveforms = {str(n): clip(n) for n in range(count)}
        self.asked = 0
        self.fail_at = fail_at

    def __getitem__(self, id: str) -> np.ndarray:
        self.asked += 1
        if self.asked == self.fail_at:
            raise KeyboardInterrupt
        return self.waveforms[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.waveforms)

    def __len__(self) -> int:
        return len(self.waveforms)


def clip(seed: int, length: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, length + 37 * seed).astype(np.float32)


def shards(features: FeatureStore) -> list[Path]:
    return sorted(features.folder.glob("shard-*"))


def filler(root: Path, count: int) -> subprocess.Popen[str]:
    """A process that fills a store, one shard per utterance, once it is told to."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.encoders.stub", str(root), str(count)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def start(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


@pytest.fixture
def encoder(tiny: Tiny) -> SpeechEncoder:
    return SpeechEncoder(tiny("hubert"))


@pytest.mark.parametrize("family", ["hubert", "whisper"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stored_features_equal_live_ones_exactly_where_a_batch_is_one_clip(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, dtype: str, precision: str
) -> None:
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.0)
    encoder = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype=dtype, precision=precision))
    features, clips = FeatureStore(encoder, tmp_path), Clips()
    assert features.fill(clips, progress=False) == 7
    for id in clips:
        waveform = torch.from_numpy(clips[id])[None]
        live, stored = encoder(waveform, torch.tensor([waveform.shape[1]])), features.get([id])
        assert torch.equal(live.states, stored.states)
        assert torch.equal(live.lengths, stored.lengths)
        assert stored.states.dtype == torch.float32


@pytest.mark.parametrize("family", ["hubert", "wavlm-stable", "data2vec-audio", "speech-to-text", "whisper"])
def test_features_do_not_depend_on_the_company_in_a_batch(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    encoder = SpeechEncoder(tiny(family), options=EncoderOptions(feature_dtype="float32"))
    monkeypatch.setattr(store, "PADDING", 0.3)
    clips = {str(n): clip(n, 4000 - 37 * n) for n in range(3)} | {str(n): clip(n) for n in range(3, 8)}
    together, alone = FeatureStore(encoder, tmp_path / "together"), FeatureStore(encoder, tmp_path / "alone")
    assert len(together._batches({id: len(waveform) for id, waveform in clips.items()})) < len(clips)
    together.fill(clips, progress=False)
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.0)
    alone.fill(clips, progress=False)
    for id in clips:
        torch.testing.assert_close(together.get([id]).states, alone.get([id]).states, atol=1e-4, rtol=1e-4)


def test_batches_hold_similar_lengths_and_are_bounded(tmp_path: Path) -> None:
    stub = StubEncoder()
    lengths = [16000] * 40 + [15500, 8000, 7900, 7000, 40 * 16000, 41 * 16000]
    clips = {str(n): np.full(length, 0.1, dtype=np.float32) for n, length in enumerate(lengths)}
    assert FeatureStore(stub, tmp_path / "a").fill(clips, progress=False) == len(clips)
    assert sorted(length for batch in stub.batches for length in batch) == sorted(lengths)
    padded = [len(batch) * max(batch) for batch in stub.batches]
    assert all(sum(batch) >= 0.95 * size for batch, size in zip(stub.batches, padded, strict=True))
    assert all(size <= 30 * 16000 or len(batch) == 1 for batch, size in zip(stub.batches, padded, strict=True))
    assert sorted(map(len, stub.batches)) == [1, 1, 1, 2, 11, 30]


def test_several_utterances_are_padded_with_zeros_in_the_order_asked_for(encoder: SpeechEncoder, tmp_path: Path) -> None:
    features = FeatureStore(encoder, tmp_path)
    clips = {"short": clip(0, 1000), "long": clip(1, 9000)}
    features.fill(clips, progress=False)
    both = features.get(["long", "short", "long"])
    assert both.states.shape == (3, BLOCKS + 1, int(both.lengths.max()), WIDTH)
    frames = int(both.lengths[1])
    assert frames < both.lengths[0] == both.lengths[2]
    assert not both.states[1, :, frames:].any()
    assert torch.equal(both.states[1, :, :frames], features.get(["short"]).states[0])
    assert torch.equal(both.states[0], both.states[2])


def test_what_is_stored_is_not_computed_again(encoder: SpeechEncoder, tmp_path: Path) -> None:
    first = FeatureStore(encoder, tmp_path)
    assert first.fill(Clips(), progress=False) == 7
    assert first.fill(Clips(), progress=False) == 0
    second, clips = FeatureStore(encoder, tmp_path), Clips(8)
    assert "3" not in second  # whether the audio is the same is not known yet
    assert second.fill(clips, progress=False) == 1
    assert clips.asked == 8 + 1  # what is missing once more
    assert all(id in second for id in clips)
    assert "other" not in second
    assert 3 not in second


def test_changed_audio_under_an_old_id_is_computed_again(encoder: SpeechEncoder, tmp_path: Path) -> None:
    features, clips = FeatureStore(encoder, tmp_path), Clips()
    features.fill(clips, progress=False)
    old = features.get(["3"])
    clips.waveforms["3"] = clip(99)
    assert features.fill(clips, progress=False) == 1
    assert features.get(["3"]).states.shape != old.states.shape
    again = FeatureStore(encoder, tmp_path)
    assert again.fill(Clips(), progress=False) == 0  # the old version is still there
    assert torch.equal(again.get(["3"]).states, old.states)


def test_a_changed_fingerprint_computes_everything_again(tiny: Tiny, tmp_path: Path) -> None:
    encoders = [
        SpeechEncoder(tiny("hubert")),
        SpeechEncoder(tiny("hubert"), layers=[1]),
        SpeechEncoder(tiny("hubert"), options=EncoderOptions(feature_dtype="float32")),
        SpeechEncoder(tiny("wavlm")),
        SpeechEncoder(tiny("whisper")),
        SpeechEncoder(tiny("whisper"), options=EncoderOptions(pad_to_30s=True)),
        SpeechEncoder(tiny("whisper"), options=EncoderOptions(precision="bfloat16")),
    ]
    for encoder in encoders:
        features = FeatureStore(encoder, tmp_path)
        assert features.fill(Clips(2), progress=False) == 2
        assert json.loads((features.folder / "fingerprint.json").read_text()) == encoder.fingerprint()
    assert len(list(tmp_path.iterdir())) == len(encoders)


def test_a_new_version_of_the_feature_code_computes_everything_again(
    encoder: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ser_zoo.encoders import huggingface

    FeatureStore(encoder, tmp_path).fill(Clips(), progress=False)
    monkeypatch.setattr(huggingface, "FEATURE_VERSION", huggingface.FEATURE_VERSION + 1)
    assert FeatureStore(encoder, tmp_path).fill(Clips(), progress=False) == 7


def test_an_interrupted_extraction_resumes(encoder: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_UTTERANCES", 2)
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        FeatureStore(encoder, tmp_path).fill(Clips(fail_at=7 + 6), progress=False)
    assert FeatureStore(encoder, tmp_path).fill(Clips(), progress=False) == 7 - 4


@pytest.mark.parametrize(
    ("bound", "value", "count"), [("SHARD_UTTERANCES", 2, 3), ("SHARD_BYTES", 2 * STORED, 3), ("SHARD_SECONDS", 0.0, 6)]
)
def test_a_shard_is_written_as_soon_as_one_of_its_bounds_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: float, count: int
) -> None:
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(store, bound, value)
    features = FeatureStore(StubEncoder(), tmp_path)
    features.fill(noise(range(6)), progress=False)
    assert len(shards(features)) == count


def test_a_killed_extraction_resumes(tmp_path: Path) -> None:
    process = filler(tmp_path, count=1000)
    start(process)
    features = FeatureStore(StubEncoder(), tmp_path)
    deadline = time.monotonic() + 60
    while len(shards(features)) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(shards(features))
    assert 5 <= kept < 1000
    clips = noise(range(1000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = FeatureStore(StubEncoder(), tmp_path)
        assert features.fill(clips, progress=False) == 1000 - kept
    assert features.get(list(clips)).states.shape[0] == 1000


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    pair = [filler(tmp_path, count=60) for _ in range(2)]
    start(*pair)
    computed = [int(process.communicate(timeout=60)[0]) for process in pair]
    assert 60 <= sum(computed) < 90  # without looking at each other's shards it would be 120
    features, clips = FeatureStore(StubEncoder(), tmp_path), noise(range(60))
    assert features.fill(clips, progress=False) == 0
    alone = FeatureStore(StubEncoder(), tmp_path / "alone")
    assert alone.fill(clips, progress=False) == 60
    assert torch.equal(features.get(list(clips)).states, alone.get(list(clips)).states)


def test_ranks_compute_disjoint_shares_and_see_each_others_after_a_refresh(encoder: SpeechEncoder, tmp_path: Path) -> None:
    clips = Clips()
    ranks = [FeatureStore(encoder, tmp_path) for _ in range(3)]
    computed = [features.fill(clips, rank=r, world=3, progress=False) for r, features in enumerate(ranks)]
    assert computed == [3, 2, 2]
    assert "1" not in ranks[0]
    with pytest.raises(EncoderError, match=r"'1' .* not written yet"):
        ranks[0].get(["1"])
    for features in ranks:
        features.refresh()
        assert all(id in features for id in clips)
        assert features.get(list(clips)).states.shape[0] == 7


def test_memory_of_shards_is_given_back_after_so_many_bytes(
    encoder: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FeatureStore(encoder, tmp_path)
    features.fill(Clips(), progress=False)
    ids = list(Clips())
    wanted = features.get(ids).states
    opened: list[Path] = []
    monkeypatch.setattr(store, "safe_open", lambda path, framework: opened.append(path) or safe_open(path, framework))
    assert torch.equal(features.get(ids).states, wanted)
    assert not opened
    monkeypatch.setattr(store, "MAPPED_BYTES", 0)
    assert torch.equal(features.get(ids).states, wanted)
    assert opened == shards(features) * len(ids)


def test_memory_of_shards_is_given_back_no_more_often_than_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, clips = FeatureStore(StubEncoder(), tmp_path), noise(range(6))
    features.fill(clips, progress=False)
    opened: list[Path] = []
    monkeypatch.setattr(store, "safe_open", lambda path, framework: opened.append(path) or safe_open(path, framework))
    monkeypatch.setattr(store, "MAPPED_BYTES", 3 * STORED - 1)
    features.get([*clips, *clips])
    assert opened == shards(features) * 3  # before the fourth, the seventh and the tenth


@pytest.mark.filterwarnings("ignore:Damaged features")
def test_a_shard_that_is_gone_when_it_is_mapped_again_is_computed_again(
    encoder: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FeatureStore(encoder, tmp_path)
    clips = Clips()  # kept, as whoever fills keeps the waveforms
    features.fill(clips, progress=False)
    wanted = features.get(list(clips)).states
    shards(features)[0].unlink()
    monkeypatch.setattr(store, "MAPPED_BYTES", 0)
    assert torch.equal(features.get(list(clips)).states, wanted)
    assert len(shards(features)) == 1


@pytest.mark.parametrize("cut", [1, 100, -1, -5000])
def test_a_truncated_shard_is_reported_and_computed_again(
    encoder: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(store, "SHARD_UTTERANCES", 4)
    whole = FeatureStore(encoder, tmp_path)
    whole.fill(Clips(), progress=False)
    wanted = whole.get(list(Clips())).states
    broken = shards(whole)[0]
    held = len(safe_open(broken, framework="pt").keys())
    broken.write_bytes(broken.read_bytes()[:cut])
    with pytest.warns(SERZooWarning, match=f"Damaged features in .*{broken.name}"):
        features = FeatureStore(encoder, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert features.fill(Clips(), progress=False) == held
        assert torch.equal(features.get(list(Clips())).states, wanted)


def test_a_flipped_bit_is_reported_and_computed_again(encoder: SpeechEncoder, tmp_path: Path) -> None:
    whole = FeatureStore(encoder, tmp_path)
    whole.fill(Clips(), progress=False)
    wanted = whole.get(list(Clips())).states
    (path,) = shards(whole)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # a new file, as the old one is still mapped
    path.write_bytes(content)
    features = FeatureStore(encoder, tmp_path)
    assert features.fill(Clips(), progress=False) == 0
    with pytest.warns(SERZooWarning, match="another checksum"):
        states = features.get(list(Clips())).states
    assert torch.equal(states, wanted)
    assert path not in shards(features)


def test_what_else_a_damaged_shard_held_is_not_asked_for(tmp_path: Path) -> None:
    whole = FeatureStore(StubEncoder(), tmp_path)
    whole.fill(noise(range(4)), progress=False)
    wanted = whole.get(["3"]).states
    (path,) = shards(whole)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)
    features = FeatureStore(StubEncoder(), tmp_path)
    features.fill(noise(range(3, 4)), progress=False)
    with pytest.warns(SERZooWarning, match="another checksum"):
        assert torch.equal(features.get(["3"]).states, wanted)


def test_a_shard_that_lacks_what_its_metadata_lists_is_reported_and_computed_again(tmp_path: Path) -> None:
    whole = FeatureStore(StubEncoder(), tmp_path)
    whole.fill(noise(range(4)), progress=False)
    (path,) = shards(whole)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    fewer = {id: tensor.clone() for id, tensor in load_file(path).items() if id != "3"}
    path.unlink()
    save_file(fewer, path, metadata)
    with pytest.warns(SERZooWarning, match="its tensors are not those that its metadata lists"):
        features = FeatureStore(StubEncoder(), tmp_path)
    assert features.fill(noise(range(4)), progress=False) == 4
    assert path not in shards(features)


def test_filling_a_store_leaves_the_generators_that_a_seed_sets_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a run would be another one where its features are kept already."""
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.0)
    states = random.getstate(), torch.get_rng_state().tolist(), repr(np.random.get_state())
    assert FeatureStore(StubEncoder(), tmp_path).fill(noise(range(4)), progress=False) == 4
    assert (random.getstate(), torch.get_rng_state().tolist(), repr(np.random.get_state())) == states


def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    encoder: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    features = FeatureStore(encoder, tmp_path)
    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(EncoderError, match=r"cannot be written to .*No space left.*SER_ZOO_CACHE"):
        features.fill(Clips(), progress=False)
    assert [path.name for path in features.folder.iterdir()] == ["fingerprint.json"]


def test_an_unknown_id_is_named(encoder: SpeechEncoder, tmp_path: Path) -> None:
    features = FeatureStore(encoder, tmp_path)
    features.fill(Clips(), progress=False)
    with pytest.raises(EncoderError, match=r"'nobody' in .* not given to fill\(\).* 7 utterances"):
        features.get(["0", "nobody"])


def test_a_fine_tuned_encoder_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="fine-tuned from block 2"):
        FeatureStore(SpeechEncoder(tiny("hubert"), finetune_from=2), tmp_path)


def test_the_folder_is_the_cache_by_default_and_the_shards_are_readable_as_it_is(
    encoder: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path / "cache"))
    features = FeatureStore(encoder)
    assert features.folder.parent == tmp_path / "cache" / "features"
    assert not features.folder.exists()
    features.fill(Clips(1), progress=False)
    assert shards(features)[0].stat().st_mode == (features.folder / "fingerprint.json").stat().st_mode
