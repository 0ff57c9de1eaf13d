"""Captions as plain text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.text.clean_caption import clean

CASES = [
    (None, None),
    ("", None),
    (" \t\r\n\u3000\u00a0", None),
    ("\u200b\u200b", None),
    ("a  b\n\tc", "a b c"),
    ("a &amp; b &lt;3 &eacute;", "a & b <3 é"),
    ("&amp;amp;", "&amp;"),  # once: what is written twice was meant once
    ("e\u0301", "é"),
    ("a\0b\x1b", "ab"),
    ("\ufeffmark\u202eleft", "markleft"),
    ("soft\u00adhyphen", "softhyphen"),
    ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ("می\u200cخواهم", "می\u200cخواهم"),
    ("🏴\U000e0067\U000e007f", "🏴"),
    ("雪 ☃", "雪 ☃"),
]


@pytest.mark.parametrize(("caption", "expected"), CASES)
def test_known_captions(caption: str | None, expected: str | None) -> None:
    assert clean(caption) == expected


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(codec="utf-8")))
def test_what_is_left_is_plain_or_nothing(caption: str) -> None:
    text = clean(caption)
    if text is None:
        return
    assert text
    assert text == text.strip()
    assert "  " not in text
    assert not any(unicodedata.category(c) == "Cc" for c in text)
    assert text.encode()
