"""What is no caption, and what only looks like none."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.text.caption_guard import FAULTS, echoes, english, fault, hangs, loops, refuses
from tinyworld.caption import caption
from tinyworld.scene import random_scene

GOOD = [
    "A red star to the left of a blue ring on mint and peach stripes, drawn in crayon.",
    "A hand-painted sign that says I'm sorry hangs on a door.",
    'A cardboard sign reads "I\'m sorry, but I cannot help you" beside a dog.',
    "Sorry! is the name of the board game on the table.",
    "I'm Sorry is printed on the mug in red letters.",
    "Unfortunately placed: a ladder stands in front of the mural.",
    "A woman dressed as an AI robot waves at the crowd.",
    "Protesters march against the policies of the mayor with large banners.",
    "I can see the sea from a wooden balcony with two chairs.",
    "No image of the queen is on this side of the coin.",  # begins as a refusal would, and goes on otherwise
    "New York, New York: a neon sign glows over a wet street.",
    "Row, row, row your boat is written on a nursery wall.",
    "A red ball, a blue ball, a green ball, a yellow ball and a white ball lie on the grass.",
    "Very very very very small letters on a grain of rice.",
    "A wall with the letter A",
    "Two children look at the word the",
    "What a toy is made of",
    "A café in São Paulo named La Vie en Rose with a sign for the piñata über alles exhibition.",
    'A street in Tokyo at night with a sign that reads "営業中 毎日午前九時から午後十時まで" above a door.',
    "Der Spiegel and Die Zeit lie on the table of a newsstand in Berlin with other papers.",
    "el Greco painting of a man with a beard, oil on canvas",
    "Portrait",
    "3",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_caption_is_good(text: str) -> None:
    assert fault(text, "Describe the image in one sentence.", False, "en") is None


def test_captions_of_the_tiny_world_are_good() -> None:
    scenes = [random_scene(seed) for seed in range(300)]
    texts = [caption(scene) for scene in scenes] + [caption(scene, "short") for scene in scenes]
    assert {
        text: fault(text, "long", False, "en") for text in texts if fault(text, "long", False, "en")
    } == {}


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, I cannot describe people.",
    "I am very sorry, but I'm unable to see the image.",
    "Sorry, I can't assist with that request.",
    "Unfortunately, I cannot see any image.",
    "I cannot identify the person in this picture.",
    "I can't assist with that.",
    "I do not have the ability to view pictures.",
    "I'm unable to view images directly.",
    "I'm afraid that this is not something I can describe.",
    "As an AI, I have no eyes.",
    "The image shows a person. As an AI language model I do not name people.",
    "This goes against my guidelines.",
    "That violates the content policy.",
    "Please provide the image you want me to describe.",
    "Could you please upload a picture?",
    "No image was provided.",
    "There is no image attached.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    assert refuses(text)
    assert fault(text, "Describe the image.", False, "en") == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "We cannot see the man's face, but he wears a red coat.",
        "Unfortunately the image is blurry but shows a dog on a lawn.",
        "I could not help but notice the red door of the house.",
    ],
)
def test_what_goes_on_to_describe_is_no_refusal(text: str) -> None:
    assert not refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't describe this image.",
        "I cannot see the image, but I can help with other things.",
    ],
)
def test_a_but_that_goes_on_about_itself_is_one(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "a star a star a star a star",
        "The image is blue and the image is blue and the image is blue and the image is blue and",
        "illustration " * 12,
        "very very very very very very tall",
        "Here is a red car. The sky is blue. Here is a red car. It rains. Here is a red car.",
        "一个红色的汽车" * 8,
        "hahahahahahahaha",
    ],
)
def test_loops(text: str) -> None:
    assert loops(text)


def test_a_text_that_says_the_same_in_turns_goes_round() -> None:
    parts = ["a red car on the road", "a blue car on the road", "a big tree on the road"]
    order = [0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 2, 1]
    assert loops(" and then ".join(parts[i] for i in order))


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("A red car and", True),
        ("A red car on the", True),
        ("A red car, a tree,", True),
        ("A man in a well-", True),
        ("A child (", True),
        ("A red car", False),
        ("A red car on a street.", False),
        ("A song and a", True),
        ("Vitamin A", False),
        ("The lights are on", False),
        ("A dog to play with", False),
    ],
)
def test_half_sentences(text: str, ends: bool) -> None:
    assert hangs(text) is ends


def test_an_answer_cut_by_its_limit_is_truncated_however_it_ends() -> None:
    assert fault("A red car.", "long", True, "en") == "truncated"


@pytest.mark.parametrize(
    "text",
    [
        "Ein roter Stern steht links von einem blauen Ring auf der Wiese",
        "Une étoile rouge est à gauche de la bague bleue dans le pré",
        "Una estrella roja está a la izquierda de un anillo azul en el prado",
        "Una stella rossa è alla sinistra di un anello blu nella stanza del museo",
        "Uma estrela vermelha está do lado de um anel azul no campo",
        "Een rode ster staat naast het blauwe huis op een weide",
        "一只红色的星星在蓝色的环的左边",
        "Красная звезда слева от синего кольца",
        "A red car is parked on the street 在一个城市里面有很多人和车",
    ],
)
def test_other_languages(text: str) -> None:
    assert not english(text)
    assert fault(text, "Describe the image.", False, "en") == "language"
    assert fault(text, "Describe the image.", False, "") is None


LONG_PROMPT = "Describe this image in one paragraph of three to five sentences, in English."


@pytest.mark.parametrize(
    ("text", "asked", "wrong"),
    [
        (LONG_PROMPT, LONG_PROMPT, True),
        ("Task: describe this image in one paragraph of three to five sentences. A dog.", LONG_PROMPT, True),
        ("This image shows one paragraph of text in English.", LONG_PROMPT, False),
        ("long", "long", True),
        ("long grass in the wind", "long", False),
        ("Describe the image. A dog runs.", "Describe the image.", True),
        ("The image shows a dog.", "Describe the image.", False),
        ("anything", "{values}", False),
        ("anything", "***", False),
    ],
)
def test_echoes(text: str, asked: str, wrong: bool) -> None:
    assert echoes(text, asked) is wrong


@pytest.mark.parametrize("text", ["", " ", "...", "🙂", "—"])
def test_nothing_is_empty(text: str) -> None:
    assert fault(text, "long", False, "en") == "empty"


@settings(deadline=None, max_examples=150)
@given(st.text(), st.text(), st.booleans())
def test_any_text_has_a_known_fault_or_none(text: str, asked: str, cut: bool) -> None:
    assert fault(text, asked, cut, "en") in (*FAULTS, None)


@pytest.mark.parametrize(
    "text", ["ab" * 20_000, "a " * 20_000, '"' * 20_000, "I " * 9000, "abcdefghijklm" * 2000]
)
def test_long_texts_take_no_long_time(text: str) -> None:
    began = time.process_time()
    fault(text, LONG_PROMPT, False, "en")
    assert time.process_time() - began < 2
