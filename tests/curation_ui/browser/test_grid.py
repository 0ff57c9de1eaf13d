"""The grid: moving, selecting, deciding, batches and undo, filters, and any number of images."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_page import Server, saved
from tests.curation_ui.browser.at_pages import asked, cell, go, sideways, verdicts
from tests.curation_ui.browser.test_looks import SIZES, violations

HERE = re.compile("^[0-9,]+ of 26")


@pytest.fixture
def grid(page: Page) -> Page:
    go(page, "grid")
    page.wait_for_selector(".cell.loaded")
    return page


def stand(page: Page, position: int) -> None:
    page.locator("#jump-to").fill(str(position))
    page.keyboard.press("Enter")
    expect(cell(page, position)).to_be_focused()


def test_keys_move_the_cursor_and_the_focus_follows(grid: Page) -> None:
    columns = int(grid.locator("#grid").get_attribute("aria-colcount") or 0)
    stand(grid, 1)
    for key, position in (
        ("ArrowRight", 2),
        ("ArrowDown", 2 + columns),
        ("ArrowUp", 2),
        ("End", 26),
        ("ArrowRight", 26),
        ("Home", 1),
        ("PageDown", None),
    ):
        grid.keyboard.press(key)
        if position:
            expect(cell(grid, position)).to_be_focused()
            expect(grid.locator("#where")).to_have_text(f"{position} of 26")
    assert grid.locator(".cell[tabindex='0']").count() == 1


def test_the_grid_says_what_it_is(grid: Page) -> None:
    layer = grid.locator("#grid")
    columns, rows = (int(layer.get_attribute(name) or 0) for name in ("aria-colcount", "aria-rowcount"))
    assert layer.get_attribute("role") == "grid"
    assert rows == -(-26 // columns)
    stand(grid, columns + 2)
    at = grid.locator(":focus")
    assert at.get_attribute("aria-colindex") == "2"
    assert at.locator("xpath=..").get_attribute("aria-rowindex") == "2"
    assert HERE.match(at.get_attribute("aria-label") or "")
    assert "undecided" in (at.get_attribute("aria-label") or "")


def test_one_key_decides_and_undo_takes_it_back(grid: Page, server: Server) -> None:
    stand(grid, 5)
    grid.keyboard.press("x")
    expect(cell(grid, 5)).to_have_attribute("aria-label", re.compile("rejected"))
    expect(cell(grid, 5).locator(".sign")).to_have_text("✕")
    expect(grid.locator("#said")).to_contain_text("5 of 26: rejected")
    saved(grid)
    assert verdicts(grid)[4] == "reject"
    grid.keyboard.press("Control+z")
    expect(cell(grid, 5)).to_have_attribute("aria-label", re.compile("undecided"))
    saved(grid)
    assert server.events() == [("reject",), ("undo",)]


def test_a_range_is_selected_by_shift_and_decided_with_a_reason(grid: Page, server: Server) -> None:
    stand(grid, 3)
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Shift+Digit2"):
        grid.keyboard.press(key)
    expect(grid.locator("#selected")).to_have_text("3 selected")
    saved(grid)
    assert verdicts(grid)[2:5] == ["reject"] * 3
    assert server.events("kind, payload") == [("reject", '{"reasons":["text"]}')] * 3
    assert len({batch for (batch,) in server.events("batch")}) == 1
    grid.keyboard.press("Backspace")
    saved(grid)
    expect(cell(grid, 4)).to_have_attribute("aria-label", re.compile("undecided"))
    assert verdicts(grid)[2:5] == [None] * 3


def test_pointer_selects_ranges_and_single_cells(grid: Page) -> None:
    grid.locator("#select-mode").click()
    cell(grid, 2).click()
    cell(grid, 5).click(modifiers=["Shift"])
    expect(grid.locator("#selected")).to_have_text("4 selected")
    cell(grid, 3).click(modifiers=["Control"])
    expect(grid.locator("#selected")).to_have_text("3 selected")
    assert cell(grid, 3).get_attribute("aria-selected") == "false"
    grid.keyboard.press("p")
    saved(grid)
    assert verdicts(grid)[:6] == [None, "keep", None, "keep", "keep", None]
    grid.keyboard.press("Escape")
    expect(grid.locator("#selected")).to_have_text("None selected")


def test_a_range_is_selected_by_numbers(grid: Page) -> None:
    grid.locator("#range-from").fill("20")
    grid.locator("#range-to").fill("11")
    grid.keyboard.press("Enter")
    expect(grid.locator("#selected")).to_have_text("10 selected")


def test_words_are_replaced_in_the_filtered_set_after_a_preview(grid: Page, server: Server) -> None:
    grid.locator("#query").fill('caption:"soft picture"')
    grid.keyboard.press("Enter")
    expect(grid.locator("#where")).to_have_text("1 of 22")
    grid.locator("#captions").click()
    grid.locator("#batch-find").fill("soft picture of")
    grid.locator("#batch-replace").fill("<b>painting</b> of")
    grid.keyboard.press("Enter")
    expect(grid.locator("#batch-count")).to_have_text("22 of 22 images change.")
    expect(grid.locator("#batch-rows tr").first).to_contain_text("<b>painting</b> of")
    assert server.events() == []
    grid.locator("#batch-do").click()
    expect(grid.locator("#said")).to_contain_text("done for 22")
    expect(grid.locator(".cell .line").first).to_contain_text("<b>painting</b> of")
    assert server.events() == [("caption",)] * 22
    grid.locator("[data-do=undo]").click()
    expect(grid.locator(".cell .line").first).to_contain_text("soft picture of")
    assert len(server.events()) == 44


def test_a_large_selection_is_previewed_and_undone_as_one(grid: Page, server: Server) -> None:
    _, made = asked(grid, "/api/snapshots", {"query": "NOT verdict:keep"})
    body = {"snapshot": made["snapshot"], "ranges": [[0, 3], [2, 5], [20, 99]], "kind": "keep"}
    status, found = asked(grid, "/api/batch", {**body, "preview": True})
    assert (status, found["count"], found["changes"], len(found["examples"])) == (200, 11, 11, 10)
    status, found = asked(grid, "/api/batch", {**body, "uuid": "batch-uuid-1"})
    assert (status, found["count"]) == (200, 11)
    assert asked(grid, "/api/batch", {**body, "uuid": "batch-uuid-1"}) == (status, found)
    assert verdicts(grid) == ["keep"] * 5 + [None] * 15 + ["keep"] * 6
    grid.reload()
    grid.wait_for_selector(".cell.loaded")
    stand(grid, 1)
    grid.keyboard.press("Control+z")
    expect(grid.locator("#said")).to_contain_text("11 images")
    assert verdicts(grid) == [None] * 26
    assert len(server.events()) == 22


def test_filter_and_order_keep_the_image_under_the_cursor(grid: Page) -> None:
    stand(grid, 9)
    item = grid.locator(":focus").get_attribute("data-item")
    grid.locator("#sort").select_option("-sharpness")
    expect(grid.locator("#where")).not_to_have_text("9 of 26")
    expect(grid.locator(".cell[tabindex='0']")).to_have_attribute("data-item", item or "")
    grid.locator("#query").fill("width:>oops")
    grid.keyboard.press("Enter")
    expect(grid.locator("#query-error")).to_contain_text("expected a number")
    grid.locator("#query").fill("width:>100000")
    grid.keyboard.press("Enter")
    expect(grid.locator("#empty")).to_be_visible()
    grid.keyboard.press("p")
    grid.locator("#filter-clear").click()
    expect(grid.locator("#where")).to_contain_text("of 26")


def test_enter_and_click_open_the_image_and_back_returns(grid: Page) -> None:
    stand(grid, 7)
    item = grid.locator(":focus").get_attribute("data-item")
    grid.keyboard.press("Enter")
    grid.wait_for_url("**/review#item=*")
    expect(grid.locator("#facts")).to_contain_text(f"Image {item} ")
    grid.go_back()
    expect(grid.locator("#where")).to_have_text("7 of 26")
    cell(grid, 2).click()
    grid.wait_for_url("**/review#item=*")


def test_hostile_captions_are_only_text(grid: Page) -> None:
    texts = grid.locator(".cell .line").all_inner_texts()
    assert any("<script>" in text for text in texts)
    assert grid.title() == "Grid - mashbill"
    assert grid.locator(".cell script, .cell img[onerror]").count() == 0


def test_annotators_decide_few_at_once_and_change_no_captions(enter: Callable[..., Page]) -> None:
    _, made = asked(enter(), "/api/people", {"name": "Ana", "role": "annotator"})
    page = go(enter(made["link"]), "grid")
    page.wait_for_selector(".cell.loaded")
    expect(page.locator("#captions")).to_be_hidden()
    stand(page, 1)
    for key in ("Control+a", "p"):
        page.keyboard.press(key)
    saved(page)
    assert verdicts(page) == ["keep"] * 26
    _, made = asked(page, "/api/snapshots", {})
    body = {"snapshot": made["snapshot"], "stop": 26, "kind": "unset", "uuid": "batch-of-ana"}
    assert asked(page, "/api/batch", body)[0] == 403


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_in_the_grid(enter: Callable[..., Page], theme: str, size: str) -> None:
    page = go(enter(color_scheme=theme, viewport=SIZES[size]), "grid")
    page.wait_for_selector(".cell.loaded")
    found = violations(page)
    stand(page, 2)
    for key in ("x", "Shift+ArrowRight", "Shift+Digit1", "ArrowRight", "Space"):
        page.keyboard.press(key)
    found += violations(page)
    page.keyboard.press("?")
    found += violations(page)
    page.keyboard.press("Escape")
    page.locator("#captions").click()
    page.locator("#batch-find").fill("soft")
    page.keyboard.press("Enter")
    page.wait_for_selector("#batch-do:visible, #batch-error:not(:empty)")
    found += violations(page)
    assert sideways(page) <= 0
    page.keyboard.press("Escape")
    page.locator("#query").fill("width:>>")
    page.keyboard.press("Enter")
    expect(page.locator("#query-error")).not_to_be_empty()
    assert found + violations(page) == []
    assert sideways(page) <= 0


def test_nothing_is_trapped_and_the_focus_is_seen(grid: Page) -> None:
    stand(grid, 1)
    grid.keyboard.press("End")
    box, frame = grid.locator(":focus").bounding_box(), grid.locator("#grid-scroller").bounding_box()
    assert box is not None
    assert frame is not None
    assert box["y"] >= frame["y"] - 1
    assert box["y"] + box["height"] <= frame["y"] + frame["height"] + 1  # WCAG 2.4.11
    grid.keyboard.press("Tab")
    assert grid.evaluate("document.activeElement.closest('#grid')") is None  # one stop, then out
    grid.keyboard.press("Shift+Tab")
    expect(cell(grid, 26)).to_be_focused()


def test_single_keys_can_be_switched_off(grid: Page, server: Server) -> None:
    grid.evaluate(
        "fetch('/api/keys', {method: 'PUT', headers: {'Content-Type': 'application/json'},"
        " body: JSON.stringify({keys: {}, single_keys: false})})"
    )
    go(grid, "grid")
    grid.wait_for_selector(".cell.loaded")
    stand(grid, 1)
    grid.keyboard.press("x")
    assert server.events() == []
