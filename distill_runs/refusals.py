"""What a run refuses before its first step."""

from __future__ import annotations

from collections.abc import Sequence

from distill_runs.models import Model, refuse_distilled
from distill_runs.packs import Pack, check_pack
from distill_runs.ranks import Ranks
from distill_runs.same_models import check_same_models
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
        check_same_models(model, pack, stage.data)
