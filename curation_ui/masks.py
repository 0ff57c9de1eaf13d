"""What a query means for the items of a queue: a bool for each, computed on whole columns."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation_ui.board import KEEP, NONE, REJECT
from curation_ui.catalog import kind_of
from curation_ui.query import And, Node, Not, Or, QueryError, Term
from curation_ui.review import Review

SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    ":": operator.eq,
}
VERDICTS = {"none": NONE, "keep": KEEP, "reject": REJECT}
FIELDS = ("caption", "chars", "tokens", "verdict", "reason", "by", "edited", "cluster")

Mask = np.ndarray


def mask(review: Review, node: Node) -> Mask:
    """Which items a query finds: bool, one per item.

    Raises:
        QueryError: a field or value that there is not; lists what there is.
    """
    if isinstance(node, Not):
        return ~mask(review, node.inner)
    if isinstance(node, And):
        found = np.ones(len(review.catalog), bool)
        for part in node.parts:
            found &= mask(review, part)
        return found
    if isinstance(node, Or):
        return np.asarray(np.logical_or.reduce([mask(review, part) for part in node.parts]))
    return _term(review, node)


def refuse_verdicts(node: Node) -> None:
    """Raise where a query asks what others decided: who is to judge on their own must not know.

    Raises:
        QueryError: it does.
    """
    if isinstance(node, Term):
        if node.field in ("verdict", "reason", "by"):
            raise QueryError(f"{node.field}: is for curators here: several people judge each sample", node.at)
    else:
        for part in (node.inner,) if isinstance(node, Not) else node.parts:
            refuse_verdicts(part)


def _term(review: Review, term: Term) -> Mask:
    if term.field == "caption":
        return _caption(review, term)
    if term.field == "chars":
        return _edited(review, _compared(term, _lengths(review)), lambda text: _holds(term, len(text)))
    if term.field == "tokens":
        return _tokens(review, term)
    if term.field == "verdict":
        return _verdict(review, term)
    if term.field == "reason":
        return _reason(review, term)
    if term.field == "by":
        return _by(review, term)
    if term.field == "edited":
        return _by_a_person(review, term)
    if term.field == "cluster":
        return _compared(term, review.catalog.clusters.item_sizes())
    return _column(review, term)


def _edited(review: Review, found: Mask, holds: Callable[[str], bool]) -> Mask:
    """What was found of the captions that came, mended where people have written others."""
    for item, text in list(review.board.captions.items()):
        found[item] = holds(text)
    return found


def _caption(review: Review, term: Term) -> Mask:
    _only_plain(term)
    needle = term.value.lower()
    column = pc.match_substring(review.catalog.folded_captions, needle)
    return _edited(review, _bools(column), lambda text: needle in text.lower())


def _lengths(review: Review) -> np.ndarray:
    return review.catalog.caption_lengths


def _tokens(review: Review, term: Term) -> Mask:
    counters = review.settings.counters
    if not counters:
        raise QueryError(
            "tokens: there is no tokenizer. Start the server with --tokens NAME=FOLDER_OR_ID:LIMIT", term.at
        )
    counts = review.token_counts()
    return _edited(review, _compared(term, counts), lambda text: _holds(term, counters[0].count(text)))


def _verdict(review: Review, term: Term) -> Mask:
    _only_plain(term)
    if term.value == "second":
        return review.board.second.copy()
    if term.value not in VERDICTS:
        raise QueryError(f"verdict:{term.value}: expected none, keep, reject or second", term.at)
    return np.asarray(review.board.verdict == VERDICTS[term.value])


def _reason(review: Review, term: Term) -> Mask:
    _only_plain(term)
    bit = review.board.codes.get(term.value)
    if bit is not None:
        return np.asarray(review.board.reasons >> bit & 1).astype(bool)
    if term.value not in review.codes():
        raise QueryError(f"reason:{term.value}: expected one of {', '.join(sorted(review.codes()))}", term.at)
    return np.zeros(len(review.catalog), bool)


def _by(review: Review, term: Term) -> Mask:
    _only_plain(term)
    people = {name.lower(): person for person, name in list(review.access.names.items())}
    person = people.get(term.value.lower())
    if person is None:
        raise QueryError(f"by:{term.value}: expected one of {', '.join(sorted(people))}", term.at)
    return np.asarray(review.board.by == person)


def _by_a_person(review: Review, term: Term) -> Mask:
    """Items that have a person's caption or crop."""
    _only_plain(term)
    edited = {"caption": set(review.board.captions), "crop": set(review.board.crops)}
    if term.value not in (*edited, "none"):
        raise QueryError(f"edited:{term.value}: expected caption, crop or none", term.at)
    found = np.zeros(len(review.catalog), bool)
    for item in edited.get(term.value, edited["caption"] | edited["crop"]):
        found[item] = True
    return ~found if term.value == "none" else found


def _column(review: Review, term: Term) -> Mask:
    names = queryable(review)
    if term.field not in names:
        raise QueryError(
            f"there is no column {term.field!r}. There are: {', '.join([*FIELDS, *sorted(names)])}", term.at
        )
    column = review.catalog.rows[term.field]
    if term.value == "none" and term.operator == ":":
        return _bools(pc.is_null(column))
    kind = kind_of(column.type)
    if kind == "number":
        return _bools(_arrow_compared(term, column))
    _only_plain(term)
    if kind == "bool":
        if term.value not in ("true", "false"):
            raise QueryError(f"{term.field}:{term.value}: expected true, false or none", term.at)
        return _bools(pc.equal(column, term.value == "true"))
    if kind == "list":
        return _listed(column, term.value)
    return _bools(pc.equal(pc.utf8_lower(column), term.value.lower()))


def _listed(column: pa.ChunkedArray, value: str) -> Mask:
    """Lists with a text that holds ``value``."""
    flat, parents, start, found = [], [], 0, np.zeros(len(column), bool)
    for chunk in column.chunks:
        flat.append(pc.list_flatten(chunk))
        parents.append(_numbers(pc.list_parent_indices(chunk)) + start)
        start += len(chunk)
    for texts, rows in zip(flat, parents, strict=True):
        hits = _bools(pc.match_substring(pc.utf8_lower(texts), value.lower()))
        found[rows[hits].astype(np.int64)] = True
    return found


def _arrow_compared(term: Term, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kernels = {">=": pc.greater_equal, "<=": pc.less_equal, ">": pc.greater, "<": pc.less}
    return kernels.get(term.operator, pc.equal)(pc.cast(column, pa.float64(), safe=False), _number(term))


def queryable(review: Review) -> list[str]:
    """Columns of the catalog that a query may name, beside ``FIELDS``."""
    return [
        field.name for field in review.catalog.rows.schema if kind_of(field.type) and field.name not in FIELDS
    ]


def _compared(term: Term, values: np.ndarray) -> Mask:
    return np.asarray(SIGNS[term.operator](values, _number(term)))


def _holds(term: Term, value: float) -> bool:
    return bool(SIGNS[term.operator](value, _number(term)))


def _number(term: Term) -> float:
    try:
        value = float(term.value)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise QueryError(f"{term.field}:{term.value}: expected a number, such as {term.field}:>=10", term.at)
    return value


def _only_plain(term: Term) -> None:
    if term.operator != ":":
        raise QueryError(f"{term.field} has no order: write {term.field}:{term.value}", term.at)


def _bools(column: pa.Array | pa.ChunkedArray) -> Mask:
    return _numbers(pc.fill_null(column, False)).astype(bool)


def _numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    if isinstance(column, pa.Array):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return np.asarray(column.to_numpy())
