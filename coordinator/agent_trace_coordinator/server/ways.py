"""The ways by which messages reach the runtime: the socket, and the spool for those without one.

The runtime knows peers by names that it does not look into. Here a name says which way its answers
take.
"""

from __future__ import annotations

from .sockets import Router
from .spool import Spool
from .spool_directory import is_spool_peer

__all__ = ["Ways"]


class Ways:
    """All ways as one."""

    def __init__(self, router: Router, spool: Spool) -> None:
        self._router = router
        self._spool = spool

    async def serve(self) -> None:
        """Hand over messages until cancelled."""
        with self._spool.taking():
            await self._router.serve()

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply, or drop it if the peer is gone or does not read."""
        way = self._spool if is_spool_peer(peer) else self._router
        way.send(peer, envelope, body)

    def sent(self) -> None:
        """Call after sends from outside of what hands messages over."""
        self._router.sent()
