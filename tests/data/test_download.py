"""Downloads that break, resume and are checked; archives that want to write where they must not."""

from __future__ import annotations

import io
import random
import shlex
import socket
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ser_zoo.corpora.base import Download
from ser_zoo.data import download as module
from ser_zoo.data.download import by_hand, fetch, file_name, place, unpack, unpack_beside
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
    served.cut = [6000, 2000]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT
    assert served.asked == [("/a.zip", None), ("/a.zip", "bytes=6000-"), ("/a.zip", "bytes=8000-")]


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


def test_another_stretch_than_was_asked_for_is_not_appended(served: Served, tmp_path: Path) -> None:
    served.cut, served.shift = [1000], 7
    assert fetch(Download(url=f"{served.url}/a.zip"), tmp_path).read_bytes() == CONTENT


def test_a_version_that_does_not_name_every_byte_is_not_resumed(served: Served, tmp_path: Path) -> None:
    served.etag, served.cut = 'W/"1"', [1000]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT
    assert served.asked == [("/a.zip", None)] * 2


def test_where_there_is_no_version_the_date_of_the_file_stands_for_it(served: Served, tmp_path: Path) -> None:
    served.etag, served.modified, served.cut = "", "Mon, 30 Nov 2026 07:00:00 GMT", [1000]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT
    assert served.asked == [("/a.zip", None), ("/a.zip", "bytes=1000-")]


def test_a_file_whose_length_the_server_does_not_tell_is_as_long_as_published(served: Served, tmp_path: Path) -> None:
    served.sized, served.cut = False, [1000]
    assert fetch(served.download("a.zip"), tmp_path).read_bytes() == CONTENT
    assert served.asked == [("/a.zip", None), ("/a.zip", "bytes=1000-")]


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reset = threading.Timer(5, silent.close)  # or who waits for ever would do so here too
        reset.start()
        with pytest.raises(CorpusError, match="cannot be downloaded: timed out"):
            fetch(Download(url=f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip"), tmp_path)
        reset.cancel()


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


def test_a_checksum_may_be_published_in_capitals(served: Served, tmp_path: Path) -> None:
    download = served.download("a.zip")
    algorithm, _, digits = str(download.checksum).partition(":")
    published = replace(download, checksum=f"{algorithm}:{digits.upper()}")
    assert fetch(published, tmp_path).read_bytes() == CONTENT


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
        ("https://x.org/corpora/savee", "savee"),
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


def test_nothing_is_written_that_is_more_than_an_archive_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 4)
    monkeypatch.setattr(module, "CHUNK", 2)
    with pytest.raises(CorpusError, match="holds more than 0 GiB"):
        unpack(make_zip(tmp_path / "a.zip", x=b"123456"), tmp_path / "out")
    assert contents(tmp_path / "out") == {"x": b"1234"}


def test_folders_are_counted_as_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    with pytest.raises(CorpusError, match="holds more than 2 files"):
        unpack(make_zip(tmp_path / "a.zip", a__=b"", b__=b"", c__=b""), tmp_path / "out")


def test_a_name_with_a_nul_in_it_is_refused(tmp_path: Path) -> None:
    info = kind("x")
    info.pax_headers = {"path": "x\0y"}
    with pytest.raises(CorpusError, match=r"'x\\x00y' leads outside the folder"):
        unpack(make_tar(tmp_path / "a.tar", (info, b"1")), tmp_path / "out")


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


@pytest.mark.parametrize("cut", [1024, 1024 + 200])
def test_a_tar_that_is_cut_off_between_two_files_is_refused(tmp_path: Path, cut: int) -> None:
    whole = make_tar(tmp_path / "a.tar", (kind("x"), b"1"), (kind("y"), b"2"))
    whole.write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(CorpusError, match=r"a\.tar is damaged.*no end"):
        unpack(whole, tmp_path / "out")


def test_a_tar_that_is_damaged_between_two_files_is_refused(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "a.tar", (kind("x"), b"1"), (kind("y"), b"2"))
    content = bytearray(whole.read_bytes())
    content[1024] ^= 1
    whole.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.tar is damaged.*no end"):
        unpack(whole, tmp_path / "out")


def test_the_checksum_at_the_end_of_a_packed_tar_is_compared(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "a.tar.gz", (kind("x"), CONTENT), mode="w:gz")
    content = bytearray(whole.read_bytes())
    content[-8] ^= 1
    whole.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.tar\.gz is damaged.*CRC"):
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
    place(tmp_path / "labels.csv", tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out" / "labels.csv").read_text() == "a"
    with pytest.raises(CorpusError, match="is there already"):
        place(tmp_path / "labels.csv", tmp_path / "new" / "out")


# Archives in archives.


def tarred(*members: tuple[str, bytes], mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members:
            info = kind(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def outer(tmp_path: Path, *members: tuple[str, bytes]) -> Path:
    (tmp_path / "outer.tar.gz").write_bytes(tarred(*members))
    return tmp_path / "outer.tar.gz"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_archives_in_an_archive_are_unpacked_and_removed(tmp_path: Path) -> None:
    inner = (
        ("R/train.tar.gz", tarred(("train_splits/x.mp4", b"1"), ("train.csv", b"2"))),
        ("R/dev.ZIP", zipped(("dev_splits/y.mp4", b"3"), ("__MACOSX/._dev_splits", b"junk"), (".DS_Store", b"junk"))),
        ("R/one.tar", tarred(("z.mp4", b"4"), mode="w")),
        ("R/deep.zip", zipped(("deeper.tar.gz", tarred(("a", b"5"), ("b", b"6"))))),
        ("R/._one.tar", b"junk of macOS"),
        ("R/readme.txt", b"7"),
    )
    archive = outer(tmp_path, *inner)
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {
        "R/train/train_splits/x.mp4": b"1",  # of several things a folder is made
        "R/train/train.csv": b"2",
        "R/dev_splits/y.mp4": b"3",
        "R/z.mp4": b"4",
        "R/deeper/a": b"5",
        "R/deeper/b": b"6",
        "R/._one.tar": b"junk of macOS",
        "R/readme.txt": b"7",
    }
    assert archive.is_file()


@pytest.mark.parametrize("junk", [".DS_Store", "._wav", "__MACOSX/x"])
def test_folders_that_several_archives_share_become_one(tmp_path: Path, junk: str) -> None:
    parts = [(f"part{number}.zip", zipped((f"wav/{number}.wav", b"1"), (f"wav/{junk}", b"junk"))) for number in (1, 2)]
    unpack(outer(tmp_path, *parts), tmp_path / "out")
    assert {"wav/1.wav", "wav/2.wav"} <= contents(tmp_path / "out").keys()


@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_of_an_inner_archive_do_not_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    for number, inner in enumerate((("a/in.zip", zipped((name, b"1"))), ("a/in.tar", tarred((name, b"1"), mode="w")))):
        with pytest.raises(CorpusError, match=rf"^{inner[0]} in .*outer\.tar\.gz is not unpacked: .* leads outside the folder"):
            unpack(outer(tmp_path, inner), tmp_path / "in" / str(number))
    assert not {path.name for path in tmp_path.rglob("*")} & {"x", "\\x", "..\\x"}


def test_links_and_encrypted_files_of_an_inner_archive_are_refused(tmp_path: Path) -> None:
    link = make_tar(tmp_path / "in.tar", (kind("x", tarfile.SYMTYPE, "/etc/passwd"), b"")).read_bytes()
    with pytest.raises(CorpusError, match=r"^in\.tar in .*: x is a link or a device"):
        unpack(outer(tmp_path, ("in.tar", link)), tmp_path / "link")
    packed = bytearray(zipped(("x", b"1")))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(CorpusError, match=r"^in\.zip in .*: x is encrypted"):
        unpack(outer(tmp_path, ("in.zip", bytes(packed))), tmp_path / "encrypted")


@pytest.mark.parametrize("name", ["in.zip", "in.tar.gz"])
def test_an_inner_archive_that_is_cut_off_is_named_and_kept(tmp_path: Path, name: str) -> None:
    whole = (zipped if name.endswith("zip") else tarred)(("x", CONTENT), ("y", CONTENT[::-1]))
    with pytest.raises(CorpusError, match=rf"^{name} in .*outer\.tar\.gz is damaged"):
        unpack(outer(tmp_path, (name, whole[:-60])), tmp_path / "out")
    assert contents(tmp_path / "out") == {name: whole[:-60]}


def test_bombs_are_counted_over_all_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 10_000)
    content = random.Random(0).randbytes(1000) * 30
    inner = [zipped((f"{number}.bin", content)) for number in range(30)]
    bomb = outer(tmp_path, *((f"{number}.zip", packed) for number, packed in enumerate(inner)))
    assert 15 * len(inner[0]) < len(content) < 100 * len(inner[0])
    assert sum(map(len, inner)) < 100 * bomb.stat().st_size < 30 * len(content)  # so neither level is one by itself
    with pytest.raises(CorpusError, match=r"^\d+\.zip in .* is packed more than 100 times, as a bomb is"):
        unpack(bomb, tmp_path / "out")


def test_sizes_and_numbers_are_counted_over_all_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = outer(tmp_path, *((f"{number}.zip", zipped(("a", b"1"), ("b", b"2"))) for number in range(3)))
    monkeypatch.setattr(module, "MAX_FILES", 8)
    with pytest.raises(CorpusError, match=r"^2\.zip in .*: it holds more than 8 files"):
        unpack(archive, tmp_path / "files")
    monkeypatch.setattr(module, "MAX_FILES", 9)
    unpack(archive, tmp_path / "enough")
    monkeypatch.setattr(module, "MAX_BYTES", sum(len(zipped(("a", b"1"), ("b", b"2"))) for _ in range(3)) + 5)
    with pytest.raises(CorpusError, match=r"^2\.zip in .*: it holds more than 0 GiB"):
        unpack(archive, tmp_path / "bytes")


def test_the_depth_is_bounded(tmp_path: Path) -> None:
    content = b"1"
    for number in range(3):
        content = zipped((f"{number}.zip" if number else "x", content))
    unpack(outer(tmp_path, ("2.zip", zipped(("1.zip", zipped(("x", b"1")))))), tmp_path / "out")
    assert contents(tmp_path / "out") == {"x": b"1"}
    with pytest.raises(CorpusError, match=r"^1\.zip in 2\.zip in 3\.zip in .*: these are more than 3 archives in one another"):
        unpack(outer(tmp_path, ("3.zip", content)), tmp_path / "deep")


def test_an_inner_archive_overwrites_nothing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"^in\.zip in .*: .*labels\.csv would be written twice"):
        unpack(outer(tmp_path, ("labels.csv", b"1"), ("in.zip", zipped(("labels.csv", b"2")))), tmp_path / "out")
    with pytest.raises(CorpusError, match=r"^in\.zip in .*: .*/in would be written twice"):
        unpack(outer(tmp_path, ("in", b"1"), ("in.zip", zipped(("a", b"2"), ("b", b"3")))), tmp_path / "again")


def test_several_archives_do_not_spill_among_one_another(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("bea_Amused", "sam_Sleepy"):
        unpack_beside(make_zip(tmp_path / f"{name}.zip", a=b"1", b=b"2"), tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"bea_Amused/a", "bea_Amused/b", "sam_Sleepy/a", "sam_Sleepy/b"}


def test_how_to_unpack_by_hand_can_be_pasted_into_a_shell() -> None:
    lines = by_hand(Path("/data/my corpus/a.rar"), Path("/data/my corpus")).splitlines()
    assert lines[0] == "Python cannot unpack rar. Do it with one of these programs:"
    assert shlex.split(lines[1]) == ["unrar", "x", "/data/my corpus/a.rar", "/data/my corpus/"]
    assert shlex.split(lines[2]) == ["7z", "x", "/data/my corpus/a.rar", "-o/data/my corpus"]
