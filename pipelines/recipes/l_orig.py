"""L-orig: the raw crawl (EdgeFusion table 8, 212.8k LAION pairs), every image that can be read.

    mashbill build l-orig --set source.path=laion.parquet

Nothing is judged: downloads that failed, files that are no image and rows without a caption are
dropped with their reasons; the crop is the centre, as in the training set of BK-SDM. Exact copies are in one
split; near copies, which nothing here looks for, may be in two.
"""

from __future__ import annotations

from pipelines.dataset import Dataset
from stages.image.content_hash import ContentHash
from stages.image.crop import Crop
from stages.image.decode import Decode
from stages.image.size import Size
from stages.pack.pack import Pack
from stages.score.subject_kept import SubjectKept
from stages.select.caption_length import CaptionLength
from stages.select.readable import Readable
from stages.select.split import Split
from stages.source.metadata import Metadata
from stages.text.clean_caption import CleanCaption


def l_orig() -> Dataset:
    return Dataset(
        name="l-orig",
        source=Metadata(),
        columns=(
            ContentHash(),
            Size(),
            Decode(),
            CleanCaption(),
            Split(by="sha256"),
            Crop(),
            SubjectKept(),
        ),
        select=(Readable(), CaptionLength()),
        pack=Pack(),
    )
