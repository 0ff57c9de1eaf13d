"""The rows of a source: one per sample that entered, whether or not its image came."""

from __future__ import annotations

import hashlib

import pyarrow as pa

SAMPLE_ROWS = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("source_key", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("caption_original", pa.string()),
        pa.field("meta", pa.string()),
        pa.field("image_offset", pa.int64()),
        pa.field("image_size", pa.int64()),
        pa.field("source_error", pa.string()),
        pa.field("source_detail", pa.string()),
    ]
)
"""``source_key``: the sample's name where it came from. ``meta``: a JSON object of every other field
the source had. ``image_offset, image_size``: bytes of the image in the shard's tar, null without an
image. ``source_error``: reason code, null with an image; ``source_detail``: the source's own words."""


def sample_id(locator: str, caption: str | None, repeat: int = 0) -> str:
    """24 hex digits (96 bits) that depend only on what the sample is.

    ``locator`` is the URL of a crawled sample, else whatever names it in its source. ``repeat``
    numbers rows that are the same in both: 0 for the first.
    """
    text = f"{locator}\0{caption or ''}" + (f"\0{repeat}" if repeat else "")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def storable(text: str | None) -> str | None:
    """Text that UTF-8 can hold: half of a surrogate pair, which JSON allows, becomes ``?``."""
    return None if text is None else text.encode("utf-8", "replace").decode()
