"""Whether the owner of an image lets it be used: robots.txt (RFC 9309) and ``X-Robots-Tag``.

Standard library only: it runs in img2dataset's interpreter (``img2dataset_launcher``).
"""

from __future__ import annotations

import http.client
import math
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from typing import Any

from stages.source.fetch_guards import TRANSFER, GuardError, Opener

ROBOTS_S = 5.0
"""Longest wait for one robots.txt, seconds."""
ROBOTS_BYTES = 500 * 1024
"""What RFC 9309 asks a crawler to read at least; the rest is ignored."""
OPT_OUT = ("noai", "noimageai", "noindex", "noimageindex", "noml", "none")
"""``X-Robots-Tag`` directives that forbid the use ("none" means "noindex, nofollow")."""
VALUED = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}
"""``X-Robots-Tag`` directives written ``name: value``, which is not an agent and its directive."""


def robots_rules(text: str, agent: str) -> list[tuple[str, bool]]:
    """The (path pattern, allowed) rules of a robots.txt for ``agent``, else those for everybody."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    names: list[str] = []
    naming = False
    for line in text.removeprefix("\ufeff").splitlines():
        field, _, value = (part.strip() for part in line.split("#", 1)[0].partition(":"))
        field = field.lower()
        if field == "user-agent":
            # RFC 9309 2.2.1: a version or comment after the name does not count
            name = value if value == "*" else re.split("[^a-z_-]", value.lower())[0]
            names = [*names, name] if naming else [name]
            groups.setdefault(name, [])
            naming = True
        elif field in ("allow", "disallow"):
            naming = False
            for name in names if value else ():
                groups[name].append((urllib.parse.unquote(value), field == "allow"))
    return groups.get(agent.lower(), groups.get("*", []))


def robots_match(pattern: str, path: str) -> bool:
    """RFC 9309: a prefix, ``*`` for anything, ``$`` for the end. Linear, whatever the pattern."""
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    last = others.pop() if others else None
    for part in others:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    if not pattern.endswith("$"):
        return last is None or path.find(last, at) >= 0
    return at == len(path) if last is None else path.endswith(last) and len(path) - len(last) >= at


def robots_allow(rules: list[tuple[str, bool]], path: str) -> bool:
    """The longest matching rule decides, "allow" between equals; no rule allows."""
    path = urllib.parse.unquote(path)
    matching = [(len(pattern), allow) for pattern, allow in rules if robots_match(pattern, path)]
    return max(matching, default=(0, True))[1]


def opted_out(headers: Message, agent: str) -> str | None:
    """The ``X-Robots-Tag`` directive that forbids the use to ``agent``, if there is one."""
    for value in headers.get_all("X-Robots-Tag", []):
        scope = agent
        for item in value.lower().split(","):
            name, colon, rest = item.partition(":")
            if colon and name.strip() in VALUED:
                continue
            scope = name.strip() if colon else scope
            directive = (rest if colon else name).strip()
            if scope == agent and directive in OPT_OUT:
                return directive
    return None


class Consent(urllib.request.BaseHandler):
    """Asks robots.txt before each request (redirected ones too), reads ``X-Robots-Tag`` after."""

    def __init__(self, agent: str) -> None:
        self.agent = agent.lower()
        self.robots = Opener(ROBOTS_BYTES, ROBOTS_S)
        self.lock = threading.Lock()
        self.hosts: dict[str, tuple[threading.Lock, list[Any]]] = {}

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        parts = urllib.parse.urlsplit(request.full_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with self.lock:
            lock, answer = self.hosts.setdefault(origin, (threading.Lock(), []))
        with TRANSFER.within(math.inf), lock:
            if not answer:
                answer.append(self.ask(origin, request))
        if isinstance(answer[0], OSError):
            raise urllib.error.URLError(answer[0])
        if not robots_allow(answer[0], path):
            raise GuardError(f"robots.txt of {origin} disallows {path} to {self.agent}")
        return request

    https_request = http_request

    def ask(self, origin: str, request: urllib.request.Request) -> list[tuple[str, bool]] | OSError:
        """The rules of a host, or the error that each request to it then ends with.

        - 2xx: its rules. 3xx without end and 4xx: no rules, everything is allowed (RFC 9309, 2.3.1.3).
        - 5xx: an error that forbids everything (RFC 9309, 2.3.1.4), reason ``opt_out``.
        - No connection (DNS, refused, timed out, private address): that error. The image would fail
          the same way and need not be tried, and waited for, one by one.
        - A connection, but no whole and proper answer within ``ROBOTS_S``: no rules; the image is
          tried under its own deadline (RFC 9309 would forbid it).
        """
        agent = {"User-Agent": request.get_header("User-agent", self.agent)}
        try:
            with TRANSFER.within(ROBOTS_S):
                robots = urllib.request.Request(f"{origin}/robots.txt", headers=agent)
                with self.robots.open(robots, timeout=ROBOTS_S) as response:
                    text = response.read(ROBOTS_BYTES).decode("utf-8", "replace")
            return robots_rules(text, self.agent)
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500:
                    return []
                return GuardError(
                    f"robots.txt of {origin} was answered with status {error.code}; "
                    "RFC 9309 takes a server error for a complete disallow"
                )
        except urllib.error.URLError as error:
            if TRANSFER.connected or not isinstance(error.reason, OSError):
                return []
            return error.reason
        except (OSError, http.client.HTTPException, ValueError):
            return []

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        directive = opted_out(response.headers, self.agent)
        if directive is not None and 200 <= response.status < 300:
            response.close()
            raise GuardError(f"X-Robots-Tag says {directive}")
        return response

    https_response = http_response
