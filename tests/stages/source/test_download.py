"""The real img2dataset against a hostile server on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.source.download import Fetch, download
from stages.source.img2dataset_python import VARIABLE, interpreter
from store.errors import MashbillError

BODY = b"\xff\xd8 the bytes of an image, untouched"
MAX_BYTES = 10_000
ROBOTS = b"User-agent: mashbill\nDisallow: /secret/\n"
REDIRECTS = {"/redirect": "/ok/target", "/loop": "/loop", "/to-file": "file:///etc/passwd"}
TAGS = {
    "/noai": "noai",
    "/noml": "noml",
    "/listed": "max-image-preview:large, noai",
    "/googlebot": "googlebot: noindex",
}


class Hostile(ThreadingHTTPServer):
    """Behaves by path; ``hits`` counts the requests, ``dripping`` the slow answers under way."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.hits: Counter[str] = Counter()
        self.dripping = 0
        self.outside = ""
        self.lock = threading.Lock()

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def url(self, path: str) -> str:
        return f"http://{self.at}{path}"

    def __enter__(self) -> Hostile:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    server: Hostile

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.hits[self.path] += 1
            hits = self.server.hits[self.path]
        if self.path.startswith("/drip"):
            self.drip()
        elif self.path == "/to-outside":
            self.answer(302, b"", Location=self.server.outside)
        elif self.path in REDIRECTS:
            self.answer(302, b"", Location=REDIRECTS[self.path])
        elif self.path in TAGS:
            self.answer(200, BODY, **{"X-Robots-Tag": TAGS[self.path]})
        elif self.path.startswith("/status/"):
            self.answer(int(self.path.rpartition("/")[2]), b"")
        elif self.path == "/flaky":
            self.answer(503 if hits == 1 else 200, BODY)
        elif self.path == "/short":
            self.answer(200, BODY, **{"Content-Length": "9999"})
        else:
            bodies = {"/empty": b"", "/big": b"x" * (MAX_BYTES + 1), "/robots.txt": ROBOTS}
            self.answer(200, bodies.get(self.path, BODY))
        if self.path == "/ok/last":  # the network goes down after this answer
            threading.Thread(target=self.server.__exit__, daemon=True).start()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        if self.path != "/big":  # without a length: read until it ends
            headers.setdefault("Content-Length", str(len(body)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        self.server.dripping += 1
        try:
            if self.path == "/drip/body":
                self.answer(200, b"", **{"Content-Length": "5000"})
            for _ in range(600):
                self.wfile.write(b"x")
                time.sleep(0.1)
        except OSError:
            pass  # the other side hung up: what the tests wait for
        finally:
            self.server.dripping -= 1


@pytest.fixture
def server() -> Iterator[Hostile]:
    with Hostile() as running:
        yield running


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def group_members(leader: int) -> list[int]:
    """Living processes of a process group."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,pgid=,state="], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in listing.stdout.splitlines()]
        return [int(pid) for pid, group, state in rows if int(group) == leader and state[0] != "Z"]
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it ended meanwhile
        if int(group) == leader and state != "Z":
            members.append(int(stat.parent.name))
    return members


def launcher(scratch: Path) -> int:
    return int((scratch / "round-1" / "log").read_text().split()[1])


def test_every_url_comes_back_once_with_its_reason(server: Hostile, tmp_path: Path) -> None:
    with Hostile() as private:
        server.outside = private.url("/secret.jpg")
        refused = f"127.0.0.1:{closed_port()}"
        local = private.url("/a.jpg").replace("127.0.0.1", "localhost")
        expected = {
            server.url("/ok/1"): (None, 1),
            server.url("/ok/ü x?q=ä"): (None, 1),
            server.url("/redirect"): (None, 1),
            server.url("/googlebot"): (None, 1),
            server.url("/flaky"): (None, 2),
            server.url("/status/404"): ("http_404", 1),
            server.url("/status/410"): ("http_410", 1),
            server.url("/status/500"): ("http_500", 2),
            server.url("/loop"): ("redirect", 1),
            server.url("/to-file"): ("redirect", 1),
            server.url("/to-outside"): ("address_private", 1),
            local: ("address_private", 1),
            server.url("/noai"): ("opt_out", 1),
            server.url("/noml"): ("opt_out", 1),
            server.url("/listed"): ("opt_out", 1),
            server.url("/secret/1"): ("opt_out", 1),
            server.url("/drip/body"): ("timeout", 1),
            server.url("/drip/headers"): ("timeout", 1),
            server.url("/big"): ("too_many_bytes", 1),
            server.url("/empty"): ("empty", 1),
            server.url("/short"): ("download_failed", 2),
            f"http://{refused}/a": ("refused", 2),
            "http://nosuchhost.invalid/a": ("dns", 2),
            "file:///etc/passwd": ("url_invalid", 0),
            "http://10.0.0.1/x.jpg": ("address_private", 0),
            None: ("url_missing", 0),
        }
        urls = [*expected, server.url("/ok/1"), None, server.url("/ok/1")]
        fetch = Fetch(3.0, 4.0, MAX_BYTES, attempts=2, allow_private=(server.at, refused))
        heard: list[int] = []
        results = download(urls, fetch, tmp_path, heard.append)

        assert [result.url for result in results] == urls
        assert {result.url: (result.reason, result.attempts) for result in results} == expected
        assert all((result.image == BODY) == (result.reason is None) for result in results)
        assert all(result.detail for result in results if result.reason)
        assert not private.hits
    assert server.hits["/ok/1"] == 1
    assert not any(path.startswith("/secret") for path in server.hits)
    assert server.hits["/robots.txt"] == 2, "once per host and round"
    assert heard == sorted(heard)
    assert heard[-1] == len(urls)
    # A column of another type made img2dataset drop rows; it never gets to see one.
    assert pq.read_schema(tmp_path / "round-1" / "urls.parquet").names == ["row", "url"]
    settings = json.loads((tmp_path / "round-1" / "settings.json").read_text())
    assert settings["call"]["save_additional_columns"] == ["row"]
    assert not group_members(launcher(tmp_path))


def test_an_outage_is_an_error_and_not_a_result(tmp_path: Path) -> None:
    closed = f"127.0.0.1:{closed_port()}"
    with pytest.raises(MashbillError, match=r"network looks down: 8 URLs .* Nothing was recorded"):
        download(
            [f"http://{closed}/{name}" for name in range(8)],
            Fetch(attempts=1, allow_private=(closed,)),
            tmp_path,
        )


def test_an_outage_that_begins_halfway_is_noticed(tmp_path: Path) -> None:
    closed = f"127.0.0.1:{closed_port()}"
    with Hostile() as server:
        fetch = Fetch(attempts=2, threads=1, allow_private=(closed, server.at))
        urls = [*(f"http://{closed}/{name}" for name in range(8)), server.url("/ok/last")]
        with pytest.raises(MashbillError, match="URLs that had answered before no longer do"):
            download(urls, fetch, tmp_path)


@pytest.mark.parametrize("victim", ["launcher", "worker"])
def test_a_killed_downloader_is_a_clear_error(server: Hostile, tmp_path: Path, victim: str) -> None:
    def kill() -> None:
        if until(lambda: server.dripping > 0, 60):
            leader = launcher(tmp_path)
            workers = [pid for pid in group_members(leader) if pid != leader]
            for pid in [leader] if victim == "launcher" else workers:
                os.kill(pid, signal.SIGKILL)

    fetch = Fetch(deadline_s=60, threads=1, allow_private=(server.at,))
    urls = [server.url("/drip/body"), server.url("/ok/1")]
    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(MashbillError, match=r"ended without a result .*last words") as caught:
        download(urls, fetch, tmp_path)
    assert victim == "launcher" or "was killed; out of memory?" in str(caught.value)
    assert until(lambda: server.dripping == 0), "the worker still holds its connection"
    assert until(lambda: not group_members(launcher(tmp_path)))


def test_nothing_is_left_when_the_caller_is_killed(server: Hostile, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from stages.source.download import Fetch, download\n"
        "download([sys.argv[1]], Fetch(deadline_s=60, allow_private=(sys.argv[2],)), Path(sys.argv[3]))"
    )
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", program, server.url("/drip/body"), server.at, str(tmp_path)]
    caller = subprocess.Popen(command, cwd=root)
    try:
        assert until(lambda: server.dripping == 1 or caller.poll() is not None, 60)
        assert caller.poll() is None
        leader = launcher(tmp_path)
        assert len(group_members(leader)) > 1
    finally:
        caller.kill()
        caller.wait()
    assert until(lambda: server.dripping == 0 and not group_members(leader))


def test_a_missing_interpreter_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "python"))
    with pytest.raises(
        MashbillError, match=r"cannot be run(.|\n)*-m venv (.|\n)*install -c .*img2dataset==1.47.0"
    ):
        interpreter()
    monkeypatch.setenv(VARIABLE, sys.executable)
    with pytest.raises(MashbillError, match="cannot be used"):
        interpreter()


def test_nothing_to_fetch_starts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "python"))
    results = download([None, "file:///a"], Fetch(), tmp_path)
    assert [result.reason for result in results] == ["url_missing", "url_invalid"]
    assert download([], Fetch(), tmp_path) == []
