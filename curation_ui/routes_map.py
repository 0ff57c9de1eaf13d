"""The routes of the map: planes, their points, and what colors them."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from curation_ui.access import Refused
from curation_ui.asking import answer, api, octets, review_of
from curation_ui.planes import colors, planes, points

VERDICTS = ["undecided", "kept", "rejected"]


async def get_maps(request: Request) -> Response:
    return answer({"columns": planes(review_of(request).catalog)})


async def get_points(request: Request) -> Response:
    found = await asyncio.to_thread(points, review_of(request).catalog, request.path_params["column"])
    return octets(found)


async def get_colors(request: Request) -> Response:
    """One byte per item: the number of its label, or 255."""
    return octets((await _colors(request))[0])


async def get_labels(request: Request) -> Response:
    return answer({"labels": (await _colors(request))[1]})


async def _colors(request: Request) -> tuple[bytes, list[str]]:
    review, name = review_of(request), request.path_params["column"]
    if name == "verdict":
        if review.settings.votes_required > 1 and not request.state.who.may("curator"):
            raise Refused("where several people judge each image, only curators see all verdicts")
        return review.board.verdict.astype("u1").tobytes(), VERDICTS
    return await asyncio.to_thread(colors, review.catalog, name)


ROUTES = [
    Route("/api/map", api(get_maps)),
    Route("/api/map/{column}", api(get_points)),
    Route("/api/colors/{column}", api(get_colors)),
    Route("/api/colors/{column}/labels", api(get_labels)),
]
