"""Imagine Flash, table 2: 1,000 prompts, five of 42 trained people on each pair, win/tie/loss by majority.

    mashbill study create flash --preset imagine-flash --model ours=out/ours --model add=out/add

Expected: half-width 1.9 points; about 7 hours of looking in all, 10 minutes a person.

The paper says: "voting for the more visually appealing image. The results, aggregated by majority voting".
Open: whether the prompt was shown (here: no), and what a tie is. It reports 1.2 % and 21.0 % of ties, which
five votes for one of two images cannot give: so a third answer, "both", is offered, and a pair without a
majority counts as a tie.
"""

from __future__ import annotations

from dataclasses import replace

from curation_ui.study.design import Design
from curation_ui.study.questions import QUALITY


def imagine_flash() -> Design:
    appeal = replace(
        QUALITY,
        name="appeal",
        text="Which image is more visually appealing?",
        choices=("left", "right", "both"),
    )
    return Design(
        name="imagine-flash",
        questions=(appeal,),
        votes=5,
        extra_votes=0,
        pairing="first",
        prompts=1000,
        seeds=1,
    )
