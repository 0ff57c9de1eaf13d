"""Units of work on a Ray cluster: a task for each, or actors that hold a GPU.

Of Ray only Core is used (``docs/ray.md`` says why). What travels is a unit, which names a store and a
shard; images never do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    WorkerCrashedError,
)

from pipelines.attempts import Attempts, Died, Failed, Raised
from pipelines.executors import KILLED
from pipelines.ray_cluster import REFRESH_S, Size, autoscaled, nodes
from pipelines.workers import Worker, work_in
from stages.stage import Resources
from store.errors import MashbillError

Unit = TypeVar("Unit")
Result = TypeVar("Result")

STARTS = 10
"""Actors in a row that may end before they were there."""


@dataclass(frozen=True)
class Ray:
    """The cluster this process is connected to. ``grants`` are by stage name."""

    worker: Worker
    grants: Mapping[str, Resources]

    def grant(self, stage: str, declared: Resources) -> Resources:
        return self.grants.get(stage, declared)

    def run(
        self, work: Callable[[Unit], Result], units: Sequence[Unit], needs: Resources
    ) -> Iterator[Result | Failed[Unit]]:
        attempts: Attempts[Unit] = Attempts(units)
        start = _Crew(needs, attempts) if needs.gpus else _Tasks(needs)
        flying: dict[Any, int] = {}
        settled: list[Any] = []
        try:
            while True:
                while start.room(len(flying)) and (index := attempts.next(len(flying))) is not None:
                    flying[start.submit(self.worker, work, units[index])] = index
                yield from settled
                settled = []
                if not flying and not attempts.waiting:
                    return
                for ref in start.wait(list(flying)):
                    settled += attempts.settle(flying.pop(ref), start.outcome(ref))
        finally:
            for ref in flying:
                start.cancel(ref)
            start.close()


class _Tasks:
    """A task per unit, for work that needs no GPU; more are sent than run, so that none waits."""

    def __init__(self, needs: Resources) -> None:
        self._task = ray.remote(max_retries=0, **_options(needs))(work_in)
        self._size = Size(needs)

    def room(self, flying: int) -> bool:
        return flying < 2 * self._size.slots() + 16  # what does not fit yet tells an autoscaler to grow

    def submit(self, worker: Worker, work: Any, unit: Any) -> Any:
        return self._task.remote(worker, work, unit)

    def wait(self, refs: list[Any]) -> list[Any]:
        ray.wait(refs, num_returns=1, timeout=REFRESH_S)
        return list(ray.wait(refs, num_returns=len(refs), timeout=0)[0])

    def outcome(self, ref: Any) -> Any:
        try:
            return ray.get(ref)
        except (NodeDiedError, ObjectLostError) as error:
            return Died(f"its node died: {_line(error)}", lost=True)
        except OutOfMemoryError as error:
            return Died(f"its worker was ended since the node ran out of memory: {_line(error)}")
        except WorkerCrashedError:
            return Died(KILLED)
        except RayError as error:
            return Raised(_line(error), str(error))

    def cancel(self, ref: Any) -> None:
        ray.cancel(ref, force=True)

    def close(self) -> None:
        pass


class _Holder:
    """What an actor is: a process that keeps the models it has opened."""

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def run(self, worker: Worker, work: Any, unit: Any) -> Any:
        return work_in(worker, work, unit)


class _Crew:
    """An actor per GPU, or share of one: from one to what the cluster holds and the units left need."""

    def __init__(self, needs: Resources, attempts: Attempts[Any]) -> None:
        self._needs, self._attempts, self._size = needs, attempts, Size(needs)
        self._spare = 1 if autoscaled() else 0  # an actor without a node tells an autoscaler to grow
        self._actor = ray.remote(max_restarts=0, max_task_retries=0, **_options(needs))(_Holder)
        self._nodes: dict[Any, str] = {}
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._working: dict[Any, Any] = {}
        self._failed = 0

    def room(self, flying: int) -> bool:
        self._resize()
        return bool(self._idle)

    def _resize(self) -> None:
        """Start actors for units that wait, give back those that have none left."""
        held = max(self._size.slots(), 1) + self._spare
        most = min(held, self._attempts.waiting + len(self._working))
        while len(self._starting) + len(self._idle) + len(self._working) < most:
            actor = self._actor.remote()
            self._starting[actor.node.remote()] = actor
        while not self._attempts.waiting and (self._idle or self._starting):
            _end(self._idle.pop() if self._idle else self._starting.popitem()[1])

    def submit(self, worker: Worker, work: Any, unit: Any) -> Any:
        actor = self._idle.pop()
        ref = actor.run.remote(worker, work, unit)
        self._working[ref] = actor
        return ref

    def wait(self, refs: list[Any]) -> list[Any]:
        everything = [*refs, *self._starting]
        ray.wait(everything, num_returns=1, timeout=REFRESH_S)
        done = ray.wait(everything, num_returns=len(everything), timeout=0)[0]
        for ref in done:
            if ref in self._starting:
                self._started(ref)
        return [ref for ref in done if ref in self._working]

    def _started(self, ref: Any) -> None:
        actor = self._starting.pop(ref)
        try:
            self._nodes[actor] = ray.get(ref)
        except (ActorDiedError, ActorUnavailableError) as error:
            _end(actor)  # its node went as it came; another is started in its place
            self._failed += 1
            if self._failed == STARTS:
                raise MashbillError(f"no actor can be started on the cluster: {error}") from error
            return
        self._idle.append(actor)
        self._failed = 0

    def outcome(self, ref: Any) -> Any:
        actor = self._working.pop(ref)
        try:
            result = ray.get(ref)
        except ActorUnavailableError as error:
            _end(actor)
            return Died(f"its node could not be reached: {_line(error)}", lost=True)
        except ActorDiedError as error:
            lost = self._nodes[actor] not in {node["NodeID"] for node in nodes()}
            return Died(f"its node died: {_line(error)}" if lost else KILLED, lost)
        except ObjectLostError as error:
            result = Died(f"its node died: {_line(error)}", lost=True)
        except RayError as error:
            result = Raised(_line(error), str(error))
        self._idle.append(actor)
        return result

    def cancel(self, ref: Any) -> None:
        _end(self._working[ref])

    def close(self) -> None:
        for actor in (*self._idle, *self._starting.values()):
            _end(actor)


def _end(actor: Any) -> None:
    with suppress(RaySystemError):  # what Ray says of an actor that never had a node
        ray.kill(actor)


def _options(needs: Resources) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": needs.cpus, "resources": dict(needs.custom)}
    if needs.gpus:
        options["num_gpus"] = needs.gpus
    if needs.memory_gb:
        options["memory"] = int(needs.memory_gb * 1e9)
    return options


def _line(error: Exception) -> str:
    """The first sentence of what Ray says: the rest is advice on Ray."""
    return str(error).strip().split("\n")[0].split(". ")[0]
