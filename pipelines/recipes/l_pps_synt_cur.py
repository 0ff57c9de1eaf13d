"""L-pps and synt-cur together (EdgeFusion tables 2, 3 and 11: 149.8k pairs).

    mashbill build l-pps-synt-cur

Takes the newest versions of both; build them first.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.dataset import Dataset
from pipelines.recipes.l_pps_synt import l_pps_synt
from stages.source.mixture import Mixture, Part


def l_pps_synt_cur() -> Dataset:
    parts = (Part("l-pps", "l-pps"), Part("synt-cur", "synt-cur"))
    return replace(l_pps_synt(), name="l-pps-synt-cur", source=Mixture(parts=parts))
