"""CPU-seconds of a command and of every process that comes from it, also those it leaves behind.

Linux only. Two counts, of which the larger is given. The kernel's (getrusage of ended children) is exact,
but knows nothing of processes whose parent ignored their end, as Ray's does with its workers. The other
looks at every process of the tree five times a second, and misses what each did after its last look.
Processes whose parent ended are handed to this one (a "subreaper"), so that none leaves the tree.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
LOOK_S = 0.2
LEFT_BEHIND_S = 20.0
"""How long processes that outlive their command may take to end before they are killed."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """``cpu_s``: user and system time of the whole tree. ``problem``: why it failed; empty if it did not."""

    wall_s: float
    cpu_s: float
    problem: str


class _Tree:
    """The processes that come from this one, and the most CPU-seconds each was seen with."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], float] = {}

    def look(self) -> None:
        parents, used = {}, {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it ended between the listing and the reading
                fields = stat.read_text().rpartition(")")[2].split()  # after the name: state, parent, ...
                pid = int(stat.parent.name)
                parents[pid] = int(fields[1])
                used[pid] = int(fields[19]), (int(fields[11]) + int(fields[12])) / _TICKS
        for pid, (started, cpu_s) in used.items():
            if _comes_from(os.getpid(), pid, parents):
                self._seen[pid, started] = cpu_s

    def cpu_s(self) -> float:
        return sum(self._seen.values())


def _comes_from(ancestor: int, pid: int, parents: dict[int, int]) -> bool:
    above = parents.get(pid, 0)
    while above not in (0, ancestor):
        above = parents.get(above, 0)
    return above == ancestor


def spend(command: list[str], environment: dict[str, str], log: Path, limit_s: float) -> Spent:
    """Run a command to its end, at most ``limit_s``; its output goes to ``log``."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot adopt the processes left behind")
    tree, before, began = _Tree(), _ended_children_cpu_s(), time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        while child.returncode is None and time.monotonic() < began + limit_s:
            tree.look()
            with suppress(subprocess.TimeoutExpired):
                child.wait(LOOK_S)
    wall_s = time.monotonic() - began
    problem = f"exit code {child.returncode}: {_last_line(log)}" if child.returncode else ""
    if child.returncode is None:
        problem = f"did not end within {limit_s:.0f} s"
        child.kill()
        child.wait()
    _reap(tree, time.monotonic() + (0.0 if problem else LEFT_BEHIND_S))
    return Spent(wall_s, max(tree.cpu_s(), _ended_children_cpu_s() - before), problem)


def _reap(tree: _Tree, kill_after: float) -> None:
    """Wait for every adopted process; kill what is still there at ``kill_after`` (monotonic seconds)."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            tree.look()
            if time.monotonic() > kill_after:
                _kill_children()
            time.sleep(LOOK_S)


def _kill_children() -> None:
    """None can be somebody else's: a child keeps its number until it is waited for."""
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def _ended_children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no message")[:200]
