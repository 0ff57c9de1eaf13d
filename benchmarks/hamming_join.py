"""All pairs of near hashes: seconds, memory and recall by the number of hashes, and beside other tools.

    python -m benchmarks.hamming_join [--sizes 1e6 1e7] [--radii 6 8] [--peers PYTHON]

Hashes are random, 1 % of them copies of others at every distance from 1 to the radius in turn. Recall
is over all copies; precision and completeness are held against comparing 400 hashes with all. Each line is a
process of its own: seconds of the first join in it (compiled code is read from the cache), then of a
second one. Peak memory is of the whole process, the hashes included. ``--peers``: the Python of an
environment with numpy and faiss-cpu, imagededup or both (``benchmarks/hamming_peers.py``).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from stages.dedup.hamming import hamming_join
from stages.dedup.hash_pairs import HashPairs

CHECKED = 200
"""Random hashes, and as many copies, that are compared with all."""
COPIES = 100
"""One of so many hashes is a copy."""
PEER_SIZES = {"faiss-flat": (10_000, 100_000), "faiss-multihash": (10_000, 100_000, 1_000_000)} | {
    "imagededup-bktree": (2_000,),
    "imagededup-brute": (2_000, 10_000),
}


def planted(count: int, radius: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [count] hashes, the last of them copies; int64 [copies] numbers of their originals."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    copies = count // COPIES
    originals = np.arange(copies)
    for start in range(0, copies, 1 << 16):
        rows = originals[start : start + (1 << 16)]
        order = np.argsort(rng.random((len(rows), 64), dtype=np.float32), axis=1)[:, :radius]
        flips = (np.uint64(1) << order.astype(np.uint64)) * (np.arange(radius) < (rows % radius + 1)[:, None])
        hashes[count - copies + rows] = hashes[rows] ^ np.bitwise_or.reduce(flips, axis=1)
    return hashes, originals


def recall(hashes: np.ndarray, originals: np.ndarray, pairs: HashPairs) -> float:
    """Share of the copies that are paired with their original."""
    copies = hashes[len(hashes) - len(originals) :]
    sides = np.sort(np.stack([hashes[originals], copies]), axis=0)
    wanted = sides.T.copy().view("u8,u8").ravel()
    found = np.stack([pairs.left, pairs.right], axis=1).view("u8,u8").ravel()
    return float(np.isin(wanted, found).mean())


def agreement(hashes: np.ndarray, pairs: HashPairs, radius: int) -> tuple[int, int]:
    """Of the pairs of some hashes, found by comparing them with all: how many there are, how many differ."""
    rng = np.random.default_rng(1)
    some = np.sort(hashes[rng.choice(len(hashes), CHECKED, replace=False)])
    some = np.concatenate([some, hashes[-CHECKED:]])
    wanted = set()
    for value in some.tolist():
        for start in range(0, len(hashes), 1 << 20):
            part = hashes[start : start + (1 << 20)]
            near = part[np.bitwise_count(part ^ np.uint64(value)) <= radius]
            wanted |= {(min(value, other), max(value, other)) for other in near.tolist() if other != value}
    touched = np.isin(pairs.left, some) | np.isin(pairs.right, some)
    found = set(zip(pairs.left[touched].tolist(), pairs.right[touched].tolist(), strict=True))
    return len(wanted), len(wanted ^ found)


def measure(count: int, radius: int) -> dict[str, Any]:
    """What one size and radius cost in this process."""
    hashes, originals = planted(count, radius)
    line: dict[str, Any] = {"hashes": count, "radius": radius, "load": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("first", "second"):
            began, cpu = time.perf_counter(), time.process_time()
            pairs = hamming_join(hashes, None, radius, scratch)
            line[f"{name}_s"] = round(time.perf_counter() - began, 2)
            line[f"{name}_cpu_s"] = round(time.process_time() - cpu, 2)
            line.setdefault("peak_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
            if line["first_s"] > 300:
                break
        line["pairs"] = len(pairs.left)
        line["recall"] = recall(hashes, originals, pairs)
        line["all_within"] = bool((np.bitwise_count(pairs.left ^ pairs.right) <= radius).all())
        line["checked_pairs"], line["wrong_or_missed"] = agreement(hashes, pairs, radius)
    return line


def in_process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, *arguments], stdout=subprocess.PIPE, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def exponents(lines: list[dict[str, Any]]) -> None:
    """Growth of the seconds from the smallest to the largest size, for each radius."""
    for radius in sorted({line["radius"] for line in lines}):
        ends = sorted((line for line in lines if line["radius"] == radius), key=lambda line: line["hashes"])
        few, many = ends[0], ends[-1]
        for name in ("first_s", "first_cpu_s", "second_s", "second_cpu_s"):
            if few["hashes"] < many["hashes"] and name in many:
                ratio = math.log(many[name] / few[name]) / math.log(many["hashes"] / few["hashes"])
                print(f"radius {radius}, {few['hashes']:.0e} to {many['hashes']:.0e}: {name} ** {ratio:.3f}")


def beside_peers(python: str, radius: int) -> None:
    script = Path(__file__).with_name("hamming_peers.py")
    with tempfile.TemporaryDirectory() as scratch:
        for peer, sizes in PEER_SIZES.items():
            for size in sizes:
                hashes, originals = planted(size, radius)
                np.savez(f"{scratch}/hashes.npz", hashes=hashes, originals=originals)
                command = [python, str(script), peer, f"{scratch}/hashes.npz", str(radius)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
                print(f"{peer} {size} radius {radius}: {done.stdout.strip() or 'failed'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--radii", type=int, nargs="+", default=[6, 8])
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(int(given.sizes[0]), given.radii[0])))
        return
    lines = []
    for radius in given.radii:
        for size in given.sizes:
            lines.append(in_process("--one", "--sizes", str(size), "--radii", str(radius)))
            print(json.dumps(lines[-1]), flush=True)
        if given.peers:
            beside_peers(given.peers, radius)
    exponents(lines)


if __name__ == "__main__":
    main()
