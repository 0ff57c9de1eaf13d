"""Who may do what: every route against every role, and every object against everybody else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

ROLES = ("annotator", "curator", "admin")
LEAST = {
    ("POST", "/api/batch"): "curator",
    ("POST", "/api/export"): "curator",
    ("GET", "/api/people"): "curator",
    ("POST", "/api/people"): "admin",
    ("DELETE", "/api/people/{person}"): "admin",
    ("GET", "/people"): "admin",
}
"""Routes that not everybody with a session may use."""


def test_every_route_asks_for_its_role(served: Any) -> None:
    clients = {role: served.person(role) for role in ROLES}
    for route in served.app.routes:
        for method in sorted(route.methods - {"HEAD"}):
            least = LEAST.get((method, route.path), "annotator")
            path = route.path.replace("{person}", "99").replace("{item}", "0").replace("{side}", "192")
            for role, client in clients.items():
                reply = client.ask(method, path, None if method == "GET" else b"{}")
                refused = reply.status == 403
                assert refused == (ROLES.index(role) < ROLES.index(least)), (method, path, role, reply.body)


@pytest.fixture
def two(served: Any) -> tuple[Any, Any, Any]:
    return served, served.person("annotator", "Ana"), served.person("annotator", "Ben")


def test_nobody_undoes_what_another_did(two: Any) -> None:
    _, ana, ben = two
    name = str(uuid.uuid4())
    ana.event(0, "keep", uuid=name)
    reply = ben.ask("POST", "/api/undo", {"uuid": str(uuid.uuid4())})
    assert (reply.status, "nothing of yours" in reply.json["error"]) == (409, True)
    assert ben.ask("POST", "/api/undo", {"uuid": name}).status == 409
    undone = str(uuid.uuid4())
    assert ana.post("/api/undo", {"uuid": undone})["undone"] == {"kind": "keep", "count": 1, "batch": False}
    assert ben.ask("POST", "/api/undo", {"uuid": undone}).status == 409


def test_nobody_undoes_anothers_batch_by_its_name(two: Any) -> None:
    served, ana, _ = two
    cy, batch = served.person("curator"), str(uuid.uuid4())
    name = cy.post("/api/snapshots", {"query": ""})["snapshot"]
    cy.post("/api/batch", {"uuid": batch, "snapshot": name, "start": 2, "stop": 6, "kind": "reject"})
    ana.event(0, "keep", batch=batch)
    assert ana.post("/api/undo", {"uuid": str(uuid.uuid4()), "undoes": batch})["undone"]["count"] == 1
    assert ana.ask("POST", "/api/undo", {"uuid": str(uuid.uuid4()), "undoes": batch}).status == 409
    cards = cy.get("/api/cards?items=0,2,5")["cards"]
    assert [card["verdict"] for card in cards] == [None, "reject", "reject"]


def test_a_crop_lies_inside_its_image(two: Any) -> None:
    _, ana, _ = two
    width, height = (ana.get("/api/cards?items=3")["cards"][0][name] for name in ("width", "height"))
    for box, status in (
        ([0, 0, width, height], 200),
        ([0, 0, width + 1, 9], 400),
        ([0, 0, 9, height + 1], 400),
    ):
        event = {"uuid": str(uuid.uuid4()), "item": 3, "kind": "crop", "base": 0, "crop": box}
        reply = ana.ask("POST", "/api/events", {"events": [event]})
        assert reply.status == status
        assert status == 200 or f"{width} x {height} pixels" in reply.json["error"]


def test_who_was_lent_an_item_is_here_until_the_lease_ends(two: Any) -> None:
    served, ana, ben = two
    item = ana.get("/api/queue?n=1")["cards"][0]["item"]
    assert ben.get(f"/api/cards?items={item}")["cards"][0]["here"] == ["Ana"]
    served.clock.now += 300
    assert ben.get(f"/api/cards?items={item}")["cards"][0]["here"] == []


def test_nobody_uses_anothers_lease_or_uuid(two: Any) -> None:
    _, ana, ben = two
    lease = ana.get("/api/queue?n=2")["lease"]
    event = {"uuid": str(uuid.uuid4()), "item": 0, "kind": "keep", "base": 0}
    assert ben.ask("POST", "/api/events", {"events": [event | {"lease": lease}]}).status == 403
    assert ben.ask("POST", "/api/queue/renew", {"lease": lease}).status == 409
    assert ana.ask("POST", "/api/events", {"events": [event | {"lease": lease}]}).status == 200
    assert ben.ask("POST", "/api/events", {"events": [event]}).status == 409


def test_nobody_sees_anothers_selection(two: Any) -> None:
    _, ana, ben = two
    name = ana.post("/api/snapshots", {"query": ""})["snapshot"]
    for path in ("order", "cards"):
        assert ana.ask("GET", f"/api/snapshots/{name}/{path}").status == 200
        assert ben.ask("GET", f"/api/snapshots/{name}/{path}").status == 404


def test_a_curator_batches_on_their_own_selection_only(served: Any) -> None:
    ana, cy = served.person("curator"), served.person("curator")
    name = ana.post("/api/snapshots", {"query": ""})["snapshot"]
    batch = {"uuid": str(uuid.uuid4()), "snapshot": name, "stop": 3, "kind": "keep"}
    assert cy.ask("POST", "/api/batch", batch).status == 404
    assert ana.post("/api/batch", batch)["count"] == 3
    mine = cy.post("/api/snapshots", {"query": ""})["snapshot"]
    assert cy.ask("POST", "/api/batch", batch | {"snapshot": mine}).status == 409, "somebody else's uuid"


def test_keys_are_each_persons_own(two: Any) -> None:
    _, ana, ben = two
    assert ana.ask("PUT", "/api/keys", {"keys": {"keep": "k"}, "single_keys": False}).status == 200
    assert ana.get("/api/me")["keys"] == {"keep": "k"}
    assert ana.get("/api/me")["single_keys"] is False
    assert ben.get("/api/me")["keys"] == {}


def test_an_annotator_sees_no_verdict_but_their_own_where_several_judge(hats: Any, serving: Any) -> None:
    served = serving(hats, votes_required=2)
    ana, ben, cy = served.person("annotator"), served.person("annotator"), served.person("curator")
    ana.event(0, "reject", reasons=["hands"])
    seen = {who: client.get("/api/cards?items=0")["cards"][0] for who, client in (("ana", ana), ("ben", ben))}
    assert (seen["ana"]["verdict"], seen["ana"]["reasons"]) == ("reject", ["hands"])
    assert (seen["ben"]["verdict"], seen["ben"]["reasons"], seen["ben"]["by"]) == (None, [], None)
    ben.event(0, "reject", base=0)
    assert cy.get("/api/cards?items=0")["cards"][0]["verdict"] == "reject"


def test_the_overview_tells_an_annotator_no_verdicts_of_others_where_several_judge(
    hats: Any, serving: Any
) -> None:
    served = serving(hats, votes_required=2)
    ana, ben, cy = (
        served.person("annotator", "Ana"),
        served.person("annotator", "Ben"),
        served.person("curator"),
    )
    ana.event(0, "reject", reasons=["hands"])
    ben.event(0, "reject", reasons=["hands"])
    ana.event(1, "reject")
    ben.event(1, "keep")
    told = ben.get("/api/overview")
    assert (told["reasons"], told["disagreed"]) == ({}, [])
    assert [(line["name"], line["keep_share"]) for line in told["people"]] == [("Ben", 0.5)]
    assert cy.get("/api/overview")["disagreed"] == [1]
    assert cy.get("/api/overview")["reasons"] == {"hands": 1}
