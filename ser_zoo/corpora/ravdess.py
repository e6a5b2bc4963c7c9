"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song: its audio recordings.

North American English, acted, 24 actors x 60 utterances, 8 emotions, 1.48 h, 48 kHz (five files are stereo with equal
channels). Source: Livingstone & Russo, PLoS ONE 13(5) e0196391, 2018.

Layout: ``Actor_01/ ... Actor_24/``, names of seven two-digit fields
``modality-channel-emotion-intensity-statement-repetition-actor.wav``; odd actors are men. ``03-01-03-01-02-01-07`` and
``03-01-03-01-02-02-07`` are the same recording twice; both stay, as they do in everybody's counts, and every speaker-disjoint
protocol keeps them on one side.

The songs (channel 02: another archive, whose folders have the same names; six emotions, none by actor 18) are read by the
tasks ``song`` and ``speech_and_song`` alone. How many there are was not found in a source that could be checked, so it is not
verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import ClassVar

from ser_zoo.corpora.base import Download, FileNameCorpus, Task, Utterance, audio_files, keep, match_name, short_list, subfolder

GRAMMAR = re.compile(
    r"(?P<modality>0[1-3])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-"
    r"(?P<statement>0[12])-(?P<repetition>0[12])-(?P<actor>0[1-9]|1\d|2[0-4])"
)
# Code -> canonical name and the release's own word.
EMOTIONS = {
    "01": ("neutral", "neutral"),
    "02": ("calm", "calm"),
    "03": ("happiness", "happy"),
    "04": ("sadness", "sad"),
    "05": ("anger", "angry"),
    "06": ("fear", "fearful"),
    "07": ("disgust", "disgust"),
    "08": ("surprise", "surprised"),
}
ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
AUDIO_ONLY, SPEECH, NEUTRAL, STRONG = "03", "01", "01", "02"
STYLES = {SPEECH: "speech", "02": "song"}
LABELS = tuple(name for name, _ in EMOTIONS.values())


class RAVDESS(FileNameCorpus):
    """Reader of the audio-only recordings of RAVDESS."""

    name: ClassVar[str] = "ravdess"
    title: ClassVar[str] = "RAVDESS"
    language: ClassVar[str] = "en"
    kind: ClassVar[str] = "acted"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    url: ClassVar[str] = "https://zenodo.org/records/1188976 (Audio_Speech_Actors_01-24.zip)"
    counts: ClassVar[Mapping[str, int]] = {label: 96 if label == "neutral" else 192 for label in LABELS}
    speakers: ClassVar[int] = 24
    hours: ClassVar[float] = 1.48
    layout: ClassVar[str] = "the unpacked release, with the folders Actor_01/ ... Actor_24/"
    tasks: ClassVar[tuple[Task, ...]] = (
        Task(name="8class", classes=keep(*LABELS), where={"style": ("speech",)}, source="the release"),
        Task(
            name="7class",
            classes=keep(*(label for label in LABELS if label != "calm"), calm="neutral"),
            where={"style": ("speech",)},
            source="calm counts as neutral: 288 of 1440 utterances",
        ),
        Task(
            name="6class",
            classes=keep(*(label for label in LABELS if label not in ("calm", "surprise"))),
            where={"style": ("speech",)},
            source="the classes of CREMA-D: 1056 utterances",
        ),
        Task(
            name="4class",
            classes=keep("neutral", "happiness", "sadness", "anger"),
            where={"style": ("speech",)},
            source="672 utterances, as in IEMOCAP's task",
        ),
        Task(name="song", classes=keep(*LABELS[:6]), where={"style": ("song",)}, source="the songs, which have 6 emotions"),
        Task(name="speech_and_song", classes=keep(*LABELS), where={"style": ("speech", "song")}, source="both parts"),
    )
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
            checksum="md5:bc696df654c87fed845eb13823edef8a",
            size=208_468_073,
        ),
    )

    def files(self) -> Iterable[Path]:
        """The recordings in the actors' folders, actor by actor."""
        for actor in ACTORS:
            yield from audio_files(subfolder(self.root, f"Actor_{actor}"))

    def parse(self, path: Path) -> Utterance | None:
        """The row of ``03-01-05-02-01-01-07.wav``; None for the sound track of a video, and for songs in a task of speech."""
        match = match_name(GRAMMAR, path, self.title, "03-01-05-02-01-01-07.wav")
        style = STYLES[match["channel"]]
        if match["modality"] != AUDIO_ONLY or style not in self._styles:
            return None
        label, original_label = EMOTIONS[match["emotion"]]
        return Utterance(
            id=path.stem,
            path=path,
            speaker=match["actor"],
            gender="male" if int(match["actor"]) % 2 else "female",
            label=label,
            original_label=original_label,
            text=match["statement"],
            intensity="strong" if match["intensity"] == STRONG else "normal",
            repetition=match["repetition"],
            style=style,
            language=self.language,
        )

    @property
    def part(self) -> str:
        """Empty for speech; ``song`` or ``speech+song`` in the tasks of these."""
        return "" if self._styles == ("speech",) else "+".join(self._styles)

    @property
    def _styles(self) -> tuple[str, ...]:
        return self.task.where.get("style", ("speech",))

    def missing(self, utterances: Sequence[Utterance]) -> list[str]:
        """The ids of the release of speech that are not there; a whole actor or emotion is named as such."""
        if "speech" not in self._styles:
            return []
        present = {utterance.id for utterance in utterances}
        actors = {utterance.speaker for utterance in utterances}
        labels = {utterance.label for utterance in utterances}
        absent = [f"actor {actor}" for actor in ACTORS if actor not in actors]
        absent += [f"emotion {label}" for label in self.counts if label not in labels]
        single = [key for key in release_ids() if key not in present and key[-2:] in actors and EMOTIONS[key[6:8]][0] in labels]
        return absent + ([short_list(single)] if single else [])


def release_ids() -> list[str]:
    """The 1440 ids of the complete release: neutral has no strong intensity."""
    return [
        "-".join((AUDIO_ONLY, SPEECH, emotion, intensity, statement, repetition, actor))
        for actor, emotion, intensity, statement, repetition in product(
            ACTORS, EMOTIONS, ("01", STRONG), ("01", "02"), ("01", "02")
        )
        if not (emotion == NEUTRAL and intensity == STRONG)
    ]
