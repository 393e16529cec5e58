"""The port through which a session speaks to one coordinator over one connection.

It is push-shaped, so that the path of a request has no task of its own: sending is done by the
caller's task, and everything that has arrived is delivered in one go by the receiving task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

__all__ = ["Connector", "Deliver", "Transport"]

Deliver: TypeAlias = Callable[[Sequence[bytes]], None]
"""Takes the frames of one message; it must not block and must not raise."""


class Transport(Protocol):
    """One connection, from its beginning to its loss. It never reconnects by itself."""

    def send_nowait(self, envelope: bytes, body: bytes) -> None:
        """Hand over one message; messages arrive in this order or not at all.

        May deliver messages that have arrived, before it returns.

        Raises:
            ConnectionLost: the connection is gone, or the other side has long stopped reading.
        """
        ...

    async def run(self, deliver: Deliver) -> None:
        """Deliver every message in order until the connection is lost.

        Cancellation leaves the transport usable only for `close`.

        Raises:
            ConnectionLost: always, in the end; the message says how it was lost.
            KeyRefused: in its place, if trying again does not help.
        """
        ...

    def close(self) -> None:
        """Let go of the connection at once; what was not yet sent is dropped. Idempotent."""
        ...


class Connector(Protocol):
    """Makes connections to one coordinator, starting it first if that is its task."""

    async def connect(self) -> Transport:
        """Return a new connection.

        Raises:
            ConnectionLost: nobody listens just now; trying again may help.
            AgentTraceError: any other of its kinds: trying again does not help.
        """
        ...
