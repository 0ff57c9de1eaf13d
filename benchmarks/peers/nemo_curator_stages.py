"""NeMo Curator's executors around the bare pool's work: one stage reads a tar, one hashes its images.

    python nemo_curator_stages.py actor_pool|ray_data FOLDER RESULT.json

Its own image reader asks for CUDA, so a stage that reads bytes stands in for it.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import ray
from bare_pool import hash_of  # type: ignore[import-not-found]
from nemo_curator.pipeline import Pipeline  # type: ignore[import-not-found]
from nemo_curator.stages.base import ProcessingStage  # type: ignore[import-not-found]
from nemo_curator.stages.file_partitioning import FilePartitioningStage  # type: ignore[import-not-found]
from nemo_curator.stages.resources import Resources  # type: ignore[import-not-found]
from nemo_curator.tasks import ImageBatch, ImageObject  # type: ignore[import-not-found]

EXECUTORS = {
    "actor_pool": ("nemo_curator.backends.ray_actor_pool", "RayActorPoolExecutor"),
    "ray_data": ("nemo_curator.backends.ray_data", "RayDataExecutor"),
}


class ReadTar(ProcessingStage):  # type: ignore[misc]
    name = "read_tar"
    resources = Resources(cpus=0.5)  # a whole CPU here would leave none for the hash on two

    def inputs(self) -> tuple[list[str], list[str]]:
        return [], []

    def outputs(self) -> tuple[list[str], list[str]]:
        return ["data"], []

    def process(self, task: Any) -> Any:
        images = []
        for path in task.data:
            with tarfile.open(path) as opened:
                for member in opened:
                    file = opened.extractfile(member)
                    if file is not None and member.name.endswith(".jpg"):
                        images.append(ImageObject(image_id=member.name, metadata={"bytes": file.read()}))
        return ImageBatch(dataset_name="tars", data=images)


class HashImages(ProcessingStage):  # type: ignore[misc]
    name = "hash_images"
    resources = Resources(cpus=1.0)

    def inputs(self) -> tuple[list[str], list[str]]:
        return ["data"], []

    def outputs(self) -> tuple[list[str], list[str]]:
        return ["data"], []

    def process(self, task: Any) -> Any:
        for image in task.data:
            image.metadata["hash"] = hash_of(io.BytesIO(image.metadata.pop("bytes")))
        return task


def main() -> None:
    executor, folder, result = sys.argv[1:]
    module, name = EXECUTORS[executor]
    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False)
    files = FilePartitioningStage(file_paths=folder, files_per_partition=1, file_extensions=[".tar"])
    pipeline = Pipeline(name="hashes", stages=[files, ReadTar(), HashImages()])
    done = pipeline.run(getattr(importlib.import_module(module), name)())
    count = sum("hash" in image.metadata for batch in done for image in batch.data)
    ray.shutdown()
    Path(result).write_text(json.dumps([{"note": f"{count} hashes"}]))


if __name__ == "__main__":
    main()
