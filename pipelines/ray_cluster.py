"""The Ray cluster that a build is connected to: one that is there, or one started for it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

import ray
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.attempts import Raised
from stages.stage import Resources
from store.errors import MashbillError

OBJECT_STORE_BYTES = 200_000_000
"""Shared memory of a cluster started here: only units and results pass through it."""
REFRESH_S = 5.0
"""How often the size of the cluster is asked for."""
NOBODY_S = 1800.0
"""How long a pass waits for the first node that can run it, or for another after the last has gone."""


@contextmanager
def own_cluster(workers: int) -> Iterator[None]:
    """A cluster on this machine, of this process alone, gone when the block ends."""
    short = "/tmp" if os.path.isdir("/tmp") else None  # names of sockets in it end at 107 characters
    folder = tempfile.mkdtemp(prefix="mb-", dir=short)
    size = {"num_cpus": workers, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        with _connected(address="local", include_dashboard=False, _temp_dir=folder, **size):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def joined_cluster(address: str) -> Iterator[None]:
    """A cluster that is there and stays there: ``auto`` or ``HOST:PORT``."""
    with _connected(address=address):
        yield


@contextmanager
def _connected(**options: Any) -> Iterator[None]:
    if ray.is_initialized():
        raise MashbillError("this process is connected to Ray already: call ray.shutdown() before a build")
    with redirect_stdout(sys.stderr):  # Ray prints what it notices; stdout is for results
        try:
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
            ray.shutdown()
            raise MashbillError(f"--ray {options['address']}: {_refusal(error)}") from error
        try:
            yield
        finally:
            ray.shutdown()


def _refusal(error: Exception) -> str:
    """Why Ray did not connect, and the mend."""
    if "AuthToken" in "".join(traceback.format_exception(error)):
        return (
            "the cluster wants its token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what "
            "`ray get-auth-token` prints on its head; on the head itself --ray auto finds it"
        )
    said = " ".join(str(error).split())
    return (
        f"cannot connect: {said}. The build and the cluster need the same Ray and Python, and HOST:PORT a "
        "Ray node on this machine (ray start --address=HOST:PORT)"
    )


@contextmanager
def carried(modules: Sequence[ModuleType]) -> Iterator[None]:
    """Send what these modules define along with the units: workers cannot import them."""
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)


def wanted(needs: Resources) -> dict[str, float]:
    """Resources by Ray's names for them, without what is not needed."""
    named = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_gb * 1e9, **dict(needs.custom)}
    return {name: amount for name, amount in named.items() if amount}


def described(needs: Resources) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in wanted(needs).items()) or "nothing"


def nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def slots(needs: Resources) -> int:
    """How many workers with these needs the cluster of this moment holds, busy or not."""
    asked = wanted(needs) or {"CPU": 1.0}
    return sum(
        min(int(node["Resources"].get(name, 0.0) / amount + 1e-9) for name, amount in asked.items())
        for node in nodes()
    )


def on_every_node(look: Callable[[], Any], timeout_s: float) -> list[tuple[str, Any]]:
    """The address of each node that can work, and what ``look`` says there: a ``Raised`` where it failed,
    None where there was no answer in time. Nodes of one machine share an address."""
    task, asked = ray.remote(num_cpus=0, max_retries=0)(look), {}
    for node in nodes():
        if node["Resources"].get("CPU"):
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[task.options(scheduling_strategy=here).remote()] = node["NodeManagerAddress"]
    done = set(ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)[0]) if asked else set()
    found: list[tuple[str, Any]] = []
    for ref, address in asked.items():
        try:
            answer = ray.get(ref) if ref in done else None
        except RayError as error:
            answer = Raised(str(error).strip().split("\n")[-1])
        found.append((address, answer))
    return found


def autoscaled() -> bool:
    """Whether something can bring nodes that are not there.

    Where nothing can, Ray's monitor still reports, and calls each node a type of its own.
    """
    if _internal_kv_get("__autoscaler_v2_enabled", namespace="__autoscaler") == b"1":
        return True
    status = _internal_kv_get("__autoscaling_status")
    report = json.loads(status).get("autoscaler_report") if status else None
    types = (report or {}).get("node_type_mapping") or {}
    return any(kind != f"node_{node}" for node, kind in types.items())


class Size:
    """How many workers the cluster holds, asked for now and then."""

    def __init__(self, needs: Resources) -> None:
        self._needs, self._slots, self._asked = needs, 0, -REFRESH_S
        self._held = time.monotonic()

    def slots(self) -> int:
        """As many as at most ``REFRESH_S`` ago.

        Raises:
            MashbillError: none for ``NOBODY_S``: the nodes are gone, or an autoscaler brings none.
        """
        now = time.monotonic()
        if now >= self._asked + REFRESH_S:
            self._slots, self._asked = slots(self._needs), now
        if self._slots:
            self._held = now
        elif now > self._held + NOBODY_S:
            raise MashbillError(
                f"no node with {described(self._needs)} for {NOBODY_S / 60:.0f} minutes. What was finished "
                "is kept: see what holds the cluster up (ray status), and run the same command again."
            )
        return self._slots
