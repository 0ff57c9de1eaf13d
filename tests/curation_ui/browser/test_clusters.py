"""Clusters: keep one of those that look alike, the best of many, and undo."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_page import Server, saved
from tests.curation_ui.browser.at_pages import asked, go, sideways, verdicts
from tests.curation_ui.browser.test_looks import SIZES, violations


@pytest.fixture
def clusters(page: Page) -> Page:
    go(page, "clusters")
    page.wait_for_selector(".member img")
    return page


def members(page: Page) -> list[int]:
    """Items of the first cluster, in the order in which they are shown."""
    return [int(text.split()[1]) for text in page.locator(".members").first.locator("a").all_inner_texts()]


def test_one_key_keeps_the_chosen_image_and_rejects_the_rest(clusters: Page, server: Server) -> None:
    assert clusters.locator("#where").inner_text() == "1 to 1 of 1 clusters"
    items = members(clusters)
    assert len(items) == 4
    clusters.locator(".member").first.focus()
    clusters.keyboard.press("ArrowRight")
    expect(clusters.locator(".member").nth(1)).to_be_focused()
    clusters.keyboard.press("Shift+P")
    saved(clusters)
    found = verdicts(clusters)
    assert [found[item] for item in items] == ["reject", "keep", "reject", "reject"]
    assert sorted(server.events("kind, payload")) == [("keep", "{}")] + 3 * [
        ("reject", '{"reasons":["duplicate"]}')
    ]
    expect(clusters.locator(".cluster .verdict")).to_have_text("✓ decided")
    expect(clusters.locator("#said")).to_have_text("No later cluster has anything undecided.")
    clusters.keyboard.press("Control+z")
    expect(clusters.locator(".cluster .verdict")).to_have_text("")
    assert verdicts(clusters) == [None] * 26
    assert len(server.events()) == 8


def test_the_best_by_a_column_comes_first(clusters: Page) -> None:
    expect(clusters.locator("#by")).to_have_value("sharpness")
    shown = [
        float(text.split()[-1].replace(",", "")) for text in clusters.locator(".members p").all_inner_texts()
    ]
    assert shown == sorted(shown, reverse=True)
    expect(clusters.locator(".members p").first).to_contain_text("best")
    clusters.locator("#by").select_option("")
    expect(clusters.locator(".members p").first).to_contain_text("first")
    items = members(clusters)
    assert items == sorted(items)
    clusters.locator("#by").select_option("width")
    expect(clusters.locator(".members p").first).to_contain_text("best")
    clusters.reload()
    expect(clusters.locator("#by")).to_have_value("width")


def test_the_best_of_many_after_a_preview_but_not_what_people_decided(clusters: Page, server: Server) -> None:
    items = members(clusters)
    clusters.locator("#accept button").click()
    expect(clusters.locator("#batch-count")).to_have_text("4 of 4 images change.")
    assert server.events() == []
    expect(clusters.locator("#batch-do")).to_be_focused()
    clusters.keyboard.press("Enter")
    expect(clusters.locator("#said")).to_contain_text("done for 4")
    found = verdicts(clusters)
    assert [found[item] for item in items] == ["keep", "reject", "reject", "reject"]
    clusters.locator("#accept button").click()
    expect(clusters.locator("#said")).to_have_text("Nothing is undecided from here on.")
    clusters.locator("[data-do=undo]").click()
    expect(clusters.locator("#said")).to_contain_text("4 images")
    assert verdicts(clusters) == [None] * 26


def test_single_images_and_the_way_to_the_review_page(clusters: Page) -> None:
    items = members(clusters)
    clusters.locator(".member").nth(2).click()
    assert clusters.locator(".member").nth(2).get_attribute("aria-pressed") == "true"
    clusters.keyboard.press("x")
    saved(clusters)
    expect(clusters.locator(".member").nth(2).locator(".sign")).to_have_text("✕ rejected")
    assert verdicts(clusters)[items[2]] == "reject"
    clusters.keyboard.press("Enter")
    clusters.wait_for_url(f"**/review#item={items[2]}")


def test_an_unknown_column_is_refused(clusters: Page) -> None:
    status, found = asked(clusters, "/api/clusters?by=caption")
    assert status == 400
    assert re.search("column of numbers", found["error"])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_among_clusters(enter: Callable[..., Page], theme: str, size: str) -> None:
    page = go(enter(color_scheme=theme, viewport=SIZES[size]), "clusters")
    page.wait_for_selector(".member img")
    found = violations(page)
    page.locator(".member").first.focus()
    page.keyboard.press("x")
    page.keyboard.press("?")
    found += violations(page)
    page.keyboard.press("Escape")
    page.locator("#accept button").click()
    page.wait_for_selector("#batch-do:visible")
    found += violations(page)
    page.keyboard.press("Escape")
    page.locator(".member").first.focus()
    page.keyboard.press("Shift+P")
    found += violations(page)
    assert found == []
    assert sideways(page) <= 0
