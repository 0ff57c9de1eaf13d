"""The models that make a pack's arrays: whether those that are there now made what was packed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.pack.latents import weights_sha256
from stages.pack.pack import Pack
from stages.pack.text_shapes import files_fingerprint
from store.errors import MashbillError
from store.location import Location

MADE = ("latents", "text", "captured")
"""Fields of ``pack.json``, and of what is known of a shard, that say what made its arrays."""


def check_models(location: Location, pack: Pack, written: Sequence[Mapping[str, Any]]) -> None:
    """Hold what made the arrays of the pack at ``location`` against the files that are there now.

    Raises:
        MashbillError: latents or text encodings were made by other files.
    """
    for made_by in {about["latents"]["sha256"] for about in written if "latents" in about}:
        now = weights_sha256(pack.latents, pack.latents_revision)
        _check("latents", "weights", pack.latents, location, (made_by, now))
    for made_by in {about["text"]["files"] for about in written if "text" in about}:
        now = files_fingerprint(pack.text, pack.text_revision)
        _check("text encodings", "text encoders", pack.text, location, (made_by, now))


def _check(what: str, parts: str, model: str, location: Location, hashes: tuple[str, str]) -> None:
    if hashes[0] != hashes[1]:
        raise MashbillError(
            f"{what} in {location.url} were made by other {parts} of {model} than are there now "
            f"(SHA-256 {hashes[0][:12]}, now {hashes[1][:12]}): a version is never changed. Put the old ones "
            "back, or save the new ones to another folder and build with that."
        )
