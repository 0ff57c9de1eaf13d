"""Linear heads that read off every patch of an image what lies there: the lesson that lets an image tower
learn shapes in minutes.

N images, P patches, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyworld.scene import BACKGROUNDS, RELATIONS, STYLES, Scene
from tinyworld.shapes import COLORS, SHAPES

GRID = 8
"""Patches per side."""
_SHAPES, _COLORS = list(SHAPES), list(COLORS)
_CLASSES = (len(_SHAPES) + 1, len(_COLORS) + 1, 5, 4, len(RELATIONS) + 1, len(BACKGROUNDS), len(STYLES))
_WEIGHTS = (3.0, 1.0, 1.0, 0.3, 0.3, 0.3, 1.0)
"""Shapes come hardest; count, relation and background come by themselves."""


def patch_classes(scenes: Sequence[Scene]) -> Tensor:
    """int64 [N, P, 7]: shape, color and place of the thing whose disc covers the patch's center (the class
    after the last where there is none); count, relation, background and style of the scene."""
    centers = (torch.arange(GRID) + 0.5) / GRID
    found = torch.empty(len(scenes), GRID, GRID, len(_CLASSES), dtype=torch.int64)
    for row, scene in enumerate(scenes):
        relation = RELATIONS.index(scene.relation) if scene.relation else len(RELATIONS)
        background, style = BACKGROUNDS.index(scene.background.kind), STYLES.index(scene.style)
        nothing = [len(_SHAPES), len(_COLORS), 4]
        found[row] = torch.tensor([*nothing, len(scene.things) - 1, relation, background, style])
        for place, thing in enumerate(scene.things):
            distance = torch.hypot(centers[None, :] - thing.x, centers[:, None] - thing.y)
            here = [_SHAPES.index(thing.shape), _COLORS.index(thing.color), place]
            found[row, :, :, :3][distance < thing.size / 2] = torch.tensor(here)
    return found.flatten(1, 2)


class PatchHeads(nn.Module):
    """One linear layer for everything ``patch_classes`` knows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, sum(_CLASSES))

    def forward(self, states_NPD: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Weighted mean of the cross entropies."""
        classes = patch_classes(scenes).flatten(0, 1)
        logits = self.linear(self.norm(states_NPD.float())).flatten(0, 1)
        groups = torch.split(logits, list(_CLASSES), dim=1)
        losses = [F.cross_entropy(group, classes[:, i]) for i, group in enumerate(groups)]
        weights = torch.tensor(_WEIGHTS)
        return (weights * torch.stack(losses)).sum() / weights.sum()
