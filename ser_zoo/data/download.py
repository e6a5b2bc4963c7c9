"""Files of releases: downloads that resume, checksums, and unpacking that trusts no archive and none in it."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import lzma
import re
import shlex
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from ser_zoo import __version__
from ser_zoo.corpora.base import Download
from ser_zoo.errors import CorpusError

ATTEMPTS = 3
TIMEOUT = 60  # seconds without a byte
CHUNK = 2**18

MAX_FILES = 500_000
"""In one archive and those in it; the largest corpora have about 200,000 utterances."""
MAX_BYTES = 500 * 2**30
"""That one archive and those in it may unpack to."""
MAX_DEPTH = 3
"""Of archives in archives; MELD has two levels."""
MAX_RATIO = 100
"""Of unpacked to packed bytes once more than ``FREE_BYTES`` are unpacked. Speech packs to half its size; label files to a
twentieth; a bomb to a thousandth."""
FREE_BYTES = 2**26

ZIP = (".zip",)
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
FOREIGN = (".rar", ".7z")
"""Archives that no part of Python can unpack."""


# Downloads.


def fetch(download: Download, folder: Path) -> Path:
    """Download a file into ``folder``, going on where an earlier attempt has stopped; one that is whole is not fetched again.

    What has come is in ``<name>.part``, and in ``<name>.part.version`` what the server calls that version of the file.

    Returns:
        The file, whose checksum is the published one where there is one.

    Raises:
        CorpusError: the server does not answer or has no such file, the connection breaks again and again, or the file is not
            the published one.
    """
    target = folder / file_name(download.url)
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _receive(download, part)
            break
        except HTTPError as error:
            raise CorpusError(
                f"{download.url} answers {error.code} ({error.reason}). If the file has moved, download it by hand, "
                "and unpack it where ser-zoo corpora NAME says."
            ) from error
        except (URLError, OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS:
                raise CorpusError(
                    f"{download.url} cannot be downloaded: {error}. What has come is kept in {part}; call ser-zoo prepare "
                    "again to go on from there."
                ) from error
    _verify(download, part)
    part.rename(target)
    _version_file(part).unlink(missing_ok=True)
    return target


def file_name(url: str) -> str:
    """The name of the file that ``url`` leads to: the last part of its path that looks like one.

    >>> file_name("https://example.org/api/records/1/files/Audio%20Speech.zip/content?download=1")
    'Audio Speech.zip'
    """
    parts = [unquote(part) for part in urlsplit(url).path.split("/") if part]
    name = next((part for part in reversed(parts) if "." in part), parts[-1] if parts else "")
    return re.sub(r"[^\w. ()+-]", "_", name).lstrip(".") or "download"


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _receive(download: Download, part: Path) -> None:
    """Append to ``part`` what it lacks, or write it anew when the server has another version or cannot resume.

    Raises:
        OSError: the connection broke; what has come is kept.
    """
    have = part.stat().st_size if part.is_file() else 0
    version = _version_file(part).read_text(encoding="utf-8") if _version_file(part).is_file() else ""
    headers = {"User-Agent": f"ser-zoo/{__version__}", "Accept-Encoding": "identity"}
    # Without a version to name, a resumed file could be made of two; then it is fetched anew.
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        answer = urlopen(Request(download.url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return  # nothing is missing
            part.unlink()
            raise OSError(f"{part.name} is longer than the file, and was removed") from error
        raise
    with answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT
        if resumed and not str(answer.headers.get("Content-Range")).startswith(f"bytes {have}-"):
            part.unlink()
            raise OSError("the server sent another stretch of the file than it was asked for")
        start = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else download.size
        # RFC 9110: a weak validator must not stand in If-Range.
        tag = answer.headers.get("ETag", "")
        _version_file(part).write_text(
            tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", ""), encoding="utf-8"
        )
        bar = tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, disable=None)
        with bar, part.open("ab" if resumed else "wb") as file:
            while data := answer.read(CHUNK):
                file.write(data)
                bar.update(len(data))
    came = part.stat().st_size
    if total is not None and came < total:
        raise OSError(f"the connection broke after {came:,} of {total:,} bytes")


def _verify(download: Download, part: Path) -> None:
    """Compare size and checksum with the published ones; a file that is another is removed.

    Raises:
        CorpusError: they differ.
    """
    size = part.stat().st_size
    fault = ""
    if download.size is not None and size != download.size:
        fault = f"it has {size:,} bytes, expected {download.size:,}"
    elif download.checksum is not None:
        algorithm, _, expected = download.checksum.partition(":")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected.lower():
            fault = f"its {algorithm} is {found}, expected {expected}"
    if fault:
        part.unlink()
        _version_file(part).unlink(missing_ok=True)
        raise CorpusError(
            f"What came from {download.url} is not the published file: {fault}. It was removed. Call ser-zoo prepare again; if "
            "that does not help, the release has changed, or somebody has changed it on the way."
        )


# Unpacking.


@dataclass
class _Allowance:
    """What an archive and those in it may still unpack to.

    Attributes:
        packed: bytes that all of them may have by ``MAX_RATIO``.
        files: that were unpacked so far.
        unpacked: bytes of these, those of inner archives among them.
    """

    packed: int
    files: int = 0
    unpacked: int = 0

    @classmethod
    def of(cls, archive: Path) -> _Allowance:
        """That of an archive which lies in no other."""
        return cls(max(FREE_BYTES, MAX_RATIO * archive.stat().st_size))

    def enter(self, label: str) -> None:
        """Count one more file or folder."""
        self.files += 1
        if self.files > MAX_FILES:
            raise _refused(label, f"it holds more than {MAX_FILES:,} files")

    def write(self, label: str, size: int) -> None:
        """Count so many more bytes."""
        self.unpacked += size
        if self.unpacked > MAX_BYTES:
            raise _refused(label, f"it holds more than {MAX_BYTES / 2**30:.0f} GiB")
        if self.unpacked > self.packed:
            raise _refused(label, f"it is packed more than {MAX_RATIO} times, as a bomb is")


def is_archive(path: Path) -> bool:
    """Whether ``path`` is to be unpacked, by its name."""
    return path.name.lower().endswith(ZIP + TAR) and not path.name.startswith(".")


def of_macos(path: Path) -> bool:
    """Whether macOS has added it to an archive on its own account."""
    return path.name in ("__MACOSX", ".DS_Store") or path.name.startswith("._")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into ``folder``, which may hold other things, none of which is overwritten.

    Archives in it are unpacked too (see ``unpack_beside``), each removed once all of it is there. Permissions and owners are
    not taken over. What was unpacked before something is refused stays: unpack into a folder that can be thrown away.

    Raises:
        CorpusError: it or an archive in it is damaged or encrypted; a path leads outside the folder, is there already, or is a
            link or a device; all together hold more than ``MAX_FILES`` files or ``MAX_BYTES`` bytes, are packed more than
            ``MAX_RATIO`` times, or are more than ``MAX_DEPTH`` archives in one another.
    """
    _unpack(archive, folder, str(archive), _Allowance.of(archive), 1)


def unpack_beside(archive: Path, folder: Path) -> None:
    """Unpack an archive into ``folder`` as people do with several: none spills its files among those of the others.

    A single file or folder in it comes into ``folder`` under its own name; of more a folder is made that has the name of the
    archive. Folders of the same name become one.

    Raises:
        CorpusError: see ``unpack``.
    """
    _unpack_beside(archive, folder, str(archive), _Allowance.of(archive), 1)


def _unpack_beside(archive: Path, folder: Path, label: str, allowance: _Allowance, depth: int) -> None:
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder) as work:
        _unpack(archive, Path(work), label, allowance, depth)
        single = sum(not of_macos(path) for path in Path(work).iterdir()) == 1
        try:
            move_into(Path(work), folder if single else folder / bare_name(archive))
        except FileExistsError as error:
            raise _refused(label, f"{error.filename} would be written twice") from error


def _unpack(archive: Path, folder: Path, label: str, allowance: _Allowance, depth: int) -> None:
    """See ``unpack``; ``label`` names the archive and those it lies in, ``depth`` counts them."""
    if depth > MAX_DEPTH:
        raise _refused(label, f"these are more than {MAX_DEPTH} archives in one another")
    inner: list[Path] = []
    try:
        members = _zip_members(archive, label) if archive.name.lower().endswith(ZIP) else _tar_members(archive, label)
        with tqdm(desc=f"unpacking {archive.name}", unit="file", disable=None) as bar:
            for name, source in members:
                allowance.enter(label)
                target = folder.joinpath(*_safe_parts(label, name))
                if source is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("xb") as file:
                    while data := source.read(CHUNK):
                        allowance.write(label, len(data))
                        file.write(data)
                if is_archive(target):
                    inner.append(target)
                bar.update()
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(label, f"{error.filename} would be written twice") from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        EOFError,
        NotImplementedError,
    ) as error:
        raise CorpusError(f"{label} is damaged, or packed in a way that is not known: {error}. Download it again.") from error
    for path in inner:
        _unpack_beside(path, path.parent, f"{path.relative_to(folder)} in {label}", allowance, depth + 1)
        path.unlink()


def bare_name(archive: Path) -> str:
    """The name of an archive without what makes it one.

    >>> bare_name(Path("MELD.Raw.tar.gz"))
    'MELD.Raw'
    """
    suffix = next(suffix for suffix in sorted(ZIP + TAR, key=len, reverse=True) if archive.name.lower().endswith(suffix))
    return archive.name[: -len(suffix)]


def move_into(source: Path, target: Path) -> None:
    """Move what is in the folder ``source`` into ``target``; folders that are there too become one.

    What macOS has added stays behind, since every archive has it under the same names.

    Raises:
        FileExistsError: a file is there already.
    """
    target.mkdir(exist_ok=True)
    for path in sorted(path for path in source.iterdir() if not of_macos(path)):
        there = target / path.name
        if path.is_dir() and there.is_dir():
            move_into(path, there)
        elif there.exists():
            raise FileExistsError(errno.EEXIST, "is there already", str(there))
        else:
            path.rename(there)


def by_hand(archive: Path, folder: Path) -> str:
    """How to unpack into ``folder`` what Python cannot, in words."""
    path, place = shlex.quote(str(archive)), shlex.quote(str(folder))
    return (
        f"Python cannot unpack {archive.suffix.lower()[1:]}. Do it with one of these programs:\n"
        f"  unrar x {path} {place}/\n  7z x {path} -o{place}\n  bsdtar -x -f {path} -C {place}"
    )


def _zip_members(archive: Path, label: str) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(label, f"{member.filename} is a link or a device")
            if member.flag_bits & 1:
                raise _refused(label, f"{member.filename} is encrypted")
            yield member.filename, None if member.is_dir() else file.open(member)


def _tar_members(archive: Path, label: str) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as file:
        for member in file:
            if not (member.isfile() or member.isdir()):
                raise _refused(label, f"{member.name} is a link or a device")
            yield member.name, None if member.isdir() else file.extractfile(member)
        # To tarfile one that was cut off or damaged between two files ends there.
        assert file.fileobj is not None
        file.fileobj.seek(file.offset)
        if file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"it has no end after {file.offset:,} bytes")
        file.fileobj.read(FREE_BYTES)  # what fills it up, and the checksum of what packs it; no more, of a bomb


def _safe_parts(label: str, name: str) -> list[str]:
    """The folders and the name below the target that ``name`` stands for; some archives of Windows separate by backslashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise _refused(label, f"{name!r} leads outside the folder")
    return list(path.parts)


def _refused(label: str, why: str) -> CorpusError:
    return CorpusError(
        f"{label} is not unpacked: {why}. Nothing of it was kept. Get the release from its owner, and unpack it by hand."
    )


def place(path: Path, folder: Path) -> None:
    """Unpack an archive into ``folder``, or copy any other file there.

    Raises:
        CorpusError: see ``unpack``; or the file is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_archive(path):
        unpack(path, folder)
    elif (folder / path.name).exists():
        raise CorpusError(f"{folder / path.name} is there already. Two downloads of one release have the same name.")
    else:
        shutil.copyfile(path, folder / path.name)
