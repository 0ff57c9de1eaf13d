"""The kept samples of a dataset version as a source reads them: where they lie, nothing copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.image.inherited import INHERITED
from store.errors import UsageError
from store.store import Store
from store.versions import Version


def kept_samples(version: Version) -> pa.Table:
    """Kept samples by ``sample_id``: id, url, words, what is inherited, and the places of their images.

    Raises:
        UsageError: it is a dataset of prompts.
    """
    there = set(version.table.names())
    if "sha256" not in there:
        raise UsageError(
            f"{version.dataset}@{version.version} has no images: its samples are prompts, which are read by "
            "a source of kind generated"
        )
    wanted = dict.fromkeys(("sample_id", "url", "caption_original", "meta", *INHERITED.names))
    alive = pc.is_null(version.reasons())
    rows = version.samples([name for name in wanted if name in there]).filter(alive)
    places = version.table.places(["shard", "image_offset", "image_size"]).filter(alive)
    for name in places.column_names:
        rows = rows.append_column(name, places[name])
    return rows


def portions(store: Store, version: Version, rows: pa.Table) -> Iterator[pa.Table]:
    """The rows of ``kept_samples``, a table for each image shard they lie in, with its URL as ``tar``."""
    source = store.source(version.manifest()["source"]["fingerprint"])
    tars = {shard.index: source.tar(shard).url for shard in source.shards()}
    for shard in sorted(set(rows["shard"].to_pylist())):
        here = rows.filter(pc.equal(rows["shard"], shard))
        yield here.append_column("tar", pa.array([tars[shard]] * len(here)))


def inherited(row: dict[str, Any]) -> dict[str, Any]:
    """What the version said of a sample, for the stage ``inherited``."""
    return {name: row[name] for name in INHERITED.names if row.get(name) is not None}
