"""Area of lettering: exact for boxes by hand, and as the stock detector says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stages.image.cropped import CROP
from stages.score.text_in_image import TextInImage, covered
from stages.stage import Batch, View
from store.errors import MashbillError, UsageError

WINDOW = (32, 0, 96, 64)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    folder = tmp_path_factory.mktemp("yolos")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    labels = {0: "text", 1: "logo"}
    torch.manual_seed(1)
    network = YolosForObjectDetection(
        YolosConfig(
            **small,
            image_size=[32, 32],
            patch_size=8,
            num_detection_tokens=9,
            id2label=labels,
            label2id={label: place for place, label in labels.items()},
        )
    )
    torch.nn.init.normal_(network.class_labels_classifier.layers[-1].weight)
    network.save_pretrained(folder)
    YolosImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    from tinyworld.draw import draw
    from tinyworld.scene import random_scene

    return draw(random_scene(8), 128, 64)


def run(stage: TextInImage, images: list[Any]) -> dict[str, Any]:
    crop = {name: [side] * len(images) for name, side in zip(CROP, WINDOW, strict=True)}
    columns = {name: crop[name] for name in stage.reads}
    return dict(stage.open()(Batch(len(images), columns, images if stage.view else [])))


def test_without_a_detector_nothing_is_said() -> None:
    assert (TextInImage().reads, TextInImage().view) == ((), View.NONE)
    assert run(TextInImage(), [None, None]) == {"text_area": [None, None], "text_boxes": [None, None]}


def test_a_detector_looks_at_the_crop(detector: str, picture: Image.Image) -> None:
    import torch
    from transformers import YolosForObjectDetection, YolosImageProcessor

    processor = YolosImageProcessor.from_pretrained(detector)
    with torch.inference_mode():
        network = YolosForObjectDetection.from_pretrained(detector)
        output = network(**processor(images=picture.crop(WINDOW), return_tensors="pt"))
    (seen,) = processor.post_process_object_detection(output, 0.1, torch.tensor([[64, 64]]))
    for labels, places in ((("text",), (0,)), (("text", "logo"), (0, 1))):
        boxes = [
            b for b, place in zip(seen["boxes"].tolist(), seen["labels"], strict=True) if place in places
        ]
        assert boxes
        stage = TextInImage(model=detector, labels=labels, min_confidence=0.1)
        found = run(stage, [picture, None])
        assert found["text_area"] == [pytest.approx(covered(boxes, 64, 64)), None]
        assert found["text_boxes"] == [len(boxes), None]


@pytest.mark.parametrize(
    ("boxes", "share"),
    [
        ([], 0),
        ([(0, 0, 10, 20)], 1),
        ([(0, 0, 5, 20)], 0.5),
        ([(0, 0, 5, 20), (0, 0, 5, 20)], 0.5),  # the same twice
        ([(0, 0, 5, 10), (5, 10, 10, 20)], 0.5),
        ([(-5, -5, 5, 10), (20, 0, 30, 10)], 0.25),  # over the edge, and beyond it
        ([(2, 2, 2, 9)], 0),
        ([(0, 0, 10, 2), (4, 0, 6, 20), (0, 1, 5, 3)], (20 + 2 * 18 + 4) / 200),
    ],
)
def test_boxes_that_overlap_count_once(boxes: list[tuple[float, ...]], share: float) -> None:
    assert covered(boxes, 10, 20) == pytest.approx(share)


def test_covered_counts_pixels() -> None:
    rng = random.Random(0)
    for _ in range(50):
        corners = [
            sorted(rng.sample(range(-3, 16), 2)) + sorted(rng.sample(range(-3, 16), 2)) for _ in range(4)
        ]
        boxes = [(left, top, right, bottom) for left, right, top, bottom in corners]
        inside = sum(
            any(b[0] <= x < b[2] and b[1] <= y < b[3] for b in boxes) for x in range(12) for y in range(13)
        )
        assert covered(boxes, 12, 13) == pytest.approx(inside / (12 * 13))


def test_wrong_settings(detector: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"text_in_image\.labels: is empty; give some of: logo, text"):
        TextInImage(model=detector).open()
    with pytest.raises(MashbillError, match=r"text_in_image\.model=.* cannot be loaded"):
        TextInImage(model=str(tmp_path), labels=("text",)).open()
