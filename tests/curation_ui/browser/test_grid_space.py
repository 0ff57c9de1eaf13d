"""The grid over any number of images: everything within reach, few elements; and the sets of positions."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_pages import cell, go, module


@pytest.fixture
def grid(page: Page) -> Page:
    go(page, "grid")
    page.wait_for_selector(".cell.loaded")
    return page


MILLION = """
async () => {{ {imported}
  document.getElementById('grid').replaceChildren();
  const view = new it.GridView({{
    card: (at) => ({{item: at, thumb: `/thumb/${{at % 26}}/192`, width: 9, height: 9,
      caption: `image ${{at}}`, verdict: null, reasons: [], version: 0, cluster_size: 1}}), want: () => {{}}
  }}, {{ onOpen: () => {{}}, onCursor: (at) => {{ window.stands = at; }}, onSelect: () => {{}} }});
  window.view = view;
  view.use({count}, 0);
}}"""


@pytest.mark.parametrize("count", [1_000_000, 5_000_000])
def test_a_million_images_are_within_reach(grid: Page, count: int) -> None:
    grid.evaluate(MILLION.format(imported=module("grid_view.js"), count=count))
    grid.evaluate("view.stand(0)")
    spacer = grid.evaluate("document.getElementById('grid-spacer').offsetHeight")
    assert spacer <= 8_000_000
    for key, position in (
        ("End", count),
        ("Home", 1),
        ("PageDown", None),
        ("End", count),
        ("ArrowLeft", count - 1),
    ):
        grid.keyboard.press(key)
        if position:
            expect(cell(grid, position)).to_be_focused()
            assert grid.evaluate("stands") == position - 1
    assert grid.evaluate("document.querySelectorAll('*').length") <= 400
    # The scrollbar's end is the last image, and the wheel moves by rows whatever the scrollbar makes of it.
    grid.evaluate("document.getElementById('grid-scroller').scrollTop = 0")
    grid.wait_for_selector('.cell[aria-label^="1 of "]')
    before = grid.evaluate("view.offset")
    grid.locator("#grid-scroller").hover()
    grid.mouse.wheel(0, 300)
    grid.wait_for_function(f"Math.abs(view.offset - {before} - 300) < 2")
    grid.evaluate("document.getElementById('grid-scroller').scrollTop = 1e9")
    expect(cell(grid, count)).to_be_visible()
    assert grid.evaluate("document.querySelectorAll('*').length") <= 400


@given(st.integers(1, 10**7), st.integers(120, 4000), st.integers(80, 2200), st.floats(0, 1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_image_has_a_place(grid: Page, count: int, width: int, height: int, where: float) -> None:
    at = int(where * (count - 1))
    found = grid.evaluate(
        f"""async () => {{ {module("grid_space.js")}
          const space = new it.Space({count}, {width}, {height});
          const offset = space.offsetFor({at}, 0), row = Math.floor({at} / space.columns);
          const back = space.offsetOf(space.scrollOf(offset));
          return [space.spacer, space.rowsAt(offset), row, Math.abs(back - offset),
            space.rowsAt(space.mostOffset)[1], space.rows]; }}"""
    )
    spacer, (first, last), row, error, end, rows = found
    assert spacer <= 8e6
    assert first <= row <= last
    assert error < 1e-3
    assert end == rows - 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(1, 20)), max_size=12))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_are_sets_of_positions(grid: Page, steps: list[tuple[bool, int, int]]) -> None:
    expected: set[int] = set()
    for adds, start, length in steps:
        some = set(range(start, start + length))
        expected = expected | some if adds else expected - some
    found = grid.evaluate(
        f"""async (steps) => {{ {module("grid_ranges.js")}
          const ranges = new it.Ranges();
          for (const [adds, start, length] of steps) ranges[adds ? 'add' : 'remove'](start, start + length);
          const list = ranges.list;
          return [ranges.positions(), ranges.count, Array.from({{length: 90}}, (_, at) => ranges.has(at)),
            list.every(([a, b], i) => a < b && (i === 0 || list[i - 1][1] < a))]; }}""",
        json.loads(json.dumps(steps)),
    )
    positions, count, has, apart = found
    assert positions == sorted(expected)
    assert (count, apart) == (len(expected), True)
    assert [at for at, there in enumerate(has) if there] == sorted(expected)
