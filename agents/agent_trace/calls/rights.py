"""Who may write what, and what was refused."""

from __future__ import annotations

from agent_trace_protocol import (
    DiscardViolation,
    Done,
    InvalidRequest,
    Lock,
    PermissionReport,
    Permissions,
    ShowViolation,
    Unlock,
    ViolationInfo,
    ViolationPage,
    ViolationReport,
    Violations,
)
from agent_trace_protocol.limits import (
    PAGE_ENTRIES_MAX,
    UNLOCK_SECONDS_MAX,
)

from .base import Calls

__all__ = ["Rights"]


class Rights(Calls):
    """What rights and refused writes are looked at and changed with."""

    async def permissions(self, path: str = "") -> PermissionReport:
        """Return what this session may do to documents of each type, or to one document."""
        return await self._ask(Permissions(path), PermissionReport)

    async def unlock(self, path: str, *, agent: str = "", seconds: int = 600) -> None:
        """Let agents, or the one that is named, write a protected document for a while.

        Raises:
            PermissionDenied: only a user may.
        """
        if not 1 <= seconds <= UNLOCK_SECONDS_MAX:
            raise InvalidRequest(
                f"an unlock lasts 1 to {UNLOCK_SECONDS_MAX} seconds, not {seconds}"
            )
        await self._ask(Unlock(path, agent, seconds), Done)

    async def lock(self, path: str, *, agent: str = "") -> None:
        """End the document's unlocks, or that for one agent, before their time. Users only."""
        await self._ask(Lock(path, agent), Done)

    async def violations(
        self, *, limit: int = 50, before: int | None = None
    ) -> tuple[ViolationInfo, ...]:
        """Return refused writes that wait, newest first; an agent sees its own."""
        found: list[ViolationInfo] = []
        while True:
            count = min(limit - len(found), PAGE_ENTRIES_MAX)
            lowest = found[-1].seq if found else before or 0
            page = await self._ask(Violations(lowest, count), ViolationPage)
            found += page.violations
            if not page.more or not page.violations or len(found) >= limit:
                return tuple(found)

    async def violation(self, id: str) -> ViolationReport:
        """Return one refused write with its text, and what it would change. Users only."""
        return await self._ask(ShowViolation(id), ViolationReport)

    async def discard_violation(self, id: str) -> None:
        """Throw a refused write's text away; that it was refused stays on record. Users only."""
        await self._ask(DiscardViolation(id), Done)
