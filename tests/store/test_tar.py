"""The tar writer and reader against Python's ``tarfile``."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.errors import MashbillError
from store.tar import BLOCK, Member, TarWriter, walk

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ["a.jpg", "some/folder/b.jpg", "x" * 99 + "/y.jpg"]
LONG_NAMES = ["d" * 150 + ".jpg", "n" * 90 + "/" + "m" * 180 + ".txt", "snö-雪-\U0001f3bf.jpg"]


def members(data: bytes) -> list[Member]:
    return list(walk(io.BytesIO(data), "test.tar", len(data)))


def packed(names: list[str], kind: int) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=kind) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 700 * number
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    return sink.getvalue()


def as_tarfile_reads(data: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [Member(m.name, m.offset_data, m.size) for m in tar if m.isreg()]


@pytest.mark.parametrize("kind", FORMATS)
def test_members_are_those_tarfile_finds(kind: str) -> None:
    names = NAMES if kind == "ustar" else NAMES + LONG_NAMES
    data = packed(names, FORMATS[kind])
    assert [member.name for member in members(data)] == names
    assert members(data) == as_tarfile_reads(data)


def test_a_pax_size_outranks_the_header() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size, info.pax_headers = 600, {"size": "600", "comment": "two\nlines = 2"}
        tar.addfile(info, io.BytesIO(b"7" * 600))
        tar.addfile(tarfile.TarInfo("b.jpg"))
    data = bytearray(sink.getvalue())
    header = data.index(b"a.jpg", 2 * BLOCK)
    data[header + 124 : header + 136] = b"00000000000\0"
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + BLOCK])
    assert members(bytes(data)) == as_tarfile_reads(bytes(data))
    assert [member.size for member in members(bytes(data))] == [600, 0]


def test_links_folders_pipes_and_global_headers_are_passed_over() -> None:
    sink = io.BytesIO()
    with tarfile.open(
        fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "all"}
    ) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE), ("p", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.jpg" if kind == tarfile.SYMTYPE else ""
            tar.addfile(info)
        link = tarfile.TarInfo("hard.jpg")
        link.type, link.linkname, link.size = tarfile.LNKTYPE, "a.jpg", 4096  # a size without bytes
        tar.addfile(link)
        info = tarfile.TarInfo("é" * 120 + ".jpg")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"bytes"))
    data = sink.getvalue()
    (found,) = members(data)
    assert members(data) == as_tarfile_reads(data)
    assert data[found.offset :][: found.size] == b"bytes"


def test_gnu_long_links_before_long_names() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
        link = tarfile.TarInfo("s" * 130)
        link.type, link.linkname = tarfile.SYMTYPE, "t" * 130
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("after.jpg"))
    assert members(sink.getvalue()) == as_tarfile_reads(sink.getvalue())


def test_a_v7_tar_with_a_folder() -> None:
    def header(name: bytes, size: int) -> bytes:
        fields = bytearray(BLOCK)
        fields[: len(name)] = name
        fields[100:156] = b"0000644\0000000000\0000000000\000%011o\00000000000000\0        " % size
        fields[148:156] = b"%06o\0 " % sum(fields)
        return bytes(fields)

    data = header(b"d/", 0) + header(b"d/a.jpg", 3) + b"abc".ljust(BLOCK, b"\0") + bytes(2 * BLOCK)
    assert members(data) == as_tarfile_reads(data) == [Member("d/a.jpg", 2 * BLOCK, 3)]


def test_a_size_of_9_gib_in_base_256() -> None:
    info = tarfile.TarInfo("huge.jpg")
    info.size = 9 * 2**30
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(MashbillError, match="the file was cut"):
        members(header)

    class Sparse(io.RawIOBase):
        """A file of zeros behind one header."""

        at = 0

        def seek(self, position: int, whence: int = 0) -> int:
            self.at = position
            return position

        def read(self, size: int = -1) -> bytes:
            return header[self.at : self.at + size] if self.at < BLOCK else bytes(size)

    whole = BLOCK + info.size + 2 * BLOCK
    assert list(walk(Sparse(), "huge.tar", whole)) == [Member("huge.jpg", BLOCK, info.size)]


def test_a_tar_without_members_is_empty() -> None:
    assert members(packed([], tarfile.GNU_FORMAT)) == []


@pytest.mark.parametrize("cut", [0, 100, BLOCK - 1, BLOCK + 1, BLOCK + 699, 2 * BLOCK + 100, 3 * BLOCK + 5])
def test_a_cut_file_is_an_error(cut: int) -> None:
    data = packed(["a.jpg", "b.jpg", "c.jpg"], tarfile.USTAR_FORMAT)
    with pytest.raises(MashbillError, match=r"test\.tar.*(cut|damaged)"):
        members(data[:cut])


@pytest.mark.parametrize("at", [0, 100, 130, 150, 156])
def test_a_flipped_bit_in_a_header_is_an_error(at: int) -> None:
    data = bytearray(packed(["a.jpg", "b.jpg", "c.jpg"], tarfile.USTAR_FORMAT))
    start = data.index(b"c.jpg")
    data[start + at] ^= 1
    with pytest.raises(MashbillError, match=f"damaged at byte {start}"):
        members(bytes(data))


@pytest.mark.parametrize(
    "record", [b"0 size=1\n", b"9\n", b"12 size=ten\n", b"11 size=-5\n", b"8 \xff=1\n\n"]
)
def test_a_hostile_pax_header_is_an_error(record: bytes) -> None:
    extended = tarfile.TarInfo("pax")
    extended.type, extended.size = tarfile.XHDTYPE, len(record)
    data = extended.tobuf(tarfile.USTAR_FORMAT) + record.ljust(BLOCK, b"\0")
    data += tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT) + bytes(2 * BLOCK)
    with pytest.raises(MashbillError, match="damaged"):
        members(data)


@pytest.mark.parametrize("data", [b"<html>", b"<html>" * 1000, b"\xff" * 2048])
def test_what_is_no_tar_is_an_error(data: bytes) -> None:
    with pytest.raises(MashbillError, match=r"test\.tar"):
        members(data)


SHORT = st.text(st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(SHORT.filter(lambda name: len(name.encode()) <= 100), st.binary(max_size=1500)))
def test_what_is_written_is_read_back_by_both(files: dict[str, bytes]) -> None:
    sink = io.BytesIO()
    tar = TarWriter(sink)
    written = [tar.add(name, data) for name, data in files.items()]
    tar.close()
    whole = sink.getvalue()
    assert len(whole) == tar.position
    assert members(whole) == written
    assert as_tarfile_reads(whole) == written
    for member, data in zip(written, files.values(), strict=True):
        assert whole[member.offset : member.offset + member.size] == data


def test_the_same_members_give_the_same_bytes_and_long_names_are_refused() -> None:
    sinks = [io.BytesIO(), io.BytesIO()]
    for sink in sinks:
        tar = TarWriter(sink)
        tar.add("a.jpg", b"1234")
        tar.close()
    assert sinks[0].getvalue() == sinks[1].getvalue()
    with pytest.raises(ValueError, match="over 100 bytes"):
        TarWriter(io.BytesIO()).add("ü" * 51, b"")
