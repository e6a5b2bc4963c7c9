"""A fake ASVP-ESD in the layout of the release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ser_zoo.corpora.asvp_esd import EMOTIONS, NON_SPEECH, SPEECH
from tests.releases import write_recording

# The codes that occur: 131.
ACTORS = (*(f"{actor:02d}" for actor in range(129)), "150", "200")
# Names of the release as they are there: those that are odd but say everything, and those that do not.
ODD = (
    "Audio/actor_31/03-01-02-01-2-31-02-03-01-77",
    "Bonus/actor_150/03-02-04-01-52-150-04-01-00-14 -01",
    "Bonus/actor_150/03-02-04-01-52-150-04-01-00-14 -02",
    "Bonus/actor_150/03-02-04-01-52-150-04-01-00-14 -03",
    "Bonus/actor_150/03-02-04-01-52-150-04-01-00-14 -04",
    "Bonus/actor_150/03-02-04-01-52-150-04-01-00-14 -05",
)
UNREADABLE = (
    "Audio/actor_1/03-01-02-01-18-01-106-02-02-19",
    "Audio/actor_1/03-01-09-01-15-01-106-02-02-19",
    "Audio/actor_1/03-01-09-01-16-01-106-02-02-19",
    "Audio/actor_1/03-01-09-01-17-01-106-02-02-19",
    "Audio/actor_1/03-01-09-01-18-01-106-02-02-11",
    "Audio/actor_1/03-01-09-01-18-01-106-02-02-19",
    "Audio/actor_1/03-01-09-01-18-01-110-02-02-19",
    "Audio/actor_1/03-01-12-01-18-01-106-02-02-12",
    "Audio/actor_39/03-02-03-021-10-39-03-01-00-13",
    "Audio/actor_51/03-02-03-01-09-51-013-02-02-13-01",
    "Bonus/actor_150/03-02-04-01-13-150-0401-00-14-01",
    "Bonus/actor_150/03-02-04-01-13-150-0401-00-14-02",
    "Bonus/actor_200/03-01-17-01-02-200-05-02-01-12",
)


def write(
    root: Path, seconds: float | None = 0.1, speakers: Sequence[str] = ACTORS, limit: int | None = None, odd: bool = True
) -> Path:
    """Write ``Audio/actor_0/03-01-01-01-00-00-02-02-00.wav`` and so on; how many an actor has is made up.

    Args:
        root: of the release.
        seconds: of the recordings; None writes empty files.
        speakers: codes of the actors, among whom the recordings are dealt out.
        limit: at most so many of each emotion and channel; None means as many as the official release has.
        odd: whether the names of ``ODD`` and ``UNREADABLE`` are there too.

    Returns:
        ``root``.
    """
    for channel, counts in (("01", SPEECH), ("02", NON_SPEECH)):
        for index, (emotion, count) in enumerate(zip(EMOTIONS, counts, strict=True)):
            taken = sum(name.partition("/03-")[2].startswith(f"{channel}-{emotion}-") for name in ODD) if odd else 0
            for number in range(count - taken if limit is None else min(count, limit)):
                statement, place = divmod(number, len(speakers))
                actor = speakers[place]
                part = "Bonus" if int(actor) >= 150 else "Audio"
                name = f"03-{channel}-{emotion}-{1 + number % 2:02d}-{statement:02d}-{actor}-02-02-00.wav"
                write_recording(root / part / f"actor_{int(actor)}" / name, index, int(actor), seconds)
    for name in (*ODD, *UNREADABLE) if odd else ():
        write_recording(root / f"{name}.wav", 0, 0, seconds)
    return root
