"""The stream that tells pages when to look again, as server-sent events.

One follower for all pages. A page that is told reads itself anew, so nothing depends on what it was
told or missed; several changes become one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Final

import anyio
import msgspec

from agent_trace.calls.following import POLL_SECONDS
from agent_trace_protocol import AgentTraceError, SessionState

from .link import AGAIN_SECONDS, Link

__all__ = ["Feed"]

_log = logging.getLogger("agent_trace.views.web.feed")

LISTENERS_MAX: Final = 64
"""Pages that are told at once."""

LOOK_SECONDS: Final = 3.0
"""Between two looks at what is no event: sessions that fall silent, trouble of the coordinator."""

BEAT_SECONDS: Final = 15.0
"""Between two signs of life on a stream, by which a page and proxies know that it stands."""


class Feed:
    """What pages are told."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._version = 0
        self._seq = 0
        self._changed = anyio.Event()
        self._looked: object = None
        self._listeners = 0
        self._leaving = False

    async def run(self) -> None:
        """Follow the store until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            group.start_soon(self._look)

    def leave(self) -> None:
        """End all streams."""
        self._leaving = True
        self._tell()

    def _tell(self) -> None:
        self._version += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _follow(self) -> None:
        cursor: int | None = None
        while True:
            try:
                agent = await self._link.agent()
                if cursor is None:
                    await agent.ping()
                    cursor = agent.seq
                page = await agent.event_page(cursor, wait_seconds=POLL_SECONDS)
            except AgentTraceError as error:
                _log.info("waiting for the session of the web view: %s", error)
                self._tell()
                await anyio.sleep(AGAIN_SECONDS)
                continue
            cursor = self._seq = page.cursor
            if page.events:
                self._tell()

    async def _look(self) -> None:
        while True:
            await anyio.sleep(LOOK_SECONDS)
            if not self._listeners or not self._link.connected:
                continue
            try:
                agent = await self._link.agent()
                status, sessions = await agent.status(), await agent.sessions()
            except AgentTraceError:
                # The follower meets the same, and tells of it.
                continue
            silent = [each.id for each in sessions if each.state is SessionState.STALE]
            seen = (silent, len(sessions), status.trouble, status.read_only, status.epoch)
            if seen != self._looked and self._looked is not None:
                self._tell()
            self._looked = seen

    @property
    def has_room(self) -> bool:
        """Whether one more page can be told."""
        return self._listeners < LISTENERS_MAX and not self._leaving

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield one page's events, until it goes or the service ends."""
        self._listeners += 1
        try:
            told = -1
            while not self._leaving:
                if told != self._version:
                    told = self._version
                    yield self._event()
                with anyio.move_on_after(BEAT_SECONDS) as beat:
                    while told == self._version and not self._leaving:
                        await self._changed.wait()
                if beat.cancelled_caught:
                    yield b": still here\n\n"
        finally:
            self._listeners -= 1

    def _event(self) -> bytes:
        state = {"version": self._version, "seq": self._seq, "connected": self._link.connected}
        return b"event: state\ndata: " + msgspec.json.encode(state) + b"\n\n"
