"""From a request to a person and a typed body, and from an error to an answer."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from curation_ui.access import Person, Refused
from curation_ui.bodies import Body, with_nul
from curation_ui.guards import Limits, TooMany
from curation_ui.images import Changed, NoPicture
from curation_ui.review import Review
from store.errors import MashbillError, UsageError

B = TypeVar("B", bound=Body)
Handler = Callable[[Request], Awaitable[Response]]
_encode = msgspec.json.Encoder().encode
BROKEN = "something is wrong on this server: whoever runs it sees what, where it was started"
"""All that a browser is told of an error that is not its own: the words may hold paths of the server."""


def review_of(request: Request) -> Review:
    return cast(Review, request.app.state.review)


def answer(value: Any, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(_encode(value), status, media_type="application/json")


def octets(data: bytes) -> Response:
    """Numbers as they lie in memory."""
    return Response(data, media_type="application/octet-stream")


async def body_of(request: Request, kind: type[B]) -> B:
    """The request's body.

    Raises:
        Refused: it is not JSON of that kind; says where and what was expected.
    """
    data = await request.body()
    try:
        found = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"the request is not understood: {error}", 400) from error
    if b"\\u0000" in data and (field := with_nul(found)):  # JSON has no other way to write it
        raise Refused(f"{field} has the character NUL, which cannot be kept: leave it out", 400)
    return found


async def person_of(request: Request, role: str = "annotator") -> Person:
    """Who asks; each request takes one from their allowance.

    Raises:
        Refused: no session, or one that may not do this.
        TooMany: they ask too fast.
    """
    key = request.cookies.get(request.app.state.cookie)
    who = await review_of(request).access.person(key)
    if not who.may(role):
        raise Refused(f"this takes the role {role}, and yours is {who.role}")
    return who


def allowance(request: Request, name: str) -> Limits:
    return cast(Limits, request.app.state.limits[name])


def api(handler: Handler, role: str = "annotator") -> Handler:
    """A handler that only people of a role reach, within their allowance."""

    async def handling(request: Request) -> Response:
        who = await person_of(request, role)
        allowance(request, "requests").take(who.id)
        request.state.who = who
        return await handler(request)

    return handling


def number(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the query string, 0 to ``most``.

    Raises:
        Refused: it is not.
    """
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise Refused(f"{name}={text[:40]!r}: expected a whole number from 0 to {most}", 400)
    return int(text)


def item_in(review: Review, text: str) -> int:
    """An item by its number.

    Raises:
        Refused: there is no such item.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) < len(review.catalog)):
        raise Refused(f"there is no item {text[:20]!r}: expected 0 to {len(review.catalog) - 1}", 404)
    return int(text)


async def failed(request: Request, error: Exception) -> Response:
    """What a client is told of an error that has words for it."""
    if isinstance(error, TooMany):
        wait = {"Retry-After": str(math.ceil(error.wait_s))}
        return JSONResponse({"error": str(error)}, 429, wait)
    status = error.status if isinstance(error, Refused) else 500
    for kind, code in ((Changed, 409), (NoPicture, 415), (UsageError, 400)):
        status = code if isinstance(error, kind) else status
    if status >= 500:
        print(f"mashbill: {request.method} {request.url.path}: {error}", file=sys.stderr, flush=True)
        return JSONResponse({"error": BROKEN}, status)
    more = getattr(error, "more", {})
    return JSONResponse({"error": str(error), **more}, status)


async def _http_error(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


HANDLERS: dict[Any, Any] = {MashbillError: failed, TooMany: failed, HTTPException: _http_error}
