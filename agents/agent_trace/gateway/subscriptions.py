"""Telling clients what changed: of single documents, and that the list is another one.

Both eras have their way. Since revision 2026-07-28 a client opens a stream and says what it wants
on it; before, it subscribed to addresses, and was told on its connection. Either is a trigger to
read again: several changes of one document may become one notification.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

import anyio
from mcp.server import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
)
from mcp.types import SubscriptionsListenRequestParams, SubscriptionsListenResult

from agent_trace.calls.following import CHANGES, POLL_SECONDS
from agent_trace.client import Agent
from agent_trace_protocol import Action, LogEntry, TooMany

from .resources import address_of, addresses_made_from
from .seats import Seat

__all__ = ["Channel"]

SUBSCRIPTIONS_MAX: Final = 1000
"""Addresses that one client of the older revisions may subscribe to."""

STREAMS_MAX: Final = 16
"""Streams that one client may have open."""

_LISTED: Final = frozenset({Action.CREATE, Action.DELETE, Action.MOVE, Action.RESTORE})
"""What makes the list of documents another one."""


class Channel:
    """What one client is told."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._streams = ListenHandler(self._bus, max_subscriptions=STREAMS_MAX)
        self._subscribed: set[str] = set()
        self._connection: ServerSession | None = None
        self._cursor: int | None = None
        """The last operation that was told of; None before anybody wanted to be told."""

    async def begin(self, seat: Seat, agent: Agent) -> None:
        """Tell of everything from here on, also over the loss of a session."""
        if self._cursor is None:
            await agent.ping()
            self._cursor = agent.seq
        seat.keep_running(self._follow)

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream until its client leaves it."""
        return await self._streams(ctx, params)

    def tell_connection(self, connection: ServerSession) -> None:
        """Tell a client of the older revisions, on its connection, when the list changes."""
        self._connection = connection

    def subscribe(self, connection: ServerSession, address: str) -> None:
        """Tell a client of the older revisions of changes at an address.

        Raises:
            TooMany: it has subscribed to as many as it may.
        """
        if len(self._subscribed) >= SUBSCRIPTIONS_MAX:
            raise TooMany(f"{SUBSCRIPTIONS_MAX} subscriptions are the limit of one client")
        self._subscribed.add(address)
        self.tell_connection(connection)

    def unsubscribe(self, address: str) -> None:
        """Tell it no more."""
        self._subscribed.discard(address)

    async def _follow(self, agent: Agent) -> None:
        while True:
            since = self._cursor or 0
            page = await agent.event_page(since, wait_seconds=POLL_SECONDS, actions=CHANGES)
            if page.events:
                await self._tell(page.events)
            self._cursor = page.cursor

    async def _tell(self, events: tuple[LogEntry, ...]) -> None:
        addresses = {address_of(event.path): None for event in events}
        for address in (*addresses, *addresses_made_from(events)):
            await self._bus.publish(ResourceUpdated(address))
            if address in self._subscribed and self._connection is not None:
                await self._send(self._connection.send_resource_updated(address))
        if any(event.action in _LISTED for event in events):
            await self._bus.publish(ResourcesListChanged())
            if self._connection is not None:
                await self._send(self._connection.send_resource_list_changed())

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            # The connection is gone; its client is told anew when it comes back.
            self._connection = None
            self._subscribed.clear()
