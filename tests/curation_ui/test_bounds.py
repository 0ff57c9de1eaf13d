"""What a request may not do to others: odd values, other people's selections, errors, doors shut on many."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from curation_ui.guards import CSP
from curation_ui.snapshots import MOST, Snapshots
from pipelines.curate_command import allowed_hosts
from store.errors import MashbillError


def tars(hats: Any) -> list[Path]:
    return sorted(Path(hats[0].root.path).glob("sources/*/shards/*.tar"))


def asked(client: Any) -> str:
    return str(client.post("/api/snapshots", {"query": ""})["snapshot"])


def event(**more: Any) -> dict[str, Any]:
    return {"uuid": str(uuid.uuid4()), "item": 0, "kind": "keep", "base": 0, **more}


def test_the_name_of_a_selection_means_nothing_to_the_next_server(hats: Any, serving: Any) -> None:
    served = serving(hats)
    owner = served.owner()
    names = [asked(owner) for _ in range(3)]
    served.app.state.snapshots = Snapshots()  # as after a start
    assert not {asked(owner) for _ in range(3)} & set(names)
    assert all(len(name) == 33 for name in names), "128 bits"
    assert {owner.ask("GET", f"/api/snapshots/{name}/order").status for name in names} == {404}


def test_nobody_crowds_out_the_selections_of_another(served: Any) -> None:
    owner, ben = served.owner(), served.person("curator")
    kept = asked(ben)
    own = [asked(owner) for _ in range(MOST + 2)]
    assert ben.ask("GET", f"/api/snapshots/{kept}/order").status == 200
    statuses = [owner.ask("GET", f"/api/snapshots/{name}/order").status for name in own]
    assert statuses == [404] * 2 + [200] * MOST


@pytest.mark.parametrize("base", [2**40, 2**63, 2**70, -1])
def test_a_version_that_cannot_be_is_refused_and_harms_no_other(served: Any, base: int) -> None:
    owner = served.owner()
    reply = owner.ask("POST", "/api/events", {"events": [event(base=base)]})
    assert (reply.status, "base" in reply.json["error"]) == (400, True)
    assert owner.event(1, "keep")["status"] == "done"


NULS = {
    "events[0].at": ("/api/events", {"events": [event(at="2026\0")]}),
    "events[1].caption": ("/api/events", {"events": [event(), event(kind="caption", caption="a\0b")]}),
    "events[0].uuid": ("/api/events", {"events": [event(uuid="12345678\0")]}),
    "events[0].reasons[0]": ("/api/events", {"events": [event(kind="reject", reasons=["hands\0"])]}),
    "events[0].lease": ("/api/events", {"events": [event(lease="a\0")]}),
    "name": ("/api/people", {"name": "B\0en"}),
    "token": ("/api/enter", {"token": "\0"}),
    "a name in keys": ("/api/keys", {"keys": {"a\0": "k"}}),
    "keys.keep": ("/api/keys", {"keys": {"keep": "\0"}}),
    "find": ("/api/batch", {"kind": "caption", "find": "\0", "stop": 1}),
    "query": ("/api/snapshots", {"query": "\0"}),
}


@pytest.mark.parametrize("field", NULS)
def test_nul_is_refused_with_the_name_of_its_field(served: Any, field: str) -> None:
    path, body = NULS[field]
    reply = served.owner().ask("PUT" if path == "/api/keys" else "POST", path, body)
    assert (reply.status, field in reply.json["error"]) == (400, True), reply.body


def test_what_only_looks_like_nul_is_a_caption(served: Any) -> None:
    assert served.owner().event(0, "caption", caption=r"the text \u0000")["status"] == "done"


def test_a_uuid_does_not_end_with_a_new_line(served: Any) -> None:
    reply = served.owner().ask("POST", "/api/events", {"events": [event(uuid="12345678\n")]})
    assert reply.status == 400


def test_a_shard_that_is_a_link_is_not_shown(hats: Any, serving: Any, tmp_path: Path) -> None:
    for number, tar in enumerate(tars(hats)):
        outside = tmp_path / f"{number}.tar"
        tar.rename(outside)
        tar.symlink_to(outside)
    reply = serving(hats).owner().ask("GET", "/image/0")
    assert (reply.status, "a link" in reply.json["error"]) == (409, True)


def test_a_folder_that_leads_out_of_the_store_is_not_followed(
    hats: Any, serving: Any, tmp_path: Path
) -> None:
    folder = tars(hats)[0].parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert serving(hats).owner().ask("GET", "/image/0").status == 409


def test_a_shard_exchanged_for_a_link_later_is_noticed(hats: Any, served: Any, tmp_path: Path) -> None:
    owner = served.owner()
    assert owner.ask("GET", "/image/0").status == 200
    for number, tar in enumerate(tars(hats)):
        tar.rename(tmp_path / f"{number}.tar")
        tar.symlink_to(tmp_path / f"{number}.tar")
    assert owner.ask("GET", "/image/0").status == 409


def test_a_shard_changed_before_its_first_read_is_noticed(hats: Any, served: Any) -> None:
    for tar in tars(hats):
        tar.write_bytes(bytes(tar.stat().st_size))
        os.utime(tar, ns=(1, 1))
    assert served.owner().ask("GET", "/image/0").status == 409


def test_failures_of_others_at_one_address_keep_nobody_out(served: Any) -> None:
    stranger = served.stranger()
    for number in range(8):
        stranger.ask("POST", "/api/enter", {"token": f"guess {number}"})
    assert stranger.ask("POST", "/api/enter", {"token": "one more"}).status == 429
    assert served.owner().ask("GET", "/api/me").status == 200


def test_many_may_enter_from_one_address(served: Any) -> None:
    owner = served.owner()
    links = [owner.post("/api/people", {"name": f"person {n}"})["link"] for n in range(12)]
    for link in links:
        served.enter(link.partition("#")[2])


def test_all_tries_together_have_an_end(served: Any) -> None:
    served.app.state.limits["entries"].burst = 3
    served.app.state.limits["entries"].per_s = 0.001  # nothing comes back while the test runs
    statuses = [served.stranger().ask("POST", "/api/enter", {"token": f"{n}"}).status for n in range(3)]
    assert statuses == [401] * 3
    assert served.stranger().ask("POST", "/api/enter", {"token": "x"}).status == 429


def test_an_unforeseen_error_has_the_headers_and_no_words_of_its_own(
    served: Any,
) -> None:
    owner = served.owner()
    served.app.state.snapshots = None
    reply = owner.ask("POST", "/api/snapshots", {"query": ""})
    assert reply.status == 500
    assert reply.headers["content-security-policy"] == CSP
    assert (reply.headers["x-content-type-options"], reply.headers["cache-control"]) == (
        "nosniff",
        "no-store",
    )
    assert reply.json == {"error": "something is wrong on this server"}


def test_an_error_of_the_store_tells_a_browser_no_path(
    served: Any, hats: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise MashbillError(f"{hats[0].url}/secret is gone")

    owner = served.owner()
    served.app.state.exporter.export = broken
    reply = owner.ask("POST", "/api/export", {})
    assert (reply.status, "secret" in reply.json["error"]) == (500, False)
    assert "/secret is gone" in capfd.readouterr().err


def test_the_address_that_is_printed_is_answered() -> None:
    assert "127.0.0.2" in allowed_hosts("127.0.0.2", "")
    assert allowed_hosts("::1", "") == ("127.0.0.1", "localhost", "[::1]")
    assert "0.0.0.0" not in allowed_hosts("0.0.0.0", "https://curate.example.org")
