"""What a worker on another machine must have in common with the build, and what it then does."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipelines.attempts import Died, attempt
from store.location import Location

PACKAGES = ("ray", "mashbill", "numpy", "pillow", "pyarrow")
"""What decides the bytes that a worker writes."""
OURS = ("store", "stages", "pipelines")


@dataclass(frozen=True)
class Worker:
    """What the build has, and every worker must: versions, and where relative paths begin."""

    versions: tuple[tuple[str, str], ...]
    folder: str

    @classmethod
    def like_this(cls) -> Worker:
        return cls(versions(), os.getcwd())


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Names and versions of what runs in this process; of our own files a hash too."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["mashbill's files"] = _own_files()
    return tuple(found.items())


def _own_files() -> str:
    digest, root = hashlib.sha256(), Path(__file__).resolve().parent.parent
    for package in OURS:
        for file in sorted((root / package).rglob("*.py")):
            digest.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def difference(ours: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]) -> str:
    """``name ours here, theirs there`` for each that differs; empty when all agree."""
    there = dict(theirs)
    return ", ".join(f"{name} {a} here, {there.get(name)} there" for name, a in ours if there.get(name) != a)


def work_in(worker: Worker, work: Callable[[Any], Any], unit: Any) -> Any:
    """One try of a unit on a worker, which may have joined after the build began."""
    differs = difference(worker.versions, versions())
    if differs:
        return Died(f"node {platform.node()} has other versions: {differs}", lost=True)
    if os.path.isdir(worker.folder):
        os.chdir(worker.folder)
    return attempt(work, unit)


def looked(token: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """What a worker finds: its versions, and why it does not see the file at the URL ``token``."""
    try:
        there = Location.of(token).exists()
    except Exception as error:  # whatever keeps a worker from a store is what the build will say
        return versions(), f"{type(error).__name__}: {error}"
    return versions(), "" if there else "it is not there"
