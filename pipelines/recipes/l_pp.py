"""L-pp: L-orig without copies and small images, cropped to what matters (EdgeFusion 2.2, table 8).

    mashbill build l-pp --set source.path=laion.parquet
    mashbill build l-pp --set source.path=laion.parquet --set crop.scorer.kind=clip
    mashbill build l-pp --set source.path=laion.parquet --set decontaminate.images=coco/val2017

The paper goes from 212.8k to 119.9k pairs (manual removal included). Give the crop a scorer where a
model is at hand; without one the centre stays.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.dataset import Dataset
from pipelines.recipes.l_orig import l_orig
from stages.dedup.decontaminate import Decontaminate
from stages.dedup.near_duplicates import NearDuplicates
from stages.image.perceptual_hash import PerceptualHash
from stages.image.sharpness import Sharpness
from stages.select.keep_best import KeepBest
from stages.select.min_side import MinSide
from stages.select.not_in_evaluation import NotInEvaluation


def l_pp() -> Dataset:
    parent = l_orig()
    return replace(
        parent,
        name="l-pp",
        columns=(*parent.columns, PerceptualHash(), Sharpness(), NearDuplicates(), Decontaminate()),
        select=(*parent.select, MinSide(), NotInEvaluation(), KeepBest()),
    )
