"""The overview and the people page: numbers, charts and their tables, invitations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_page import invite, saved
from tests.curation_ui.browser.at_pages import asked, go, sideways
from tests.curation_ui.browser.test_looks import SIZES, violations


def decide(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)
    saved(page)


def row(page: Page, table: str, head: str) -> list[str]:
    """The cells beside a row's head."""
    found = page.locator(f"#{table} tbody tr").filter(has=page.locator("th", has_text=head))
    return found.locator("td").all_text_contents()


def test_the_overview_tells_what_happened(page: Page) -> None:
    decide(page, "p", "p", "x", "1", "Shift+Digit2")
    go(page, "overview")
    expect(page.locator("#tiles")).to_contain_text("4 (15.4%)")
    assert row(page, "funnel-table", "Kept") == ["2", "7.7%"]
    assert row(page, "funnel-table", "Rejected") == ["2", "7.7%"]
    assert row(page, "reasons-table", "Hands") == ["1", "50%"]
    assert row(page, "people-table", "Owner")[0] == "4"
    assert page.locator("#hours rect.bar").count() == page.locator("#hours-table tbody tr").count() >= 1
    label = page.locator("#funnel svg").get_attribute("aria-label") or ""
    assert "In the queue 26, Decided 4, ✓ Kept 2, ✕ Rejected 2" in label
    widths = page.locator("#funnel rect.bar").evaluate_all("all => all.map((one) => one.width.baseVal.value)")
    assert widths[1] == pytest.approx(widths[0] * 4 / 26, rel=1e-3)


def test_an_empty_overview_says_so(page: Page) -> None:
    go(page, "overview")
    expect(page.locator("#reasons")).to_contain_text("Nothing was rejected")
    expect(page.locator("#disagreed-none")).to_be_visible()


def test_disagreement_is_shown_and_leads_to_the_image(enter: Callable[..., Page]) -> None:
    owner = enter()
    link = invite(owner, "Ana")
    at = int(owner.locator("#facts").inner_text().split()[1])
    decide(owner, "p")
    other = enter(link)
    event = {"uuid": "an-opinion-of-ana", "item": at, "kind": "reject", "base": 0}
    status, found = asked(other, "/api/events", {"events": [event]})
    assert (status, found["results"][0]["status"]) == (200, "second_opinion")
    go(other, "overview")
    expect(other.locator("#disagreed img")).to_have_attribute("alt", f"Image {at}")
    assert row(other, "funnel-table", "Second opinions")[0] == "1"
    assert row(other, "people-table", "Ana")[3] == "0% of 1"


def test_a_link_is_made_shown_once_and_works(enter: Callable[..., Page]) -> None:
    page = go(enter(), "people")
    page.locator("#invite-name").fill("<b>Ana</b>")
    page.locator("#invite-role").select_option("annotator")
    page.locator("#invite-button").click()
    expect(page.locator("#invited-link")).to_be_focused()
    link = page.locator("#invited-link").input_value()
    expect(page.locator("#people")).to_contain_text("<b>Ana</b>")
    page.reload()
    expect(page.locator("#people tr")).to_have_count(2)
    expect(page.locator("#invited")).to_be_hidden()
    other = enter(link)
    assert other.locator("nav a", has_text="People").count() == 0
    assert other.context.request.get(f"{other.url.split('/review')[0]}/people").status == 403
    page.get_by_role("button", name="Remove <b>Ana</b>").click()
    page.keyboard.press("Escape")
    expect(page.locator("#people tr")).to_have_count(2)
    page.get_by_role("button", name="Remove <b>Ana</b>").click()
    page.locator("#remove-do").click()
    expect(page.locator("#people tr")).to_have_count(1)
    other.reload()
    other.wait_for_url("**/enter")


def test_a_name_twice_is_refused_in_words(enter: Callable[..., Page]) -> None:
    page = enter()
    invite(page, "Ana")
    go(page, "people")
    page.locator("#invite-name").fill("Ana")
    page.keyboard.press("Enter")
    expect(page.locator("#invite-error")).to_contain_text("somebody here is called Ana already")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_in_overview_and_people(enter: Callable[..., Page], theme: str, size: str) -> None:
    page = enter(color_scheme=theme, viewport=SIZES[size])
    found = violations(go(page, "overview"))
    go(page, "review")
    page.wait_for_selector("#frame img")
    decide(page, "p", "Shift+Digit1")
    go(page, "overview")
    for summary in page.locator("summary").all():
        summary.click()
    found += violations(page)
    assert sideways(page) <= 0
    found += violations(go(page, "people"))
    page.locator("#invite-name").fill("Ana")
    page.keyboard.press("Enter")
    expect(page.locator("#invited")).to_be_visible()
    found += violations(page)
    page.get_by_role("button", name="Remove Ana").click()
    found += violations(page)
    assert found == []
    assert sideways(page) <= 0
