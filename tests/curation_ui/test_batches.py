"""Batches over selections and clusters: previewed, done once, undone as one."""

from __future__ import annotations

import uuid
from typing import Any

import pytest


def name() -> str:
    return str(uuid.uuid4())


def select(client: Any, query: str = "", sort: str = "") -> dict[str, Any]:
    found = client.post("/api/snapshots", {"query": query, "sort": sort})
    return {"snapshot": found["snapshot"], "start": 0, "stop": found["count"]}


def test_a_preview_changes_nothing_and_the_batch_does_what_it_said(served: Any) -> None:
    owner = served.owner()
    owner.event(1, "reject", reasons=["blur"])
    batch = select(owner, "red") | {"kind": "reject", "reasons": ["blur"]}
    told = owner.post("/api/batch", batch | {"preview": True})
    assert (told["count"], told["changes"]) == (20, 19)
    assert told["examples"][0] == {"item": 3, "before": None, "after": "reject"}
    assert owner.get("/api/overview")["decided"] == 1
    sent = batch | {"uuid": name()}
    assert owner.post("/api/batch", sent) == {"count": 19, "kept": 0, "batch": sent["uuid"]}
    assert owner.post("/api/batch", sent)["count"] == 19, "once"
    events = served.review.database.submit_read(lambda c: c.one("SELECT count(*) FROM event")).result(30)
    assert events == (20,)
    served.clock.now += 10
    assert owner.get("/api/overview")["rejected"] == 20
    undone = owner.post("/api/undo", {"uuid": name()})
    assert undone["undone"] == {"kind": "reject", "count": 19, "batch": True}
    assert {state["verdict"] for state in undone["states"]} == {None}
    served.clock.now += 10
    assert owner.get("/api/overview")["rejected"] == 1


def test_a_batch_does_not_overrule_what_its_curator_never_saw(served: Any) -> None:
    owner, ana = served.owner(), served.person("annotator")
    ana.event(0, "keep")
    batch = select(owner) | {"kind": "reject", "stop": 4, "uuid": name()}
    ana.event(1, "keep")
    owner.event(2, "keep")
    told = {"count": 4, "kept": 1, "batch": batch["uuid"]}
    assert owner.post("/api/batch", batch) == told
    assert owner.post("/api/batch", batch) == told
    cards = owner.get("/api/cards?items=0,1,2,3")["cards"]
    assert [card["verdict"] for card in cards] == ["reject", "keep", "reject", "reject"]
    assert owner.post("/api/snapshots", {"query": "verdict:second"})["count"] == 2
    again = select(owner, "verdict:keep") | {"kind": "reject", "uuid": name()}
    assert owner.post("/api/batch", again)["kept"] == 0, "now it was seen"
    assert owner.get("/api/cards?items=1")["cards"][0]["verdict"] == "reject"


def test_words_are_replaced_in_a_range_and_back(served: Any) -> None:
    owner = served.owner()
    owner.event(4, "caption", caption="a blue hat that somebody wrote")
    batch = select(owner, "", "item") | {
        "kind": "caption",
        "find": "blue hat",
        "replace": "navy cap",
        "stop": 10,
    }
    told = owner.post("/api/batch", batch | {"preview": True})
    assert (told["count"], told["changes"]) == (10, 5)
    assert told["examples"][0]["after"] == "a navy cap, number 0"
    owner.post("/api/batch", batch | {"uuid": name()})
    captions = [card["caption"] for card in owner.get("/api/cards?items=0,1,4,12")["cards"]]
    assert captions == [
        "a navy cap, number 0",
        "a red hat, number 1",
        "a navy cap that somebody wrote",
        "a blue hat, number 12",
    ]
    assert owner.post("/api/snapshots", {"query": "navy"})["count"] == 5
    owner.post("/api/undo", {"uuid": name()})
    assert owner.get("/api/cards?items=4")["cards"][0]["caption"] == "a blue hat that somebody wrote"


def test_the_best_of_each_cluster_is_kept(served: Any) -> None:
    owner = served.owner()
    found = owner.get("/api/clusters?by=clip_similarity")
    assert found["count"] == 10
    scores = served.review.catalog
    for cluster in found["clusters"]:
        values = [scores.value("clip_similarity", card["item"]) for card in cluster["items"]]
        known = [value for value in values if value is not None]
        assert values == sorted(known, reverse=True) + [None] * (len(values) - len(known))
    names = [cluster["cluster"] for cluster in found["clusters"][:3]]
    batch = {"kind": "keep_best", "clusters": names, "by": "clip_similarity", "uuid": name()}
    assert owner.post("/api/batch", batch | {"preview": True})["changes"] == 12
    assert owner.post("/api/batch", batch)["count"] == 12
    for cluster in owner.get("/api/clusters?by=clip_similarity")["clusters"][:3]:
        verdicts = [(card["verdict"], card["reasons"]) for card in cluster["items"]]
        assert verdicts == [("keep", [])] + [("reject", ["duplicate"])] * 3
    members = owner.get(f"/api/clusters/{names[0]}")["cards"]
    assert {card["cluster"] for card in members} == {names[0]}


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"kind": "keep"}, "needs a snapshot"),
        ({"kind": "keep", "start": 3, "stop": 3}, "1 to 100000"),
        ({"kind": "keep", "stop": 4, "snapshot": "s999"}, "not there any more"),
        ({"kind": "caption", "stop": 4}, "words to find"),
        ({"kind": "caption", "stop": 4, "find": "a blue hat, number 0", "replace": " "}, "empty or too long"),
        ({"kind": "reject", "stop": 4, "reasons": ["unheard"]}, "is no reason"),
        ({"kind": "keep_best", "clusters": ["nothing"]}, "no cluster"),
        ({"kind": "keep_best", "clusters": ["c0"], "by": "caption"}, "no column of numbers"),
        ({"kind": "keep", "stop": 4, "uuid": None}, "needs a uuid"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(served: Any, batch: dict[str, Any], said: str) -> None:
    owner = served.owner()
    chosen = {} if said == "needs a snapshot" else {"snapshot": select(owner)["snapshot"]}
    reply = owner.ask("POST", "/api/batch", {"uuid": name()} | chosen | batch)
    assert reply.status in (400, 404)
    assert said in reply.json["error"]
    assert served.review.database.submit_read(lambda c: c.all("SELECT * FROM event")).result(30) == []
