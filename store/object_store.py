"""Objects on an object store: reads and writes that end in bounded time, and errors that name the mend.

The client (s3fs) tries a request again when it fails with 5xx, throttling or a broken connection;
``AWS_MAX_ATTEMPTS`` says how often. What it leaves open is done here: bodies that drip, writes that
collide, stores that ignore the condition of a write.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from store.errors import MashbillError

CHUNK = 8 << 20
"""Bytes of one read; a smaller object takes one request."""
GAP = 64 << 10
"""Ranges this near to each other are read by one request."""
PATIENCE_S = 60.0
SLOWEST = 100_000
"""An attempt may take ``PATIENCE_S`` and a second for every ``SLOWEST`` bytes."""
ATTEMPTS = 3

_OPTIONS: dict[str, dict[str, Any]] = {  # another process may have written since a listing was kept
    "gs": {"use_listings_cache": False},
    "s3": {"use_listings_cache": False, "max_concurrency": 4},  # parts of 50 MB at once, held in memory
}
_COLLISIONS = ("ConditionalRequestConflict", "NoSuchUpload", "OperationAborted")
_LIBRARIES = ("aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "requests")
_NO_ANSWER = ("ConnectTimeoutError", "EndpointConnectionError")
_NO_CREDENTIALS = (
    "DefaultCredentialsError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
)
_MESSAGES = {
    "bucket": "there is no such bucket. Make it, or mend the name; mashbill makes no buckets.",
    "conditions": "the object store does not write under the condition 'If-None-Match: *', so two builds "
    "could overwrite each other's marks. Expected conditional writes, as AWS S3 and MinIO have them: upgrade "
    "the store, or use another.",
    "credentials": "no credentials for the object store ({said}). Set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role gives them.",
    "denied": "the object store denied access ({said}). Expected credentials that may list, read, write and "
    "delete there: check AWS_ACCESS_KEY_ID or AWS_PROFILE, and the bucket's policy.",
    "failed": "the object store failed, also when asked again ({said}). What is finished is kept: run the "
    "same command again later.",
    "silent": "the object store does not answer ({said}). Check the network and AWS_ENDPOINT_URL, then run "
    "the same command again.",
    "slow": "the object store was too slow, each time it was asked. What is finished is kept: run the same "
    "command again when the network or the store is better.",
}
_proven: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Remote:
    """One object, or all whose names begin with it and a ``/``."""

    protocol: str
    path: str

    @property
    def url(self) -> str:
        return f"{self.protocol}://{self.path.lstrip('/')}"

    def exists(self) -> bool:
        try:
            self._ask(lambda fs, limit: fs.info(self.path, **limit))
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """Names of what lies directly in this folder, unsorted; none where there is no such folder."""
        try:
            found = self._ask(lambda fs, limit: fs.ls(self.path, detail=False, **limit))
        except FileNotFoundError:
            return []
        paths = [str(name).rstrip("/") for name in found]
        return [path.rsplit("/", 1)[-1] for path in paths if path != self.path]  # a console's folder mark

    def size(self) -> int:
        return int(self._ask(lambda fs, limit: fs.info(self.path, **limit))["size"])

    def read_bytes(self) -> bytes:
        parts = [self.read(0, CHUNK)]
        while len(parts[-1]) == CHUNK:
            parts.append(self.read(len(parts) * CHUNK, CHUNK))
        return b"".join(parts)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes at ``offset``, fewer where the object ends; by one request."""
        return self._pieces([(offset, size)])[offset]

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each ``(offset, size)``, fewer where the object ends; near ones share a request."""
        wanted = merged(ranges)
        starts = [offset for offset, _ in wanted]
        pieces = self._pieces(wanted)
        result = []
        for offset, size in ranges:
            at = starts[bisect_right(starts, offset) - 1] if size else 0
            result.append(pieces[at][offset - at : offset - at + size] if size else b"")
        return result

    def open(self) -> io.BufferedReader | io.BytesIO:
        """For reading, seekable. A small object is read at once."""
        first = self.read(0, CHUNK)
        if len(first) < CHUNK:
            return io.BytesIO(first)
        return io.BufferedReader(_Pieces(self, self.size()), CHUNK)

    def put(self, path: str) -> None:
        """Upload a local file. The object appears when it is complete."""
        self._ask(lambda fs, limit: fs.put_file(path, self.path, **limit), os.path.getsize(path))

    def create(self, data: bytes) -> bool:
        """Write where there is no such object; False where there is one.

        What is found may be this very call's: an attempt whose answer was lost on the way.
        """
        if not self._create(data):
            return False
        bucket = (self.protocol, self.path.lstrip("/").split("/")[0])
        if bucket not in _proven:  # once in a process: what was created must refuse to be created again
            if self._create(data):
                raise MashbillError(f"{self.url}: {_MESSAGES['conditions']}")
            _proven.add(bucket)
        return True

    def remove(self) -> None:
        """Remove the object or the folder; nothing happens where there is none."""
        try:
            if self._ask(lambda fs, limit: fs.info(self.path, **limit))["type"] == "file":
                self._ask(lambda fs, limit: fs.rm_file(self.path, **limit))
                return
            self._ask(lambda fs, limit: fs.rm(self.path, recursive=True, **limit))
        except FileNotFoundError:
            return
        if self.exists():  # s3fs does not say which deletions of many were denied
            raise MashbillError(
                f"{self.url} was not removed. Expected credentials that may delete (s3:DeleteObject): "
                "give that right, or remove it yourself."
            )

    def _create(self, data: bytes) -> bool:
        try:
            self._ask(lambda fs, limit: fs.pipe_file(self.path, data, mode="create", **limit), len(data))
        except FileExistsError:
            return False
        return True

    def _pieces(self, ranges: Sequence[tuple[int, int]]) -> dict[int, bytes]:
        """Bytes of each range by its offset, a request for each."""
        if not ranges:
            return {}
        starts = [offset for offset, _ in ranges]
        ends = [offset + size for offset, size in ranges]

        async def together(fs: AsyncFileSystem) -> list[Any]:  # cat_ranges cannot be called off
            asked = (fs._cat_file(self.path, start=a, end=b) for a, b in zip(starts, ends, strict=True))
            return await asyncio.gather(*asked, return_exceptions=True)

        def read(fs: Any, limit: dict[str, float]) -> list[bytes]:
            if isinstance(fs, AsyncFileSystem):
                found = sync(fs.loop, together, fs, **limit)
            else:
                found = fs.cat_ranges([self.path] * len(starts), starts, ends)
            for piece in found:
                if isinstance(piece, Exception) and _code(piece) != "InvalidRange":
                    raise piece
            # a range that begins where the object ends is not an empty answer but a refusal
            return [b"" if isinstance(piece, Exception) else bytes(piece) for piece in found]

        return dict(zip(starts, self._ask(read, sum(size for _, size in ranges)), strict=True))

    def _ask(self, call: Callable[[Any, dict[str, float]], Any], payload: int = 0) -> Any:
        """``call(filesystem, limit)``, again where time ran out or two writers collided.

        Raises:
            FileNotFoundError, FileExistsError: as the call found it.
            MashbillError: everything else that the object store or the way to it did.
        """
        filesystem = fsspec.filesystem(self.protocol, **_OPTIONS.get(self.protocol, {}))
        seconds = PATIENCE_S + payload / SLOWEST
        limit = {"timeout": seconds} if isinstance(filesystem, AsyncFileSystem) else {}
        attempt = 0
        while True:
            attempt += 1
            try:
                return call(filesystem, limit)
            except Exception as error:
                code = _code(error)
                if code == "PreconditionFailed":  # not every store says which condition failed
                    raise FileExistsError(self.url) from error
                again = isinstance(error, TimeoutError) or code in _COLLISIONS
                if not again or attempt == ATTEMPTS:
                    cause = _cause(error)
                    if cause is None:
                        raise
                    said = _MESSAGES[cause].format(said=str(error) or type(error).__name__)
                    raise MashbillError(f"{self.url}: {said}") from error
            time.sleep(2.0**attempt * random.uniform(0.25, 0.5))


def merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Fewer ``(offset, size)`` that cover all of ``ranges``, in order, none joined beyond ``CHUNK``."""
    result: list[tuple[int, int]] = []
    for offset, size in sorted(item for item in ranges if item[1]):
        if result:
            start, length = result[-1]
            end = max(start + length, offset + size)
            if offset <= start + length + GAP and (end - start <= CHUNK or offset < start + length):
                result[-1] = (start, end - start)
                continue
        result.append((offset, size))
    return result


class _Pieces(io.RawIOBase):
    """A large object as a file; every read is one request of at most ``CHUNK`` bytes."""

    def __init__(self, remote: Remote, size: int) -> None:
        self._remote = remote
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._next(CHUNK), b""))

    def _next(self, most: int) -> bytes:
        size = max(min(most, CHUNK, self._size - self._position), 0)
        data = self._remote.read(self._position, size) if size else b""
        if len(data) != size:
            raise MashbillError(
                f"{self._remote.url} gave {len(data)} of {size} bytes at {self._position}: it was replaced "
                "while it was read, or the store is bad. Run the same command again."
            )
        self._position += size
        return data


def _code(error: BaseException | None) -> str:
    """The object store's own name for what went wrong; empty where it said none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def _cause(error: Exception) -> str | None:
    """Which of ``_MESSAGES`` it is; None for what is an answer or a defect of ours."""
    kind, library, code = type(error).__name__, type(error).__module__.split(".")[0], _code(error)
    if code == "NoSuchBucket":
        return "bucket"
    if isinstance(error, FileNotFoundError | FileExistsError):
        return None
    if kind in _NO_CREDENTIALS:
        return "credentials"
    if isinstance(error, PermissionError):
        return "denied"
    if code in ("501", "NotImplemented"):
        return "conditions"
    if kind in _NO_ANSWER:
        return "silent"
    if isinstance(error, TimeoutError):
        return "slow"
    return "failed" if isinstance(error, OSError | ValueError) or library in _LIBRARIES else None
