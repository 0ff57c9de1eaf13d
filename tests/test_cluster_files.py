"""The files that start clusters are what Ray, KubeRay and our own command line take."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from pipelines.cli import _parser

ROOT = Path(__file__).resolve().parent.parent
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


def test_the_launcher_takes_our_cluster() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    config = read("ray_cluster.yaml")
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(config)] == []
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types["head"]["resources"] == {"CPU": 0}
    for name in ("cpu_spot", "gpu_spot"):
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert types[name]["min_workers"] == 0 < types[name]["max_workers"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert sum(t.get("max_workers", 0) for t in types.values()) <= config["max_workers"]
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        assert "/.venv/bin" in command


def pods(cluster: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    groups = [("head", cluster["headGroupSpec"])]
    groups += [(group["groupName"], group) for group in cluster["workerGroupSpecs"]]
    return [(name, group["template"]["spec"]) for name, group in groups]


@pytest.mark.parametrize("name", ["ray_cluster", "ray_job"])
def test_kuberay_manifests(name: str) -> None:
    manifest = read(f"docs/kuberay/{name}.yaml")
    assert manifest["apiVersion"] == "ray.io/v1"
    cluster = manifest["spec"] if name == "ray_cluster" else manifest["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == PINNED["ray"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for _, pod in pods(cluster):
        mounts = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
        assert mounts["shared-memory"]["medium"] == "Memory"
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(mounts)


def test_both_manifests_describe_one_cluster() -> None:
    assert (
        read("docs/kuberay/ray_job.yaml")["spec"]["rayClusterSpec"]
        == read("docs/kuberay/ray_cluster.yaml")["spec"]
    )


def test_every_command_of_the_files_is_one_of_ours() -> None:
    """``mashbill build`` lines of the manifests and their comments parse as the command line does."""
    lines = [read("docs/kuberay/ray_job.yaml")["spec"]["entrypoint"]]
    for name in ("ray_cluster.yaml", "docs/kuberay/ray_cluster.yaml"):
        text = (ROOT / name).read_text()
        lines += re.findall(r"^#\s+(mashbill build .*?)(?: \.\.\.)?$", text, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        options = _parser().parse_args(shlex.split(line)[1:])
        assert options.recipe == "l-pp"
        assert options.store.startswith("s3://")
