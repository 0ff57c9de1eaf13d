"""Crops: by keys alone, by digits, by numbers, by dragging; never outside the image."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_page import Server, card, current, saved


def test_a_crop_with_keys_alone(page: Page, server: Server) -> None:
    item = current(page)
    told = card(page, item)
    page.keyboard.press("c")
    expect(page.locator("#crop-form")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("-")
    width = int(page.locator("#crop-width").input_value())
    assert width == int(page.locator("#crop-height").input_value()) < min(told["width"], told["height"])
    left, top = (int(page.locator(f"#crop-{side}").input_value()) for side in ("left", "top"))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#crop-form")).to_be_hidden()
    saved(page)
    box = [max(0, left - 1), max(0, top - 10)]
    assert card(page, item)["crop"] == [*box, box[0] + width, box[1] + width]
    assert server.events() == [("crop",)]
    page.keyboard.press("Backspace")
    saved(page)
    assert card(page, item)["crop"] == told["crop"]


def test_the_whole_image_by_the_digit_zero(page: Page, server: Server) -> None:
    item = current(page)
    told = card(page, item)
    for key in ("c", "0", "Enter"):
        page.keyboard.press(key)
    saved(page)
    assert card(page, item)["crop"] == [0, 0, told["width"], told["height"]]


def test_numbers_shapes_and_no_way_out_of_the_image(page: Page, server: Server) -> None:
    item = current(page)
    told = card(page, item)
    page.keyboard.press("c")
    page.locator("#crop-left").fill("100000")
    page.locator("#crop-width").fill("200")
    page.locator("#crop-height").fill("100")
    page.keyboard.press("Tab")  # numbers count when the field is left
    page.locator("#crop-aspect").select_option(index=1)  # the one shape of this dataset: 1:1
    assert page.locator("#crop-width").input_value() == page.locator("#crop-height").input_value()
    page.locator("#crop-save").click()
    saved(page)
    left, top, right, bottom = card(page, item)["crop"]
    assert 0 <= left < right <= told["width"]
    assert 0 <= top < bottom <= told["height"]
    assert right - left == bottom - top == 200


def test_dragging_moves_and_a_corner_resizes(page: Page) -> None:
    page.keyboard.press("c")
    page.keyboard.press("1")
    for _ in range(12):
        page.keyboard.press("-")
    sides = ("left", "top", "width", "height")
    before = {side: int(page.locator(f"#crop-{side}").input_value()) for side in sides}
    box = page.locator("#cropper").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 15, box["y"] + box["height"] / 2 - 12)
    page.mouse.up()
    moved = {side: int(page.locator(f"#crop-{side}").input_value()) for side in sides}
    assert moved["left"] < before["left"]
    assert moved["top"] < before["top"]
    assert (moved["width"], moved["height"]) == (before["width"], before["height"])
    corner = page.locator("[data-corner=rb]").bounding_box()
    assert corner is not None
    page.mouse.move(corner["x"] + 12, corner["y"] + 12)
    page.mouse.down()
    page.mouse.move(corner["x"] - 30, corner["y"] - 20)
    page.mouse.up()
    resized = {side: int(page.locator(f"#crop-{side}").input_value()) for side in sides}
    assert (resized["left"], resized["top"]) == (moved["left"], moved["top"])
    assert resized["width"] < moved["width"]
    assert resized["height"] < moved["height"]


def test_escape_leaves_the_crop_and_keys_below_rest(page: Page, server: Server) -> None:
    item = current(page)
    for key in ("c", "p", "ArrowRight", "Escape"):
        page.keyboard.press(key)
    expect(page.locator("#crop-form")).to_be_hidden()
    assert current(page) == item
    assert server.events() == []
