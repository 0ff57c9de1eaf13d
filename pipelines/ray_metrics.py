"""What a build on Ray tells Ray's own exporter, for Prometheus: how far each kind of work is."""

from __future__ import annotations

from ray.util.metrics import Gauge

from pipelines.intake import Progress


class Metered:
    """A ``Progress`` that also sets ``ray_mashbill_done``, ``_total`` and ``_failed_shards``, each with the
    tags ``dataset`` and ``work``."""

    def __init__(self, dataset: str, progress: Progress) -> None:
        self._dataset, self._progress = dataset, progress
        tags = ("dataset", "work")
        self._done = Gauge("mashbill_done", "Samples (portions of a source) that are done.", tags)
        self._total = Gauge("mashbill_total", "Samples (portions of a source) there are.", tags)
        self._failed = Gauge("mashbill_failed_shards", "Image shards that were set aside.", tags)

    def __call__(self, what: str, done: int, total: int, failed: int = 0) -> None:
        self._progress(what, done, total, failed)
        tags = {"dataset": self._dataset, "work": what}
        for gauge, value in ((self._done, done), (self._total, total), (self._failed, failed)):
            gauge.set(value, tags)
