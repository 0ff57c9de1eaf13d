"""A chat with a server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, a hosted model."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from stages.text.chat import Answer, Answering, Ask, Chat, check_image_px, within
from store.errors import FinalError, MashbillError, UsageError

FILTERED = ("content_filter", "content_policy", "ResponsibleAIPolicyViolation")
"""Words of servers that answer 400 to what they will not look at or write."""
BAD = (400, 413, 415, 422)
"""Statuses of a request that cannot be read, such as one whose image is too large."""
HOPELESS = (401, 403, 404)
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Endpoint(Chat):
    """A model behind ``url`` (up to and with ``/v1``).

    Images go as JPEG in data URLs, the long side at most ``image_px``. ``key_variable`` names the
    environment variable that holds the key on the worker, read at each request and kept nowhere; empty for a
    server that asks for none. Each worker has ``concurrency`` requests in flight at most and starts at most
    ``per_minute`` (0: as many as it can), tries after a failure included. A request that meets a timeout, a
    broken connection, 408, 409, 429, 5xx or an answer that is none is sent up to ``retries`` times more,
    after what ``Retry-After`` says (up to two minutes) or 0.5 to 8 s, doubling.

    401, 403 and 404 end the build. 400, 413, 415 and 422 are of that request alone (``Answer.end`` is "bad"),
    unless the server says so to a small one of the same kind as well: then they end the build too.

    ``tokens_field`` is how the server calls the limit of an answer: OpenAI's newer models want
    "max_completion_tokens". Servers draw by our seeds as well as they can; few promise the same words twice.

    ``prompt_usd`` and ``completion_usd`` are prices of a million tokens, for ``cost_usd`` alone.

    The url is no part of the result's name, as a server may move: another model behind the same ``model``
    wants another ``revision``.
    """

    kind: ClassVar[str] = "endpoint"
    model: str = ""
    revision: str = "main"
    image_px: int = 1024
    url: str = field(default="", compare=False)
    key_variable: str = field(default="OPENAI_API_KEY", compare=False)
    concurrency: int = field(default=32, compare=False)
    per_minute: int = field(default=0, compare=False)
    timeout_s: float = field(default=120.0, compare=False)
    retries: int = field(default=6, compare=False)
    tokens_field: str = field(default="max_tokens", compare=False)
    prompt_usd: float = field(default=0.0, compare=False)
    completion_usd: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        at = urlsplit(self.url)
        if at.username or at.password or at.query:
            raise UsageError(
                "chat.url has a user, a password or a query in it, where keys hide: expected only "
                "https://host/v1. Put the key into the environment and name it in chat.key_variable."
            )
        check_image_px(self.image_px)
        for name, least in (("concurrency", 1), ("per_minute", 0), ("retries", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"chat.{name}={getattr(self, name)}: expected {least} or more")
        if not self.timeout_s > 0:
            raise UsageError(f"chat.timeout_s={self.timeout_s}: expected seconds, over 0")

    @property
    def asks_at_once(self) -> int:
        """Twice what is in flight, so that fewer wait for a batch's last."""
        return 2 * self.concurrency

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Of so many tokens at the prices given, in US dollars."""
        return (prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd) / 1e6

    def open(self, images: bool) -> Answering:
        if urlsplit(self.url).scheme not in ("http", "https") or not self.model:
            raise UsageError(
                f"chat.url={self.url!r} and chat.model={self.model!r}: expected the address of a server, "
                "such as http://host:8000/v1, and the name of a model it has"
            )
        _key(self.key_variable)
        return _Server(self)


def _key(variable: str) -> str:
    if not variable:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(
            f"chat.key_variable={variable!r}: this environment variable is not set where the stage runs. Set "
            "it there, or set chat.key_variable to nothing for a server that asks for no key."
        )
    return key


class _Server:
    """An open connection: answers asks, ``concurrency`` at a time."""

    def __init__(self, chat: Endpoint) -> None:
        import openai

        self._chat = chat
        self._pace = _Pace(chat.per_minute)
        self._understood, self._told, self._trying = False, False, threading.Lock()
        self._threads = ThreadPoolExecutor(chat.concurrency, thread_name_prefix="chat")
        self._client = openai.OpenAI(
            base_url=chat.url,
            api_key=lambda: _key(chat.key_variable),
            timeout=chat.timeout_s,
            max_retries=chat.retries,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._pace.wait]}),
        )
        weakref.finalize(self, _close, self._threads, self._client)

    def __call__(self, asks: Sequence[Ask]) -> list[Answer]:
        before = self._pace.sent
        waiting = [self._threads.submit(self._answer, ask) for ask in asks]
        try:
            wait(waiting, return_when=FIRST_EXCEPTION)
        except BaseException:  # interrupted: those in flight shall not be sent again
            self._client.close()
            raise
        finally:
            for future in waiting:
                future.cancel()  # nothing more is paid for once one has failed
        wait(waiting)  # nor goes any on beside the next try
        for future in waiting:
            if not future.cancelled():
                future.result()
        again = self._pace.sent - before - len(asks)
        if again:
            print(f"chat: {self._chat.url} had to be asked {again} times again", file=sys.stderr)
        return [future.result() for future in waiting]

    def _answer(self, ask: Ask) -> Answer:
        import openai

        body = self._body(ask)
        said = ""
        for tried in range(self._chat.retries + 1):
            try:
                raw = self._client.chat.completions.with_raw_response.create(**body)
            except openai.APIError as error:
                return self._failed(error, ask)
            said = str(raw.text)
            answer = _read(said)
            if answer is not None:
                self._understood = True
                return answer
            if tried < self._chat.retries:
                time.sleep(min(0.5 * 2**tried, 8.0))
        raise self._error(MashbillError, f"answered what is no chat completion: {self._shown(said)}")

    def _body(self, ask: Ask) -> dict[str, Any]:
        content: Any = ask.text
        if ask.image is not None:
            image = {
                "type": "image_url",
                "image_url": {"url": _data_url(within(ask.image, self._chat.image_px))},
            }
            content = [image, {"type": "text", "text": ask.text}]
        body = {"temperature": ask.temperature, "top_p": ask.top_p, "seed": ask.seed}
        limit = {self._chat.tokens_field: ask.max_tokens}
        messages = [{"role": "user", "content": content}]
        return {"model": self._chat.model, "messages": messages, **body, **limit}

    def _failed(self, error: Any, ask: Ask) -> Answer:
        """What the server would not look at or cannot read; else the error, in words, without the key."""
        import openai

        status = getattr(error, "status_code", None)
        body = error.response.text if status is not None else ""
        if status in (400, 403, 422) and any(word in body for word in FILTERED):
            return Answer("", "filtered", 0, 0)
        if isinstance(error, openai.APITimeoutError):
            what = f"gave no answer within chat.timeout_s={self._chat.timeout_s} s"
        elif status is None:
            cause = error.__cause__ or error
            what = f"cannot be reached ({type(cause).__name__}: {self._shown(str(cause))})"
        else:
            what = f"answered with status {status}: {self._shown(body)}"
        if status in BAD and self._understands(ask, what):
            return Answer("", "bad", 0, 0)
        if status == 404:
            what += self._models()
        if status in BAD:
            what += ", and refuses a small request as well"
        raise self._error(FinalError if status in (*BAD, *HOPELESS) else MashbillError, what) from None

    def _understands(self, ask: Ask, what: str) -> bool:
        """Whether a small ask of this kind is answered: then what the server cannot read is that one ask."""
        import openai
        from PIL import Image

        with self._trying:
            if not self._understood:
                image = None if ask.image is None else Image.new("RGB", (64, 64), (128, 128, 128))
                small = replace(ask, text="Say yes.", image=image)
                try:
                    self._client.chat.completions.with_raw_response.create(**self._body(small))
                except openai.APIError as error:
                    if getattr(error, "status_code", None) in BAD:
                        return False
                    raise self._error(MashbillError, what) from None
                self._understood = True
            if not self._told:
                print(f"chat: {self._chat.url} {what}; such rows keep their words", file=sys.stderr)
                self._told = True
        return True

    def _models(self) -> str:
        """Which models the server has, as far as it says."""
        import openai

        try:
            names = [model.id for model in self._client.with_options(max_retries=0).models.list()]
        except (openai.APIError, ValueError, TypeError, AttributeError):
            return ", nor does it say which models it has"
        return f"; it has: {', '.join(names[:20]) or 'none'}"

    def _error(self, kind: type[MashbillError], what: str) -> MashbillError:
        again = f" It was tried again up to {self._chat.retries} times." if kind is MashbillError else ""
        key = self._chat.key_variable or "(no variable named)"
        return kind(
            f"chat.url={self._chat.url} with model {self._chat.model!r} {what}.{again} See that the server "
            f"is up, has this model and takes the key in {key}; then run the same command again."
        )

    def _shown(self, text: str) -> str:
        """Of a server's words the first, in one line; some servers say the key they were given."""
        key = _key(self._chat.key_variable)
        hidden = text.replace(key, "***") if len(key) > 4 else text
        return repr(" ".join(hidden.split())[:300])


def _close(threads: ThreadPoolExecutor, client: Any) -> None:
    """Nobody closes a stage: this comes when it is let go, or when the process ends."""
    threads.shutdown(wait=False, cancel_futures=True)
    client.close()


def _read(said: str) -> Answer | None:
    """The answer in a chat completion, None where there is none."""
    try:
        reply = json.loads(said)
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        message, end = choice["message"], choice.get("finish_reason")
        text = message.get("content") or ""
        if isinstance(text, list):  # some servers answer in parts
            text = "".join(part.get("text", "") for part in text)
        counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(text, str):
            return None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if end == "content_filter" or (message.get("refusal") and not text):
        return Answer("", "filtered", *counts)
    return Answer(text, "length" if end == "length" else "stop", *counts)


def _data_url(image: Any) -> str:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


class _Pace:
    """Called before each request is sent: counts it, and waits for its turn."""

    def __init__(self, per_minute: int) -> None:
        self._apart_s = 60 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._next_s = 0.0
        self.sent = 0

    def wait(self, _: Any) -> None:
        with self._lock:
            self.sent += 1
            turn_s = max(time.monotonic(), self._next_s)
            self._next_s = turn_s + self._apart_s
        if self._apart_s:
            time.sleep(max(turn_s - time.monotonic(), 0.0))
