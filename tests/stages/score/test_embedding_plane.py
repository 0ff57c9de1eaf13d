"""Embeddings and the map of them: by hand, and on pictures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages.image.cropped import CROP
from stages.score.embedding_plane import EmbeddingPlane
from stages.score.image_embedding import ImageEmbedding
from stages.stage import Batch
from tinyworld.draw import draw
from tinyworld.scene import random_scene

SHIPPED = "tinyworld/models/clip"


def plane_of(vectors: list[list[float] | None]) -> np.ndarray:
    ids = [f"{number:024x}" for number in range(len(vectors))]
    kind = pa.list_(pa.float32())
    rows = pa.table({"sample_id": ids, "embedding": pa.array(vectors, kind)})
    found = EmbeddingPlane().reduce(rows, "")
    return np.array([found["plane_x"].to_pylist(), found["plane_y"].to_pylist()], object).T


def test_points_on_a_cross_by_hand() -> None:
    """Lying about (1, 0, 0): twice as far in the second direction as in the third."""
    near, far = 0.01, 0.02
    points = plane_of([[1, far, 0], [1, -far, 0], None, [1, 0, near], [1, 0, -near]])
    root = 2**0.5
    assert points[2].tolist() == [None, None]
    expected = [[root, 0], [-root, 0], [0, root], [0, -root]]
    assert np.allclose(points[[0, 1, 3, 4]].astype(float), expected, atol=2e-2)


def test_it_agrees_with_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 16)) * np.linspace(3, 0.5, 16)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centered = vectors - vectors.mean(0)
    left, _, axes = np.linalg.svd(centered, full_matrices=False)
    expected = left[:, :2] * np.sign(axes[:2][range(2), np.abs(axes[:2]).argmax(1)]) * 300**0.5
    assert np.allclose(plane_of(vectors.tolist()).astype(float), expected, atol=5e-3)


@pytest.mark.parametrize("vectors", [[], [None], [[1.0, 0.0]], [[1.0, 0.0]] * 3, [[1.0]] * 2])
def test_where_nothing_differs_all_lie_in_the_middle(vectors: list[list[float] | None]) -> None:
    points = plane_of(vectors)
    assert [list(point) for point in points] == [[None, None] if v is None else [0, 0] for v in vectors]


def test_the_order_of_rows_changes_no_bit() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 8))
    ids = np.array([f"{number:024x}" for number in range(50)])
    found = []
    for order in (np.arange(50), rng.permutation(50)):
        rows = pa.table({"sample_id": ids[order], "embedding": vectors[order].tolist()})
        table = EmbeddingPlane().reduce(rows, "")
        found.append(dict(zip(ids[order].tolist(), table.to_pylist(), strict=True)))
    assert found[0] == found[1]


def test_an_embedding_has_length_1_and_none_without_an_image() -> None:
    images = [draw(random_scene(3), 80, 64), None, draw(random_scene(4), 64, 64)]
    crops = {name: [side] * 3 for name, side in zip(CROP, (0, 0, 64, 64), strict=True)}
    found = ImageEmbedding(model=SHIPPED).open()(Batch(3, crops, images, [None] * 3))["embedding"]
    column = pa.array(found, ImageEmbedding.writes.field("embedding").type)
    assert column.null_count == 1
    assert len(column[0]) == 128
    assert np.linalg.norm(np.array(column[0].as_py(), float)) == pytest.approx(1, abs=2e-3)
