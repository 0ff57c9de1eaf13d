"""Which pack of a version each stage of a run reads."""

from __future__ import annotations

from typing import Any

from distill_runs.buckets import run_buckets
from store.aspects import Size
from store.errors import MashbillError, UsageError
from store.location import Location
from store.versions import Version


def packs_for(version: Version, run: Any) -> tuple[Location, ...]:
    """The pack that each stage reads."""
    return tuple(pack_for(version, stage.data) for stage in run.stages)


def pack_for(version: Version, data: Any) -> Location:
    """The pack with the smallest images that a stage with this ``data`` can read without enlarging any."""
    sizes = {name: _sizes(version.pack(name)) for name in version.manifest()["packs"]}
    fits = [(max(w * h for w, h in found), name) for name, found in sizes.items() if _holds(found, data)]
    if not fits:
        several = [] if data.buckets else [name for name, found in sizes.items() if len(found) > 1]
        raise MashbillError(
            f"{version.dataset}@{version.version} has no pack of {data.resolution} px or more; it has "
            f"{', '.join(sizes) or 'none'}. Build it with --set pack.resolutions={data.resolution}"
            + (f", or name data.buckets: of several sizes are {', '.join(several)}" if several else "")
        )
    return version.pack(min(fits)[1])


def _sizes(pack: Location) -> list[Size]:
    """Every size that a pack says it has."""
    shards = (pack / "pack.json").read_json()["shards"]
    return sorted({(width, height) for shard in shards for width, height, _ in shard.get("sizes", ())})


def _holds(sizes: list[Size], data: Any) -> bool:
    try:
        return bool(sizes) and bool(run_buckets(sizes, data.buckets, data.resolution, ""))
    except UsageError:
        return False
