from types import SimpleNamespace

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from distill_runs.sampling import sample_images
from distill_runs.schedule import convert, vp_level


class OnePicture:
    """The exact network for a world of two pictures: one with a caption, the other without."""

    def __init__(self, conditional: Tensor, unconditional: Tensor) -> None:
        self.pictures = {True: conditional, False: unconditional}
        self.scheduler = DDPMScheduler(timestep_spacing="trailing", clip_sample=True)
        side = conditional.shape[-1]
        self.unet = SimpleNamespace(config=SimpleNamespace(sample_size=side, in_channels=3))

    def epsilon(self, x_t: Tensor, timesteps: Tensor, captions: list[str]) -> Tensor:
        x0 = torch.stack([self.pictures[bool(caption)] for caption in captions])
        return convert(x0, x_t, vp_level(self.scheduler.alphas_cumprod, timesteps), "x0", "epsilon")


def test_a_perfect_network_gives_its_picture_back() -> None:
    one, other = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.5
    network = OnePicture(one, other)
    for guidance_scale, expected in ((1.0, one), (0.0, other)):
        images = sample_images(network, ["a", "b"], 20, guidance_scale, seed=0)
        torch.testing.assert_close(images, expected.expand(2, -1, -1, -1), rtol=0, atol=1e-3)


def test_the_noise_is_named_by_the_seed() -> None:
    gray = torch.zeros(3, 4, 4)
    network = OnePicture(gray, gray)
    network.epsilon = lambda x_t, timesteps, captions: torch.zeros_like(x_t)
    one, two, three = (sample_images(network, ["a"], 2, 1.0, seed) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
