"""Texts that have the words of a given caption, but for one word at most."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+")

Words = tuple[str, ...]
Variant = tuple[str | None, ...]


def words_of(text: str) -> Words:
    """Runs of letters and digits, case folded, after NFKC; an ideograph or kana is a word of its own."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


@dataclass(frozen=True)
class CaptionIndex:
    """Captions by their words, and by what one changed or missing word leaves of them.

    A text of n words is looked up 2 n + 2 times, whatever the number of captions. A caption of n words
    takes about 0.35 n KB.
    """

    whole: dict[Words, int]
    variants: dict[Variant, int]
    vocabulary: frozenset[str]
    lengths: frozenset[int]

    @staticmethod
    def of(captions: Sequence[str], min_words: int) -> CaptionIndex:
        """Of the captions with ``min_words`` words or more; of equal ones the first counts."""
        whole: dict[Words, int] = {}
        variants: dict[Variant, int] = {}
        for number, caption in enumerate(captions):
            words = words_of(caption)
            if len(words) >= min_words and words not in whole:
                whole[words] = number
                for place in range(len(words)):
                    variants.setdefault(_without(words, place), number)
                    variants.setdefault(_changed(words, place), number)
        lengths = frozenset(len(words) + step for words in whole for step in (-1, 0, 1))
        return CaptionIndex(whole, variants, frozenset(word for words in whole for word in words), lengths)

    def find(self, text: str | None) -> int | None:
        """Number of the caption whose words ``text`` has, else the first it has but for one word."""
        words = words_of(text or "")
        if not words or len(words) not in self.lengths:
            return None
        same = self.whole.get(words)
        return same if same is not None else min(self._near(words), default=None)

    def _near(self, words: Words) -> Iterator[int]:
        strange = [place for place, word in enumerate(words) if word not in self.vocabulary]
        if len(strange) > 1:
            return
        found = [self.variants.get(words)]  # a word is missing here
        for place in strange or range(len(words)):
            found.append(self.whole.get(_without(words, place)))
            found.append(self.variants.get(_changed(words, place)))
        yield from (number for number in found if number is not None)


def _without(words: Words, place: int) -> Words:
    return words[:place] + words[place + 1 :]


def _changed(words: Words, place: int) -> Variant:
    return (*words[:place], None, *words[place + 1 :])
