"""The query language: what it finds is what a plain loop over the items finds; mistakes are pointed at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation_ui.masks import mask
from curation_ui.query import And, Node, Not, Or, QueryError, Term, parse
from curation_ui.review import Review


def test_words_quotes_and_precedence() -> None:
    assert parse("") == And(())
    assert parse("cat") == Term("caption", ":", "cat", 0)
    assert parse('caption:"two words"') == Term("caption", ":", "two words", 0)
    assert parse(' "a:b"') == Term("caption", ":", "a:b", 1)
    assert parse("width:>=512") == Term("width", ">=", "512", 0)
    a, b, c = Term("caption", ":", "a", 0), Term("caption", ":", "b", 2), Term("caption", ":", "c", 7)
    assert parse("a b OR c") == Or((And((a, b)), c))
    assert parse("NOT a") == Not(Term("caption", ":", "a", 4))
    assert parse("NOT NOT a") == Term("caption", ":", "a", 8)
    found = parse("a AND (b OR c)")
    assert isinstance(found, And)
    assert isinstance(found.parts[1], Or)


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ('caption:"open', 8, "without its second"),
        ("(a", 0, "( without its )"),
        ("a)", 1, ") without its ("),
        ("a OR", 4, "missing"),
        ("OR a", 0, "needs something before"),
        ("a AND AND b", 6, "needs something before"),
        ("()", 1, "needs something before"),
        ("width:", 6, "needs a value"),
        ("width:>", 7, "needs a number"),
        ("(" * 60 + "a" + ")" * 60, 121, "more than 50"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, at: int, said: str) -> None:
    with pytest.raises(QueryError) as error:
        parse(text)
    assert said in str(error.value)
    assert error.value.at == at


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='ab:<>=" ()\\ANDORT', max_size=30))
def test_any_text_is_parsed_or_refused_with_a_place(text: str) -> None:
    found: list[int] = []
    try:
        parse(text)
    except QueryError as error:
        found.append(error.at)
    assert all(0 <= at <= len(text) for at in found)


TERMS = st.one_of(
    st.builds("caption:{}".format, st.sampled_from(["red", "BLUE", "number", '"hat, number 1"', "nothing"])),
    st.builds("chars:{}{}".format, st.sampled_from(["<", ">=", "", "="]), st.integers(17, 21)),
    st.builds("width:{}{}".format, st.sampled_from(["<", ">", "<=", ">="]), st.integers(47, 53)),
    st.builds(
        "clip_similarity:{}{}".format, st.sampled_from(["<", ">"]), st.floats(0, 1).map(lambda x: round(x, 2))
    ),
    st.builds("cluster:{}{}".format, st.sampled_from([">", "="]), st.integers(0, 4)),
    st.sampled_from(["verdict:none", "verdict:keep", "verdict:reject", "verdict:second", "reason:hands"]),
    st.sampled_from(["reason:blur", "by:owner", 'by:"Ben B"', "split:train", "flag:true", "flag:false"]),
    st.sampled_from(["edited:caption", "edited:crop", "edited:none"]),
    st.sampled_from(["clip_similarity:none", "captions:another", 'captions:"candidate 3"', "prompt:none"]),
)
QUERIES = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("NOT ({})".format, inner),
        st.builds("({}) ({})".format, inner, inner),
        st.builds("({}) AND ({})".format, inner, inner),
        st.builds("({}) OR ({})".format, inner, inner),
    ),
    max_leaves=6,
)


@pytest.fixture
def decided(served: Any) -> Any:
    """Some items decided, by two people, with second opinions, captions and reasons."""
    owner, ben = served.owner(), served.person("annotator", "Ben B")
    for item in range(0, 12, 2):
        owner.event(item, "keep" if item % 4 else "reject", reasons=["hands"] if item % 4 == 0 else [])
    for item in range(1, 15, 3):
        ben.event(item, "reject", reasons=["blur", "hands"])
    owner.event(9, "caption", caption="Red words that somebody wrote")
    owner.event(11, "crop", crop=[0, 0, 20, 20])
    return served


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES)
def test_a_query_finds_what_a_plain_loop_finds(decided: Any, query: str) -> None:
    review = decided.review
    node = parse(query)
    rows = review.catalog.rows.to_pylist()
    plain = [holds(review, node, item, rows) for item in range(len(rows))]
    assert mask(review, node).tolist() == plain, query


def holds(review: Review, node: Node, item: int, rows: list[dict[str, Any]]) -> bool:
    """A query's meaning for one item, the slow and obvious way."""
    if isinstance(node, Not):
        return not holds(review, node.inner, item, rows)
    if isinstance(node, And):
        return all(holds(review, part, item, rows) for part in node.parts)
    if isinstance(node, Or):
        return any(holds(review, part, item, rows) for part in node.parts)
    row, board = rows[item], review.board
    caption = board.captions.get(item, row["caption"])
    verdict = {0: "none", 1: "keep", 2: "reject"}[int(board.verdict[item])]
    reasons = [code for code, bit in board.codes.items() if int(board.reasons[item]) >> bit & 1]
    same = [other for other in rows if other["cluster_id"] == row["cluster_id"]]
    plain: dict[str, Any] = {
        "caption": lambda value: value.lower() in caption.lower(),
        "verdict": lambda value: bool(board.second[item]) if value == "second" else verdict == value,
        "reason": lambda value: value in reasons,
        "edited": lambda value: {"caption": item == 9, "crop": item == 11}.get(value, item not in (9, 11)),
        "by": lambda value: (review.access.names.get(int(board.by[item])) or "").lower() == value.lower(),
    }
    if node.field in plain:
        return bool(plain[node.field](node.value))
    if node.field == "chars":
        return compared(len(caption), node)
    if node.field == "cluster":
        return compared(len(same) if row["cluster_id"] else 1, node)
    value = row[node.field]
    if node.value == "none":
        return value is None
    if value is None:
        return False
    if isinstance(value, bool):
        return value == (node.value == "true")
    if isinstance(value, list):
        return any(node.value.lower() in text.lower() for text in value)
    return value.lower() == node.value.lower() if isinstance(value, str) else compared(value, node)


def compared(value: float, node: Term) -> bool:
    wanted = float(node.value)
    return {
        ">": value > wanted,
        "<": value < wanted,
        ">=": value >= wanted,
        "<=": value <= wanted,
        "=": value == wanted,
        ":": value == wanted,
    }[node.operator]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("nonsense:1", "there is no column 'nonsense'. There are: caption, chars"),
        ("width:wide", "expected a number"),
        ("width:>nan", "expected a number"),
        ("verdict:maybe", "expected none, keep, reject or second"),
        ("verdict:>1", "has no order"),
        ("edited:words", "expected caption, crop or none"),
        ("flag:maybe", "expected true, false or none"),
        ("by:Nobody", "expected one of owner"),
        ("reason:nonsense", "expected one of anatomy"),
        ("tokens:>3", "--tokens"),
    ],
)
def test_a_query_about_what_is_not_there_lists_what_is(served: Any, query: str, said: str) -> None:
    reply = served.owner().ask("POST", "/api/snapshots", {"query": f"red {query}"})
    assert reply.status == 400
    assert said in reply.json["error"]
    assert reply.json["at"] == 4


def test_a_snapshot_keeps_its_order_while_others_decide(served: Any) -> None:
    owner, other = served.owner(), served.person("curator")
    made = owner.post("/api/snapshots", {"query": "verdict:none", "sort": "-clip_similarity"})
    assert made["count"] == 40
    path = f"/api/snapshots/{made['snapshot']}"
    order = np.frombuffer(owner.ask("GET", f"{path}/order").body, "<u4")
    values = [served.review.catalog.value("clip_similarity", int(item)) for item in order]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=True)
    assert values[len(known) :] == [None] * 4, "what has no value comes last"
    owner.event(int(order[0]), "keep")
    cards = owner.get(f"{path}/cards?start=0&count=3")["cards"]
    assert [card["item"] for card in cards] == order[:3].tolist()
    assert cards[0]["verdict"] == "keep"
    assert owner.get(f"{path}/cards?start=39&count=256")["cards"][0]["item"] == order[-1]
    assert other.ask("GET", f"{path}/order").status == 404, "somebody else's"
    assert owner.post("/api/snapshots", {"query": "verdict:none"})["count"] == 39
    for sort in ("nothing", "-captions"):
        assert owner.ask("POST", "/api/snapshots", {"sort": sort}).status == 400


def test_who_judges_on_their_own_cannot_ask_what_others_said(hats: Any, serving: Any) -> None:
    served = serving(hats, votes_required=2)
    owner, ana = served.owner(), served.person("annotator", "Ana")
    asked = (
        "verdict:keep",
        "red OR NOT reason:hands",
        "(by:owner)",
        "NOT (NOT verdict:second)",
        "red AND by:ana",
    )
    ana.event(1, "reject", reasons=["hands"])
    for query in asked:
        assert owner.ask("POST", "/api/snapshots", {"query": query}).status == 200
        reply = ana.ask("POST", "/api/snapshots", {"query": query})
        assert (reply.status, "for curators" in reply.json["error"]) == (400, True)
    assert ana.post("/api/snapshots", {"query": "NOT red"})["count"] == 20


def test_columns_say_their_range(served: Any) -> None:
    owner = served.owner()
    columns = {column["name"]: column for column in owner.get("/api/columns")["columns"]}
    assert columns["width"] | {"type": "number"} == columns["width"]
    assert (columns["width"]["min"], columns["width"]["max"]) == (48, 52)
    assert columns["split"]["values"] == ["train", "validation"]
    assert columns["captions"]["type"] == "list"
    assert "meta" not in columns
    assert math.isfinite(columns["clip_similarity"]["max"])
