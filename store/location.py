"""A folder on a local disk or an object store, with writes that happen whole or not at all.

On a local disk a file is written under the store's ``tmp`` folder, flushed, and moved to its name in
one step. On an object store an upload becomes visible when it is complete, which is the same promise;
nothing is ever renamed there.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import fsspec

from store.errors import MashbillError
from store.object_store import Remote

_PROTOCOLS = {"file": "file", "gs": "gs", "gcs": "gs", "memory": "memory", "s3": "s3", "s3a": "s3"}


@dataclass(frozen=True)
class Location:
    """One folder or file. ``path`` is absolute, ``/``-separated, in the terms of its filesystem.

    ``temp`` is a local folder for files being written; on a local disk it must lie on the same disk.
    """

    path: str
    protocol: str = "file"
    temp: str = ""

    @classmethod
    def of(cls, url: str | Path) -> Location:
        """From a local path or a URL: ``s3://bucket/store``, ``gs://...``, ``memory://...``, ``file://...``.

        Raises:
            MashbillError: another kind of URL, one with options in it, or its package is not installed.
        """
        text = os.fspath(url)
        if "://" not in text:
            return cls(os.path.abspath(os.path.expanduser(text)).rstrip("/") or "/")
        scheme, _, rest = text.partition("://")
        protocol = _PROTOCOLS.get(scheme)
        if protocol is None or "::" in rest:
            raise MashbillError(
                f"{text} is a kind of address that mashbill cannot keep its promises on. Expected a local "
                "path, s3://bucket/folder, gs://bucket/folder, file:///folder or memory://folder."
            )
        if protocol != "file" and (not rest.strip("/") or "@" in rest.split("/")[0] or "?" in rest):
            raise MashbillError(
                f"{scheme}://... must be {scheme}://BUCKET/FOLDER and no more. Keys, hosts and options come "
                "from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...) or fsspec's configuration."
            )
        try:
            kind = fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            raise MashbillError(
                f"{text} needs a package that is not installed ({error}). For s3:// do "
                "`pip install 'mashbill[s3]'`."
            ) from error
        return cls(str(kind._strip_protocol(text)).rstrip("/") or "/", protocol)

    @property
    def _remote(self) -> Remote:
        return Remote(self.protocol, self.path)

    @property
    def local(self) -> bool:
        return self.protocol == "file"

    @property
    def url(self) -> str:
        return self.path if self.local else self._remote.url

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Location:
        return Location(self.path.rsplit("/", 1)[0] or "/", self.protocol, self.temp)

    def __truediv__(self, name: str) -> Location:
        return Location(f"{self.path.rstrip('/')}/{name}", self.protocol, self.temp)

    def exists(self) -> bool:
        return os.path.exists(self.path) if self.local else self._remote.exists()

    def names(self) -> list[str]:
        """Names in this folder, sorted; empty where there is no such folder, itself where it is a file.

        On an object store that is a request for every thousand names.
        """
        if not self.local:
            return sorted(self._remote.names())
        if not os.path.isdir(self.path):
            return [self.name] if self.exists() else []
        return sorted(os.listdir(self.path))

    def size(self) -> int:
        """Bytes of this file."""
        return os.path.getsize(self.path) if self.local else self._remote.size()

    def read_bytes(self) -> bytes:
        return Path(self.path).read_bytes() if self.local else self._remote.read_bytes()

    def read_json(self) -> Any:
        try:
            return json.loads(self.read_bytes())
        except ValueError as error:
            raise MashbillError(
                f"{self.url} is not valid JSON ({error}); it was changed by hand or the disk is bad. "
                "Restore it, or remove it (a lease or a file of builds/) or else its folder, and build again."
            ) from error

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each ``(offset, size)``; a short answer is an error naming the file."""
        try:
            parts = self._ranges(ranges)
        except FileNotFoundError as error:
            raise MashbillError(
                f"{self.url} is missing: it was moved or removed after it was read in. "
                "Put it back, or build into a new store."
            ) from error
        for part, (offset, size) in zip(parts, ranges, strict=True):
            if len(part) != size:
                raise MashbillError(
                    f"{self.url} has {len(part)} of the {size} bytes expected at {offset}: the file was "
                    "cut or replaced after it was read in. Restore it, or build into a new store."
                )
        return parts

    def _ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if self.local:
            with open(self.path, "rb") as file:
                return [os.pread(file.fileno(), size, offset) for offset, size in ranges]
        return self._remote.read_ranges(ranges)

    def open(self) -> io.BufferedReader | io.BytesIO:
        """A binary file for reading, seekable; the caller closes it."""
        return open(self.path, "rb") if self.local else self._remote.open()

    def write_bytes(self, data: bytes) -> None:
        with self.writing() as path:
            Path(path).write_bytes(data)

    def write_json(self, value: Any) -> None:
        self.write_bytes(json_bytes(value))

    def create_json(self, value: Any) -> bool:
        """Write only where nothing is yet, in one step; False when there is something.

        On an object store the something may be this value itself, of an attempt whose answer was lost.
        """
        if not self.local:
            return self._remote.create(json_bytes(value))
        with self.temporary() as path:
            Path(path).write_bytes(json_bytes(value))
            return self._link(path)

    @contextmanager
    def writing(self) -> Iterator[str]:
        """A local path to write to; when the block ends well the file takes this place."""
        with self.temporary() as path:
            yield path
            self.adopt(path)

    def remove(self) -> None:
        """Remove this file or folder and all in it; nothing happens where there is none."""
        if not self.local:
            self._remote.remove()
        elif os.path.isdir(self.path):
            shutil.rmtree(self.path)
        else:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.remove(self.path)

    @contextmanager
    def temporary(self) -> Iterator[str]:
        """A local path for a file in the making, gone when the block ends unless it was adopted."""
        folder = self.temp or (os.path.dirname(self.path) if self.local else _scratch())
        os.makedirs(folder, exist_ok=True)
        path = f"{folder}/{temp_prefix()}{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.remove(path)

    @contextmanager
    def temporary_folder(self) -> Iterator[str]:
        """An empty local folder, gone when the block ends or, after a kill, at the next build."""
        with self.temporary() as path:
            os.makedirs(path)
            yield path

    def adopt(self, path: str) -> None:
        """Make the finished local file ``path`` this file, in one step."""
        if not self.local:
            self._remote.put(path)
            return
        _flush(path)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        os.replace(path, self.path)
        _flush(os.path.dirname(self.path))

    def _link(self, path: str) -> bool:
        _flush(path)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        try:
            os.link(path, self.path)
        except FileExistsError:
            return False
        _flush(os.path.dirname(self.path))
        return True


def json_bytes(value: Any) -> bytes:
    """Canonical JSON for people: sorted keys, two spaces, a newline at the end."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def temp_prefix() -> str:
    """Names the process a temporary file belongs to, so that a later one can tell it is dead."""
    return f"{this_host()}-{os.getpid()}-"


@cache
def _scratch() -> str:
    """A local folder for files on their way to an object store; rid of what dead processes left there."""
    folder = f"{gettempdir()}/mashbill-{os.getuid()}"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    sweep(folder)
    return folder


@cache
def this_host() -> str:
    """This host and, on Linux, its space of process numbers: containers may share a host's name."""
    space = "/proc/self/ns/pid"
    inode = os.readlink(space).strip("pid:[]") if os.path.islink(space) else ""
    return f"{socket.gethostname()}-{inode}"


def sweep(folder: str) -> None:
    """Remove temporary files of processes of this host that are gone."""
    host = this_host() + "-"
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        pid = name.removeprefix(host).split("-")[0]
        if not name.startswith(host) or not pid.isdigit() or alive(int(pid)):
            continue
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):  # another build swept at the same moment
                os.remove(path)


def alive(pid: int) -> bool:
    """Whether a process of this host has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # ended, but not yet fetched by its parent: still listed, and writes no more
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return True  # no such file on this system, or it went just now: the next sweep sees


def _flush(path: str) -> None:
    """Push a file or folder to the disk, so that a power cut cannot undo the order of two writes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some filesystems cannot flush a folder
            raise
    finally:
        os.close(handle)
