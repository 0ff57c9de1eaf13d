"""YE-POP with two captions (EDiT appendix C): about 480k images, each described twice by a VLM.

    mashbill build ye-pop --set source.path=ye-pop/images --set source.kind=folder
    mashbill build ye-pop --set source.kind=metadata --set source.path=ye-pop.parquet

Of what enters, 12,000 pictures each go to validation and test, 5 % each where that is fewer, so that
``ye-pop-flux`` has 24,000 images of them in each; copies of one picture are on one side. A run draws one of
the two captions at each visit (``data.captions=random``).
"""

from __future__ import annotations

from pipelines.dataset import Dataset
from stages.dedup.near_duplicates import NearDuplicates
from stages.image.content_hash import ContentHash
from stages.image.crop import Crop
from stages.image.decode import Decode
from stages.image.perceptual_hash import PerceptualHash
from stages.image.sharpness import Sharpness
from stages.image.size import Size
from stages.pack.pack import Pack
from stages.score.clip_similarity import ClipSimilarity
from stages.select.caption_length import CaptionLength
from stages.select.keep_best import KeepBest
from stages.select.min_side import MinSide
from stages.select.readable import Readable
from stages.select.split_apart import SplitApart
from stages.source.metadata import Metadata
from stages.text.chat_local import Local
from stages.text.clean_caption import CleanCaption
from stages.text.recaption import LONG, SHORT, Recaption


def ye_pop() -> Dataset:
    return Dataset(
        name="ye-pop",
        source=Metadata(),
        columns=(
            ContentHash(),
            Size(),
            Decode(),
            CleanCaption(),
            PerceptualHash(),
            Sharpness(),
            NearDuplicates(),
            SplitApart(by=("cluster_id",), validation=12_000, test=12_000, largest_share=0.05),
            Crop(),
            Recaption(chat=Local(model="llava-hf/llava-1.5-7b-hf"), styles=(LONG, SHORT)),
            ClipSimilarity(captions=("caption", "caption_before")),
        ),
        select=(Readable(), CaptionLength(), MinSide(), KeepBest()),
        pack=Pack(resolutions=(512, 1024)),
    )
