"""Models that are there, models that are not and why, and batches that a GPU's memory does not hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.pretrained import device, in_batches, load, load_image_processor, load_network
from store.errors import FinalError, MashbillError, UsageError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = "tinyworld/models/clip"
TIMEOUT_S = 120

# Models that are there.


def test_a_shipped_name_a_folder_and_options() -> None:
    from transformers import AutoConfig, CLIPTextModel

    named, by_path = (load(AutoConfig, model, "main", "x.model") for model in (SHIPPED, str(ROOT / SHIPPED)))
    assert named.projection_dim == by_path.projection_dim == 128
    half = load(CLIPTextModel, "tinyworld/models/clip-text", "main", "x.model", dtype=torch.float16)
    assert half.dtype == torch.float16


def test_pictures_are_prepared_with_pillow_whatever_is_installed(caplog: pytest.LogCaptureFixture) -> None:
    from stages.text.chat_local import Local

    assert load_image_processor(SHIPPED, "main", "x.model").backend == "pil"
    chat: Any = Local("tinyworld/models/captioner").open(images=True)
    assert chat.processor.image_processor.backend == "pil"
    assert caplog.records == []


def test_no_model_is_named() -> None:
    with pytest.raises(UsageError, match=r"x\.model is empty: give the hub id"):
        load(None, "", "main", "x.model")


def test_a_folder_without_a_model_and_files_that_are_none(tmp_path: Path) -> None:
    from transformers import AutoConfig

    with pytest.raises(MashbillError, match=r"x\.model=.* at revision 'main' cannot be loaded: \w+Error: "):
        load(AutoConfig, str(tmp_path), "main", "x.model")
    (tmp_path / "config.json").write_text("{ no json")
    with pytest.raises(MashbillError, match=r"cannot be loaded: \w+Error: ") as raised:
        load(AutoConfig, str(tmp_path), "main", "x.model")
    assert "\n" not in str(raised.value)


# Models that are not, as the hub says it.

ANSWERS = {  # of the hub to somebody without a token
    "gated": (401, "GatedRepo", "Access to model org/gated is restricted"),
    "missing": (401, "RepoNotFound", "Repository not found"),
    "public": (404, "RevisionNotFound", "Invalid rev id: nope"),
}


class Hub(BaseHTTPRequestHandler):
    """Answers every path of a repository with that repository's error."""

    def do_GET(self) -> None:
        name = next((name for name in ANSWERS if f"/{name}" in self.path), "missing")
        status, code, words = ANSWERS[name]
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", words)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Says nothing: the tests look at what the client makes of it."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


ASK = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits 40 s in all before it gives up on a network
from transformers import AutoConfig
from stages.pretrained import load
from store.errors import MashbillError
said = {}
for model in sys.argv[1:]:
    try:
        load(AutoConfig, model, "nope", "x.model")
    except MashbillError as error:
        said[model] = str(error)
print(json.dumps(said))
"""


def asked(endpoint: str, home: Path, *models: str, **environment: str) -> dict[str, str]:
    """What ``load`` says of each, in a process whose hub is at ``endpoint``: it is read at import."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    given = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *models],
        env=kept | given | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_hub_refuses(hub: str, tmp_path: Path) -> None:
    said = asked(hub, tmp_path, "org/gated", "org/missing", "org/public")
    start = "x.model='org/{}' at revision 'nope' cannot be loaded: "
    assert said["org/gated"] == start.format("gated") + (
        "it is gated: accept its terms on its page and set HF_TOKEN"
    )
    assert said["org/missing"].startswith(
        start.format("missing") + "there is no such model, or it is private"
    )
    assert said["org/public"].startswith(start.format("public") + "it has no such revision")


def test_the_hub_cannot_be_reached(tmp_path: Path) -> None:
    said = asked("http://127.0.0.1:9", tmp_path, "org/gated")  # the port of discard: nobody is there
    assert "cannot be loaded: it is not here and the hub cannot be reached" in said["org/gated"]


def test_offline(hub: str, tmp_path: Path) -> None:
    said = asked(hub, tmp_path, "org/gated", HF_HUB_OFFLINE="1")
    assert "cannot be loaded: it is not here and " in said["org/gated"]
    assert "download it first" in said["org/gated"] or "give the folder it was saved to" in said["org/gated"]


# Batches.


class Gpu:
    """Runs as a model does on a GPU that holds ``fits`` items: more raise what torch raises."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.batches: list[int] = []
        self.halved: list[int] = []

    def run(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(len(items))
        if len(items) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [item * 10 for item in items]


@pytest.mark.parametrize(
    ("count", "batch_size", "fits", "batches", "halved"),
    [
        (10, 4, 99, [4, 4, 2], []),
        (10, 8, 3, [8, 4, 2, 2, 2, 2, 2], [4, 2]),
        (5, 4, 2, [4, 2, 2, 1], [2]),
        (3, 8, 2, [3, 1, 1, 1], [1]),  # half of what was there, not of what was allowed
        (0, 4, 1, [], []),
    ],
)
def test_a_batch_too_large_is_halved_and_every_item_has_its_result(
    count: int, batch_size: int, fits: int, batches: list[int], halved: list[int]
) -> None:
    gpu = Gpu(fits)
    assert in_batches(gpu.run, range(count), batch_size, gpu.halved.append) == [i * 10 for i in range(count)]
    assert (gpu.batches, gpu.halved) == (batches, halved)


def test_what_a_batch_held_is_gone_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive_when_freed: list[bool] = []

    def run(items: Sequence[int]) -> Sequence[int]:
        large = torch.zeros(8)
        if len(items) > 1:
            held.append(weakref.ref(large))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return items

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive_when_freed.append(held[-1]() is not None))
    assert in_batches(run, [1, 2, 3, 4], 4, lambda size: None) == [1, 2, 3, 4]
    assert alive_when_freed == [False, False]


class TooLarge:
    """A model that no machine holds: what torch says is real."""

    @staticmethod
    def from_pretrained(model: str, revision: str, **options: Any) -> Any:
        return torch.empty(2**50, dtype=torch.uint8)


class TooLargeForTheGpu:
    """Fits here, and says what torch says where a GPU is too small."""

    dtype = torch.float16

    @classmethod
    def from_pretrained(cls, model: str, revision: str, **options: Any) -> Any:
        return cls()

    def eval(self) -> TooLargeForTheGpu:
        return self

    def to(self, device: str) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_model_that_memory_does_not_hold() -> None:
    with pytest.raises(FinalError) as raised:
        load_network(TooLarge, SHIPPED, "main", "x.model", dtype=torch.float32)
    said = str(raised.value)
    assert said.startswith(
        f"x.model='{SHIPPED}' (dtype float32, device cpu): the memory of this machine does not"
    )
    assert "can't allocate memory" in said
    assert "Use a narrower dtype" in said
    with pytest.raises(FinalError, match=r"dtype float16, device \w+\): .*\(CUDA out of memory"):
        load_network(TooLargeForTheGpu, SHIPPED, "main", "x.model")


def test_not_even_one_fits() -> None:
    gpu = Gpu(0)
    with pytest.raises(MashbillError, match=r"does not hold a batch of one \(CUDA out of memory"):
        in_batches(gpu.run, [1, 2, 3], 2, gpu.halved.append)
    assert gpu.batches == [2, 1]


def test_other_errors_are_not_swallowed() -> None:
    def run(items: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        in_batches(run, [1], 2, lambda size: None)


def test_the_device_is_what_torch_has() -> None:
    assert device() == ("cuda" if torch.cuda.is_available() else "cpu")
