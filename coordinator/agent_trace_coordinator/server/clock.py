"""The one place that reads the clocks."""

from __future__ import annotations

import time

from agent_trace_coordinator.core.inputs import Now

__all__ = ["read_clock"]


def read_clock() -> Now:
    """Return the time now: monotonic for every decision, wall time for people."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)
