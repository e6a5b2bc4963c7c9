"""A release made ready: fetched where it is openly licensed, converted, verified, and described by its manifest."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ser_zoo.cache import alone, atomic_path
from ser_zoo.corpora.base import Corpus, Utterance, listing
from ser_zoo.corpora.manifest import Entry, Manifest, Measured, Stamp, earlier, survey, write
from ser_zoo.errors import AudioError, CorpusError, SERZooWarning

THREADS = 4  # decoding runs outside the interpreter's lock, and waits for the disk
INSTALL = "pip install 'ser-zoo[video]'"
UNPACKING = ".unpacking-"  # begins the names of what stands in a root while it is unpacked there
UNPACKED = ".unpacked"  # a whole release in its root, yet to be moved


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` did and found.

    Attributes:
        manifest: of the release.
        missing: what the complete release has beyond it, in words. What the reader warned of is in the manifest's notes.
        decoded: how many utterances were decoded for it; those of recordings that have not changed since the last manifest are
            not decoded again.
        converted: recordings that became wav files.
        unconverted: compressed recordings that could not be converted, and why.
    """

    manifest: Manifest
    missing: list[str]
    decoded: int
    converted: int = 0
    unconverted: dict[Path, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing is missing and nothing damaged."""
        return not (self.missing or self.manifest.damaged or self.unconverted)


def prepare(corpus: Corpus, again: bool = False) -> Prepared:
    """Convert what is compressed, read the release, decode what is not known yet, and write the manifest.

    Args:
        corpus: where it is; see ``obtain`` for one that is not there.
        again: decode every recording, also those that have not changed since the manifest was written.

    Raises:
        CorpusError: the release is not there or breaks its grammar, or the manifest cannot be written.
    """
    corpus.prepare()
    known = earlier(corpus)
    if known is not None and not again and known.changed(corpus) is None and not compressed(corpus):
        return Prepared(known, corpus.missing(known.utterances), decoded=0)
    converted, unconverted = convert(compressed(corpus))
    manifest = survey(corpus)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        utterances = corpus.scan()
    for warning in caught:
        if issubclass(warning.category, SERZooWarning):
            manifest.notes.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    stamps = {path: Stamp.of(path) for path in {row.path for row in utterances}}
    decoded = fill(manifest, utterances, stamps, {} if known is None or again else measured_before(known))
    write(manifest, corpus)
    return Prepared(manifest, corpus.missing(utterances), decoded, converted, unconverted)


# Reading and decoding.

Key = tuple[Path, float, float | None, Stamp]


def measured_before(manifest: Manifest) -> dict[Key, Measured]:
    """What an earlier manifest knows of stretches of recordings, as long as these have not changed."""
    return {
        (entry.utterance.path, entry.utterance.start, entry.utterance.end, entry.stamp): entry.measured
        for entry in manifest.entries
    }


def fill(manifest: Manifest, utterances: Sequence[Utterance], stamps: dict[Path, Stamp], known: dict[Key, Measured]) -> int:
    """Enter the utterances into the manifest, and leave to its ``extra`` the recordings that none of them uses.

    Returns:
        How many were decoded.
    """
    from tqdm import tqdm

    keys = [(row.path, row.start, row.end, stamps[row.path]) for row in utterances]
    unknown = [row for row, key in zip(utterances, keys, strict=True) if key not in known]
    bar = tqdm(total=len(unknown), desc="decoding", unit="file", leave=False, delay=0.5, disable=None)
    with bar, ThreadPoolExecutor(THREADS) as pool:
        for row, measured in zip(unknown, pool.map(measure, unknown), strict=True):
            known[row.path, row.start, row.end, stamps[row.path]] = measured
            bar.update()
    manifest.entries = [Entry(row, key[-1], known[key]) for row, key in zip(utterances, keys, strict=True)]
    manifest.extra = sorted(set(manifest.extra) - stamps.keys())
    return len(unknown)


def measure(utterance: Utterance) -> Measured:
    """Decode an utterance as training does."""
    from ser_zoo.data.audio import content_hash, read_audio

    try:
        waveform, rate = read_audio(utterance.path, utterance.start, utterance.end)
    except AudioError as error:
        return Measured(0.0, 0, "", str(error))
    return Measured(len(waveform) / rate, rate, content_hash(waveform))


# Compressed recordings.


def compressed(corpus: Corpus) -> list[Path]:
    """The recordings of the release that are yet to become wav files."""
    if not (corpus.compressed and corpus.root.is_dir()):
        return []
    return [
        path for path in corpus.files() if path.suffix.lower() in corpus.compressed and not path.with_suffix(".wav").exists()
    ]


def convert(paths: Sequence[Path]) -> tuple[int, dict[Path, str]]:
    """Write a mono wav file of 16 bit and the same sample rate beside each recording.

    Args:
        paths: of audio or video files that have no wav file beside them.

    Returns:
        How many were written, and why the others could not be.

    Raises:
        CorpusError: PyAV is not installed.
    """
    if not paths:
        return 0, {}
    if find_spec("av") is None:
        raise CorpusError(
            f"{len(paths)} recordings ({paths[0].name} ...) must become wav files before they can be used. That is done by "
            f"PyAV, which is not installed. Install it: {INSTALL}"
        )
    from tqdm import tqdm

    faults: dict[Path, str] = {}

    def attempt(path: Path) -> str | None:
        try:
            _to_wav(path, path.with_suffix(".wav"))
        except AudioError as error:
            return str(error)
        return None

    with tqdm(total=len(paths), desc="converting", unit="file", disable=None) as bar, ThreadPoolExecutor(THREADS) as pool:
        for path, fault in zip(paths, pool.map(attempt, paths), strict=True):
            if fault is not None:
                faults[path] = fault
            bar.update()
    return len(paths) - len(faults), faults


def _to_wav(source: Path, target: Path) -> None:
    """Decode the first audio stream; channels are averaged.

    Raises:
        AudioError: there is none, or it is damaged or empty; nothing is written then.
    """
    import av
    import soundfile

    try:
        with av.open(str(source)) as container:
            if not container.streams.audio:
                raise AudioError(f"{source} has no sound track.")
            stream = container.streams.audio[0]
            planar = av.AudioResampler(format="fltp")  # one array per channel, whatever the codec gives
            with (
                atomic_path(target) as temporary,
                soundfile.SoundFile(temporary, "w", stream.rate, channels=1, subtype="PCM_16") as file,
            ):
                for frame in container.decode(stream):
                    for part in planar.resample(frame):
                        file.write(part.to_ndarray().mean(axis=0))
                if file.frames == 0:
                    raise AudioError(f"{source} has an empty sound track.")
    except (av.error.FFmpegError, soundfile.SoundFileError) as error:
        raise AudioError(f"{source} cannot be decoded: {error}.") from error


# Fetching.


def obtain(corpus: Corpus) -> None:
    """Download and unpack an openly licensed release that is not there yet.

    Downloads are kept in ``.<name>-downloads`` beside the root until the release is whole there, so that a later call goes on
    from them. It is unpacked into a temporary folder beside the root, which takes the root's name at the end; where the root is
    there and empty, into one in it, since a volume that is mounted there can be neither removed nor replaced.

    Raises:
        CorpusError: the root holds something else; a download fails or is not the published file; an archive is unsafe;
            what it holds is not the layout that the reader expects; or another process is at it.
    """
    from ser_zoo.data.download import fetch, place

    root = corpus.root.resolve()  # a link may lead to another disk, and stays one
    inside = root.is_dir()
    if root.exists() and not (inside and all(path.name.startswith(UNPACKING) for path in root.iterdir())):
        found = listing(root) if inside else "a file"
        raise CorpusError(
            f"{corpus.title} is not downloaded to {root}, which holds {found} and not {corpus.layout}. Nothing is overwritten: "
            "move it away, or choose another folder with --root."
        )
    kept = _downloads(root)
    folder, prefix = (root, UNPACKING) if inside else (root.parent, _incomplete(root))
    with _alone_in(folder, prefix, corpus) as work:
        files = [fetch(download, kept / str(number)) for number, download in enumerate(corpus.downloads, start=1)]
        for path, download in zip(files, corpus.downloads, strict=True):
            place(path, work / download.folder)
        whole = _release_folder(corpus, work, f"The archives are in {kept}.")
        if inside:
            _move(whole, root)
        else:
            whole.rename(root)
        shutil.rmtree(kept)


def tidy(corpus: Corpus) -> None:
    """Remove what `obtain` or `unpack_archives`, killed after the release was whole in its root, has left beside and in it."""
    root = corpus.root.resolve()
    kept, begin = _downloads(root), (UNPACKING, _incomplete(root))
    with suppress(CorpusError, OSError):  # of another process that is about to, or where nothing may be looked at or removed
        if kept.is_dir() or any(path.name.startswith(begin) for folder in (root, root.parent) for path in folder.iterdir()):
            with _alone_in(root, UNPACKING, corpus), _alone_in(root.parent, _incomplete(root), corpus):
                shutil.rmtree(kept)


def _downloads(root: Path) -> Path:
    return root.parent / f".{root.name}-downloads"


def _incomplete(root: Path) -> str:
    return f".{root.name}-incomplete-"


@contextmanager
def _alone_in(folder: Path, prefix: str, corpus: Corpus) -> Iterator[Path]:
    """A temporary folder in ``folder``, of no other process at the same time; what killed ones have left there is removed.

    Raises:
        CorpusError: another process has one.
    """
    busy = CorpusError(
        f"Another ser-zoo prepare is at work on {corpus.title} in {folder}. Nothing was changed. Call ser-zoo prepare "
        f"{corpus.name} again when it has ended."
    )
    with alone(folder / f"{prefix}lock", busy):
        for left in folder.iterdir():
            if left.name.startswith(prefix) and left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as work:
            inner = Path(work, "inner")  # which may be moved as a whole
            inner.mkdir()
            yield inner


def unpack_archives(corpus: Corpus) -> list[Path]:
    """Unpack the archives of a release that somebody has put into its root, which holds nothing else that can be read.

    They are unpacked in a temporary folder in the root, archives in them too, and what comes out is moved into the root when
    all of it is there and is the release: a call that was stopped leaves nothing half done, and is simply repeated. One that
    was killed while it moved is gone on with. The archives stay.

    Returns:
        The archives; none where the release is there.

    Raises:
        CorpusError: one is unsafe or damaged, or needs another program; what they hold is not the layout that the reader
            expects, or is there already; or another process is at it.
    """
    from ser_zoo.data.download import FOREIGN, by_hand, is_archive, of_macos, unpack_beside

    root = corpus.root
    unpacked = root / UNPACKED
    moving = unpacked.is_dir()
    if corpus.found() and not moving:
        return []
    inside = sorted(root.iterdir()) if root.is_dir() else []
    foreign = [path for path in inside if path.name.lower().endswith(FOREIGN)]
    if foreign and not moving:
        raise CorpusError(
            f"{corpus.title} is still packed: {foreign[0]}. {by_hand(foreign[0], root)}\n"
            f"Then call ser-zoo prepare {corpus.name} again. Expected {corpus.layout}."
        )
    archives = [path for path in inside if is_archive(path)]
    if not (archives or moving):
        return []
    with _alone_in(root, UNPACKING, corpus) as work:
        whole = unpacked
        if not unpacked.is_dir():
            for path in archives:
                unpack_beside(path, work)
            whole = _release_folder(corpus, work, f"The archives are in {root}.")
        if twice := sorted(path.name for path in whole.iterdir() if (root / path.name).exists() and not of_macos(path)):
            raise CorpusError(
                f"{corpus.title} is not unpacked: {root} has {twice[0]} already, which the archives hold too. Nothing is "
                "overwritten: move it away."
            )
        _move(whole, root)
    return archives


def _move(whole: Path, root: Path) -> None:
    """Move a release into its root; where that is killed, `unpack_archives` goes on with it."""
    from ser_zoo.data.download import move_into

    unpacked = root / UNPACKED
    whole.rename(unpacked)
    move_into(unpacked, root)
    shutil.rmtree(unpacked)


def _release_folder(corpus: Corpus, folder: Path, archives: str) -> Path:
    """``folder``, or the only folder in it if the release is there: many archives hold one folder of their own name.

    Args:
        corpus: whose release it should be.
        folder: into which it was unpacked.
        archives: a sentence that says where these are.

    Raises:
        CorpusError: it is in neither.
    """
    from ser_zoo.data.download import FOREIGN, by_hand

    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    candidates: list[Path] = [folder, *inside] if len(inside) == 1 and inside[0].is_dir() else [folder]
    for candidate in candidates:
        if type(corpus)(candidate, corpus.task.name).found():
            return candidate
    if foreign := next((path for path in sorted(folder.rglob("*")) if path.name.lower().endswith(FOREIGN)), None):
        raise CorpusError(
            f"{corpus.title} is packed twice, and inside is {foreign.name}. {archives} Unpack the one that holds it, and "
            f"{foreign.name} into {corpus.root}, so that this holds {corpus.layout}. {by_hand(Path(foreign.name), corpus.root)}"
        )
    raise CorpusError(
        f"What was unpacked for {corpus.title} holds {listing(folder)}, expected {corpus.layout}. The release has changed, "
        f"or the reader is wrong. {archives}"
    )


def instructions(corpus: Corpus) -> str:
    """Where to ask for a release that is not openly licensed, and what to put where."""
    return (
        f"{corpus.title} cannot be downloaded for you. Licence: {corpus.licence}.\n"
        f"  1. Get it, or ask for it, at {corpus.url}\n"
        f"  2. Unpack it so that {corpus.root} holds {corpus.layout}.\n"
        "     Archives in zip or tar may also be put there as they are; they are unpacked in the next step.\n"
        f"  3. Call ser-zoo prepare {corpus.name} again, which converts and verifies it."
    )


def by_class(corpus: Corpus, utterances: Iterable[Utterance]) -> list[dict[str, object]]:
    """Utterances of each class that are there, and how many the release has; None where that is not known."""
    found = Counter(row.label for row in utterances)
    names = [*corpus.counts, *sorted(set(found).difference(corpus.counts))]
    return [{"class": name, "found": found[name], "release": corpus.counts.get(name) or None} for name in names]
