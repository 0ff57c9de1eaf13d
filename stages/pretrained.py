"""Pretrained models of stages: found, loaded, put on a device; one clear error where they are not there."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from store.digest import FILES
from store.errors import FinalError, MashbillError, UsageError
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
        MashbillError: the model cannot be loaded; says why, and what to do (FinalError: too large).
    """
    if not model:
        raise UsageError(f"{setting} is empty: give the hub id of a model, or the folder it was saved to")
    files = revision.startswith(FILES)
    at = "" if files else f" at revision {revision!r}"
    try:
        return kind.from_pretrained(shipped(model), revision="main" if files else revision, **options)
    except Exception as error:  # the libraries raise whatever their parsers and the network raise
        if not _lacks_memory(error):
            raise MashbillError(f"{setting}={model!r}{at} cannot be loaded: {why(error)}") from error
        said = str(error)
    raise _too_large(model, setting, options.get("dtype", "as its configuration says"), "cpu", said)


def load_network(kind: Any, model: str, revision: str, setting: str, **options: Any) -> Any:
    """A network ready to be asked, on the GPU where there is one; raises as ``load`` and ``on_device`` do."""
    return on_device(load(kind, model, revision, setting, **options).eval(), model, setting)


def on_device(loaded: Any, model: str, setting: str) -> Any:
    """A network or pipeline where models of this process run.

    Raises:
        FinalError: the memory there does not hold it.
    """
    try:
        return loaded.to(device())
    except Exception as error:
        if not _lacks_memory(error):
            raise
        said, dtype = str(error), getattr(loaded, "dtype", "unknown")
    del loaded
    free_memory()
    raise _too_large(model, setting, dtype, device(), said)


def _lacks_memory(error: BaseException) -> bool:
    """Whether torch or Python could not get memory; on a CPU torch raises no class of its own."""
    import torch

    lacks = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
    return lacks or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _too_large(model: str, setting: str, dtype: Any, place: str, said: str) -> FinalError:
    where = "the GPU's memory" if place == "cuda" else "the memory of this machine"
    width = str(dtype).removeprefix("torch.")
    return FinalError(
        f"{setting}={model!r} (dtype {width}, device {place}): {where} does not "
        f"hold the model ({' '.join(said.split())[:300]}). Use a narrower dtype where the stage has one, a "
        "smaller model, fewer models or workers at once on this device, or one with more memory."
    )


def free_memory() -> None:
    """Give back what nobody holds any more: call it when an error and its frames are gone, not before."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def load_image_processor(model: str, revision: str, setting: str) -> Any:
    """What prepares pictures for a model of ``transformers``; raises as ``load`` does.

    Always the one that computes with Pillow, where the model has one: else values would depend on whether
    ``torchvision`` is installed, which scales pictures in another way.
    """
    from transformers import AutoImageProcessor

    return load(AutoImageProcessor, model, revision, setting, backend="pil")


def named(model: str, revision: str) -> str:
    """How columns call a model: ``MODEL@REVISION``, or by its files' hash alone, wherever they lie."""
    return revision if revision.startswith(FILES) else f"{model}@{revision}"


def why(error: BaseException) -> str:
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
            continue
        except torch.cuda.OutOfMemoryError as error:
            said = str(error)  # the error itself, and all that its frames hold, ends with this block
        free_memory()
        if len(some) == 1:
            raise MashbillError(
                f"the GPU's memory does not hold a batch of one ({said}). Use a smaller model or "
                "resolution, a narrower dtype, or a GPU with more memory."
            )
        batch_size = len(some) // 2
        halved(batch_size)
    return results
