"""What a build says while it goes on."""

from __future__ import annotations

import io
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import progress
from pipelines.progress import Rate, Watch, clock
from store.activity import Activity, State
from store.store import open_store


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, in seconds: set ``[0]``."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_in_a_log_tell_speed_time_left_and_failures(ticking: list[float]) -> None:
    log = io.StringIO()
    with Watch(stream=log) as watch:
        watch("size, decode", 1000, 9000)
        for second in range(1, 81):
            ticking[0] = 100.0 + second
            watch("size, decode", 1000 + 100 * second, 9000, failed=int(second > 30))
    lines = log.getvalue().splitlines()
    assert all(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ size, decode: ", line) for line in lines)
    told = [line.split(": ", 1)[1] for line in lines]
    assert told[0] == "1,000 of 9,000 images"
    assert told[1] == "2,000 of 9,000 images, 100.0/s, 0:01:10 left"
    assert told[4] == "5,000 of 9,000 images, 100.0/s, 0:00:40 left, 1 shard failed"
    assert told[-1] == "9,000 of 9,000 images, 100.0/s, 1 shard failed"
    assert len(told) == 9


def test_a_bar_in_a_terminal(ticking: list[float]) -> None:
    terminal = Terminal()
    with Watch(stream=terminal) as watch:
        watch("reading the source", 0, 4)
        watch("reading the source", 4, 4, failed=2)
    assert "reading the source" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "2 shards failed" in terminal.getvalue()


def test_speed_counts_what_this_build_did() -> None:
    rate = Rate(started=10.0, found=500)
    assert rate.per_second(500, 12.0) is None
    assert rate.left_s(500, 900, 12.0) is None
    assert rate.per_second(700, 12.0) == 100.0
    assert rate.left_s(700, 900, 12.0) == 2.0
    assert [clock(s) for s in (0.4, 61, 3600 * 30 + 59)] == ["0:00:00", "0:01:01", "30:00:59"]


def test_the_store_is_told_and_the_word_taken_back(tmp_path: Path, ticking: list[float]) -> None:
    store = open_store(tmp_path, create=True)
    with Watch(store, "l-pp", io.StringIO()) as watch:
        watch("size", 0, 10)
        ticking[0] += 6
        watch("size", 5, 10, 1)
        heard = Activity(store, "l-pp").heard()
        assert heard is not None
        assert (heard["what"], heard["done"], heard["total"], heard["failed"]) == ("size", 5, 10, 1)
        assert heard["pid"] == os.getpid()
    assert Activity(store, "l-pp").heard() is None


def test_a_build_that_was_killed_is_not_heard(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    activity = Activity(store, "l-pp")
    activity.tell(State("size", 5, 10, 0, None, None))
    said = activity.place.read_json()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    activity.place.write_json(said | {"pid": ended.pid})
    assert activity.heard() is None
    activity.place.write_json(said | {"pid": ended.pid, "host": "elsewhere"})
    assert activity.heard() is not None


def test_show_during_a_build(photos: Any, tmp_path: Path, command: Any, folder_source: Any, cli: Any) -> None:
    start, environment = command
    store = tmp_path / "store"
    line = [*start, "build", "l-orig", "--store", str(store), *folder_source(photos.path, 1)]
    with subprocess.Popen(
        [*line, "--workers", "1"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as build:
        seen, end = "", time.monotonic() + 60
        while "is being built" not in seen and build.poll() is None and time.monotonic() < end:
            seen = cli("show", "l-orig", "--store", store).out
        assert build.wait(120) == 0
    assert re.search(r"l-orig is being built by process \d+ on \S+: .* of ", seen), seen
    assert "is being built" not in cli("show", "l-orig", "--store", store).out
