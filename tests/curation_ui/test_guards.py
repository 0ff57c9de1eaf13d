"""Who may reach the server and how: each rule of its security, over real sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from curation_ui.access import INVITE_S, SESSION_S
from curation_ui.guards import BODY_BYTES, CSP, Limits, TooMany

PAGES = ("/review", "/enter", "/api/me", "/image/0", "/nothing", "/static/x/y.js")


def test_a_link_works_once_and_becomes_a_cookie_that_scripts_cannot_read(served: Any) -> None:
    token = served.review.enter_token
    stranger = served.stranger()
    reply = stranger.ask("POST", "/api/enter", {"token": token, "name": "Ana"})
    assert reply.json == {"person": {"id": 1, "name": "Ana", "role": "admin"}}
    attributes = {part.strip().lower() for part in reply.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert "secure" not in attributes, "no TLS here"
    again = served.stranger().ask("POST", "/api/enter", {"token": token})
    assert (again.status, "used before" in again.json["error"]) == (401, True)
    assert len(token) >= 43, "256 bits"


def test_the_cookie_is_for_tls_only_where_there_is_tls(hats: Any, serving: Any) -> None:
    served = serving(hats, public_url="https://curate.example.org", hosts=("127.0.0.1",))
    reply = served.stranger().ask("POST", "/api/enter", {"token": served.review.enter_token})
    assert "secure" in reply.headers["set-cookie"].lower()


def test_tokens_and_sessions_are_kept_as_hashes_only(served: Any, hats: Any) -> None:
    token = served.review.enter_token
    key = served.owner().cookie.partition("=")[2]
    invited = served.person("annotator")
    folder = Path((hats[0].root / "curation" / "hats").path)
    kept = b"".join(file.read_bytes() for file in folder.iterdir())
    for secret in (token, key, invited.cookie.partition("=")[2]):
        assert secret.encode() not in kept


def test_links_and_sessions_end(served: Any) -> None:
    owner = served.owner()
    link = owner.post("/api/people", {"name": "Ben"})["link"]
    served.clock.now += INVITE_S + 1
    token = link.partition("#")[2]
    assert served.stranger().ask("POST", "/api/enter", {"token": token}).status == 401
    served.clock.now += SESSION_S
    assert owner.ask("GET", "/api/me").status == 401


def test_a_removed_person_is_out_at_once_and_what_they_did_stays(served: Any) -> None:
    owner, ben = served.owner(), served.person("annotator", "Ben")
    ben.event(0, "keep")
    person = ben.get("/api/me")["person"]["id"]
    assert owner.ask("DELETE", f"/api/people/{person}", b"{}").status == 200
    assert ben.ask("GET", "/api/me").status == 401
    assert owner.get("/api/cards?items=0")["cards"][0]["by"] == "Ben"
    assert owner.ask("DELETE", "/api/people/1", b"{}").status == 409, "the owner stays"
    assert owner.ask("DELETE", "/api/people/99", b"{}").status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "127.0.0.2"]
)
def test_only_its_own_names_are_answered(served: Any, host: str) -> None:
    for path in PAGES:
        assert served.stranger().ask("GET", path, headers={"Host": host}).status == 421


def test_its_own_names_are_answered_with_and_without_a_port(served: Any) -> None:
    for host in ("127.0.0.1", "LOCALHOST", f"localhost:{served.port}", "[::1]:1"):
        assert served.stranger().ask("GET", "/enter", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": None},
        {"Sec-Fetch-Site": None, "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": None, "Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": None},
    ],
)
def test_a_change_comes_from_its_own_pages_as_json(served: Any, headers: dict[str, str | None]) -> None:
    owner = served.owner()
    for method, path in (
        ("POST", "/api/events"),
        ("POST", "/api/undo"),
        ("PUT", "/api/keys"),
        ("DELETE", "/api/people/2"),
    ):
        assert owner.ask(method, path, {"events": []}, headers).status in (403, 415)
    origin = {"Sec-Fetch-Site": None, "Origin": f"http://127.0.0.1:{served.port}"}
    assert owner.ask("POST", "/api/events", {"events": []}, origin).status == 200


def test_other_sites_may_link_here_and_no_more(served: Any) -> None:
    owner = served.owner()
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert owner.ask("GET", "/enter", headers=linked).status == 200
    for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
        assert owner.ask("GET", "/image/0", headers=headers).status == 403


def test_every_answer_carries_the_policy_and_none_opens_the_door(served: Any) -> None:
    owner = served.owner()
    assert "unsafe" not in CSP
    for path in PAGES:
        for client in (owner, served.stranger()):
            headers = client.ask("GET", path, headers={"Origin": "http://evil.example"}).headers
            assert headers["content-security-policy"] == CSP
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["referrer-policy"] == "no-referrer"
            assert not [name for name in headers if name.startswith("access-control-")]
            assert "server" not in headers


def test_nothing_but_the_door_opens_without_a_session(served: Any) -> None:
    for route in served.app.routes:
        path = route.path.replace("{digest}/{name:path}", "x/y.js").replace("{item}", "0")
        for name in ("{side}", "{cluster}", "{snapshot}", "{column}", "{person}", "{column:path}"):
            path = path.replace(name, "192")
        for method in sorted(route.methods - {"HEAD"}):
            body = None if method == "GET" else b"{}"
            reply = served.stranger().ask(method, path, body)
            if path.startswith(("/api", "/image", "/thumb")) and path != "/api/enter":
                assert reply.status == 401, (method, path)
            else:
                assert reply.status in (200, 204, 303, 400, 404), (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/image/../../etc/passwd",
        "/image/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/image//etc/passwd",
        "/image/0%00",
        "/image/-1",
        "/image/40",
        "/image/1e1",
        "/image/%D9%A1",
        "/image/" + "9" * 300,
        "/thumb/0/193",
        "/thumb/0/..",
        "/thumb/x/192",
        "/static/../app.py",
        "/api/clusters/..%2f..",
        "/api/snapshots/..%2f..%2fx/order",
    ],
)
def test_no_path_from_outside_reaches_the_disk(served: Any, path: str) -> None:
    owner = served.owner()
    reply = owner.ask("GET", path)
    assert reply.status == 404
    assert b"root:" not in reply.body
    digest = served.app.state.static.digest
    for name in ("../app.py", "%2e%2e/app.py", "..%2f..%2fstore/store.py", "/etc/passwd"):
        assert owner.ask("GET", f"/static/{digest}/{name}").status == 404


def test_a_body_is_limited_also_when_it_does_not_say_how_long_it_is(served: Any) -> None:
    owner = served.owner()
    assert owner.ask("POST", "/api/tokens", b" " * (BODY_BYTES + 1)).status == 413
    with socket.create_connection(("127.0.0.1", served.port), 30) as raw:
        head = f"POST /api/tokens HTTP/1.1\r\nHost: localhost\r\nCookie: {owner.cookie}\r\n"
        head += "Content-Type: application/json\r\nSec-Fetch-Site: same-origin\r\n"
        raw.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        piece = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        for _ in range(9):
            raw.sendall(piece)
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"events": 1}',
        b'{"events": [{}]}',
        b'{"events": [{"uuid": "x", "item": 0, "kind": "keep", "base": 0}]}',
        b'{"events": [{"uuid": "12345678", "item": -1, "kind": "keep", "base": 0}]}',
        b'{"events": [{"uuid": "12345678", "item": 0, "kind": "drop", "base": 0}]}',
        b'{"events": [{"uuid": "12345678", "item": 0, "kind": "reject", "base": 0, "reasons": ["<b>"]}]}',
        b'{"events": [{"uuid": "12345678", "item": 0, "kind": "reject", "base": 0, "reasons": ["unheard"]}]}',
        b'{"events": [{"uuid": "12345678", "item": 0, "kind": "keep", "base": 0, "more": 1}]}',
        b'{"events": [{"uuid": "12345678", "item": 99, "kind": "keep", "base": 0}]}',
        b'{"events": [{"uuid": "12345678", "item": 0, "kind": "caption", "base": 0, "caption": "\\ud800"}]}',
        b'{"events": [{"uuid": "12345678", "item": 0, "kind": "caption", "base": 0, "caption": "\xff"}]}',
    ],
)
def test_what_is_not_understood_is_refused_with_a_sentence(served: Any, body: bytes) -> None:
    owner = served.owner()
    reply = owner.ask("POST", "/api/events", body)
    assert reply.status == 400, reply.body
    assert reply.json["error"]
    assert served.review.database.submit_read(lambda c: c.all("SELECT * FROM event")).result(30) == []


HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\u202eevil",
    "=1+1",
    "a" * 8192,
)


@pytest.mark.parametrize("caption", HOSTILE)
def test_hostile_words_come_back_as_they_were_and_only_as_json(served: Any, caption: str) -> None:
    owner = served.owner()
    owner.event(0, "caption", caption=caption)
    reply = owner.ask("GET", "/api/cards?items=0")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["cards"][0]["caption"] == caption
    assert caption.encode() not in owner.ask("GET", "/review").body
    owner.ask("PUT", "/api/keys", {"keys": {caption[:100]: "x"}})
    assert owner.get("/api/me")["keys"] == {caption[:100]: "x"}


def test_who_asks_too_fast_is_told_when_to_come_back(served: Any) -> None:
    owner = served.owner()
    now = [0.0]
    served.app.state.limits["events"] = Limits(50, 200, lambda: now[0])
    news = [{"uuid": f"{n:08d}", "item": n % 40, "kind": "keep", "base": 0} for n in range(200)]
    assert owner.ask("POST", "/api/events", {"events": news}).status == 200
    reply = owner.ask("POST", "/api/events", {"events": news[:100]})
    assert (reply.status, reply.headers["retry-after"]) == (429, "2")
    now[0] += 2
    assert owner.ask("POST", "/api/events", {"events": news[:100]}).status == 200
    too_many = {"events": [*news, news[0]]}
    assert owner.ask("POST", "/api/events", too_many).status == 400


def test_guessing_links_is_slow(served: Any) -> None:
    stranger = served.stranger()
    statuses = [stranger.ask("POST", "/api/enter", {"token": f"guess {n}"}).status for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    limits = Limits(2, 4, lambda: now[0])
    limits.take("a", 4)
    with pytest.raises(TooMany) as error:
        limits.take("a", 1)
    assert error.value.wait_s == 0.5
    limits.take("b", 4)
    now[0] += 100
    limits.take("a", 4)
    with pytest.raises(TooMany):
        limits.take("a", 1)
