"""What names a student: its content, wherever its folder lies. Imports without torch."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from store.digest import file_sha256, fingerprint
from store.location import Location
from store.shipped import shipped


def student_name(source: str, revision: str | None) -> str:
    """``ID@REVISION`` of a model of the hub, ``files:FINGERPRINT`` of a folder.

    A folder counts with ``model_index.json`` and every file of its parts, at any depth: another byte or
    another name is another student. Cards, pictures and whatever else lies beside the parts do not count,
    nor does what is hidden (``.cache``). On one core it takes a second for each GB.
    """
    folder = Path(shipped(source))
    if not folder.is_dir():
        return f"{source}@{revision or 'main'}"
    parts = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    files = [path for part in parts for path in part.rglob("*") if path.is_file()]
    index = folder / "model_index.json"
    files += [index] if index.is_file() else []
    named = {
        path.relative_to(folder).as_posix(): _sha256(path) for path in files if not _hidden(path, folder)
    }
    return f"files:{fingerprint(named)}"


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _sha256(path: Path) -> str:
    found = os.stat(path)
    return _hashed(os.path.realpath(path), found.st_size, found.st_mtime_ns)


@cache
def _hashed(path: str, size_bytes: int, mtime_ns: int) -> str:
    """Once in a process for a file that stays as it is."""
    return file_sha256(Location.of(path))
