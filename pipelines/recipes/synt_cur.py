"""synt-cur: what people kept of synt, with their words (EdgeFusion 2.2, table 8: 29.9k pairs).

    mashbill curate synt
    mashbill build synt-cur
    mashbill build synt-cur --set source.coverage=0.9 --set source.wait_minutes=600

The paper's people removed images with artifacts and corrected prompts that did not fit. Nothing is decoded:
crops, hashes and splits are those of synt; words and crops of people outrank them. ``--set
source.dataset=NAME`` with ``--set name=NAME-cur`` does the same for any dataset.
"""

from __future__ import annotations

from pipelines.dataset import Dataset
from stages.image.inherited import Inherited
from stages.pack.pack import Pack
from stages.source.curated import Curated


def synt_cur() -> Dataset:
    return Dataset(
        name="synt-cur",
        source=Curated("synt"),
        columns=(Inherited(),),
        select=(),
        pack=Pack(),
    )
