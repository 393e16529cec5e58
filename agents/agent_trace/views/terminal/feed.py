"""What keeps the picture true: a session that follows the store, however often it is lost.

The library's session outlives lost connections by itself. When it gives up, because the coordinator
did not come back or a user has ended the session, a new one goes on from the operation that was
seen last. Nothing here starts a coordinator that somebody has stopped while the view was open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import anyio

from agent_trace.calls.following import POLL_SECONDS
from agent_trace.client import Agent, connect_with
from agent_trace.config import Settings
from agent_trace.views.model import RECENT_MAX
from agent_trace_protocol import AgentTraceError, NotFound

from .picture import Link, Picture

__all__ = ["Feed"]

REFRESH_SECONDS: Final = 2.0
"""How often heartbeats and times left are asked for: they make no events."""

GATHER_SECONDS: Final = 0.1
"""What happens within this is asked for at once, so that a busy store is not asked for each."""

RETRY_SECONDS: Final = 1.0
"""Between attempts to find a coordinator that has left."""

LOOKED_UP_MAX: Final = 100
"""Changed documents of one page of events that are asked for one by one; more are listed anew."""

EVENTS_PAGE: Final = 500
WAITING_MAX: Final = 200
"""Refused writes, and drafts, that are shown."""


class Feed:
    """Keeps a picture true for as long as `run` runs; `changed` is called after each change."""

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self.picture = Picture()
        self.agent: Agent | None = None
        """The session that is open; None while there is none."""
        self._settings = settings
        self._changed = changed
        self._hurry = anyio.Event()
        self._counted: tuple[int, int] = (-1, -1)
        self._undecided_changed = True
        self._failure: AgentTraceError | None = None

    def refresh(self) -> None:
        """Ask for everything that makes no events now, not in a moment."""
        self._undecided_changed = True
        self._hurry.set()

    def check_link(self) -> None:
        """Take into the picture whether the session is connected just now."""
        if self.agent is None:
            return
        connected = self.agent.connected
        self.picture.link = Link.CONNECTED if connected else Link.LOST
        self.picture.trouble = "" if connected else "it does not answer; trying again"

    async def run(self) -> None:
        """Follow the store until cancelled.

        Raises:
            AgentTraceError: no session could be opened at all.
        """
        settings, met = self._settings, False
        while True:
            try:
                async with connect_with(settings) as agent:
                    met = True
                    self.agent = agent
                    await self._stay(agent)
            except AgentTraceError as error:
                if not met:
                    raise
                self.picture.trouble = error.message
            finally:
                self.agent = None
            self.picture.link = Link.LOST
            self._changed()
            settings = replace(settings, autostart=False)
            await anyio.sleep(RETRY_SECONDS)

    async def _stay(self, agent: Agent) -> None:
        self._failure = None
        await self._load(agent)
        async with anyio.create_task_group() as group:
            for work in (self._follow, self._refresh_always, self._watch_end):
                group.start_soon(self._until_failure, work, agent, group.cancel_scope)
        if self._failure is not None:
            raise self._failure

    async def _until_failure(
        self, work: Callable[[Agent], Awaitable[None]], agent: Agent, scope: anyio.CancelScope
    ) -> None:
        """Work until the session ends, and let all others end with it."""
        try:
            await work(agent)
        except AgentTraceError as error:
            self._failure = self._failure or error
            scope.cancel()

    async def _load(self, agent: Agent) -> None:
        picture = self.picture
        if agent.seq < picture.seq:
            # Another store is there in its place, such as a backup that was restored.
            self.picture = picture = Picture()
        # What comes while the lists are made is told again by the events, and changes nothing.
        cursor = picture.seq or agent.seq
        picture.list_documents(await agent.list())
        if not picture.recent:
            picture.recent = await agent.log(limit=RECENT_MAX)
        picture.seq = cursor
        self.check_link()
        self._counted = (-1, -1)
        await self._refresh(agent)
        self._changed()

    async def _follow(self, agent: Agent) -> None:
        while True:
            page = await agent.event_page(
                self.picture.seq, limit=EVENTS_PAGE, wait_seconds=POLL_SECONDS
            )
            paths, decided = self.picture.take_events(page.events, page.cursor)
            await self._look_up(agent, paths)
            if page.events:
                self._undecided_changed = self._undecided_changed or decided
                self._hurry.set()
                self._changed()
                await anyio.sleep(GATHER_SECONDS)

    async def _look_up(self, agent: Agent, paths: set[str]) -> None:
        if len(paths) > LOOKED_UP_MAX:
            self.picture.list_documents(await agent.list())
            return
        for path in sorted(paths):
            try:
                report = await agent.info(path)
            except NotFound:
                self.picture.drop_document(path)
                continue
            if report.deleted:
                self.picture.drop_document(path)
            else:
                self.picture.set_document(report.document)

    async def _refresh_always(self, agent: Agent) -> None:
        while True:
            self._hurry = anyio.Event()
            await self._refresh(agent)
            self._changed()
            with anyio.move_on_after(REFRESH_SECONDS):
                await self._hurry.wait()
            await anyio.sleep(GATHER_SECONDS)

    async def _refresh(self, agent: Agent) -> None:
        picture = self.picture
        picture.status = status = await agent.status()
        picture.sessions = await agent.sessions()
        held = await agent.leases()
        picture.leases, picture.waiters = held.leases, held.waiters
        counted = (status.violations, status.drafts)
        if self._undecided_changed or counted != self._counted:
            self._undecided_changed, self._counted = False, counted
            picture.violations = await agent.violations(limit=WAITING_MAX)
            picture.drafts = await agent.drafts(limit=WAITING_MAX)

    async def _watch_end(self, agent: Agent) -> None:
        await agent.wait_ended()
