"""Writes a version to a plain folder, for people and programs that do not know the store."""

from __future__ import annotations

from collections.abc import Iterator

from store.location import Location
from store.versions import Version


def export(version: Version, folder: str, form: str) -> Iterator[str]:
    """Copy ``samples.parquet`` or the packs to ``folder``; yields the path of each file written.

    A single pack is written straight into the folder, several into folders of their names.
    """
    target = Location.of(folder)
    if form == "parquet":
        yield _copy(version.location / "samples.parquet", target / "samples.parquet")
        return
    packs = version.manifest()["packs"]
    for name in packs:
        place = target if len(packs) == 1 else target / name
        for file in version.pack(name).names():
            yield _copy(version.pack(name) / file, place / file)


def _copy(source: Location, target: Location) -> str:
    with source.open() as opened, target.writing() as path, open(path, "wb") as written:
        while piece := opened.read(1 << 22):
            written.write(piece)
    return target.url
