"""Whether a pack holds the arrays that a run reads beside captions: latents, texts, captured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose
from typing import TYPE_CHECKING, Any

from store.aspects import Size
from store.errors import UsageError

if TYPE_CHECKING:
    from distill_runs.packs import Data, Pack

VAE_FACTS = {
    "sha256": "weights (SHA-256)",
    "channels": "latent channels",
    "factor": "scale factor",
    "scaling_factor": "scaling factor",
    "shift_factor": "shift factor",
}
"""What must be equal in the VAE that made a pack's latents and the run's, and what people call it."""
SAME_TIME = 1e-3
"""Times of a scheduler count to 1000."""


def check_arrays(pack: Pack, data: Data, buckets: Sequence[Size], vae: Mapping[str, Any]) -> None:
    """Refuse a pack whose arrays are missing, of another VAE, of other sizes or at other times.

    Raises:
        UsageError: says what to change.
    """
    where = pack.location.url
    if data.latents and not pack.latents:
        raise UsageError(
            f"the pack {where} has no latents, and data.latents is set. Build it with pack.latents=VAE "
            "(a hub id or a folder), or set data.latents=False to encode while training."
        )
    if data.text and not pack.text:
        raise UsageError(
            f"the pack {where} has no text encodings, and data.text is set. Build it with pack.text=PIPELINE "
            "(a hub id or a folder), or set data.text=False to encode while training."
        )
    _check_names(pack, data)
    if data.latents:
        _check_sizes(pack, buckets, "latents")
        _check_vae("latents", pack.latents.get("vae"), where, pack.latents, vae)
    if data.extras:
        _check_sizes(pack, buckets, "captured arrays")
        _check_vae("captured arrays", pack.captured.get("generator"), where, pack.captured["vae"], vae)
        _check_times(pack, data)


def _check_names(pack: Pack, data: Data) -> None:
    there = list(pack.captured.get("arrays", ()))
    missing = [name for name in data.extras if name not in there]
    if missing:
        raise UsageError(
            f"the pack {pack.location.url} has no captured {missing[0]!r} (it has: "
            f"{', '.join(there) or 'none'}), and data.extras asks for it. Build it with "
            "pack.extras, from a source that captured it."
        )


def _check_sizes(pack: Pack, buckets: Sequence[Size], what: str) -> None:
    for size in pack.sizes:
        if size not in buckets:
            raise UsageError(
                f"the {what} of the pack {pack.location.url} are of images of {size[0]}x{size[1]} pixels, "
                f"the run reads {', '.join(f'{w}x{h}' for w, h in buckets)}. Latents cannot be scaled: set "
                f"data.resolution to {min(size)} or data.buckets to the pack's sizes, or pack at the run's "
                "resolution."
            )


def _check_vae(
    what: str, made_by: str | None, where: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> None:
    for name, called in VAE_FACTS.items():
        if name in ours and ours[name] != theirs.get(name):
            raise UsageError(
                f"the {what} of the pack {where} were made by another VAE ({made_by}): its {called} is "
                f"{theirs.get(name)}, the run's is {ours[name]}. Train with that VAE, or build the pack with "
                "the run's."
            )


def _check_times(pack: Pack, data: Data) -> None:
    asked, there = data.trajectory_times, pack.captured.get("trajectory_times", ())
    same = len(asked) == len(there) and all(
        isclose(one, other, abs_tol=SAME_TIME) for one, other in zip(asked, there, strict=True)
    )
    if asked and not same:
        raise UsageError(
            f"the trajectories of the pack {pack.location.url} are at the times {list(there)}, and "
            f"data.trajectory_times asks for {list(asked)}. Generate the images with "
            "source.capture.trajectory and steps that fall on these times, or ask for the pack's."
        )
