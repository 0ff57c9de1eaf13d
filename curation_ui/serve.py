"""Runs the review server until it is told to stop, then writes the decisions out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import uvicorn
from starlette.applications import Starlette

from curation_ui.app import create_app
from curation_ui.exporting import EVERY_S
from curation_ui.review import Review, Settings
from store.decisions import Decisions
from store.errors import MashbillError

GARBAGE = 1_000_000
"""Objects more than were there, before cycles among them are looked for."""
READY_S = 2.0
"""After the start, so as not to be in the way of the first page."""


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve a queue at ``host:port`` (0: any free port) until a signal; prints the link to enter with.

    When it ends, the decisions are exported.

    Raises:
        MashbillError: the port is taken, or the queue cannot be opened.
    """
    with listen(host, port) as listener:
        app = create_app(settings)
        review: Review = app.state.review
        base = settings.public_url or f"http://{shown(host)}:{listener.getsockname()[1]}"
        print(
            f"review {settings.version.dataset}@{settings.version.version}: {base}/enter#{review.enter_token}"
        )
        gc.freeze()
        gc.set_threshold(GARBAGE)  # a batch makes a million objects, and nearly none of them in cycles
        print("Ctrl+C stops; every decision is kept at once", flush=True)
        try:
            run(app, listener, _beside(app))
            if app.state.exporter.changed():
                print(exported(app.state.exporter.export()), flush=True)
        finally:
            review.close()


def exported(found: Decisions) -> str:
    """Where an export lies, for people."""
    about = found.about()
    return (
        f"{about['decided']} of {about['queue']} decided ({found.coverage:.1%}): "
        f"{(found.location / found.export).url}.parquet"
    )


def run(app: Starlette, listener: socket.socket, beside: Coroutine[Any, Any, None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then return; ``beside`` runs meanwhile."""

    async def serving() -> None:
        task = asyncio.create_task(beside) if beside else None
        try:
            await uvicorn.Server(server_config(app)).serve([listener])
        finally:
            if task:
                task.cancel()

    signal.signal(signal.SIGTERM, _interrupt)  # uvicorn raises it again when it is done
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serving())


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


async def _beside(app: Starlette) -> None:
    """What the server does when nobody asks: ready the columns for the first query, then export."""
    await asyncio.sleep(READY_S)
    await asyncio.to_thread(app.state.review.catalog.make_ready)
    await _export_now_and_then(app)


async def _export_now_and_then(app: Starlette) -> None:
    """So that a build that waits for decisions sees them come."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            if await asyncio.to_thread(app.state.exporter.changed):
                await asyncio.to_thread(app.state.exporter.export)
        except (MashbillError, OSError) as error:  # tried again in a minute, and said if it stays so
            print(f"mashbill: the decisions were not exported: {error}", file=sys.stderr, flush=True)


def server_config(app: Starlette) -> uvicorn.Config:
    """No access log: it would hold what people look at. No headers that say who we are."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=64 << 10,
        limit_concurrency=500,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any that is free.

    Raises:
        MashbillError: the port is taken, or there is no such address.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # proto: else delays
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        raise MashbillError(
            f"cannot listen at {host}:{port} ({error.strerror}). Give another with --port, or 0 for any."
        ) from error
    return listener


def shown(host: str) -> str:
    """The address as it is written in a URL."""
    return f"[{host}]" if ":" in host else host
