"""The ways by which messages reach the runtime: the unix socket, TCP for those with a key, and the
spool for those without sockets.

The runtime knows peers by names that it does not look into. Here a name says which way its answers
take.
"""

from __future__ import annotations

import anyio

from .curve import CurveRouter, is_curve_peer
from .sockets import Router
from .spool import Spool
from .spool_directory import is_spool_peer

__all__ = ["Ways"]


class Ways:
    """All ways as one."""

    def __init__(self, router: Router, spool: Spool, curve: CurveRouter | None = None) -> None:
        self._router = router
        self._spool = spool
        self._curve = curve

    async def serve(self) -> None:
        """Hand over messages until cancelled."""
        with self._spool.taking():
            if self._curve is None:
                await self._router.serve()
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._curve.serve)
                await self._router.serve()

    def has_room(self, peer: bytes, size: int) -> bool:
        """Return whether a reply of so many bytes would not be dropped."""
        if is_spool_peer(peer):
            return True
        if self._curve is not None and is_curve_peer(peer):
            return self._curve.has_room(peer, size)
        return self._router.has_room(peer, size)

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply, or drop it if the peer is gone or does not read."""
        if is_spool_peer(peer):
            self._spool.send(peer, envelope, body)
        elif self._curve is not None and is_curve_peer(peer):
            self._curve.send(peer, envelope, body)
        else:
            self._router.send(peer, envelope, body)

    def sent(self) -> None:
        """Call after sends from outside of what hands messages over."""
        self._router.sent()
        if self._curve is not None:
            self._curve.sent()
