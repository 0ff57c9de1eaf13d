"""Candidate pairs: images of which some parts have near hashes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from stages.dedup.hamming import hamming_join
from stages.dedup.hash_pairs import HashPairs
from stages.dedup.same_picture import Comparison
from stages.image.perceptual_hash import FLIPPED, REGIONS

MOST_PER_HASH = 64
"""Of images that share one hash, so many of the best are tried as representatives. It bounds the
pairs of a hash that 10^5 files share to 64 for each file."""

_WHOLE = "phash"
_OVER_BAR = "phash_above_12"


@dataclass(frozen=True)
class Candidates:
    """Pairs of image numbers (smaller is better), sorted by better, worse and distance.

    ``comparison`` is a number in ``comparisons``. One pair may come in several comparisons.
    """

    better: np.ndarray
    worse: np.ndarray
    distance: np.ndarray
    comparison: np.ndarray
    comparisons: tuple[Comparison, ...]

    @property
    def used(self) -> np.ndarray:
        """The numbers of all images that occur, sorted."""
        return np.union1d(self.better, self.worse)

    def rows(self, start: int, stop: int) -> Candidates:
        return self._each(slice(start, stop))

    def where(self, keep: np.ndarray) -> Candidates:
        return self._each(keep)

    def _each(self, rows: slice | np.ndarray) -> Candidates:
        arrays = [field.name for field in fields(self) if field.name != "comparisons"]
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})


def candidate_pairs(hashes: pa.Table, radius: int, match_flips: bool, scratch: str) -> Candidates:
    """Pairs of rows (best first) that are at most ``radius`` bits apart in some comparison.

    Compared are the whole picture with every part of the other, and the parts above a drawn
    caption bar with each other; the second of the two mirrored as well if ``match_flips``.
    """
    columns = {name: hashes[name].to_numpy() for name in hashes.column_names}
    flips = ("", FLIPPED) if match_flips else ("",)
    found: list[np.ndarray] = []
    comparisons: list[Comparison] = []
    for one, parts in ((_WHOLE, tuple(REGIONS)), (_OVER_BAR, (_OVER_BAR,))):
        others = np.concatenate([columns[part + flip] for part in parts for flip in flips])
        near = hamming_join(columns[one], others, radius, scratch)
        for part in parts:
            for flip in flips:
                left, right, bits = _images(columns[one], columns[part + flip], near)
                sides = [(left < right, Comparison(one, part, bool(flip)))]
                if part != one:
                    sides.append((right < left, Comparison(part, one, bool(flip))))
                for rows, comparison in sides:
                    number = np.full(int(rows.sum()), len(comparisons))
                    pair = np.sort(np.stack([left[rows], right[rows]]), axis=0)
                    found.append(np.concatenate([pair, [bits[rows], number]]))
                    comparisons.append(comparison)
    better, worse, distance, number = np.concatenate(found, axis=1)
    order = np.lexsort((number, distance, worse, better))
    return Candidates(better[order], worse[order], distance[order], number[order], tuple(comparisons))


def _images(
    left: np.ndarray, right: np.ndarray, near: HashPairs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 image numbers of both sides and the distances, of all images that have near hashes.

    The better image of a pair is among the first ``MOST_PER_HASH`` of those that share its hash.
    """
    one, two = _Holders.of(left, near.left), _Holders.of(right, near.right)
    both = []
    for first, second, left_is_better in ((one.best(), two, True), (one, two.best(), False)):
        pair, i, j = first.times(second)
        rows = (i < j) if left_is_better else (j < i)
        both.append((i[rows], j[rows], near.distance[pair[rows]].astype(np.int64)))
    i, j, bits = (np.concatenate(parts) for parts in zip(*both, strict=True))
    return i, j, bits


@dataclass(frozen=True)
class _Holders:
    """Which images have each of some hashes: ``images[start : start + count]``, best first."""

    images: np.ndarray
    start: np.ndarray
    count: np.ndarray

    @staticmethod
    def of(hashes: np.ndarray, values: np.ndarray) -> _Holders:
        images = np.argsort(hashes, kind="stable")
        start = np.searchsorted(hashes, values, side="left", sorter=images)
        stop = np.searchsorted(hashes, values, side="right", sorter=images)
        return _Holders(images, start, stop - start)

    def best(self) -> _Holders:
        return replace(self, count=np.minimum(self.count, MOST_PER_HASH))

    def times(self, other: _Holders) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each hash every image here with every image there: number of the hash and both."""
        size = self.count * other.count
        pair = np.repeat(np.arange(len(size)), size)
        place = np.arange(len(pair)) - np.repeat(np.cumsum(size) - size, size)
        here = self.start[pair] + place // other.count[pair]
        there = other.start[pair] + place % other.count[pair]
        return pair, self.images[here], other.images[there]
