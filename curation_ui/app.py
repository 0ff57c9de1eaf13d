"""The review app: routes over one opened queue. Starts without torch or ray."""

from __future__ import annotations

import hashlib

from starlette.applications import Starlette
from starlette.middleware import Middleware

from curation_ui import pages, routes_grid, routes_map, routes_people, routes_review
from curation_ui.asking import HANDLERS
from curation_ui.exporting import Exporter
from curation_ui.guards import Guards, Limits
from curation_ui.review import Settings, open_review
from curation_ui.snapshots import Snapshots


def create_app(settings: Settings) -> Starlette:
    """The app, with its queue opened: ``app.state.review``; close that when done.

    Raises:
        MashbillError: the queue cannot be opened.
    """
    static = pages.read_static()
    review = open_review(settings, static.digest)
    app = Starlette(
        routes=[
            *pages.ROUTES,
            *routes_review.ROUTES,
            *routes_grid.ROUTES,
            *routes_map.ROUTES,
            *routes_people.ROUTES,
        ],
        middleware=[Middleware(Guards, hosts=settings.hosts)],
        exception_handlers=HANDLERS,
    )
    queue = f"{settings.store.url} {settings.version.dataset} {settings.database}"
    app.state.review = review
    app.state.static = static
    app.state.templates = pages.read_templates()
    app.state.cookie = f"mashbill-{hashlib.sha256(queue.encode()).hexdigest()[:8]}"
    app.state.limits = {
        "enter": Limits(5 / 60, 5),
        "entries": Limits(100, 500),
        "events": Limits(50, 400),
        "queries": Limits(5, 30),
        "requests": Limits(200, 800),
    }
    app.state.snapshots = Snapshots()
    app.state.exporter = Exporter(review)
    app.state.public_url = settings.public_url
    app.state.columns = app.state.overview = None
    return app
