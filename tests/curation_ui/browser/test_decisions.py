"""Keys become events: keep, reject, reasons, undo, duplicates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_page import Server, card, current, invite, saved


def test_one_key_decides_and_shows_the_next_image(page: Page, server: Server) -> None:
    items = []
    for key in ("p", "x", "p"):
        items.append(current(page))
        page.keyboard.press(key)
    saved(page)
    assert len({*items, current(page)}) == 4
    assert [card(page, item)["verdict"] for item in items] == ["keep", "reject", "keep"]
    assert server.events() == [("keep",), ("reject",), ("keep",)]
    assert page.locator("#last-list button").count() == 3
    expect(page.locator("#progress")).to_have_text("23 left · 3 by you now")


@pytest.mark.parametrize("keys", [["x", "1"], ["Shift+Digit1"]])
def test_a_reason_is_part_of_the_stroke(page: Page, server: Server, keys: list[str]) -> None:
    item = current(page)
    for key in keys:
        page.keyboard.press(key)
    expect(page.locator("#facts")).not_to_contain_text(f"Image {item} ")
    saved(page)
    assert card(page, item)["reasons"] == ["hands"]
    assert server.events("kind, payload") == [("reject", '{"reasons":["hands"]}')]


def test_two_reasons_and_one_taken_away_again(page: Page, server: Server) -> None:
    item = current(page)
    for key in ("x", "1", "2", "1"):
        page.keyboard.press(key)
    saved(page)
    assert card(page, item)["reasons"] == ["text"]
    assert len(server.events()) == 1


def test_a_late_digit_is_no_reason(page: Page, server: Server) -> None:
    page.keyboard.press("x")
    saved(page)  # the stroke is held back for 1.2 s and then sent
    page.keyboard.press("1")
    page.keyboard.press("p")
    saved(page)
    assert server.events("kind, payload")[0] == ("reject", "{}")


def test_undo_brings_the_image_back(page: Page, server: Server) -> None:
    first = current(page)
    page.keyboard.press("p")
    second = current(page)
    page.keyboard.press("x")
    page.keyboard.press("Backspace")
    assert current(page) == second
    page.keyboard.press("Control+z")
    assert current(page) == first
    expect(page.locator("#verdict")).to_have_text("· Undecided")
    saved(page)
    assert server.events() == [("keep",), ("reject",), ("undo",), ("undo",)]
    assert card(page, first)["verdict"] is None
    expect(page.locator("#progress")).to_have_text("26 left · 0 by you now")


def test_undo_after_a_reload_undoes_what_the_server_has(page: Page, server: Server) -> None:
    item = current(page)
    page.keyboard.press("p")
    saved(page)
    page.reload()
    page.wait_for_selector("#frame img")
    page.keyboard.press("Backspace")
    expect(page.locator("#facts")).to_contain_text(f"Image {item} ")
    assert card(page, item)["verdict"] is None
    assert server.events() == [("keep",), ("undo",)]


def test_a_held_key_counts_once(page: Page, server: Server) -> None:
    page.keyboard.down("p")
    for _ in range(5):
        page.keyboard.down("p")  # what a held key sends: event.repeat
    page.keyboard.up("p")
    saved(page)
    assert server.events() == [("keep",)]


def test_back_and_another_decision(page: Page, server: Server) -> None:
    item = current(page)
    page.keyboard.press("p")
    page.keyboard.press("ArrowLeft")
    assert current(page) == item
    expect(page.locator("#verdict")).to_have_text("✓ Kept")
    page.keyboard.press("u")
    expect(page.locator("#verdict")).to_have_text("· Undecided")
    page.keyboard.press("x")
    saved(page)
    assert server.events() == [("keep",), ("unset",), ("reject",)]
    assert card(page, item)["verdict"] == "reject"


def test_keep_this_reject_the_rest_is_one_stroke(page: Page, server: Server) -> None:
    for _ in range(26):
        if "4" in page.locator("#duplicates-count").inner_text():
            break
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(80)
    item = current(page)
    page.keyboard.press("d")
    expect(page.locator("#duplicates-list button")).to_have_count(4)
    page.keyboard.press("Shift+P")
    expect(page.locator("#facts")).not_to_contain_text(f"Image {item} ")
    saved(page)
    assert [kind for (kind,) in server.events()] == ["reject"] * 3 + ["keep"]
    assert card(page, item)["verdict"] == "keep"
    page.keyboard.press("Backspace")
    saved(page)
    assert [kind for (kind,) in server.events()[4:]] == ["undo"] * 4
    assert card(page, item)["verdict"] is None


def test_the_whole_queue_to_its_end(page: Page, server: Server) -> None:
    for _ in range(26):
        page.wait_for_selector("#frame img")
        page.keyboard.press("p")
    expect(page.locator("#done-title")).to_be_visible()
    saved(page)
    assert server.events() == [("keep",)] * 26
    page.keyboard.press("Backspace")
    page.wait_for_selector("#frame img")
    saved(page)
    assert len(server.events()) == 27


def test_no_two_people_get_the_same_image(page: Page, enter: Callable[..., Page], server: Server) -> None:
    other = enter(invite(page, "Ben"))
    mine, theirs = set(), set()
    for _ in range(6):
        mine.add(current(page))
        theirs.add(current(other))
        page.keyboard.press("p")
        other.keyboard.press("x")
    saved(page)
    saved(other)
    assert len(mine) == len(theirs) == 6
    assert not mine & theirs
