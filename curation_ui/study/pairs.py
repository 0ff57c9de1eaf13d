"""Which images meet, on which side, and in which order one person sees them: all by the study's seed.

Nothing here reads a clock or a disk: the same study gives the same pairs, the same sides and, for the same
answers, the same order again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from curation_ui.study.design import Design

LANES = 1 << 64


@dataclass(frozen=True)
class Picture:
    """One image of one model. ``index`` is its row among the study's images, ``seed`` None where its
    source does not say."""

    index: int
    model: int
    prompt: str
    seed: int | None


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt, by models ``a`` < ``b`` in the order they were given. ``prompt`` is a number
    that all pairs of one text share; ``seed`` is what the images were matched by; ``votes`` are wanted."""

    index: int
    prompt: int
    text: str
    seed: int
    a: int
    b: int
    image_a: int
    image_b: int
    votes: int


@dataclass(frozen=True)
class Missing:
    """Images of a model that met none of another model, by the pair of models."""

    a: int
    b: int
    only_a: int
    only_b: int


def draw(seed: int, *parts: object) -> int:
    """An even number below 2**64 that follows from the seed and the parts."""
    text = json.dumps([seed, *parts], separators=(",", ":"), ensure_ascii=False)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def share(seed: int, *parts: object) -> float:
    """``draw`` as a number from 0 to 1."""
    return draw(seed, *parts) / LANES


def left_is_a(seed: int, pair: int, question: str, slot: int) -> bool:
    """Whether the image of model a is shown left. Within a pair the slots take turns; across pairs the
    first of them is drawn."""
    return bool((slot & 1) ^ (draw(seed, "side", pair, question) & 1))


def pairs_of(
    pictures: Iterable[Picture], models: int, design: Design, seed: int
) -> tuple[list[Pair], list[Missing]]:
    """Every pair of the study, and what could not be paired."""
    by_model: list[dict[str, dict[int, int]]] = [_keyed([], design) for _ in range(models)]
    of_model = defaultdict(list)
    for picture in pictures:
        of_model[picture.model].append(picture)
    for model, own in of_model.items():
        by_model[model] = _keyed(own, design)
    met: list[tuple[int, int]] = list(combinations(range(models), 2))
    if design.pairing == "first":
        met = [(0, other) for other in range(1, models)]
    missing = [_missing(by_model, a, b) for a, b in met]
    texts = sorted(
        {t for a, b in met for t in by_model[a] if set(by_model[a][t]) & set(by_model[b].get(t, ()))}
    )
    texts.sort(key=lambda text: draw(seed, "prompt", text))
    texts = texts[: design.prompts or None]
    found: list[Pair] = []
    for number, text in enumerate(texts):
        for a, b in met:
            here, there = by_model[a].get(text, {}), by_model[b].get(text, {})
            for key in sorted(set(here) & set(there))[: design.seeds or None]:
                index = len(found)
                votes = design.votes + (share(seed, "overlap", index) < design.overlap)
                found.append(Pair(index, number, text, key, a, b, here[key], there[key], votes))
    return found, missing


def _keyed(pictures: list[Picture], design: Design) -> dict[str, dict[int, int]]:
    """Prompt, then seed or number, then image. The first image of a seed stands."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for picture in pictures:
        own = found[picture.prompt]
        number = picture.seed if design.match == "seed" and picture.seed is not None else len(own)
        own.setdefault(number, picture.index)
    return found


def _missing(by_model: list[dict[str, dict[int, int]]], a: int, b: int) -> Missing:
    here = {(text, key) for text, keys in by_model[a].items() for key in keys}
    there = {(text, key) for text, keys in by_model[b].items() for key in keys}
    return Missing(a, b, len(here - there), len(there - here))


def kind_at(design: Design, seed: int, person: str, question: str, position: int) -> str:
    """What a person's trial at a position (from 0, of one question) is: practice, gold, retest or vote."""
    if position < design.practice:
        return "practice"
    at = share(seed, "kind", person, question, position)
    if at < design.gold:
        return "gold"
    return "retest" if at < design.gold + design.retest else "vote"


def gold_of(seed: int, person: str, question: str, position: int, pairs: int) -> tuple[int, int, bool, bool]:
    """A known answer: the pair that gives the good image, the one that gives a swapped one, whether it is
    image a of them, and whether the good one stands left. The two pairs may have one prompt: the caller
    looks on from the second to one that has another."""
    drawn = draw(seed, "gold", person, question, position)
    first, rest = drawn % pairs, drawn // pairs
    return first, rest % pairs, bool(rest >> 40 & 1), bool(rest >> 41 & 1)
