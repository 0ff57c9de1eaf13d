"""A real queue of real images, a real server, and a real Chromium that watches for what must not happen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.curation_ui.browser.at_page import WAIT_MS, Server, ready, serving

expect.set_options(timeout=WAIT_MS)
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"> & </script><script>document.title='owned'</script>",
    "\u202egnirts lanoitceridib\u202c مرحبا بالعالم \u2066mixed\u2069",
    "=cmd|' /C calc'!A0 {{ 7 * 7 }} {% raw %} ${1+1} \u0000 nul",
    "pneumonoultramicroscopic" * 40,
)
RECIPE = """
from dataclasses import replace
from pipelines.recipes.l_pp import l_pp
from stages.select.keep_best import KeepBest


def with_copies():
    parent = l_pp()
    select = tuple(rule for rule in parent.select if not isinstance(rule, KeepBest))
    return replace(parent, name="with-copies", select=select)
"""


@pytest.fixture(scope="session")
def queue_store(
    tmp_path_factory: pytest.TempPathFactory,
    make_jpeg: Callable[[int, int, int], bytes],
    cli: Callable[..., Any],
    folder_source: Callable[..., list[str]],
) -> Path:
    """A store of 26 images: four with hostile captions, and one that lies there four times."""
    folder = tmp_path_factory.mktemp("queue")
    photos = folder / "photos"
    photos.mkdir()
    for number in range(26):
        seed = 3 if number in (4, 5, 6) else number
        width, height = (640, 480) if seed == 3 or number % 2 else (512, 640)
        (photos / f"{number:02d}.jpg").write_bytes(make_jpeg(width, height, seed) + bytes(number))
        caption = HOSTILE[number] if number < len(HOSTILE) else f"a soft picture of number {number}, in color"
        (photos / f"{number:02d}.txt").write_text(caption, "utf-8")
    (folder / "with_copies.py").write_text(RECIPE)
    options = ["--set", "pack.resolutions=", "--set", "min_side.min_px=64", "--workers", "1", "--json"]
    recipe = f"{folder / 'with_copies.py'}:with_copies"
    done = cli("build", recipe, "--store", folder / "store", *folder_source(photos, 30), *options)
    assert done.code == 0, done.err
    assert done.json["kept"] == 26
    return folder / "store"


@pytest.fixture
def store(queue_store: Path, tmp_path: Path) -> Path:
    """A copy of the store for one test."""
    return shutil.copytree(queue_store, tmp_path / "store")


@pytest.fixture
def server(store: Path) -> Iterator[Server]:
    with serving(store) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watch:
    """What must stay empty of one test's pages: policy violations, errors, requests to others."""

    origin: str
    violations: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.expose_binding("cspViolation", lambda _, text: self.violations.append(text))
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', (event) => "
            "cspViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));"
        )
        context.on("console", self._said)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        # Chromium reports every failed request here; the tests that cut the line expect those.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin, "data:", "blob:")):
            self.strangers.append(url)


@pytest.fixture
def enter(chromium: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Opens the review page for a new person: the owner first, with a ``link`` whoever it invites."""
    watch = Watch(server.url)
    contexts: list[BrowserContext] = []

    def opened(link: str = "", **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        watch.over(context)
        page = context.new_page()
        page.goto(link or server.link)
        page.wait_for_url("**/review")
        ready(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert (watch.violations, watch.errors, watch.strangers) == ([], [], [])


@pytest.fixture
def page(enter: Callable[..., Page]) -> Page:
    """The owner's review page."""
    return enter()
