"""L-pps: L-pp with captions of what the crop left (EdgeFusion 2.2, table 8: 119.9k pairs).

    mashbill build l-pps --set source.path=laion.parquet --ray auto --resources recaption=gpu:0.75 \
        --resources clip_similarity=gpu:0.25
    mashbill build l-pps --set source.path=laion.parquet --set recaption.chat.kind=endpoint \
        --set recaption.chat.url=http://vlm:8000/v1 --set recaption.chat.key_variable=

The paper's captioner is Sphinx, of which there is no class in transformers; any that answers messages with an
image will do. CLIP similarity of the old words and the new is measured for the report; no rule reads it.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.dataset import Dataset
from pipelines.recipes.l_pp import l_pp
from stages.score.clip_similarity import ClipSimilarity
from stages.select.caption_length import CaptionLength
from stages.text.chat_local import Local
from stages.text.recaption import Recaption


def l_pps() -> Dataset:
    parent = l_pp()
    words = CaptionLength(column="caption_before")  # what was kept does not depend on the captioner
    return replace(
        parent,
        name="l-pps",
        select=tuple(words if rule.name == words.name else rule for rule in parent.select),
        columns=(
            *parent.columns,
            Recaption(chat=Local(model="llava-hf/llava-1.5-7b-hf")),
            ClipSimilarity(captions=("caption", "caption_before")),
        ),
    )
