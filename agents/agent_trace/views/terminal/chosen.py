"""What is chosen in the view, and what is asked of the coordinator to show it. Draws nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent_trace.client import Agent
from agent_trace_protocol import DraftInfo, LeaseInfo, SessionInfo, ViolationInfo

from . import details
from .details import Aspect, Detail
from .layout import Section
from .lines import entry_key
from .picture import Picture

__all__ = ["Chosen", "now_ms"]


def now_ms() -> int:
    """Return the wall clock's time in UTC milliseconds, for ages that people read."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """A line of a section, and how closely it is looked at."""

    section: Section
    key: str
    """Of the line; empty if none is chosen."""
    aspect: Aspect
    revision: int
    """A revision of the chosen document whose change is shown, or none."""

    @property
    def subject(self) -> tuple[object, ...]:
        """What the detail is about."""
        match self.section:
            case Section.DOCUMENTS:
                return (self.section, self.key, self.aspect, self.revision)
            case Section.BRIEFING:
                return (self.section,)
            case _:
                return (self.section, self.key)

    def version(self, picture: Picture) -> object:
        """Return what changes when the detail has to be asked for anew."""
        match self.section:
            case Section.DOCUMENTS if self.aspect is Aspect.INFO:
                return picture.seq
            case Section.DOCUMENTS:
                document = picture.documents.get(self.key)
                return document.revision if document is not None else 0
            case Section.BRIEFING:
                return picture.seq
            case Section.SESSIONS:
                session = self.session(picture)
                return session.state if session is not None else None
            case Section.LEASES:
                return self.lease(picture)
            case _:
                return None

    async def detail(self, agent: Agent, picture: Picture) -> Detail:
        """Ask the coordinator for what is chosen.

        Raises:
            AgentTraceError: it can not be shown, and why.
        """
        nothing = Detail("", ())
        match self.section:
            case Section.BRIEFING:
                return await details.briefing_detail(agent)
            case _ if not self.key:
                return nothing
            case Section.DOCUMENTS if self.revision:
                return await details.revision_detail(agent, self.key, self.revision)
            case Section.DOCUMENTS:
                return await details.document_detail(agent, self.key, self.aspect, now_ms())
            case Section.ACTIVITY:
                found = (each for each in picture.recent if entry_key(each) == self.key)
                entry = next(found, None)
                return nothing if entry is None else await details.entry_detail(agent, entry)
            case Section.SESSIONS:
                session = self.session(picture)
                if session is None:
                    return nothing
                held = tuple(each for each in picture.leases if each.session == self.key)
                return await details.session_detail(agent, session, held)
            case Section.LEASES:
                lease = self.lease(picture)
                return nothing if lease is None else details.lease_detail(lease)
            case Section.WAITING:
                if self.violation(picture) is not None:
                    return await details.violation_detail(agent, self.key)
                return await details.draft_detail(agent, self.key)

    def session(self, picture: Picture) -> SessionInfo | None:
        """Return the session that is chosen, if one is."""
        return next((each for each in picture.sessions if each.id == self.key), None)

    def lease(self, picture: Picture) -> LeaseInfo | None:
        """Return the lease that is chosen, if one is."""
        return next((each for each in picture.leases if str(each.token) == self.key), None)

    def violation(self, picture: Picture) -> ViolationInfo | None:
        """Return the refused write that is chosen, if one is."""
        return next((each for each in picture.violations if each.id == self.key), None)

    def draft(self, picture: Picture) -> DraftInfo | None:
        """Return the draft that is chosen, if one is."""
        return next((each for each in picture.drafts if each.id == self.key), None)
