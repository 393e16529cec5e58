"""The watcher on simulated time: it looks at all files now and then, reads, and hands over later.

Between the reading and the handing over anything may happen, as in the product, where the reading
is done by another thread.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from agent_trace_coordinator.storage.base import CapturedFile

from .disk import SimulatedTree
from .stages import Process

if TYPE_CHECKING:
    from .coordinator import _Runtime  # pyright: ignore[reportPrivateUsage]

__all__ = ["SimulatedWatcher"]

LOOK_SECONDS: Final = 0.7


class SimulatedWatcher:
    """Finds files that were changed past the coordinator."""

    def __init__(
        self, runtime: _Runtime, tree: SimulatedTree, process: Process, random: Random
    ) -> None:
        self._runtime = runtime
        self._tree = tree
        self._process = process
        self._random = random

    def start(self) -> None:
        """Look, and look again."""
        self._process.soon(self._random.expovariate(1 / LOOK_SECONDS), self._look)

    def _look(self) -> None:
        shown = self._runtime.files_seq
        found = self._tree.capture(self._runtime.paths, shown)
        if found:
            self._process.soon(0.2 * self._random.random(), partial(self._hand_over, found))
        self.start()

    def _hand_over(self, found: list[CapturedFile]) -> None:
        outcome = self._runtime.adoption.changed(found)
        for each in found:
            if each.path in outcome.current:
                self._tree.accept(each.path, each.signature)
