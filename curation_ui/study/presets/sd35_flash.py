"""SD3.5-Flash, section 5.3 and appendix A.3: 507 prompts with 4 seeds, 3 of 124 people, two questions apart.

    mashbill study create flash --preset sd35-flash --model student=out/student --model teacher=out/teacher

Expected: half-width 1.9 points a question; about 17 hours of looking in all, 8 minutes a person.

The paper says: "For each generated sample, 3 users vote on two images from two different methods"; the
answers left, right, both, none; the prompt hidden for quality and shown for alignment. Read so: every seed
is judged by three. Open: how "both" and "none" enter its Elo. Here both are half a win to each model, and
the report tells the ratings with the "none" votes left out and with a tie model beside them. Its
annotators had experience; ours get five trials of practice.
"""

from __future__ import annotations

from curation_ui.study.design import Design
from curation_ui.study.questions import ALIGNMENT, QUALITY


def sd35_flash() -> Design:
    return Design(
        name="sd35-flash",
        questions=(QUALITY, ALIGNMENT),
        votes=3,
        extra_votes=2,
        prompts=507,
        seeds=4,
    )
