"""YE-POP with the two captions it comes with, by CogVLM and LLaVA (EDiT appendix C), instead of new ones.

    mashbill build ye-pop-own --set source.path=ye-pop.parquet --set source.caption_column=alt_txt
    mashbill build ye-pop-flux --set source.prompts.dataset=ye-pop-own

No model is asked for words. ``source_captions.fields`` are the columns of the source that hold them.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.dataset import Dataset
from pipelines.recipes.ye_pop import ye_pop
from stages.text.recaption import Recaption
from stages.text.source_captions import SourceCaptions


def ye_pop_own() -> Dataset:
    like = ye_pop()
    words = SourceCaptions()
    columns = tuple(words if isinstance(stage, Recaption) else stage for stage in like.columns)
    return replace(like, name="ye-pop-own", columns=columns)
