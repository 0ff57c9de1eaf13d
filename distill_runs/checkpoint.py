"""Checkpoints: written whole or not at all, checked when read, the newest good one found again.

::

    checkpoints/step-00000100/state.pt          roles, optimizers, averages, counters (of rank 0)
    checkpoints/step-00000100/rank-00000.pt     random states and data cursor of each rank
    checkpoints/step-00000100/checkpoint.json   world size, and the SHA-256 of the other files
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from distill_runs.ranks import Ranks
from store.digest import file_sha256
from store.errors import MashbillError
from store.location import Location

KEPT = 2
"""Checkpoints that stay; the older one is for when the newest is damaged."""


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], own: dict[str, Any], ranks: Ranks
) -> None:
    """Write the checkpoint of ``step``; every rank calls this.

    Args:
        folder: the run's folder.
        state: what all ranks share; that of rank 0 is written.
        own: what this rank alone knows.

    Raises:
        MashbillError: a rank could not write (a full disk); nothing is left of the checkpoint then.
    """
    target = folder / "checkpoints" / f"step-{step:08d}"
    partial = target.with_name(f".{target.name}.partial")
    failure = None
    if ranks.first:
        failure = _tried(lambda: _empty(partial))
    if not ranks.of_first(failure):
        failure = _tried(lambda: _write(partial / f"rank-{ranks.rank:05d}.pt", own))
        if ranks.first and not failure:
            failure = _tried(lambda: _write(partial / "state.pt", state))
    failures = [said for said in ranks.gathered(failure) if said]
    if ranks.first and not failures:
        failure = _tried(lambda: _commit(partial, target, ranks.world_size, step))
    failure = ranks.of_first(failures[0] if failures else failure)
    if failure:
        if ranks.first:
            shutil.rmtree(partial, ignore_errors=True)
        raise MashbillError(
            f"the checkpoint of step {step} could not be written to {target} ({failure}). Make room "
            "there and run the same command again: it goes on from the checkpoint before."
        )


def load_checkpoint(folder: Path, ranks: Ranks) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    """The newest checkpoint that is whole: (shared state, this rank's own, its world size); None where there
    is none at all.

    A damaged one is named on stderr and passed over. Where there were fewer ranks, a rank that is new
    gets what rank 0 knew.

    Raises:
        MashbillError: there are checkpoints, and every one is damaged.
    """
    steps = ranks.of_first([str(path) for path in _steps(folder)] if ranks.first else None)
    found = ranks.of_first(str(_newest(folder) or "") if ranks.first else None)
    if not steps:
        return None
    if not found:
        raise MashbillError(
            f"every checkpoint is damaged: {', '.join(steps)}. Restore one, or move them away and run the "
            "same command again: it then begins anew."
        )
    path = Path(found)
    world_size = json.loads((path / "checkpoint.json").read_text())["world_size"]
    mine = ranks.rank if ranks.rank < world_size else 0
    return _read(path / "state.pt"), _read(path / f"rank-{mine:05d}.pt"), int(world_size)


def _newest(folder: Path) -> Path | None:
    for path in reversed(_steps(folder)):
        problem = _problem(path)
        if problem is None:
            return path
        print(f"{path} is damaged ({problem}); looking at the one before", file=sys.stderr, flush=True)
    return None


def _problem(path: Path) -> str | None:
    try:
        note = json.loads((path / "checkpoint.json").read_text())
        files = note["files"]
        expected = {"state.pt", *(f"rank-{rank:05d}.pt" for rank in range(note["world_size"]))}
        if set(files) != expected:
            return f"checkpoint.json names {', '.join(files)}"
        changed = [name for name, digest in files.items() if file_sha256(Location.of(path / name)) != digest]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{', '.join(changed)} changed" if changed else None


def _steps(folder: Path) -> list[Path]:
    """Every checkpoint, the oldest first."""
    return sorted((folder / "checkpoints").glob("step-*"))


def _empty(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> dict[str, Any]:
    # Mapped: the ranks of one machine read one copy of a state of many gigabytes.
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return content


def _commit(partial: Path, target: Path, world_size: int, step: int) -> None:
    files = {path.name: file_sha256(Location.of(path)) for path in sorted(partial.iterdir())}
    note = {"step": step, "world_size": world_size, "files": files}
    with (partial / "checkpoint.json").open("w") as file:
        json.dump(note, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)  # a damaged one of this step that was passed over
    os.replace(partial, target)
    earlier = [path for path in _steps(target.parent.parent) if path.name <= target.name]
    for old in earlier[:-KEPT]:  # not a later one that was passed over as damaged
        shutil.rmtree(old)


def _tried(work: Callable[[], None]) -> str | None:
    """What went wrong, in words, so that every rank can be told."""
    try:
        work()
    except (OSError, RuntimeError) as error:  # torch.save says RuntimeError where a disk is full
        return str(error) or type(error).__name__
    return None
