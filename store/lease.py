"""Leases, so that two builds do not do the same work twice.

Nothing's correctness depends on a lease: what is committed is created only where there is none, or is the
same whoever writes it. A lease saves work. It may be held by two for a while (a laptop that slept, an
object store that could not be reached); both then go on, and the store is the same as if one had.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace

from store.errors import MashbillError
from store.location import Location, alive, this_host

BEAT_S = 5.0
PATIENCE_S = 30.0
"""A holder whose beat has stood still for so long, by the clock of who waits, is taken for dead."""
END_S = 5.0
"""How long the end of a block waits for a beat under way."""


class LeaseLost(MashbillError):
    """Another process took over what this one was at work on."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lease. ``started`` is seconds since 1970 by the owner's clock, for people only."""

    host: str
    pid: int
    owner: str
    started: float
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.rpartition('-')[0]}"

    @property
    def dead(self) -> bool:
        """Known at once on this host alone; elsewhere only its beat tells."""
        return self.host == this_host() and not alive(self.pid)


@dataclass
class Lease:
    """A lease that is held. ``lost`` once another was seen to have taken it over."""

    place: Location
    me: Owner
    lost: bool = False
    _end: threading.Event = field(default_factory=threading.Event)

    def beat(self, beat_s: float) -> None:
        """Renew the lease every ``beat_s`` seconds until it ends or is lost."""
        while not self._end.wait(beat_s) and not self.lost:
            with suppress(MashbillError, OSError):  # no beat, no harm: the next one tries again
                self.renew()

    def renew(self) -> None:
        found = owner_in(self.place)
        if found is None or found.owner != self.me.owner:
            self.lost = True
            return
        self.me = replace(self.me, beat=self.me.beat + 1)
        self.place.write_json(asdict(self.me))

    def end(self, thread: threading.Thread) -> None:
        """Stop the beat, and remove the lease where it is still ours."""
        self._end.set()
        thread.join(END_S)
        if thread.is_alive() or self.lost:  # a beat under way would write the lease again
            return
        with suppress(MashbillError, OSError):  # a lease that is left is taken over as one of the dead
            found = owner_in(self.place)
            if found is not None and found.owner == self.me.owner:
                self.place.remove()


def clear_dead(location: Location) -> None:
    """Remove ``<location>.lease`` where its holder was a process of this host that has ended.

    For who finds the work done: it was killed between the work and the removal of its lease.
    """
    place = lease_of(location)
    found = owner_in(place)
    if found is not None and found.dead:
        place.remove()


@contextmanager
def held(
    location: Location,
    waiting: Callable[[Owner], None],
    patience_s: float = PATIENCE_S,
    beat_s: float = BEAT_S,
) -> Iterator[Lease]:
    """Hold ``<location>.lease`` for the block; waits while another is at work.

    A daemon thread renews it. The next comer takes over what a dead holder left: at once when the holder
    was a process of this host that has ended, else when its beat stood still for ``patience_s``.

    Args:
        location: what is worked on; the lease lies beside it.
        waiting: called with each owner that is waited for, once.
    """
    place = lease_of(location)
    lease = Lease(place, Owner(this_host(), os.getpid(), uuid.uuid4().hex, time.time()))
    while not _take(lease):
        _wait(place, waiting, patience_s, beat_s)
    thread = threading.Thread(target=lease.beat, args=(beat_s,), name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.end(thread)


def lease_of(location: Location) -> Location:
    """The file beside a thing that says who works on it."""
    return location.parent / f"{location.name}.lease"


def _take(lease: Lease) -> bool:
    if lease.place.create_json(asdict(lease.me)):
        return True
    found = owner_in(lease.place)  # ours where the answer to a first attempt was lost on the way
    return found is not None and found.owner == lease.me.owner


def _wait(place: Location, waiting: Callable[[Owner], None], patience_s: float, beat_s: float) -> None:
    """Until the lease is gone, or removed by us because its holder is."""
    seen: Owner | None = None
    since = 0.0
    while (found := owner_in(place)) is not None:
        if seen is None or found.owner != seen.owner:
            waiting(found)
        if found != seen:
            seen, since = found, time.monotonic()
        if found.dead or time.monotonic() - since >= patience_s:
            if owner_in(place) == found:  # another who waits may have taken over just now
                place.remove()
            return
        time.sleep(min(beat_s, 1.0))


def owner_in(place: Location) -> Owner | None:
    """Whom a lease names; None where there is none.

    Raises:
        MashbillError: the file is no lease.
    """
    try:
        return Owner(**place.read_json())
    except FileNotFoundError:
        return None
    except TypeError as error:
        raise MashbillError(f"{place.url} is not a lease of this mashbill: remove it. ({error})") from error
