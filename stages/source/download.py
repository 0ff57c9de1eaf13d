"""Fetches URLs with the real img2dataset 1.47.0, in an environment of its own, and loses none.

It runs as a subprocess on a table of ``url`` and our own row number (other columns make it drop
rows), behind the guards of ``img2dataset_launcher``. Failures that may pass are fetched again, and
rows it did not answer for; an outage of the network is an error and never a result.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from stages.source.failures import CONNECTION_REASONS, reason_for, worth_retrying
from stages.source.img2dataset_python import interpreter
from stages.source.urls import as_sent, refusal
from store.errors import MashbillError

OUTAGE_URLS = 8
"""This many URLs without any answer, and nothing that does answer, are an outage of ours."""
STALL_S = 120.0
"""img2dataset may do nothing visible for this long (start-up, slow resolvers) plus one deadline."""

_LAUNCHER = Path(__file__).with_name("img2dataset_launcher.py")
_DISALLOWED = ["noai", "noimageai", "noindex", "noimageindex", "noml"]


@dataclass(frozen=True)
class Fetch:
    """How to fetch. Only the limits change results; ``threads`` does not."""

    timeout_s: float = 10.0
    """For one socket operation."""
    deadline_s: float = 30.0
    """For the whole transfer of one URL with its redirects: a slow drip ends here."""
    max_bytes: int = 64 * 2**20
    """Largest body of one image."""
    attempts: int = 3
    """Rounds; the second and later ones are over the failures that may pass."""
    threads: int = 32
    allow_private: tuple[str, ...] = ()
    """"host:port" pairs that may be fetched although their address is not public."""
    user_agent_token: str = "mashbill"
    """The name that robots.txt and ``X-Robots-Tag`` may address."""


@dataclass(frozen=True)
class Fetched:
    """What became of one URL: an image, or a reason why there is none."""

    url: str | None
    image: bytes | None
    reason: str | None
    """Reason code when ``image`` is None."""
    detail: str | None
    """img2dataset's own words, or ours for a URL that was never given to it."""
    attempts: int
    """Rounds that tried it; 0 when it was refused before."""


def download(
    urls: Sequence[str | None],
    fetch: Fetch,
    scratch: Path,
    progress: Callable[[int], None] | None = None,
) -> list[Fetched]:
    """One result per URL, in the same order. Equal URLs are fetched once.

    ``scratch``: an empty local folder, removed by the caller; it takes the bytes of every image
    once. The images of all URLs are in memory at the end: give it one shard at a time.
    ``progress`` hears how many of ``urls`` are settled or begun: never falling, the total last.

    Raises MashbillError when img2dataset is missing, dies or hangs, and when the network looks
    down: then there is no result at all, so that an outage is never taken for dead URLs.
    """
    tell = progress or _nobody
    results: dict[str | None, Fetched] = {}
    for url in dict.fromkeys(urls):
        if (no := refusal(url, fetch.allow_private)) is not None:
            results[url] = Fetched(url, None, no[0], no[1], 0)
    pending = [url for url in dict.fromkeys(urls) if url is not None and url not in results]
    refused_rows = sum(url in results for url in urls)
    witnesses: list[Fetched] = []
    for attempt in range(1, fetch.attempts + 1):
        if not pending:
            break
        asked = _witnesses(results, pending)
        time.sleep(attempt - 1.0)
        folder = scratch / f"round-{attempt}"
        begun = (lambda n: tell(refused_rows + n)) if attempt == 1 else _nobody
        answers = _fetch_round([*pending, *asked], fetch, folder.resolve(), begun)
        results.update((url, replace(answers[url], attempts=attempt)) for url in pending)
        witnesses = [answers[url] for url in asked]
        pending = [url for url in pending if _again(results[url])]
    _raise_on_outage(results, pending, witnesses)
    tell(len(urls))
    return [results[url] for url in urls]


def _nobody(_: int) -> None:
    pass


def _again(result: Fetched) -> bool:
    return result.reason is not None and worth_retrying(result.reason, result.detail)


def _silent(result: Fetched) -> bool:
    """True when nothing answered at all (a transfer that was too slow did)."""
    return result.reason in CONNECTION_REASONS and _again(result)


def _answered(result: Fetched) -> bool:
    """True when somebody out there answered, so that there is a network."""
    return result.attempts > 0 and not _silent(result) and result.reason != "lost_by_downloader"


def _witnesses(results: dict[str | None, Fetched], pending: list[str]) -> list[str]:
    """Up to three URLs that did answer, of different hosts, asked again beside many that did not:
    when they are silent now, the network went down in between."""
    if sum(url in results and _silent(results[url]) for url in pending) < OUTAGE_URLS:
        return []
    answered = [result for result in results.values() if _answered(result)]
    answered.sort(key=lambda result: result.image is None)
    hosts = {urlsplit(result.url or "").netloc: result.url for result in reversed(answered)}
    return [url for url in reversed(hosts.values()) if url is not None][:3]


def _raise_on_outage(
    results: dict[str | None, Fetched], pending: list[str], witnesses: list[Fetched]
) -> None:
    """Raise when many URLs stayed without answer and nothing shows that the network works."""
    silent = [results[url] for url in pending if _silent(results[url])]
    speaking = [not _silent(witness) for witness in witnesses] or map(_answered, results.values())
    if len(silent) < OUTAGE_URLS or any(speaking):
        return
    first = silent[0]
    raise MashbillError(
        f"the network looks down: {len(silent)} URLs got no answer in {first.attempts} rounds"
        f"{' and URLs that had answered before no longer do' if witnesses else ', and none did'};"
        f" the first is {first.url} ({first.detail}). Nothing was recorded: run the same command"
        " again when the network (or the server of these URLs) is up. Proxies are not used. If"
        " these hosts are gone for good, take their rows out of the table."
    )


def _fetch_round(
    urls: list[str], fetch: Fetch, folder: Path, tell: Callable[[int], Any]
) -> dict[str, Fetched]:
    """One run of img2dataset in ``folder``; an answer for each URL (``attempts`` left at 0)."""
    folder.mkdir()
    command = [interpreter(), "-I", str(_LAUNCHER), str(_write_settings(urls, fetch, folder))]
    with _launched(command, folder) as process:
        shown, changed = -1, time.monotonic()
        while process.poll() is None:
            begun = (folder / "begun").stat().st_size
            if begun != shown:
                shown, changed = begun, time.monotonic()
                tell(begun)
            if time.monotonic() - changed > STALL_S + fetch.deadline_s:
                raise MashbillError(f"img2dataset did nothing for {STALL_S:g} s. {_last_words(folder)}")
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
    # Its exit status is 0 also after a failed shard; the statistics are its mark of a whole one.
    if process.returncode != 0 or not list(folder.glob("out/*_stats.json")):
        raise MashbillError(
            f"img2dataset ended without a result (exit status {process.returncode}). {_last_words(folder)}"
        )
    return _read_answers(urls, folder)


def _write_settings(urls: list[str], fetch: Fetch, folder: Path) -> Path:
    """What img2dataset reads (a table of these two columns only), and the launcher's settings."""
    rows = pa.table({"row": pa.array(range(len(urls)), pa.int64()), "url": [as_sent(url) for url in urls]})
    pq.write_table(rows, folder / "urls.parquet")
    (folder / "begun").touch()
    call = {
        "url_list": str(folder / "urls.parquet"),
        "input_format": "parquet",
        "output_folder": str(folder / "out"),
        "output_format": "webdataset",
        "save_additional_columns": ["row"],
        "number_sample_per_shard": len(urls),
        "processes_count": 1,
        "thread_count": fetch.threads,
        "timeout": fetch.timeout_s,
        "retries": 0,
        "max_shard_retry": 0,
        "incremental_mode": "incremental",
        "disable_all_reencoding": True,
        "extract_exif": False,
        "compute_hash": "sha256",
        "user_agent_token": fetch.user_agent_token,
        "disallowed_header_directives": _DISALLOWED,
    }
    limits = {name: asdict(fetch)[name] for name in ("deadline_s", "max_bytes", "allow_private")}
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"call": call, "begun": str(folder / "begun"), **limits}))
    return settings


@contextmanager
def _launched(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher in a process group of its own, of which nothing is left afterwards.

    It ends by itself when our end of its stdin closes, that is, also when we are killed.
    """
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, PermissionError):  # it is gone; macOS says so by the second
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _last_words(folder: Path) -> str:
    """The end of img2dataset's output, for a message."""
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    return "Its last words:\n  " + "\n  ".join(lines[-8:] or ["(none)"])


def _read_answers(urls: list[str], folder: Path) -> dict[str, Fetched]:
    """What img2dataset recorded for each URL that it was asked for; or that it lost it."""
    lost = "img2dataset recorded nothing for this URL"
    answers = {url: Fetched(url, None, "lost_by_downloader", lost, 0) for url in urls}
    images: dict[str, bytes] = {}
    for path in sorted((folder / "out").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if extension == "jpg" and (file := tar.extractfile(member)) is not None:
                    images[key] = file.read()
    for path in sorted((folder / "out").glob("*.parquet")):
        columns = ["row", "key", "status", "error_message", "sha256"]
        for record in pq.read_table(path, columns=columns).to_pylist():
            url = urls[record["row"]]
            answers[url] = _answer(url, record, images.get(record["key"]))
    return answers


def _answer(url: str, record: dict[str, Any], image: bytes | None) -> Fetched:
    message = record["error_message"]
    if record["status"] != "success":
        return Fetched(url, None, reason_for(message), message, 0)
    if image is None or hashlib.sha256(image).hexdigest() != record["sha256"]:
        wrong = "img2dataset recorded a success without its image"
        return Fetched(url, None, "lost_by_downloader", wrong, 0)
    if not image:
        return Fetched(url, None, "empty", "the body has no bytes", 0)
    return Fetched(url, image, None, None, 0)
