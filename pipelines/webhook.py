"""``POST /versions``: who has made a dataset version says so, and it is looked for at once."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from pipelines.trigger import Answer
from pipelines.trigger_options import TOKEN
from store.errors import MashbillError, UsageError
from store.store import Store
from store.versions import list_datasets

LOOPBACK = ("127.0.0.1", "localhost")
BODY_BYTES = 65536
REQUEST_S = 10.0


class Refused(Exception):
    """A request that gets no answer but a status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@contextmanager
def listening(store: Store, address: str, look: Callable[[], list[Answer]]) -> Iterator[str]:
    """Serve at ``HOST:PORT`` for the block; gives the URL (port 0 takes a free one).

    Raises:
        UsageError: no such address, or one that others can reach and no token.
        MashbillError: the address is taken.
    """
    host, port = _address(address)
    token = os.environ.get(TOKEN, "")
    if host not in LOOPBACK and not token:
        raise UsageError(
            f"--listen {address}: others can reach that address. Set {TOKEN} to a secret of your own, "
            "which they then send as `Authorization: Bearer SECRET`; or listen on 127.0.0.1"
        )
    try:
        server = ThreadingHTTPServer((host, port), _handler(store, token, look, Lock()))
    except OSError as error:
        raise MashbillError(f"--listen {address}: cannot listen there: {error}") from error
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="webhook", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(REQUEST_S)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {text}: expected HOST:PORT, such as 127.0.0.1:8418")
    return host, int(port)


def _handler(
    store: Store, token: str, look: Callable[[], list[Answer]], one_at_a_time: Lock
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S
        server_version = "mashbill"
        sys_version = ""

        def do_POST(self) -> None:
            try:
                _check(self, token)
                _check_dataset(store, _body(self))
                with one_at_a_time:
                    answered = look()
                self.answer(200, {"answered": [asdict(answer) for answer in answered]})
            except Refused as refused:
                self.answer(refused.status, {"error": str(refused)})
            except (MashbillError, OSError) as error:
                self.answer(500, {"error": str(error)})

        def do_GET(self) -> None:
            self.answer(405, {"error": "expected POST /versions"})

        do_PUT = do_DELETE = do_PATCH = do_GET

        def answer(self, status: int, value: dict[str, Any]) -> None:
            body = (json.dumps(value) + "\n").encode()
            with suppress(ConnectionError):  # who asked may have left
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """What was queued is said elsewhere."""

    return Handler


def _check(request: BaseHTTPRequestHandler, token: str) -> None:
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and not hmac.compare_digest(sent.encode(), token.encode()):
        raise Refused(401, f"the token is missing or wrong; send Authorization: Bearer with that of {TOKEN}")
    if request.path != "/versions":
        raise Refused(404, f"there is no {request.path}; expected POST /versions")
    if request.headers.get_content_type() != "application/json":
        raise Refused(415, "expected Content-Type: application/json")


def _body(request: BaseHTTPRequestHandler) -> str:
    size = request.headers.get("Content-Length", "")
    if not size.isdigit() or int(size) > BODY_BYTES:
        raise Refused(413, f"expected a body of at most {BODY_BYTES} bytes with its Content-Length")
    try:
        dataset = json.loads(request.rfile.read(int(size)))["dataset"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(400, 'expected {"dataset": "NAME"}') from error
    if not isinstance(dataset, str):
        raise Refused(400, 'expected {"dataset": "NAME"}')
    return dataset.partition("@")[0].replace("_", "-")


def _check_dataset(store: Store, dataset: str) -> None:
    there = list_datasets(store)
    if dataset not in there:
        raise Refused(404, f"no dataset {dataset!r}; there are: {', '.join(there) or 'none yet'}")
