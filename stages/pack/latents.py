"""Latents of packed images: the posterior means of an ``AutoencoderKL``. C channels, H W pixels, h w latents.

torch and diffusers are imported only when latents are asked for.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.pack.arrays import float16_bytes, npy
from store.aspects import Size
from store.errors import MashbillError, UsageError
from store.shipped import shipped

WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = (WEIGHTS, "config.json")
PIXELS_AT_ONCE = 1 << 20
"""Of one batch: four images of 512 px. The widest tensors of the SDXL VAE then take 0.5 GB each."""
IMAGES_TOGETHER = 64
"""Images that are held to be put into batches of one size."""


@dataclass(frozen=True)
class Encoder:
    """A loaded VAE, and what ``pack.json`` says of it."""

    vae: Any
    device: str
    about: dict[str, Any]

    def encode(self, images: Sequence[bytes]) -> list[bytes]:
        """The latent of each image (JPEG bytes): ``.npy``, float16 [C, h, w], mean, not scaled.

        Computed in float32 from pixels in [-1, 1]. On a CPU with one thread, so that the bytes do not
        depend on how many there are; other kinds of processor may differ in the last bit.

        Raises:
            UsageError: an image's sides do not divide by the VAE's factor.
            MashbillError: a latent is not finite in float16.
        """
        pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in images]
        found: dict[int, bytes] = {}
        for size in sorted({picture.shape for picture in pixels}):
            self._check_size(size)
            same = [i for i, picture in enumerate(pixels) if picture.shape == size]
            at_once = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
            for start in range(0, len(same), at_once):
                some = same[start : start + at_once]
                means = self._means(np.stack([pixels[i] for i in some]))
                found.update(zip(some, map(npy, means), strict=True))
        return [found[i] for i in range(len(images))]

    def _check_size(self, shape_HWC: tuple[int, ...]) -> None:
        factor = self.about["factor"]
        if shape_HWC[0] % factor or shape_HWC[1] % factor:
            raise UsageError(
                f"images of {shape_HWC[1]}x{shape_HWC[0]} pixels do not divide by {factor}, the scale factor "
                f"of {self.about['vae']}. Choose pack.resolutions that are multiples of {factor}."
            )

    def _means(self, pixels_BHWC: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import torch

        images_BCHW = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).to(self.device, torch.float32)
        with torch.inference_mode(), exact(self.device):
            means = self.vae.encode(images_BCHW / 127.5 - 1).latent_dist.mean.half().cpu().numpy()
        if not np.isfinite(means).all():
            raise MashbillError(
                f"{self.about['vae']} gives latents that float16 cannot hold. Its weights are damaged or it "
                "was trained at another scale; pack without pack.latents and encode while training."
            )
        return np.asarray(means)


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Within this block full float32 and no choice of algorithm by the clock; one thread on a CPU."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1 if device == "cpu" else threads)
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = matmul


@cache
def load_encoder(model: str, revision: str, setting: str = "pack.latents") -> Encoder:
    """Load a VAE once per process, on the GPU where there is one.

    Args:
        model: hub id or folder of an ``AutoencoderKL``, or of a pipeline that has one in ``vae``.
        setting: what names it, for the error.

    Raises:
        UsageError: there is no such VAE, or it cannot be reached.
    """
    folder = _vae_folder(model, revision, setting)
    import torch
    from diffusers import AutoencoderKL

    try:
        vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).eval()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise UsageError(f"{setting}={model!r} cannot be loaded as an AutoencoderKL ({error}).") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    about = {
        "vae": model,
        "revision": revision,
        "sha256": _sha256(folder / WEIGHTS),
        "scaling_factor": vae.config.scaling_factor,
        "shift_factor": vae.config.shift_factor,
        "channels": vae.config.latent_channels,
        "factor": _factor(vae.config),
        "dtype": "float16",
        "kind": "mean",
        "flipped": False,
    }
    return Encoder(vae.requires_grad_(False).to(device), device, about)


def weights_sha256(model: str, revision: str) -> str:
    """SHA-256 of a VAE's weights file; raises as ``load_encoder`` does where there is none."""
    return _sha256(_vae_folder(model, revision) / WEIGHTS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def latent_bytes(model: str, revision: str, size: Size) -> int:
    """Bytes in a pack's tar of the latent of an image of ``(width, height)`` pixels, from the VAE's
    configuration; raises as ``load_encoder`` does where there is none."""
    folder = _vae_folder(model, revision, "pack.latents", FILES[1:])
    config = json.loads((folder / FILES[1]).read_text())
    factor = _factor(config)
    return float16_bytes(config["latent_channels"], size[1] // factor, size[0] // factor)


def _factor(config: Mapping[str, Any]) -> int:
    """Pixels to a side of a latent cell."""
    return int(2 ** (len(config["block_out_channels"]) - 1))


def _vae_folder(
    model: str, revision: str, setting: str = "pack.latents", files: tuple[str, ...] = FILES
) -> Path:
    """The local folder of a VAE: the one named, or the copy that the hub client keeps."""
    top = Path(shipped(model))
    if not top.is_dir():
        top = _from_hub(model, revision, setting, files)
    for folder in (top / "vae", top):
        if all((folder / name).is_file() for name in files):
            return folder
    raise UsageError(
        f"{setting}={model!r} has no VAE: expected {' and '.join(files)} in it or in its folder vae."
    )


@cache
def _from_hub(model: str, revision: str, setting: str, files: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*files, *(f"vae/{name}" for name in files)]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UsageError(
            f"{setting}={model!r} at revision {revision!r} cannot be fetched ({error}). Give the id of a "
            "VAE or pipeline that can be reached, or the folder it was saved to."
        ) from error
