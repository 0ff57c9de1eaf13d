"""Every state in both themes against axe, and what axe does not know: reflow, focus, size, motion."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.curation_ui.browser.at_page import Server, saved

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
STATIC = Path(__file__).resolve().parents[3] / "curation_ui" / "static"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 320, "height": 640}}


def violations(page: Page) -> list[str]:
    """What axe finds, by rule and place."""
    page.evaluate(AXE.read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "async (tags) => (await axe.run(document, {runOnly: tags, resultTypes: ['violations']})).violations",
        TAGS,
    )
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


def states(page: Page) -> list[str]:
    """Walks through the states of the page; the violations of each."""
    found = []

    def look(state: str) -> None:
        found.extend(f"{state}: {text}" for text in violations(page))

    look("fresh")
    for key in ("x", "1", "p", "ArrowLeft", "d", "t"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    look("decided")
    page.keyboard.press("?")
    page.locator("[data-action=crop]").click()
    look("keys")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    look("crop")
    page.keyboard.press("Escape")
    page.locator("#caption-text").fill("a caption that is being written " * 9)
    page.wait_for_timeout(400)
    look("caption")
    page.keyboard.press("Escape")
    page.locator("#query").fill("width:>>")
    page.keyboard.press("Enter")
    expect(page.locator("#query-error")).not_to_be_empty()
    look("wrong filter")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing(enter: Callable[..., Page], theme: str, size: str) -> None:
    page = enter(color_scheme=theme, viewport=SIZES[size])
    assert states(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_at_the_door(server: Server, chromium: Browser, theme: str) -> None:
    context = chromium.new_context(color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{server.url}/enter#wrong")
    expect(page.locator("#enter-error")).not_to_be_empty()
    assert "#" not in page.url
    token = page.locator("#token")
    assert token.get_attribute("autocomplete") == "one-time-code"  # WCAG 3.3.8: paste and managers work
    assert violations(page) == []
    token.fill(server.link)
    page.keyboard.press("Enter")
    page.wait_for_url("**/review")
    context.close()


def test_320_pixels_need_no_sideways_scrolling(enter: Callable[..., Page]) -> None:
    page = enter(viewport=SIZES["narrow"])
    for keys in ([], ["?"], ["Escape", "c"], ["Escape", "d", "p"]):
        for key in keys:
            page.keyboard.press(key)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, keys


@pytest.mark.parametrize("size", SIZES)
def test_focus_goes_everywhere_is_seen_and_is_not_trapped(enter: Callable[..., Page], size: str) -> None:
    page = enter(viewport=SIZES[size])
    page.evaluate("document.body.focus()")
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => { const at = document.activeElement;
              if (at === document.body) return null;
              const box = at.getBoundingClientRect();
              const spots = [[.5, .5], [.1, .2], [.9, .8]].map(([x, y]) =>
                document.elementFromPoint(box.left + box.width * x, box.top + box.height * y));
              const clear = spots.some((spot) => spot && (at.contains(spot) || spot.contains(at)));
              const ring = getComputedStyle(at).outlineStyle !== 'none';
              return [at.id || at.textContent.trim().slice(0, 20) || at.tagName, clear, ring]; }"""
        )
        if name is None or name in seen:
            break
        seen.append(name)
    names = [name for name, _, _ in seen]
    assert [one for one in seen if not (one[1] and one[2])] == []  # WCAG 2.4.11 and 2.4.7
    assert {"query", "help-button", "crop-button", "caption-text"} <= set(names)
    assert len(seen) < 60  # WCAG 2.1.2: the end of the page was reached


def test_nothing_moves_while_deciding(page: Page) -> None:
    frame = page.locator("#stage")
    before = frame.bounding_box()
    shifts = page.evaluate(
        "() => { window.shifts = []; new PerformanceObserver((list) => list.getEntries().forEach((entry) =>"
        " window.shifts.push(entry.value))).observe({type: 'layout-shift', buffered: false}); }"
    )
    for key in ("p", "x", "1", "p", "Backspace", "ArrowRight"):
        page.keyboard.press(key)
        page.wait_for_timeout(120)
    saved(page)
    assert shifts is None
    assert frame.bounding_box() == before


def test_a_verdict_is_said_in_words_and_signs(page: Page) -> None:
    for key in ("x", "2", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator("#verdict")).to_have_text("✕ Rejected: Text")
    expect(page.locator("#last-list button")).to_have_attribute(
        "aria-label", "Image " + page.locator("#facts").inner_text().split()[1] + ", rejected"
    )


def test_script_and_style_of_the_review_page_are_small(enter: Callable[..., Page], server: Server) -> None:
    page = enter()
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').map(({name}) => name).filter((n) => /\\.(js|css)$/.test(n))"
    )
    names = {name.rsplit("/", 1)[1] for name in loaded}
    assert {"review.js", "app.css", "send.js"} <= names
    sizes = {name: len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in names}
    assert sum(sizes.values()) <= 60 << 10, json.dumps(sizes)
    everything = sum(file.stat().st_size for file in STATIC.rglob("*") if file.is_file())
    assert everything <= 400 << 10
