"""Work done by several processes of one run, joined over the loopback as ``torchrun`` would."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

TIMEOUT_S = 150
AFTER_FAILURE_S = 15


def in_ranks(world_size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``work(*arguments)`` returns in each of ``world_size`` processes, by rank.

    ``work`` is a function of a module that can be imported. An exception comes back as the text
    ``"NAME: message"``; one that nobody named as an outcome is the test's to find there.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.distill_runs.small_runs"])
    port = _free_port()
    started = []
    for rank in range(world_size):
        ours, theirs = context.Pipe(duplex=False)
        environment = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": rank}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        process = context.Process(target=_rank, args=(theirs, environment, work, arguments), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    end = time.monotonic() + TIMEOUT_S
    try:
        return _answers([pipe for _, pipe in started], end)
    finally:
        for process, _ in started:
            process.join(5)
            process.kill()
            process.join()


def _answers(pipes: list[Connection], end: float) -> list[Any]:
    """By rank; where one has failed, the others wait for it in vain, and are not waited for long."""
    found: dict[int, Any] = {}
    while len(found) < len(pipes):
        left = [pipe for rank, pipe in enumerate(pipes) if rank not in found]
        ready = wait(left, max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError(f"no answer in time but {found}")
        for pipe in ready:
            try:
                answer = pipe.recv()  # type: ignore[union-attr]
            except EOFError:
                answer = "died"
            found[pipes.index(pipe)] = answer  # type: ignore[arg-type]
            if isinstance(answer, str):
                end = min(end, time.monotonic() + AFTER_FAILURE_S)
    return [found[rank] for rank in range(len(pipes))]


def _rank(pipe: Connection, environment: dict[str, Any], work: Callable[..., Any], arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    os.environ.update({name: str(value) for name, value in environment.items()})
    try:
        answer = work(*arguments)
    except BaseException as error:
        traceback.print_exc()
        answer = f"{type(error).__name__}: {error}"
    pipe.send(answer)
    pipe.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
