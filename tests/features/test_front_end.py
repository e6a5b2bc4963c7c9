from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from ser_zoo.errors import SERZooError
from ser_zoo.features import MFCC, Frames, FrontEnd, KeptFrames, Spectrogram, rows_of

LENGTHS = torch.tensor([4_000, 9_000])


class Counting(MFCC):
    """MFCC that count their calls, and note how many samples each reads."""

    calls = 0
    read = 0

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        self.calls += 1
        self.read = waveforms.shape[1]
        return super().forward(waveforms, lengths)


class Costly(Counting):
    """MFCC that are worth a file."""

    costly = True


def clips() -> Tensor:
    waveforms = 0.1 * torch.randn(2, 9_000, generator=torch.Generator().manual_seed(0))
    waveforms[0, 4_000:] = 0
    return waveforms


def frames_of(front_end: FrontEnd, waveforms: Tensor, ids: list[str], kept: KeptFrames | None = None) -> tuple[Frames, ...]:
    """What is kept of clips a, of 4,000 samples, and b, of 9,000."""
    lengths = torch.tensor([LENGTHS["ab".index(id)] for id in ids])
    return (kept or KeptFrames()).get(ids, partial(rows_of, front_end, waveforms, lengths))


def test_kept_frames_are_those_of_the_front_end() -> None:
    front_end = FrontEnd(MFCC(16_000, 13, 0.01), Spectrogram(16_000, 400, 0.02))
    kept = frames_of(front_end, clips(), ["a", "b"])
    for found, expected in zip(kept, front_end(clips(), LENGTHS), strict=True):
        assert found.lengths.tolist() == expected.lengths.tolist()
        torch.testing.assert_close(found.values, expected.values, atol=1e-3, rtol=1e-4)


def test_an_utterance_is_computed_once_and_alike_in_any_batch() -> None:
    mfcc = Counting(16_000, 13, 0.01)
    front_end, kept = FrontEnd(mfcc), KeptFrames()
    ((first, _),) = frames_of(front_end, clips(), ["a", "b"], kept)
    ((again, counts),) = frames_of(front_end, clips()[:1, :4_000], ["a"], kept)
    assert mfcc.calls == 2
    assert torch.equal(again[0], first[0, : counts[0]])


def test_an_utterance_is_computed_without_the_padding_of_its_batch() -> None:
    mfcc = Counting(16_000, 13, 0.01)
    frames_of(FrontEnd(mfcc), clips(), ["a"])
    assert mfcc.read == 4_000


def test_values_do_not_depend_on_the_number_of_threads() -> None:
    front_end = FrontEnd(MFCC(16_000, 13, 0.01), Spectrogram(16_000, 400, 0.02))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(frames_of(front_end, clips(), ["a", "b"]))
    finally:
        torch.set_num_threads(before)
    for alone, beside in zip(*found, strict=True):
        assert torch.equal(alone.values, beside.values)
        assert torch.equal(alone.lengths, beside.lengths)


def test_an_utterance_may_stand_twice_in_a_batch() -> None:
    mfcc = Counting(16_000, 13, 0.01)
    waveforms = clips()[:1].expand(2, -1)
    ((values, _),) = frames_of(FrontEnd(mfcc), waveforms, ["a", "a"])
    assert mfcc.calls == 1
    assert torch.equal(values[0], values[1])


def test_what_exceeds_the_limit_is_computed_each_time() -> None:
    mfcc = Counting(16_000, 13, 0.01)
    kept = KeptFrames(limit=26 * 13 * 4)  # the 26 frames of the first clip fit
    for _ in range(2):
        frames_of(FrontEnd(mfcc), clips(), ["a", "b"], kept)
    assert mfcc.calls == 3
    assert list(kept.rows) == ["a"]


def test_the_limit_is_that_of_all_utterances_together() -> None:
    kept = KeptFrames(limit=3 * 5 * 4)
    for id in "abcd":
        kept.get([id], lambda places: [(torch.ones(1, 5),) for _ in places])
    assert list(kept.rows) == ["a", "b", "c"]


def test_what_is_costly_is_computed_once_by_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path))
    found, calls = [], []
    for _ in range(2):  # each forgets what it kept, as another process would
        mfcc = Costly(16_000, 13, 0.01)
        ((values, _),) = frames_of(FrontEnd(mfcc), clips(), ["a", "b"])
        found.append(values)
        calls.append(mfcc.calls)
    assert calls == [2, 0]
    assert torch.equal(*found)
    louder, other = Costly(16_000, 13, 0.01), Costly(16_000, 12, 0.01)
    frames_of(FrontEnd(louder), 2 * clips(), ["a", "b"])  # other samples under the same ids
    frames_of(FrontEnd(other), clips(), ["a", "b"])
    assert (louder.calls, other.calls) == (2, 2)


def test_what_is_costly_is_found_again_in_a_batch_of_another_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path))
    mfcc = Costly(16_000, 13, 0.01)
    for waveforms in (clips(), clips()[:, :4_000]):
        frames_of(FrontEnd(mfcc), waveforms, ["a"])
    assert mfcc.calls == 1


def test_what_is_costly_is_written_with_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path))
    for _ in range(2):
        mfcc = Costly(16_000, 13, 0.01)
        frames_of(FrontEnd(MFCC(16_000, 13, 0.01), mfcc), clips(), ["a"])
    assert mfcc.calls == 0


def test_a_damaged_file_is_computed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path))
    found, calls = [], []
    for _ in range(3):
        mfcc = Costly(16_000, 13, 0.01)
        ((values, _),) = frames_of(FrontEnd(mfcc), clips(), ["a", "b"])
        found.append(values)
        calls.append(mfcc.calls)
        if len(found) == 1:
            damaged = next(tmp_path.rglob("*.safetensors"))
            damaged.write_bytes(damaged.read_bytes()[:-1])
    assert calls == [2, 1, 0]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path))
    monkeypatch.setattr("ser_zoo.features.front_end.save_file", full)
    with pytest.raises(SERZooError, match=r"cannot be written to .*frames: .*No space left.*SER_ZOO_CACHE"):
        frames_of(FrontEnd(Costly(16_000, 13, 0.01)), clips(), ["a"])
    assert not list((tmp_path / "frames").iterdir())


def test_what_is_not_costly_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path))
    frames_of(FrontEnd(MFCC(16_000, 13, 0.01)), clips(), ["a", "b"])
    assert not list(tmp_path.iterdir())


def test_front_ends_that_differ_in_any_setting_have_another_repr() -> None:
    different = [
        MFCC(16_000, 13, 0.01),
        MFCC(22_050, 13, 0.01),
        MFCC(16_000, 20, 0.01),
        MFCC(16_000, 13, 0.02),
        MFCC(16_000, 13, 0.01, n_fft=1024),
        MFCC(16_000, 13, 0.01, mels=64),
        MFCC(16_000, 13, 0.01, emphasis=0.97),
        Spectrogram(16_000, 400, 0.01),
        Spectrogram(16_000, 400, 0.01, window=0.02),
        Spectrogram(16_000, 400, 0.01, shape=torch.hamming_window),
        MFCC(16_000, 13, 0.01, norm="slaney"),
        MFCC(22_050, 13, 160 / 22_050),  # the same hop in samples
    ]
    assert len({repr(FrontEnd(extractor)) for extractor in different}) == len(different)
