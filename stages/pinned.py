"""Models tied to what they are when a build begins: to a commit of the hub, or to the bytes of their files.

A class says in ``models`` which of its fields name a model and its revision. From here on the revision is
exact, so that fingerprints and manifests say what was used, and every worker loads the same.
"""

from __future__ import annotations

import re
import sys
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from stages.pretrained import why
from store.digest import FILES, file_sha256, fingerprint
from store.errors import MashbillError
from store.location import Location
from store.shipped import shipped

Value = TypeVar("Value")
Known = dict[tuple[str, str], str]
"""Exact revisions by model and revision: each is looked up once in a build."""

COMMIT = re.compile(r"[0-9a-f]{40}")
NO_PART = (".md", ".png", ".jpg", ".jpeg", ".gif", ".webp")
"""Endings of files that lie beside a model and change nothing it says."""
ELSEWHERE = ("open_clip:",)
"""What names begin with that other libraries know, without revisions."""
TIMEOUT_S = 30.0


def pinned(value: Value, setting: str, known: Known) -> Value:
    """The frozen value with every model in it at an exact revision.

    Args:
        setting: path of the value in its recipe, for errors.
        known: what this build has looked up; more is added.

    Raises:
        MashbillError: a model is not there, or nobody can say which commit its revision is.
    """
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed: dict[str, Any] = {}
    for name in (field.name for field in fields(value) if field.init):
        part = getattr(value, name)
        new = pinned(part, f"{setting}.{name}", known)
        if new is not part:
            changed[name] = new
    for model, revision in getattr(value, "models", ()):
        asked = getattr(value, model), getattr(value, revision)
        if asked[0] and not asked[0].startswith(ELSEWHERE):
            if asked not in known:
                known[asked] = exact_revision(*asked, f"{setting}.{model}")
            changed[revision] = known[asked]
    return replace(value, **changed) if changed else value


def models_in(value: Any, setting: str) -> dict[str, str]:
    """Every model a pinned value names, as ``MODEL@REVISION`` by the path of its field."""
    if not is_dataclass(value) or isinstance(value, type):
        return {}
    found: dict[str, str] = {}
    for name in (field.name for field in fields(value)):
        found |= models_in(getattr(value, name), f"{setting}.{name}")
    for model, revision in getattr(value, "models", ()):
        if getattr(value, model):
            found[f"{setting}.{model}"] = f"{getattr(value, model)}@{getattr(value, revision)}"
    return found


def is_exact(revision: str) -> bool:
    """Whether a revision says by itself what is meant."""
    return revision.startswith(FILES) or COMMIT.fullmatch(revision) is not None


def exact_revision(model: str, revision: str, setting: str) -> str:
    """The commit of a hub id; of a folder, a file or a shipped name ``files:`` and a hash of what is in it.

    A folder counts by the names and bytes of its files, wherever it lies, without hidden files, pictures and
    ``.md``. Files are hashed once per process, again when their size or time has changed.

    Raises:
        MashbillError: it is not there, or nobody can say which commit it is.
    """
    place = Path(shipped(model))
    if place.is_dir():
        found = sorted(
            file for file in place.rglob("*") if _counts(file.relative_to(place)) and file.is_file()
        )
        return FILES + fingerprint([[file.relative_to(place).as_posix(), _sha256(file)] for file in found])
    if place.is_file():
        return FILES + fingerprint(_sha256(place))
    if COMMIT.fullmatch(revision):
        return revision
    start = f"{setting}={model!r} at revision {revision!r} cannot be loaded: "
    if model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise MashbillError(start + "there is no such folder, and no hub has models of such a name")
    return _commit(model, revision, start)


def _counts(file: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.parts)
    return not hidden and file.suffix.lower() not in NO_PART


def _sha256(file: Path) -> str:
    state = file.stat()
    return _sha256_of(str(file.resolve()), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256_of(file: str, size: int, mtime_ns: int) -> str:
    return file_sha256(Location.of(file))


def _commit(model: str, revision: str, start: str) -> str:
    """What the hub says, or, where it cannot be asked, what it said when the model was downloaded."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if constants.HF_HUB_OFFLINE:
        silent = "HF_HUB_OFFLINE is set"
    else:
        try:
            told = HfApi().model_info(model, revision=revision, timeout=TIMEOUT_S).sha
            if told:
                return str(told)
            silent = "the hub names no commit"
        except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise MashbillError(start + why(error)) from error
        except Exception as error:  # whatever the network and the client raise: the copy here may still tell
            silent = f"the hub cannot be reached ({type(error).__name__})"
    commit = _downloaded(Path(constants.HF_HUB_CACHE), model, revision)
    if commit is None:
        raise MashbillError(
            f"{start}it is not here and {silent}, so that nobody knows which commit that is. Download it "
            "first, give the folder it was saved to, or name the commit itself: revision=COMMIT"
        )
    if not constants.HF_HUB_OFFLINE:
        print(f"{model}: {silent}; taking the commit {commit} that is here", file=sys.stderr)
    return commit


def _downloaded(cache: Path, model: str, revision: str) -> str | None:
    """The commit that the hub's client noted for a branch or tag when it downloaded the model."""
    folder = cache / f"models--{model.replace('/', '--')}"
    note = folder / "refs" / revision
    commit = note.read_text().strip() if note.is_file() else ""
    return commit if commit and (folder / "snapshots" / commit).is_dir() else None
