"""A review server under test, and what tests do and ask at its page."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Page, expect

from curation_ui.app import create_app
from curation_ui.review import Settings
from curation_ui.serve import server_config
from curation_ui.tokens import open_counter
from store.store import open_store
from store.versions import find_version

ROOT = Path(__file__).resolve().parents[3]
WAIT_MS = 30_000
DATASET = "with-copies"
ALONE = f"""
import sys
from curation_ui.review import Settings
from curation_ui.serve import serve
from store.store import open_store
from store.versions import find_version
store = open_store(sys.argv[1])
serve(Settings(store, find_version(store, {DATASET!r})), "127.0.0.1", int(sys.argv[2]))
"""


@dataclass
class Server:
    """Where a review server is, and the database it writes."""

    store: Path
    port: int
    link: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def events(self, columns: str = "kind") -> list[tuple[Any, ...]]:
        """What is stored, in order."""
        file = self.store / "curation" / DATASET / "events.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as base:
            return base.execute(f"SELECT {columns} FROM event ORDER BY id").fetchall()


@contextlib.contextmanager
def serving(store: Path) -> Iterator[Server]:
    """A server in a thread of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened = open_store(store)
    counters = (open_counter("clip=tinyworld/models/clip-text:77"),)
    app = create_app(Settings(opened, find_version(opened, DATASET), counters=counters))
    running = uvicorn.Server(server_config(app))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield Server(store, port, f"http://127.0.0.1:{port}/enter#{app.state.review.enter_token}")
    finally:
        running.should_exit = True
        thread.join(20)
        app.state.review.close()


@contextlib.contextmanager
def serving_alone(store: Path, port: int = 0) -> Iterator[tuple[Server, subprocess.Popen[str]]]:
    """A server in a process of its own, which may be killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", ALONE, str(store), str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/enter#\S+", line)
        assert found, f"the server said: {line!r}"
        yield Server(store, int(found.group(1)), found.group(0)), process
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def ready(page: Page) -> None:
    """Waits until the first image stands there."""
    page.wait_for_selector("html[data-ready]", state="attached")
    page.wait_for_selector("#frame img")


def current(page: Page) -> int:
    """The item that is shown."""
    text = page.locator("#facts").inner_text()
    return int(text.split()[1])


def saved(page: Page) -> None:
    """Waits until the server has everything."""
    expect(page.locator("#unsaved")).to_have_text("all saved", timeout=WAIT_MS)


def card(page: Page, item: int) -> dict[str, Any]:
    """A card as the server tells it now."""
    answer = page.context.request.get(f"{page.url.split('/review')[0]}/api/cards?items={item}")
    found: dict[str, Any] = json.loads(answer.body())["cards"][0]
    return found


def invite(page: Page, name: str) -> str:
    """The link of a new curator."""
    found: dict[str, str] = page.evaluate(
        "async (name) => (await fetch('/api/people', {method: 'POST', headers: "
        "{'Content-Type': 'application/json'}, body: JSON.stringify({name, role: 'curator'})})).json()",
        name,
    )
    return found["link"]
