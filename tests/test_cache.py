from __future__ import annotations

import csv
import errno
import os
import sys
from pathlib import Path

import pytest

from ser_zoo.cache import alone, atomic_path, cache_root, write_csv
from ser_zoo.errors import SERZooError, SERZooWarning


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SER_ZOO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == tmp_path / ".cache" / "ser_zoo"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_root() == tmp_path / ".cache" / "ser_zoo"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_root() == Path("/xdg/ser_zoo")
    monkeypatch.setenv("SER_ZOO_CACHE", "~/mine")
    assert cache_root() == tmp_path / "mine"


def test_a_user_without_a_home_is_told_to_name_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under any number."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    for name in ("SER_ZOO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SERZooError, match=r"^This user has no home folder, .* Set SER_ZOO_CACHE to a folder"):
        cache_root()
    monkeypatch.setenv("SER_ZOO_CACHE", str(tmp_path))
    assert cache_root() == tmp_path


def test_a_cell_with_any_break_of_lines_reads_back_from_lines_that_end_alike(tmp_path: Path) -> None:
    rows = [["id", "speaker"], ["a\rb", "1\n2"], ["\r\n", 'say "a, b"']]
    with (tmp_path / "c.csv").open("w", encoding="utf-8", newline="") as file:
        write_csv(file, [*rows, ["plain", None]])
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [*rows, ["plain", ""]]
    assert (tmp_path / "c.csv").read_bytes().endswith(b'"\nplain,\n')


def break_off(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half of two")
        raise ZeroDivisionError


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "result.json"
    with atomic_path(target) as temporary:
        temporary.write_text("one")
        assert not target.exists()
        assert (temporary.parent, temporary.suffix) == (target.parent, ".json")
        assert temporary.name.startswith(".")
    assert target.read_text() == "one"
    with pytest.raises(ZeroDivisionError):
        break_off(target)
    assert target.read_text() == "one"
    assert list(target.parent.iterdir()) == [target]


def test_of_two_who_write_at_once_the_later_one_wins(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    with atomic_path(target) as later, atomic_path(target) as earlier:
        later.write_text("later")
        earlier.write_text("earlier")
    assert target.read_text() == "later"
    assert list(tmp_path.iterdir()) == [target]


def test_only_one_at_a_time_has_a_lock_which_is_gone_at_its_end(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    for _ in range(2):
        with alone(lock, ZeroDivisionError()), pytest.raises(ZeroDivisionError), alone(lock, ZeroDivisionError()):
            pass
        assert not lock.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="which locks otherwise")
def test_where_a_file_system_has_no_locks_the_error_names_the_file_unless_it_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    entered = []
    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(OSError, match="No locks available") as caught, alone(tmp_path / "lock", ZeroDivisionError()):
        pass
    assert caught.value.filename == str(tmp_path / "lock")
    with (
        pytest.warns(SERZooWarning, match=r"has no locks \(No locks available\): nothing keeps another command away"),
        alone(tmp_path / "lock", ZeroDivisionError(), required=False),
    ):
        entered.append(True)
    assert entered
    assert not (tmp_path / "lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="which removes no open file")
def test_a_lock_whose_file_has_been_removed_meanwhile_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fcntl

    lock, flock = tmp_path / "lock", fcntl.flock

    def late(file: int, operation: int) -> None:
        lock.unlink(missing_ok=True)  # by the process that had it
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ZeroDivisionError), alone(lock, ZeroDivisionError()):
        pytest.fail("others may take it, too")
