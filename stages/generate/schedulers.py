"""Which scheduler a pipeline samples with."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import Any

from store.errors import UsageError


@dataclass(frozen=True)
class Scheduler:
    """A scheduler of diffusers in place of the pipeline's own.

    ``class_name`` such as ``DPMSolverMultistepScheduler``; empty: the class the pipeline has.
    ``options``: texts ``name=value`` (JSON values, or plain words) that change its configuration, such
    as ``timestep_spacing=trailing`` or ``shift=3.0``; all others stay as the model has them.
    """

    class_name: str = ""
    options: tuple[str, ...] = ()

    def check(self, own: str) -> None:
        """See that there is such a class with such options; ``own`` is the class the pipeline has.

        Raises:
            UsageError: there is not; says which there are.
        """
        kind = _kind(self.class_name or own)
        known = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
        for name in _options(self.options):
            if name not in known:
                raise UsageError(
                    f"source.scheduler.options: {kind.__name__} has no {name!r}; it has {', '.join(known)}"
                )

    def put_into(self, pipeline: Any) -> None:
        """Exchange the pipeline's scheduler, where this asks for another."""
        if self.class_name or self.options:
            kind = _kind(self.class_name or type(pipeline.scheduler).__name__)
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **_options(self.options))


def _kind(name: str) -> Any:
    import diffusers

    kind = getattr(diffusers, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.SchedulerMixin)):
        raise UsageError(
            f"source.scheduler.class_name={name}: diffusers {diffusers.__version__} has no such scheduler; "
            "it has DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler and others"
        )
    return kind


def _options(texts: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"source.scheduler.options: {text!r} is no NAME=VALUE, such as shift=3.0")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
