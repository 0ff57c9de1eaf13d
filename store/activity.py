"""What a build says of itself while it goes on, for ``mashbill show`` from another terminal or host.

One small file per dataset, ``builds/<dataset>.json``, written again every few seconds and removed at the
end. Where two build one dataset at once, the last to write is heard. Nothing else reads it.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from store.errors import MashbillError
from store.location import Location, alive
from store.store import Store


@dataclass(frozen=True)
class State:
    """The work of the moment: what, how much of it is done, and how fast.

    ``per_second`` and ``left_s`` are None until something was done; ``failed`` counts shards set aside.
    """

    what: str
    done: int
    total: int
    failed: int
    per_second: float | None
    left_s: float | None


@dataclass(frozen=True)
class Activity:
    """The place where the build of one dataset says what it does."""

    store: Store
    dataset: str

    @property
    def place(self) -> Location:
        return self.store.root / "builds" / f"{self.dataset}.json"

    def tell(self, state: State) -> None:
        """Say what is done now; a store that cannot be written to is found out by the work itself."""
        who = {"host": socket.gethostname(), "pid": os.getpid(), "updated": time.time()}
        with suppress(MashbillError, OSError):
            self.place.write_json(asdict(state) | who)

    def end(self) -> None:
        with suppress(MashbillError, OSError):
            self.place.remove()

    def heard(self) -> dict[str, Any] | None:
        """The last state with ``host``, ``pid``, ``updated`` (seconds since 1970); None where there is
        no build, it ended in order, or it ran on this host and its process is gone."""
        try:
            said = dict(self.place.read_json())
        except FileNotFoundError:
            return None
        return None if said["host"] == socket.gethostname() and not alive(said["pid"]) else said
