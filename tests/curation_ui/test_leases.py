"""Leases: nothing is lent twice, nothing is stranded, and every item gets its votes."""

from __future__ import annotations

import random
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from curation_ui.leases import TTL_S, lend
from curation_ui.schema import TABLES

ROBOTS = 8
ROUNDS = 400


def ids(queue: dict[str, Any]) -> list[int]:
    return [card["item"] for card in queue["cards"]]


def test_two_people_get_different_items_and_time_gives_them_back(served: Any) -> None:
    ana, ben = served.person("annotator"), served.person("annotator")
    first, second = ana.get("/api/queue?n=16"), ben.get("/api/queue?n=40")
    assert ids(first) == list(range(16))
    assert ids(second) == list(range(16, 40))
    assert (first["left"], first["expires_in"]) == (40, 120)
    assert ben.get("/api/queue?n=4")["cards"][0]["item"] == 16, "their own again, where nothing else is left"
    served.clock.now += TTL_S + 1
    assert ids(ben.get("/api/queue?n=40")) == list(range(40))
    assert ana.ask("POST", "/api/queue/renew", {"lease": first["lease"]}).status == 409
    assert ana.event(0, "keep", lease=first["lease"])["status"] == "done", (
        "a late decision counts all the same"
    )


def test_renewing_holds_and_releasing_gives_back(served: Any) -> None:
    ana, ben = served.person("annotator"), served.person("annotator")
    lease = ana.get("/api/queue?n=30")["lease"]
    served.clock.now += TTL_S - 1
    assert ana.post("/api/queue/renew", {"lease": lease, "item": 3})["expires_in"] == 120
    served.clock.now += TTL_S - 1
    assert ids(ben.get("/api/queue?n=40")) == list(range(30, 40))
    assert ben.get("/api/cards?items=3")["cards"][0]["here"] == ["annotator 0"]
    ben.post("/api/queue/release", {"lease": lease})
    assert len(ids(ben.get("/api/queue?n=40"))) == 10, "not theirs to give back"
    ana.post("/api/queue/release", {"lease": lease})
    served.person("annotator").get("/api/queue?n=1")
    assert len(ids(ben.get("/api/queue?n=40"))) == 39


def test_a_decided_item_is_not_lent_again_and_an_undone_one_is(served: Any) -> None:
    ana, ben = served.person("annotator"), served.person("annotator")
    ana.get("/api/queue?n=2")
    ana.event(0, "keep")
    assert 0 not in ids(ben.get("/api/queue?n=64"))
    ana.post("/api/undo", {"uuid": str(uuid.uuid4())})
    ana.event(1, "reject")
    served.clock.now += TTL_S + 1
    found = ids(ben.get("/api/queue?n=64"))
    assert 0 in found
    assert 1 not in found


def test_a_place_among_the_votes_is_lent_once(served: Any) -> None:
    [owner] = served.review.database.submit(lambda c: c.all("SELECT id FROM person")).result(30)
    row = ("INSERT INTO lease VALUES ('a', 0, ?, 't', 0)", owner)
    served.review.database.submit(lambda c: c.run(*row)).result(30)
    with pytest.raises(Exception, match="UNIQUE"):
        served.review.database.submit(lambda c: c.run(*row)).result(30)
    assert any("PRIMARY KEY (sample_id, slot)" in table for table in TABLES)


@pytest.mark.parametrize("votes", [1, 3])
def test_robots_that_vanish_leave_every_item_with_its_votes(hats: Any, serving: Any, votes: int) -> None:
    served = serving(hats, votes_required=votes)
    robots = [served.person("annotator") for _ in range(ROBOTS)]
    lent: set[tuple[int, str]] = set()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            robot(served, robots[number], random.Random(number), lent)
        except BaseException as error:  # told by the test below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(ROBOTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    served.clock.now += TTL_S + 1
    finish(robots)
    check_votes(served, votes)


def robot(served: Any, me: Any, rng: random.Random, lent: set[tuple[int, str]]) -> None:
    """Works, vanishes with what it holds, comes back late, resends what it was not told of."""
    for _ in range(ROUNDS):
        queue = me.get(f"/api/queue?n={rng.randint(1, 4)}")
        if not queue["left"]:
            return
        fate = rng.random()
        if fate < 0.2:  # closes the lid
            served.clock.now += TTL_S / 3
            continue
        if fate < 0.3:
            me.post("/api/queue/release", {"lease": queue["lease"]})
            continue
        news = [
            {
                "uuid": str(uuid.uuid4()),
                "item": item,
                "kind": rng.choice(["keep", "keep", "reject"]),
                "base": 0,
                "lease": queue["lease"],
            }
            for item in ids(queue)
        ]
        me.post("/api/events", {"events": news})
        if fate < 0.5:  # the answer was lost
            again = me.post("/api/events", {"events": news})["results"]
            assert {result["status"] for result in again} <= {"repeat"}


def finish(robots: list[Any]) -> None:
    """One after the other does what is left."""
    for me in robots:
        for _ in range(ROUNDS):
            queue = me.get("/api/queue?n=16")
            if not queue["cards"]:
                break
            for item in ids(queue):
                me.event(item, "keep", lease=queue["lease"])


def check_votes(served: Any, votes: int) -> None:
    from curation_ui.overview import all_states

    states = served.review.database.submit_read(all_states).result(30)
    assert len(states) == len(served.review.catalog)
    for state in states.values():
        assert len(state.votes) == votes
        assert len({vote.person for vote in state.votes}) == votes
        assert {vote.slot for vote in state.votes} == set(range(votes))
    assert served.review.board.open_items().sum() == 0
    events = served.review.database.submit_read(
        lambda c: c.one("SELECT count(*), count(DISTINCT uuid) FROM event")
    ).result(30)
    seconds = sum(len(state.seconds) for state in states.values())
    assert events[0] == events[1] == votes * len(states) + seconds, "nothing is lost, nothing counted twice"


def test_a_lease_is_lent_in_order_at_the_end_of_a_long_queue(served: Any) -> None:
    board = served.review.board
    board.votes[:39] = 1
    found = served.review.database.submit(lambda c: lend(c, board, 1, 5, served.clock())).result(30)
    assert found.items == (39,)


def test_the_lock_of_a_queue_is_one_servers(hats: Any, serving: Any, cli: Any, tmp_path: Path) -> None:
    serving(hats)
    done = cli("curate", "hats", "--store", hats[0].url, "--port", 0)
    assert done.code == 1
    assert "another review server has this queue open (process " in done.message
