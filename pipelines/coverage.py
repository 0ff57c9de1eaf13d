"""What prompts were asked to show beside what a version got."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import chi2_contingency

from stages.dedup.caption_copies import words_of

UNSAID = "unsaid"


def coverage(samples: pa.Table) -> dict[str, Any] | None:
    """Asked beside got, for samples whose ``meta`` holds ``asked`` (attribute to value); None without any.

    ``asked`` is the share of those that entered, ``got`` of those kept, ``said`` of the kept ones that were
    asked for the value and name it in their caption (each 0 to 1; None where nobody was). ``p`` is that of a
    chi-square test that values were dropped alike: a small one says that the rules favor some. None where
    nothing was dropped.

    Returns:
        ``samples, kept, attributes``: a list of ``name, p, values``, each ``value, asked, got, said``.
    """
    if "meta" not in samples.column_names:
        return None
    rows = samples.filter(pc.fill_null(pc.match_substring(samples["meta"], '"asked"'), False))
    asked = [json.loads(text).get("asked") for text in rows["meta"].to_pylist()]
    if not any(isinstance(one, dict) for one in asked):
        return None
    told = [one if isinstance(one, dict) else {} for one in asked]
    kept = rows["kept"].to_pylist()
    captions = [f" {' '.join(words_of(text or ''))} " for text in rows["caption"].to_pylist()]
    names = sorted({name for one in told for name in one})
    return {
        "samples": len(told),
        "kept": sum(kept),
        "attributes": [_attribute(name, told, kept, captions) for name in names],
    }


def _attribute(
    name: str, told: Sequence[dict[str, Any]], kept: Sequence[bool], captions: Sequence[str]
) -> dict[str, Any]:
    values = [str(one.get(name, UNSAID)) for one in told]
    entered, stayed = Counter(values), Counter(v for v, k in zip(values, kept, strict=True) if k)
    said = Counter(
        value
        for value, stays, caption in zip(values, kept, captions, strict=True)
        if stays and _names(caption, value)
    )
    total = sum(stayed.values())
    listed = sorted(entered, key=lambda value: (value == UNSAID, -entered[value], value))
    sides = [[stayed[value] for value in listed], [entered[value] - stayed[value] for value in listed]]
    fit = chi2_contingency(sides, correction=False) if all(map(sum, sides)) and len(listed) > 1 else None
    return {
        "name": name,
        "p": None if fit is None else float(fit.pvalue),
        "values": [
            {
                "value": value,
                "asked": entered[value] / len(told),
                "got": stayed[value] / total if total else None,
                "said": None if value == UNSAID or not stayed[value] else said[value] / stayed[value],
            }
            for value in listed
        ],
    }


def _names(caption: str, value: str) -> bool:
    """Whether a caption, as words between blanks, has those of a value, the last perhaps in the plural."""
    words = " ".join(words_of(value))
    return any(f" {words}{ending} " in caption for ending in ("", "s", "es"))
