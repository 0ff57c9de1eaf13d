"""A finished run on disk. It appears whole, by one rename, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from distill_runs.denoiser import Denoiser, load_denoiser
from distill_runs.recipe import Finetune
from store.errors import MashbillError, UsageError


@dataclass(frozen=True)
class Run:
    """A finished run, loaded."""

    recipe: Finetune
    summary: dict[str, Any]
    """The content of ``run.json``."""
    denoiser: Denoiser


@contextmanager
def new_run_folder(folder: str | Path) -> Iterator[Path]:
    """A hidden folder beside ``folder``, renamed to it when the block ends well, else removed.

    A killed process leaves ``.<name>.<random>.partial`` behind; nothing reads it.
    Raises ``UsageError`` where ``folder`` already has something in it or cannot be made.
    """
    target = Path(folder).absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(
            f"{target} already exists; a run is never overwritten. Choose another folder, or remove it."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    except OSError as error:
        raise UsageError(f"the run folder {target} cannot be made ({error}).") from error
    try:
        yield Path(partial)
        os.chmod(partial, 0o777 & ~_umask())
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_run(folder: str | Path) -> Run:
    """The recipe, the summary and the trained model of a finished run, in evaluation mode.

    Raises ``UsageError`` where there is no finished run, ``MashbillError`` where its recipe has other
    fields than this version knows.
    """
    path = Path(folder)
    if not (path / "run.json").is_file():
        raise UsageError(f"{path} is not a finished run: it has no run.json.")
    summary = json.loads((path / "run.json").read_text())
    known = {field.name for field in fields(Finetune)}
    if set(summary["recipe"]) != known:
        different = ", ".join(sorted(set(summary["recipe"]) ^ known))
        raise MashbillError(
            f"the recipe in {path / 'run.json'} does not fit this version of mashbill (fields that "
            f"differ: {different}). Load it with the version that made it, see packages in run.json."
        )
    recipe: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in summary["recipe"].items()
    }
    return Run(Finetune(**recipe), summary, load_denoiser(path / "checkpoint"))
