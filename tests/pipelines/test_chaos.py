"""``kill -9`` at any moment, then the same command: it completes with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

START_S = 0.3
GONE_S = 60.0


@pytest.fixture(scope="module")
def line(
    photos: Any, command: Any, folder_source: Any
) -> Callable[[Path], AbstractContextManager[subprocess.Popen[str]]]:
    """Starts the build under test, at the head of a process group of its own."""
    start, environment = command
    options = [
        "--set",
        "min_side=200",
        "--set",
        "pack.resolutions=32,0",
        "--set",
        "pack.samples_per_shard=4",
        "--workers",
        "2",
    ]

    @contextmanager
    def launch(store: Path) -> Iterator[subprocess.Popen[str]]:
        build = subprocess.Popen(
            [*start, "build", "l-pp", "--store", str(store), *folder_source(photos.path, 4), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with build:
            try:
                yield build
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(build.pid, signal.SIGKILL)
                raise

    return launch


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, line: Any, tree: Any
) -> tuple[dict[str, str], float]:
    """The files of a build that nobody killed, and its seconds."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    started = time.monotonic()
    finish(store, line)
    return tree(store), time.monotonic() - started


def living(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,pid=,stat=,args="], capture_output=True, text=True)
    rows = (row.split(None, 3) for row in listed.stdout.splitlines())
    return [" ".join(row) for row in rows if int(row[0]) == group and not row[2].startswith("Z")]


def wait_until_gone(group: int) -> None:
    end = time.monotonic() + GONE_S
    while left := living(group):
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.1)


def finish(store: Path, line: Any) -> None:
    with line(store) as build:
        out, _ = build.communicate(timeout=240)
        assert build.returncode == 0, out
        wait_until_gone(build.pid)


def wait_for_reading(build: subprocess.Popen[str]) -> None:
    """Until the first line of progress."""
    seen = ""
    while "reading the source" not in seen:
        letter = build.stdout.read(1) if build.stdout else ""
        assert letter, seen
        seen += letter


def kill_at_random(build: subprocess.Popen[str], after_s: float, everyone: bool) -> bool:
    """Waits, then kills the build, or every process of it; False when it had ended by itself."""
    try:  # nobody reads its few lines of progress; they fit the pipe
        build.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(build.pid, signal.SIGKILL) if everyone else build.kill()
        return True
    assert build.returncode == 0
    return False


def check(store: Path, expected: dict[str, str], tree: Any) -> None:
    found = tree(store)
    assert set(found) == set(expected)
    assert {name for name in found if found[name] != expected[name]} == set()
    assert list((store / "tmp").iterdir()) == []


def survive(folder: Path, line: Any, undisturbed: Any, tree: Any, kills: int, seed: int) -> None:
    """Builds that are killed until one gets through, and again in a new store, ``kills`` times in all."""
    expected, duration_s = undisturbed
    chance, killed, stores = random.Random(seed), 0, 0
    for _ in range(4 * kills):
        store = folder / f"store-{stores}"
        with line(store) as build:
            after_s = START_S + chance.random() * duration_s
            if kill_at_random(build, after_s, everyone=killed % 2 == 1):
                killed += 1
                if killed % 4 < 2:  # else the next build meets what is still dying
                    wait_until_gone(build.pid)
                if killed == kills:
                    break
                continue
        wait_until_gone(build.pid)
        check(store, expected, tree)
        stores += 1
    assert killed == kills
    finish(store, line)
    check(store, expected, tree)


def test_four_kills(tmp_path: Path, line: Any, undisturbed: Any, tree: Any) -> None:
    survive(tmp_path, line, undisturbed, tree, kills=4, seed=4)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(2))
def test_many_kills(tmp_path: Path, line: Any, undisturbed: Any, tree: Any, seed: int) -> None:
    survive(tmp_path, line, undisturbed, tree, kills=20, seed=seed)


def test_an_interrupt_ends_with_130_and_goes_on(
    tmp_path: Path, line: Any, undisturbed: Any, tree: Any
) -> None:
    with line(tmp_path / "store") as build:
        wait_for_reading(build)
        os.killpg(build.pid, signal.SIGINT)
        out, _ = build.communicate(timeout=120)
        assert build.returncode == 130, out
        assert "Traceback" not in out
        assert out.rstrip().endswith("interrupted; the same command goes on from here")
        wait_until_gone(build.pid)
    finish(tmp_path / "store", line)
    check(tmp_path / "store", undisturbed[0], tree)


def test_workers_end_when_only_the_build_is_killed(tmp_path: Path, line: Any) -> None:
    with line(tmp_path / "store") as build:
        wait_for_reading(build)
        end = time.monotonic() + 60
        while len(living(build.pid)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(living(build.pid)) >= 2, "no worker was ever started"
        build.kill()
        wait_until_gone(build.pid)
