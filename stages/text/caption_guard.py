"""What makes a model's answer no caption: each a pure function of the text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

LANGUAGES = ("en", "")
"""Languages that are told from others; "" takes any."""
FAULTS = ("empty", "refusal", "echo", "language", "loop", "truncated")

_REFUSALS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\A(?:i['’]?m|i am|we['’]?re|we are) (?:so |very |really |truly )?(?:sorry|afraid)\b[,.;:!]*\s+"
        r"(?:but\b|i\b|that\b|the (?:image|picture|photo)\b|there\b|as an?\b|for\b|this\b|no image\b|can)",
        r"\A(?:sorry|unfortunately|apologies|my apologies|i apologi[sz]e)[,.;:!]*\s+(?:but |for |that )?"
        r"(?:i|we|the image|there is no|no image|any)\b",
        r"\A(?:i|we) (?:can ?not|can['’]?t|could ?n['’]?t|could not|do not|don['’]?t|won['’]?t|will not)\s+"
        r"(?:\w+ly )?(?:help|assist|describe|provide|identify|see|view|comply|fulfil+|generate|create|"
        r"write|process|access|analy[sz]e|determine|continue|do that|engage|share|recogni[sz]e|have)",
        r"\A(?:i['’]?m|i am|we are) (?:not able|unable|not allowed|not comfortable|not going)\b",
        r"\A(?:please|could you(?: please)?|can you(?: please)?) (?:provide|upload|share|attach|send)\b",
        r"\A(?:there is |there['’]?s )?no (?:image|picture|photo) (?:was |is |has been |were )?"
        r"(?:provided|attached|given|visible|shown|to describe)",
        r"\Aas an? (?:ai|artificial intelligence)\b",
        r"\b(?:as|i['’]?m|i am) an? (?:ai |large |text-based )*(?:language model|ai model|ai assistant)\b",
        r"\b(?:against|violates?) (?:my|openai['’]?s|(?:our|the) (?:content|usage|safety)) "
        r"(?:\w+ )?(?:guidelines|polic(?:y|ies))",
    )
)
_DESCRIBES = re.compile(
    r"\bbut (?!(?:i|i['’]?m|we|we['’]?re|as|for|that|this|there|the|no|unfortunately)\b)"
    r"|\bbut there (?:is|are) a\b|\bcould not help but\b",
    re.IGNORECASE,
)
"""A first sentence that goes on about the picture."""
_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_QUOTED = re.compile(r"[\"“«「].{0,400}?[\"”»」]")
_HANGING = re.compile(r"(?:[,;:(\-–—]|\b(?:and|or|the|a|an|its|their))\Z")
_SPOKEN_OF = re.compile(r"\b(?:letters?|words?|note|vitamin|grade) (?:a|and|or|the|an|its)\Z", re.IGNORECASE)
_STOP_WORDS = {
    "en": "a an the of in on at with and is are to by from has his her its there this that it as for or",
    "de": "der die das ein eine einen einem und mit auf dem den ist sind im von vor zu steht nicht wird",
    "fr": "le la les un une des du de et dans avec sur est sont au aux qui pour par il elle devant",
    "es": "el la los las un una unos de del en con y es está están que por para sobre su se al",
    "it": "il lo la gli un uno una di del della nel nella con e è sono che per su si al da",
    "pt": "o a os as um uma de do da em no na com e é são está que por para sobre ao se",
    "nl": "de het een en van met op in is zijn voor aan dat er staat die bij naar uit",
}
_KNOWN = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}
_ECHO_WORDS = 8


def fault(text: str, asked: str, cut: bool, language: str) -> str | None:
    """The first of ``FAULTS`` that a text has, None for a caption.

    Args:
        text: an answer, unwrapped.
        asked: the prompt it answers.
        cut: whether it ended at the limit of tokens.
        language: one of ``LANGUAGES``.
    """
    found = {
        "empty": not _WORDS.search(text),
        "refusal": refuses(text),
        "echo": echoes(text, asked),
        "language": language == "en" and not english(text),
        "loop": loops(text),
        "truncated": cut or hangs(text),
    }
    return next((name for name in FAULTS if found[name]), None)


def refuses(text: str) -> bool:
    """Whether a model speaks of itself instead of the picture: sorry, cannot, as an AI, no image given.

    Looks at how the text begins, as a sign in a picture may say "I'm sorry"; two phrases that no picture
    says are found anywhere. "We cannot see his face, but he wears a coat" goes on to describe: no refusal.
    """
    first = re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    return not _DESCRIBES.search(first) and any(pattern.search(text) for pattern in _REFUSALS)


def echoes(text: str, asked: str) -> bool:
    """Whether it repeats 8 words in a row of what was asked, or a shorter prompt from its first word on."""
    said, wanted = _words(text), _words(asked)
    if not wanted:
        return False
    if len(wanted) < _ECHO_WORDS:
        return said == wanted or (len(wanted) >= 3 and said[: len(wanted)] == wanted)
    runs = {tuple(wanted[i : i + _ECHO_WORDS]) for i in range(len(wanted) - _ECHO_WORDS + 1)}
    return any(tuple(said[i : i + _ECHO_WORDS]) in runs for i in range(len(said) - _ECHO_WORDS + 1))


def loops(text: str) -> bool:
    """Whether it goes round: 2 to 12 words four times in a row, one word six times, a sentence of 4 words or
    more three times, under half of its runs of 4 words different (from 32 words on), or, where words are not
    parted by spaces, 2 to 12 characters six times in a row."""
    words = _words(text)
    for span in range(1, 13):
        least = span * (4 if span > 1 else 6)
        same = 0
        for i in range(span, len(words)):
            same = same + 1 if words[i] == words[i - span] else 0
            if same >= least - span:
                return True
    sentences = Counter(tuple(_words(part)) for part in re.split(r"[.!?\n]+", text))
    if any(count >= 3 and len(sentence) >= 4 for sentence, count in sentences.items()):
        return True
    runs = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    if len(words) >= 32 and len(set(runs)) < 0.5 * len(runs):
        return True
    return re.search(r"([^\s\d.\-_*=]{2,12}?)\1{5}", text) is not None


def hangs(text: str) -> bool:
    """Whether it stops in the middle: at a comma, a bracket, a hyphen, "and", "the" and their like."""
    end = text.rstrip()
    return bool(_HANGING.search(end)) and not _SPOKEN_OF.search(end)


def english(text: str) -> bool:
    """Whether it is English, as far as letters and small words tell.

    Under 0.9 of its letters Latin is not; nor are 6 words or more among which the small words of another
    language (German, French, Spanish, Italian, Portuguese, Dutch) outnumber the English ones by two. What
    stands in quotation marks does not count: signs are in any language.
    """
    own = _QUOTED.sub(" ", text)
    letters = [letter for letter in own if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if letters and latin < 0.9 * len(letters):
        return False
    words = _words(own)
    if len(words) < 6:
        return True
    counts = {language: sum(word in known for word in words) for language, known in _KNOWN.items()}
    return max(counts.values()) < counts["en"] + 2


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())
