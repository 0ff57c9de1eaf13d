"""The chat client against a real server that behaves, and one that does not."""

from __future__ import annotations

import gc
import signal
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from stages.text.chat import Ask
from stages.text.chat_endpoint import Endpoint
from store.digest import settings
from store.errors import FinalError, MashbillError, UsageError


def ask(seed: int = 1, image: Any = None, **changes: Any) -> Ask:
    return replace(Ask("Describe the image.", image, 40, 0.0, 1.0, seed), **changes)


@pytest.fixture
def chat(chat_server: Any) -> Endpoint:
    return Endpoint("stub", url=chat_server.url, key_variable="CHAT_KEY", retries=1, timeout_s=3)


def test_an_answer_and_what_was_sent_for_it(chat_server: Any, chat: Endpoint, chat_key: str) -> None:
    image = Image.effect_noise((200, 100), 30).convert("RGB")
    answers = replace(chat, image_px=64).open(images=True)([ask(image=image, temperature=0.5, top_p=0.9)])
    assert [(a.text, a.end, a.prompt_tokens, a.completion_tokens) for a in answers] == [
        ("A red star.", "stop", 11, 3)
    ]
    sent = chat_server.seen[0]
    assert sent["path"] == "/v1/chat/completions"
    wanted = {"model": "stub", "max_tokens": 40, "temperature": 0.5, "top_p": 0.9, "seed": 1}
    assert {name: sent[name] for name in wanted} == wanted
    assert sent["messages"][0]["content"][1] == {"type": "text", "text": "Describe the image."}
    assert chat_server.image().size == (64, 32)
    assert chat_server.keys == [f"Bearer {chat_key}"]


def test_many_answers_come_in_order_and_not_too_many_at_once(
    chat_server: Any, chat: Endpoint, reply: Any
) -> None:
    chat_server.script = lambda body, number: reply(f"seed {body['seed']}", delay_s=0.01 * (body["seed"] % 3))
    answers = replace(chat, concurrency=4).open(False)([ask(seed) for seed in range(40)])
    assert [a.text for a in answers] == [f"seed {seed}" for seed in range(40)]
    assert 1 < chat_server.most_flying <= 4


def test_requests_keep_their_distance(chat_server: Any, chat: Endpoint) -> None:
    answer, began = replace(chat, per_minute=600).open(False), time.monotonic()
    answer([ask(seed) for seed in range(5)])
    assert time.monotonic() - began >= 0.4
    assert len(chat_server.seen) == 5


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 429, "headers": (("Retry-After", "0.2"),)},
        {"status": 500, "body": "internal"},
        {"status": 503, "body": ""},
        {"body": "no json at all {"},
        {"body": "{}"},
        {"body": '{"choices": []}'},
        {"body": '{"choices": [{"message": {"content": 7}}]}'},
        {"body": "[1, 2]"},
        {"hang_up": True},
        {"delay_s": 1.5},
    ],
    ids=str,
)
def test_a_request_in_trouble_is_sent_again(
    chat_server: Any, chat: Endpoint, reply: Any, trouble: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    chat_server.say(reply(**trouble), reply("Second."))
    answers = replace(chat, timeout_s=1.0 if "delay_s" in trouble else 3.0).open(False)([ask()])
    assert [a.text for a in answers] == ["Second."]
    assert len(chat_server.seen) == 2
    assert chat_server.seen[0] == chat_server.seen[1]
    assert "had to be asked 1 times again" in capsys.readouterr().err


def test_retry_after_is_waited_for(chat_server: Any, chat: Endpoint, reply: Any) -> None:
    chat_server.say(reply(status=429, headers=(("Retry-After", "1.2"),)), reply())
    chat.open(False)([ask()])
    assert chat_server.times_s[1] - chat_server.times_s[0] >= 1.2


@pytest.mark.parametrize(
    ("trouble", "words", "kind"),
    [
        ({"status": 429, "body": "slow down"}, "status 429: 'slow down'", MashbillError),
        ({"status": 500, "body": "oh no"}, "status 500: 'oh no'", MashbillError),
        (
            {"status": 400, "body": "image too large"},
            "status 400: 'image too large', and refuses a small",
            FinalError,
        ),
        ({"status": 401, "body": "who are you"}, "status 401: 'who are you'", FinalError),
        ({"status": 403, "body": "not you"}, "status 403: 'not you'", FinalError),
        ({"status": 404, "body": "no such model"}, "'no such model'; it has: big, small", FinalError),
        ({"body": "nonsense"}, "no chat completion: 'nonsense'", MashbillError),
        ({"hang_up": True}, "cannot be reached", MashbillError),
        ({"delay_s": 3.0}, "gave no answer within chat.timeout_s=0.3", MashbillError),
    ],
    ids=str,
)
def test_trouble_that_stays_is_a_clear_error(
    chat_server: Any, chat: Endpoint, reply: Any, trouble: dict[str, Any], words: str, kind: type
) -> None:
    chat_server.say(reply(**trouble))
    began = time.monotonic()
    with pytest.raises(MashbillError) as caught:
        replace(chat, timeout_s=0.3 if "delay_s" in trouble else 3.0).open(False)([ask()])
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert chat_server.url in str(caught.value)
    assert time.monotonic() - began < 4


def test_one_failure_ends_the_batch_before_all_is_paid(chat_server: Any, chat: Endpoint, reply: Any) -> None:
    chat_server.script = lambda body, number: (
        reply(status=401, body="no") if number == 0 else reply(delay_s=0.05)
    )
    with pytest.raises(MashbillError, match="status 401"):
        replace(chat, concurrency=2).open(False)([ask(seed) for seed in range(200)])
    sent = len(chat_server.seen)
    assert sent < 50
    time.sleep(0.2)
    assert len(chat_server.seen) == sent


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize("large", [0, 5])
def test_one_request_that_cannot_be_read_spoils_no_other(
    chat_server: Any, chat: Endpoint, reply: Any, status: int, large: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it comes first, when nobody knows yet what the server understands, or later."""
    chat_server.script = lambda body, number: (
        reply(status=status, body="too large")
        if body["seed"] == large and "yes" not in str(body)
        else reply()
    )
    image = Image.new("RGB", (20, 20))
    asks = [ask(seed, image) for seed in range(8)]
    answers = [replace(chat, concurrency=1).open(True)([one])[0] for one in asks[large:]]
    assert [a.end for a in answers] == ["bad"] + ["stop"] * (7 - large)
    answers = replace(chat, concurrency=1).open(True)(asks)
    assert [a.end for a in answers] == ["bad" if seed == large else "stop" for seed in range(8)]
    assert f"status {status}: 'too large'; such rows keep their words" in capsys.readouterr().err


def test_a_server_that_does_not_say_its_models(chat_server: Any, chat: Endpoint, reply: Any) -> None:
    chat_server.models = None
    chat_server.say(reply(status=404, body="no"))
    with pytest.raises(FinalError, match="nor does it say which models it has"):
        chat.open(False)([ask()])


def test_an_interrupt_ends_the_asking(chat_server: Any, chat: Endpoint, reply: Any) -> None:
    chat_server.say(reply(delay_s=0.5))
    answer = replace(chat, concurrency=2).open(False)
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT])  # type: ignore[list-item]
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        answer([ask(seed) for seed in range(50)])
    timer.join(5)
    time.sleep(1.2)
    assert len(chat_server.seen) <= 4


def test_nobody_there(chat: Endpoint) -> None:
    gone = replace(chat, url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(MashbillError, match="cannot be reached"):
        gone.open(False)([ask()])


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 400, "body": '{"error": {"code": "content_filter"}}'},
        {"finish": "content_filter", "text": ""},
        {"body": '{"choices": [{"message": {"content": null, "refusal": "no"}}], "usage": null}'},
    ],
    ids=str,
)
def test_what_a_server_will_not_say_is_an_answer(
    chat_server: Any, chat: Endpoint, reply: Any, refusal: dict[str, Any]
) -> None:
    chat_server.say(reply(**refusal))
    assert [a.end for a in chat.open(False)([ask()])] == ["filtered"]


def test_empty_cut_and_parted_texts_are_answers(chat_server: Any, chat: Endpoint, reply: Any) -> None:
    parts = '{"choices": [{"message": {"content": [{"type": "text", "text": "in "}, {"text": "parts"}]}}]}'
    chat_server.script = lambda body, number: [
        reply(""),
        reply(None),
        reply("A red", finish="length"),
        reply(body=parts),
    ][body["seed"]]
    answers = chat.open(False)([ask(seed) for seed in range(4)])
    ends = [(a.text, a.end) for a in answers]
    assert ends == [("", "stop"), ("", "stop"), ("A red", "length"), ("in parts", "stop")]


def test_the_limit_goes_by_the_name_that_the_server_knows(chat_server: Any, chat: Endpoint) -> None:
    replace(chat, tokens_field="max_completion_tokens").open(False)([ask()])
    assert chat_server.seen[0]["max_completion_tokens"] == 40
    assert "max_tokens" not in chat_server.seen[0]


def test_a_server_without_a_key(chat_server: Any, chat: Endpoint) -> None:
    assert replace(chat, key_variable="").open(False)([ask()])[0].text == "A red star."


def test_a_key_that_is_not_set(chat: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAT_KEY")
    with pytest.raises(UsageError, match=r"chat\.key_variable='CHAT_KEY'"):
        chat.open(False)


def test_the_key_is_read_when_it_is_used(
    chat_server: Any, chat: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = chat.open(False)
    monkeypatch.setenv("CHAT_KEY", "sk-rotated-key")
    answer([ask()])
    assert chat_server.keys == ["Bearer sk-rotated-key"]


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_server_that_says_the_key_does_not_get_it_into_errors(
    chat_server: Any, chat: Endpoint, reply: Any, chat_key: str, status: int
) -> None:
    chat_server.say(reply(status=status, body=f"Incorrect API key provided: {chat_key}."))
    with pytest.raises(MashbillError) as caught:
        replace(chat, retries=0).open(False)([ask()])
    assert "provided: ***" in str(caught.value)
    assert caught.value.__suppress_context__
    assert chat_key not in repr(chat) + str(settings(chat)) + str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://user:pass@host/v1"}, "chat.url has a user"),
        ({"url": "http://host/v1?key=1"}, "where keys hide"),
        ({"concurrency": 0}, "chat.concurrency=0: expected 1 or more"),
        ({"retries": -1}, "chat.retries=-1"),
        ({"timeout_s": 0.0}, "chat.timeout_s=0.0"),
        ({"image_px": 2}, "chat.image_px=2"),
        ({"per_minute": -1}, "chat.per_minute=-1"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint(**changes)
    assert words in str(caught.value)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("changes", [{"url": ""}, {"url": "host:80"}, {"model": ""}])
def test_a_server_must_be_named(chat: Endpoint, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected the address of a server"):
        replace(chat, **changes).open(False)


def test_only_what_changes_answers_names_them(chat: Endpoint) -> None:
    assert set(settings(chat)) == {"name", "version", "model", "revision", "image_px"}


def test_the_cost_of_tokens() -> None:
    assert Endpoint(prompt_usd=2.5, completion_usd=10.0).cost_usd(2_000_000, 300_000) == 8.0


def test_no_thread_outlives_its_work(chat_server: Any, chat: Endpoint) -> None:
    before = set(threading.enumerate())
    answer = replace(chat, concurrency=3).open(False)
    for _ in range(3):
        answer([ask(seed) for seed in range(9)])
    ours = [t for t in threading.enumerate() if t not in before and t.name.startswith("chat")]
    assert 0 < len(ours) <= 3
    del answer
    gc.collect()
    for thread in ours:
        thread.join(5)
    assert not any(thread.is_alive() for thread in ours)
