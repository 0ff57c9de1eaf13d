"""A small dataset with every kind of column, and the review server over real sockets."""

from __future__ import annotations

import http.client
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import uvicorn
from PIL import Image

from curation_ui.app import create_app
from curation_ui.review import Review, Settings
from curation_ui.serve import listen, server_config
from store.parquet import write_table
from store.schema import SAMPLE_ROWS
from store.sources import RawSample
from store.store import Store, open_store
from store.versions import Version, version_at

ITEMS = 40
CLUSTER = 4
"""Every so many items look alike."""


def picture(number: int, form: str = "JPEG", side: int = 48) -> bytes:
    rng = np.random.default_rng(number)
    grid = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    sink = io.BytesIO()
    grid.resize((side + number % 5, side), Image.Resampling.BICUBIC).save(sink, form)
    return sink.getvalue()


def columns_of(ids: list[str]) -> dict[str, pa.Array]:
    """Columns for samples, by sample id: scores with nulls and NaN, texts, flags, lists, a map."""
    count = len(ids)
    rng = np.random.default_rng(7)
    score = rng.random(count).astype(np.float32)
    widths = [48 + n % 5 for n in range(count)]
    return {
        "sample_id": pa.array(ids),
        "source_key": pa.array([f"key-{n}" for n in range(count)]),
        "caption": pa.array([f"a {'red' if n % 2 else 'blue'} hat, number {n}" for n in range(count)]),
        "caption_original": pa.array([f"IMG {n}" for n in range(count)]),
        "width": pa.array(widths, pa.int32()),
        "height": pa.array([48] * count, pa.int32()),
        "captions": pa.array([[f"candidate {n}", "another one"] for n in range(count)]),
        "clip_similarity": pa.array([None if n % 10 == 3 else float(score[n]) for n in range(count)]),
        "cluster_id": pa.array([None if n % 7 == 6 else f"c{n // CLUSTER}" for n in range(count)]),
        "crop_left": pa.array([0] * count, pa.int32()),
        "crop_top": pa.array([0] * count, pa.int32()),
        "crop_right": pa.array([40] * count, pa.int32()),
        "crop_bottom": pa.array([40] * count, pa.int32()),
        "crop_aspect": pa.array([1.0] * count),
        "flag": pa.array([n % 3 == 0 for n in range(count)]),
        "meta": pa.array([json.dumps({"prompt": f"prompt {n}"}) if n % 2 else None for n in range(count)]),
        "plane_x": pa.array(score * 2 - 1),
        "plane_y": pa.array([None if n == 5 else float(n) for n in range(count)]),
        "split": pa.array(["train" if n % 5 else "validation" for n in range(count)]),
    }


def write_version(
    folder: Path, images: list[bytes], edit: Callable[[dict[str, pa.Array]], None] = lambda columns: None
) -> tuple[Store, Version]:
    """A store with the dataset ``hats``: these images, the last of which was dropped as ``too_small``."""
    store = open_store(folder, create=True)
    source = store.source("0123456789ab")
    samples = [RawSample(f"place-{n}", f"key-{n}", f"caption {n}", data) for n, data in enumerate(images)]
    half = len(samples) // 2
    source.write_plan([pa.table({"n": [0]}), pa.table({"n": [1]})])
    shards = [source.write_shard(n, part, None) for n, part in enumerate((samples[:half], samples[half:]))]
    source.complete_with({"kind": "test"})
    rows = pa.concat_tables([source.rows(shard) for shard in shards]).select(
        ["sample_id", *SAMPLE_ROWS.names[5:7]]
    )
    rows = rows.append_column("shard", pa.array([0] * half + [1] * (len(samples) - half), pa.int32()))
    for name in ("source_error", "source_detail"):
        rows = rows.append_column(name, pa.nulls(len(rows), pa.string()))
    rows = rows.sort_by("sample_id")
    columns = columns_of(rows["sample_id"].to_pylist())
    edit(columns)
    table = pa.table(columns)
    for name in ("shard", "image_offset", "image_size", "source_error", "source_detail"):
        table = table.append_column(name, rows[name])
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    store.table("feedfeedfeed").write([table], len(table), {}, str(scratch))
    version = version_at(store, "hats", "abcdef012345")
    reasons = pa.array([None] * (len(table) - 1) + ["too_small"], pa.string())
    write_table(version.location / "selection.parquet", pa.table({"reason": reasons}))
    kept = len(table) - 1
    version.commit(
        {
            "dataset": "hats",
            "version": version.version,
            "samples_in": len(table),
            "kept": kept,
            "dropped": {"too_small": 1},
            "selection": [],
            "table": "feedfeedfeed",
            "source": {"fingerprint": source.fingerprint, "settings": {"kind": "test"}},
            "files": {},
            "stages": [],
            "packs": {},
            "set_aside": [],
        }
    )
    return store, version


@pytest.fixture
def hats(tmp_path: Path) -> tuple[Store, Version]:
    """40 kept samples and one that was dropped, in two shards."""
    return write_version(tmp_path / "store", [picture(n) for n in range(ITEMS + 1)])


class Clock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """A browser as far as HTTP goes: a cookie and one connection."""

    port: int
    cookie: str = ""
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str | None] | None = None
    ) -> Reply:
        sent: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie or None}
        if method not in ("GET", "HEAD"):
            sent |= {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
        sent |= headers or {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self.connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if data is not None and "Transfer-Encoding" not in sent:
            sent["Content-Length"] = str(len(data))
        for name, value in sent.items():
            if value is not None:
                self.connection.putheader(name, value)
        self.connection.endheaders(data)
        answer = self.connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, answer.read())

    def get(self, path: str) -> Any:
        reply = self.ask("GET", path)
        assert reply.status == 200, (path, reply.status, reply.body)
        return reply.json

    def post(self, path: str, body: Any) -> Any:
        reply = self.ask("POST", path, body)
        assert reply.status == 200, (path, reply.status, reply.body)
        return reply.json

    def event(self, item: int, kind: str, base: int = 0, **more: Any) -> dict[str, Any]:
        """Send one event; the one result."""
        sent = {"uuid": str(uuid.uuid4()), "item": item, "kind": kind, "base": base, **more}
        [result] = self.post("/api/events", {"events": [sent]})["results"]
        return dict(result)


@dataclass
class Served:
    """A running server."""

    app: Any
    port: int
    clock: Clock
    clients: list[Client] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=itertools.count)

    @property
    def review(self) -> Review:
        found: Review = self.app.state.review
        return found

    def owner(self) -> Client:
        """The admin who started it; works once."""
        return self.enter(self.review.enter_token)

    def stranger(self) -> Client:
        """Somebody without a session."""
        self.clients.append(Client(self.port))
        return self.clients[-1]

    def enter(self, token: str, name: str | None = None) -> Client:
        client = self.stranger()
        reply = client.ask("POST", "/api/enter", {"token": token, "name": name})
        assert reply.status == 200, reply.body
        client.cookie = reply.headers["set-cookie"].split(";")[0]
        return client

    def person(self, role: str, name: str = "") -> Client:
        """A new person of a role, entered."""
        name = name or f"{role} {next(self._names)}"
        invited = self.review.database.submit(lambda c: self.review.access.invite(c, name, role)).result(30)
        self.app.state.limits["enter"]._buckets.clear()
        return self.enter(invited[1])


@pytest.fixture
def serving() -> Iterator[Callable[..., Served]]:
    """Starts servers; they end with the test."""
    running: list[tuple[uvicorn.Server, threading.Thread, Served]] = []

    def serve(hats: tuple[Store, Version], **settings: Any) -> Served:
        clock = settings.pop("clock", None) or Clock()
        app = create_app(replace(Settings(*hats), clock=clock, **settings))
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(server_config(app))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread, Served(app, listener.getsockname()[1], clock)))
        return running[-1][2]

    yield serve
    for server, thread, found in running:
        for client in found.clients:
            client.connection.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
        found.review.close()


@pytest.fixture
def served(hats: tuple[Store, Version], serving: Callable[..., Served]) -> Served:
    return serving(hats)


@pytest.fixture
def write_hats() -> Callable[..., tuple[Store, Version]]:
    """Writes the dataset of other images."""
    return write_version


@pytest.fixture
def client_of() -> Iterator[Callable[[str, str], Client]]:
    """Enters a server in another process by the port and token of its link."""
    clients: list[Client] = []

    def enter(port: str, token: str) -> Client:
        clients.append(Client(int(port)))
        reply = clients[-1].ask("POST", "/api/enter", {"token": token})
        clients[-1].cookie = reply.headers["set-cookie"].split(";")[0]
        return clients[-1]

    yield enter
    for client in clients:
        client.connection.close()


# PostgreSQL.

POSTGRES = Path("/usr/lib/postgresql")
"""Where Debian keeps the server, a folder for each version."""
POSTGRES_S = 60


def binary(name: str) -> str | None:
    found = sorted(POSTGRES.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server that runs for these tests."""
    initdb, server = binary("initdb"), binary("postgres")
    assert initdb, "PostgreSQL's initdb is needed for this test: install the package postgresql"
    assert server, "PostgreSQL's server is needed for this test: install the package postgresql"
    folder = Path("/tmp") / f"mashbill-postgres-{uuid.uuid4().hex}"
    folder.mkdir()
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = "nobody"
        shutil.chown(folder, user)
    made = [initdb, "-D", folder / "data", "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(made, user=user, cwd=folder, check=True, capture_output=True, timeout=POSTGRES_S)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [server, "-D", folder / "data", *options], user=user, cwd=folder, stdout=log, stderr=log
        )
    url = f"postgresql://tester@127.0.0.1:{port}/postgres"
    wait_for(url, running)
    yield url
    running.send_signal(signal.SIGINT)
    running.wait(POSTGRES_S)
    shutil.rmtree(folder)


def wait_for(url: str, running: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + POSTGRES_S
    while time.monotonic() < end:
        assert running.poll() is None, "PostgreSQL did not start"
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("PostgreSQL does not answer")
