"""Which samples show an image of an evaluation set: the same bytes, or the same picture edited."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.candidates import Candidates
from stages.dedup.evaluation_set import image_items, unreadable
from stages.dedup.hamming import hamming_join
from stages.dedup.same_picture import Comparison
from stages.dedup.thumbnails import Thumbnails, same_pictures
from stages.image.perceptual_hash import FLIPPED, HASH_COLUMNS, REGIONS, PerceptualHash
from stages.image.picture import BrokenImage, read_small
from stages.stage import Batch

READS = ("sha256", "thumbnail", *HASH_COLUMNS)
_WHOLE = "phash"
_OVER_BAR = "phash_above_12"
_IMAGES_AT_ONCE = 256
_PAIRS_AT_ONCE = 8192


class Limits(NamedTuple):
    """``radius`` in bits, ``tolerance`` in gray levels, ``match_flips``: as in ``near_duplicates``."""

    radius: int
    tolerance: float
    match_flips: bool


def described(paths: Iterable[str]) -> pa.Table:
    """``name`` and ``READS`` of every evaluation image, sorted by name; of equal files the first.

    About 450 photographs of 500 x 375 a second on one core. Raises UsageError for one that cannot be read.
    """
    hashing = PerceptualHash()
    describe, schema = hashing.open(), hashing.writes
    items, parts = chain.from_iterable(map(image_items, paths)), []
    while some := list(islice(items, _IMAGES_AT_ONCE)):
        digests = [hashlib.sha256(data).hexdigest() for _, data in some]
        small = [_small(name, data) for name, data in some]
        written = describe(Batch(len(some), {}, small, [None] * len(some)))
        columns = {name: pa.array(written[name], schema.field(name).type) for name in READS[1:]}
        names = pa.array([name for name, _ in some])
        parts.append(pa.table({"name": names, "sha256": pa.array(digests)} | columns))
    rows = pa.concat_tables(parts).sort_by("name")
    first = np.unique(rows["sha256"].to_numpy(), return_index=True)[1]
    return rows.take(pa.array(np.sort(first)))


def _small(name: str, data: bytes) -> np.ndarray:
    try:
        return read_small(data)
    except BrokenImage as error:
        raise unreadable(name, error) from error


def image_copies(samples: pa.Table, evaluation: pa.Table, limits: Limits, scratch: str) -> np.ndarray:
    """int64 [n]: the row of ``evaluation`` that each sample copies, or -1.

    The same bytes win; of several pictures the one with the nearest hash, then the first.
    """
    place = pc.index_in(samples["sha256"], value_set=evaluation["sha256"].combine_chunks())
    found = pc.fill_null(place, -1).to_numpy().astype(np.int64)
    hashed = pc.and_(samples[_WHOLE].is_valid(), samples["thumbnail"].is_valid()).to_numpy()
    nodes = np.flatnonzero(hashed & (found < 0))
    pairs = _pairs(evaluation, samples, nodes, limits, scratch)
    images = Thumbnails.of(evaluation["thumbnail"], np.unique(pairs.better))
    others = Thumbnails.of(samples["thumbnail"], np.unique(pairs.worse))
    parts = [
        same_pictures(pairs.rows(start, start + _PAIRS_AT_ONCE), images, others, limits.tolerance)
        for start in range(0, len(pairs.worse), _PAIRS_AT_ONCE)
    ]
    same = pairs.where(np.concatenate([*parts, np.empty(0, bool)]))
    copies, first = np.unique(same.worse, return_index=True)
    found[copies] = same.better[first]
    return np.asarray(found)


def _pairs(
    evaluation: pa.Table, samples: pa.Table, nodes: np.ndarray, limits: Limits, scratch: str
) -> Candidates:
    """Near hashes of evaluation images (``better``) and samples (``worse``), sorted by sample and bits.

    Numbers are rows of the two tables; only the rows ``nodes`` of the samples are looked at.
    """
    hashed = evaluation[_WHOLE].is_valid()
    images = evaluation.filter(hashed).select(HASH_COLUMNS)
    images = images.append_column("image", pa.array(np.flatnonzero(hashed.to_numpy())))
    found: list[np.ndarray] = [np.empty((4, 0), np.int64)]
    comparisons: list[Comparison] = []
    for column, sides in _comparisons(limits.match_flips).items():
        given = np.concatenate([images[side].to_numpy() for side, _ in sides])
        near = _near(given, samples[column].take(pa.array(nodes)), limits.radius, scratch)
        for side, comparison in sides:
            both = near.join(images.select([side, "image"]), "given", side, join_type="inner")
            columns = [both["image"].to_numpy(), nodes[both["place"].to_numpy()], both["bits"].to_numpy()]
            found.append(np.stack([*columns, np.full(len(both), len(comparisons))]))
            comparisons.append(comparison)
    better, worse, bits, number = np.concatenate(found, axis=1)
    order = np.lexsort((number, better, bits, worse))
    return Candidates(better[order], worse[order], bits[order], number[order], tuple(comparisons))


def _near(given: np.ndarray, hashes: pa.ChunkedArray, radius: int, scratch: str) -> pa.Table:
    """``given``, ``place`` in ``hashes`` and ``bits`` of all pairs at most ``radius`` apart."""
    near = hamming_join(given, hashes.to_numpy(), radius, scratch)
    pairs = pa.table({"given": near.left, "hash": near.right, "bits": near.distance})
    held = pc.indices_nonzero(pc.is_in(hashes, value_set=pc.unique(pairs["hash"])))
    holders = pa.table({"hash": hashes.take(held), "place": held.cast(pa.int64())})
    return pairs.join(holders, "hash", join_type="inner")


def _comparisons(match_flips: bool) -> dict[str, list[tuple[str, Comparison]]]:
    """Hash column of samples -> hash columns of evaluation images that are held against it.

    They are the comparisons of ``candidates``: the whole picture with every part of the other, either
    way round, and the parts above a drawn caption bar with each other.
    """
    flips = ("", FLIPPED) if match_flips else ("",)
    sides: dict[str, list[tuple[str, Comparison]]] = {part + f: [] for part in REGIONS for f in flips}
    for flip in flips:
        for part in REGIONS:
            sides[part + flip].append((_WHOLE, Comparison(_WHOLE, part, bool(flip))))
            if part != _WHOLE:
                sides[_WHOLE].append((part + flip, Comparison(part, _WHOLE, bool(flip))))
        sides[_OVER_BAR + flip].append((_OVER_BAR, Comparison(_OVER_BAR, _OVER_BAR, bool(flip))))
    return sides
