"""The table of requests under way. Pure: no sockets, clocks or tasks.

Its law: a request gets the session's next number when it enters, keeps that number through every
reconnect, and leaves when it is answered. A caller that stops waiting does not take its request
out: the number is used, the coordinator may have acted on it, and repeating it must stay possible.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Final

from agent_trace_protocol import AgentTraceError, InternalError, Reply
from agent_trace_protocol.limits import IN_FLIGHT_BYTES_MAX, IN_FLIGHT_REQUESTS_MAX

__all__ = ["Correlator", "InFlight"]

_NOT_YET: Final = InternalError("the answer was read before it came")


class InFlight:
    """One request under way and, in the end, its answer."""

    __slots__ = (
        "_notify",
        "_outcome",
        "asked_at",
        "asked_count",
        "body",
        "deadline",
        "number",
        "sent_at",
    )

    def __init__(
        self,
        body: bytes,
        *,
        deadline: float = math.inf,
        notify: Callable[[], None] | None = None,
    ) -> None:
        self.number = 0
        """0 until it enters the table."""
        self.body: Final = body
        """The encoded request; the same bytes are sent again after a reconnect."""
        self.deadline: Final = deadline
        """When the caller stops waiting, on the event loop's clock; infinity if never."""
        self.sent_at = 0.0
        """When it was first sent over this connection, by `CLOCK_BOOTTIME`: an answer proves that
        the session was alive then, whichever sending it answers."""
        self.asked_at = 0.0
        """When it was sent last, on the event loop's clock."""
        self.asked_count = 0
        """How often it was sent over this connection."""
        self._notify = notify
        self._outcome: Reply | AgentTraceError = _NOT_YET

    def finish(self, outcome: Reply | AgentTraceError) -> None:
        """Set the answer and tell whoever waits for it."""
        self._outcome = outcome
        if self._notify is not None:
            self._notify()

    def result(self) -> Reply:
        """Return the answer, or raise the error that took its place."""
        if isinstance(self._outcome, AgentTraceError):
            raise self._outcome
        return self._outcome


class Correlator:
    """Numbers requests, matches answers, and remembers what must be sent again."""

    def __init__(
        self,
        *,
        requests_max: int = IN_FLIGHT_REQUESTS_MAX,
        bytes_max: int = IN_FLIGHT_BYTES_MAX,
    ) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._next_number = 1
        self._bytes = 0
        # Insertion order is number order, which is the order of sending again.
        self._table: dict[int, InFlight] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[InFlight]:
        """Iterate over what is not answered, in the order in which it must be sent again."""
        return iter(self._table.values())

    @property
    def payload_bytes(self) -> int:
        """Bytes of all unanswered requests."""
        return self._bytes

    @property
    def next_number(self) -> int:
        """The number that the next request gets."""
        return self._next_number

    def continue_from(self, next_number: int) -> None:
        """Never use a number below `next_number`: the session has a past."""
        self._next_number = max(self._next_number, next_number)

    def has_room(self, body_bytes: int) -> bool:
        """Return whether a request of this size may enter now.

        One alone always may: a limit in bytes must not refuse the largest document for ever.
        """
        if not self._table:
            return True
        return len(self._table) < self._requests_max and self._bytes + body_bytes <= self._bytes_max

    def enter(self, entry: InFlight) -> None:
        """Take a request in and give it its number; the caller has looked at `has_room`."""
        entry.number = self._next_number
        self._next_number += 1
        self._bytes += len(entry.body)
        self._table[entry.number] = entry

    def __contains__(self, number: object) -> bool:
        return number in self._table

    def answer(self, number: int) -> InFlight | None:
        """Take out and return the request that `number` answers; None if it has been answered."""
        entry = self._table.pop(number, None)
        if entry is not None:
            self._bytes -= len(entry.body)
        return entry

    def fail_all(self, error: AgentTraceError) -> None:
        """Take everything out and finish it with `error`."""
        entries = list(self._table.values())
        self._table.clear()
        self._bytes = 0
        for entry in entries:
            # One exception raised in two tasks would mix their tracebacks.
            entry.finish(copy.copy(error))
