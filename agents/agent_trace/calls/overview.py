"""How the coordinator, the store and the sessions are."""

from __future__ import annotations

from agent_trace_protocol import (
    Done,
    EvictSession,
    SessionInfo,
    SessionList,
    Sessions,
    Status,
    StatusReport,
)
from agent_trace_protocol.limits import (
    PAGE_ENTRIES_MAX,
)

from .base import Calls

__all__ = ["Overview"]


class Overview(Calls):
    """What the store is looked after with."""

    async def status(self) -> StatusReport:
        """Return how the coordinator and the store are."""
        return await self._ask(Status(), StatusReport)

    async def sessions(
        self,
        *,
        id: str = "",
        name: str = "",
        ended: bool = False,
        limit: int = PAGE_ENTRIES_MAX,
    ) -> tuple[SessionInfo, ...]:
        """Return sessions: the open ones, those seen last first, then ended ones, newest first.

        Args:
            id: only sessions whose id begins with this.
            name: only this agent's or user's.
            ended: also those that have ended.
            limit: at most so many, up to 1000.
        """
        return (await self._ask(Sessions(id, name, ended, limit), SessionList)).sessions

    async def evict(self, session: str, *, reason: str = "") -> None:
        """End another session: its leases are free, and its process can change nothing. Users only.

        Raises:
            NotFound: there is no open session with this id.
        """
        await self._ask(EvictSession(session, reason), Done)
