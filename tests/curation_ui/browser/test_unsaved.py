"""No decision is lost: offline, across a reload, and when the server dies."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, Route, expect

from tests.curation_ui.browser.at_page import Server, card, current, ready, saved, serving_alone


def test_offline_decisions_are_sent_when_the_line_is_back(page: Page, server: Server) -> None:
    page.wait_for_timeout(500)
    page.context.set_offline(True)
    items = []
    for key in ("p", "x", "p", "p"):
        items.append(current(page))
        page.keyboard.press(key)
    expect(page.locator("#unsaved")).to_have_text("4 unsaved, offline")
    assert server.events() == []
    page.context.set_offline(False)
    saved(page)
    assert server.events() == [("keep",), ("reject",), ("keep",), ("keep",)]
    assert [card(page, item)["verdict"] for item in items] == ["keep", "reject", "keep", "keep"]


def test_a_reload_keeps_what_is_unsaved(page: Page, server: Server) -> None:
    """What a page sends while it closes may get past the route: then it is sent twice, and taken once."""
    page.context.route("**/api/events", lambda route: route.abort())
    items = []
    for _ in range(3):
        items.append(current(page))
        page.keyboard.press("p")
    expect(page.locator("#unsaved")).to_have_text("3 unsaved, offline")
    page.reload()
    expect(page.locator("#unsaved")).to_contain_text("3 unsaved")
    page.context.unroute_all()
    saved(page)
    assert server.events() == [("keep",)] * 3
    assert all(card(page, item)["verdict"] == "keep" for item in items)


def test_a_server_that_dies_loses_nothing_and_is_sent_the_rest(store: Path, chromium: Browser) -> None:
    with serving_alone(store) as (server, process):
        context = chromium.new_context()
        page = context.new_page()
        page.goto(server.link)
        page.wait_for_url("**/review")
        ready(page)
        for _ in range(4):
            page.keyboard.press("p")
        saved(page)
        process.kill()
        process.wait(20)
        for _ in range(5):
            page.keyboard.press("x")
        expect(page.locator("#unsaved")).to_have_text("5 unsaved, offline")
        assert server.events() == [("keep",)] * 4
        with serving_alone(store, server.port):
            saved(page)
            assert server.events() == [("keep",)] * 4 + [("reject",)] * 5
            assert len(set(server.events("uuid"))) == 9
        context.close()


def test_an_answer_that_was_lost_is_asked_for_again(page: Page, server: Server) -> None:
    lost = []

    def lose(route: Route) -> None:
        answer = route.fetch()
        assert answer.ok
        lost.append(answer.json()["results"])
        route.abort()

    page.context.route("**/api/events", lose, times=1)
    page.keyboard.press("p")
    page.keyboard.press("p")
    with page.expect_response("**/api/events") as again:
        pass
    saved(page)
    assert {result["status"] for result in lost[0]} == {"done"}
    assert "repeat" in {result["status"] for result in again.value.json()["results"]}
    assert server.events() == [("keep",), ("keep",)]
