"""The conditions of a run's captions: encoded here, or read from its pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from distill_runs.batches import Batch
from distill_runs.families import Condition, Dropped
from distill_runs.models import Model
from distill_runs.packs import Data, Pack
from distill_runs.ranks import Ranks
from distill_runs.settings import Run
from distill_runs.texts import Text, empty_caption

DTYPES = {"bfloat16": torch.bfloat16}
"""Of the text encoders' weights, by the run's precision, else float32: T5 overflows in float16."""


class Conditions:
    """Makes conditions on a rank's device; moves the model's parts there.

    Text encoders that no batch needs, since every stage reads a pack's encodings, stay in the memory of the
    CPU: for pictures, and for the model that is saved.
    """

    def __init__(self, run: Run, model: Model, ranks: Ranks) -> None:
        self.model, self.device = model, ranks.device
        self.dtype = DTYPES.get(run.precision, torch.float32)
        self._empty: dict[str, Text] = {}
        model.to(self.device, self.dtype, encoders=not all(stage.data.text for stage in run.stages))

    def enter(self, pack: Pack, data: Data) -> None:
        """Go on with the batches of another pack."""
        self._empty = self._placed(empty_caption(pack)) if data.text else {}

    def of(self, captions: Sequence[str]) -> Condition:
        """Of captions that no pack holds."""
        return self.model.encode(captions).to(self.device, self.dtype)

    def of_batch(self, batch: Batch, dropped: Dropped) -> Condition:
        """Of a batch's captions; those that an encoder is not to see read as empty."""
        if batch.text is None:
            return self.model.encode(batch.captions, dropped)
        return self.model.condition(self._placed(batch.text), self._empty, dropped)

    def _placed(self, texts: Mapping[str, Text]) -> dict[str, Text]:
        return {name: text.to(self.device, self.dtype) for name, text in texts.items()}
