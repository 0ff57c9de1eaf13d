"""Keys: all shown, each rebindable, off on wish, never while typing."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_page import Server, current, saved


def test_the_overlay_shows_every_action_and_a_key_is_rebound(page: Page, server: Server) -> None:
    page.keyboard.press("?")
    buttons = page.locator("#help-keys button")
    assert buttons.count() == 18
    page.keyboard.press("p")  # the page below hears nothing
    page.locator("[data-action=keep]").click()
    page.keyboard.press("x")
    expect(page.locator("#help-note")).to_contain_text("X is taken")
    page.locator("[data-action=keep]").click()
    page.keyboard.press("k")
    expect(page.locator("#help-note")).to_have_text("Saved.")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("p")
    page.keyboard.press("k")
    saved(page)
    assert server.events() == [("keep",)]
    page.reload()
    page.wait_for_selector("#frame img")
    expect(page.locator("[data-do=keep]")).to_have_text("K Keep")
    page.keyboard.press("k")
    saved(page)
    assert server.events() == [("keep",), ("keep",)]


def test_single_keys_can_be_switched_off(page: Page, server: Server) -> None:
    item = current(page)
    page.keyboard.press("?")
    page.locator("#single-keys").uncheck()
    expect(page.locator("#help-note")).to_have_text("Saved.")
    page.keyboard.press("Escape")
    for key in ("p", "x", "Shift+P", "1", "e", "?"):
        page.keyboard.press(key)
    assert current(page) == item
    page.keyboard.press("ArrowRight")  # not a sign: stays
    assert current(page) != item
    page.locator("[data-do=keep]").click()
    saved(page)
    assert server.events() == [("keep",)]


def test_typing_is_not_deciding(page: Page, server: Server) -> None:
    item = current(page)
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("pxu12 z")
    page.keyboard.press("Backspace")
    assert page.locator("#query").input_value() == "pxu12 "
    page.keyboard.press("Escape")
    page.locator("#sort").focus()
    page.keyboard.press("x")
    assert current(page) == item
    assert server.events() == []


def test_space_on_a_button_presses_the_button_alone(page: Page, server: Server) -> None:
    page.locator("[data-do=reject]").focus()
    page.keyboard.press("Space")
    saved(page)
    assert server.events() == [("reject",)]


def place(page: Page) -> dict[str, float]:
    """Where the image lies, in CSS pixels."""
    box = page.locator("#frame img").bounding_box()
    assert box is not None
    return dict(box)


def test_zoom_shows_the_images_own_pixels_and_arrows_move_the_view(page: Page) -> None:
    page.set_viewport_size({"width": 900, "height": 560})
    item = current(page)
    page.mouse.move(300, 250)
    page.keyboard.press("z")
    own = "document.querySelector('#frame img').naturalWidth"
    assert place(page)["width"] == pytest.approx(page.evaluate(own), abs=0.01)
    before = place(page)
    page.keyboard.press("ArrowDown")
    assert current(page) == item
    assert place(page) != before
    page.keyboard.press("p")
    page.wait_for_selector("#frame img")
    assert place(page)["width"] == pytest.approx(page.evaluate(own), abs=0.01)
    page.keyboard.press("Escape")
    expect(page.locator("#zoom-button")).to_have_attribute("aria-pressed", "false")


def test_a_filter_makes_another_trail_and_the_queue_comes_back(page: Page) -> None:
    page.locator("#query").fill("width:>=600 AND NOT caption:bidirectional")
    page.keyboard.press("Enter")
    expect(page.locator("#query-count")).to_contain_text("found")
    expect(page.locator("#facts")).to_contain_text("640")
    page.locator("#query").fill("width:>>")
    page.keyboard.press("Enter")
    expect(page.locator("#query-error")).not_to_be_empty()
    expect(page.locator("#query")).to_have_attribute("aria-invalid", "true")
    page.locator("#filter-clear").click()
    expect(page.locator("#query-error")).to_be_empty()
    expect(page.locator("#progress")).to_contain_text("left")
    page.locator("#sort").select_option("-sharpness")
    expect(page.locator("#progress")).to_contain_text("1 of 26 found")
