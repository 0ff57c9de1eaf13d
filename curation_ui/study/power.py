"""What a study can show before anybody has voted: the half-width of its interval, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_ui.study.stats import ELO, Floats

PROMPT_SD, SEED_SD = 0.8, 0.8
"""How much preferences differ between prompts, and between seeds of one prompt, in logits. Assumed: nobody
has published them. They give the design effects of 1.4 to 2.3 that make intervals honest."""
SECONDS_PER_VOTE = 5.0
"""A person who looks at two images. Assumed."""
NODES = 40


@dataclass(frozen=True)
class Expected:
    """Of one comparison of two models by one question. ``half_width``: of the 95 % interval of a win rate
    near one half, as a share. ``effect``: how many times more votes than independent ones it takes."""

    votes: int
    effect: float
    half_width: float

    @property
    def elo(self) -> float:
        """The half-width in Elo points, near equal models."""
        return float(4 * self.half_width * ELO)


def expected(prompts: int, seeds: float, votes: float) -> Expected:
    """The interval of ``prompts`` prompts with ``seeds`` images and ``votes`` votes on each pair of images.

    The design effect is 1 + (votes - 1) r_pair + votes (seeds - 1) r_prompt, r the correlation of two votes
    that share the pair, or the prompt alone.
    """
    of_pair, of_prompt = correlations(PROMPT_SD, SEED_SD)
    effect = max(1.0, 1 + (votes - 1) * of_pair + votes * (seeds - 1) * of_prompt)
    count = prompts * seeds * votes
    half_width = 1.96 * np.sqrt(0.25 * effect / count) if count else float("inf")
    return Expected(round(count), effect, float(half_width))


def correlations(prompt_sd: float, seed_sd: float) -> tuple[float, float]:
    """Of two votes on one pair, and of two votes on different pairs of one prompt, at a win rate of 1/2."""
    at, weight = np.polynomial.hermite_e.hermegauss(NODES)
    weight = weight / weight.sum()
    chosen: Floats = 1 / (1 + np.exp(-(prompt_sd * at[:, None] + seed_sd * at[None, :])))
    of_pair = (weight[:, None] * weight[None, :] * (chosen - 0.5) ** 2).sum()
    of_prompt = (weight * ((chosen * weight[None, :]).sum(1) - 0.5) ** 2).sum()
    return float(of_pair / 0.25), float(of_prompt / 0.25)
