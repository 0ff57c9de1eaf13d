"""Drawn scenes of the tiny world with their true captions: what its text-to-image models learn from.

    python -m tinyworld draw scenes --samples 30000
    mashbill build tiny-scenes --set source.path=scenes --set pack.latents=tinyworld/models/vae-4

Everything that can be read is kept, whole.
"""

from __future__ import annotations

from pipelines.dataset import Dataset
from stages.image.content_hash import ContentHash
from stages.image.crop import Crop
from stages.image.decode import Decode
from stages.image.size import Size
from stages.pack.pack import Pack
from stages.select.readable import Readable
from stages.select.split import Split
from stages.source.folder import Folder
from stages.text.clean_caption import CleanCaption


def tiny_scenes() -> Dataset:
    return Dataset(
        name="tiny-scenes",
        source=Folder(),
        columns=(ContentHash(), Size(), Decode(), CleanCaption(), Split(), Crop()),
        select=(Readable(),),
        pack=Pack(resolutions=(64,)),
    )
