"""ASVP-ESD, the Audio, Speech and Vision Processing Lab Emotional Sound Database.

Several languages, clips from films and the web, speech and other sounds (laughs, cries, sighs), 16 kHz.
Source: Tientcheu Touko Landry et al.: "ASVP-ESD: A dataset and its benchmark for emotion recognition using both speech and
non-speech utterances", 2020; the release that has the folder Bonus is of 2022.

Layout: ``Audio/actor_<n>/`` and ``Bonus/actor_<n>/``, names of numbers with dashes between:
``modality-channel-emotion-intensity-statement-actor-age-source[-language[-more]]``, for example
``03-01-05-01-02-67-02-02-04.wav``. The tasks take speech (channel 01, 8.4 h) unless their name says otherwise; channel 02 is
what is no speech. Counts are those of the copy that EmoBox lists: 13964 recordings, 18.0 h.

Names are read leniently: only channel, emotion, intensity and actor count, a statement may have one to three digits, and
whatever follows the source is left alone. Names that break even that (in that copy 12 with lost or additional fields, and one
of emotion 17, which is none) are listed in a warning and left out.

The speaker is the actor of the name; some folders (``actor_``, ``actor_119``) collect several. It is a code of the source:
whether one code is one person, or one person has one code only, is not known, and there are far more utterances than a person
would have under some (up to 1073). EmoBox reads gender from whether it is even; nothing confirms that, so none is given. What
the codes of the languages stand for is told in two ways (01 is Chinese or English), so the language is not given either.
Under which licence it was published was not found.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Corpus, Task, Utterance, keep, short_list, subfolder, walk
from ser_zoo.corpora.unpacked import unpacked
from ser_zoo.errors import SERZooWarning

GRAMMAR = re.compile(
    r"03-(?P<channel>0[12])-(?P<emotion>0[1-9]|1[0-3])-(?P<intensity>\d{2})-(?P<statement>\d{1,3})-(?P<actor>\d{2,3})-"
    r"(?P<age>\d{2})-(?P<source>\d{2})(?: ?-\d+)*"
)
# Code -> canonical name and the release's own word.
EMOTIONS = {
    "01": ("boredom", "boredom"),
    "02": ("neutral", "neutral"),
    "03": ("happiness", "happy"),
    "04": ("sadness", "sad"),
    "05": ("anger", "angry"),
    "06": ("fear", "fear"),
    "07": ("disgust", "disgust"),
    "08": ("surprise", "surprise"),
    "09": ("excitement", "excited"),
    "10": ("pleasure", "pleasure"),
    "11": ("pain", "pain"),
    "12": ("disappointment", "disappointment"),
    "13": ("breath", "breath"),
}
STYLES = {"01": "speech", "02": "non-speech"}
INTENSITIES = {"01": "normal", "02": "high"}
# Speech and other sounds of each emotion, in the order of EMOTIONS.
SPEECH = (98, 1313, 613, 551, 1064, 170, 190, 492, 264, 35, 54, 287, 0)
NON_SPEECH = (450, 284, 1253, 2141, 389, 1010, 709, 1094, 131, 330, 780, 77, 172)
LABELS = tuple(label for label, _ in EMOTIONS.values())


class ASVPESD(Corpus):
    """Reader of ASVP-ESD."""

    name: ClassVar[str] = "asvp_esd"
    title: ClassVar[str] = "ASVP-ESD"
    language: ClassVar[str] = "zh,en,fr,ru"
    kind: ClassVar[str] = "clips from films and the web, speech and other sounds"
    licence: ClassVar[str] = "not found"
    url: ClassVar[str] = "https://zenodo.org/records/7132783 (ASVP-ESD-Update.zip)"
    counts: ClassVar[Mapping[str, int]] = {
        label: speech + other for label, speech, other in zip(LABELS, SPEECH, NON_SPEECH, strict=True)
    }
    speakers: ClassVar[int | None] = None
    hours: ClassVar[float] = 17.98
    layout: ClassVar[str] = "the unpacked release, with the folders Audio/ and Bonus/ (Audio/actor_67/ ...)"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="12class", classes=keep(*LABELS[:-1]), where={"style": ("speech",)}, source="speech: 5131 utterances"),
        Task(
            name="4class",
            classes=keep("neutral", "happiness", "sadness", "anger"),
            where={"style": ("speech",)},
            source="speech of the classes of IEMOCAP: 3541 utterances",
        ),
        Task(name="non_speech", classes=keep(*LABELS), where={"style": ("non-speech",)}, source="sounds that are no speech"),
        Task(name="speech_and_non_speech", classes=keep(*LABELS), source="all, as in EmoBox"),
    )

    def files(self) -> Iterator[Path]:
        """The recordings below ``Audio/`` and ``Bonus/``."""
        root = unpacked(self.root, "ASVP-ESD-Update")
        for part in ("Audio", "Bonus"):
            if (folder := subfolder(root, part)).is_dir():
                yield from walk(folder)

    def rows(self) -> Iterator[Utterance]:
        """One per recording whose name can be read; warns of the others."""
        unread: list[str] = []
        for path in self.files():
            match = GRAMMAR.fullmatch(path.stem)
            if match is None:
                unread.append(path.name)
                continue
            label, original_label = EMOTIONS[match["emotion"]]
            yield Utterance(
                id=path.stem,
                path=path,
                speaker=match["actor"],
                label=label,
                original_label=original_label,
                intensity=INTENSITIES.get(match["intensity"]),
                style=STYLES[match["channel"]],
            )
        if unread:
            warnings.warn(
                f"{self.title} at {self.root}: {len(unread)} recordings are left out because their names cannot be read: "
                f"{short_list(unread, 3)}. Expected names like 03-01-05-01-02-67-02-02-04.wav; the release has 13 others.",
                SERZooWarning,
                stacklevel=2,
            )
