"""All recordings of a corpus, decoded beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from ser_zoo.corpora.base import Utterance
from ser_zoo.data.audio import Waveform, read_audio
from ser_zoo.errors import AudioError
from ser_zoo.threads import single_threads

Made = TypeVar("Made")
CHUNK = 256  # recordings decoded ahead of who takes them, which bounds the memory


def decoded(
    utterances: Sequence[Utterance], make: Callable[[Waveform, int], Made], skip_bad: bool, title: str
) -> Iterator[tuple[Utterance, Made | AudioError]]:
    """Each utterance, in order, with what is made of its recording; several threads work, and a bar says how far they are.

    Threads suffice: decoding and resampling run outside the interpreter's lock.

    Args:
        utterances: whose recordings are wanted.
        make: of (T,) samples as recorded and their rate in Hz.
        skip_bad: give the reason for a recording that cannot be decoded, instead of raising it.
        title: of the bar.

    Raises:
        AudioError: a recording cannot be decoded and ``skip_bad`` is False.
    """

    def attempt(utterance: Utterance) -> Made | AudioError:
        try:
            recording = read_audio(utterance.path, utterance.start, utterance.end)
        except AudioError as error:
            if skip_bad:
                return error
            raise
        return make(*recording)

    bar = tqdm(total=len(utterances), desc=title, unit="file", leave=False, delay=0.5, disable=None)
    with bar, single_threads() as pool:
        for start in range(0, len(utterances), CHUNK):
            chunk = utterances[start : start + CHUNK]
            for utterance, made in zip(chunk, pool.map(attempt, chunk), strict=True):
                bar.update()
                yield utterance, made
