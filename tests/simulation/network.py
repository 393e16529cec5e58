"""The network between clients and coordinator: a connection of each client at a time.

Within a connection messages keep their order, as on a socket; they may be late, lost, or arrive a
second time much later, as what an abandoned connection still held does. Between connections there
is no order at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Protocol

from .clock import Timeline

__all__ = ["Endpoint", "Network", "NetworkFaults"]

LATE_SECONDS_MEAN = 3.0
"""How late the second copy of a message comes."""


class Endpoint(Protocol):
    """A client's end of a connection."""

    def receive(self, peer: bytes, frames: tuple[bytes, bytes]) -> None:
        """Take a reply that arrived on connection `peer`."""
        ...


class NetworkFaults(Protocol):
    """How bad the network is."""

    loss: float
    """Share of messages that are lost."""
    duplication: float
    """Share of messages that come twice."""
    delay_seconds: float
    """Mean time on the way."""


class Network:
    """Carries messages, or does not."""

    def __init__(self, timeline: Timeline, faults: NetworkFaults, random: Random) -> None:
        self._timeline = timeline
        self._faults = faults
        self._random = random
        self._ends: dict[bytes, Endpoint] = {}
        self._arrivals: dict[tuple[bytes, bool], float] = {}
        self._connection_count = 0
        self.cut_off: set[Endpoint] = set()
        """Clients that are partitioned from the coordinator."""
        self.life: Callable[[], int] = lambda: 0
        """Which process listens; second copies do not outlive the process they were sent to."""
        self.to_coordinator: Callable[[bytes, list[bytes]], None] = lambda peer, frames: None

    def connect(self, end: Endpoint) -> bytes:
        """Return the identity of a new connection of a client."""
        self._connection_count += 1
        peer = b"connection-%d" % self._connection_count
        self._ends[peer] = end
        return peer

    def disconnect(self, peer: bytes) -> None:
        """Close a connection: replies on it are lost, what was sent on it may still arrive."""
        self._ends.pop(peer, None)
        self._arrivals.pop((peer, True), None)
        self._arrivals.pop((peer, False), None)

    def ask(self, peer: bytes, frames: list[bytes]) -> None:
        """Send a request from a client."""
        end = self._ends[peer]
        arrive = partial(self._arrive_at_coordinator, end, peer, frames)
        self._carry(peer, True, arrive)
        if self._random.random() < self._faults.duplication:
            copy = partial(self._arrive_late, self.life(), end, peer, frames)
            self._timeline.after(self._random.expovariate(1 / LATE_SECONDS_MEAN), copy)

    def answer(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply from the coordinator."""
        arrive = partial(self._arrive_at_client, peer, (envelope, body))
        self._carry(peer, False, arrive)
        if self._random.random() < self._faults.duplication:
            self._timeline.after(self._random.expovariate(1 / LATE_SECONDS_MEAN), arrive)

    def _carry(self, peer: bytes, up: bool, arrive: Callable[[], None]) -> None:
        if self._random.random() < self._faults.loss:
            return
        now = self._timeline.now
        due = now + self._random.expovariate(1 / self._faults.delay_seconds)
        # One connection never reorders; a small step keeps the order of the heap.
        due = max(due, self._arrivals.get((peer, up), 0.0) + 1e-6)
        self._arrivals[peer, up] = due
        self._timeline.after(due - now, arrive)

    def _arrive_late(self, life: int, end: Endpoint, peer: bytes, frames: list[bytes]) -> None:
        if life == self.life():
            self._arrive_at_coordinator(end, peer, frames)

    def _arrive_at_coordinator(self, end: Endpoint, peer: bytes, frames: list[bytes]) -> None:
        if end not in self.cut_off:
            self.to_coordinator(peer, frames)

    def _arrive_at_client(self, peer: bytes, frames: tuple[bytes, bytes]) -> None:
        end = self._ends.get(peer)
        if end is not None and end not in self.cut_off:
            end.receive(peer, frames)
