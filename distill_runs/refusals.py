"""What a run refuses before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill_runs.loader import Loader
from distill_runs.models import Model, refuse_distilled
from distill_runs.packs import Data, Pack, check_pack
from distill_runs.ranks import Ranks
from distill_runs.settings import Run
from store.errors import UsageError


def check_fit(run: Run, model: Model, packs: Sequence[Pack], ranks: Ranks) -> None:
    """Refuse a student, a method and the packs of the stages that do not fit. Raises ``UsageError``."""
    if run.method.refuses_distilled and not run.force:
        refuse_distilled(model)
    run.method.check(model)
    if run.precision == "float16" and ranks.device.type == "cpu":
        raise UsageError("precision=float16 needs a GPU; on a CPU take float32 or bfloat16.")
    for stage, pack in zip(run.stages, packs, strict=True):
        check_pack(pack, stage.data, model.vae_facts, ranks.world_size)
        cell = model.vae_facts["factor"] * int(model.config.get("patch_size") or 1)
        wrong = [size for size in pack.buckets(stage.data) if size[0] % cell or size[1] % cell]
        if wrong:
            raise UsageError(
                f"stage {stage.name!r} reads images of {wrong[0][0]}x{wrong[0][1]} pixels, but "
                f"{model.source!r} takes sides that are multiples of {cell}. Choose another resolution or "
                "other buckets."
            )
        if stage.data.latents:
            _check_latents(model, pack, stage.data)


MOST_APART = 0.3
"""Root mean square of the difference, in spreads of the latents. Measured: 0.02 to 0.06 for the VAE that made
them (the pack's images are JPEG once more), above 1 for any other."""


def _check_latents(model: Model, pack: Pack, data: Data) -> None:
    """Refuse latents that the model's VAE does not make of the same images, whatever their numbers say."""
    few = replace(data, batch_size=min(4, pack.samples))
    latents = next(Loader(pack, few, seed=0)).latents_BCHW
    images = next(Loader(pack, replace(few, latents=False), seed=0)).images_BCHW
    assert latents is not None
    assert images is not None
    apart = (model.mean_latents(images) - latents).square().mean().sqrt() / latents.std()
    if apart > MOST_APART:
        raise UsageError(
            f"the latents of the pack {pack.location.url} are not those of the VAE of {model.source!r}: on "
            f"the same images they are {apart:.2f} spreads apart. Build the pack with "
            f"pack.latents={model.source}."
        )
