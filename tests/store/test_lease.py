"""Leases: one at work, the others wait; what the dead left is taken over."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.errors import MashbillError
from store.lease import Owner, clear_dead, held
from store.location import Location, this_host

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 60.0
HOLDS = """
import select, sys
from store.lease import held
from store.location import Location
say = lambda *words: print(*words, flush=True)
place = Location.of(sys.argv[1])
with held(place, lambda owner: say("waits for", owner.pid), float(sys.argv[2]), 0.1) as lease:
    say("holds")
    told = False
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        if lease.lost and not told:
            told = True
            say("lost")
say("ended")
"""


class Holder:
    """A process that holds a lease until it is told to end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("end\n")
        self.process.stdin.flush()


@contextmanager
def holder(thing: Path, patience_s: float) -> Iterator[Holder]:
    line = [sys.executable, "-c", HOLDS, str(thing), str(patience_s)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        timer = threading.Timer(LONG_S, process.kill)  # a reader must not wait for ever
        timer.start()
        try:
            yield Holder(process)
        finally:
            timer.cancel()
            process.kill()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def write(lease: Path, owner: str, beat: int = 0) -> None:
    """A lease of another host; moved into place, so that nobody reads half of it."""
    there = {"host": "elsewhere-1", "pid": 1, "owner": owner, "started": 0.0, "beat": beat}
    draft = lease.with_suffix(".draft")
    draft.write_text(json.dumps(there))
    draft.replace(lease)


def test_a_lease_says_who_and_is_gone_afterwards(tmp_path: Path) -> None:
    lease = tmp_path / "thing.lease"
    with held(Location.of(tmp_path / "thing"), pytest.fail, beat_s=0.02) as mine:
        found = json.loads(lease.read_text())
        assert (found["host"], found["pid"]) == (this_host(), os.getpid())
        assert str(Owner(**found)).startswith(f"process {os.getpid()} on ")
        until(lambda: json.loads(lease.read_text())["beat"] >= 3)
        assert not mine.lost
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_frees_the_lease(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), held(Location.of(tmp_path / "thing"), pytest.fail):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_the_second_waits_until_the_first_has_ended(tmp_path: Path) -> None:
    thing = tmp_path / "thing"
    with holder(thing, LONG_S) as first, holder(thing, LONG_S) as second:
        says = {first: first.says(), second: second.says()}
        one, two = sorted(says, key=lambda process: says[process])
        assert (says[one], says[two]) == ("holds", f"waits for {one.process.pid}")
        one.end()
        assert (one.says(), two.says()) == ("ended", "holds")
        two.end()
        assert two.says() == "ended"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_of_this_host_is_not_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path / "thing", LONG_S) as first:
        assert first.says() == "holds"
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(LONG_S)
        seen: list[Owner] = []
        started = time.monotonic()
        with held(Location.of(tmp_path / "thing"), seen.append) as lease:
            assert time.monotonic() - started < 20
            assert [owner.pid for owner in seen] == [first.process.pid]
            assert not lease.lost
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_slept_too_long_loses_and_goes_on(tmp_path: Path) -> None:
    thing = tmp_path / "thing"
    with holder(thing, 1.0) as sleeper, holder(thing, 1.0) as taker:
        says = {sleeper: sleeper.says(), taker: taker.says()}
        sleeper, taker = sorted(says, key=lambda process: says[process])
        sleeper.process.send_signal(signal.SIGSTOP)
        assert taker.says() == "holds"
        sleeper.process.send_signal(signal.SIGCONT)
        # One of the two finds the other's name in the lease at its next beat: the sleeper, unless it was
        # stopped between reading the lease and writing it.
        pipes = {process.process.stdout: process for process in (sleeper, taker)}
        ready, _, _ = select.select(list(pipes), [], [], LONG_S)
        assert [pipes[pipe].says() for pipe in ready] == ["lost"]
        for process in (sleeper, taker):
            process.end()
            assert process.says() == "ended"
    assert list(tmp_path.iterdir()) == []


def test_of_another_host_only_the_beat_tells(tmp_path: Path) -> None:
    lease, stop, seen = tmp_path / "thing.lease", threading.Event(), []

    def beats() -> None:
        beat = 0
        while not stop.wait(0.1):
            write(lease, "theirs", beat := beat + 1)

    write(lease, "theirs")
    thread = threading.Thread(target=beats)
    thread.start()
    timer = threading.Timer(2.5, stop.set)
    timer.start()
    started = time.monotonic()
    with held(Location.of(tmp_path / "thing"), seen.append, patience_s=1.0, beat_s=0.1):
        assert time.monotonic() - started >= 3.0
        assert [(owner.host, owner.owner) for owner in seen] == [("elsewhere-1", "theirs")]
    thread.join(LONG_S)
    timer.join(LONG_S)
    assert list(tmp_path.iterdir()) == []


def test_a_lease_that_was_taken_over_is_left_alone(tmp_path: Path) -> None:
    lease = tmp_path / "thing.lease"
    with held(Location.of(tmp_path / "thing"), pytest.fail, beat_s=0.05) as mine:
        write(lease, "theirs")
        until(lambda: mine.lost or "theirs" not in lease.read_text())
        if not mine.lost:  # a beat had begun, and wrote over it
            write(lease, "theirs")
            until(lambda: mine.lost)
    assert json.loads(lease.read_text())["owner"] == "theirs"


def test_what_is_no_lease_is_named(tmp_path: Path) -> None:
    (tmp_path / "thing.lease").write_text('{"what": "is this"}')
    with (
        pytest.raises(MashbillError, match=r"thing\.lease is not a lease.*remove it"),
        held(Location.of(tmp_path / "thing"), pytest.fail),
    ):
        pass


def test_the_lease_of_a_dead_holder_is_cleared_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    thing = Location.of(tmp_path / "thing")
    clear_dead(thing)  # nothing there, nothing to do
    with holder(tmp_path / "thing", LONG_S) as first:
        assert first.says() == "holds"
        clear_dead(thing)
        assert len(list(tmp_path.iterdir())) == 1
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(LONG_S)
        clear_dead(thing)
    assert list(tmp_path.iterdir()) == []
