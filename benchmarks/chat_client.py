"""What the chat client costs: 64 requests in flight against a stub that answers each after 50 ms.

    python -m benchmarks.chat_client [--requests 1280] [--concurrency 64] [--rounds 3] [--image-px 0]

64 answers every 50 ms would be 1,280 answers/s. The stub runs in a process of its own and says how many it
answers itself to a client that does nothing but write and read bytes (``bare``): on a machine with few cores
both share them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from stages.text.chat import Ask
from stages.text.chat_endpoint import Endpoint

DELAY_S = 0.05
REPLY = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "A red star."}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(DELAY_S)
            writer.write(HEAD + REPLY)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def stub(listener: socket.socket) -> None:
    """Answers until it is ended."""

    async def run() -> None:
        server = await asyncio.start_server(_serve, sock=listener, limit=1 << 24)
        await server.serve_forever()

    asyncio.run(run())


async def _bare(port: int, requests: int, concurrency: int) -> None:
    body = b'{"model":"stub"}'
    sent = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def client(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(sent)
            await reader.readexactly(len(HEAD + REPLY))
        writer.close()

    await asyncio.gather(*(client(requests // concurrency) for _ in range(concurrency)))


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall seconds, and CPU-seconds of this process."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--requests", type=int, default=1280)
    options.add_argument("--concurrency", type=int, default=64)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--image-px", type=int, default=0, help="side of an image sent with each")
    given = options.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    port = listener.getsockname()[1]
    server = multiprocessing.get_context("fork").Process(target=stub, args=(listener,), daemon=True)
    server.start()
    os.environ["STUB_KEY"] = "no secret"
    chat = Endpoint(
        "stub", url=f"http://127.0.0.1:{port}/v1", key_variable="STUB_KEY", concurrency=given.concurrency
    )
    answer = chat.open(images=bool(given.image_px))
    side = given.image_px
    image = Image.effect_noise((side, side), 40).convert("RGB") if side else None
    asks = [Ask("Describe the image.", image, 64, 0.0, 1.0, seed) for seed in range(given.requests)]
    answer(asks[: given.concurrency])  # connections
    ways = {
        "ours": lambda: answer(asks),
        "bare": lambda: asyncio.run(_bare(port, given.requests, given.concurrency)),
    }
    for name, work in ways.items():
        rounds = [timed(work) for _ in range(given.rounds)]
        rates = [given.requests / wall for wall, _ in rounds]
        cpu_ms = statistics.median(cpu for _, cpu in rounds) / given.requests * 1e3
        print(
            f"{name}: {statistics.median(rates):.0f} answers/s ({min(rates):.0f} to {max(rates):.0f}) of "
            f"{given.concurrency / DELAY_S:.0f}, {cpu_ms:.2f} CPU-ms an answer"
        )
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
