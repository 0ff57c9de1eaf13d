"""The text encoders of a stock pipeline, from its configuration files: which there are, and what they give.

Imports without torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stages.pack.arrays import float16_bytes
from store.digest import file_sha256, fingerprint
from store.errors import UsageError
from store.location import Location
from store.shipped import shipped
from store.text_encodings import T5_TOKENS

INDEX = "model_index.json"
READS = {
    "StableDiffusionPipeline": ("unet", ("last",)),
    "PixArtSigmaPipeline": ("pixart", ("masked",)),
    "StableDiffusion3Pipeline": ("sd3", ("penultimate", "penultimate", "padded")),
}
"""By class the family, and of each encoder what the denoiser reads of it: CLIP's ``last`` hidden states;
``penultimate`` ones and the projection; T5's states ``masked`` or ``padded``, padding and all."""


@dataclass(frozen=True)
class Encoder:
    """One text encoder: L tokens at most, D channels, P of the pooled embedding (0 where none is read)."""

    name: str
    kind: str
    """Its class in transformers."""
    reads: str
    max_length: int
    width: int
    pooled: int

    @property
    def tokenizer(self) -> str:
        """The name of its tokenizer's folder."""
        return self.name.replace("text_encoder", "tokenizer")

    @property
    def masked(self) -> bool:
        """Whether the denoiser is kept from reading padding, so that none is stored."""
        return self.reads == "masked"

    def room_bytes(self, captions: int) -> int:
        """Bytes in a pack's tar of a sample with so many captions; where padding is not stored, at most."""
        tokens = float16_bytes(captions * self.max_length, self.width)
        return tokens + (float16_bytes(captions, self.pooled) if self.pooled else 0)


def text_encoders(model: str, revision: str) -> tuple[str, tuple[Encoder, ...]]:
    """The family of a pipeline and its encoders; T5 is missing where the pipeline has none.

    Raises:
        UsageError: there is no such pipeline, or it is of no family that a run can train.
    """
    folder = text_folder(model, revision, weights=False)
    try:
        index = read_json(folder / INDEX)
        family, reads = READS[index["_class_name"]]
        found = []
        for number, read in enumerate(reads):
            name = "text_encoder" + (f"_{number + 1}" if number else "")
            if index[name][1]:
                found.append(_encoder(folder, name, index[name][1], read, family))
        return family, tuple(found)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UsageError(
            f"pack.text={model!r} is no pipeline whose text encoders are known ({type(error).__name__}: "
            f"{error}). Expected one of {', '.join(READS)}, whole, with {INDEX}."
        ) from error


def _encoder(folder: Path, name: str, kind: str, reads: str, family: str) -> Encoder:
    config = read_json(folder / name / "config.json")
    t5 = reads in ("masked", "padded")
    encoder = Encoder(name, kind, reads, 0, config["d_model" if t5 else "hidden_size"], 0)
    length = int(read_json(folder / encoder.tokenizer / "tokenizer_config.json")["model_max_length"])
    length = min(length, T5_TOKENS[family]) if t5 else length
    pooled = config["projection_dim"] if reads == "penultimate" else 0
    return Encoder(name, kind, reads, length, encoder.width, pooled)


def files_fingerprint(model: str, revision: str) -> str:
    """12 hex digits that name the files of a pipeline's text encoders and tokenizers; 1 s a GB."""
    folder = text_folder(model, revision)
    parts = [p for p in folder.iterdir() if p.is_dir() and p.name.startswith(("text_encoder", "tokenizer"))]
    files = [file for part in parts for file in part.rglob("*") if file.is_file()]
    return fingerprint({f.relative_to(folder).as_posix(): file_sha256(Location.of(f)) for f in sorted(files)})


def text_folder(model: str, revision: str, weights: bool = True) -> Path:
    """The local folder of a pipeline: the one named, or the copy that the hub client keeps, which without
    ``weights`` has those only where they were fetched before.

    Raises:
        UsageError: it cannot be reached.
    """
    top = Path(shipped(model))
    return top if top.is_dir() else _from_hub(model, revision, weights)


@cache
def _from_hub(model: str, revision: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [INDEX, "tokenizer*/*", "text_encoder*/*.json"]
    wanted += ["text_encoder*/*.safetensors"] if weights else []
    half = ["*.fp16*", "*.bf16*"]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted, ignore_patterns=half))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UsageError(
            f"pack.text={model!r} at revision {revision!r} cannot be fetched ({error}). Give the id of a "
            "pipeline that can be reached, or the folder it was saved to."
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))
