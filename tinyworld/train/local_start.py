"""Weights with which a vision transformer begins like a 3x3 convolution: each head looks at one neighbor.

A small tower that begins at random tells colors and counts in minutes and hardly ever shapes, whose outlines
run across patches. Begun so, it tells four of five shapes after five minutes on one core.

P patches on a grid of G by G, W width, F numbers that say where a patch lies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import CLIPVisionModel

_FREQUENCIES = (math.pi / 8, math.pi / 4, math.pi / 2, 3 * math.pi / 4)
"""Radians per patch: the slowest tells all of a grid of 8 apart."""
_AXIS = 2 * len(_FREQUENCIES)
_PLACE = 2 * _AXIS
_SHARPNESS = 2.0
_CONTENT = 0.3
"""How much of its random start a head keeps: it may also look at what a patch shows."""

NEIGHBORS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (-1, 1), (1, -1))
_REACH = (1, 1, 2)
"""How many patches away the heads of the first layers look; later layers stay as they are."""


def start_locally(tower: CLIPVisionModel) -> None:
    """Set position embeddings, queries and keys of a fresh tower, in place.

    The tower must have 8 heads of 16 or more. Places are told by cosines and sines, for which moving by some
    patches is a rotation: a head whose queries are rotated finds the place so far away.
    """
    config = tower.config
    grid, heads = config.image_size // config.patch_size, config.num_attention_heads
    head = config.hidden_size // heads
    assert heads == len(NEIGHBORS)
    assert head >= _PLACE
    with torch.no_grad():
        positions = tower.embeddings.position_embedding.weight
        positions.zero_()
        positions[1:, :_PLACE] = math.sqrt(2) * places(grid)
        patches = tower.embeddings.patch_embedding.weight
        patches.normal_(std=0.1)
        patches[:_PLACE] *= 0.1  # what a patch shows must not drown where it lies
        for layer, reach in zip(tower.encoder.layers, _REACH, strict=False):
            queries, keys = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
            queries *= _CONTENT
            keys *= _CONTENT
            for number, (right, down) in enumerate(NEIGHBORS):
                first = number * head
                rows = slice(first, first + _PLACE)
                queries[rows, :_PLACE] = _SHARPNESS * moved(reach * right, reach * down)
                keys[rows, :_PLACE] = _SHARPNESS * torch.eye(_PLACE)


def places(grid: int) -> Tensor:
    """float [P, F] for patches in rows from the top: cosine and sine of x at each frequency, then of y."""
    line = torch.arange(float(grid))
    waves = [wave(rate * line) for rate in _FREQUENCIES for wave in (torch.cos, torch.sin)]
    axis = torch.stack(waves, dim=1)
    across = axis[None, :, :].expand(grid, grid, _AXIS)
    down = axis[:, None, :].expand(grid, grid, _AXIS)
    return torch.cat([across, down], dim=2).flatten(0, 1)


def moved(right: float, down: float) -> Tensor:
    """float [F, F]: maps ``places`` of a patch to those of the patch so far to the right and below."""
    matrix = torch.zeros(_PLACE, _PLACE)
    for first, distance in ((0, right), (_AXIS, down)):
        for number, rate in enumerate(_FREQUENCIES):
            i = first + 2 * number
            cosine, sine = math.cos(rate * distance), math.sin(rate * distance)
            matrix[i : i + 2, i : i + 2] = torch.tensor([[cosine, -sine], [sine, cosine]])
    return matrix
