"""Small pictures of a few samples, as data URIs; only the images asked for are read."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from stages.image.picture import BrokenImage, read_full, read_header, read_small
from store.location import Location
from store.sources import StoredSource

QUALITY = 72
NO_IMAGE = "no image"
AT_ONCE = 16
"""Files held in memory together."""

MAX_FULL_PIXELS = 24_000_000
"""Larger images are shown from their small view: a thumbnail is not worth their memory."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class SourceRow:
    """What the source says of one sample. ``size`` is bytes; ``tar`` None: it has no image."""

    tar: Location | None
    offset: int
    size: int
    detail: str | None


@dataclass(frozen=True)
class Wanted:
    """One picture to make: the sample, the longer side in pixels, and the part to show (None: all)."""

    sample_id: str
    side: int
    box: Box | None = None


@dataclass(frozen=True)
class Thumbnail:
    """``uri`` is a WebP data URI, None where there is no picture; ``broken`` is then the reason code."""

    uri: str | None
    width: int = 0
    height: int = 0
    broken: str | None = None


def source_rows(source: StoredSource, rows: Iterable[dict[str, Any]]) -> dict[str, SourceRow]:
    """What the source says of some samples, by id. ``rows`` hold ``sample_id`` and ``PLACES``."""
    tars = {shard.index: source.tar(shard) for shard in source.shards()}
    found = {}
    for row in rows:
        tar = tars[row["shard"]] if row["image_offset"] is not None else None
        offset, size = row["image_offset"] or 0, row["image_size"] or 0
        found[row["sample_id"]] = SourceRow(tar, offset, size, row["source_detail"])
    return found


def thumbnails(rows: Mapping[str, SourceRow], wanted: Collection[Wanted]) -> dict[Wanted, Thumbnail]:
    """Every wanted picture; each image is read and decoded once."""
    by_sample: dict[str, list[Wanted]] = defaultdict(list)
    for order in dict.fromkeys(wanted):
        by_sample[order.sample_id].append(order)
    made = dict.fromkeys(wanted, Thumbnail(None, broken=NO_IMAGE))
    for sample_id, data in _bytes(rows, list(by_sample)):
        made |= _of_one(data, by_sample[sample_id])
    return made


def _bytes(rows: Mapping[str, SourceRow], sample_ids: list[str]) -> Iterator[tuple[str, bytes]]:
    by_tar: dict[str, list[str]] = defaultdict(list)
    for sample_id in sample_ids:
        tar = rows[sample_id].tar
        if tar is not None:
            by_tar[tar.url].append(sample_id)
    for mine in by_tar.values():
        for start in range(0, len(mine), AT_ONCE):
            some = mine[start : start + AT_ONCE]
            tar = rows[some[0]].tar
            assert tar is not None
            yield from zip(some, tar.read_ranges([(rows[s].offset, rows[s].size) for s in some]), strict=True)


def _of_one(data: bytes, orders: list[Wanted]) -> dict[Wanted, Thumbnail]:
    """The pictures wanted of one image."""
    try:
        header = read_header(data)
        if header.width * header.height > MAX_FULL_PIXELS:
            image = Image.fromarray(read_small(data))
        else:
            image = read_full(data)
    except BrokenImage as broken:
        return dict.fromkeys(orders, Thumbnail(None, broken=broken.reason))
    full = header.width, header.height
    return {order: _thumbnail(image, full, order) for order in orders}


def _thumbnail(image: Image.Image, full: tuple[int, int], order: Wanted) -> Thumbnail:
    """``order.box`` counts in an image of ``full`` (width, height); ``image`` may be smaller."""
    edges = order.box or (0, 0, *full)
    across, down = image.width / full[0], image.height / full[1]
    left, top, right, bottom = edges[0] * across, edges[1] * down, edges[2] * across, edges[3] * down
    scale = min(1.0, order.side / max(right - left, bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    box = (left, top, right, bottom)
    small = image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    sink = io.BytesIO()
    small.save(sink, "WEBP", quality=QUALITY, method=4)
    text = base64.b64encode(sink.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/webp;base64,{text}", *size)
