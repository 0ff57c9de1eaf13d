"""Measures a version against the truth that its data brought along."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FIELDS = ("truth_group", "truth_kind", "truth_reason")
KEPT = "kept"
EXAMPLES = 2

Labels = np.ndarray
"""object [n]: a string, or None."""


def measure(samples: pa.Table) -> dict[str, Any] | None:
    """How far a version agrees with the truth in its ``meta``; None where no sample has any.

    Truth is the fields ``truth_group`` (all copies of one picture share it), ``truth_kind`` and
    ``truth_reason`` (null: a right build keeps it). Rows without ``truth_group`` are left out. Shares
    are 0 to 1, None where there is nothing to divide by. Cost grows with the rows times their log.

    Returns:
        ``samples``; ``duplicates`` (pairs, None without ``cluster_id``); ``kinds`` (per kind: copies,
        found, merged_wrongly); ``reasons`` (agreement, per reason, disagreements with up to 2
        ``sample_ids`` each); ``pictures`` (kept once, lost, kept more than once); ``crop`` (None
        without ``subject_kept``). All plain JSON.
    """
    rows, truth = _truth(samples)
    if rows.num_rows == 0:
        return None
    group, kind, true_reason = (_labels(truth[name]) for name in FIELDS)
    clusters = _labels(rows["cluster_id"]) if "cluster_id" in rows.column_names else None
    return {
        "samples": rows.num_rows,
        "duplicates": None if clusters is None else _pairs(clusters, group),
        "kinds": [] if clusters is None else _kinds(rows, clusters, group, kind, true_reason),
        "reasons": _reasons(rows, group, true_reason),
        "pictures": _pictures(rows, group, true_reason),
        "crop": _crop(rows),
    }


def _truth(samples: pa.Table) -> tuple[pa.Table, dict[str, list[str | None]]]:
    """The rows that bring truth, and what it says."""
    truth: dict[str, list[str | None]] = {name: [] for name in FIELDS}
    if "meta" not in samples.column_names:
        return samples.slice(0, 0), truth
    hinted = samples.filter(pc.match_substring(samples["meta"], '"truth_group"'))
    with_truth = []
    for text in hinted["meta"].to_pylist():
        fields = json.loads(text)
        with_truth.append(fields.get("truth_group") is not None)
        if with_truth[-1]:
            for name in FIELDS:
                value = fields.get(name)
                truth[name].append(None if value is None else str(value))
    wanted = ("sample_id", "kept", "reason", "cluster_id", "subject_kept", "width", "height")
    names = [name for name in wanted if name in hinted.column_names]
    return hinted.select(names).filter(pa.array(with_truth, pa.bool_())), truth


def _labels(values: Any) -> Labels:
    return np.array(values.to_pylist() if hasattr(values, "to_pylist") else values, dtype=object)


def _numbers(labels: Labels) -> np.ndarray:
    """int64 [n]: the same number for the same label."""
    encoded = pa.array(labels, pa.string()).dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(), np.int64)


def _count_pairs(numbers: np.ndarray) -> int:
    sizes = np.unique(numbers, return_counts=True)[1].astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _pairs(clusters: Labels, group: Labels) -> dict[str, Any]:
    """Pairs of samples in one cluster against pairs that show one picture."""
    clustered = clusters != None  # noqa: E711  (elementwise)
    cluster, picture = _numbers(clusters[clustered]), _numbers(group[clustered])
    both = cluster * (picture.max(initial=0) + 1) + picture
    found, true, right = _count_pairs(cluster), _count_pairs(picture), _count_pairs(both)
    return {
        "samples": int(clustered.sum()),
        "pairs_found": found,
        "pairs_true": true,
        "pairs_right": right,
        "precision": _share(right, found),
        "recall": _share(right, true),
    }


def _kinds(
    rows: pa.Table, clusters: Labels, group: Labels, kind: Labels, true_reason: Labels
) -> list[dict[str, Any]]:
    """Per kind: copies of a picture that has a better one, those found with it, and false merges.

    The better one is the sample that truth keeps, else the one with most pixels.
    """
    ids = _labels(rows["sample_id"])
    pixels = pc.multiply(rows["width"].cast(pa.int64()), rows["height"])
    pixels = pc.fill_null(pixels, 0).to_numpy()
    best: dict[str, tuple[bool, int, str]] = {}
    cluster_of: dict[str, str] = {}
    group_of: dict[str, str] = {}
    clustered = [i for i, cluster in enumerate(clusters) if cluster is not None]
    for i in clustered:
        rank = (true_reason[i] is not None, -int(pixels[i]), ids[i])
        best[group[i]] = min(best.get(group[i], rank), rank)
        cluster_of[ids[i]] = clusters[i]
        group_of[ids[i]] = group[i]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for i in clustered:
        anchor = best[group[i]][2]
        counts[str(kind[i])].update(
            copies=ids[i] != anchor,
            found=ids[i] != anchor and clusters[i] == cluster_of[anchor],
            merged_wrongly=group_of.get(clusters[i], group[i]) != group[i],
        )
    return [
        {
            "kind": name,
            "copies": count["copies"],
            "found": count["found"],
            "recall": _share(count["found"], count["copies"]),
            "merged_wrongly": count["merged_wrongly"],
        }
        for name, count in sorted(counts.items())
        if count["copies"] or count["merged_wrongly"]
    ]


def _reasons(rows: pa.Table, group: Labels, true_reason: Labels) -> dict[str, Any]:
    """``agreed`` compares sample with sample; ``agreed_by_picture`` lets copies of one picture swap
    their reasons, since which of two equal copies stays is nobody's truth."""
    ids, found = rows["sample_id"].to_pylist(), rows["reason"].to_pylist()
    pairs = [(true or KEPT, here or KEPT) for true, here in zip(true_reason, found, strict=True)]
    confusion = Counter(pairs)
    examples: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, pair in sorted(zip(ids, pairs, strict=True)):
        if pair[0] != pair[1] and len(examples[pair]) < EXAMPLES:
            examples[pair].append(key)
    true_counts, found_counts = Counter(p[0] for p in pairs), Counter(p[1] for p in pairs)
    names = sorted(true_counts | found_counts, key=lambda n: (n != KEPT, -true_counts[n], n))
    same_verdict = sum(count for (true, here), count in confusion.items() if (true == KEPT) == (here == KEPT))
    agreed = sum(count for (true, here), count in confusion.items() if true == here)
    wrong = sorted(((-count, pair) for pair, count in confusion.items() if pair[0] != pair[1]))
    return {
        "agreed": _share(agreed, len(pairs)),
        "agreed_by_picture": _share(_swappable(group, pairs), len(pairs)),
        "same_verdict": _share(same_verdict, len(pairs)),
        "table": [
            {"reason": n, "true": true_counts[n], "found": found_counts[n], "agreed": confusion[n, n]}
            for n in names
        ],
        "disagreements": [
            {"true": pair[0], "found": pair[1], "count": -count, "sample_ids": examples[pair]}
            for count, pair in wrong
        ],
    }


def _swappable(group: Labels, pairs: list[tuple[str, str]]) -> int:
    """Samples whose reason is right for some copy of their picture, each copy counted once."""
    true = Counter(zip(group, (pair[0] for pair in pairs), strict=True))
    found = Counter(zip(group, (pair[1] for pair in pairs), strict=True))
    return (true & found).total()


def _pictures(rows: pa.Table, group: Labels, true_reason: Labels) -> dict[str, Any]:
    """Pictures that truth keeps: each should be in the dataset once."""
    kept: Counter[str] = Counter(dict.fromkeys(group[true_reason == None], 0))  # noqa: E711  (elementwise)
    for name in group[rows["kept"].to_numpy(zero_copy_only=False)]:
        if name in kept:
            kept[name] += 1
    counts = Counter(min(count, 2) for count in kept.values())
    return {"total": len(kept), "once": counts[1], "lost": counts[0], "more_than_once": counts[2]}


def _crop(rows: pa.Table) -> dict[str, Any] | None:
    """Mean share of the known subjects that the crops of kept samples keep."""
    if "subject_kept" not in rows.column_names:
        return None
    values = pc.drop_null(rows.filter(rows["kept"])["subject_kept"]).to_numpy()
    if not len(values):
        return None
    return {
        "samples": len(values),
        "mean_kept": float(values.mean(dtype=np.float64)),
        "share_whole": float((values > 0.999).mean()),
    }
