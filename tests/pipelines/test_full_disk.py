"""A disk that fills up: one message, nothing half-written, and the same command goes on with more room."""

from __future__ import annotations

import resource
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SIZES_KIB = (40, 180, 300)
"""From room for little more than the store's mark to nearly enough."""


@pytest.fixture(scope="module")
def line(photos: Any, command: Any, folder_source: Any) -> Callable[[Path], list[str]]:
    def arguments(store: Path) -> list[str]:
        options = ["--set", "pack.resolutions=128", "--workers", "1"]
        return [*command[0], "build", "l-orig", "--store", str(store), *folder_source(photos.path), *options]

    return arguments


def can_mount() -> bool:
    try:
        probe = "mount -t tmpfs tmpfs /mnt"
        return subprocess.run(["unshare", "-rm", "sh", "-c", probe], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def whole_files_only(store: Path, expected: dict[str, str], tree: Any) -> None:
    """Whatever has its final name has its final bytes."""
    found = {name: digest for name, digest in tree(store).items() if not name.endswith("newest.json")}
    assert found.items() <= expected.items()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, line: Any, command: Any, tree: Any) -> dict[str, str]:
    """The files of a build with room enough."""
    store = tmp_path_factory.mktemp("room") / "store"
    subprocess.run(line(store), env=command[1], check=True, capture_output=True, timeout=240)
    return tree(store)


@pytest.mark.parametrize("limit_bytes", [2_000, 30_000])
def test_a_limit_on_file_size(
    limit_bytes: int, tmp_path: Path, line: Any, command: Any, expected: dict[str, str], tree: Any
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    again = {"env": command[1], "capture_output": True, "text": True, "timeout": 240}
    done = subprocess.run(line(tmp_path / "store"), preexec_fn=limit, **again)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("mashbill: a file would grow over the limit")
    whole_files_only(tmp_path / "store", expected, tree)
    done = subprocess.run(line(tmp_path / "store"), **again)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "store") == expected


@pytest.mark.skipif(not can_mount(), reason="may not mount a small disk here; the limit above stands in")
def test_a_full_disk(tmp_path: Path, line: Any, command: Any, expected: dict[str, str], tree: Any) -> None:
    """On a real small file system, which grows until the build fits."""
    disk = tmp_path / "disk"
    disk.mkdir()
    build = shlex.join(line(disk / "store"))
    script = [f"mount -t tmpfs -o size={SIZES_KIB[0]}k tmpfs {disk}"]
    for size in SIZES_KIB:
        script.append(f"mount -o remount,size={size}k {disk}")
        script.append(f"code=0; {build} > {tmp_path}/{size}.out 2>&1 || code=$?")
        script.append(f"echo $code > {tmp_path}/{size}.code")
        script.append(f"cp -r {disk} {tmp_path}/state-{size}")
    script += [f"mount -o remount,size=64m {disk}", f"{build} && cp -r {disk} {tmp_path}/last"]
    line_ = ["unshare", "-rm", "sh", "-ec", "\n".join(script)]
    done = subprocess.run(line_, env=command[1], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    for size in SIZES_KIB:
        said = (tmp_path / f"{size}.out").read_text()
        assert (tmp_path / f"{size}.code").read_text().strip() == "1", said
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith("mashbill: the disk is full")
        whole_files_only(tmp_path / f"state-{size}" / "store", expected, tree)
        assert list((tmp_path / f"state-{size}").glob("store/tmp/*")) == []
    assert tree(tmp_path / "last" / "store") == expected
