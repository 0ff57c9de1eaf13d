"""The map: points of every image, areas by hand and by numbers, and the way to the grid."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_pages import asked, go, module, sideways
from tests.curation_ui.browser.test_looks import SIZES, STATIC, violations

RECIPE = """
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.recipes.l_pp import l_pp
from stages.select.keep_best import KeepBest
from stages.stage import Batch, MapStage


@dataclass(frozen=True)
class Placed(MapStage):
    name: ClassVar[str] = "placed"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("width", "height")
    writes: ClassVar[pa.Schema] = pa.schema([("placed_x", pa.float32()), ("placed_y", pa.float32())])

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def run(batch):
            at = range(batch.size)
            return {"placed_x": [k / 10 for k in at], "placed_y": [None if k == 0 else k % 5 for k in at]}
        return run


def with_copies():
    parent = l_pp()
    select = tuple(rule for rule in parent.select if not isinstance(rule, KeepBest))
    return replace(parent, name="with-copies", select=select, columns=(*parent.columns, Placed()))
"""
MODULES = ("map_page.js", "map_hand.js", "map_area.js", "map_paint.js")


@pytest.fixture(scope="session")
def placed_store(
    queue_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
    cli: Callable[..., Any],
    folder_source: Callable[..., list[str]],
) -> Path:
    """The store of the other tests with a version that has places on a plane, but for one image."""
    folder = tmp_path_factory.mktemp("placed")
    shutil.copytree(queue_store, folder / "store")
    (folder / "placed_copies.py").write_text(RECIPE)
    options = ["--set", "pack.resolutions=", "--set", "min_side.min_px=64", "--workers", "1", "--json"]
    photos = folder_source(queue_store.parent / "photos", 30)
    recipe = f"{folder / 'placed_copies.py'}:with_copies"
    done = cli("build", recipe, "--store", folder / "store", *photos, *options)
    assert done.code == 0, done.err
    return folder / "store"


@pytest.fixture
def placed(placed_store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(placed_store, tmp_path / "store")


class TestWithoutPlaces:
    def test_the_page_says_how_to_get_a_map(self, page: Page) -> None:
        go(page, "map")
        expect(page.locator("#none")).to_contain_text("NAME_x")
        expect(page.locator("#map")).to_be_hidden()
        assert asked(page, "/api/map") == (200, {"columns": []})
        assert violations(page) == []
        loaded = page.evaluate("performance.getEntriesByType('resource').map(({name}) => name)")
        assert not [name for name in loaded if name.endswith(MODULES)]

    def test_what_draws_is_small_and_comes_only_when_needed(self) -> None:
        assert sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in MODULES) <= 40 << 10


class TestWithPlaces:
    @pytest.fixture
    def store(self, placed: Path) -> Path:
        return placed

    @pytest.fixture
    def map(self, page: Page) -> Page:
        go(page, "map")
        expect(page.locator("#legend li")).to_have_count(3)
        return page

    def test_an_area_in_numbers_becomes_a_set_in_the_grid(self, map: Page) -> None:
        for name, value in (("x-from", "2.05"), ("x-to", "0.45"), ("y-from", "-1"), ("y-to", "2.5")):
            map.locator(f"#{name}").fill(value)
        map.keyboard.press("Enter")
        expected = [k for k in range(26) if 0.45 < k / 10 < 2.05 and k % 5 <= 2]
        expect(map.locator("#selected")).to_have_text(f"{len(expected)} selected")
        expect(map.locator("#legend li").first).to_contain_text(f"{len(expected)} of 26")
        map.locator("#to-grid").click()
        map.wait_for_selector(".cell.loaded")
        expect(map.locator("#where")).to_have_text(f"1 of {len(expected)}")
        expect(map.locator("#area-name")).to_contain_text("placed")
        items = map.locator(".cell:visible").evaluate_all("all => all.map((one) => Number(one.dataset.item))")
        assert len(items) == len(expected)
        map.locator("#query").fill("width:<600")
        map.keyboard.press("Enter")
        expect(map.locator("#where")).not_to_have_text(f"1 of {len(expected)}")
        map.locator("#area-clear").click()
        expect(map.locator("#area")).to_be_hidden()

    def test_a_lasso_selects_what_it_holds(self, map: Page) -> None:
        box = map.locator("#points").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        corners = [(-0.49, -0.49), (0.49, -0.49), (0.49, 0.49), (-0.49, 0.49)]
        for number, (right, down) in enumerate(corners):
            map.mouse.move(x + right * box["width"], y + down * box["height"], steps=5)
            if number == 0:
                map.mouse.down()
        map.mouse.up()
        expect(map.locator("#selected")).to_have_text("25 selected")  # one image has no place
        assert map.locator("#some img").count() == 12
        map.locator("#points").focus()
        map.keyboard.press("Escape")
        expect(map.locator("#selected")).to_have_text("None selected")

    def test_keys_and_buttons_look_around(self, map: Page) -> None:
        shot = map.locator("#room").screenshot
        before = shot()
        map.locator("#points").focus()
        for key in ("+", "ArrowRight", "ArrowUp"):
            map.keyboard.press(key)
        map.wait_for_timeout(100)
        assert shot() != before
        map.locator("#zoom-all").click()
        map.locator("#move-mode").click()
        map.mouse.wheel(0, -200)
        map.locator("#zoom-out").click()
        assert map.locator("#move-mode").get_attribute("aria-pressed") == "true"

    def test_colors_come_with_marks_names_and_counts(self, map: Page) -> None:
        map.locator("#color").select_option("width")
        expect(map.locator("#legend li")).to_have_count(6)
        counts = map.locator("#legend .fine").all_inner_texts()
        assert sum(map_count(text) for text in counts) == 26
        assert map.locator("#legend canvas").count() == 6
        status, found = asked(map, "/api/colors/caption/labels")
        assert (status, "at most 20" in found["error"]) == (400, True)

    def test_wrong_areas_are_refused(self, map: Page) -> None:
        for body, status in (
            ({"map": "nowhere", "area": [0, 0, 1, 0, 1, 1]}, 404),
            ({"map": "placed", "area": [0, 0, 1, 0]}, 400),
            ({"map": "placed", "area": [0, 0, 1, 0, 1]}, 400),
        ):
            assert asked(map, "/api/snapshots", body)[0] == status
        assert asked(map, "/api/map/caption")[0] == 404

    @given(st.lists(st.tuples(st.floats(-1, 4), st.floats(-2, 6)), min_size=3, max_size=9))
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_page_and_server_mean_the_same_area(self, map: Page, corners: list[tuple[float, float]]) -> None:
        here = map.evaluate(
            f"""async (outline) => {{ {module("map_area.js")}
              const area = it.tidy(outline), bytes = await (await fetch('/api/map/placed')).arrayBuffer();
              const points = {{x: new Float32Array(bytes, 4, 26), y: new Float32Array(bytes, 108, 26)}};
              return [area, it.inside(points, area).reduce((sum, one) => sum + one, 0)]; }}""",
            [value for corner in corners for value in corner],
        )
        area, count = here
        map.wait_for_timeout(220)  # a person may ask five times a second
        assert asked(map, "/api/snapshots", {"map": "placed", "area": area})[1]["count"] == count

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("size", SIZES)
    def test_axe_finds_nothing_on_the_map(self, enter: Callable[..., Page], theme: str, size: str) -> None:
        page = go(enter(color_scheme=theme, viewport=SIZES[size]), "map")
        expect(page.locator("#legend li")).to_have_count(3)
        found = violations(page)
        page.locator("#area button").click()
        expect(page.locator("#selected")).to_have_text("25 selected")
        assert found + violations(page) == []
        assert sideways(page) <= 0


def map_count(text: str) -> int:
    return int(text.replace(",", ""))
