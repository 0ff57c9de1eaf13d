"""What a manifest says of people's decisions, as one line."""

from __future__ import annotations

from typing import Any


def decisions_line(entry: dict[str, Any]) -> str:
    """One entry of a manifest's ``decisions``: what was gone through, how much of it, and what came of it."""
    people = "1 person" if entry["people"] == 1 else f"{entry['people']:,} people"
    parts = [
        f"{entry['decided']:,} of {entry['queue']:,} decided by {people} (coverage {entry['coverage']:.3f}, "
        f"asked {entry['coverage_asked']:g})",
        f"{entry['kept']:,} kept and {entry['rejected']:,} rejected",
        f"{entry['captions']:,} captions and {entry['crops']:,} crops are theirs",
    ]
    if entry["waited_s"] >= 1:
        parts.append(f"waited {entry['waited_s']:,.0f} s for it")
    if entry["not_in_version"]:
        parts.append(f"{entry['not_in_version']:,} more are on samples that it does not have")
    return f"{entry['dataset']}@{entry['version']}, export {entry['export']}: {'; '.join(parts)}"
