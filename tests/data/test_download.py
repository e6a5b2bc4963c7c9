"""Downloads that break, resume and are checked; archives that want to write where they must not."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ser_zoo.corpora.base import Download
from ser_zoo.data import download as module
from ser_zoo.data.download import fetch, file_name, place, unpack
from ser_zoo.errors import CorpusError
from tests.data.served import Served, serve

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def served() -> Iterator[Served]:
    with serve({"a.zip": CONTENT}) as server:
        yield server


# Downloads.


def test_a_file_comes_whole_and_is_not_fetched_twice(served: Served, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetch(served.download("a.zip"), tmp_path / "new").read_bytes() == CONTENT
    assert served.asked == [("/a.zip", None)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.zip"]


def test_a_broken_connection_is_resumed(served: Served, tmp_path: Path) -> None:
    served.cut = [1000, 2000]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT
    assert served.asked == [("/a.zip", None), ("/a.zip", "bytes=1000-"), ("/a.zip", "bytes=3000-")]


def test_what_came_stays_for_a_later_call(served: Served, tmp_path: Path) -> None:
    served.cut = [100, 100, 100]
    with pytest.raises(
        CorpusError, match=r"cannot be downloaded: the connection broke after 300 of 10,240 bytes\. .*a\.zip\.part"
    ):
        fetch(served.download("a.zip"), tmp_path)
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:300]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT
    assert served.asked[-1] == ("/a.zip", "bytes=300-")


def test_another_version_of_the_file_is_fetched_from_its_start(served: Served, tmp_path: Path) -> None:
    served.cut = [100, 100, 100]
    with pytest.raises(CorpusError):
        fetch(served.download("a.zip"), tmp_path)
    served.etag, served.files["a.zip"] = '"2"', CONTENT[::-1]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT[::-1]


def test_a_server_that_cannot_resume_sends_all_again(served: Served, tmp_path: Path) -> None:
    served.resumes, served.cut = False, [1000]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    (tmp_path / "a.zip.part.version").write_text(served.etag)
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT
    assert served.asked == [("/a.zip", f"bytes={len(CONTENT)}-")]


def test_a_part_that_is_too_long_is_thrown_away(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.zip.part.version").write_text(served.etag)
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checksum": "md5:" + "0" * 32}, "its md5 is [0-9a-f]{32}, expected 0+"),
        ({"checksum": "sha256:" + "0" * 64, "size": None}, "its sha256 is [0-9a-f]{64}, expected 0+"),
        ({"size": 7}, "it has 10,240 bytes, expected 7"),
    ],
)
def test_another_file_than_the_published_one_is_removed(
    served: Served, tmp_path: Path, change: dict[str, str | int | None], said: str
) -> None:
    with pytest.raises(CorpusError, match=rf"not the published file: {said}\. It was removed"):
        fetch(replace(served.download("a.zip"), **change), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_without_published_checksum_is_taken(served: Served, tmp_path: Path) -> None:
    assert fetch(Download(url=f"{served.url}/a.zip"), tmp_path).read_bytes() == CONTENT


def test_a_file_that_has_gone_is_explained(served: Served, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"/b\.zip answers 404"):
        fetch(Download(url=f"{served.url}/b.zip"), tmp_path)


def test_a_server_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with serve({}) as gone:
        url = gone.url
    with pytest.raises(CorpusError, match=r"cannot be downloaded: .*refused"):
        fetch(Download(url=f"{url}/a.zip"), tmp_path)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.org/files/Audio_Speech_Actors_01-24.zip", "Audio_Speech_Actors_01-24.zip"),
        ("https://x.org/api/records/1/files/a.zip/content", "a.zip"),
        ("https://x.org/a%20b.tar.gz?download=1", "a b.tar.gz"),
        ("https://x.org/..%2F..%2Fetc.zip", "_.._etc.zip"),
        ("https://x.org/", "download"),
    ],
)
def test_a_file_is_named_as_its_address_says(url: str, name: str) -> None:
    assert file_name(url) == name


# Unpacking.


def make_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return path


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def kind(name: str, type: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, link
    return info


def test_a_zip_is_unpacked_beside_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    unpack(make_zip(tmp_path / "a.zip", a__x=b"1", a__b__y=b"2", empty__=b""), tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert found == {"old", "a", "a/x", "a/b", "a/b/y", "empty"}
    assert (tmp_path / "out/a/b/y").read_bytes() == b"2"


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.TGZ", "w:gz"), ("a.tar.bz2", "w:bz2")])
def test_a_tar_is_unpacked(tmp_path: Path, name: str, mode: str) -> None:
    unpack(make_tar(tmp_path / name, (kind("a", tarfile.DIRTYPE), b""), (kind("a/x"), b"1"), mode=mode), tmp_path / "out")
    assert (tmp_path / "out/a/x").read_bytes() == b"1"


OUTSIDE = ("../x", "a/../../x", "/x", "..\\x", "C:\\x", "c:x", "\\\\server\\x")


@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(name, b"1")
    make_tar(tmp_path / "a.tar", (kind(name), b"1"))
    for archive in ("a.zip", "a.tar"):
        with pytest.raises(CorpusError, match=r"is not unpacked: .* leads outside the folder"):
            unpack(tmp_path / archive, tmp_path / "in" / "out")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"a.zip", "a.tar"}


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, type: bytes) -> None:
    with pytest.raises(CorpusError, match="x is a link or a device"):
        unpack(make_tar(tmp_path / "a.tar", (kind("x", type, "/etc/passwd"), b"")), tmp_path / "out")


@pytest.mark.parametrize("type", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, type: int) -> None:
    info = zipfile.ZipInfo("x")
    info.external_attr = (type | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(CorpusError, match="x is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("old")
    for archive in (make_zip(tmp_path / "a.zip", x=b"new"), make_tar(tmp_path / "a.tar", (kind("x"), b"new"))):
        with pytest.raises(CorpusError, match=r"x would be written twice"):
            unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "x").read_text() == "old"


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="would be written twice"):
        unpack(make_tar(tmp_path / "a.tar", (kind("x"), b"1"), (kind("x/y"), b"2")), tmp_path / "out")


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 10_000)
    bomb = bytes(3_000_000)
    for archive in (make_zip(tmp_path / "a.zip", x=bomb), make_tar(tmp_path / "a.tar.gz", (kind("x"), bomb), mode="w:gz")):
        with pytest.raises(CorpusError, match="packed more than 100 times, as a bomb is"):
            unpack(archive, tmp_path / archive.name.replace(".", ""))
    unpack(make_zip(tmp_path / "small.zip", x=bytes(9_000)), tmp_path / "small")


def test_a_bomb_is_refused_by_its_size_and_by_its_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", a=b"12", b=b"34", c=b"56")
    monkeypatch.setattr(module, "MAX_BYTES", 4)
    with pytest.raises(CorpusError, match="holds more than 0 GiB"):
        unpack(archive, tmp_path / "one")
    monkeypatch.setattr(module, "MAX_FILES", 2)
    with pytest.raises(CorpusError, match="holds more than 2 files"):
        unpack(archive, tmp_path / "two")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
def test_an_archive_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>Please log in</html>" * 100)
    with pytest.raises(CorpusError, match="is damaged, or packed in a way that is not known"):
        unpack(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize(("name", "mode"), [("a.zip", ""), ("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.xz", "w:xz")])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, name: str, mode: str) -> None:
    whole = make_tar(tmp_path / name, (kind("x"), CONTENT), mode=mode) if mode else make_zip(tmp_path / name, x=CONTENT)
    whole.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(CorpusError, match="is damaged"):
        unpack(whole, tmp_path / "out")


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", x=CONTENT)
    packed = bytearray(archive.read_bytes())
    packed[60] ^= 1
    archive.write_bytes(packed)
    with pytest.raises(CorpusError, match="is damaged"):
        unpack(archive, tmp_path / "out")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", x=b"1")
    packed = bytearray(archive.read_bytes())
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(packed)
    with pytest.raises(CorpusError, match="x is encrypted"):
        unpack(archive, tmp_path / "out")


def test_a_file_that_is_no_archive_is_put_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("a")
    place(tmp_path / "labels.csv", tmp_path / "out")
    assert (tmp_path / "out" / "labels.csv").read_text() == "a"
    with pytest.raises(CorpusError, match="is there already"):
        place(tmp_path / "labels.csv", tmp_path / "out")
