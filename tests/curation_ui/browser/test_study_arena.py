"""The study page in a real Chromium: what is shown when, what keys do, what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from curation_ui.study.report import page as report_page
from curation_ui.study.votes import Vote, read_votes
from tests.curation_ui.browser.conftest import Watch
from tests.curation_ui.study_fixture import SECRET, Served, make, serving, small, write_models
from tests.curation_ui.test_study_report import results_of

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
Opened = Callable[..., Page]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(make(tmp_path, small(votes=1, extra_votes=0), write_models(tmp_path))) as found:
        yield found


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Opened]:
    """Opens the study page for a new annotator; nothing may break the policy, err, or ask elsewhere."""
    watches: list[Watch] = []
    contexts: list[BrowserContext] = []

    def opened(served: Served, **options: object) -> Page:
        origin = f"http://127.0.0.1:{served.port}"
        watches.append(Watch(origin))
        contexts.append(chromium.new_context(**{"viewport": {"width": 1000, "height": 800}, **options}))
        contexts[-1].set_default_timeout(30_000)
        watches[-1].over(contexts[-1])
        page = contexts[-1].new_page()
        [(_, token)] = served.server.invite(1)
        page.goto(f"{origin}/enter#{token}")
        page.wait_for_url("**/study")
        return page

    yield opened
    for context in contexts:
        context.close()
    for watch in watches:
        assert (watch.violations, watch.errors, watch.strangers) == ([], [], [])


def begin(page: Page) -> None:
    page.get_by_role("button", name="I agree").click()
    page.get_by_role("button", name="Begin").click()
    votable(page)


def votable(page: Page) -> None:
    """Waits until both images stand there and may be voted on."""
    expect(page.locator('[data-choice="left"]')).to_be_enabled()
    assert page.locator("#pair img").count() == 2


def shown(page: Page) -> str:
    return str(page.locator("#left img").get_attribute("src"))


def votes(served: Served) -> list[Vote]:
    return served.server.database.submit_read(read_votes).result()


def until(page: Page, served: Served, count: int) -> list[Vote]:
    """The votes, when there are so many; a held one is sent after some seconds."""
    for _ in range(150):
        found = votes(served)
        if len(found) >= count:
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"{len(votes(served))} votes, expected {count}")


def test_a_study_by_keys_alone(served: Served, visit: Opened):
    page = visit(served)
    expect(page.locator("#note-title")).to_have_text("Before you begin")
    page.keyboard.press("Enter")
    expect(page.locator("#note-title")).to_have_text("Which image has better visual quality?")
    page.keyboard.press("Enter")
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight"):
        votable(page)
        page.keyboard.press(key)
    expect(page.locator("#note-title")).to_contain_text("follows the prompt")
    assert [v.choice for v in until(page, served, 6)] == ["left", "right", "both", "none", "left", "right"]
    page.keyboard.press("Enter")
    for _ in range(6):
        votable(page)
        expect(page.locator("#prompt")).to_contain_text("prompt number")
        page.keyboard.press("ArrowDown")
    expect(page.locator("#note-title")).to_have_text("That was all")
    found = until(page, served, 12)
    assert len(found) == 12
    assert found[0].viewport_width == 1000
    assert found[0].decoded_ms > 0
    expect(page.locator("#unsaved")).to_have_text("")


def test_nothing_is_shown_or_votable_before_both_images_are_decoded(served: Served, visit: Opened):
    page = visit(served)
    waiting: list[Route] = []
    page.route("**/study/image/*/right", lambda route: waiting.append(route))
    page.get_by_role("button", name="I agree").click()
    page.get_by_role("button", name="Begin").click()
    page.wait_for_timeout(700)
    assert waiting
    assert page.locator("#pair img").count() == 0
    expect(page.locator('[data-choice="left"]')).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    assert votes(served) == []
    page.unroute("**/study/image/*/right")  # lets go of those that wait
    votable(page)


def test_the_prompt_is_nowhere_in_the_first_pass(served: Served, visit: Opened):
    page = visit(served)
    bodies: list[str] = []
    page.on("response", lambda r: bodies.append(r.text()) if "/api/" in r.url else None)
    begin(page)
    for _ in range(3):
        votable(page)
        html = page.content()
        for hidden in ("prompt number", SECRET, "student"):
            assert hidden not in html
            assert hidden not in page.title()
            assert hidden not in page.url
            assert not any(hidden in body for body in bodies)
        alts = [image.get_attribute("alt") for image in page.locator("#pair img").all()]
        assert alts == ["Image A", "Image B"]
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(50)


def test_both_images_are_displayed_equally_large(served: Served, visit: Opened):
    page = visit(served)
    begin(page)
    left, right = (page.locator(f"#{side} img").bounding_box() for side in ("left", "right"))
    assert left is not None
    assert right is not None
    assert (left["width"], left["height"], left["y"]) == (right["width"], right["height"], right["y"])
    sizes = page.locator("#pair img").evaluate_all("all => all.map(i => [i.naturalWidth, i.naturalHeight])")
    assert sizes[0] == sizes[1]


def test_zoom_shows_the_same_place_in_both(served: Served, visit: Opened):
    page = visit(served)
    begin(page)
    page.keyboard.press("Space")
    expect(page.locator("#look")).to_have_attribute("aria-pressed", "true")
    page.locator("#left").hover(position={"x": 40, "y": 60})
    styles = page.locator("#pair img").evaluate_all(
        "images => images.map(i => [i.style.transform, i.style.transformOrigin])"
    )
    assert styles[0] == styles[1]
    assert styles[0][0].startswith("scale(")
    before = styles[0][1]
    page.keyboard.press("Shift+ArrowRight")
    after = page.locator("#left img").evaluate("image => image.style.transformOrigin")
    assert float(after.split("%")[0]) == pytest.approx(float(before.split("%")[0]) + 10, abs=0.01)
    assert votes(served) == []
    page.keyboard.press("Space")
    expect(page.locator("#look")).to_have_attribute("aria-pressed", "false")


def test_a_vote_can_be_taken_back_before_the_next(served: Served, visit: Opened):
    page = visit(served)
    begin(page)
    first = shown(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "first => document.querySelector('#left img')?.getAttribute('src') !== first", arg=first
    )
    votable(page)
    page.keyboard.press("Backspace")
    page.wait_for_function(
        "first => document.querySelector('#left img')?.getAttribute('src') === first", arg=first
    )
    votable(page)
    page.keyboard.press("ArrowRight")
    votable(page)
    page.keyboard.press("ArrowDown")
    assert [v.choice for v in until(page, served, 2)] == ["right", "both"]


def test_votes_wait_for_the_line_and_survive_a_reload(served: Served, visit: Opened):
    page = visit(served)
    begin(page)
    page.route("**/api/study/votes", lambda route: route.abort())
    page.keyboard.press("ArrowLeft")
    votable(page)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#unsaved")).to_contain_text("unsaved")
    assert votes(served) == []
    page.reload()
    expect(page.locator("#unsaved")).to_contain_text("unsaved")
    page.unroute("**/api/study/votes")
    page.reload()
    found = until(page, served, 2)
    assert [v.choice for v in found] == ["left", "right"]


def test_practice_tells_right_from_wrong(tmp_path: Path, visit: Opened):
    study = make(tmp_path, small(votes=1, extra_votes=0, practice=1), write_models(tmp_path))
    with serving(study) as served:
        page = visit(served)
        begin(page)
        expect(page.locator("#question")).to_contain_text("practice")
        [trial] = [t for t in served.server.desk.trials.values() if t.kind == "practice"]
        page.keyboard.press("ArrowRight" if trial.left_is_a else "ArrowLeft")
        expect(page.locator("#said")).to_contain_text("spoiled on purpose")
        expect(page.locator("#question")).not_to_contain_text("practice")


def test_pauses_and_answers_that_are_not_offered(tmp_path: Path, visit: Opened):
    question = replace(small().questions[0], choices=("left", "right"))
    design = small(votes=1, extra_votes=0, questions=(question,), block=2)
    with serving(make(tmp_path, design, write_models(tmp_path))) as served:
        page = visit(served)
        begin(page)
        expect(page.get_by_role("button", name="Both the same")).to_be_hidden()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowLeft")
        votable(page)
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#note-title")).to_have_text("Time for a pause")
        assert len(until(page, served, 2)) == 2
        page.keyboard.press("Enter")
        votable(page)


def test_flip_shows_one_at_a_time_in_one_place(tmp_path: Path, visit: Opened):
    with serving(make(tmp_path, small(layout="flip"), write_models(tmp_path))) as served:
        page = visit(served)
        begin(page)
        expect(page.locator("#left")).to_be_visible()
        expect(page.locator("#right")).to_be_hidden()
        before = page.locator("#left").bounding_box()
        page.keyboard.press("Space")
        expect(page.locator("#left")).to_be_hidden()
        assert page.locator("#right").bounding_box() == before


def test_hostile_prompts_are_text(tmp_path: Path, visit: Opened):
    models = write_models(tmp_path, prompts=1)
    hostile = "<img src=x onerror=\"document.title='owned'\"> </script> \u202egnirts {{ 7 }} " + "long" * 300
    for folder in ("student", SECRET):
        (tmp_path / folder / "000_0.txt").write_text(hostile)
    design = small(questions=small().questions[1:])
    with serving(make(tmp_path, design, models)) as served:
        page = visit(served, viewport={"width": 320, "height": 640})
        begin(page)
        assert page.locator("#prompt").text_content() == hostile
        assert page.title() != "owned"
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1440])
def test_every_state_is_accessible(served: Served, visit: Opened, scheme: str, width: int):
    page = visit(served, viewport={"width": width, "height": 800}, color_scheme=scheme)
    expect(page.locator("#note-title")).to_have_text("Before you begin")
    accessible(page)
    page.get_by_role("button", name="I agree").click()
    accessible(page)
    page.get_by_role("button", name="Begin").click()
    votable(page)
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("Space")
    accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1440])
def test_the_report_is_accessible(chromium: Browser, tmp_path: Path, scheme: str, width: int):
    file = tmp_path / "report.html"
    file.write_text(report_page(results_of(small(gold=0.05)) | {"made_at": 0.0}), "utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(file.as_uri())
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    accessible(page)
    context.close()


def accessible(page: Page) -> None:
    # The policy of the page forbids scripts of others: the check runs in the context of the test.
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("tags => axe.run({ runOnly: tags }).then((r) => r.violations)", TAGS)
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
