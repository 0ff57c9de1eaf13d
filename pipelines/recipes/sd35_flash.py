"""The training images of SD3.5-Flash (section 4): SD3.5-Large, 32 steps at guidance 4.0, with their seeds.

    mashbill build sd35-flash --set source.prompts.path=prompts.parquet --ray auto --resources source=gpu:1

The paper names neither its prompts nor their number. Trajectory guidance reads the teacher's own way at the
student's times: initial noise and the latents at fractions 1, 0.75, 0.5, 0.25 and 0 are kept with each image.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.dataset import Dataset
from pipelines.recipes.synt import synt
from stages.generate.capture import Capture
from stages.pack.pack import Pack
from stages.source.generated import Generated
from stages.source.prompts import PromptFile


def sd35_flash() -> Dataset:
    return replace(
        synt(),
        name="sd35-flash",
        source=Generated(
            model="stabilityai/stable-diffusion-3.5-large",
            prompts=PromptFile(),
            steps=32,
            guidance_scale=4.0,
            max_sequence_length=256,
            width=1024,
            height=1024,
            dtype="bfloat16",
            capture=Capture(noise=True, trajectory=(1.0, 0.75, 0.5, 0.25, 0.0)),
        ),
        pack=Pack(resolutions=(1024,)),
    )
