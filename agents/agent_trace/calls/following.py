"""What happens, as it happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from agent_trace_protocol import (
    Action,
    Actor,
    EventPage,
    Events,
    LogEntry,
)
from agent_trace_protocol.limits import (
    PAGE_ENTRIES_MAX,
)

from .base import Calls, choice

__all__ = ["CHANGES", "POLL_SECONDS", "Following", "is_beside"]

POLL_SECONDS: Final = 30.0
"""How long one request of a follower waits; then it asks again. Proxies and people who look at a
connection like to see that somebody is there."""

CHANGES: Final = (
    Action.CREATE,
    Action.PUT,
    Action.APPEND,
    Action.EDIT,
    Action.DELETE,
    Action.MOVE,
    Action.RESTORE,
    Action.MERGE,
    Action.RECLASSIFY,
    Action.ANNOTATE,
    Action.UNTRACK,
)
"""What is waited for by who waits for a change: something about a document is other than before."""

_SESSION_ACTIONS: Final = (Action.OPEN, Action.CLOSE)


def is_beside(entry: LogEntry) -> bool:
    """Return whether an entry is about a session, or a document that the coordinator wrote: who
    asks what happened to the documents means neither."""
    generated = entry.actor is Actor.SYSTEM and entry.revision > 0
    return generated or entry.action in _SESSION_ACTIONS


class Following(Calls):
    """What a store is followed with."""

    async def event_page(
        self,
        since: int,
        *,
        limit: int = 100,
        wait_seconds: float = 0.0,
        path: str = "",
        author: str = "",
        actions: Sequence[Action | str] = (),
    ) -> EventPage:
        """Return what happened after operation `since`, oldest first, waiting if nothing has yet.

        Going on with `since=page.cursor` gives everything, once, however much later.

        Args:
            limit: about so many events; those of one operation are never parted.
            wait_seconds: how long to wait for the first one, at most 300.
            path: only what concerns this path, or paths that this glob matches.
            author: only what this agent or user did.
            actions: only entries of these kinds.
        """
        kinds = tuple(choice(Action, each) for each in actions)
        return await self._ask(Events(since, limit, wait_seconds, path, author, kinds), EventPage)

    async def events(
        self,
        since: int | None = None,
        *,
        follow: bool = False,
        path: str = "",
        author: str = "",
        actions: Sequence[Action | str] = (),
    ) -> AsyncGenerator[LogEntry, None]:
        """Yield what happened after operation `since`, oldest first, without gaps.

        Args:
            since: the `seq` of the last event that was dealt with; 0 for everything. If not given,
                everything, or with `follow` what happens from now on.
            follow: go on when there is no more, and wait for what comes.

        Other arguments as for `event_page`, which tells a cursor as well. An operation on several
        documents has several events with one `seq`: who stores it should have seen all of them.
        """
        cursor = since if since is not None else self.seq if follow else 0
        wait_seconds = POLL_SECONDS if follow else 0.0
        while True:
            page = await self.event_page(
                cursor,
                limit=PAGE_ENTRIES_MAX,
                wait_seconds=wait_seconds,
                path=path,
                author=author,
                actions=actions,
            )
            for event in page.events:
                yield event
            cursor = page.cursor
            if not (follow or page.more):
                return
