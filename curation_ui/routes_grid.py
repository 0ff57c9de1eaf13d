"""The routes of the grid and the clusters: snapshots, batches, columns."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from curation_ui import batches
from curation_ui.access import Person, Refused
from curation_ui.asking import allowance, answer, api, body_of, number, octets, review_of
from curation_ui.bodies import Ask, Batch
from curation_ui.cards import small_cards
from curation_ui.database import Connection
from curation_ui.groups import best_first, columns, shared_clusters
from curation_ui.review import Review
from curation_ui.snapshots import Snapshots

PAGE = 256
CLUSTERS_PAGE, CLUSTER_ITEMS = 64, 32


def _snapshots(request: Request) -> Snapshots:
    found: Snapshots = request.app.state.snapshots
    return found


async def post_snapshots(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    asked = await body_of(request, Ask)
    allowance(request, "queries").take(who.id)
    made = await asyncio.to_thread(_snapshots(request).make, review, who, asked)
    return answer({"snapshot": made.name, "count": len(made.order)})


async def get_order(request: Request) -> Response:
    found = _snapshots(request).get(request.path_params["snapshot"], request.state.who)
    return octets(found.order.tobytes())


async def get_snapshot_cards(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    found = _snapshots(request).get(request.path_params["snapshot"], who)
    start, count = number(request, "start", 0, 2**32), number(request, "count", PAGE, PAGE)
    items = found.order[start : start + count].tolist()
    return answer({"cards": await review.database.read(lambda c: small_cards(c, review, who, items))})


async def post_batch(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    asked = await body_of(request, Batch)
    allowance(request, "queries").take(who.id)
    snapshot = _snapshots(request).get(asked.snapshot, who) if asked.snapshot else None
    unknown = set(asked.reasons) - review.codes()
    if unknown:
        raise Refused(f"{min(unknown)!r} is no reason: expected {', '.join(sorted(review.codes()))}", 400)
    items = await asyncio.to_thread(batches.chosen, review, asked, snapshot)
    if asked.preview:
        found = await review.database.read(lambda c: batches.preview(c, review, asked, items))
        return answer(found)
    if asked.uuid is None:
        raise Refused("a batch needs a uuid, by which it is done once", 400)
    done = await review.database.write(lambda c: batches.apply(c, review, who, asked, items, snapshot))
    return answer({"count": done.count, "kept": done.kept, "batch": asked.uuid})


async def get_columns(request: Request) -> Response:
    state = request.app.state
    if state.columns is None:
        state.columns = await asyncio.to_thread(columns, review_of(request).catalog)
    return answer({"columns": state.columns})


async def get_clusters(request: Request) -> Response:
    review, who = review_of(request), request.state.who
    start = number(request, "start", 0, 2**32)
    count = number(request, "count", CLUSTERS_PAGE, CLUSTERS_PAGE)
    by = request.query_params.get("by", "")
    shared = await asyncio.to_thread(shared_clusters, review.catalog)
    page = shared[start : start + count].tolist()
    found = await review.database.read(lambda c: [_cluster(c, review, who, code, by) for code in page])
    return answer({"clusters": found, "count": len(shared)})


def _cluster(connection: Connection, review: Review, who: Person, code: int, by: str) -> dict[str, Any]:
    clusters = review.catalog.clusters
    items = best_first(review.catalog, clusters.items(code), by)
    shown = small_cards(connection, review, who, items[:CLUSTER_ITEMS])
    values = [review.catalog.value(by, item) if by else None for item in items[:CLUSTER_ITEMS]]
    return {"cluster": clusters.names[code], "items": shown, "values": values, "size": len(items)}


ROUTES = [
    Route("/api/snapshots", api(post_snapshots), methods=["POST"]),
    Route("/api/snapshots/{snapshot}/order", api(get_order)),
    Route("/api/snapshots/{snapshot}/cards", api(get_snapshot_cards)),
    Route("/api/batch", api(post_batch, "curator"), methods=["POST"]),
    Route("/api/columns", api(get_columns)),
    Route("/api/clusters", api(get_clusters)),
]
