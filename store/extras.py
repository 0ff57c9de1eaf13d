"""Arrays that belong to a source's image: the noise it was made from, latents on the way.

They lie in the shard's tar right behind the image and its caption, as ``<sample_id>.<name>.npy``. The
field ``mashbill_extras`` of ``meta`` lists their names and sizes, and from these and the image's place
follows where each one lies: no further index, and tars without them are what they always were.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from store.errors import MashbillError
from store.location import Location
from store.tar import BLOCK

FIELD = "mashbill_extras"


def with_extras(meta: str | None, extra: Sequence[tuple[str, bytes]]) -> str | None:
    """``meta`` with the names and sizes (bytes) of ``extra``; as it is where there is none."""
    if not extra:
        return meta
    fields = (json.loads(meta) if meta else {}) | {FIELD: [[name, len(data)] for name, data in extra]}
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)


def extra_places(row: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """``(offset, size)`` in the tar of each array of a sample, by name; empty where it has none.

    ``row`` needs ``meta``, ``caption_original``, ``image_offset`` and ``image_size``.
    """
    listed = json.loads(row["meta"]).get(FIELD, []) if row["meta"] else []
    if not listed or row["image_offset"] is None:
        return {}
    position = row["image_offset"] + _padded(row["image_size"])
    if row["caption_original"]:
        position += BLOCK + _padded(len(row["caption_original"].encode()))
    places = {}
    for name, size in listed:
        places[name] = (position + BLOCK, size)
        position += BLOCK + _padded(size)
    return places


def captured(tar: Location, row: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Every array of a sample by name, such as ``noise`` float [C, h, w]; empty where it has none.

    Args:
        tar: of the sample's shard, as ``StoredSource.tar`` gives it.
        row: as for ``extra_places``.

    Raises:
        MashbillError: the tar is gone, was cut, or does not hold an array there.
    """
    places = extra_places(row)
    found = {}
    for name, data in zip(places, tar.read_ranges(list(places.values())), strict=True):
        try:
            found[name] = np.load(io.BytesIO(data))
        except ValueError as error:
            raise MashbillError(
                f"{tar.url} holds no array {name!r} at byte {places[name][0]} ({error}): the file was "
                "changed after it was written. Restore it, or build into a new store."
            ) from error
    return found


def _padded(size: int) -> int:
    """Bytes that a member of this size takes, without its header."""
    return size + -size % BLOCK
