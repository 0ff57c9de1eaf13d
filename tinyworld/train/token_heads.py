"""Linear heads that read off single token states what the sentence says: of the thing a word belongs to,
and of the whole scene. They teach an encoder to tell every word about its neighbors.

N scenes, L tokens, D width, T thing words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyworld.scene import BACKGROUNDS, RELATIONS, STYLES, Scene
from tinyworld.shapes import COLORS, SHAPES

_SHAPES, _COLORS = list(SHAPES), list(COLORS)
_THING = (len(_SHAPES), len(_COLORS), 4)
_SCENE = (4, len(RELATIONS) + 1, len(BACKGROUNDS), len(STYLES))


def thing_words(scene: Scene, words: Sequence[str]) -> list[tuple[int, int]]:
    """(position, place of its thing in the scene) of every shape word that stands after its color.

    ``words`` are the T5 tokens of a caption of the scene. Things that are all alike have one word for all,
    in the plural, and so none here.
    """
    found = [i for i, word in enumerate(words) if word[1:] in SHAPES and words[i - 1][1:] in COLORS]
    turned = "▁below" in words or ("▁right" in words and "▁left" not in words)
    return list(zip(found, range(len(found))[::-1] if turned else range(len(found)), strict=True))


class TokenHeads(nn.Module):
    """One linear layer for the shape, color and place of a word's thing, one for count, relation,
    background and style of its scene."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.thing = nn.Linear(width, sum(_THING))
        self.scene = nn.Linear(width, sum(_SCENE))

    def forward(
        self,
        states_NLD: Tensor,
        mask_NL: Tensor,
        scenes: Sequence[Scene],
        words: Sequence[Sequence[str]],
        is_long: Sequence[bool],
    ) -> Tensor:
        """Mean cross entropy over thing words, plus that over all words of long captions."""
        rows, columns, labels = [], [], []
        for row, (scene, some) in enumerate(zip(scenes, words, strict=True)):
            for position, place in thing_words(scene, some):
                thing = scene.things[place]
                rows += [row, row]
                columns += [position - 1, position]
                labels += [[_SHAPES.index(thing.shape), _COLORS.index(thing.color), place]] * 2
        thing_loss = _loss(self.thing(states_NLD[rows, columns]), torch.tensor(labels).view(-1, 3), _THING)
        here = mask_NL.bool() & torch.tensor(is_long)[:, None]
        of_scene = torch.tensor([_of_scene(scene) for scene in scenes])
        spread = of_scene[:, None].expand(-1, here.shape[1], -1)[here]
        return thing_loss + _loss(self.scene(states_NLD[here]), spread, _SCENE)


def _of_scene(scene: Scene) -> list[int]:
    relation = RELATIONS.index(scene.relation) if scene.relation else len(RELATIONS)
    background = BACKGROUNDS.index(scene.background.kind)
    return [len(scene.things) - 1, relation, background, STYLES.index(scene.style)]


def _loss(logits_TK: Tensor, classes_TG: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean over groups of classes of their cross entropy."""
    groups = torch.split(logits_TK, list(sizes), dim=1)
    losses = [F.cross_entropy(group, classes_TG[:, i]) for i, group in enumerate(groups)]
    return torch.stack(losses).mean()
