"""Prompts for ``synt``: people and things, every attribute with a share of its own (EdgeFusion 2.2).

    mashbill build synt-prompts --set source.samples=62300 --workers 1
    mashbill build synt-prompts --set write_prompt.chat.kind=endpoint \
        --set write_prompt.chat.url=http://llm:8000/v1 --set write_prompt.chat.key_variable=

The paper asked GPT-4 for prompts and names gender, ethnicity and age among what it controlled, not the
shares; those here are a start to be changed. The grammar writes every prompt first; a model then gives it
better words, and where it fails the grammar's stay. ``tiny-prompts`` does without a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from pipelines.dataset import Dataset
from stages.dedup.prompt_copies import PromptCopies
from stages.pack.pack import Pack
from stages.prompt.specification import Attribute, Specification, Value
from stages.select.caption_length import CaptionLength
from stages.select.no_prompt_copies import NoPromptCopies
from stages.select.split import Split
from stages.source.asked import Asked
from stages.text.chat_local import Local
from stages.text.clean_caption import CleanCaption
from stages.text.write_prompt import WritePrompt

PEOPLE = 0.5
"""Share of prompts with a person; the others have a thing. Age, gender and so on are shares of all."""
THINGS = (
    "dog", "cat", "horse", "bird", "fish", "car", "bicycle", "boat", "train", "house", "bridge", "tower",
    "tree", "flower", "mountain", "river", "cake", "fruit bowl", "cup", "chair", "lamp", "clock", "book",
    "guitar",
)  # fmt: skip


def split(share: float, names: Iterable[str]) -> tuple[Value, ...]:
    """The share in equal parts."""
    listed = list(names)
    return tuple(Value(name, share / len(listed)) for name in listed)


PERSON = {
    "gender": split(PEOPLE, ("woman", "man", "person")),
    "age": split(PEOPLE, ("young", "middle-aged", "old")),
    "ethnicity": split(
        PEOPLE, ("African", "East Asian", "European", "Latin American", "Middle Eastern", "South Asian")
    ),
    "clothing": split(
        PEOPLE, ("a red coat", "a gray suit", "a blue dress", "a white shirt", "a green jacket", "an apron")
    ),
}
SPECIFICATION = Specification(
    attributes=(
        Attribute(
            "style", split(1.0, ("photo", "portrait photo", "oil painting", "watercolor", "film still"))
        ),
        *(Attribute(name, values) for name, values in PERSON.items()),
        Attribute("thing", split(1 - PEOPLE, THINGS)),
        Attribute("color", split(0.25, ("red", "blue", "green", "yellow", "black", "white", "golden"))),
        Attribute("count", (Value("two", 0.08), Value("three", 0.05), Value("four", 0.02))),
        Attribute(
            "relation",
            split(0.2, ("next to a window", "in front of a wall", "under a tree", "behind a table")),
        ),
        Attribute(
            "setting",
            split(
                0.8,
                ("a city street", "a forest", "a kitchen", "a studio", "a desert", "a garden", "a library"),
            ),
        ),
        Attribute(
            "light", split(0.6, ("soft morning light", "golden hour light", "neon light", "overcast light"))
        ),
        Attribute("composition", split(0.4, ("close-up", "wide shot", "seen from above", "centered"))),
        Attribute("camera", split(0.2, ("35 mm lens", "85 mm lens", "macro lens"))),
    ),
    templates=(
        "a(n) {style} of [a(n) {age} {ethnicity} {gender} wearing {clothing}|{count} {color} {thing:count}|"
        "{count} {thing:count}|a(n) {color} {thing}|a(n) {thing}][ {relation}][ in {setting}][, {light}]"
        "[, {composition}][, {camera}]",
    ),
    forbidden=(
        # a person has all of a person's attributes and none of a thing's; a thing the other way around
        *((f"{name}=", "thing=") for name in PERSON),
        *(
            (f"{name}={value.name}", f"thing={thing}")
            for (name, values), thing in product(PERSON.items(), THINGS)
            for value in values
        ),
        *(
            (f"{of}={value}", "thing=")
            for of, value in (
                *(("color", c) for c in ("red", "blue", "green", "yellow", "black", "white", "golden")),
                *(("count", c) for c in ("two", "three", "four")),
            )
        ),
        *(("style=portrait photo", f"thing={thing}") for thing in THINGS),
    ),
)


def synt_prompts() -> Dataset:
    return Dataset(
        name="synt-prompts",
        source=Asked(specification=SPECIFICATION),
        columns=(
            CleanCaption(),
            WritePrompt(chat=Local(model="Qwen/Qwen2.5-7B-Instruct")),
            PromptCopies(),
            Split(),
        ),
        select=(CaptionLength(), NoPromptCopies()),
        pack=Pack(resolutions=()),
    )
