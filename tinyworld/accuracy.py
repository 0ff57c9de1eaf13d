"""How much of what was asked for a picture shows, by the words of whoever read it."""

from __future__ import annotations

from collections.abc import Sequence

from store.errors import UsageError
from tinyworld.read_caption import Said, read_caption
from tinyworld.scene import MONOCHROME, Scene

ATTRIBUTES = ("count", "shape", "color", "relation", "background", "background_colors", "style")
_EITHER_ORDER = ("stripes", "checker")
"""Backgrounds on which nobody can see which of the two colors was named first."""


def scene_accuracy(asked: Scene, read: Said) -> dict[str, float]:
    """Share right, 0..1, of each attribute the scene has.

    ``shape`` and ``color`` are shares of the asked things, matched by their place in the relation; a
    missing thing counts as wrong. One thing has no ``relation``; a black and white scene has no
    ``color`` and no ``background_colors``, nor has a meadow.
    """
    count = len(asked.things)
    pairs = list(zip(asked.things, read.things, strict=False))
    right = {
        "count": float(read.count == count),
        "shape": sum(thing.shape == named.shape for thing, named in pairs) / count,
        "background": float(read.background == asked.background.kind),
        "style": float(read.style == asked.style),
    }
    if asked.relation is not None:
        right["relation"] = float(read.relation == asked.relation)
    if asked.style != MONOCHROME:
        right["color"] = sum(thing.color == named.color for thing, named in pairs) / count
        if asked.background.colors:
            right["background_colors"] = float(_same_colors(asked, read))
    return right


def _same_colors(asked: Scene, read: Said) -> bool:
    wanted, seen = asked.background.colors, read.background_colors or ()
    if asked.background.kind in _EITHER_ORDER:
        return sorted(wanted) == sorted(seen)
    return wanted == seen


def attribute_accuracy(asked: Sequence[Scene], read: Sequence[str]) -> dict[str, float]:
    """Means over scenes and the captions somebody read off their pictures, 0..1.

    One entry for each of ``ATTRIBUTES`` that any scene has, ``mean`` over these, and ``whole``: the
    share of scenes with everything right. ``read`` must be long captions: what they leave out is wrong.
    """
    if not asked or len(asked) != len(read):
        raise UsageError(
            f"{len(asked)} scenes and {len(read)} captions; give one caption for every scene, one at least"
        )
    rows = [scene_accuracy(scene, read_caption(text)) for scene, text in zip(asked, read, strict=True)]
    means = {name: _mean([row[name] for row in rows if name in row]) for name in ATTRIBUTES}
    known = {name: mean for name, mean in means.items() if mean is not None}
    whole = sum(min(row.values()) == 1 for row in rows) / len(rows)
    return {**known, "mean": sum(known.values()) / len(known), "whole": whole}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
