"""The routes of a study. What an annotator is told never names a model, a pair, or the study."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, cast

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from curation_ui import pages
from curation_ui.access import Person, Refused
from curation_ui.asking import HANDLERS, allowance, answer, api, body_of, person_of
from curation_ui.bodies import Body, Invite, Pixel, Token, Uuid
from curation_ui.database import Connection
from curation_ui.guards import Guards, Limits
from curation_ui.routes_review import enter
from curation_ui.study.design import Choice, Question
from curation_ui.study.server import StudyServer, StudySettings, consent, give, open_study, take
from curation_ui.study.votes import Trial, Vote

AHEAD = 8
"""Trials that may be asked for at once: they are decoded before they are needed."""
VOTES_PER_CALL = 50
Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
TrialToken = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]


class Agree(Body):
    agree: Literal[True]


class Next(Body):
    count: Annotated[int, msgspec.Meta(ge=1, le=AHEAD)] = AHEAD


class NewVote(Body):
    """The answer to one trial; ``rt_ms`` from both images shown, ``decoded_ms`` till both were decoded."""

    uuid: Uuid
    trial: TrialToken
    choice: Choice
    rt_ms: Milliseconds
    decoded_ms: Milliseconds
    viewport: tuple[Pixel, Pixel]
    dpr: Annotated[float, msgspec.Meta(gt=0, le=100)]
    at: Token


class NewVotes(Body):
    votes: Annotated[tuple[NewVote, ...], msgspec.Meta(min_length=1, max_length=VOTES_PER_CALL)]


def create_study_app(settings: StudySettings) -> Starlette:
    """The app of one study, opened: ``app.state.review``; close that when done.

    Raises:
        MashbillError: the study cannot be opened.
    """
    server = open_study(settings)
    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(Guards, hosts=settings.hosts)],
        exception_handlers=HANDLERS,
    )
    app.state.review = server
    app.state.static = pages.read_static()
    app.state.templates = pages.read_templates()
    named = hashlib.sha256(f"cookie {server.salt}".encode()).hexdigest()  # the salt itself stays secret
    app.state.cookie = f"mashbill-{named[:8]}"
    app.state.limits = {
        "enter": Limits(5 / 60, 5),
        "entries": Limits(100, 500),
        "votes": Limits(5, 200),
        "requests": Limits(50, 400),
    }
    return app


def _server(request: Request) -> StudyServer:
    return cast(StudyServer, request.app.state.review)


def _agreed(request: Request) -> tuple[StudyServer, Person, str]:
    """Raises:
    Refused: this person has not agreed to take part.
    """
    server, who = _server(request), request.state.who
    annotator = server.annotator(who)
    if annotator not in server.consented:
        raise Refused("agree to take part first", 403)
    return server, who, annotator


async def get_study(request: Request) -> Response:
    server, who = _server(request), request.state.who
    annotator = server.annotator(who)
    progress = await server.database.write(lambda c: server.desk.progress(annotator))
    return answer(
        {
            "role": who.role,
            "consent": server.design.consent,
            "consented": annotator in server.consented,
            "layout": server.design.layout,
            "block": server.design.block,
            "progress": progress,
        }
    )


async def post_consent(request: Request) -> Response:
    server, who = _server(request), request.state.who
    await body_of(request, Agree)
    await server.database.write(lambda c: consent(server, c, server.annotator(who)))
    return answer({"consented": True})


async def post_next(request: Request) -> Response:
    server, _, annotator = _agreed(request)
    asked = await body_of(request, Next)
    found, progress = await server.database.write(lambda c: give(server, c, annotator, asked.count))
    question = server.design.question(found[0].question) if found else None
    return answer(
        {
            "question": _question(question) if question else None,
            "trials": [_card(server, trial) for trial in found],
            "progress": progress,
        }
    )


def _question(question: Question) -> dict[str, Any]:
    return {"name": question.name, "text": question.text, "choices": list(question.choices)}


def _card(server: StudyServer, trial: Trial) -> dict[str, Any]:
    """What the browser is told of a trial. The prompt is there only where the question shows it."""
    width, height = server.images.size(trial)
    card: dict[str, Any] = {
        "trial": trial.token,
        "position": trial.position,
        "practice": trial.kind == "practice",
        "left": f"/study/image/{trial.token}/left",
        "right": f"/study/image/{trial.token}/right",
        "width": width,
        "height": height,
    }
    if server.design.question(trial.question).shows_prompt:
        card["prompt"] = server.desk.pairs[trial.pair].text
    return card


async def post_votes(request: Request) -> Response:
    server, who, _ = _agreed(request)
    asked = (await body_of(request, NewVotes)).votes
    allowance(request, "votes").take(who.id, len(asked))

    def written(connection: Connection) -> list[dict[str, Any]]:
        now = server.clock()  # of the write: what was lent meanwhile is late
        return take(server, connection, [_vote(server, who, vote, now) for vote in asked])

    return answer({"results": await server.database.write(written)})


def _vote(server: StudyServer, who: Person, vote: NewVote, now: float) -> Vote:
    trial = server.trial_of(who, vote.trial)
    if trial is None:
        raise Refused("there is no such comparison of yours", 404)
    choices = (*server.design.question(trial.question).choices, "skip")
    if vote.choice not in choices:
        raise Refused(f"{vote.choice!r} is no answer here: expected {', '.join(choices)}", 400)
    return Vote(
        vote.uuid,
        vote.trial,
        vote.choice,
        vote.rt_ms,
        vote.decoded_ms,
        *vote.viewport,
        vote.dpr,
        vote.at,
        now,
    )


async def get_image(request: Request) -> Response:
    """One image of one's own trial. No ETag: whatever it were made of could be compared."""
    server, who, _ = _agreed(request)
    trial = server.trial_of(who, request.path_params["trial"])
    side = request.path_params["side"]
    if trial is None or side not in ("left", "right"):
        raise Refused("there is no such image", 404)
    shown = await run_in_threadpool(server.images.shown, trial)
    headers = {"cache-control": "private, max-age=86400, immutable"}
    return Response(getattr(shown, side), media_type="image/png", headers=headers)


async def get_totals(request: Request) -> Response:
    server = _server(request)
    totals = await server.database.write(lambda c: server.desk.totals())
    return answer({"questions": totals, "annotators": len(server.consented)})


async def post_people(request: Request) -> Response:
    server = _server(request)
    asked = await body_of(request, Invite)
    _, token = await server.database.write(lambda c: server.access.invite(c, asked.name, asked.role))
    return answer({"link": f"/enter#{token}"})


async def study_page(request: Request) -> Response:
    try:
        await person_of(request)
    except Refused as refused:
        if refused.status != 401:
            raise
        return RedirectResponse("/enter", 303)
    state = request.app.state
    template = state.templates.get_template("study_arena.html")
    text = template.render(static=f"/static/{state.static.digest}", page="study")
    return Response(text, media_type="text/html")


async def to_study(request: Request) -> Response:
    return RedirectResponse("/study", 303)


ROUTES = [
    Route("/", to_study),
    Route("/review", to_study),
    Route("/enter", pages.enter_page),
    Route("/study", study_page),
    Route("/study/image/{trial}/{side}", api(get_image)),
    Route("/static/{digest}/{name:path}", pages.static_file),
    Route("/favicon.ico", pages.icon),
    Route("/api/enter", enter, methods=["POST"]),
    Route("/api/study", api(get_study)),
    Route("/api/study/consent", api(post_consent), methods=["POST"]),
    Route("/api/study/next", api(post_next), methods=["POST"]),
    Route("/api/study/votes", api(post_votes), methods=["POST"]),
    Route("/api/study/totals", api(get_totals, "curator")),
    Route("/api/people", api(post_people, "admin"), methods=["POST"]),
]
