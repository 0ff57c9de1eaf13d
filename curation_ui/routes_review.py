"""The routes of the review page: who am I, what is next, what I decided, images."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from curation_ui.access import SESSION_S, Person, Refused
from curation_ui.asking import allowance, answer, api, body_of, item_in, number, review_of
from curation_ui.bodies import Enter, Keys, NewEvent, NewEvents, Release, Renew, Text, Undo
from curation_ui.cards import card_state, cards
from curation_ui.database import Connection
from curation_ui.events import Outcome, record
from curation_ui.images import SIDES, Picture
from curation_ui.leases import MOST_ITEMS, TTL_S, lend, release, renew
from curation_ui.review import Review, me
from curation_ui.undo import undo

CARDS = 64
IMMUTABLE = "private, max-age=31536000, immutable"


async def enter(request: Request) -> Response:
    """A good link always enters: behind a proxy everybody comes from one address, so only failures count."""
    review, client = review_of(request), request.client.host if request.client else "?"
    asked = await body_of(request, Enter)
    allowance(request, "entries").take("everybody")
    try:
        who, key = await review.database.write(lambda c: review.access.enter(c, asked.token, asked.name))
    except Refused:
        allowance(request, "enter").take(client)
        raise
    found = answer({"person": who.public()})
    found.set_cookie(
        request.app.state.cookie,
        key,
        max_age=int(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=review.settings.secure,
    )
    return found


async def get_me(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    stored = await review.database.read(lambda c: c.one("SELECT keys FROM person WHERE id = ?", (who.id,)))
    keys = json.loads(stored[0]) if stored and stored[0] else {"keys": {}, "single_keys": True}
    return answer(me(review, who, keys))


async def put_keys(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    asked = await body_of(request, Keys)
    text = json.dumps({"keys": asked.keys, "single_keys": asked.single_keys})
    await review.database.write(lambda c: c.run("UPDATE person SET keys = ? WHERE id = ?", (text, who.id)))
    return answer({"keys": asked.keys, "single_keys": asked.single_keys})


async def get_queue(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    count = max(1, number(request, "n", 16, MOST_ITEMS))
    now = review.clock()
    lent = await review.database.write(lambda c: lend(c, review.board, who.id, count, now))
    found = await review.database.read(lambda c: cards(c, review, who, lent.items))
    left = review.board.left_for(who.id)
    return answer({"lease": lent.token, "expires_in": int(TTL_S), "cards": found, "left": left})


async def post_renew(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    asked = await body_of(request, Renew)
    if asked.item is not None:
        review.seen(who, asked.item)
    now = review.clock()
    await review.database.write(lambda c: renew(c, who.id, asked.lease, now))
    return answer({"expires_in": int(TTL_S)})


async def post_release(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    asked = await body_of(request, Release)
    await review.database.write(lambda c: release(c, who.id, asked.lease))
    return answer({})


async def get_cards(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    items = [item_in(review, text) for text in request.query_params.get("items", "").split(",") if text]
    if len(items) > CARDS:
        raise Refused(f"{len(items)} items at once: expected at most {CARDS}", 400)
    if len(items) == 1:
        review.seen(who, items[0])
    return answer({"cards": await review.database.read(lambda c: cards(c, review, who, items))})


async def get_cluster(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    clusters = review.catalog.clusters
    code = clusters.by_name.get(request.path_params["cluster"])
    if code is None:
        raise Refused("there is no such cluster", 404)
    items = clusters.items(code)[:CARDS]
    return answer({"cards": await review.database.read(lambda c: cards(c, review, who, items))})


async def post_events(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    news = (await body_of(request, NewEvents)).events
    for event in news:
        unknown = set(event.reasons) - review.codes()
        if unknown:
            expected = ", ".join(sorted(review.codes()))
            raise Refused(f"{min(unknown)!r} is no reason of this queue: expected {expected}", 400)
        _inside(review, event)
    allowance(request, "events").take(who.id, len(news))
    now = review.clock()
    done = await review.database.write(lambda c: record(c, review.board, who, news, now, review.ui))
    if news:
        review.seen(who, news[-1].item)
    return answer({"results": [_result(review, who, outcome) for outcome in done]})


def _inside(review: Review, event: NewEvent) -> None:
    """Refuse a crop that reaches outside its image."""
    if event.crop is None or event.item >= len(review.catalog):
        return
    width, height = (review.catalog.value(name, event.item) for name in ("width", "height"))
    if event.crop[2] > width or event.crop[3] > height:
        said = f"the crop {list(event.crop)} reaches outside item {event.item}"
        raise Refused(
            f"{said}, which is {width} x {height} pixels: expected right <= {width} and bottom <= {height}",
            400,
        )


def _result(review: Review, who: Person, outcome: Outcome) -> dict[str, Any]:
    state, item = outcome.state, outcome.item
    found: dict[str, Any] = {"uuid": outcome.uuid, "status": outcome.status}
    found["card_state"] = card_state(review, who, item, state)
    if outcome.status == "conflict":
        touched = state.caption_touch if outcome.kind == "caption" else state.crop_touch
        given = review.catalog.given(item)
        found["theirs"] = {
            "caption": given.caption if state.caption is None else state.caption,
            "crop": list(state.crop) if state.crop else given.crop,
            "by": review.access.name(touched.person),
            "base_caption": given.caption if outcome.base_caption is None else outcome.base_caption,
        }
    return found


async def post_undo(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    asked = await body_of(request, Undo)
    allowance(request, "events").take(who.id)
    now = review.clock()

    def work(connection: Connection) -> dict[str, Any]:
        done = undo(connection, review.board, who, asked, now, review.ui)
        states = [card_state(review, who, item, state) for item, state in done.states]
        undone = {"kind": done.kind, "count": done.count, "batch": done.batch}
        return {"undone": undone, "states": states, "kept": done.kept}

    return answer(await review.database.write(work))


async def post_tokens(request: Request) -> Response:
    text = (await body_of(request, Text)).text
    counters = review_of(request).settings.counters
    return answer({"tokens": {counter.name: counter.count(text) for counter in counters}})


async def get_image(request: Request) -> Response:
    review = review_of(request)
    item = item_in(review, request.path_params["item"])
    if request.headers.get("if-none-match") == review.images.etag(item, "image"):
        return _not_modified(review.images.etag(item, "image"))
    return _picture(await review.images.image(item))


async def get_thumb(request: Request) -> Response:
    review = review_of(request)
    item, side = item_in(review, request.path_params["item"]), request.path_params["side"]
    if side not in map(str, SIDES):
        raise Refused(f"thumbnails have a longest side of {SIDES[0]} or {SIDES[1]} pixels", 404)
    etag = review.images.etag(item, f"thumb {side}")
    if request.headers.get("if-none-match") == etag:
        return _not_modified(etag)
    return _picture(await review.images.thumb(item, int(side)))


def _picture(found: Picture) -> Response:
    headers = {"etag": found.etag, "cache-control": IMMUTABLE}
    return Response(found.data, media_type=found.type, headers=headers)


def _not_modified(etag: str) -> Response:
    return Response(status_code=304, headers={"etag": etag, "cache-control": IMMUTABLE})


ROUTES = [
    Route("/api/enter", enter, methods=["POST"]),
    Route("/api/me", api(get_me)),
    Route("/api/keys", api(put_keys), methods=["PUT"]),
    Route("/api/queue", api(get_queue)),
    Route("/api/queue/renew", api(post_renew), methods=["POST"]),
    Route("/api/queue/release", api(post_release), methods=["POST"]),
    Route("/api/cards", api(get_cards)),
    Route("/api/clusters/{cluster}", api(get_cluster)),
    Route("/api/events", api(post_events), methods=["POST"]),
    Route("/api/undo", api(post_undo), methods=["POST"]),
    Route("/api/tokens", api(post_tokens), methods=["POST"]),
    Route("/image/{item}", api(get_image)),
    Route("/thumb/{item}/{side}", api(get_thumb)),
]
