"""Evaluation sets as they lie on disk, and the lines that name what they hold."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from stages.dedup.evaluation_captions import FILES, caption_items
from stages.image.picture import BrokenImage, ext_for, read_header
from stages.source.paths import expanded, listing
from store.errors import UsageError
from store.schema import storable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2", ".avif")
ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z", ".rar")
NO_PICTURE = frozenset(("bin", "pdf", "eps", "mp4", "webm"))
"""What ``ext_for`` says of bytes that are not taken for an image."""


def image_items(path: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every image below a folder, or in a tar, in order of the names.

    A name begins with the folder's or the tar's own: ``coco/000123.jpg``, ``val-0.tar/7.jpg``. Images are
    what is named as one and what begins as one; other files, and hidden ones, are passed over.
    """
    root = Path(expanded(path))
    return _below(root) if root.is_dir() else _members(root, root.name)


def summary(kind: str, path: str) -> str:
    """What lies there, in one line made of names and bytes: not of the folder above, nor of times.

    ``kind`` is ``images`` or ``captions``.

    Raises:
        UsageError: there is no such path, it holds none, or one that is none.
    """
    wanted = {
        "images": ("folder or tar", "Give folders or tars of images, with commas between"),
        "captions": ("file", f"Give files that end in {', '.join(FILES)}, with commas between"),
    }
    what, mend = wanted[kind]
    found = Path(expanded(path))
    if not path or not (found.is_file() or (found.is_dir() and kind == "images")):
        raise UsageError(f"{kind}={path}: there is no such {what}. {mend}.")
    folder, files = (found, _files(found)) if found.is_dir() else (found.parent, [found])
    state = listing(folder, (file.relative_to(folder).as_posix() for file in files))
    line = _read(kind, path, state)
    if line is None:
        raise UsageError(f"{kind}={path}: holds no {kind}. {mend}.")
    return line


@lru_cache
def _read(kind: str, path: str, state: str) -> str | None:
    """Read once for each ``state`` of the files: a stage is made anew with every field that is set."""
    items: Iterable[tuple[str, bytes]] = image_items(path) if kind == "images" else _encoded(path)
    whole, count = hashlib.sha256(), 0
    for name, data in items:
        if kind == "images":
            _check_header(name, data)
        whole.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
        count += 1
    own = storable(Path(expanded(path)).name)
    return f"{own}: {count} {kind}, sha256 {whole.hexdigest()}" if count else None


def _encoded(path: str) -> Iterator[tuple[str, bytes]]:
    for name, text in caption_items(path):
        yield name, text.encode("utf-8", "surrogatepass")


def _check_header(name: str, data: bytes) -> None:
    try:
        read_header(data)
    except BrokenImage as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: BrokenImage) -> UsageError:
    """What to say of an evaluation image that cannot be read."""
    return UsageError(
        f"evaluation image {name} cannot be read ({error}). Copies of it could not be found: "
        "mend the file, or take it out of the set."
    )


def _files(folder: Path) -> list[Path]:
    """Files below a folder that are not hidden, in order of their relative names.

    Raises:
        UsageError: there is an archive or a linked folder: its images would be passed over in silence.
    """
    found = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    closed = [p for p in found if p.name.lower().endswith(ARCHIVES) or (p.is_symlink() and p.is_dir())]
    if closed:
        raise UsageError(
            f"images: {closed[0]} is not looked into. Unpack it, or name the folder behind the link."
        )
    names = ((path.relative_to(folder).as_posix(), path) for path in found)
    return [path for name, path in sorted(names) if not any(p.startswith(".") for p in name.split("/"))]


def _below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in _files(folder):
        inside = storable(f"{folder.name}/{file.relative_to(folder).as_posix()}") or ""
        if file.suffix.lower() == ".tar":
            yield from _members(file, inside)
            continue
        with file.open("rb") as opened:
            head = opened.read(1024)
            if _is_image(file.name, head):
                yield inside, head + opened.read()


def _members(tar: Path, name: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(tar) as opened:
            for member in sorted(opened.getmembers(), key=lambda member: member.name):
                file = opened.extractfile(member) if member.isfile() else None
                data = file.read() if file else b""
                if file and _is_image(member.name, data[:1024]):
                    yield storable(f"{name}/{member.name}") or "", data
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"images: {tar} cannot be read as a tar: {error}") from error


def _is_image(name: str, head: bytes) -> bool:
    # Named so or begun so: a broken image must be met, and not passed over as something else.
    return Path(name).suffix.lower() in IMAGE_SUFFIXES or ext_for(head) not in NO_PICTURE
