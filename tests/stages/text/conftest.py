"""A server that speaks chat completions, and tiny models that do."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

KEY = "sk-test-0123456789abcdef"


@dataclass(frozen=True)
class Reply:
    """What the server does with one request: status, body, or how it misbehaves."""

    text: str | None = "A red star."
    status: int = 200
    body: str | None = None
    finish: str = "stop"
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    hang_up: bool = False

    def bytes(self) -> bytes:
        if self.body is not None:
            return self.body.encode()
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


@dataclass
class Server:
    """``script`` gives the reply to a request's body; ``seen`` are bodies, ``keys`` what came with them."""

    url: str = ""
    script: Callable[[dict[str, Any], int], Reply] = lambda body, number: Reply()
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    flying: int = 0
    most_flying: int = 0
    models: tuple[str, ...] | None = ("big", "small")
    lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, *replies: Reply) -> None:
        """These in turn, the last one ever after."""
        self.script = lambda body, number: replies[min(number, len(replies) - 1)]

    def image(self, number: int = 0) -> Image.Image:
        """The image that came with a request."""
        url = self.seen[number]["messages"][0]["content"][0]["image_url"]["url"]
        head, data = url.split(",")
        assert head == "data:image/jpeg;base64"
        return Image.open(io.BytesIO(base64.b64decode(data)))


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                number = len(server.seen)
                server.seen.append(body | {"path": self.path})
                server.keys.append(self.headers.get("Authorization", ""))
                server.times_s.append(time.monotonic())
                server.flying += 1
                server.most_flying = max(server.most_flying, server.flying)
            reply = server.script(body, number)
            time.sleep(reply.delay_s)
            with server.lock:
                server.flying -= 1
            if reply.hang_up:
                self.close_connection = True
                return
            data = reply.bytes()
            self.send_response(reply.status)
            for name, value in (("Content-Type", "application/json"), *reply.headers):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            """``/v1/models``, where the server says which it has."""
            data = json.dumps({"object": "list", "data": [{"id": name} for name in server.models or ()]})
            self.send_response(404 if server.models is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # a client that did not wait
                self.close_connection = True

    return Handler


@pytest.fixture
def chat_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine, and the key it would ask for in ``CHAT_KEY``."""
    monkeypatch.setenv("CHAT_KEY", KEY)
    server = Server()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    listener.daemon_threads = True
    listener.block_on_close = False
    server.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    listener.shutdown()
    listener.server_close()
    thread.join(5)


@pytest.fixture
def reply() -> type[Reply]:
    """The server's replies, for tests to write."""
    return Reply


@pytest.fixture
def chat_key() -> str:
    """What is in ``CHAT_KEY``."""
    return KEY


@pytest.fixture(scope="session")
def chat_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random models: ``captioner`` (LLaVA), ``writer`` (Llama), ``mute`` (no chat template)."""
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    from tinyworld.scene import random_scene
    from tinyworld.train.captioner import build_captioner, build_captioner_processor
    from tinyworld.train.prompt_writer import build_prompt_writer
    from tinyworld.train.tokens import caption_texts, train_chat_tokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("chat-models")
    tokenizer = train_chat_tokenizer(caption_texts(random_scene(seed) for seed in range(60)))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**small, image_size=64, patch_size=8)
    clip = CLIPModel(CLIPConfig(text_config=CLIPTextConfig(**small), vision_config=vision))
    for part in (build_captioner(clip, tokenizer), build_captioner_processor(tokenizer)):
        part.save_pretrained(folder / "captioner")
    build_prompt_writer(tokenizer).save_pretrained(folder / "writer")
    tokenizer.save_pretrained(folder / "writer")
    build_prompt_writer(tokenizer).save_pretrained(folder / "mute")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder / "mute")
    return {name: folder / name for name in ("captioner", "writer", "mute")}
