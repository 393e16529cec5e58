"""The web view's own session in the store: kept open, and opened anew when it has ended."""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from agent_trace.client import Agent, connect_with
from agent_trace.config import Settings
from agent_trace_protocol import AgentTraceError, Unavailable

__all__ = ["Link"]

_log = logging.getLogger("agent_trace.views.web.link")

PATIENCE_SECONDS: Final = 5.0
"""How long a page waits for the session; then it says why there is none."""

AGAIN_SECONDS: Final = 2.0
"""Between two attempts to open it."""


class Link:
    """Holds the session. Used within `running`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._agent: Agent | None = None
        self._changed = anyio.Event()
        self._trouble: AgentTraceError | None = None

    async def agent(self) -> Agent:
        """Return the session, after a short wait if there is none at present.

        Raises:
            AgentTraceError: there is none, and why.
        """
        with anyio.move_on_after(PATIENCE_SECONDS):
            while self._agent is None:
                await self._changed.wait()
        if self._agent is None:
            raise copy.copy(self._trouble) or Unavailable("the coordinator has not answered yet")
        return self._agent

    @property
    def connected(self) -> bool:
        """Whether there is a session at present."""
        return self._agent is not None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Hold a session for the length of a block, and end it with it."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._hold)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async def _hold(self) -> None:
        while True:
            try:
                async with connect_with(self._settings) as agent:
                    self._set(agent, None)
                    await agent.wait_ended()
            except AgentTraceError as error:
                _log.info("the session of the web view ended: %s", error)
                self._set(None, error)
            await anyio.sleep(AGAIN_SECONDS)

    def _set(self, agent: Agent | None, trouble: AgentTraceError | None) -> None:
        self._agent, self._trouble = agent, trouble
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
