"""What every request passes first: asked of whom, from where, how much; and headers on every answer."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

BODY_BYTES = 256 << 10
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
SAFE = ("GET", "HEAD", "OPTIONS")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class TooLarge(Exception):
    """A body went on past ``BODY_BYTES``."""


class Guards:
    """ASGI middleware. ``hosts``: the names (without port) that requests may ask for."""

    def __init__(self, app: App, hosts: tuple[str, ...]) -> None:
        self._app, self._hosts = app, {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, sending = False, _with_headers(send)

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await sending(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, guarded)
            return
        try:
            await self._app(scope, _limited(receive), guarded)
        except TooLarge:
            await _error(413, f"the request is over {BODY_BYTES} bytes")(scope, receive, guarded)
        except Exception:
            if not started:  # else Starlette answers outside of here, without the headers
                await _error(500, "something is wrong on this server")(scope, receive, guarded)
            raise

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").lower()
        if name_of(host) not in self._hosts:
            return _error(421, "this server does not answer to that name")
        site = headers.get("sec-fetch-site")
        if scope["method"] in SAFE:
            opened = (
                headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            )
            if site in ("cross-site", "same-site") and not opened:
                return _error(403, "this is not for other sites")
            return None
        if site is None:
            _, _, origin = headers.get("origin", "").lower().partition("://")
            if origin != host:
                return _error(403, "a change must come from a page of this server")
        elif site != "same-origin":
            return _error(403, "a change must come from a page of this server")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _error(415, "a change must be sent as application/json")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES:
            return _error(413, f"the request is over {BODY_BYTES} bytes")
        return None


def name_of(host: str) -> str:
    """The name of a ``Host`` header, without its port."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


@dataclass
class Bucket:
    """So many at once, and ``per_s`` more each second."""

    per_s: float
    burst: float
    left: float = math.nan
    since: float = 0.0

    def take(self, count: float, now: float) -> float:
        """Take ``count``; 0, or the seconds to wait when there are too few."""
        if math.isnan(self.left):
            self.left = self.burst
        else:
            self.left = min(self.burst, self.left + (now - self.since) * self.per_s)
        self.since = now
        if count > self.left:
            return (count - self.left) / self.per_s
        self.left -= count
        return 0.0


class TooMany(Exception):
    """Someone asks for too much; ``wait_s`` from now it will do."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many requests: wait {math.ceil(wait_s)} s")
        self.wait_s = wait_s


@dataclass
class Limits:
    """Buckets by what is asked for and by whom. ``clock``: seconds, never backwards."""

    per_s: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    most: int = 10_000
    _buckets: dict[object, Bucket] = field(default_factory=dict)

    def take(self, whose: object, count: float = 1) -> None:
        """Raises:
        TooMany: there are too few left.
        """
        if len(self._buckets) >= self.most:
            self._buckets.clear()
        bucket = self._buckets.setdefault(whose, Bucket(self.per_s, self.burst))
        wait = bucket.take(count, self.clock())
        if wait:
            raise TooMany(wait)


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            more = [*HEADERS, (b"cache-control", b"no-store")]
            message["headers"] = [*message["headers"], *(h for h in more if h[0] not in there)]
        await send(message)

    return sending


def _limited(receive: Receive) -> Receive:
    seen = 0

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > BODY_BYTES:
            raise TooLarge
        return message

    return receiving


def _error(status: int, said: str) -> JSONResponse:
    return JSONResponse({"error": said}, status)
