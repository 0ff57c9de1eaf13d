"""Runs img2dataset 1.47.0 behind guards. A program for the *other* interpreter.

``PYTHON -I img2dataset_launcher.py SETTINGS`` calls ``img2dataset.download(**settings["call"])``.
Standard library only, Python 3.11 and newer. img2dataset fetches in spawned worker processes, and a
spawned process imports this file again as ``__mp_main__``: that is why the guards are put in place
at module level, in every process. ``-I`` because the folder of this file must not be searched: it
has modules named like packages that img2dataset imports.

- A connection to an address that is not public is refused when it is made, so neither a redirect
  nor a name that resolves to another address the second time gets through (``allow_private`` may).
- ``file:``, ``ftp:`` and ``data:`` have no handler. Proxies of the environment are not used: behind
  one the address that is connected to cannot be seen.
- The whole transfer of one URL, redirects and headers included, ends at a deadline (img2dataset's
  ``timeout`` is for each socket operation: a slow drip never meets it). A body has a maximum size.
- robots.txt is asked once per host, ``X-Robots-Tag`` is read more strictly than by img2dataset.
- When the process that started this one is gone, or a worker was killed, the process group ends.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = str(Path(__file__).resolve().parents[2])
sys.path.append(ROOT)  # and not longer than needed: nothing else of ours may be found by img2dataset
from stages.source.consent import Consent  # noqa: E402
from stages.source.fetch_guards import PREFIX, Opener, guard_sockets  # noqa: E402

sys.path.remove(ROOT)


def allowed_addresses(pairs: list[str]) -> set[tuple[str, int]]:
    """The (IP address, port) pairs behind "host:port" texts."""
    found: set[tuple[str, int]] = set()
    for pair in pairs:
        host, _, port = pair.rpartition(":")
        for *_, address in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
            found.add((str(address[0]), int(address[1])))
    return found


def install_guards(settings: dict[str, Any]) -> None:
    """Put every guard in place in this process."""
    guard_sockets(allowed_addresses(settings["allow_private"]), settings["call"]["timeout"])
    begun = os.open(settings["begun"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    opener = Opener(settings["max_bytes"], settings["deadline_s"], begun)
    opener.add_handler(Consent(settings["call"]["user_agent_token"]))
    urllib.request.install_opener(opener)


def end_with(parent: int) -> None:
    """End the whole process group when the parent has gone or a worker was killed.

    The parent holds the other end of stdin. A process it forked may hold a copy, hence its id too.
    img2dataset waits for ever for a killed worker (the system's answer to too little memory).
    """
    children: dict[int | None, multiprocessing.process.BaseProcess] = {}
    while True:
        readable, _, _ = select.select([0], [], [], 0.5)
        if (readable and not os.read(0, 1)) or os.getppid() != parent:
            break
        children.update((child.pid, child) for child in multiprocessing.active_children())
        killed = [
            child for child in children.values() if child.exitcode in (-signal.SIGKILL, -signal.SIGSEGV)
        ]
        if killed:
            print(f"{PREFIX}worker {killed[0].name} was killed; out of memory?", flush=True)
            break
    os.killpg(0, signal.SIGKILL)


def main(settings: dict[str, Any]) -> None:
    """One call of img2dataset; the exit status is 0 when it returned."""
    print(f"launcher {os.getpid()}", flush=True)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    import img2dataset

    img2dataset.download(**settings["call"])


if __name__ in ("__main__", "__mp_main__"):
    # img2dataset imports these and with our settings never uses them. They are three quarters of its
    # start-up (in three processes each time) and call home.
    sys.modules.update((name, ModuleType(name)) for name in ("wandb", "albumentations"))
    SETTINGS = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    install_guards(SETTINGS)
    if __name__ == "__main__":
        main(SETTINGS)
