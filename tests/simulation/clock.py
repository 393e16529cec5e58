"""Time in the simulation: the one heap of events, and the coordinator's two clocks.

Events are ordered by (time, random number, count): things that are due at one instant happen in an
order that the seed draws, and every run of a seed draws the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Final

from agent_trace_coordinator.core.inputs import Now

__all__ = ["SimulatedClock", "Timeline"]

WALL_START_MS: Final = 1_700_000_000_000


class Timeline:
    """What is going to happen, and what time it is."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._heap: list[tuple[float, float, int, Callable[[], None]]] = []
        self._count = 0
        self.now = 0.0
        """Seconds since the seed's world began."""
        self.done_count = 0
        """Events that have happened."""

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Let `action` happen `delay` seconds from now."""
        self._count += 1
        due = self.now + delay
        heapq.heappush(self._heap, (due, self._random.random(), self._count, action))

    def run(self, until: Callable[[], bool], deadline: float) -> bool:
        """Let events happen until `until` says so; False if `deadline` came first."""
        heap = self._heap
        while not until():
            if not heap or heap[0][0] > deadline:
                self.now = deadline
                return False
            self.now, _, _, action = heapq.heappop(heap)
            self.done_count += 1
            action()
        return True


class SimulatedClock:
    """The clocks of the coordinator's machine: one that only runs, one that people set."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.wall_step_ms = 0
        """How far the wall clock was put wrong."""

    def read(self) -> Now:
        """Return the time as the production clock does."""
        monotonic = self._timeline.now
        wall_ms = WALL_START_MS + int(monotonic * 1000) + self.wall_step_ms
        return Now(monotonic, max(0, wall_ms))
