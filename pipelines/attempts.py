"""How often a unit of work is tried, and what is known of it when no try got through."""

from __future__ import annotations

import errno
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from store.errors import FinalError, MashbillError, UsageError

Unit = TypeVar("Unit")

RAISES = 2
"""Tries of a unit that raises an error."""
DEATHS = 3
"""Tries of a unit whose worker dies; in the last one it runs alone, so that no neighbor is the cause."""
LOSSES = 10
"""Tries of a unit whose machine goes away: no fault of the unit, yet not without an end."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors of the disk that every unit would meet."""


@dataclass(frozen=True)
class Raised:
    """A try that ended in an error, in words that travel between processes.

    ``trace`` is empty for an error that was made for people; ``usage`` marks a mistake in the recipe, and
    ``final`` what no other try mends.
    """

    message: str
    trace: str = ""
    usage: bool = False
    final: bool = False
    no_room: OSError | None = None


@dataclass(frozen=True)
class Died:
    """A try that took its worker with it; ``lost`` when the machine went away below both."""

    how: str
    lost: bool = False


@dataclass(frozen=True)
class Failed(Generic[Unit]):
    """A unit that no try got through. ``trace`` is the last traceback, for an error nobody expected."""

    unit: Unit
    tries: int
    error: str
    trace: str

    def stop(self, message: str) -> NoReturn:
        """End the build with ``message``, which holds ``error``."""
        if not self.trace:
            raise MashbillError(message)
        unexpected = RuntimeError(message)
        unexpected.add_note(self.trace)
        raise unexpected


def attempt(work: Callable[[Any], Any], unit: Any) -> Any:
    """What the work gives for one unit, or a ``Raised``: an exception itself may not travel."""
    try:
        return work(unit)
    except MashbillError as error:
        return Raised(str(error), usage=isinstance(error, UsageError), final=isinstance(error, FinalError))
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        return Raised(f"{type(error).__name__}: {error}", trace, no_room=_no_room(error))


def _no_room(error: Exception) -> OSError | None:
    if not isinstance(error, OSError) or error.errno not in NO_ROOM:
        return None
    return OSError(error.errno, error.strerror, error.filename)


class Attempts(Generic[Unit]):
    """The units of one run that are still to do, by index, and the tries each has had."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._units = units
        self._ready = deque(range(len(units)))
        self._alone: deque[int] = deque()
        self._tries: Counter[tuple[int, str]] = Counter()

    @property
    def waiting(self) -> int:
        """Units that no worker has."""
        return len(self._ready) + len(self._alone)

    def next(self, flying: int) -> int | None:
        """The unit to start now, with ``flying`` others at work; None when none may start."""
        if self._ready:
            return self._ready.popleft()
        return self._alone.popleft() if self._alone and not flying else None

    def settle(self, index: int, outcome: Any) -> list[Any]:
        """What a try came to: the result or a ``Failed``, or nothing when it is tried again.

        Raises:
            UsageError, FinalError: no try and no other unit would get through.
            OSError: there is no room for anything.
        """
        if isinstance(outcome, Raised):
            if outcome.usage:
                raise UsageError(outcome.message)
            if outcome.final:
                raise FinalError(outcome.message)
            if outcome.no_room:
                raise outcome.no_room
            return self._again(index, "raised", RAISES, outcome.message, outcome.trace)
        if isinstance(outcome, Died):
            limit = LOSSES if outcome.lost else DEATHS
            return self._again(index, "lost" if outcome.lost else "died", limit, outcome.how, "")
        return [outcome]

    def _again(self, index: int, how: str, limit: int, error: str, trace: str) -> list[Failed[Unit]]:
        self._tries[index, how] += 1
        tries = self._tries[index, how]
        if tries >= limit:
            return [Failed(self._units[index], tries, error, trace)]
        last_of_a_killer = how == "died" and tries == limit - 1
        (self._alone if last_of_a_killer else self._ready).append(index)
        return []
