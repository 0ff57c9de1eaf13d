"""Image shards: WebDataset tars, written the same way every time, read by byte range.

The reader walks headers only: it never touches member bytes, so indexing costs one small read per
member. GNU long names, PAX paths and sizes, ustar prefixes and base-256 sizes are understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from store.errors import MashbillError

BLOCK = 512


class Member(NamedTuple):
    """One regular file in a tar: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


@dataclass
class TarWriter:
    """Writes plain ustar members with fixed owner, mode and time: same members, same bytes."""

    file: IO[bytes]
    position: int = 0

    def add(self, name: str, data: bytes) -> Member:
        """Append one file. Names over 100 bytes of UTF-8 are refused: shards use short names."""
        header = _header(name, len(data))
        padding = -len(data) % BLOCK
        self.file.writelines((header, data, bytes(padding)))
        member = Member(name, self.position + BLOCK, len(data))
        self.position += BLOCK + len(data) + padding
        return member

    def close(self) -> None:
        """End the archive; padded to 10,240 bytes as tar does."""
        end = 2 * BLOCK
        end += -(self.position + end) % 10_240
        self.file.write(bytes(end))
        self.position += end


def _header(name: str, size: int) -> bytes:
    encoded = name.encode()
    if len(encoded) > 100:
        raise ValueError(f"tar member name over 100 bytes: {name}")
    fields = bytearray(BLOCK)
    fields[: len(encoded)] = encoded
    fields[100:136] = b"0000644\x000000000\x000000000\x00" + b"%011o\x00" % size
    fields[136:156] = b"00000000000\x00" + b" " * 8
    fields[156:157] = b"0"
    fields[257:265] = b"ustar\x0000"
    fields[148:156] = b"%06o\x00 " % sum(fields)
    return bytes(fields)


def walk(file: IO[bytes], name: str, size: int) -> Iterator[Member]:
    """Every regular file of the tar ``file``, in order.

    Args:
        file: binary, seekable.
        name: how messages call the file.
        size: bytes of the whole file.

    Raises:
        MashbillError: a header is broken, or the last member goes past the end (a cut download).
    """
    position, long_name, pax = 0, None, dict[str, str]()
    while position + BLOCK <= size:
        file.seek(position)
        header = file.read(BLOCK)
        if header.count(0) == BLOCK:
            return
        kind, start = header[156:157], position + BLOCK
        try:
            length = _length(header, pax)
            position = start + length + (-length % BLOCK)
            if start + length > size:
                raise _cut(name, size)
            if kind == b"L":
                long_name = file.read(length).rstrip(b"\0").decode("utf-8", "replace")
            elif kind in (b"x", b"X"):
                pax = _pax_fields(file.read(length))
        except ValueError as error:
            raise MashbillError(
                f"{name} is not a tar, or is damaged at byte {start - BLOCK}. "
                "Fetch the shard again, or take it out of the folder."
            ) from error
        if kind in (b"0", b"\0", b"7"):
            full_name = pax.get("path") or long_name or _plain_name(header)
            if not full_name.endswith("/"):  # how tars before 1988 mark a folder
                yield Member(full_name, start, length)
        if kind not in _ABOUT_NEXT:
            long_name, pax = None, {}
    if position != size or not size:
        raise _cut(name, size)


_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
"""Links, devices, folders, pipes: whatever size they state, no bytes follow."""
_ABOUT_NEXT = (b"L", b"K", b"x", b"X", b"g")


def _cut(name: str, size: int) -> MashbillError:
    return MashbillError(
        f"{name} ends inside a member at byte {size}: the file was cut. "
        "Fetch the shard again, or take it out of the folder."
    )


def _length(header: bytes, pax: dict[str, str]) -> int:
    """Bytes that follow a header whose checksum is right, else ValueError."""
    if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
        raise ValueError("wrong checksum")
    if header[156:157] in _WITHOUT_DATA:
        return 0
    length = int(pax["size"]) if "size" in pax else _number(header[124:136])
    if length < 0:
        raise ValueError("negative size")
    return length


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # base-256, for sizes of 8 GiB and more
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def _plain_name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _pax_fields(data: bytes) -> dict[str, str]:
    fields, rest = {}, data
    while rest[:1].isdigit():
        length = int(rest.split(b" ", 1)[0])
        _, found, record = rest[:length].partition(b" ")
        if not found:
            raise ValueError("a PAX record without a key")
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        fields[key.decode()] = value.decode("utf-8", "replace")
        rest = rest[length:]
    return fields
