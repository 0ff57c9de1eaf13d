"""A small web server that behaves as badly as the crawl's URLs ask it to.

The first part of the path says how: ``/ok/`` and ``/forbidden/`` serve files (the latter is
forbidden by robots.txt), ``/redirect/X`` sends to ``/ok/X``, ``/loop/X`` to itself, ``/slow/``
drips one byte at a time for ever, ``/flaky/`` answers 503 the first time and then serves,
``/noai/`` and ``/noimageai/`` serve with that X-Robots-Tag, ``/status/410/X`` answers 410. All else
is 404.
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

from store.errors import MashbillError

_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}
_ROBOTS = b"User-agent: *\nDisallow: /forbidden/\n"
_FILES = ("ok", "forbidden", "flaky", "noai", "noimageai")
_DRIP_EVERY_S = 0.25


class CrawlServer:
    """Serves ``folder/www`` on 127.0.0.1 from ``with`` to its end; port 0 takes a free one.

    The folder may still be empty when it starts: a crawl can be made with its ``base_url``.
    Leaving never waits for a dripping answer. Raises MashbillError when the port is taken.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder, self._port = Path(folder), port
        self._server: _Server | None = None

    @property
    def base_url(self) -> str:
        """Such as ``http://127.0.0.1:8417``; known only while the server runs."""
        if self._server is None:
            raise MashbillError("the crawl server is not running; use it in a with statement")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> CrawlServer:
        try:
            self._server = _Server(self._port, self._folder / "www")
        except OSError as error:
            raise MashbillError(
                f"cannot serve on 127.0.0.1:{self._port}: {error.strerror}; end what serves "
                "there, or choose another port"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="tiny-world-crawl", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server = self._server
        assert server is not None
        server.stopping.set()
        server.shutdown()
        server.server_close()
        self._thread.join(timeout=5)
        self._server = None


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, www: Path) -> None:
        self.www = www.resolve()
        self.stopping = threading.Event()
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def first_time(self, path: str) -> bool:
        """Whether no one has asked for this path before."""
        with self._lock:
            new = path not in self._seen
            self._seen.add(path)
            return new

    def file(self, path: str) -> bytes | None:
        """The file at this path below www, or None; never one from elsewhere."""
        place = (self.www / path).resolve()
        if not place.is_relative_to(self.www) or not place.is_file():
            return None
        return place.read_bytes()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 60
    server_version = "tinyworld"

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            # The client has gone, as clients of a slow server do; there is no one to tell.
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a crawl makes thousands of requests."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        manner, _, rest = path.partition("/")
        if path == "robots.txt":
            self._answer(200, _ROBOTS, {"Content-Type": "text/plain"})
        elif manner == "redirect":
            self._answer(302, b"", {"Location": f"/ok/{rest}"})
        elif manner == "loop":
            self._answer(302, b"", {"Location": f"/{path}"})
        elif manner == "status":
            self._status(rest.partition("/")[0])
        elif manner == "slow":
            self._drip(path)
        elif manner == "flaky" and self.server.first_time(path):
            self._answer(503, b"try again\n", {"Retry-After": "0"})
        elif manner in _FILES:
            tag = {"X-Robots-Tag": manner} if manner.startswith("no") else {}
            self._file(path, tag)
        else:
            self._answer(404, b"not found\n", {})

    def _file(self, path: str, headers: dict[str, str]) -> None:
        body = self.server.file(path)
        if body is None:
            self._answer(404, b"not found\n", {})
            return
        kind = _TYPES.get(Path(path).suffix, "application/octet-stream")
        self._answer(200, body, {"Content-Type": kind, **headers})

    def _status(self, code: str) -> None:
        known = code.isdigit() and int(code) in set(HTTPStatus)
        self._answer(int(code) if known else 404, b"as you asked\n", {})

    def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _drip(self, path: str) -> None:
        """The file's bytes one by one, then zeros; ends only with the client or the server."""
        body = self.server.file(path) or b""
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        # A size like any photograph's: a downloader that looks at sizes only begins to read it.
        self.send_header("Content-Length", str(2**20))
        self.end_headers()
        sent = 0
        while self.command != "HEAD" and not self.server.stopping.wait(_DRIP_EVERY_S):
            self.wfile.write(body[sent : sent + 1] or b"\0")
            sent += 1
