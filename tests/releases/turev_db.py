"""A fake TurEV-DB in the layout of the release."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ser_zoo.corpora.turev_db import EMOTIONS
from tests.releases import write_recording

_WORDS = (
    "acik algi beste bugu cay cekirge cene ceren cilek defne demet demir deve deyim dil dizge dugun eger elmacik eski firildak "
    "gezi gicik goz gunes gurbuz hekim igde isirgan japon kagit karton kedi kemik kibir kiler kirgin koku konuk koy kulac "
    "kusluk kustah lokma lufer melek mujde nasil nicin odenek ogul okul olcut ordek orgu pamuk pas pihti rihtim saf sarap sarj "
    "satir senlik sepet serin sevgi simit soba sucuk tahta tembel tirtil turev unlu utanc vurgu yanki yazim yigilmak yigin "
    "zeytin"
)
WORDS = tuple(_WORDS.split())
SPEAKERS = ("1157", "1234", "1358", "1984", "6783", "7895")
# Words of the official release where they are not all 82.
PARTIAL = {
    ("1157", "kz"): 77,
    ("1157", "sk"): 0,
    ("1157", "mt"): 0,
    ("1157", "hl"): 73,
    ("7895", "sk"): 80,
    ("7895", "mt"): 29,
}


def write(root: Path, seconds: float | None = 0.1, speakers: Iterable[str] = SPEAKERS, words: int = len(WORDS)) -> Path:
    """Write ``Sound Source/Angry/1157_kz_acik.wav`` and so on, beside a folder of spectrograms.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: who is in it.
        words: at most so many of each emotion by each speaker.

    Returns:
        ``root``.
    """
    for number, speaker in enumerate(speakers):
        for index, (code, (folder, _)) in enumerate(EMOTIONS.items()):
            for word in WORDS[: min(words, PARTIAL.get((speaker, code), len(WORDS)))]:
                take = "1" if (speaker, code, word) == ("7895", "hl", "ogul") else ""
                path = root / "Sound Source" / folder / f"{speaker}_{code}_{word}{take}.wav"
                write_recording(path, index, number, seconds)
    write_recording(root / "Sound Source Spectrograms" / "Angry" / "1157_kz_acik.png", 0, 0, None)
    return root
