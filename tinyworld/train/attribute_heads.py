"""Linear heads that read a scene's attributes off an embedding: a second, denser lesson for encoders.

B batch, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyworld.scene import BACKGROUNDS, RELATIONS, STYLES, Scene
from tinyworld.shapes import BACKGROUND_COLORS, COLORS, SHAPES

_PLACES = 4
_SHAPES, _COLORS, _BEHIND = list(SHAPES), list(COLORS), list(BACKGROUND_COLORS)
_THING_CLASSES = (len(_SHAPES) + 1, len(_COLORS) + 1)
_CLASSES = (*_THING_CLASSES * _PLACES, _PLACES, len(RELATIONS) + 1, len(BACKGROUNDS), len(STYLES))
_SEEN_IN_SHORT = 2 * _PLACES + 2
"""Things, count and relation come first: a short caption says no more."""


def targets(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """Class numbers, int64 [B, 12], and which background colors there are, float32 [B, 10]."""
    numbers = [_numbers(scene) for scene in scenes]
    behind = [[float(name in scene.background.colors) for name in _BEHIND] for scene in scenes]
    return torch.tensor(numbers), torch.tensor(behind)


def _numbers(scene: Scene) -> list[int]:
    """Shape and color by place (the class after the last: no such thing), count, relation, ..."""
    found: list[int] = []
    for place in range(_PLACES):
        if place < len(scene.things):
            thing = scene.things[place]
            found += [_SHAPES.index(thing.shape), _COLORS.index(thing.color)]
        else:
            found += [len(_SHAPES), len(_COLORS)]
    relation = RELATIONS.index(scene.relation) if scene.relation else len(RELATIONS)
    background = BACKGROUNDS.index(scene.background.kind)
    return [*found, len(scene.things) - 1, relation, background, STYLES.index(scene.style)]


class AttributeHeads(nn.Module):
    """One linear layer for all attributes of one kind of embedding [B, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, sum(_CLASSES) + len(_BEHIND))

    def forward(self, embeddings_BD: Tensor, scenes: Sequence[Scene], is_long: Tensor) -> Tensor:
        """Mean cross entropy; ``is_long`` (bool [B]) says where background and style are known."""
        numbers, behind = targets(scenes)
        *logits, colors = self.linear(embeddings_BD.float()).split([*_CLASSES, len(_BEHIND)], dim=1)
        each = torch.stack(
            [F.cross_entropy(one, numbers[:, i], reduction="none") for i, one in enumerate(logits)]
            + [F.binary_cross_entropy_with_logits(colors, behind, reduction="none").sum(1)],
            dim=1,
        )
        known = torch.ones_like(each)
        known[:, _SEEN_IN_SHORT:] = is_long[:, None].float()
        return (each * known).sum() / known.sum()
