"""The routes about people and the whole queue: invitations, progress, overview, export."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from curation_ui.access import Refused
from curation_ui.asking import answer, api, body_of, review_of
from curation_ui.bodies import Invite
from curation_ui.database import Connection
from curation_ui.overview import all_states, overview, without_verdicts
from curation_ui.people import told, work_of


async def get_overview(request: Request) -> Response:
    """Counted again when something has happened."""
    review, state = review_of(request), request.app.state
    key = (review.board.seen, int(review.clock() // 10))
    if state.overview is None or state.overview[0] != key:
        state.overview = (key, await review.database.read(lambda c: overview(c, review)))
    found, who = state.overview[1], request.state.who
    if review.settings.votes_required > 1 and not who.may("curator"):
        found = without_verdicts(found, who.id)
    return answer(found)


async def get_people(request: Request) -> Response:
    review = review_of(request)

    def found(connection: Connection) -> list[dict[str, object]]:
        people = connection.all("SELECT id, name, role FROM person WHERE revoked_at IS NULL ORDER BY id")
        work = work_of(connection, all_states(connection).values())
        lines = told(work, [(person, name) for person, name, _ in people])
        return [{**line, "role": role} for line, (_, _, role) in zip(lines, people, strict=True)]

    return answer({"people": await review.database.read(found)})


async def post_people(request: Request) -> Response:
    review = review_of(request)
    asked = await body_of(request, Invite)
    person, token = await review.database.write(lambda c: review.access.invite(c, asked.name, asked.role))
    base = request.app.state.public_url or f"{request.url.scheme}://{request.headers['host']}"
    return answer({"id": person, "link": f"{base}/enter#{token}"})


async def delete_person(request: Request) -> Response:
    review, text = review_of(request), request.path_params["person"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused("there is no such person", 404)
    await review.database.write(lambda c: review.access.revoke(c, int(text)))
    return answer({})


async def post_export(request: Request) -> Response:
    found = await asyncio.to_thread(request.app.state.exporter.export)
    return answer({"export": found.export, "coverage": found.coverage})


ROUTES = [
    Route("/api/overview", api(get_overview)),
    Route("/api/people", api(get_people, "curator")),
    Route("/api/people", api(post_people, "admin"), methods=["POST"]),
    Route("/api/people/{person}", api(delete_person, "admin"), methods=["DELETE"]),
    Route("/api/export", api(post_export, "curator"), methods=["POST"]),
]
