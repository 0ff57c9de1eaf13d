"""Chooses the few samples a report shows. The choice depends on the samples alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.tables import PLACES

Row = dict[str, Any]

PER_REASON = 12
CLUSTERS = 12
PER_CLUSTER = 8
CROPS = 12
KEPT = 24

CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")
SHOWN = (
    "sample_id",
    "url",
    "source_key",
    "caption",
    "caption_original",
    "width",
    "height",
    "kept",
    "reason",
    "cluster_id",
    "duplicate_kind",
    "duplicate_distance",
    *CROP,
    "crop_choice",
    "crop_evidence",
    "subject_kept",
    "meta",
    *PLACES,
)
"""The columns of a ``Row``; None where the version lacks one."""


@dataclass(frozen=True)
class Cluster:
    """Copies of one picture, the one that stays first; ``size`` counts those not shown, too."""

    size: int
    members: list[Row]


@dataclass(frozen=True)
class Chosen:
    """What the sections show. ``reasons``: by count, largest first."""

    reasons: dict[str, list[Row]]
    clusters: list[Cluster]
    crops: list[Row]
    kept: list[Row]
    examples: dict[str, Row]

    def rows(self) -> list[Row]:
        """All of them; one that is shown twice comes twice."""
        rows: list[Row] = [*self.crops, *self.kept, *self.examples.values()]
        for some in self.reasons.values():
            rows += some
        for cluster in self.clusters:
            rows += cluster.members
        return rows


def choose(samples: pa.Table, dropped: dict[str, int], examples: Iterable[str]) -> Chosen:
    """Choose from a version's samples.

    Args:
        dropped: count by reason; gives the order of the reasons.
        examples: ids that are shown in any case.
    """
    rows = samples.select([name for name in SHOWN if name in samples.column_names])
    named = sorted(set(examples))
    place = pc.index_in(pa.array(named, pa.string()), value_set=rows["sample_id"].combine_chunks())
    found = _take(rows, place.to_numpy(zero_copy_only=False).astype(np.int64))
    kept = np.flatnonzero(rows["kept"].to_numpy(zero_copy_only=False))
    return Chosen(
        {reason: _take(rows, where) for reason, where in _by_reason(rows, dropped).items()},
        _clusters(rows),
        _take(rows, _crops(rows, kept)),
        _take(rows, kept[:KEPT]),
        dict(zip(named, found, strict=True)),
    )


def _take(rows: pa.Table, places: np.ndarray | list[int]) -> list[Row]:
    empty: Row = dict.fromkeys(SHOWN)
    # Sliced, not taken: taking gathers whole columns first, and those may pass 2 GB.
    return [empty | rows.slice(int(place), 1).to_pylist()[0] for place in places]


def _by_reason(rows: pa.Table, dropped: dict[str, int]) -> dict[str, np.ndarray]:
    """The first samples of each reason, most frequent reason first."""
    encoded = rows["reason"].combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    first = {
        reason: order[starts[i] : min(starts[i + 1], starts[i] + PER_REASON)]
        for i, reason in enumerate(encoded.dictionary.to_pylist())
    }
    ranked = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return {reason: first[reason] for reason, count in ranked if count}


def _clusters(rows: pa.Table) -> list[Cluster]:
    """Of those that a sample stays of, the largest, and as many whose copies were hardest to match."""
    if "cluster_id" not in rows.column_names:
        return []
    encoded = rows["cluster_id"].combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy()
    sizes = np.bincount(codes[codes >= 0], minlength=len(encoded.dictionary))
    hardest = np.zeros(len(sizes), np.int64)
    if "duplicate_distance" in rows.column_names:
        bits = pc.fill_null(rows["duplicate_distance"], 0).to_numpy()
        np.maximum.at(hardest, codes[codes >= 0], bits[codes >= 0])
    kept = rows["kept"].to_numpy(zero_copy_only=False)
    stays = np.bincount(codes[(codes >= 0) & kept], minlength=len(sizes)) > 0
    # numbers of clusters follow sample_id, so ties fall to the smaller one
    several = np.flatnonzero((sizes > 1) & stays)
    largest = several[np.argsort(-sizes[several], kind="stable")][: CLUSTERS // 2]
    rest = several[~np.isin(several, largest)]
    hard = rest[np.lexsort((-sizes[rest], -hardest[rest]))][: CLUSTERS - len(largest)]
    order = np.argsort(codes, kind="stable")
    chosen = []
    for code in [*largest.tolist(), *hard.tolist()]:
        start = np.searchsorted(codes[order], code)
        members = _take(rows, _best_members(rows, order[start : start + sizes[code]]))
        chosen.append(Cluster(int(sizes[code]), members))
    return chosen


def _best_members(rows: pa.Table, places: np.ndarray) -> np.ndarray:
    """Those that stay, then those that are hardest to see as copies."""
    names = ("sample_id", "cluster_id", "kept", "duplicate_distance")
    some = rows.select([name for name in names if name in rows.column_names]).take(pa.array(places))
    kept = some["kept"].to_numpy(zero_copy_only=False)
    own = pc.fill_null(pc.equal(some["sample_id"], some["cluster_id"]), False).to_numpy()
    bits = np.zeros(len(places), np.int64)
    if "duplicate_distance" in some.column_names:
        bits = pc.fill_null(some["duplicate_distance"], 0).to_numpy()
    return places[np.lexsort((-bits, ~own, ~kept))][:PER_CLUSTER]


def _crops(rows: pa.Table, kept: np.ndarray) -> np.ndarray:
    """Kept samples whose crop cuts something: moved ones, those that lose most, and the first.

    A third each, so that the page shows both the usual and the worst.
    """
    if "crop_left" not in rows.column_names:
        return kept[:0]
    some = rows.select([*CROP, "width", "height"]).take(pa.array(kept))
    left, top, right, bottom, width, height = (
        pc.fill_null(some[name], 0).to_numpy().astype(np.int64) for name in some.column_names
    )
    area = (right - left) * (bottom - top)
    cuts = (area > 0) & (area < width * height)
    cutting = kept[cuts]
    moved, lost = np.zeros(len(cutting), bool), np.zeros(len(cutting))
    if "crop_choice" in rows.column_names:
        choice = rows["crop_choice"].take(pa.array(cutting))
        moved = pc.fill_null(pc.is_in(choice, pa.array(["start", "end", "person"])), False).to_numpy()
    if "subject_kept" in rows.column_names:
        share = rows["subject_kept"].take(pa.array(cutting))
        lost = 1 - pc.fill_null(share, 1.0).to_numpy().astype(np.float64)
    third = CROPS // 3
    worst = np.argsort(-lost, kind="stable")
    usual = range(min(CROPS, len(cutting)))
    picked = [*np.flatnonzero(moved)[:third], *worst[lost[worst] > 0][:third], *usual]
    first = np.array(list(dict.fromkeys(picked))[:CROPS], dtype=np.int64)
    return np.asarray(cutting[first])
