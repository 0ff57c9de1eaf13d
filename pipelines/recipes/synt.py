"""synt: prompts to a specification, images by SDXL (EdgeFusion 2.2, table 8: 62.3k pairs).

    mashbill build synt-prompts --set source.samples=62300 --workers 1
    mashbill build synt --ray auto --resources source=gpu:1 \
        --resources clip_similarity=gpu:0.25

The paper does not say how SDXL was sampled; 30 steps at guidance 7.0 are usual. Nothing is judged but files:
what a safety checker held back, black images and prompts that come twice are dropped with their reasons. An
image is in the split of its prompt; of prompts that have none, 1,000 images go to validation.
"""

from __future__ import annotations

from pipelines.dataset import Dataset
from stages.image.content_hash import ContentHash
from stages.image.crop import Crop
from stages.image.decode import Decode
from stages.image.size import Size
from stages.image.synthetic import Synthetic
from stages.pack.pack import Pack
from stages.score.clip_similarity import ClipSimilarity
from stages.select.readable import Readable
from stages.select.split_apart import SplitApart
from stages.source.generated import Generated
from stages.source.prompts import PromptDataset
from stages.text.clean_caption import CleanCaption


def synt() -> Dataset:
    return Dataset(
        name="synt",
        source=Generated(
            model="stabilityai/stable-diffusion-xl-base-1.0",
            prompts=PromptDataset("synt-prompts"),
            steps=30,
            guidance_scale=7.0,
            width=1024,
            height=1024,
            dtype="float16",
        ),
        columns=(
            ContentHash(),
            Size(),
            Decode(),
            CleanCaption(),
            Synthetic(),
            SplitApart(by=("prompt_id",), validation=1_000, test=0, given="prompt_split"),
            Crop(),
            ClipSimilarity(),
        ),
        select=(Readable(),),
        pack=Pack(),
    )
