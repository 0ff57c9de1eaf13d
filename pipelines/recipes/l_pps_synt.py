"""L-pps and synt together (EdgeFusion table 3: 182.2k pairs, the best data for step distillation).

    mashbill build l-pps-synt

Takes the newest versions of both; build them first. No image is decoded: crops, words, hashes and splits are
those of the parts.
"""

from __future__ import annotations

from pipelines.dataset import Dataset
from stages.image.inherited import Inherited
from stages.pack.pack import Pack
from stages.source.mixture import Mixture, Part


def l_pps_synt() -> Dataset:
    return Dataset(
        name="l-pps-synt",
        source=Mixture(parts=(Part("l-pps", "l-pps"), Part("synt", "synt"))),
        columns=(Inherited(),),
        select=(),
        pack=Pack(),
    )
