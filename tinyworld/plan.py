"""The rows of a crawl, planned from a seed: which picture is behind which URL, and what is true."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tinyworld.caption import caption
from tinyworld.kinds import BY_NAME, counts
from tinyworld.picture import Picture
from tinyworld.scene import MONOCHROME, Scene, mirrored, near_miss, random_scene

CLOSED_PORT = "127.0.0.1:1"
"""host:port of the rows of kind "refused": nothing listens there."""

_ASPECTS = ((1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9))
_LONG_ASPECTS = ((3, 2), (2, 3), (16, 9), (9, 16))
_TINY = ((1, 1), (16, 16), (64, 64), (88, 31), (120, 90), (160, 240), (299, 400), (640, 200))
_SOLIDS = ((238, 238, 238), (255, 255, 255), (0, 0, 0), (204, 221, 238))
_JUNK = (
    "IMG_2043.JPG",
    "DSC00417.jpg",
    "image",
    "Click to enlarge",
    "Buy now! Free shipping on orders over $50 | Tiny Shop",
    "https://cdn.example.com/media/2021/04/untitled-1.jpg",
    "Share on social media",
    "photo 3 of 12",
)
_EXTENSIONS = {"png": "png", "png_alpha": "png", "webp": "webp", "gif": "gif", "gif_still": "gif"}
_COPIES = (
    "exact",
    "reencode",
    "resize",
    "watermark",
    "caption_bar",
    "crop",
    "brightness",
    "flip",
)


@dataclass(frozen=True)
class Row:
    """One row of the table, before anything is drawn.

    ``url`` is a path below the server's base ("/ok/...") or a whole URL elsewhere. ``file``: path
    below ``www``. ``picture`` is what lies there, None where the server answers by itself.
    ``truth``: the scene as the file shows it, None where it shows none. ``reason``: see ``Kind``; a
    copy that turns out under 300 px is ``too_small`` whatever stands here.
    """

    kind: str
    url: str
    caption: str | None
    group: str
    reason: str | None
    file: str | None = None
    picture: Picture | None = None
    truth: Scene | None = None


class _Lot:
    """Everything drawn by lot for one crawl, in one fixed order."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"tiny world crawl {seed}")
        self._base = seed * 1_000_000
        self._serial = 0

    def number(self) -> int:
        """A number no other call gets."""
        self._serial += 1
        return self._base + self._serial

    def scene(self) -> Scene:
        return random_scene(self.number())

    def name(self) -> str:
        """A file name that gives nothing away."""
        return f"{self.rng.getrandbits(64):016x}"

    def size(self, aspects: tuple[tuple[int, int], ...], shortest: int) -> tuple[int, int]:
        """Width and height: shorter side from ``shortest`` to 640 px, small ones more often."""
        side = round(self.rng.triangular(shortest, 640, shortest + 20))
        across, down = self.rng.choice(aspects)
        return round(side * across / min(across, down)), round(side * down / min(across, down))


def plan(samples: int, seed: int) -> list[Row]:
    """``samples`` rows in the order of the table. The same on every machine."""
    lot, wanted = _Lot(seed), counts(samples)
    originals = [_original(lot, parent=i % 2 == 0) for i in range(wanted["original"])]
    rows = list(originals)
    for name in _COPIES:
        for parent in lot.rng.sample(originals[::2], wanted[name]):
            rows.append(_copy(lot, name, parent))
    for parent in lot.rng.sample(originals, wanted["hard_negative"]):
        rows.append(_hard_negative(lot, parent))
    rows += _placeholders(lot, wanted["placeholder"])
    for name, make in _MAKERS.items():
        rows += [make(lot, name, i) for i in range(wanted[name])]
    lot.rng.shuffle(rows)
    return _with_repeats(lot, rows, wanted["repeated_row"])


def _with_repeats(lot: _Lot, rows: list[Row], wanted: int) -> list[Row]:
    """The rows with some originals written a second time, further down."""
    first = lot.rng.sample([row for row in rows if row.kind == "original"], wanted)
    for row in first:
        place = lot.rng.randint(rows.index(row) + 1, len(rows))
        rows.insert(place, replace(row, kind="repeated_row", reason="repeated_row"))
    return rows


def _row(lot: _Lot, kind: str, picture: Picture, text: str | None, where: str = "ok") -> Row:
    """A row with a file of its own below ``where`` and a group of its own."""
    name = f"{lot.name()}.{_EXTENSIONS.get(picture.encoding, 'jpg')}"
    shown = picture.content if isinstance(picture.content, Scene) and not picture.damage else None
    group, file = f"picture-{lot.number()}", f"{where}/{name}"
    return Row(kind, f"/{file}", text, group, BY_NAME[kind].reason, file, picture, shown)


def _words(lot: _Lot, scene: Scene) -> str:
    return caption(scene, "long" if lot.rng.random() < 0.7 else "short")


def _picture(lot: _Lot, scene: Scene, encoding: str = "jpeg") -> Picture:
    width, height = lot.size(_ASPECTS, 300)
    quality = lot.rng.randint(84, 93)
    return Picture(scene, width, height, None, encoding, quality, None, lot.number())


def _original(lot: _Lot, parent: bool) -> Row:
    """``parent``: large and well described enough to be the best of its copies."""
    scene = lot.scene()
    picture = _picture(lot, scene)
    if not parent:
        return _row(lot, "original", picture, _words(lot, scene))
    width, height = lot.size(_ASPECTS, 400)
    return _row(lot, "original", replace(picture, width=width, height=height), caption(scene))


def _copy(lot: _Lot, name: str, parent: Row) -> Row:
    """A copy of an original under a URL of its own, with a shorter caption."""
    assert parent.picture is not None
    assert parent.truth is not None
    truth, picture = parent.truth, parent.picture
    if name == "reencode":
        picture = replace(picture, quality=lot.rng.randint(40, 75))
    elif name != "exact":
        picture = replace(picture, edit=name, quality=lot.rng.randint(75, 90), seed=lot.number())
    if name == "flip":
        truth = mirrored(truth)
    row = _row(lot, name, picture, caption(truth, "short"))
    return replace(row, group=parent.group, truth=truth)


def _hard_negative(lot: _Lot, parent: Row) -> Row:
    assert parent.picture is not None
    assert parent.truth is not None
    scene = near_miss(parent.truth, lot.number())
    picture = replace(parent.picture, content=scene, quality=lot.rng.randint(84, 93))
    return _row(lot, "hard_negative", picture, _words(lot, scene))


def _placeholders(lot: _Lot, wanted: int) -> list[Row]:
    """Solid pictures; of each color the first is the one to keep: it has the longest caption."""
    rows: list[Row] = []
    colors = max(1, min(len(_SOLIDS), wanted // 3))
    for i in range(wanted):
        first = i < colors
        text = "Image not available, please come back later" if first else f"Image {i} not available"
        row = _row(lot, "placeholder", Picture(_SOLIDS[i % colors], 400, 300), text)
        if first:
            row = replace(row, reason=None)
        rows.append(replace(row, group=rows[i % colors].group if not first else row.group))
    return rows


def _plain(lot: _Lot, kind: str, index: int) -> Row:
    """A good picture, only encoded, damaged or served in its kind's way."""
    scene = lot.scene()
    encoding = {
        "exif": ("exif6", "exif8", "exif3")[index % 3],
        "png_flipped_bits": "png",
        "png_alpha": "png_alpha",
        "webp": "webp",
        "gif": "gif",
        "cmyk": "cmyk",
        "gray": "gray",
    }.get(kind, "jpeg")
    if kind == "gray":
        scene = replace(scene, style=MONOCHROME)
    picture = _picture(lot, scene, encoding)
    if kind in _DAMAGED:
        picture = replace(picture, damage=kind)
    row = _row(lot, kind, picture, _words(lot, scene), _SERVED.get(kind, "ok"))
    return replace(row, url=f"/redirect/{row.url[4:]}") if kind == "redirect" else row


def _off_center(lot: _Lot, kind: str, index: int) -> Row:
    scene = replace(lot.scene(), anchor=float(index % 2))
    width, height = lot.size(_LONG_ASPECTS, 300)
    picture = replace(_picture(lot, scene), width=width, height=height)
    return _row(lot, kind, picture, _words(lot, scene))


def _bad_caption(lot: _Lot, kind: str, index: int) -> Row:
    scene = lot.scene()
    if kind == "wrong_caption":
        text: str | None = _words(lot, lot.scene())
    elif kind == "junk_caption":
        text = _JUNK[index % len(_JUNK)]
    else:
        text = None if index % 2 else ""
    return _row(lot, kind, _picture(lot, scene), text)


def _tiny(lot: _Lot, kind: str, index: int) -> Row:
    width, height = _TINY[index % len(_TINY)]
    if width == 1:
        return replace(
            _row(lot, kind, Picture((255, 255, 255), 1, 1, None, "gif_still"), "pixel"),
            group="tracking-pixel",
        )
    scene = lot.scene()
    return _row(lot, kind, Picture(scene, width, height, seed=lot.number()), _words(lot, scene))


def _absent(lot: _Lot, kind: str, index: int) -> Row:
    """No file: the server answers by itself, or there is no server."""
    name = f"{lot.name()}.jpg"
    url = {
        "redirect_loop": f"/loop/{name}",
        "refused": f"http://{CLOSED_PORT}/{name}",
        "dns": f"http://nowhere-{index}.invalid/{name}",
        "file_url": "file:///etc/passwd",
        "private_address": f"http://10.0.0.1/{name}",
    }.get(kind, f"/status/{kind[-3:]}/{name}")
    text = f"{_words(lot, lot.scene())} ({lot.number()})"
    return Row(kind, url, text, f"picture-{lot.number()}", BY_NAME[kind].reason)


_SERVED = {
    "flaky": "flaky",
    "slow": "slow",
    "noai": "noai",
    "noimageai": "noimageai",
    "robots_txt": "forbidden",
}
_DAMAGED = ("html", "text", "nul_bytes", "empty_body", "truncated", "png_flipped_bits")
_PLAIN = ("exif", "png_alpha", "webp", "gif", "cmyk", "gray", "redirect", *_SERVED, *_DAMAGED)
_ABSENT = ("http_404", "http_410", "http_500", "redirect_loop", "refused", "dns", "file_url")
_MAKERS: dict[str, Callable[[_Lot, str, int], Row]] = {
    "off_center": _off_center,
    **dict.fromkeys(("wrong_caption", "junk_caption", "no_caption"), _bad_caption),
    **dict.fromkeys(_PLAIN, _plain),
    "tiny": _tiny,
    **dict.fromkeys((*_ABSENT, "private_address"), _absent),
}
