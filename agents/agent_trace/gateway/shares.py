"""What the bearers of one token may ask at once, and how fast. Whoever needs a share of
their own is given a token of their own.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio

__all__ = ["Share"]

UNDER_WAY_MAX: Final = 64
"""Requests at once, besides streams: with the largest body each 256 MiB."""

STREAMS_MAX: Final = 128
"""Streams that are open at once: two for each client that there may be."""

PER_SECOND: Final = 100.0
"""Requests that may begin in a second, in the long run: more than models make, less than fills the
process."""

BURST: Final = 1000.0
"""Requests that may begin at once after a pause."""


class Share:
    """What the bearers of one token have under way."""

    def __init__(self) -> None:
        self._under_way = {False: 0, True: 0}
        """Requests, and streams."""
        self._left = BURST
        self._at = anyio.current_time()
        self._cancels: set[anyio.CancelScope] = set()

    def refusal(self, now: float, *, streaming: bool) -> str:
        """Count one more request, and return why there may be none; empty: there may."""
        self._left = min(self._left + (now - self._at) * PER_SECOND, BURST)
        self._at = now
        if self._under_way[streaming] >= (STREAMS_MAX if streaming else UNDER_WAY_MAX):
            kind = "streams" if streaming else "requests"
            return f"{self._under_way[streaming]} {kind} with this token are under way already"
        if self._left < 1:
            return f"requests with this token come faster than {PER_SECOND:.0f} a second"
        self._left -= 1
        return ""

    @contextmanager
    def taken(self, *, streaming: bool) -> Generator[anyio.CancelScope]:
        """Hold a place for the length of a block; what it yields is cancelled by `end`."""
        cancel = anyio.CancelScope()
        self._under_way[streaming] += 1
        self._cancels.add(cancel)
        try:
            yield cancel
        finally:
            self._cancels.discard(cancel)
            self._under_way[streaming] -= 1

    def end(self) -> None:
        """Break off what is under way."""
        for cancel in self._cancels:
            cancel.cancel()
