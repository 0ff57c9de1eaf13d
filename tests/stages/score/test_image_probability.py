"""``unsafe`` and ``watermark``: numbers that came along, a classifier, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stages.image.cropped import CROP
from stages.score.image_probability import known
from stages.score.unsafe import Unsafe
from stages.score.watermark import Watermark
from stages.stage import Batch, View
from store.errors import MashbillError, UsageError

LABELS = {0: "normal", 1: "nsfw", 2: "drawing"}
stages = pytest.mark.parametrize(("kind", "field"), [(Unsafe, "punsafe"), (Watermark, "pwatermark")])


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    from tinyworld.draw import draw
    from tinyworld.scene import random_scene

    return draw(random_scene(8), 96, 64)


def save_classifier(folder: Path, problem: str | None = None) -> str:
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(
        **small,
        image_size=32,
        patch_size=8,
        id2label=LABELS,
        label2id={label: place for place, label in LABELS.items()},
        problem_type=problem,
    )
    network = ViTForImageClassification(config)
    torch.nn.init.normal_(network.classifier.weight)
    network.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_classifier(tmp_path_factory.mktemp("classifier"))


def logits(model: str, image: Image.Image) -> Any:
    import torch
    from transformers import ViTForImageClassification, ViTImageProcessor

    inputs = ViTImageProcessor.from_pretrained(model)(image.crop((8, 0, 72, 64)), return_tensors="pt")
    with torch.inference_mode():
        return ViTForImageClassification.from_pretrained(model)(**inputs).logits[0]


def run(stage: Any, metas: list[str | None], images: list[Any]) -> tuple[list[Any], list[Any]]:
    crop = {name: [side] * len(metas) for name, side in zip(CROP, (8, 0, 72, 64), strict=True)}
    columns = {name: values for name, values in ({"meta": metas} | crop).items() if name in stage.reads}
    written = stage.open()(Batch(len(metas), columns, images if stage.view else []))
    assert set(written) == set(stage.writes.names)
    return list(written[stage.name]), list(written[f"{stage.name}_evidence"])


@stages
def test_what_came_along_is_believed(kind: type[Any], field: str) -> None:
    metas = [json.dumps({field: 0.25}), json.dumps({field: "0.5"}), "{}", None]
    assert run(kind(), metas, []) == ([0.25, 0.5, None, None], [f"meta:{field}"] * 2 + [None] * 2)
    assert kind().view == View.NONE
    assert kind().reads == ("meta",)
    assert run(kind(field="p"), ['{"p": 1}'], []) == ([1.0], ["meta:p"])


@pytest.mark.parametrize(
    "value", [None, True, "", "high", "nan", -0.1, 1.5, 99, [0.5], {"p": 0.5}, 10**400, "1e999"]
)
def test_what_is_no_probability_is_no_evidence(value: Any) -> None:
    assert known(json.dumps({"punsafe": value}), "punsafe") is None


@stages
def test_a_classifier_looks_at_the_crop_of_the_rest(
    kind: type[Any], field: str, classifier: str, picture: Image.Image
) -> None:
    stage = kind(model=classifier, labels=("nsfw", "drawing"))
    values, evidence = run(stage, [json.dumps({field: 0.25}), None, "{}"], [picture, picture, None])
    assert values == [0.25, pytest.approx(float(logits(classifier, picture).softmax(0)[1:].sum())), None]
    assert evidence == [f"meta:{field}", f"classifier:{classifier}@main", None]
    assert stage.view == View.FULL


def test_labels_that_may_hold_together(tmp_path: Path, picture: Image.Image) -> None:
    model = save_classifier(tmp_path, "multi_label_classification")
    values, _ = run(Unsafe(model=model, labels=("nsfw", "drawing")), [None], [picture])
    assert values == [pytest.approx(float(logits(model, picture).sigmoid()[1:].max()))]


@stages
def test_wrong_settings(kind: type[Any], field: str, classifier: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=rf"{kind.name}\.labels: is empty; give some of: drawing, normal, nsfw"
    ):
        kind(model=classifier).open()
    with pytest.raises(UsageError, match=rf"{kind.name}\.labels: 'porn' is no label of"):
        kind(model=classifier, labels=("nsfw", "porn")).open()
    with pytest.raises(MashbillError, match=rf"{kind.name}\.model=.* cannot be loaded"):
        kind(model=str(tmp_path), labels=("nsfw",)).open()
