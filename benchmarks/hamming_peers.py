"""Other searches for near hashes; started by ``benchmarks.hamming_join`` in the peer's own environment.

    python hamming_peers.py faiss-flat|faiss-multihash|imagededup-bktree|imagededup-brute HASHES.npz RADIUS

Prints seconds, CPU-seconds and recall of the planted copies. Needs numpy and the peer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np


def faiss_flat(hashes: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    import faiss  # type: ignore[import-not-found]

    rows = hashes.view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryFlat(64)
    index.add(rows)
    starts, _, found = index.range_search(rows, radius + 1)
    return np.repeat(np.arange(len(rows)), np.diff(starts.astype(np.int64))), found


def faiss_multihash(hashes: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Three blocks of 21 bits: exact where one block of any near pair differs in ``nflip`` bits at most."""
    import faiss

    rows = hashes.view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryMultiHash(64, 3, 21)
    index.nflip = radius // 3
    index.add(rows)
    starts, _, found = index.range_search(rows, radius + 1)
    return np.repeat(np.arange(len(rows)), np.diff(starts.astype(np.int64))), found


def imagededup(hashes: np.ndarray, radius: int, method: str) -> tuple[np.ndarray, np.ndarray]:
    from imagededup.handlers.search.retrieval import HashEval  # type: ignore[import-not-found]
    from imagededup.methods import PHash  # type: ignore[import-not-found]

    names = {str(number): f"{value:016x}" for number, value in enumerate(hashes.tolist())}
    search = HashEval(
        test=names,
        queries=names,
        distance_function=PHash.hamming_distance,
        verbose=False,
        threshold=radius,
        search_method=method,
    )
    near = search.retrieve_results(scores=False)
    pairs = [(int(name), int(other)) for name, others in near.items() for other in others]
    one, two = np.array(pairs, np.int64).reshape(-1, 2).T
    return one, two


PEERS: dict[str, Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]] = {
    "faiss-flat": faiss_flat,
    "faiss-multihash": faiss_multihash,
    "imagededup-bktree": lambda hashes, radius: imagededup(hashes, radius, "bktree"),
    "imagededup-brute": lambda hashes, radius: imagededup(hashes, radius, "brute_force_cython"),
}


def main() -> None:
    peer, file, radius = sys.argv[1:]
    given = np.load(file)
    hashes, originals = given["hashes"], given["originals"]
    began, cpu = time.perf_counter(), time.process_time()
    try:
        one, two = PEERS[peer](hashes, int(radius))
    except ModuleNotFoundError as missing:
        print(f"not measured: {missing.name} is not installed in the environment of {sys.executable}")
        return
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    wanted = originals * len(hashes) + len(hashes) - len(originals) + np.arange(len(originals))
    recall = np.isin(wanted, one * len(hashes) + two).mean()
    print(f"{seconds:.2f} s, {cpu_s:.2f} CPU-s, recall {recall:.3f}")


if __name__ == "__main__":
    main()
