"""Files of openly licensed releases from the net: downloads that resume, checksums, and unpacking that trusts no archive."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
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
"""In one archive; the largest corpora have about 200,000 utterances."""
MAX_BYTES = 500 * 2**30
"""That one archive may unpack to."""
MAX_RATIO = 100
"""Of unpacked to packed bytes once more than ``FREE_BYTES`` are unpacked. Speech packs to half its size; label files to a
twentieth; a bomb to a thousandth."""
FREE_BYTES = 2**26

ZIP = (".zip",)
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


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
                "and unpack it where ser-zoo corpora says."
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
    version = _version_file(part).read_text() if _version_file(part).is_file() else ""
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
        _version_file(part).write_text(tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", ""))
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


def is_archive(path: Path) -> bool:
    """Whether ``path`` is to be unpacked, by its name."""
    return path.name.lower().endswith(ZIP + TAR)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into ``folder``, which may hold other things, none of which is overwritten.

    Permissions and owners are not taken over. What was unpacked before something is refused stays: unpack into a folder that
    can be thrown away.

    Raises:
        CorpusError: the archive is damaged or encrypted; a path in it leads outside the folder, is there already, or is a
            link or a device; it holds more than ``MAX_FILES`` files or ``MAX_BYTES`` bytes, or is packed more than
            ``MAX_RATIO`` times.
    """
    members = _zip_members(archive) if archive.name.lower().endswith(ZIP) else _tar_members(archive)
    unpacked, allowed = 0, max(FREE_BYTES, MAX_RATIO * archive.stat().st_size)
    try:
        with tqdm(desc=f"unpacking {archive.name}", unit="file", disable=None) as bar:
            for count, (name, source) in enumerate(members, start=1):
                if count > MAX_FILES:
                    raise _refused(archive, f"it holds more than {MAX_FILES:,} files")
                target = folder.joinpath(*_safe_parts(archive, name))
                if source is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("xb") as file:
                    while data := source.read(CHUNK):
                        unpacked += len(data)
                        if unpacked > MAX_BYTES:
                            raise _refused(archive, f"it holds more than {MAX_BYTES / 2**30:.0f} GiB")
                        if unpacked > allowed:
                            raise _refused(archive, f"it is packed more than {MAX_RATIO} times, as a bomb is")
                        file.write(data)
                bar.update()
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, f"{error.filename} would be written twice") from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        EOFError,
        NotImplementedError,
    ) as error:
        raise CorpusError(f"{archive} is damaged, or packed in a way that is not known: {error}. Download it again.") from error


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"{member.filename} is a link or a device")
            if member.flag_bits & 1:
                raise _refused(archive, f"{member.filename} is encrypted")
            yield member.filename, None if member.is_dir() else file.open(member)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as file:
        for member in file:
            if not (member.isfile() or member.isdir()):
                raise _refused(archive, f"{member.name} is a link or a device")
            yield member.name, None if member.isdir() else file.extractfile(member)


def _safe_parts(archive: Path, name: str) -> list[str]:
    """The folders and the name below the target that ``name`` stands for; some archives of Windows separate by backslashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise _refused(archive, f"{name!r} leads outside the folder")
    return list(path.parts)


def _refused(archive: Path, why: str) -> CorpusError:
    return CorpusError(
        f"{archive} is not unpacked: {why}. Nothing of it was kept. Get the release from its owner, and unpack it by hand."
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
