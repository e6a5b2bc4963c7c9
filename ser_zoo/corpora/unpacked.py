"""Folders that readers look into: those of a folder, and one that an archive brings along."""

from __future__ import annotations

from pathlib import Path

from ser_zoo.corpora.base import subfolder


def subfolders(folder: Path) -> list[Path]:
    """The folders in ``folder`` by their names; none where it is not a folder."""
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def unpacked(root: Path, folder: str) -> Path:
    """``root/folder``, which an archive unpacked at the root has made, in any case; ``root`` itself without it.

    So the root may be where the archive was unpacked as well as the folder that came out of it.
    """
    inner = subfolder(root, folder)
    return inner if inner.is_dir() else root
