"""Prompts in a model's words for what they were asked to show."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stages.stage import Batch
from stages.text.asking import Guard, Style
from stages.text.chat_endpoint import Endpoint
from stages.text.chat_local import Local
from stages.text.write_prompt import WritePrompt, asked_in
from store.errors import UsageError

ASKED = {"subject": "a nurse", "light": "dusk", "age_group": "older", "colors": ["red", "blue"], "count": 2}
META = json.dumps({"asked": ASKED})


def batch(*metas: str | None) -> Batch:
    ids = [f"id{i}" for i in range(len(metas))]
    captions = [f"grammar words {i}" for i in range(len(metas))]
    return Batch(len(metas), {"sample_id": ids, "meta": list(metas), "caption": captions})


@pytest.fixture
def stage(chat_server: Any) -> WritePrompt:
    chat = Endpoint("stub", url=chat_server.url, key_variable="CHAT_KEY", retries=0, timeout_s=3)
    return WritePrompt(chat, guard=Guard(tries=2))


def test_what_is_asked_is_what_the_model_reads(chat_server: Any, stage: WritePrompt, reply: Any) -> None:
    chat_server.say(reply('Prompt: "Two older nurses in red and blue at dusk."'))
    written = stage.open()(batch(META))
    assert written == {
        "caption": ["Two older nurses in red and blue at dusk."],
        "write_prompt_reason": [None],
        "write_prompt_requests": [1],
        "writer_prompt_tokens": [11],
        "writer_completion_tokens": [3],
    }
    sent = chat_server.seen[0]["messages"][0]["content"]
    assert "subject: a nurse, light: dusk, age group: older, colors: red and blue, count: 2. Answer" in sent
    assert chat_server.seen[0]["temperature"] == 1.0


def test_the_prompt_may_hold_values_or_the_words_there_are(chat_server: Any, stage: WritePrompt) -> None:
    style = Style("plain", "{values} | {caption}")
    replace(stage, style=style).open()(batch(META))
    sent = chat_server.seen[0]["messages"][0]["content"]
    assert sent == "a nurse, dusk, older, red and blue, 2 | grammar words 0"


def test_the_words_there_are_stay_where_none_come(chat_server: Any, stage: WritePrompt, reply: Any) -> None:
    chat_server.say(reply("I cannot help with that."))
    written = stage.open()(batch(META, None, "{}", '{"asked": {}}', '{"asked": "light"}'))
    assert written["caption"] == [f"grammar words {i}" for i in range(5)]
    assert written["write_prompt_reason"] == ["refusal", *["nothing_asked"] * 4]
    assert written["write_prompt_requests"] == [2, 0, 0, 0, 0]
    assert len(chat_server.seen) == 2


def test_the_wish_itself_is_no_prompt(chat_server: Any, stage: WritePrompt, reply: Any) -> None:
    chat_server.say(reply("A nurse, dusk, older, red and blue, 2"), reply("An older nurse at dusk."))
    written = replace(stage, style=Style("plain", "{values}")).open()(batch(META))
    assert written["caption"] == ["An older nurse at dusk."]
    assert written["write_prompt_requests"] == [2]


def test_what_can_stand_in_meta() -> None:
    assert asked_in(META)["age group"] == "older"
    assert asked_in('{"asked": {"a": null, "b": "", "c": [], "d": 0}}') == {"d": "0"}
    assert asked_in(None) == {}


def test_a_model_here_writes_the_same_beside_any_other(chat_models: dict[str, Path]) -> None:
    chat = Local(str(chat_models["writer"]), batch_size=3)
    stage = WritePrompt(chat, Style("plain", "{values}", 10, 1.0), Guard("", 2), seed=5)
    assert pickle.loads(pickle.dumps(stage)) == stage
    run, metas = stage.open(), [META, '{"asked": {"light": "dusk"}}', None, META, META]
    whole = run(batch(*metas))
    for name, values in whole.items():
        assert pa.array(values, stage.writes.field(name).type).to_pylist() == values
    for i, meta in enumerate(metas):
        single = Batch(1, {"sample_id": [f"id{i}"], "meta": [meta], "caption": [f"grammar words {i}"]})
        assert {n: v[0] for n, v in run(single).items()} == {n: v[i] for n, v in whole.items()}
    assert replace(stage, seed=6).open()(batch(*metas)) != whole


def test_a_prompt_must_hold_what_is_asked() -> None:
    with pytest.raises(UsageError, match="asks for the same each time"):
        WritePrompt(style=Style("same", "Write a prompt."))


@pytest.mark.parametrize(("status", "words"), [(401, "status 401: 'no'"), (404, "it has: big, small")])
def test_a_server_that_never_will_ends_a_build_at_once(
    chat_server: Any, reply: Any, cli: Any, tmp_path: Path, status: int, words: str
) -> None:
    chat_server.say(reply(status=status, body="no"))
    chat = {"kind": "endpoint", "url": chat_server.url, "key_variable": "CHAT_KEY", "concurrency": 1}
    options = [
        text for name, value in chat.items() for text in ("--set", f"write_prompt.chat.{name}={value}")
    ]
    options += ["--set", "source.samples=100", "--set", "source.shard_size=20", "--workers", "1"]
    done = cli("build", "synt-prompts", "--store", tmp_path / "store", *options)
    assert done.code == 1
    assert words in done.message
    assert done.err.count("mashbill: ") == 1
    assert "Traceback" not in done.err
    assert len(chat_server.seen) <= 2  # one may be on its way when the first comes back
