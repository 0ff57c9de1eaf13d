"""Starts a training run on a pack of the store; the run's folder names what it read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipelines.recipe import run_recipe
from pipelines.settings import apply_settings
from store.digest import fingerprint, settings
from store.errors import MashbillError, UsageError
from store.location import Location
from store.store import Store
from store.versions import Version, find_version


def distill(store: Store, recipe: str, assignments: list[str], progress: bool = True) -> dict[str, Any]:
    """Train, or find the same run done. Returns its summary and the path of its folder.

    A run is named by its recipe, the dataset version and the pack: the same three are the same run.
    """
    import distill_runs.recipes
    from distill_runs.recipe import Finetune

    run = run_recipe(recipe, distill_runs.recipes)
    if not isinstance(run, Finetune):
        raise UsageError(f"recipe {recipe} returned {type(run).__name__}, expected a Finetune")
    run = apply_settings(run, assignments)
    version = find_version(store, run.dataset)
    run = replace(run, dataset=f"{version.dataset}@{version.version}")
    pack = pack_for(version, run.resolution)
    key = {"run": settings(run), "version": version.version, "pack": pack.name}
    folder = store.runs / run.name / fingerprint(key)
    if not folder.local:
        raise MashbillError(f"runs are written to a local disk; the store is at {store.url}")
    if (folder / "run.json").exists():
        return _summary(folder, (folder / "run.json").read_json(), reused=True)
    from distill_runs.finetune import finetune  # imports torch and diffusers: seconds

    return _summary(folder, finetune(run, pack.path, folder.path, progress), reused=False)


def pack_for(version: Version, resolution: int) -> Location:
    """The smallest pack whose images are at least ``resolution`` px on their shorter side."""
    names = version.manifest()["packs"]
    sizes = {name: version.pack(name) / "pack.json" for name in names}
    fits = [
        (min(pack["width"], pack["height"]), name)
        for name, pack in ((name, file.read_json()) for name, file in sizes.items())
        if pack["width"] and min(pack["width"], pack["height"]) >= resolution
    ]
    if not fits:
        raise MashbillError(
            f"{version.dataset}@{version.version} has no pack of {resolution} px or more; it has "
            f"{', '.join(names) or 'none'}. Build it with --set pack.resolutions={resolution}"
        )
    return version.pack(min(fits)[1])


def _summary(folder: Location, result: dict[str, Any], reused: bool) -> dict[str, Any]:
    return {"folder": folder.path, "reused": reused} | result
