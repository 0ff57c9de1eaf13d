"""Features of named modules, for losses on what a network does inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffusers.models.attention import JointTransformerBlock
from torch import Tensor, nn

from store.errors import UsageError


class Taps:
    """The newest output of each tapped module, by its dotted name.

    A dictionary begun anew by every forward pass of the whole network: gradient checkpointing runs modules
    again in the backward pass, where a list would grow and an old feature could pass for a new one. Read
    with ``drain`` before ``backward``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._found: dict[str, Tensor] = {}

    def drain(self) -> dict[str, Tensor]:
        """Every feature of the newest forward pass, once.

        Raises ``RuntimeError`` where a tapped module did not run in it.
        """
        silent = [name for name in self.names if name not in self._found]
        if silent:
            raise RuntimeError(f"these tapped modules did not run: {', '.join(silent)}")
        found, self._found = self._found, {}
        return {name: found[name] for name in self.names}

    def _begin(self, _net: nn.Module, _inputs: Any) -> None:
        self._found = {}

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
            # A whole block of SD3 gives (text, image); all other modules give the image first or alone.
            image = -1 if isinstance(module, JointTransformerBlock) else 0
            self._found[name] = output if isinstance(output, Tensor) else output[image]

        return keep


@contextmanager
def tapped(net: nn.Module, names: Sequence[str]) -> Iterator[Taps]:
    """Tap the modules of these dotted names (as in ``net.get_submodule``) while the block lasts.

    Raises ``UsageError`` for a name that the network does not have.
    """
    modules = dict(net.named_modules())
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise UsageError(
            f"{type(net).__name__} has no module {unknown[0]!r} to take features of; its blocks are: "
            f"{', '.join(sorted({name.rpartition('.')[0] or name for name in modules})[1:12])}, ..."
        )
    taps = Taps(names)
    handles = [net.register_forward_pre_hook(taps._begin)]
    handles += [modules[name].register_forward_hook(taps._hook(name)) for name in names]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()
