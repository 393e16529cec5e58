"""How much of what waits for the disk is one connection's.

ZeroMQ takes messages from its connections in turn, so a flood can not keep others from being heard;
but what was taken would make every batch long that others wait for. So a connection has a share,
and only who is over it is told to wait.
"""

from __future__ import annotations

from typing import Final

from agent_trace_coordinator.core.records import Entry
from agent_trace_protocol.limits import BODY_BYTES_MAX, IN_FLIGHT_REQUESTS_MAX

__all__ = ["SHARE_QUERIES_MAX", "SHARE_RECORDS_MAX", "Shares"]

SHARE_RECORDS_MAX: Final = 2 * IN_FLIGHT_REQUESTS_MAX
"""Operations of one connection that wait for the disk: twice what a client of ours ever has under
way."""

SHARE_BYTES_MAX: Final = 2 * BODY_BYTES_MAX
"""Their contents: one of the largest, and another."""

SHARE_QUERIES_MAX: Final = IN_FLIGHT_REQUESTS_MAX
"""Questions of one connection that are being looked up."""


class Shares:
    """The operations that wait for the disk, by connection."""

    def __init__(self) -> None:
        self._owners: dict[int, tuple[bytes, int]] = {}
        """By seq: the connection it came by, and its bytes."""
        self._waiting: dict[bytes, tuple[int, int]] = {}
        """By connection: how many operations, and how many bytes."""

    def is_full(self, peer: bytes) -> bool:
        """Return whether a connection has its share."""
        count, size = self._waiting.get(peer, (0, 0))
        return count >= SHARE_RECORDS_MAX or size >= SHARE_BYTES_MAX

    def add(self, peer: bytes, entry: Entry) -> None:
        """An operation that came by a connection waits for the disk from now on."""
        if not peer:
            return
        size = entry.content_bytes
        self._owners[entry.record.seq] = peer, size
        count, total = self._waiting.get(peer, (0, 0))
        self._waiting[peer] = count + 1, total + size

    def settle(self, entry: Entry) -> None:
        """An operation is durable."""
        peer, size = self._owners.pop(entry.record.seq, (b"", 0))
        if not peer:
            return
        count, total = self._waiting[peer]
        if count == 1:
            del self._waiting[peer]
        else:
            self._waiting[peer] = count - 1, total - size

    def forget(self) -> None:
        """Nothing waits any more: it was all taken back."""
        self._owners.clear()
        self._waiting.clear()
