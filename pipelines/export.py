"""Writes a version to a plain folder, for people and programs that do not know the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import MashbillError
from store.location import Location
from store.versions import Version

PROMISED = (
    "sample_id",
    "url",
    "source_key",
    "caption",
    "caption_original",
    "width",
    "height",
    "kept",
    "reason",
    "crop_left",
    "crop_top",
    "crop_right",
    "crop_bottom",
    "cluster_id",
    "split",
)
"""Columns that every export has, first and in this order; null where the recipe makes none."""


def export(version: Version, folder: str, form: str) -> Iterator[str]:
    """Write ``samples.parquet`` or the packs to ``folder``; yields the path of each file written.

    A single pack is written straight into the folder, several into folders of their names.
    """
    target = Location.of(folder)
    if form == "parquet":
        file = target / "samples.parquet"
        with file.writing() as path, ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for part in map(_promised, version.parts()):
                if writer is None:
                    writer = stack.enter_context(pq.ParquetWriter(path, part.schema, compression="zstd"))
                writer.write_table(part)
        yield file.url
        return
    if target.names():
        raise MashbillError(
            f"{target.url} is not empty: shards of another version there would be read with these. "
            "Give a new folder."
        )
    packs = version.manifest()["packs"]
    if not packs:
        raise MashbillError(
            f"{version.dataset}@{version.version} has no packs: it was built with no pack.resolutions. "
            "Build it with some, such as --set pack.resolutions=512."
        )
    for name in packs:
        place = target if len(packs) == 1 else target / name
        for file_name in version.pack(name).names():
            yield _copy(version.pack(name) / file_name, place / file_name)


def _promised(samples: pa.Table) -> pa.Table:
    for name in PROMISED:
        if name not in samples.column_names:
            samples = samples.append_column(name, pa.nulls(samples.num_rows, pa.string()))
    rest = [name for name in samples.column_names if name not in PROMISED]
    return samples.select([*PROMISED, *rest])


def _copy(source: Location, target: Location) -> str:
    with source.open() as opened, target.writing() as path, open(path, "wb") as written:
        while piece := opened.read(1 << 22):
            written.write(piece)
    return target.url
