"""YE-POP generated again (EDiT appendix C): two images by FLUX.1-schnell for each picture's first caption.

    mashbill build ye-pop --set source.path=ye-pop.parquet
    mashbill build ye-pop-flux --ray auto --resources source=gpu:1

About 960,000 images, 24,000 each in validation and test: an image is in the split of the picture whose
caption it shows, so these share no prompt and no picture of ``ye-pop`` with the rest, nor with what was
trained on ``ye-pop``. ``source.prompts.captions=all`` makes two images of every caption, twice as many.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.dataset import Dataset
from pipelines.recipes.synt import synt
from stages.pack.pack import Pack
from stages.select.split_apart import SplitApart
from stages.source.generated import Generated
from stages.source.prompts import PromptDataset


def ye_pop_flux() -> Dataset:
    like = synt()
    apart = SplitApart(
        by=("prompt_id", "prompt_parent"),
        validation=24_000,
        test=24_000,
        largest_share=0.05,
        given="prompt_split",
    )
    return replace(
        like,
        name="ye-pop-flux",
        source=Generated(
            model="black-forest-labs/FLUX.1-schnell",
            prompts=PromptDataset("ye-pop", captions="first"),
            images_per_prompt=2,
            steps=4,
            guidance_scale=0.0,
            max_sequence_length=256,
            width=1024,
            height=1024,
            dtype="bfloat16",
        ),
        columns=tuple(apart if isinstance(stage, SplitApart) else stage for stage in like.columns),
        pack=Pack(resolutions=(512, 1024)),
    )
