"""Images: the bytes of the shard as they are, never anything that is no picture, never another's."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curation_ui.images import NoPicture, picture_type


def tars(hats: Any) -> list[Path]:
    return sorted(Path(hats[0].root.path).glob("sources/*/shards/*.tar"))


def test_an_image_is_the_bytes_of_the_shard(served: Any, hats: Any) -> None:
    owner = served.owner()
    everything = b"".join(tar.read_bytes() for tar in tars(hats))
    for item in (0, 20, 39):
        reply = owner.ask("GET", f"/image/{item}")
        assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
        assert reply.body in everything
        assert "immutable" in reply.headers["cache-control"]
        with Image.open(io.BytesIO(reply.body)) as image:
            card = owner.get(f"/api/cards?items={item}")["cards"][0]
            assert image.height == card["height"]
        again = owner.ask("GET", f"/image/{item}", headers={"If-None-Match": reply.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
    etags = {owner.ask("GET", f"/image/{item}").headers["etag"] for item in range(40)}
    assert len(etags) == 40


@pytest.mark.parametrize("side", [192, 384])
def test_a_thumbnail_is_small_and_upright(
    tmp_path: Path, serving: Any, write_hats: Callable[..., Any], side: int
) -> None:
    sink = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter
    Image.linear_gradient("L").resize((600, 300)).convert("RGB").save(sink, "JPEG", exif=exif)
    served = serving(write_hats(tmp_path / "turned", [sink.getvalue()] * 4))
    reply = served.owner().ask("GET", f"/thumb/1/{side}")
    assert reply.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(reply.body)) as image:
        assert image.size == (side // 2, side)
        assert not image.getexif()


FORMS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "AVIF": "image/avif"}


@pytest.mark.parametrize("form", FORMS)
def test_the_type_is_what_the_bytes_say(form: str) -> None:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8)).save(sink, form)
    assert picture_type(sink.getvalue()) == FORMS[form]


HOSTILE = {
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "page": b"<!DOCTYPE html><script>alert(1)</script>",
    "gif": b"GIF89a" + bytes(40),
    "text": b"hello",
    "empty": b" ",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_picture_is_not_sent(
    tmp_path: Path, serving: Any, write_hats: Callable[..., Any], kind: str
) -> None:
    with pytest.raises(NoPicture):
        picture_type(HOSTILE[kind])
    owner = serving(write_hats(tmp_path / "bad", [HOSTILE[kind]] * 4)).owner()
    for path in ("/image/0", "/thumb/0/192"):
        reply = owner.ask("GET", path)
        assert (reply.status, reply.headers["content-type"]) == (415, "application/json")


def test_a_bomb_is_not_decoded(
    tmp_path: Path, serving: Any, write_hats: Callable[..., Any], broken_files: Any
) -> None:
    bomb, cut = broken_files["bad-bomb.png"][0], broken_files["bad-cut.jpg"][0]
    owner = serving(write_hats(tmp_path / "bomb", [bomb, bomb, cut, cut])).owner()
    assert {owner.ask("GET", f"/thumb/{item}/192").status for item in range(3)} == {415}


@pytest.mark.parametrize("harm", ["touched", "cut", "replaced", "gone", "grown before the start"])
def test_a_changed_shard_is_a_conflict_and_not_another_picture(hats: Any, serving: Any, harm: str) -> None:
    if harm == "grown before the start":
        for tar in tars(hats):
            tar.write_bytes(tar.read_bytes() + bytes(512))
    served = serving(hats)
    owner = served.owner()
    if harm != "grown before the start":
        assert owner.ask("GET", "/image/0").status == 200
    for tar in tars(hats):
        if harm == "touched":
            os.utime(tar, ns=(1, 1))
        elif harm == "cut":
            os.truncate(tar, 600)
        elif harm == "replaced":
            tar.write_bytes(bytes(tar.stat().st_size))
        elif harm == "gone":
            tar.unlink()
    reply = owner.ask("GET", "/image/0")
    assert reply.status == 409
    assert "Put it back" in reply.json["error"]
    assert "/" not in reply.json["error"].partition(" was moved")[0], "no path is told"
