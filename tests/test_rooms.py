"""The order of the rooms: who may import whom, and what stays unimported so that listings answer at once."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ser_zoo

PACKAGE = Path(ser_zoo.__file__).parent
ROOMS = (
    "corpora",
    "protocols",
    "data",
    "features",
    "encoders",
    "models",
    "evaluation",
    "leaderboard",
    "inference",
    "cli",
    "__main__",
)
FOUNDATIONS = ("errors", "registry", "metrics", "cache", "settings", "threads", "dropout")
ANYTHING = ("inference", "cli")
FILES = sorted(PACKAGE.rglob("*.py"))
SLOW = "torch", "lightning", "transformers", "numpy"


def room(module: str) -> str:
    """``data`` of ``ser_zoo.data.audio``; empty for the package itself."""
    return [*module.split("."), ""][1]


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of everything of this package that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "ser_zoo")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = str(node.module)
            if module == "ser_zoo":  # a submodule, or a name of the package itself
                yield from (
                    (f"ser_zoo.{alias.name}" if alias.name in ROOMS + FOUNDATIONS else module, alias.name)
                    for alias in node.names
                )
            elif module.startswith("ser_zoo."):
                yield from ((module, alias.name) for alias in node.names)


def test_every_file_stands_in_a_room_or_is_a_foundation() -> None:
    assert {room(module_of(path)) for path in FILES} <= {"", *ROOMS, *FOUNDATIONS}


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_from_rooms_above(name: str) -> None:
    allowed = {"", *FOUNDATIONS, *(ROOMS if name in ANYTHING else ROOMS[: ROOMS.index(name) + 1])}
    wrong = [
        f"{module_of(path)} imports {module}"
        for path in FILES
        if room(module_of(path)) == name
        for module, _ in imports(path)
        if room(module) not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_a_foundation_imports_no_room(name: str) -> None:
    assert {room(module) for module, _ in imports(PACKAGE / f"{name}.py")} <= set(FOUNDATIONS)


def test_private_names_stay_in_their_file() -> None:
    wrong = [
        f"{module_of(path)} imports {module}.{name}"
        for path in FILES
        for module, name in imports(path)
        if name.startswith("_") and name != "__version__"
    ]
    assert not wrong


def test_the_check_above_sees_imports_of_every_form(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "import os, ser_zoo.models.base\n"
        "from ser_zoo import metrics, __version__\n"
        "def f():\n    from ser_zoo.data.audio import read_audio\n"
    )
    assert sorted(imports(path)) == [
        ("ser_zoo", "__version__"),
        ("ser_zoo.data.audio", "read_audio"),
        ("ser_zoo.metrics", "metrics"),
        ("ser_zoo.models.base", ""),
    ]


def imported(code: str) -> set[str]:
    """Which slow packages a new process has imported after ``code``."""
    report = f"import sys; print(*(name for name in {SLOW!r} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "module", ["ser_zoo", "ser_zoo.cli", "ser_zoo.corpora", "ser_zoo.models", "ser_zoo.protocols", "ser_zoo.data.prepare"]
)
def test_importing_the_tables_imports_nothing_slow(module: str) -> None:
    assert imported(f"import {module}") == set()


@pytest.mark.parametrize("arguments", [["models"], ["models", "cnn_attn"], ["corpora"], ["corpora", "emo_db"], ["--help"]])
def test_listing_imports_nothing_slow(arguments: list[str]) -> None:
    assert imported(f"from ser_zoo.cli import main; assert main({arguments!r}) == 0") == set()


def test_the_check_above_sees_what_is_imported() -> None:
    assert "numpy" in imported("import numpy")
