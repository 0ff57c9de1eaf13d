"""Nothing on the wire tells which model made what; no pixel is lost on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from curation_ui.study.images import STEP_BYTES, corrupted, equal, upright
from curation_ui.study.questions import ALIGNMENT, QUALITY
from curation_ui.study.votes import read_trials
from tests.curation_ui.study_fixture import (
    SECRET,
    Served,
    all_of,
    make,
    picture,
    serving,
    small,
    write_models,
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("study")
    design = small(practice=1, gold=0.1)
    with serving(make(folder, design, write_models(folder, prompts=12))) as found:
        yield found


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_no_reply_names_a_model_a_file_or_the_study(served: Served):
    client = served.annotator()
    client.get("/study")
    client.get("/api/study")
    all_of(client)
    for reply in client.replies:
        for text in (reply.body, json.dumps(reply.headers).encode()):
            for hidden in (SECRET, "student", ".jpg", "sha256", "study-of"):
                assert hidden.encode() not in text


def test_quality_is_judged_without_the_prompt_anywhere(served: Served):
    client = served.annotator()
    client.get("/study")
    passed = False
    while (reply := client.post("/api/study/next", {"count": 8})).json["trials"]:
        if reply.json["question"]["name"] == ALIGNMENT.name:
            passed = True
            break
        for trial in reply.json["trials"]:
            client.get(trial["left"])
            client.vote(trial, "left")
    assert passed
    for earlier in client.replies[:-1]:
        assert b"prompt number" not in earlier.body
        assert "prompt number" not in json.dumps(earlier.headers)
    assert b"prompt number" in client.replies[-1].body


def test_both_images_look_alike_on_the_wire(served: Served):
    """Format, dimensions, bytes, headers and metadata are those of the other, although one model made 64 px
    PNGs with text and the other 96 px JPEGs with EXIF."""
    client = served.annotator()
    for trial in client.trials(8):
        left, right = client.get(trial["left"]), client.get(trial["right"])
        ours = {k: v for k, v in left.headers.items() if k != "date"}
        assert ours == {k: v for k, v in right.headers.items() if k != "date"}
        assert "etag" not in ours
        assert "last-modified" not in ours
        assert ours["content-type"] == "image/png"
        assert len(left.body) == len(right.body)
        assert len(left.body) % STEP_BYTES == 0
        for reply in (left, right):
            assert reply.body[:8] == b"\x89PNG\r\n\x1a\n"
            with Image.open(io.BytesIO(reply.body)) as image:
                image.load()
                assert image.size == (trial["width"], trial["height"])
                assert not image.getexif()
                assert set(image.info) == set()
        assert [key for key in trial if key not in ("prompt",)] == [
            "trial",
            "position",
            "practice",
            "left",
            "right",
            "width",
            "height",
        ]


def test_names_of_trials_tell_nothing_and_differ_between_people(served: Served):
    one, other = served.annotator(), served.annotator()
    names = [trial["trial"] for client in (one, other) for trial in client.trials(8)]
    assert len(set(names)) == len(names)
    assert all(len(name) == 32 for name in names)


def test_the_side_and_the_order_are_no_hint(tmp_path: Path):
    """The first model stands left about half the time, and pairs do not come in their order."""
    study = make(tmp_path, small(questions=(QUALITY,), votes=2), write_models(tmp_path, 12, 2))
    with serving(study) as served:
        client = served.annotator()
        all_of(client)
        trials = served.server.database.submit_read(read_trials).result()
    assert 5 < sum(trial.left_is_a for trial in trials) < 19
    order = [trial.pair for trial in trials]
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.6


def test_left_and_right_are_where_the_database_says(served: Served):
    """The pixels on the left are those of model a where ``left_is_a``."""
    client, desk = served.annotator(), served.server.desk
    rows = served.server.images._rows
    for card in [c for c in client.trials(6) if not c["practice"]]:
        trial = desk.trials[card["trial"]]
        if trial.known:
            continue
        pair = desk.pairs[trial.pair]
        left = pair.image_a if trial.left_is_a else pair.image_b
        same = picture(
            1000 * rows[left]["model"] + 10 * int(rows[left]["prompt"].split()[-1]),
            96 if rows[left]["model"] else 64,
        ).resize((96, 96), Image.Resampling.LANCZOS)
        difference = np.abs(pixels(client.get(card["left"]).body).astype(int) - np.asarray(same))
        assert difference.mean() < 8


# Images.


def test_an_image_of_the_canvas_size_loses_no_pixel():
    image = picture(1)
    shown = equal(image, picture(2, 64))
    assert (pixels(shown.left) == np.asarray(image)).all()
    assert pixels(shown.right).shape == (96, 96, 3)


def test_other_aspects_stand_whole_on_gray():
    shown = equal(picture(1), picture(2).resize((96, 48)))
    right = pixels(shown.right)
    assert (right[:20] == 128).all()
    assert not (right[30:60] == 128).all()


def test_upright_without_metadata():
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be seen
    sink = io.BytesIO()
    image.save(sink, "jpeg", exif=exif, quality=95)
    turned = upright(sink.getvalue())
    assert turned.size == (20, 40)
    assert turned.getpixel((10, 3))[2] > 200
    assert turned.info == {}


def test_transparency_is_white_and_other_modes_are_rgb():
    for mode in ("RGBA", "LA", "P", "L", "1", "I;16"):
        image = Image.new(mode, (8, 8))
        sink = io.BytesIO()
        image.save(sink, "png")
        found = upright(sink.getvalue())
        assert found.mode == "RGB"
        if mode in ("RGBA", "LA"):
            assert found.getpixel((0, 0)) == (255, 255, 255)


def test_a_wide_color_profile_is_brought_to_srgb():
    sink, plain = io.BytesIO(), picture(3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain.save(sink, "png", icc_profile=profile)
    assert np.abs(np.asarray(upright(sink.getvalue())).astype(int) - np.asarray(plain)).max() <= 2
    sink = io.BytesIO()
    plain.save(sink, "png", icc_profile=b"no profile at all")
    assert (np.asarray(upright(sink.getvalue())) == np.asarray(plain)).all()


def test_a_corrupted_image_is_plainly_worse():
    image = picture(4, 256)
    bad = np.asarray(corrupted(image))
    assert bad.shape == (256, 256, 3)
    squares = bad.reshape(8, 32, 8, 32, 3)
    assert (squares == squares[:, :1, :, :1]).all()
