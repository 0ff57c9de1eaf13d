"""The crawl server, asked over real sockets."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from store.errors import MashbillError
from tinyworld.__main__ import main
from tinyworld.server import CrawlServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrawlServer]:
    folder = tmp_path_factory.mktemp("served")
    for manner in ("ok", "forbidden", "flaky", "noai", "noimageai", "slow"):
        (folder / "www" / manner).mkdir(parents=True)
        (folder / "www" / manner / "a.jpg").write_bytes(f"{manner} picture".encode())
    (folder / "www" / "ok" / "empty.jpg").write_bytes(b"")
    (folder / "secret.txt").write_bytes(b"not to be served")
    with CrawlServer(folder) as running:
        yield running


def get(server: CrawlServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_files(server: CrawlServer) -> None:
    status, headers, body = get(server, "/ok/a.jpg")
    assert (status, body, headers["Content-Type"]) == (200, b"ok picture", "image/jpeg")
    assert get(server, "/ok/empty.jpg")[::2] == (200, b"")
    assert get(server, "/ok/none.jpg")[0] == 404
    assert get(server, "/")[0] == 404
    status, headers, body = get(server, "/ok/a.jpg", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "10", b"")


@pytest.mark.parametrize("path", ["/ok/../../secret.txt", "/ok/%2e%2e/%2e%2e/secret.txt", "//etc"])
def test_nothing_outside_www(server: CrawlServer, path: str) -> None:
    assert get(server, path)[0] == 404


def test_redirects(server: CrawlServer) -> None:
    status, headers, _ = get(server, "/redirect/a.jpg")
    assert (status, headers["Location"]) == (302, "/ok/a.jpg")
    status, headers, _ = get(server, "/loop/a.jpg")
    assert (status, headers["Location"]) == (302, "/loop/a.jpg")


def test_statuses(server: CrawlServer) -> None:
    for code in (404, 410, 500):
        assert get(server, f"/status/{code}/a.jpg")[0] == code
    assert get(server, "/status/what/a.jpg")[0] == 404


def test_flaky_is_fine_the_second_time(server: CrawlServer) -> None:
    assert [get(server, "/flaky/a.jpg")[0] for _ in range(3)] == [503, 200, 200]


def test_opt_outs(server: CrawlServer) -> None:
    for tag in ("noai", "noimageai"):
        status, headers, body = get(server, f"/{tag}/a.jpg")
        assert (status, headers["X-Robots-Tag"]) == (200, tag)
        assert body.endswith(b"picture")
    assert b"Disallow: /forbidden/" in get(server, "/robots.txt")[2]
    assert get(server, "/forbidden/a.jpg")[0] == 200


def test_many_at_once(server: CrawlServer) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(server, "/ok/a.jpg")[0])) for _ in range(64)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert answers == [200] * 64


def test_dripping_holds_a_client_but_never_the_end(tmp_path: Path) -> None:
    (tmp_path / "www" / "slow").mkdir(parents=True)
    (tmp_path / "www" / "slow" / "a.jpg").write_bytes(b"\xff\xd8")
    with CrawlServer(tmp_path) as running:
        host, port = urlsplit(running.base_url).netloc.split(":")
        client = socket.create_connection((host, int(port)), timeout=5)
        client.sendall(b"GET /slow/a.jpg HTTP/1.0\r\n\r\n")
        heard = b""
        while b"\r\n\r\n\xff\xd8" not in heard:
            heard += client.recv(4096)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    client.close()
    with pytest.raises(MashbillError, match="not running"):
        _ = running.base_url


def test_a_taken_port_is_named(server: CrawlServer, tmp_path: Path) -> None:
    port = int(server.base_url.rpartition(":")[2])
    with pytest.raises(MashbillError, match=f"{port}.*another port"), CrawlServer(tmp_path, port):
        pass


def test_commands_refuse_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path)]) == 2
    assert "holds no crawl" in capsys.readouterr().err
    assert main(["make", str(tmp_path / "c"), "--samples", "3"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_serve_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    command = [sys.executable, "-m", "tinyworld", "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as serving:
        assert serving.stdout is not None
        line = serving.stdout.readline()
        try:
            host = line.split("http://")[1].split(";")[0]
            connection = http.client.HTTPConnection(host, timeout=5)
            connection.request("GET", "/robots.txt")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            serving.terminate()
            serving.wait(timeout=10)
