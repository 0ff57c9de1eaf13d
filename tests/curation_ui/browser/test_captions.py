"""Captions: correcting, taking a suggestion, two people at once, texts that mean harm; and the word diff."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.curation_ui.browser.at_page import Server, card, current, invite, saved
from tests.curation_ui.browser.conftest import HOSTILE

WORDS = ("a", "red", "fox", "fox,", "  two", "\nline", "é", "字", "", "A")


def test_enter_saves_keeps_and_goes_on_in_one_stroke(page: Page, server: Server) -> None:
    item = current(page)
    page.keyboard.press("e")
    page.locator("#caption-text").fill("")
    page.keyboard.type("p x u 1 z, all of it text")
    page.keyboard.press("Enter")
    expect(page.locator("#facts")).not_to_contain_text(f"Image {item} ")
    saved(page)
    found = card(page, item)
    assert (found["caption"], found["verdict"]) == ("p x u 1 z, all of it text", "keep")
    assert server.events() == [("caption",), ("keep",)]
    page.keyboard.press("Backspace")
    expect(page.locator("#facts")).to_contain_text(f"Image {item} ")
    saved(page)
    found = card(page, item)
    assert (found["caption"], found["verdict"]) == (found["caption_original"], None)


def test_escape_leaves_the_caption_as_it_was(page: Page, server: Server) -> None:
    before = page.locator("#caption-text").input_value()
    page.keyboard.press("e")
    page.keyboard.type("nothing of this")
    page.keyboard.press("Escape")
    assert page.locator("#caption-text").input_value() == before
    page.keyboard.press("p")
    saved(page)
    assert server.events() == [("keep",)]


def test_tokens_are_counted_while_typing(page: Page) -> None:
    expect(page.locator("#tokens")).to_contain_text("of 77 tokens")
    page.keyboard.press("e")
    page.locator("#caption-text").fill("red " * 90)
    expect(page.locator("#tokens .over")).to_contain_text("too many")


def test_a_digit_takes_a_suggestion_only_when_captions_are_on(page: Page, server: Server) -> None:
    item = current(page)
    first = card(page, item)["caption"]
    page.keyboard.press("e")
    page.locator("#caption-text").fill("another caption")
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#candidate-list li")).to_have_count(1)
    page.keyboard.press("1")
    assert current(page) == item
    page.keyboard.press("t")
    page.keyboard.press("1")
    expect(page.locator("#facts")).not_to_contain_text(f"Image {item} ")
    saved(page)
    assert card(page, item)["caption"] == first
    assert server.events() == [("caption",), ("caption",), ("keep",)]


def test_two_people_and_one_caption(page: Page, enter: Callable[..., Page], server: Server) -> None:
    item = current(page)
    base = card(page, item)["caption"]
    other = enter(invite(page, "Ben"))
    other.locator("#query").fill("split:train OR split:validation")
    other.keyboard.press("Enter")
    expect(other.locator("#progress")).to_contain_text("1 of 26 found")
    for _ in range(26):
        if current(other) == item:
            break
        other.keyboard.press("ArrowRight")
    assert current(other) == item
    for who, text in ((other, "theirs, by Ben"), (page, "mine, by the owner")):
        who.keyboard.press("e")
        who.locator("#caption-text").fill(text)
        who.keyboard.press("Shift+Enter")
        saved(who)
    expect(page.locator("#conflict-banner")).to_contain_text("Ben changed the caption")
    assert page.locator("#caption-text").input_value() == "theirs, by Ben"
    page.keyboard.press("r")
    expect(page.locator("#conflict-theirs")).to_contain_text("theirs")
    expect(page.locator("#conflict-mine")).to_contain_text("mine")
    expect(page.locator("#conflict-base")).to_have_text(base)
    page.keyboard.press("p")  # a key of the page below means nothing here
    page.keyboard.press("m")
    saved(page)
    assert card(page, item)["caption"] == "mine, by the owner"
    assert [kind for (kind,) in server.events()] == ["caption", "conflict", "caption"]


SEND = """(event) => fetch('/api/events', {method: 'POST', headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({events: [event]})}).then((answer) => answer.status)"""


def test_undo_after_a_conflict_says_what_it_takes_back(
    page: Page, enter: Callable[..., Page], server: Server
) -> None:
    """The caption was not taken, so undo means the decision before it, and the page goes there."""
    kept = current(page)
    page.keyboard.press("p")
    item = current(page)
    other = enter(invite(page, "Ben"))
    theirs = {"uuid": "by-ben-0001", "item": item, "kind": "caption", "caption": "by Ben", "base": 0}
    assert other.evaluate(SEND, theirs) == 200
    page.keyboard.press("e")
    page.locator("#caption-text").fill("mine, by the owner")
    page.keyboard.press("Shift+Enter")
    saved(page)
    expect(page.locator("#conflict-banner")).to_contain_text("Ben changed the caption")
    page.locator("#caption-text").blur()
    page.keyboard.press("Backspace")
    expect(page.locator("#facts")).to_contain_text(f"Image {kept} ")
    saved(page)
    assert (card(page, kept)["verdict"], card(page, item)["caption"]) == (None, "by Ben")
    assert server.events() == [("keep",), ("caption",), ("conflict",), ("undo",)]


def test_texts_that_mean_harm_stay_texts(page: Page, server: Server) -> None:
    seen = set()
    for _ in range(26):
        page.wait_for_selector("#frame img")
        item = current(page)
        told = card(page, item)
        seen.add(told["caption"])
        assert page.locator("#caption-text").input_value() == told["caption"].replace("\r", "")
        page.keyboard.press("ArrowRight")
    assert any("<img" in text for text in seen) or any("&lt;img" in text for text in seen)
    page.keyboard.press("e")
    for text in HOSTILE:
        page.locator("#caption-text").fill(text)
        page.wait_for_timeout(200)
    page.keyboard.press("Shift+Enter")
    saved(page)
    assert page.title() == "Review - mashbill"
    assert page.locator("main img[src='x'], main script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_caption_that_is_too_long_is_refused_in_words(page: Page, server: Server) -> None:
    item, before = current(page), page.locator("#caption-text").input_value()
    page.keyboard.press("e")
    page.locator("#caption-text").fill("字" * 7000)  # 21,000 bytes
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#refusal")).to_contain_text(f"Not saved (caption of image {item})")
    saved(page)
    assert card(page, item)["caption"] == before
    assert server.events() == []


def test_a_difference_joins_to_both_texts_and_is_as_small_as_can_be(page: Page) -> None:
    module = page.locator("script[type=module]").get_attribute("src") or ""
    rng = random.Random(5)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(12))) for _ in range(300)]
    edges = [("", ""), ("a", ""), ("", "a"), ("a " * 2000, "b")]
    pairs = [*zip(texts, reversed(texts), strict=True), *edges]
    found: list[dict[str, Any]] = page.evaluate(
        "async ({module, pairs}) => { const {difference, words} = await import(module);"
        " return pairs.map(([a, b]) => ({pieces: difference(a, b), a: words(a), b: words(b)})); }",
        {"module": module.replace("review.js", "diff.js"), "pairs": pairs},
    )
    for (before, after), told in zip(pairs, found, strict=True):
        pieces = told["pieces"]
        assert "".join(p["text"] for p in pieces if p["kind"] != "new") == before
        assert "".join(p["text"] for p in pieces if p["kind"] != "gone") == after
        assert "".join(told["a"]) == before
        if len(told["a"]) < 1500:
            kept = [p for p in pieces if p["kind"] == "same"]
            assert bool(kept) == (longest_common(told["a"], told["b"]) > 0)


def longest_common(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for word in a:
        before = row
        row = [0]
        for at, other in enumerate(b):
            row.append(before[at] + 1 if word == other else max(row[at], before[at + 1]))
    return row[-1]
