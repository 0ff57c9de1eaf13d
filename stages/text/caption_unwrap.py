"""The caption in a model's answer: what models put around it, taken off."""

from __future__ import annotations

import json
import re

from stages.text.clean_caption import clean

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_CONTROL = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|<(?:pad|eos|bos|end_of_turn)>")
_FENCE = re.compile(r"\A\s*```[\w-]*[ \t]*\n?(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]+|[-*•][ \t]+)", re.MULTILINE)
_BOLD = re.compile(r"(\*\*|__|`)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_OPENING = re.compile(
    r"\A(?:(?:sure|certainly|of course|okay|absolutely)[,.!]*\s+)?"
    r"(?:here(?:['’]s| is| are)\b[^:\n]{0,60}\b(?:captions?|descriptions?|prompts?)\b[^:\n]{0,40}:"
    r"|(?:image |short |long |detailed |text )*(?:caption|description|prompt)\s*:)\s*",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」"}
_KEYS = ("caption", "prompt", "description", "text")


def unwrap(answer: str) -> str:
    """The words of an answer, in one line, without what only wraps them.

    Taken off: thoughts in ``<think>``, control tokens, a code fence around all, a JSON object with one text
    (or with one named caption, prompt, description or text), marks of headings, quotes and bullets at line
    starts, bold and code marks, an opening such as "Sure! Here is a caption:" or "Caption:", quotation marks
    around all, and what ``clean_caption`` takes off. Numbers at line starts stay: they may be counts.
    """
    text = _CONTROL.sub(" ", _THOUGHTS.sub(" ", answer)).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    text = _from_json(text.strip())
    text = _BOLD.sub(r"\2", _LINE_MARK.sub("", text)).strip()
    text = _unquote(_OPENING.sub("", text, count=1).strip())
    return clean(text) or ""


def _from_json(text: str) -> str:
    if not text.startswith(("{", "[")):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        texts = {key: item for key, item in value.items() if isinstance(item, str)}
        named = [texts[key] for key in _KEYS if key in texts]
        value = named[0] if named else next(iter(texts.values()), None) if len(texts) == 1 else None
    return value if isinstance(value, str) else text


def _unquote(text: str) -> str:
    """Without quotation marks that open at its start and close at its very end."""
    close = _QUOTES.get(text[:1])
    if close is None or len(text) < 2 or not text.endswith(close):
        return text
    inside = text[1:-1]
    return text if text[0] in inside or close in inside else inside.strip()
