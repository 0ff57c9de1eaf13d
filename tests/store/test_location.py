"""Writes that happen whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from store.errors import MashbillError
from store.location import Location, sweep, temp_prefix

ROOT = Path(__file__).resolve().parents[2]
DIES = """
import os, signal, sys
from store.location import Location
place = Location(sys.argv[1] + "/file.bin", temp=sys.argv[1] + "/tmp")
with place.writing() as path:
    with open(path, "wb") as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.of(tmp_path if request.param == "file" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read(folder: Location) -> None:
    assert folder.names() == []
    (folder / "b" / "x.bin").write_bytes(b"0123456789")
    (folder / "a.json").write_json({"ä": [1, None]})
    assert folder.names() == ["a.json", "b"]
    file = folder / "b" / "x.bin"
    assert (file.size(), file.name, file.parent.name) == (10, "x.bin", "b")
    assert file.read_ranges([(2, 3), (0, 1), (9, 1), (4, 0)]) == [b"234", b"0", b"9", b""]
    assert (folder / "a.json").read_json() == {"ä": [1, None]}
    with file.open() as opened:
        assert opened.read() == b"0123456789"
    assert Location.of(file.url).read_bytes() == b"0123456789"
    file.write_bytes(b"new")
    assert file.read_bytes() == b"new"
    (folder / "b").remove()
    (folder / "b").remove()
    assert folder.names() == ["a.json"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sftp://user@host/folder", r"sftp://.* Expected a local path, s3://bucket/folder"),
        ("https://host/folder", "Expected a local path"),
        ("simplecache::s3://bucket/folder", "Expected a local path"),
        ("memory://a::s3://bucket", "Expected a local path"),
        ("s3://", "must be s3://BUCKET/FOLDER and no more"),
        ("s3://key:secret@bucket/folder", "must be s3://BUCKET/FOLDER .* come from the environment"),
        ("s3://bucket/folder?versionId=3", "must be s3://BUCKET/FOLDER and no more"),
    ],
)
def test_addresses_with_more_in_them_are_refused(url: str, message: str) -> None:
    with pytest.raises(MashbillError, match=message) as refusal:
        Location.of(url)
    assert "secret" not in str(refusal.value)


def test_addresses_say_where_they_lead(tmp_path: Path) -> None:
    assert Location.of(f"file://{tmp_path}/").url == str(tmp_path)
    assert Location.of("memory://house/store/").url == "memory://house/store"
    assert (Location.of("memory://house") / "a" / "b").parent.url == "memory://house/a"


def test_only_the_first_creates(folder: Location) -> None:
    mark = folder / "mark.json"
    assert mark.create_json({"by": 1})
    assert not mark.create_json({"by": 2})
    assert mark.read_json() == {"by": 1}
    assert folder.names() == ["mark.json"]


def test_of_two_writers_at_once_one_wins(tmp_path: Path) -> None:
    for attempt in range(20):
        mark = Location.of(tmp_path) / f"{attempt}.json"
        start, won = threading.Barrier(4), []

        def write(number: int, mark: Location = mark, start: threading.Barrier = start) -> None:
            start.wait()
            if mark.create_json({"by": number}):
                won.append(number)  # noqa: B023  # joined before the next turn

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(won) == 1
        assert mark.read_json() == {"by": won[0]}


def test_short_and_missing_files_are_named(folder: Location) -> None:
    (folder / "x.bin").write_bytes(b"0123456789")
    with pytest.raises(MashbillError, match=r"x\.bin has 2 of the 5 bytes"):
        (folder / "x.bin").read_ranges([(8, 5)])
    with pytest.raises(MashbillError, match=r"gone\.bin is missing"):
        (folder / "gone.bin").read_ranges([(0, 5)])
    (folder / "x.json").write_bytes(b"{half")
    with pytest.raises(MashbillError, match=r"x\.json is not valid JSON"):
        (folder / "x.json").read_json()


def test_a_failed_write_leaves_nothing(folder: Location) -> None:
    left = []

    def write_half() -> None:
        with (folder / "x.bin").writing() as path:
            left.append(path)
            Path(path).write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert folder.names() == []
    assert not os.path.exists(left[0])


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    line = [sys.executable, "-c", DIES, str(tmp_path)]
    done = subprocess.run(line, env={"PYTHONPATH": str(ROOT)}, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    ours = tmp_path / "tmp" / f"{temp_prefix()}mine"
    ours.write_text("being written")
    other = tmp_path / "tmp" / "other-host-1-x"
    other.write_text("of another machine")
    sweep(str(tmp_path / "tmp"))
    assert set((tmp_path / "tmp").iterdir()) == {ours, other}
    sweep(str(tmp_path / "nowhere"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells who has ended")
def test_files_of_a_process_that_nobody_waited_for_are_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        state, end = Path(f"/proc/{ended.pid}/stat"), time.monotonic() + 60
        while ") Z " not in state.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        left = tmp_path / temp_prefix().replace(f"-{os.getpid()}-", f"-{ended.pid}-")
        left.write_text("half")
        sweep(str(tmp_path))
        assert list(tmp_path.iterdir()) == []
