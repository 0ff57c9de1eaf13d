"""The seed of an image and its noise."""

from __future__ import annotations

import torch

from stages.generate.noise import generators, image_seed


def test_a_seed_depends_on_seed_prompt_and_number_alone() -> None:
    assert image_seed(0, "a red cat", 0) == 8521271130726828098
    changed = [image_seed(1, "a red cat", 0), image_seed(0, "a red cat", 1), image_seed(0, "a red cat ", 0)]
    assert len({image_seed(0, "a red cat", 0), *changed}) == 4
    assert all(0 <= seed < 2**63 for seed in changed)
    assert image_seed(0, "1\0a", 0) != image_seed(0, "a", 1)


def test_noise_of_an_image_does_not_depend_on_its_neighbors() -> None:
    alone = torch.randn(8, generator=generators([7])[0])
    among = [torch.randn(8, generator=generator) for generator in generators([3, 7, 5])]
    assert torch.equal(among[1], alone)
    assert not torch.equal(among[0], alone)
