"""Drafts: writes that did not fit, and what becomes of them."""

from __future__ import annotations

from agent_trace_protocol import (
    DiscardDraft,
    Done,
    DraftInfo,
    DraftPage,
    DraftReport,
    Drafts,
    ShowDraft,
)

from .base import Calls

__all__ = ["Drafting"]

PAGE_DRAFTS_MAX = 100
"""Entries of one page of drafts."""


class Drafting(Calls):
    """What drafts are looked at and thrown away with; `accept` writes one."""

    async def drafts(
        self, *, limit: int = 50, before: int | None = None, author: str = "", path: str = ""
    ) -> tuple[DraftInfo, ...]:
        """Return writes that did not fit and wait, newest first; an agent sees its own.

        Args:
            before: only those with a smaller seq.
            author: only this agent's or user's.
            path: only those with a text of the document at this path, or that was there.
        """
        found: list[DraftInfo] = []
        while True:
            count = max(1, min(limit - len(found), PAGE_DRAFTS_MAX))
            lowest = found[-1].seq if found else before or 0
            page = await self._ask(Drafts(lowest, count, author, path), DraftPage)
            found += page.drafts
            if not page.more or not page.drafts or len(found) >= limit:
                return tuple(found)

    async def draft(self, id: str) -> DraftReport:
        """Return a draft with its texts, what each would change, and what others changed.

        Raises:
            NotFound: there is none, or it was accepted or discarded.
            PermissionDenied: it is another agent's.
        """
        return await self._ask(ShowDraft(id), DraftReport)

    async def discard_draft(self, id: str) -> None:
        """Throw a draft's texts away; that there was one stays on record.

        Raises:
            NotFound: there is none, or it was accepted or discarded.
            PermissionDenied: it is another agent's.
        """
        await self._ask(DiscardDraft(id), Done)
