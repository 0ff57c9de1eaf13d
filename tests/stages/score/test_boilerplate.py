"""Boilerplate is found, and a caption about the same thing is not."""

from __future__ import annotations

import pytest

from stages.score.boilerplate import boilerplate

FOUND = {
    "IMG_1234": ["file_name"],
    "DSC01234": ["file_name"],
    "P1000123.JPG": ["file_name"],
    "red-car_final (2).jpeg": ["file_name"],
    "image-003": ["file_name"],
    "img_holiday_2019": ["file_name"],
    "PXL_20210912_101112": ["file_name"],
    "see https://example.org/a?b=c": ["url"],
    "www.shop.example": ["url"],
    "photos from best-cars.com": ["url"],
    "a cat<br/>on a <b>mat</b>": ["html"],
    "salt &amp; pepper": ["html"],
    "[caption id=5]a dog": ["html"],
    "A dog running, stock photo": ["stock"],
    "Royalty-free vector of a tree": ["stock"],
    "Sunset | Shutterstock": ["stock"],
    "Click to enlarge": ["call_to_action"],
    "A red dress - Buy Now!": ["call_to_action"],
    "Ten ideas... Read more": ["call_to_action"],
    "OLYMPUS DIGITAL CAMERA": ["camera"],
    "SONY DSC": ["camera"],
    "Canon EOS 5D Mark III": ["camera"],
    "Nikon D850": ["camera"],
    "Photo": ["placeholder"],
    "No image available": ["placeholder"],
    "Screenshot (12)": ["placeholder"],
    "Featured image": ["placeholder"],
    "click here: www.example.com/IMG_0001.jpg": ["call_to_action", "file_name", "url"],
}

FINE = [
    "a red car on a wet street",
    "A man holding a Canon EOS 5D Mark III in the rain",
    "a stock car race in 1987",
    "rolling stock in the yard",
    "1920x1080 wallpaper of mountains, f/2.8",
    "a photo of a dog",
    "an image of two cats",
    "Dr. Smith and Mrs. Jones at 5 p.m.",
    "She can read more than ten languages",
    "a < b and c > d",
    "Q&A with the mayor; R&D lab",
    "P 51 Mustang over the sea",
    "a button to click and a lever to pull",
    "Boeing 747-400 at gate 12",
    "the U.S. flag, e.g. at noon",
    "the .NET logo on a mug",
    "a sign that says NO PHOTO in a museum",
    "DSC pendant on a chain",
]


@pytest.mark.parametrize(("caption", "kinds"), FOUND.items())
def test_is_boilerplate(caption: str, kinds: list[str]) -> None:
    assert boilerplate(caption) == kinds


@pytest.mark.parametrize("caption", FINE)
def test_is_a_caption(caption: str) -> None:
    assert boilerplate(caption) == []
