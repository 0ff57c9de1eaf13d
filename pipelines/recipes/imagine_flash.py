"""Images for Imagine Flash (section 4): large photographs with their captions, 768 px.

    mashbill build imagine-flash --set source.kind=folder --set source.path=photographs

The paper trains on images that were commissioned and are not public; any large set with captions takes their
place. Its discriminator looks at real images, so copies and small images are left out.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.dataset import Dataset
from pipelines.recipes.l_pp import l_pp
from stages.pack.pack import Pack
from stages.select.min_side import MinSide


def imagine_flash() -> Dataset:
    parent = l_pp()
    return replace(
        parent,
        name="imagine-flash",
        select=tuple(MinSide(min_px=768) if rule.name == "min_side" else rule for rule in parent.select),
        pack=Pack(resolutions=(768,)),
    )
