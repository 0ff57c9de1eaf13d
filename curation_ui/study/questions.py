"""The questions that presets ask."""

from __future__ import annotations

from curation_ui.study.design import Question

QUALITY = Question(
    name="quality",
    text="Which image has better visual quality?",
    shows_prompt=False,
    gold="corrupted",
)
"""SD3.5-Flash, figure 11: "Which image has better visual quality? Also use both and None, if applicable."
The page says the second sentence by its four answers."""

ALIGNMENT = Question(
    name="alignment",
    text="Which image follows the prompt better? Look at the prompt alone, not at how good the image is.",
    shows_prompt=True,
    gold="swapped",
)
"""SD3.5-Flash, figure 12, shows the prompt and tells to disregard the image's looks; its sentence is not
printed legibly. The words are ours."""
