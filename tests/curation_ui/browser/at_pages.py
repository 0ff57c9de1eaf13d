"""What tests do on the pages beside the review page."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page

ROLES = {"annotator", "curator", "admin"}


def go(page: Page, where: str) -> Page:
    """Opens a page such as ``grid#at=3`` and waits until it is there."""
    base = page.url.split("/", 3)
    page.goto("about:blank")  # else a change behind the # opens nothing
    page.goto(f"{base[0]}//{base[2]}/{where}")
    page.wait_for_selector("html[data-ready]", state="attached")
    return page


def asked(page: Page, path: str, body: dict[str, Any] | None = None) -> Any:
    """The server's answer to this person, in the page."""
    found = page.evaluate(
        "async ([path, body]) => { const answer = await fetch(path, body && {method: 'POST', headers: "
        "{'Content-Type': 'application/json'}, body}); return [answer.status, await answer.text()]; }",
        [path, None if body is None else json.dumps(body)],
    )
    return found[0], json.loads(found[1])


def verdicts(page: Page) -> list[str | None]:
    """Of all items, in their order, as the server has them."""
    _, made = asked(page, "/api/snapshots", {})
    _, found = asked(page, f"/api/snapshots/{made['snapshot']}/cards?start=0&count=256")
    return [card["verdict"] for card in found["cards"]]


def cell(page: Page, position: int) -> Locator:
    """The cell at a position, from 1."""
    return page.locator(f'.cell[aria-label^="{position:,} of "]')


def sideways(page: Page) -> int:
    """Pixels that the page is too wide."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def module(name: str) -> str:
    """JavaScript that imports a module of the pages as ``it``."""
    return (
        "const base = document.querySelector('link[rel=stylesheet]').href.replace(/[^/]+$/, '');"
        f"const it = await import(base + '{name}');"
    )
