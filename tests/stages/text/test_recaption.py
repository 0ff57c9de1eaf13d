"""Recaptioning: what is asked, what becomes of the answers, and that builds pay once and hide the key."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.build import build
from pipelines.dataset import Dataset
from pipelines.executors import Serial
from pipelines.recipes.l_orig import l_orig
from stages.image.inherited import Inherited
from stages.pack.pack import Pack
from stages.source.folder import Folder
from stages.source.mixture import Mixture, Part
from stages.stage import Batch
from stages.text.asking import Guard, Style
from stages.text.chat_endpoint import Endpoint
from stages.text.chat_local import Local
from stages.text.recaption import LONG, SHORT, Recaption
from store.digest import settings
from store.errors import MashbillError, UsageError
from store.store import open_store
from tinyworld.draw import draw
from tinyworld.scene import random_scene

SORRY = "I'm sorry, but I can't help with that."
TWO = (Style("long", "Say much."), Style("short", "Say little.", temperature=1.0, max_tokens=20))


def batch(count: int = 3, **changes: list[Any]) -> Batch:
    """Pictures of 80 x 60 pixels, cropped to the 60 on their right."""
    columns: dict[str, list[Any]] = {
        "sample_id": [f"id{i}" for i in range(count)],
        "caption": [f"old words {i}" for i in range(count)],
        "crop_left": [20] * count,
        "crop_top": [0] * count,
        "crop_right": [80] * count,
        "crop_bottom": [60] * count,
    }
    images = changes.pop("images", [draw(random_scene(seed), 80, 60) for seed in range(count)])
    return Batch(count, columns | changes, images, [None] * count)


@pytest.fixture
def stage(chat_server: Any) -> Recaption:
    chat = Endpoint("stub", url=chat_server.url, key_variable="CHAT_KEY", retries=0, timeout_s=3)
    return Recaption(chat, TWO)


def by_prompt(reply: Any, **answers: list[str]) -> Callable[[dict[str, Any], int], Any]:
    """Answers to the long and the short prompt, in turn."""
    counts = dict.fromkeys(answers, 0)

    def script(body: dict[str, Any], _: int) -> Any:
        style = "long" if "much" in body["messages"][0]["content"][1]["text"] else "short"
        turn = min(counts[style], len(answers[style]) - 1)
        counts[style] += 1
        return reply(answers[style][turn])

    return script


def test_every_style_gives_a_caption_of_what_the_crop_left(
    chat_server: Any, stage: Recaption, reply: Any
) -> None:
    chat_server.script = by_prompt(reply, long=["Caption: A long one."], short=["A short one."])
    written = stage.open()(batch())
    assert written["caption"] == ["A long one."] * 3
    assert written["captions"] == [["A long one.", "A short one."]] * 3
    assert written["recaption_reason"] == written["recaption_faults"] == [None] * 3
    assert written["recaption_requests"] == [2] * 3
    assert written["caption_prompt_tokens"] == [22] * 3
    assert written["caption_completion_tokens"] == [6] * 3
    assert {chat_server.image(i).size for i in range(6)} == {(60, 60)}
    assert {body["max_tokens"] for body in chat_server.seen} == {256, 20}
    assert len({body["seed"] for body in chat_server.seen}) == 6


def test_a_bad_answer_is_asked_for_again_warmer_and_with_another_seed(
    chat_server: Any, stage: Recaption, reply: Any
) -> None:
    chat_server.script = by_prompt(reply, long=[SORRY, "", "At last a caption."], short=["A short one."])
    written = stage.open()(batch(1))
    assert written["captions"] == [["At last a caption.", "A short one."]]
    assert written["recaption_requests"] == [4]
    assert written["caption_completion_tokens"] == [12]
    long = [body for body in chat_server.seen if body["max_tokens"] == 256]
    assert [body["temperature"] for body in long] == [0.0, 0.7, 0.7]
    assert len({body["seed"] for body in long}) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"text": SORRY}, "refusal"),
        ({"text": ""}, "empty"),
        ({"text": None}, "empty"),
        ({"text": "star " * 50}, "loop"),
        ({"text": "A red star and", "finish": "length"}, "truncated"),
        ({"text": "Ein roter Stern steht links von einem blauen Ring"}, "language"),
        ({"text": "Say much."}, "echo"),
        ({"text": "", "finish": "content_filter"}, "refusal"),
    ],
    ids=str,
)
def test_the_old_caption_stays_with_the_reason(
    chat_server: Any, stage: Recaption, reply: Any, answer: dict[str, Any], reason: str
) -> None:
    chat_server.say(reply(**answer))
    written = replace(stage, styles=TWO[:1], guard=Guard(tries=2)).open()(
        batch(2, caption=["old words", None])
    )
    assert written["caption"] == ["old words", None]
    assert written["captions"] == [["old words"], []]
    assert written["recaption_reason"] == [reason] * 2
    assert written["recaption_requests"] == [2, 2]


def test_one_good_style_is_enough(chat_server: Any, stage: Recaption, reply: Any) -> None:
    chat_server.script = by_prompt(reply, long=[SORRY], short=["A short one."])
    written = stage.open()(batch(1))
    assert written["caption"] == ["A short one."]
    assert written["captions"] == [["A short one."]]
    assert written["recaption_reason"] == [None]
    assert written["recaption_faults"] == ["long: refusal"]
    chat_server.script = by_prompt(reply, long=["A long one."], short=["star " * 50])
    written = stage.open()(batch(1))
    assert written["captions"] == [["A long one."]]
    assert written["recaption_reason"] == [None]
    assert written["recaption_faults"] == ["short: loop"]
    chat_server.script = by_prompt(reply, long=[SORRY], short=["star " * 50])
    assert stage.open()(batch(1))["recaption_faults"] == ["long: refusal, short: loop"]


def test_an_image_that_the_server_cannot_read_is_a_row_with_a_reason(
    chat_server: Any, stage: Recaption, reply: Any
) -> None:
    """Asked once, as it would be no better again; its neighbors have their captions."""
    one = replace(stage, styles=TWO[:1], chat=replace(stage.chat, concurrency=1))
    chat_server.script = lambda body, number: reply(status=400, body="too large") if number == 1 else reply()
    written = one.open()(batch(3))
    assert written["caption"] == ["A red star.", "old words 1", "A red star."]
    assert written["recaption_reason"] == [None, "bad_request", None]
    assert written["recaption_requests"] == [1, 1, 1]
    assert len(chat_server.seen) == 3


def test_the_original_may_stay_behind_the_new_ones(chat_server: Any, stage: Recaption, reply: Any) -> None:
    chat_server.script = by_prompt(reply, long=["A long one."], short=["A short one."])
    written = replace(stage, keep_original=True).open()(batch(2, caption=["old words", "A long one."]))
    assert written["captions"] == [
        ["A long one.", "A short one.", "old words"],
        ["A long one.", "A short one."],
    ]


def test_a_prompt_may_show_the_old_caption(chat_server: Any, stage: Recaption) -> None:
    hinted = Style("hinted", "The web says: {caption}")
    replace(stage, styles=(hinted,)).open()(batch(2, caption=["a {caption} &", None]))
    texts = {body["messages"][0]["content"][1]["text"] for body in chat_server.seen}
    assert texts == {"The web says: a {caption} &", "The web says: "}


def test_without_an_image_nothing_is_asked_and_all_is_null(chat_server: Any, stage: Recaption) -> None:
    written = stage.open()(batch(3, images=[None] * 3))
    assert [set(values) for values in written.values()] == [{None}] * len(stage.writes)
    assert stage.open()(batch(0))["caption"] == []
    assert chat_server.seen == []


def test_an_unreachable_server_is_an_error_and_no_reason(stage: Recaption) -> None:
    gone = Endpoint("stub", url="http://127.0.0.1:9/v1", key_variable="", retries=0)
    with pytest.raises(MashbillError, match="cannot be reached"):
        replace(stage, chat=gone).open()(batch(1))


def test_a_model_here_does_as_the_contract_says(chat_models: dict[str, Path]) -> None:
    """Rows in order, the same at any batch size and beside any neighbor; types as declared; pickles."""
    chat = Local(str(chat_models["captioner"]), batch_size=3)
    stage = Recaption(chat, (Style("long", "long", 8), Style("warm", "short", 8, 1.2)), Guard("", 2))
    assert pickle.loads(pickle.dumps(stage)) == stage
    assert hash(pickle.loads(pickle.dumps(stage))) == hash(stage)
    run = stage.open()
    images: list[Any] = [draw(random_scene(seed), 80, 60) for seed in range(4)]
    images[2] = None
    whole = run(batch(4, images=images))
    assert list(whole) == stage.writes.names
    for name, values in whole.items():
        assert pa.array(values, stage.writes.field(name).type).to_pylist() == values
    for i in range(4):
        columns = {name: [values[i]] for name, values in batch(4).columns.items()}
        alone = run(batch(1, images=[images[i]], **columns))
        assert {name: values[0] for name, values in alone.items()} == {n: v[i] for n, v in whole.items()}


def test_shipped_styles_and_settings() -> None:
    assert settings(Recaption())["styles"][0]["prompt"] == LONG.prompt
    assert Recaption(styles=(LONG, SHORT)).styles[1].max_tokens == 60
    for styles in ((), (LONG, LONG)):
        with pytest.raises(UsageError, match=r"recaption\.styles"):
            Recaption(styles=styles)
    wrong: list[dict[str, Any]] = [
        {"name": "No Name"},
        {"prompt": " "},
        {"max_tokens": 0},
        {"temperature": -1},
        {"top_p": 0},
    ]
    for changes in wrong:
        with pytest.raises(UsageError, match="style"):
            replace(LONG, **changes)
    for guard in ({"language": "de"}, {"tries": 0}):
        with pytest.raises(UsageError, match="guard"):
            Guard(**guard)  # type: ignore[arg-type]


# In a build.


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(9):
        draw(random_scene(seed), 320, 240).save(folder / f"{seed}.jpg")
        (folder / f"{seed}.txt").write_text(f"old words {seed}")
    return folder


def build_with(stage: Recaption, photographs: Path, store: Path) -> dict[str, Any]:
    parent = l_orig()
    source = Folder(path=str(photographs), shard_size=3)
    dataset = replace(parent, source=source, columns=(*parent.columns, stage), pack=Pack(resolutions=()))
    return build(open_store(str(store), create=True), dataset, Serial(), lambda *_: None)


def test_a_build_keeps_the_key_nowhere_and_pays_once(
    chat_server: Any,
    stage: Recaption,
    reply: Any,
    chat_key: str,
    photographs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    one = replace(stage, styles=TWO[:1])
    failing = reply(status=500, body=f"wrong key {chat_key}")
    chat_server.script = lambda body, number: reply() if number < 3 else failing
    with pytest.raises(MashbillError) as caught:
        build_with(one, photographs, tmp_path / "store")
    assert "status 500" in str(caught.value)
    paid_in_vain = len(chat_server.seen) - 3
    chat_server.say(reply())
    assert build_with(one, photographs, tmp_path / "store")["kept"] == 9
    assert len(chat_server.seen) - 3 - paid_in_vain == 6  # the shard that was whole is not asked for again
    moved = replace(one, chat=replace(one.chat, url=chat_server.url.replace("127.0.0.1", "localhost")))
    assert build_with(moved, photographs, tmp_path / "store")["kept"] == 9
    assert len(chat_server.seen) - 3 - paid_in_vain == 6  # the same model elsewhere: nothing is asked
    said = "".join(capfd.readouterr()) + str(caught.value)
    assert chat_key not in said
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert chat_key.encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert chat_key not in str(pq.read_table(path).to_pylist()), path


def test_the_crop_box_is_that_of_the_build(
    chat_server: Any, stage: Recaption, photographs: Path, tmp_path: Path
) -> None:
    # a process opens equal stages once, so that one of another test's server would be asked
    here = replace(stage, styles=TWO[:1], chat=replace(stage.chat, model="another"))
    build_with(here, photographs, tmp_path / "store")
    assert {chat_server.image(i).size for i in range(9)} == {(240, 240)}
    first = Image.open(photographs / "0.jpg").convert("RGB").crop((40, 0, 280, 240))
    sent = [chat_server.image(i).convert("RGB") for i in range(9)]
    assert min(distance(first, image) for image in sent) < 3


def test_only_what_a_dataset_kept_is_paid_for(
    chat_server: Any, stage: Recaption, built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Captions as a dataset of their own: of a mixture of one."""
    folder, first = built
    assert first["kept"] < first["samples_in"]
    dataset = Dataset(
        name="described",
        source=Mixture(parts=(Part("l-orig", "l-orig"),), store=str(folder)),
        columns=(Inherited(), replace(stage, styles=TWO[:1], chat=replace(stage.chat, model="third"))),
        select=(),
        pack=Pack(resolutions=(64,)),
    )
    done = build(open_store(str(tmp_path / "store"), create=True), dataset, Serial(), lambda *_: None)
    assert done["samples_in"] == done["kept"] == first["kept"] == len(chat_server.seen)


def distance(left: Image.Image, right: Image.Image) -> float:
    """Mean absolute difference, 0 to 255."""
    import numpy as np

    return float(np.abs(np.asarray(left, float) - np.asarray(right, float)).mean())
