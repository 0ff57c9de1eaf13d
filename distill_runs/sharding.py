"""Networks that are split over the ranks (FSDP2), and their tensors made whole again.

Each role is split on its own: a student, a proxy and heads are trained at different times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

BLOCKS = ("transformer_blocks", "down_blocks", "mid_block", "up_blocks")
"""Where the denoisers of diffusers keep the parts that are gathered one after the other."""


def shard(net: nn.Module) -> nn.Module:
    """Split the parameters of a network over all ranks in place: a denoiser block by block, others whole.

    Buffers (SD3's position table of 226 million values) stay whole on every rank.
    """
    parts: list[nn.Module] = []
    for name in BLOCKS:
        held = getattr(net, name, None)
        if held is not None:
            parts += list(held) if isinstance(held, nn.ModuleList) else [held]
    for part in parts:
        fully_shard(part, reshard_after_forward=True)
    fully_shard(net, reshard_after_forward=True)  # else the root stays whole after a pass without a gradient
    return net


def whole(tensor: Tensor) -> Tensor:
    """The tensor with all its parts; every rank calls this, and gets it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def split_as(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor split as another is; the same tensor where that one is whole."""
    if not isinstance(like, DTensor):
        return tensor
    whole_one = tensor.to(like.device, like.dtype)
    return distribute_tensor(whole_one, like.device_mesh, like.placements)


def wholes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor made whole; where it was split, on the CPU of rank 0, and nothing on the others: eight
    copies of the states of a large model would not fit one machine."""
    first = not distributed.is_initialized() or distributed.get_rank() == 0
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        complete = whole(tensor)
        if first or complete is tensor:
            found[name] = complete.cpu() if complete is not tensor else tensor
    return found


def is_sharded(net: nn.Module) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in net.parameters())


def rebuilt(net: Any, weights: dict[str, Tensor]) -> nn.Module:
    """A whole network of the class and configuration of ``net``, one of diffusers that is split, with its
    buffers and these parameters, which are not copied. No other rank takes part."""
    kind = next(c for c in type(net).__mro__ if not issubclass(c, FSDPModule))
    with torch.device("meta"):
        made: nn.Module = kind.from_config(net.config)  # type: ignore[attr-defined]
    buffers = dict(net.named_buffers())
    for name, buffer in buffers.items():
        owner, _, leaf = name.rpartition(".")
        setattr(made.get_submodule(owner), leaf, buffer)
    lacks = made.load_state_dict(weights, strict=False, assign=True).missing_keys
    assert set(lacks) <= buffers.keys()
    return made
