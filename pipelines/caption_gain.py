"""What recaptioning gained: old and new words of the same samples side by side."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import pretrained
from stages.stage import MapStage, Reduction
from stages.text.chat_endpoint import Endpoint
from stages.text.clean_caption import clean
from stages.text.limit import Limit
from stages.text.recaption import Recaption

READS = (
    "kept",
    "caption_before",
    "caption",
    "recaption_reason",
    "recaption_faults",
    "recaption_requests",
    "caption_prompt_tokens",
    "caption_completion_tokens",
    "clip_similarity_before",
    "clip_similarity",
    "clip_cut_before",
    "clip_cut",
)
"""Columns of a samples table that are looked at, where they are there; the first four must be."""
ATTRIBUTES: Mapping[str, str] = {
    "color": "black white gray grey red green blue yellow orange purple pink brown beige gold golden silver "
    "teal turquoise navy maroon lavender mint peach cream",
    "count": "one two three four five six seven eight nine ten several pair couple many dozen",
    "place": "left right above below under beside behind front between next top bottom center middle "
    "foreground background around inside",
    "style": "photo photograph painting drawing sketch illustration cartoon watercolor oil crayon render "
    "poster collage flat glossy outlined",
    "light": "light lit sunlight sunny bright dark dusk dawn night shadow shadows sunset glow glowing soft",
    "person": "man woman men women person people child children boy girl baby",
    "material": "wooden wood metal glass stone brick leather plastic paper fabric concrete marble",
}
"""Words by which a caption names an attribute: any one of them counts."""
_WORDS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True)
class Captions:
    """The old and the new words of the same samples; those without either are left out."""

    before: list[str]
    after: list[str]


def caption_gain(
    samples: pa.Table,
    limits: Sequence[Limit] = (),
    attributes: Mapping[str, str] = ATTRIBUTES,
    cost_usd: Callable[[int, int], float] | None = None,
) -> dict[str, Any] | None:
    """Old captions beside new ones, over the kept samples; None of a version that was not recaptioned.

    Args:
        samples: a version's or an exported table with ``READS``.
        limits: students whose tokenizers count; loaded as hub ids, folders or shipped names.
        cost_usd: of prompt and completion tokens, such as ``Endpoint.cost_usd``.

    Returns:
        plain JSON: ``samples``, ``new`` (captions), ``kept_old`` (count by reason), ``compared`` (samples
        with old and new words: all below but tokens and similarity is of these), ``words``, ``attributes``
        and ``lengths`` (each with ``before`` and ``after``), ``similarity`` (None without its columns) and
        ``cost`` (of all samples that entered, as dropped ones were paid for too); ``cut``, the shares that
        are longer than the CLIP that scored them reads (None without its columns); ``faults``, how often a
        style came to no good answer, by style and reason.
    """
    if "recaption_reason" not in samples.column_names:
        return None
    kept = samples.filter(samples["kept"])
    reasons = Counter(reason for reason in kept["recaption_reason"].to_pylist() if reason)
    both = _both(kept)
    return {
        "samples": kept.num_rows,
        "new": _count_new(kept),
        "kept_old": dict(sorted(reasons.items())),
        "compared": len(both.after),
        "words": {"before": _words_of(both.before), "after": _words_of(both.after)},
        "attributes": [_named(name, words, both) for name, words in attributes.items()],
        "lengths": [_lengths(limit, both) for limit in limits],
        "similarity": _similarity(kept),
        "cost": _cost(samples, cost_usd),
        "cut": _cut(kept),
        "faults": _faults(kept),
    }


def gain_of(columns: Sequence[MapStage | Reduction], samples: pa.Table) -> dict[str, Any] | None:
    """``caption_gain`` of a recipe's table, with the limits and prices that its ``recaption`` has."""
    for stage in columns:
        if isinstance(stage, Recaption):
            priced = isinstance(stage.chat, Endpoint) and (stage.chat.prompt_usd or stage.chat.completion_usd)
            cost_usd = stage.chat.cost_usd if priced and isinstance(stage.chat, Endpoint) else None
            return caption_gain(samples, stage.limits, cost_usd=cost_usd)
    return None


def _cut(kept: pa.Table) -> dict[str, float] | None:
    names = {"before": "clip_cut_before", "after": "clip_cut"}
    if not set(names.values()) <= set(kept.column_names):
        return None
    pairs = kept.select(list(names.values())).drop_null()
    if pairs.num_rows == 0:
        return None
    return {side: float(pc.mean(pairs[name].cast(pa.float64())).as_py()) for side, name in names.items()}


def _faults(kept: pa.Table) -> dict[str, int]:
    told = kept["recaption_faults"].drop_null().to_pylist() if "recaption_faults" in kept.column_names else []
    return dict(sorted(Counter(fault for faults in told for fault in faults.split(", ")).items()))


def _count_new(kept: pa.Table) -> int:
    asked = pc.greater(kept["recaption_requests"], 0)
    return int(pc.sum(pc.and_(pc.fill_null(asked, False), pc.is_null(kept["recaption_reason"]))).as_py() or 0)


def _both(kept: pa.Table) -> Captions:
    old = [clean(text) for text in kept["caption_before"].to_pylist()]
    new = kept["caption"].to_pylist()
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if a and b]
    return Captions([a for a, _ in pairs], [b for _, b in pairs])


def _words_of(texts: Sequence[str]) -> dict[str, Any]:
    """Mean words a caption, and how many different words there are in all."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_split(text))
    mean = counts.total() / len(texts) if texts else None
    return {"mean": mean, "vocabulary": len(counts), "captions": len(set(texts))}


def _split(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def _named(name: str, words: str, both: Captions) -> dict[str, Any]:
    """Share of captions that name the attribute."""
    wanted = set(words.split())

    def share(texts: Sequence[str]) -> float | None:
        return sum(not wanted.isdisjoint(_split(text)) for text in texts) / len(texts) if texts else None

    return {"name": name, "before": share(both.before), "after": share(both.after)}


def _lengths(limit: Limit, both: Captions) -> dict[str, Any]:
    """Tokens with both ends, and the share of captions of which the student would not read all."""
    from transformers import AutoTokenizer

    tokenizer = pretrained.load(AutoTokenizer, limit.tokenizer, limit.revision, "limit.tokenizer")

    def measured(texts: Sequence[str]) -> dict[str, Any] | None:
        if not texts:
            return None
        counts = np.array([len(row) for row in tokenizer(list(texts), verbose=False)["input_ids"]])
        return {
            "median": float(np.median(counts)),
            "p95": float(np.percentile(counts, 95)),
            "most": int(counts.max()),
            "over": float((counts > limit.tokens).mean()),
        }

    sides = {"before": measured(both.before), "after": measured(both.after)}
    return {"name": limit.name, "tokens": limit.tokens, **sides}


def _similarity(kept: pa.Table) -> dict[str, Any] | None:
    """Means of CLIP similarity, of old words and new; ``error`` is the standard error of their difference."""
    names = ("clip_similarity_before", "clip_similarity")
    if not set(names) <= set(kept.column_names):
        return None
    pairs = kept.select(names).drop_null()
    if pairs.num_rows == 0:
        return None
    before, after = (pairs[name].to_numpy().astype(np.float64) for name in names)
    gain = after - before
    spread = float(gain.std(ddof=1)) if len(gain) > 1 else None
    return {
        "samples": len(gain),
        "before": float(before.mean()),
        "after": float(after.mean()),
        "gain": float(gain.mean()),
        "error": None if spread is None else spread / float(np.sqrt(len(gain))),
        "better": float((gain > 0).mean()),
    }


def _cost(samples: pa.Table, cost_usd: Callable[[int, int], float] | None) -> dict[str, Any]:
    def total(name: str) -> int:
        return int(pc.sum(samples[name]).as_py() or 0)

    tokens = total("caption_prompt_tokens"), total("caption_completion_tokens")
    return {
        "requests": total("recaption_requests"),
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "usd": cost_usd(*tokens) if cost_usd else None,
    }
