"""When the generated documents are written: a moment after what they tell of, never in its way.

What happens within that moment is one record. On disk they are less than half a second behind;
whoever reads them through the coordinator always gets what is true now. That sessions or leases
come and go is worth no record of its own: it is written with what comes next, or after a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import anyio

from agent_trace_coordinator.core.records import (
    Changed,
    Drafted,
    Entry,
    Steered,
    SteeringDropped,
    Violated,
)
from agent_trace_coordinator.core.trace_state import is_generated

__all__ = ["GeneratedStage"]

GATHER_SECONDS: Final = 0.25
"""How long changes are gathered. With making the record durable and writing the files, generated
files are less than half a second behind."""

QUIET_SECONDS: Final = 5.0
"""How long it waits for a change when there is nothing to tell but sessions and leases."""

REST: Final = 10.0
"""How many times as long as making the texts took it does nothing, at least: a tenth of the event
loop's time is the most that it ever gets."""

_LOUD: Final = (Changed, Drafted, Violated, Steered, SteeringDropped)


class GeneratedStage:
    """Durable records in, a call now and then out. Used by the event loop only."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        """`refresh` brings the generated documents up to date."""
        self._refresh = refresh
        self._wake = anyio.Event()
        self._loud = anyio.Event()

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations."""
        for entry in batch:
            if is_generated(entry.record):
                continue
            self._wake.set()
            if isinstance(entry.record.body, _LOUD):
                self.wake()
                return

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()
        self._loud.set()

    async def run(self) -> None:
        """Have the documents brought up to date until cancelled."""
        while True:
            await self._wake.wait()
            with anyio.move_on_after(QUIET_SECONDS):
                await self._loud.wait()
            await anyio.sleep(GATHER_SECONDS)
            self._wake, self._loud = anyio.Event(), anyio.Event()
            began = time.process_time()
            self._refresh()
            await anyio.sleep(max(0.0, REST * (time.process_time() - began) - GATHER_SECONDS))
