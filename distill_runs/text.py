"""A tiny text encoder that is learned with the model: hashed words and one transformer layer.

It knows nothing but the captions of its run. Words share a row of the table when their hashes
collide; a word never seen in training has an untrained row.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

NUM_HEADS = 4
PADDING, BEGIN, NUM_SPECIAL = 0, 1, 2
WORD = re.compile(r"\w+")


class TextEncoder(nn.Module):
    """Captions to one vector per word. B batch, L words plus the begin token, D ``channels``."""

    def __init__(self, channels: int, buckets: int, max_words: int) -> None:
        super().__init__()
        self.config = {"channels": channels, "buckets": buckets, "max_words": max_words}
        self.words = nn.Embedding(NUM_SPECIAL + buckets, channels)
        self.positions = nn.Embedding(1 + max_words, channels)
        self.attention_norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.attention_out = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )
        self.out_norm = nn.LayerNorm(channels)

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(ids int64 [B, L], mask bool [B, L], True on words), padded to the longest caption.

        Lower case, letters and digits only; word number ``max_words`` is the last one read. The
        empty caption is the begin token alone.
        """
        rows = [[BEGIN, *self._word_ids(caption)] for caption in captions]
        longest = max(len(row) for row in rows)
        ids_BL = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
        return ids_BL, ids_BL != PADDING

    def _word_ids(self, caption: str) -> list[int]:
        words = WORD.findall(caption.lower())[: self.config["max_words"]]
        return [NUM_SPECIAL + zlib.crc32(w.encode()) % self.config["buckets"] for w in words]

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """float32 [B, L, D]; what stands at padded places is to be masked by the reader too."""
        positions_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        x_BLD = self.words(ids_BL) + self.positions(positions_L)
        x_BLD = x_BLD + self._attention(self.attention_norm(x_BLD), mask_BL)
        x_BLD = x_BLD + self.mlp(x_BLD)
        out_BLD: Tensor = self.out_norm(x_BLD)
        return out_BLD

    def _attention(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (NUM_HEADS, -1)).transpose(1, 2) for part in self.qkv(x_BLD).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BL[:, None, None, :])
        out_BLD: Tensor = self.attention_out(mixed.transpose(1, 2).flatten(-2))
        return out_BLD

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        save_file(self.state_dict(), path / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TextEncoder:
        """Read what ``save_pretrained`` wrote, in evaluation mode."""
        path = Path(folder)
        encoder = cls(**json.loads((path / "config.json").read_text()))
        encoder.load_state_dict(load_file(path / "model.safetensors"))
        return encoder.eval()
