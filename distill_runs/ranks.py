"""The processes of one run: read from the environment, joined over gloo or NCCL.

``torchrun``, Ray Train and a plain process start the same code; they differ in ``RANK``, ``WORLD_SIZE``,
``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others: a first checkpoint of a large model takes minutes."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes files, draws pictures and speaks."""
        return self.rank == 0

    def all_true(self, flag: bool) -> bool:
        """Whether the flag holds on every rank; every rank gets the same answer."""
        if self.world_size == 1:
            return flag
        held = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(held, distributed.ReduceOp.MIN)
        return bool(held.item())

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks, elementwise; the same on every rank."""
        if self.world_size > 1:
            values = values.to(self.device)
            distributed.all_reduce(values, distributed.ReduceOp.SUM)
            values = values / self.world_size
        return values

    def gathered(self, value: Any) -> list[Any]:
        """The value of every rank, in order; any picklable thing."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        distributed.all_gather_object(found, value)
        return found

    def of_first(self, value: Any) -> Any:
        """The value that rank 0 has."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process joined with the others of its run, if there are others."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    begun = world_size > 1 and not distributed.is_initialized()  # Ray Train has joined them already
    if begun:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, rank=rank, world_size=world_size, timeout=PATIENCE)
    try:
        yield Ranks(rank, world_size, device)
    finally:
        if begun:
            distributed.destroy_process_group()
