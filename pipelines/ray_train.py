"""Training on the machines of a Ray cluster: Ray Train starts the ranks, and starts them again.

Ray Train is a launcher here, no trainer: every rank calls the same code as under ``torchrun``, which saves
and finds its own checkpoints. So a lost machine costs the steps since the newest one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer

from pipelines.distill import Prepared
from pipelines.placement import modules_of
from pipelines.ray_cluster import carried, joined_cluster, own_cluster
from store.errors import MashbillError
from store.runs import run_in

STARTS_AGAIN = 3
"""How often Ray Train starts all ranks again after one was lost."""


@dataclass(frozen=True)
class OnRay:
    """Where a run trains: ``address`` is ``local``, ``auto`` or ``HOST:PORT``."""

    address: str
    ranks: int
    gpus: bool
    """One GPU for each rank, else one CPU."""

    def train(self, prepared: Prepared, progress: bool) -> dict[str, Any]:
        """Train on so many ranks. Returns the content of ``summary.json``.

        The run's folder must be one that every machine mounts under the same path.

        Raises:
            MashbillError: the cluster cannot be used, or the training failed.
        """
        cluster = own_cluster(self.ranks) if self.address == "local" else joined_cluster(self.address)
        recipe = prepared.run.record()["recipe"]["reference"]
        with cluster, carried(modules_of(recipe)):
            try:
                self._fit(prepared)
            except (RayError, TrainingFailedError) as error:
                raise MashbillError(f"run {prepared.run.id} failed on the cluster: {_said(error)}") from error
        summary = prepared.run.summary()
        if summary is None:
            raise MashbillError(
                f"run {prepared.run.id} ended on the cluster without a word in {prepared.run.folder}: that "
                "folder is not one that all machines mount. Give --store such a folder."
            )
        return summary

    def _fit(self, prepared: Prepared) -> None:
        """Start the ranks, and again where one was lost. What a rank has to say to people is said once."""
        starts = 1
        while True:
            try:
                self._start(prepared)
                return
            except WorkerGroupError as error:
                failures = list(error.worker_failures.values())
                if said := next((f for f in failures if isinstance(f, MashbillError)), None):
                    raise said from error
                if starts > STARTS_AGAIN or not all(map(_is_loss, failures)):
                    raise
                starts += 1

    def _start(self, prepared: Prepared) -> None:
        packs = [pack.path for pack in prepared.packs]
        TorchTrainer(
            _train_rank,
            train_loop_config={
                "recipe": prepared.recipe,
                "packs": packs,
                "folder": prepared.run.folder,
                "owner": prepared.run.owner,
                "on_cpu": not self.gpus,
            },
            scaling_config=ScalingConfig(num_workers=self.ranks, use_gpu=self.gpus),
            run_config=RunConfig(
                name="ray-train",
                storage_path=prepared.run.folder,
                failure_config=FailureConfig(max_failures=0),  # Ray would try mistakes again too
            ),
        ).fit()


def _is_loss(failure: Exception) -> bool:
    """Whether a rank died, or lost one that did: then gloo and NCCL say RuntimeError, sockets OSError, often
    before Ray knows of the death. Ray's own class for a dead rank is not public."""
    return isinstance(failure, RuntimeError | OSError) or type(failure).__module__.startswith("ray.")


def _train_rank(config: dict[str, Any]) -> None:
    """What every rank does; Ray Train has joined them and set the usual variables."""
    if config["on_cpu"]:  # Ray shows every GPU of a node to who asked for none
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from distill_runs.run import train

    train(config["recipe"], config["packs"], run_in(config["folder"], config["owner"]), progress=False)


def _said(error: BaseException) -> str:
    """The first cause in the chain, which is what a rank said."""
    if isinstance(error, WorkerGroupError):
        error = next(iter(error.worker_failures.values()))
    while (cause := error.__cause__ or getattr(error, "cause", None)) is not None:
        error = cause
    return " ".join(str(error).split())
