"""Pretrained models of stages: found, loaded, put on a device; one clear error where they are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from store.errors import MashbillError, UsageError
from store.shipped import shipped

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORDS = {
    "GatedRepoError": "it is gated: accept its terms on its page and set HF_TOKEN",
    "RepositoryNotFoundError": "there is no such model, or it is private: check the id, or set HF_TOKEN",
    "RevisionNotFoundError": "it has no such revision: give a branch, tag or commit that it has",
    "LocalEntryNotFoundError": "it is not here and the hub cannot be reached: check the network, or "
    "give the folder it was saved to",
    "OfflineModeIsEnabled": "it is not here and HF_HUB_OFFLINE is set: download it first, or give "
    "the folder it was saved to",
}


def load(kind: Any, model: str, revision: str, setting: str, **options: Any) -> Any:
    """``kind.from_pretrained`` of a hub id, a folder, or the name of a tiny model that is shipped.

    Args:
        kind: a class of transformers or diffusers.
        setting: path of the recipe's field that names the model, for the error.

    Raises:
        UsageError: no model is named.
        MashbillError: the model cannot be loaded; says why, and what to do.
    """
    if not model:
        raise UsageError(f"{setting} is empty: give the hub id of a model, or the folder it was saved to")
    try:
        return kind.from_pretrained(shipped(model), revision=revision, **options)
    except Exception as error:  # the libraries raise whatever their parsers and the network raise
        raise MashbillError(
            f"{setting}={model!r} at revision {revision!r} cannot be loaded: {_why(error)}"
        ) from error


def _why(error: BaseException) -> str:
    """The first known cause, in words; else what the library said last, in one line."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in _WORDS:
            return _WORDS[type(cause).__name__]
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def device() -> str:
    """Where models of this process run: ``cuda`` where there is a GPU, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def in_batches(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    batch_size: int,
    halved: Callable[[int], None],
) -> list[Result]:
    """``run`` over all items, at most ``batch_size`` at a time, a result for each.

    Where the GPU's memory does not hold a batch, its size is halved from there on and ``halved`` is told.

    Raises:
        MashbillError: not even one item fits.
    """
    import torch

    results: list[Result] = []
    while len(results) < len(items):
        some = items[len(results) : len(results) + batch_size]
        try:
            results.extend(run(some))
        except torch.cuda.OutOfMemoryError as error:
            if len(some) == 1:
                raise MashbillError(
                    f"the GPU's memory does not hold a batch of one ({error}). Use a smaller model or "
                    "resolution, a narrower dtype, or a GPU with more memory."
                ) from error
            torch.cuda.empty_cache()
            batch_size = len(some) // 2
            halved(batch_size)
    return results
