"""What img2dataset lacks: refused private addresses, a deadline for each URL, a largest body.

Standard library only: it runs in img2dataset's interpreter (``img2dataset_launcher``), and
``is_public`` also in ours.
"""

from __future__ import annotations

import http.client
import ipaddress
import math
import os
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PREFIX = "mashbill: "
"""How the text of every guard starts; ``stages.source.failures`` knows them all."""

_plain_connect = socket.socket.connect
_plain_readinto = socket.SocketIO.readinto


class GuardError(OSError):
    """A guard said no. The text starts with ``PREFIX``."""

    def __init__(self, text: str) -> None:
        super().__init__(PREFIX + text)


class _Transfer(threading.local):
    """The transfer that this thread is busy with (img2dataset gives each URL to one thread)."""

    depth = 0
    deadline = math.inf
    limit_s = math.inf
    connected = False

    def remaining_s(self) -> float:
        return self.deadline - time.monotonic()

    def check_deadline(self) -> None:
        if self.remaining_s() <= 0:
            raise GuardError(f"the transfer took longer than {self.limit_s:g} seconds")

    @contextmanager
    def within(self, limit_s: float) -> Iterator[None]:
        """A transfer inside the transfer, with its own limit, that costs the outer one no time."""
        outer = (self.deadline, self.limit_s)
        began = time.monotonic()
        self.deadline, self.limit_s, self.connected = began + limit_s, limit_s, False
        try:
            yield
        finally:
            self.deadline = outer[0] + time.monotonic() - began
            self.limit_s = outer[1]


TRANSFER = _Transfer()


def is_public(address: str) -> bool:
    """True for an IP address that anybody may reach; private, loopback, link-local... are not.

    Addresses that carry another address (IPv4-mapped, 6to4, NAT64) are judged by the one inside.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        nat64 = ip in ipaddress.ip_network("64:ff9b::/96")
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and nat64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def guard_sockets(allowed: set[tuple[str, int]], timeout_s: float) -> None:
    """Check every connection and bound every read of this process, whoever makes them."""

    def connect(self: socket.socket, address: Any) -> None:
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            _plain_connect(self, address)  # multiprocessing's own
            return
        host, port = address[:2]
        if (host, port) not in allowed and not is_public(host):
            raise GuardError(f"{host}:{port} is not a public address")
        left_s = TRANSFER.remaining_s()
        if left_s <= 0:  # not the deadline's own text: a host that cannot be reached is worth a retry
            raise TimeoutError("timed out")
        self.settimeout(min(timeout_s, left_s))
        _plain_connect(self, address)
        TRANSFER.connected = True

    def readinto(self: socket.SocketIO, buffer: Any) -> int | None:
        sock: socket.socket = self._sock  # type: ignore[attr-defined]
        TRANSFER.check_deadline()
        sock.settimeout(max(0.001, min(timeout_s, TRANSFER.remaining_s())))
        try:
            return _plain_readinto(self, buffer)
        except TimeoutError:
            TRANSFER.check_deadline()
            raise

    socket.socket.connect = connect  # type: ignore[assignment, method-assign]
    socket.SocketIO.readinto = readinto  # type: ignore[assignment, method-assign]


def bounded_response(max_bytes: int) -> type[http.client.HTTPResponse]:
    """A response whose ``read()`` refuses a body of more than ``max_bytes``."""

    class Response(http.client.HTTPResponse):
        def read(self, amt: int | None = None) -> bytes:
            if amt is not None:
                return super().read(amt)
            too_many = GuardError(f"the body has more than {max_bytes} bytes")
            if self.length is not None:
                if self.length > max_bytes:
                    raise too_many
                return super().read()  # with the length known this sees a body that ends early
            body = super().read(max_bytes + 1)
            if len(body) > max_bytes:
                raise too_many
            return body

    return Response


class Http(urllib.request.HTTPHandler):
    """``http:`` with bounded bodies."""

    def __init__(self, response: type[http.client.HTTPResponse]) -> None:
        super().__init__()

        class Connection(http.client.HTTPConnection):
            response_class = response

        self.connection = Connection

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self.connection, req)


class Https(urllib.request.HTTPSHandler):
    """``https:`` with bounded bodies; certificates are checked."""

    def __init__(self, response: type[http.client.HTTPResponse]) -> None:
        super().__init__()

        class Connection(http.client.HTTPSConnection):
            response_class = response

        self.connection = Connection
        self.context = ssl.create_default_context()  # once: reading the certificates is slow

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self.connection, req, context=self.context)


class Opener(urllib.request.OpenerDirector):
    """What ``urllib.request.urlopen`` uses: http and https only, a deadline around the whole."""

    def __init__(self, max_bytes: int, deadline_s: float, begun: int | None = None) -> None:
        super().__init__()
        self.deadline_s, self.begun = deadline_s, begun
        response = bounded_response(max_bytes)
        for handler in (
            Http(response),
            Https(response),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self.add_handler(handler)

    def open(self, fullurl: Any, data: Any = None, timeout: float | None = None) -> Any:
        if TRANSFER.depth == 0:  # deeper ones are redirects and robots.txt of the same transfer
            TRANSFER.deadline, TRANSFER.limit_s = (
                time.monotonic() + self.deadline_s,
                self.deadline_s,
            )
            if self.begun is not None:
                os.write(self.begun, b".")
        TRANSFER.depth += 1
        try:
            return super().open(fullurl, data, timeout)
        finally:
            TRANSFER.depth -= 1
