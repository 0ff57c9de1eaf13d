"""EdgeFusion, table 4: 1,500 comparisons by 21 people, win rates against the same model made otherwise.

    mashbill study create edge --preset edgefusion --model ours=out/ours --model plain=out/plain

Expected: half-width 2.5 points; about 2 hours of looking in all, 6 minutes a person.

Open in the paper, and taken so: the question (ours asks for preference over all), ties (none: it prints win
rates alone), how often a pair was judged (once, as 1,500 comparisons suggest). A tenth of the pairs gets a
second vote, or nothing would be known of agreement.
"""

from __future__ import annotations

from curation_ui.study.design import Design, Question


def edgefusion() -> Design:
    question = Question(
        name="preference",
        text="Which image do you prefer for this prompt?",
        shows_prompt=True,
        gold="corrupted",
        choices=("left", "right"),
    )
    return Design(
        name="edgefusion",
        questions=(question,),
        votes=1,
        extra_votes=0,
        overlap=0.1,
        pairing="first",
        prompts=1500,
        seeds=1,
    )
