"""Who runs, on what, in which environment."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.environments import (
    DAFT,
    DATA_JUICER,
    FASTDUP,
    IMAGEDEDUP,
    NEMO_CURATOR,
    Environment,
)


@dataclass(frozen=True)
class Entrant:
    """``reads``: the folder it is given, "images", "tars" or "crawl". ``environment``: None is this one.

    ``command``: what follows its Python; a folder and a path for its result are added.
    """

    task: str
    name: str
    reads: str
    environment: Environment | None
    command: tuple[str, ...]


NEAR, HASH, SIZE, BROKEN = "near-duplicates", "hash only", "size and aspect", "broken rows"
OURS = ("-m", "benchmarks.peers.ours")
ROWS, STAGES = "data_juicer_rows.py", "nemo_curator_stages.py"

ENTRANTS = (
    Entrant(NEAR, "mashbill, one process", "images", None, (*OURS, "near_duplicates")),
    Entrant(NEAR, "imagededup 0.3.3.post2, pHash", "images", IMAGEDEDUP, ("imagededup_pairs.py",)),
    Entrant(NEAR, "Data-Juicer 1.6.1, equal pHash", "images", DATA_JUICER, (ROWS, "deduplicate")),
    Entrant(NEAR, "Daft 0.7.26, pHash, joined by us", "images", DAFT, ("daft_pairs.py",)),
    Entrant(NEAR, "fastdup 2.54", "images", FASTDUP, ("fastdup_pairs.py",)),
    Entrant(HASH, "bare pool of 2", "tars", None, ("bare_pool.py",)),
    Entrant(HASH, "mashbill, planner and pool of 2", "tars", None, (*OURS, "hash_stage")),
    Entrant(HASH, "NeMo Curator 1.4.0, actor pool", "tars", NEMO_CURATOR, (STAGES, "actor_pool")),
    Entrant(HASH, "NeMo Curator 1.4.0, Ray Data", "tars", NEMO_CURATOR, (STAGES, "ray_data")),
    Entrant(SIZE, "mashbill, headers", "images", None, (*OURS, "headers")),
    Entrant(SIZE, "Data-Juicer 1.6.1, two filters", "images", DATA_JUICER, (ROWS, "filter")),
    Entrant(BROKEN, "mashbill, a whole build", "crawl", None, (*OURS, "corrupt_row")),
    Entrant(BROKEN, "Data-Juicer 1.6.1, a filter that keeps all", "crawl", DATA_JUICER, (ROWS, "keep_all")),
    Entrant(BROKEN, "Data-Juicer 1.6.1, Ray deduplicator", "crawl", DATA_JUICER, (ROWS, "captions")),
)
