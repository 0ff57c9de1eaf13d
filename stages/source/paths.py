"""Where a source's files lie, and what names the state they are in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def expanded(path: str) -> str:
    """``path`` with a leading ``~`` or ``~user`` made a folder; URLs stay as they are."""
    return path if "://" in path else os.path.expanduser(path)


def listing(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 of the relative names of files in ``folder``, their sizes and times of change."""
    digest = hashlib.sha256()
    for name in names:
        stat = (folder / name).stat()
        line = f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
