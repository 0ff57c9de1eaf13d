"""The store on an S3 server (moto's), also through a proxy that fails as networks and object stores do."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from store import object_store
from store.columns import ColumnSet
from store.digest import file_sha256
from store.errors import MashbillError
from store.lease import Owner, held
from store.location import Location
from store.object_store import CHUNK, GAP, merged
from store.parquet import read_table, write_table
from store.sources import RawSample, StoredSource
from store.store import open_store

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
# One request at a time: moto looks and writes in two steps, a real store makes the condition one step.
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app))
print(server.server_port, flush=True)
server.serve_forever()
"""
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
REFUSED = b"<Error><Code>NotImplemented</Code><Message>A header you provided.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
ERRORS = {"slow down": (503, SLOW_DOWN), "refused": (501, REFUSED), "denied": (403, DENIED)}
BODIES = ("cut", "drip", "stall")
Fault = Callable[[str, str], str]


class Proxy(ThreadingHTTPServer):
    """Hands requests on to the server; ``fault(method, path)`` names how a request goes wrong, or ""."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = port
        self.seen: list[tuple[str, str]] = []
        self.fault: Fault = lambda method, path: ""
        self.over = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # clients wait to be told to go on with a body
    server: Proxy

    def any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.close_connection = True
        self.server.seen.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        if fault in ERRORS:
            return self.answer(ERRORS[fault][0], {}, ERRORS[fault][1])
        for name in ("Expect", *(["If-None-Match"] if fault == "unconditional" else [])):
            del self.headers[name]
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=30)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        got = upstream.getresponse()
        data = got.read()
        upstream.close()
        if fault == "lost":
            return None
        headers = {k: v for k, v in got.headers.items() if k not in ("Connection", "Server", "Date")}
        return self.answer(got.status, headers, data, fault)

    def answer(self, status: int, headers: dict[str, str], data: bytes, fault: str = "") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data)), "Connection": "close"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in BODIES:
            half = len(data) // 2
            self.wfile.write(data[:half])
            while fault != "cut" and not self.server.over.wait(0.1):
                half += fault == "drip"
                self.wfile.write(data[half - 1 : half] if fault == "drip" else b"")
        else:
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = any

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of an S3 server in a process of its own."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        yield proxy
        proxy.over.set()
        proxy.shutdown()
        thread.join(30)


@pytest.fixture
def bucket(server: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Location]:
    """A new bucket; the environment of this test leads to it through the proxy."""
    name = f"b{uuid.uuid4().hex}"
    put(server, name, None)
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",
    }
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield Location.of(f"s3://{name}/house")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def put(server: int, path: str, data: bytes | None) -> None:
    """As another program would."""
    headers = {"Content-Type": "application/octet-stream", "Authorization": "AWS key:signature"}
    request = urllib.request.Request(f"http://127.0.0.1:{server}/{path}", data, headers, method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "PATIENCE_S", 1.0)
    monkeypatch.setattr(object_store, "SLOWEST", 1e9)


def first(count: int, fault: str, method: str = "GET") -> Fault:
    """A fault of the first ``count`` requests of a kind."""
    left = [fault] * count
    return lambda asked, path: left.pop() if left and asked == method else ""


def test_what_is_written_is_read(bucket: Location) -> None:
    assert (bucket.names(), bucket.exists()) == ([], False)
    (bucket / "b" / "x.bin").write_bytes(b"0123456789")
    (bucket / "a.json").write_json({"ä": [1, None]})
    (bucket / "empty").write_bytes(b"")
    assert bucket.names() == ["a.json", "b", "empty"]
    file = bucket / "b" / "x.bin"
    assert (file.size(), file.name, file.exists(), file.parent.exists()) == (10, "x.bin", True, True)
    assert file.read_ranges([(2, 3), (0, 1), (9, 1), (4, 0)]) == [b"234", b"0", b"9", b""]
    assert (bucket / "a.json").read_json() == {"ä": [1, None]}
    assert (bucket / "empty").read_bytes() == b""
    assert Location.of(file.url).read_bytes() == b"0123456789"
    with pytest.raises(MashbillError, match=r"x\.bin has 2 of the 5 bytes"):
        file.read_ranges([(8, 5)])
    with pytest.raises(MashbillError, match=r"x\.bin has 0 of the 5 bytes"):
        file.read_ranges([(80, 5)])
    with pytest.raises(MashbillError, match=r"gone\.bin is missing"):
        (bucket / "gone.bin").read_ranges([(0, 5)])
    with pytest.raises(FileNotFoundError):
        (bucket / "gone.bin").read_bytes()
    (bucket / "b").remove()
    (bucket / "b").remove()
    (bucket / "empty").remove()
    assert bucket.names() == ["a.json"]


def test_large_objects_are_read_in_pieces(bucket: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "CHUNK", 1000)
    data = random.Random(5).randbytes(3000)
    for size in (999, 1000, 1001, 3000):
        (bucket / "x").write_bytes(data[:size])
        assert (bucket / "x").read_bytes() == data[:size]
        with (bucket / "x").open() as file:
            assert file.seek(-9, os.SEEK_END) == size - 9
            assert file.read(20) == data[:size][-9:]
            assert file.seek(5) == 5
            assert (file.read(3), file.read()) == (data[5:8], data[8:size])
    table = pa.table({"a": list(range(2000)), "b": ["text"] * 2000})
    write_table(bucket / "t.parquet", table)
    assert read_table(bucket / "t.parquet") == table
    assert read_table(bucket / "t.parquet", ["b"]) == table.select(["b"])


def test_near_ranges_share_a_request(bucket: Location, proxy: Proxy) -> None:
    assert merged([(5, 0), (GAP + 9, 1), (3, 2), (0, 4), (4, 5)]) == [(0, GAP + 10)]
    assert merged([(0, CHUNK), (CHUNK, 1)]) == [(0, CHUNK), (CHUNK, 1)]
    assert merged([(0, 3 * CHUNK), (7, 1)]) == [(0, 3 * CHUNK)]
    data = random.Random(6).randbytes(GAP * 4)
    (bucket / "x").write_bytes(data)
    ranges = [(GAP * 3, 9), (700, 50), (0, 100), (50, 100), (720, 1)]
    proxy.seen.clear()
    assert (bucket / "x").read_ranges(ranges) == [data[a : a + n] for a, n in ranges]
    assert len(proxy.seen) == 2


def test_of_many_who_create_one_wins(bucket: Location) -> None:
    for attempt in range(4):
        mark = bucket / f"{attempt}.json"
        won, start = [], threading.Barrier(6)

        def write(number: int, mark: Location = mark, start: threading.Barrier = start) -> None:
            start.wait()
            if mark.create_json({"by": number}):
                won.append(number)  # noqa: B023  # joined before the next turn

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert mark.read_json() == {"by": won[0]}
        assert len(won) == 1


def test_a_mark_whose_answer_was_lost_is_found_by_its_writer(bucket: Location, proxy: Proxy) -> None:
    proxy.fault = first(1, "lost", "PUT")
    assert not (bucket / "mark.json").create_json({"by": 1})
    assert (bucket / "mark.json").read_json() == {"by": 1}
    proxy.fault = first(1, "lost", "PUT")
    with held(bucket / "thing", pytest.fail) as lease:
        assert (bucket / "thing.lease").read_json()["owner"] == lease.me.owner
    assert not (bucket / "thing.lease").exists()


@pytest.mark.parametrize("fault", ["refused", "unconditional"])
def test_a_store_without_conditional_writes_is_refused(bucket: Location, proxy: Proxy, fault: str) -> None:
    proxy.fault = lambda method, path: fault if method == "PUT" else ""
    with pytest.raises(MashbillError, match=r"house/store\.json: .* does not write under the condition"):
        open_store(bucket.url, create=True)


@pytest.mark.parametrize("fault", ["slow down", "cut", "lost"])
def test_faults_that_pass_are_waited_out(bucket: Location, proxy: Proxy, fault: str) -> None:
    data, table = random.Random(7).randbytes(50_000), pa.table({"a": list(range(9000))})
    (bucket / "x").write_bytes(data)
    write_table(bucket / "t.parquet", table)
    reads: list[tuple[Callable[[], Any], Any]] = [
        (lambda: (bucket / "x").read_bytes(), data),
        (lambda: (bucket / "x").read_ranges([(9, 20_000)]), [data[9:20_009]]),
        (lambda: (bucket / "x").open().read(), data),
        (lambda: file_sha256(bucket / "x"), hashlib.sha256(data).hexdigest()),
        (lambda: read_table(bucket / "t.parquet"), table),
    ]
    for read, expected in reads:
        proxy.fault = first(2, fault)
        assert read() == expected
    for write in ("PUT", "HEAD"):
        proxy.fault = first(1, "lost" if fault == "cut" else fault, write)
        (bucket / "y").write_bytes(data)
        assert (bucket / "y").size() == len(data)


@pytest.mark.parametrize("fault", ["slow down", "cut", "drip", "stall"])
def test_faults_that_stay_end_in_a_message(
    bucket: Location, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    if fault in ("drip", "stall"):
        hurry(monkeypatch)
    write_table(bucket / "t.parquet", pa.table({"a": list(range(9000))}))
    proxy.fault = lambda method, path: fault if method == "GET" else ""
    with pytest.raises(MashbillError, match=r"house/t\.parquet: the object store (failed|was too slow)"):
        read_table(bucket / "t.parquet")


def test_a_transfer_that_drips_once_is_asked_for_again(
    bucket: Location, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket / "x").write_bytes(bytes(9000))
    hurry(monkeypatch)
    proxy.fault = first(1, "drip")
    assert (bucket / "x").read_bytes() == bytes(9000)


def test_what_keeps_us_out_is_said(
    bucket: Location, proxy: Proxy, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MashbillError, match=r"s3://nowhere-to-be-found/house.*no such bucket"):
        open_store("s3://nowhere-to-be-found/house", create=True)
    with pytest.raises(MashbillError, match="there is no store at s3://"):
        open_store(bucket.url)
    proxy.fault = lambda method, path: "denied"
    with pytest.raises(MashbillError, match=r"denied access.*AWS_ACCESS_KEY_ID"):
        open_store(bucket.url, create=True)
    proxy.fault = lambda method, path: "denied" if method == "DELETE" or "delete" in path else ""
    (bucket / "folder" / "x").write_bytes(b"x")
    for place in (bucket / "folder", bucket / "folder" / "x"):
        with pytest.raises(MashbillError, match="denied access"):
            place.remove()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(MashbillError, match=r"does not answer .*127\.0\.0\.1:9.*AWS_ENDPOINT_URL"):
        open_store(bucket.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(MashbillError, match=r"no credentials .*AWS_PROFILE"):
        open_store(bucket.url)


def test_requests_do_not_grow_with_the_shards(bucket: Location, proxy: Proxy) -> None:
    source, columns = StoredSource(bucket / "sources" / "f"), ColumnSet(bucket / "columns" / "c-f")
    sample = RawSample("a", "a", "a caption", b"bytes")
    for index in (0, 3):
        source.write_shard(index, [sample], None)
    for index in range(12):
        columns.write(index, pa.table({"sample_id": ["a"]}), 1)

    def count(ask: Callable[[], Any]) -> tuple[Any, list[str]]:
        proxy.seen.clear()
        answer = ask()
        return answer, [f"{method}{' list' * ('list-type' in path)}" for method, path in proxy.seen]

    assert count(columns.present) == (set(range(12)), ["GET list"])
    assert count(source.present) == ({0, 3}, ["GET list"])
    assert count((columns.location / "00003.parquet").exists) == (True, ["HEAD"])
    assert count((columns.location / "gone").exists) == (False, ["HEAD", "GET list"])
    assert count(lambda: columns.read(3).num_rows) == (1, ["GET"])
    assert count(lambda: columns.write(3, columns.read(0), 1)) == (None, ["GET", "PUT"])
    mark = bucket / "mark.json"
    assert count(lambda: mark.create_json({})) == (True, ["PUT"])


def test_what_another_program_writes_is_seen_at_once(bucket: Location, server: int) -> None:
    assert bucket.names() == []
    put(server, f"{bucket.path}/x.json", b"1")
    assert (bucket.names(), (bucket / "x.json").read_json()) == (["x.json"], 1)
    put(server, f"{bucket.path}/", b"")  # how consoles mark a folder
    put(server, f"{bucket.path}/x.json", b"2")
    put(server, f"{bucket.path}/y.json", b"3")
    assert (bucket.names(), (bucket / "x.json").read_json()) == (["x.json", "y.json"], 2)


def test_a_forked_process_asks_for_itself(bucket: Location) -> None:
    script = """
import multiprocessing, sys
from store.location import Location
place = Location.of(sys.argv[1]) / "x"
place.write_bytes(b"parent")
def child():
    place.write_bytes(place.read_bytes() + b", child")
worker = multiprocessing.get_context("fork").Process(target=child)
worker.start()
worker.join(60)
assert worker.exitcode == 0
print(place.read_bytes().decode())
"""
    line = [sys.executable, "-c", script, bucket.url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == "parent, child\n", done.stderr


def test_a_lease_of_the_dead_is_taken_over(bucket: Location, server: int) -> None:
    owner = {"host": "elsewhere-1", "pid": 1, "owner": "theirs", "started": 0.0, "beat": 7}
    put(server, f"{bucket.path}/thing.lease", json.dumps(owner).encode())
    seen: list[Owner] = []
    with held(bucket / "thing", seen.append, patience_s=0.5, beat_s=0.1) as lease:
        assert [found.owner for found in seen] == ["theirs"]
        end = time.monotonic() + 60
        while (bucket / "thing.lease").read_json()["beat"] < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not lease.lost
    assert not (bucket / "thing.lease").exists()


def objects(folder: Location, path: str = "") -> dict[str, str]:
    """SHA-256 of every object of a store but reports, by its path."""
    found = {}
    for name in folder.names():
        place = folder / name
        if "." not in name:
            found |= objects(place, f"{path}{name}/")
        elif "/report/" not in path:
            found[path + name] = file_sha256(place)
    return found


@pytest.mark.slow
def test_a_build_on_a_store_that_fails_now_and_then(
    tmp_path: Path,
    bucket: Location,
    proxy: Proxy,
    photos: Any,
    command: Any,
    cli: Any,
    folder_source: Any,
    tree: Any,
) -> None:
    start, environment = command
    environment = environment | {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    build = [
        "build",
        "l-pp",
        *folder_source(photos.path, 6),
        "--set",
        "pack.resolutions=32",
        "--json",
        "--store",
    ]
    chance, failed = random.Random(5), list[str]()

    def fault(method: str, path: str) -> str:
        name = chance.choice(["slow down", "cut", "lost"]) if chance.random() < 0.1 else ""
        failed.extend([name] if name else [])
        return name

    local = cli(*build, tmp_path / "store", "--workers", "1").json
    assert open_store(bucket.url, create=True).url == bucket.url  # that the store refuses is found out here
    proxy.fault = fault
    line = [*start, *build, bucket.url, "--workers", "2"]
    for _ in range(6):  # three faults in a row, which are one object in a thousand, end a build
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=200)
        if done.returncode == 0:
            break
        assert "run the same command again later" in done.stderr
    proxy.fault = lambda method, path: ""
    assert done.returncode == 0, done.stderr
    assert set(failed) == {"slow down", "cut", "lost"}
    assert json.loads(done.stdout.splitlines()[-1])["version"] == local["version"]
    assert objects(bucket) == tree(tmp_path / "store")


def test_a_build_that_was_killed_ends_as_a_local_one(
    tmp_path: Path,
    bucket: Location,
    proxy: Proxy,
    photos: Any,
    command: Any,
    cli: Any,
    folder_source: Any,
    tree: Any,
) -> None:
    start, environment = command
    environment = environment | {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    small = ["--set", "pack.resolutions=32", "--set", "pack.samples_per_shard=8", "--json"]
    build = ["build", "l-pp", *folder_source(photos.path, 6), *small, "--store"]
    line = [*start, *build, bucket.url, "--workers", "2"]
    proxy.seen.clear()
    enough = random.Random().randrange(5, 60)
    with subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as killed:
        end = time.monotonic() + 120
        while sum(method == "PUT" for method, _ in proxy.seen) < enough and killed.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
    put(proxy.upstream, f"{bucket.path}/sources/left?uploads", b"")
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    local = cli(*build, tmp_path / "store", "--workers", "1").json
    assert json.loads(done.stdout.splitlines()[-1])["version"] == local["version"], enough
    assert objects(bucket) == tree(tmp_path / "store"), enough
    proxy.seen.clear()
    assert all(stage["reused"] for stage in cli(*build, bucket.url, "--workers", "1").json["stages"])
    assert not [path for method, path in proxy.seen if method == "PUT"]
