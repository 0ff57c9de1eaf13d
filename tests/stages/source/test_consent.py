"""robots.txt by RFC 9309, ``X-Robots-Tag``, and which addresses and URLs are let through."""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stages.source.consent import Consent, opted_out, robots_allow, robots_rules
from stages.source.failures import reason_for
from stages.source.fetch_guards import Opener, is_public
from stages.source.urls import as_sent, refusal

ROBOTS = """\ufeff# for everybody
User-agent: *
Disallow: /

User-Agent: Mashbill/2.0
user-agent: otherbot
Disallow: /secret/   # ours
Allow: /secret/open
Disallow: /*.png$
Disallow:
disallow: /caf%C3%A9

User-agent: mashbill
Disallow: /also
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/secret/a.jpg", False),
        ("/secret/open/a.jpg", True),
        ("/a/b.png", False),
        ("/a/b.png?x=1", True),
        ("/also/a.jpg", False),
        ("/café/a.jpg", False),
        ("/caf%c3%a9/a.jpg", False),
    ],
)
def test_robots_rules_of_our_own_groups(path: str, allowed: bool) -> None:
    assert robots_allow(robots_rules(ROBOTS, "mashbill"), path) is allowed


def test_robots_rules_for_everybody_and_for_nobody() -> None:
    assert not robots_allow(robots_rules(ROBOTS, "stranger"), "/a.jpg")
    assert robots_allow(robots_rules("<html>not found</html>", "mashbill"), "/a.jpg")


def test_hostile_robots_txt_costs_no_time() -> None:
    began = time.monotonic()
    rules = robots_rules("User-agent: *\nDisallow: /" + "*a" * 50_000 + "b$\n", "mashbill")
    assert robots_allow(rules, "/" + "a" * 50_000)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("value", "directive"),
    [
        ("noai", "noai"),
        ("all, NoML", "noml"),
        ("none", "none"),
        ("max-image-preview:large, noimageai", "noimageai"),
        ("mashbill: noindex", "noindex"),
        ("googlebot: noindex, noai", None),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST", None),
        ("nofollow", None),
    ],
)
def test_x_robots_tag(value: str, directive: str | None) -> None:
    headers = Message()
    headers["X-Robots-Tag"] = value
    assert opted_out(headers, "mashbill") == directive


@contextmanager
def serving(robots_status: int) -> Iterator[str]:
    """The address of a server that has images, and answers robots.txt with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(robots_status if self.path == "/robots.txt" else 200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"bytes")

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join(30)


def asking() -> Opener:
    opener = Opener(1000, 10.0)
    opener.add_handler(Consent("mashbill"))
    return opener


@pytest.mark.parametrize("status", [500, 503, 599])
def test_a_server_error_for_robots_txt_forbids_everything(status: int) -> None:
    opener = asking()
    with serving(status) as server:
        for path in ("/a.jpg", "/b.jpg"):
            with pytest.raises(urllib.error.URLError, match=f"answered with status {status}.*RFC 9309") as no:
                opener.open(server + path, timeout=5)
            assert reason_for(str(no.value)) == "opt_out"


@pytest.mark.parametrize("status", [200, 401, 404, 429])
def test_no_robots_txt_forbids_nothing(status: int) -> None:
    with serving(status) as server, asking().open(server + "/a.jpg", timeout=5) as response:
        assert response.read() == b"bytes"


PRIVATE = """
127.0.0.1 10.0.0.1 192.168.1.1 172.16.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
::1 :: fe80::1%eth0 fc00::1 fec0::1 ff02::1 ::ffff:127.0.0.1 2002:7f00:1:: 64:ff9b::a00:1
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "url_missing"),
        ("  ", "url_missing"),
        ("a.jpg", "url_invalid"),
        ("file:///etc/passwd", "url_invalid"),
        ("ftp://example.com/a.jpg", "url_invalid"),
        ("data:image/png;base64,AAAA", "url_invalid"),
        ("http:///a.jpg", "url_invalid"),
        ("http://[::1/a.jpg", "url_invalid"),
        ("http://example.com:99999/", "url_invalid"),
        ("http://user:word@example.com/", "url_invalid"),
        ("http://exa mple.com/", "url_invalid"),
        ("http://example.com/a\x00.jpg", "url_invalid"),
        ("http://example.com/\ud800.jpg", "url_invalid"),
        ("http://10.0.0.1/x.jpg", "address_private"),
        ("http://[::1]:80/x.jpg", "address_private"),
        ("http://127.0.0.1:81/x.jpg", "address_private"),
        ("http://127.0.0.1/x.jpg", None),
        ("HTTPS://example.com/x.jpg", None),
    ],
)
def test_refusal(url: str | None, reason: str | None) -> None:
    refused = refusal(url, ("127.0.0.1:80",))
    assert (refused[0] if refused else None) == reason


def test_urls_are_sent_as_browsers_send_them() -> None:
    assert as_sent(" http://a.example/ü b%20c.jpg?q=ä&r=1#top ") == (
        "http://a.example/%C3%BC%20b%20c.jpg?q=%C3%A4&r=1"
    )
