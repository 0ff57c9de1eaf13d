"""Cards: what a page is told of one item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curation_ui.access import Person
from curation_ui.database import Connection
from curation_ui.events import read_states
from curation_ui.review import Review
from curation_ui.states import NOTHING, State

CANDIDATES = ("captions", "caption", "caption_before", "caption_original", "prompt")
"""Columns that hold captions to choose from, the best first."""
SHORT = 120
_EXACT = 1 << 53
"""JavaScript's numbers are exact to here."""


def states_of(connection: Connection, review: Review, items: Sequence[int]) -> dict[int, State]:
    names = {item: review.catalog.sample_id(item) for item in items}
    found = read_states(connection, list(names.values()))
    return {item: found.get(name, NOTHING) for item, name in names.items()}


def cards(connection: Connection, review: Review, who: Person, items: Sequence[int]) -> list[dict[str, Any]]:
    states, here = states_of(connection, review, items), _here(connection, review, who, items)
    return [{**_card(review, who, item, states[item]), "here": here[item]} for item in items]


def _here(connection: Connection, review: Review, who: Person, items: Sequence[int]) -> dict[int, list[str]]:
    """Names of the others who look at each item, or were lent it."""
    names = {review.catalog.sample_id(item): item for item in items}
    found = {item: set(review.there(item, who)) for item in items}
    lent, now = "SELECT sample_id, person, expires_at FROM lease WHERE sample_id IN", review.clock()
    for name, person, expires_at in connection.among(lent, list(names)):
        if person != who.id and expires_at > now:
            found[names[name]].add(review.access.name(person) or "?")
    return {item: sorted(people) for item, people in found.items()}


def _card(review: Review, who: Person, item: int, state: State) -> dict[str, Any]:
    catalog = review.catalog
    row = catalog.row(item)
    held = card_state(review, who, item, state)
    return {
        **held,
        "sample_id": row["sample_id"],
        "width": row["width"],
        "height": row["height"],
        "image": f"/image/{item}",
        "thumb": f"/thumb/{item}/192",
        "caption_original": row.get("caption_original") or row["caption"],
        "prompt": row.get("prompt"),
        "candidates": _candidates(row),
        "tokens": {counter.name: counter.count(held["caption"]) for counter in review.settings.counters},
        "crops": _crops(row, catalog.given(item).crop),
        "cluster": catalog.clusters.name_of(item),
        "cluster_size": catalog.clusters.size_of(item),
        "columns": {name: _plain(row[name]) for name in catalog.shown},
    }


def card_state(review: Review, who: Person, item: int, state: State) -> dict[str, Any]:
    """What holds of an item, as this person may know it.

    Where several votes are asked for, an annotator sees no verdict but their own.
    """
    votes_required, given = review.settings.votes_required, review.catalog.given(item)
    verdict, deciding = state.verdict(votes_required), state.deciding(votes_required)
    mine = state.opinions().get(who.id)
    if votes_required > 1 and (mine or not who.may("curator")):
        verdict, deciding = (mine.verdict, (mine,)) if mine else (None, ())
    reasons = dict.fromkeys(reason for vote in deciding for reason in vote.reasons)
    by = deciding[-1].person if verdict and deciding else state.caption_by or state.crop_by
    return {
        "item": item,
        "verdict": verdict,
        "reasons": list(reasons) if verdict else [],
        "caption": given.caption if state.caption is None else state.caption,
        "crop": list(state.crop) if state.crop else given.crop,
        "version": state.version,
        "by": review.access.name(by) if by else None,
    }


def small_cards(
    connection: Connection, review: Review, who: Person, items: Sequence[int]
) -> list[dict[str, Any]]:
    """What the grid shows of items."""
    states = states_of(connection, review, items)
    found = []
    for item in items:
        held = card_state(review, who, item, states[item])
        found.append(
            {
                "item": item,
                "thumb": f"/thumb/{item}/192",
                "width": review.catalog.value("width", item),
                "height": review.catalog.value("height", item),
                "caption": held["caption"][:SHORT],
                "verdict": held["verdict"],
                "reasons": held["reasons"],
                "version": held["version"],
                "cluster_size": review.catalog.clusters.size_of(item),
            }
        )
    return found


def _candidates(row: dict[str, Any]) -> list[dict[str, str]]:
    """Every caption that a model or the source gave, each text once."""
    found: dict[str, str] = {}
    for name in CANDIDATES:
        value = row.get(name)
        for text in value if isinstance(value, list) else [value]:
            if text and text not in found:
                found[text] = name
    return [{"text": text, "by": by} for text, by in found.items()]


def _crops(row: dict[str, Any], chosen: list[int] | None) -> list[dict[str, Any]]:
    """Crops to choose from: the one that was chosen, the middle in the same shape, and the whole image."""
    boxes: dict[tuple[int, ...], str] = {}
    if chosen:
        left, top, right, bottom = chosen
        x, y = (row["width"] - (right - left)) // 2, (row["height"] - (bottom - top)) // 2
        boxes[tuple(chosen)] = row.get("crop_choice") or "chosen"
        boxes.setdefault((x, y, x + right - left, y + bottom - top), "center")
    boxes.setdefault((0, 0, row["width"], row["height"]), "whole")
    return [{"box": list(box), "by": by} for box, by in boxes.items()]


def _plain(value: Any) -> Any:
    """As JSON carries it: no NaN, no integer that JavaScript would round."""
    if isinstance(value, float) and value - value != 0:
        return None
    return str(value) if isinstance(value, int) and abs(value) >= _EXACT else value
