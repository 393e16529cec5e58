"""What is told to whoever watches the coordinator work: metrics and traces, both off by default.

An observer is called on the event loop, after the work that it is told of. It keeps numbers and
times, decides nothing and never waits; without one, watching costs an empty loop.
"""

from __future__ import annotations

from typing import Protocol

from agent_trace_coordinator.core.records import Entry
from agent_trace_protocol import ErrorCode

__all__ = ["Observer"]


class Observer(Protocol):
    """Is told how operations get on. All times are of the monotonic clock, in seconds."""

    def accepted(self, entry: Entry, asked: float) -> None:
        """The core accepted an operation that was asked for at `asked`."""
        ...

    def refused(self, code: ErrorCode) -> None:
        """Somebody was sent a refusal."""
        ...

    def durable(self, batch: list[Entry], seconds: float) -> None:
        """A batch is durable and answered; writing and syncing it took `seconds`."""
        ...

    def in_git(self, seq: int) -> None:
        """The commits of all operations up to `seq` are durable."""
        ...

    def lost(self) -> None:
        """Nothing that is accepted and not durable yet ever will be: the disk is full."""
        ...
