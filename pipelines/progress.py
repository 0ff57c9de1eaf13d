"""What a build is doing: a bar in a terminal, lines in a log, and a word in the store for ``show``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from store.activity import Activity, State
from store.store import Store

LINE_S = 10.0
"""Seconds between two lines of one kind of work, where there is no terminal."""
TOLD_S = 5.0
"""Seconds between two words in the store."""
UNITS = {"reading the source": "portions"}
"""What is counted, where it is not images."""


def clock(seconds: float) -> str:
    """``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def shards_failed(count: int) -> str:
    """Empty where none did."""
    return "" if not count else "1 shard failed" if count == 1 else f"{count} shards failed"


def _unit(what: str) -> str:
    return "decisions" if what.startswith("waiting for people") else UNITS.get(what, "images")


@dataclass(frozen=True)
class Rate:
    """Speed and time left of one kind of work. ``found``: what earlier builds had done."""

    started: float
    found: int

    def per_second(self, done: int, now: float) -> float | None:
        """None until something was done."""
        seconds = now - self.started
        return (done - self.found) / seconds if done > self.found and seconds > 0 else None

    def left_s(self, done: int, total: int, now: float) -> float | None:
        rate = self.per_second(done, now)
        return None if rate is None else (total - done) / rate


class Watch:
    """A ``Progress`` that shows the work of the moment on ``stream``; use as a context.

    ``store`` and ``dataset``: where ``mashbill show`` looks while the build goes on; None: nowhere.
    """

    def __init__(self, store: Store | None = None, dataset: str = "", stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._told = Activity(store, dataset) if store else None
        self._bar: tqdm | None = None
        self._what, self._total, self._done, self._failed = "", 0, 0, 0
        self._rate = Rate(0.0, 0)
        self._line_at = self._told_at = 0.0

    def __call__(self, what: str, done: int, total: int, failed: int = 0) -> None:
        now = time.monotonic()
        if what != self._what:
            self._begin(what, done, total, now)
        self._done, self._failed = done, failed
        if self._bar is not None:
            self._bar.set_postfix_str(shards_failed(failed), refresh=False)
            self._bar.update(done - self._bar.n)
        elif now - self._line_at >= LINE_S or done == total:
            self._line(now)
        if self._told and (now - self._told_at >= TOLD_S or done == total):
            self._told_at = now
            self._told.tell(self._state(now))

    def _begin(self, what: str, done: int, total: int, now: float) -> None:
        self.close()
        self._what, self._total, self._rate = what, total, Rate(now, done)
        self._line_at = self._told_at = -LINE_S
        if self._terminal:
            shown = what if len(what) <= 48 else what[:45] + "..."
            unit = f" {_unit(what)}"
            self._bar = tqdm(
                total=total, desc=shown, initial=done, mininterval=0.5, unit=unit, file=self._stream
            )

    def _line(self, now: float) -> None:
        self._line_at = now
        state = self._state(now)
        parts = [f"{state.done:,} of {state.total:,} {_unit(self._what)}"]
        if state.per_second is not None:
            parts.append(f"{state.per_second:,.1f}/s")
        if state.left_s is not None and state.done < state.total:
            parts.append(f"{clock(state.left_s)} left")
        if state.failed:
            parts.append(shards_failed(state.failed))
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{moment} {self._what}: {', '.join(parts)}", file=self._stream, flush=True)

    def _state(self, now: float) -> State:
        return State(
            self._what,
            self._done,
            self._total,
            self._failed,
            self._rate.per_second(self._done, now),
            self._rate.left_s(self._done, self._total, now),
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
        if self._told:
            self._told.end()
