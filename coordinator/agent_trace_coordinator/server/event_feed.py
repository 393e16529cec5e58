"""Events for whoever asks: pulled page by page, so that no slow reader makes anything grow.

A follower asks for what happened after a seq, and is answered when there is something. The newest
records are in memory; whoever is further behind is answered from state.db until it has caught up.
Only what is durable is ever told. Since the seq to go on from is the follower's own, nothing can be
left out and nothing can come twice, whatever is restarted in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import msgspec

from agent_trace_coordinator.core.entries import wanted
from agent_trace_coordinator.core.records import Entry, Record
from agent_trace_protocol import Busy, EventPage, Events, LogEntry, Refused, Reply

__all__ = ["EventFeed"]

RECORDS_KEPT_MAX: Final = 4096
"""Records in memory: some minutes of busy writing, a few megabytes."""

RECORDS_SCANNED_MAX: Final = 4096
"""Records that one request may have looked through in state.db; its page then says how far it got,
and the next request goes on from there."""

WAITERS_MAX: Final = 10_000
"""Requests that wait for the next event; beyond it askers are told to come back."""

WAITERS_OF_PEER_MAX: Final = 64
"""Requests of one connection that wait: a client has no more unanswered."""


@dataclass(slots=True, frozen=True)
class _Waiter:
    request: Events
    """Its `since` moves on over events that are not wanted."""
    deadline: float


class EventFeed:
    """Answers requests for events. Used by the event loop only."""

    def __init__(
        self,
        durable_seq: int,
        *,
        records_after: Callable[[int, int, int], Awaitable[list[Record]]],
        commit: Callable[[int], str],
        send: Callable[[bytes, int, Reply], None],
        start: Callable[[Callable[[], Awaitable[Reply | None]], bytes, int], None],
    ) -> None:
        """`records_after(seq, last, limit)` reads state.db; `commit` returns the commit id of a
        record, or empty; `start` runs a coroutine, whose reply it sends."""
        self._durable_seq = durable_seq
        self._records_after = records_after
        self._commit = commit
        self._send = send
        self._start = start
        self._recent: deque[Record] = deque(maxlen=RECORDS_KEPT_MAX)
        self._waiters: dict[tuple[bytes, int], _Waiter] = {}
        self._waiters_of: dict[bytes, int] = {}

    @property
    def waiter_count(self) -> int:
        """Requests that wait for the next event."""
        return len(self._waiters)

    def ask(self, peer: bytes, number: int, request: Events, now: float) -> None:
        """Answer a request, now or when something happens."""
        first = self._recent[0].seq if self._recent else self._durable_seq + 1
        if request.since + 1 < first:

            async def read() -> Reply | None:
                return await self._from_index(peer, number, request, now)

            self._start(read, peer, number)
            return
        self._answer_or_wait(peer, number, request, self._recent_page(request), now)

    async def _from_index(
        self, peer: bytes, number: int, request: Events, now: float
    ) -> Reply | None:
        last = self._durable_seq
        records = await self._records_after(request.since, last, RECORDS_SCANNED_MAX)
        reached = records[-1].seq if records else last
        page = self._page(request, records, reached)
        if page.events or reached < last:
            return msgspec.structs.replace(page, more=page.more or reached < last)
        # It has caught up: what became durable meanwhile is in memory.
        request = msgspec.structs.replace(request, since=page.cursor)
        self._answer_or_wait(peer, number, request, self._recent_page(request), now)
        return None

    def _recent_page(self, request: Events) -> EventPage:
        """Return a page of what is in memory; most followers are at its end."""
        if request.since >= self._durable_seq:
            return EventPage((), request.since, False)
        skipped = request.since + 1 - self._recent[0].seq
        records = islice(self._recent, max(0, skipped), None)
        return self._page(request, records, self._durable_seq)

    def _answer_or_wait(
        self, peer: bytes, number: int, request: Events, page: EventPage, now: float
    ) -> None:
        if page.events or not request.wait_seconds:
            self._send(peer, number, page)
            return
        key = peer, number
        deadline = now + request.wait_seconds
        known = self._waiters.get(key)
        if known is not None:
            # Asked again, which must not make the wait longer.
            deadline = min(deadline, known.deadline)
        else:
            of_peer = self._waiters_of.get(peer, 0)
            if len(self._waiters) >= WAITERS_MAX or of_peer >= WAITERS_OF_PEER_MAX:
                error = Busy("too many requests wait for events; try again in a moment")
                self._send(peer, number, Refused(error.to_info()))
                return
            self._waiters_of[peer] = of_peer + 1
        request = msgspec.structs.replace(request, since=page.cursor)
        self._waiters[key] = _Waiter(request, deadline)

    def _page(self, request: Events, records: Iterable[Record], last: int) -> EventPage:
        """Return a page of what is wanted of the records, which go on to `last`."""
        found: list[LogEntry] = []
        for record in records:
            if record.seq <= request.since:
                continue
            if len(found) >= request.limit:
                return EventPage(tuple(found), record.seq - 1, True)
            for entry in wanted(record, request):
                commit = self._commit(record.seq)
                found.append(msgspec.structs.replace(entry, commit=commit) if commit else entry)
        return EventPage(tuple(found), max(request.since, last), False)

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations, and answer those who waited for them."""
        records = [entry.record for entry in batch]
        self._recent.extend(records)
        self._durable_seq = records[-1].seq
        # Most followers wait for the same: they get the same page.
        pages: dict[Events, EventPage] = {}
        for key, waiter in list(self._waiters.items()):
            page = pages.get(waiter.request)
            if page is None:
                page = self._page(waiter.request, records, self._durable_seq)
                pages[waiter.request] = page
            if page.events:
                self._leave(key)
                self._send(*key, page)
            else:
                request = msgspec.structs.replace(waiter.request, since=page.cursor)
                self._waiters[key] = replace(waiter, request=request)

    def tick(self, now: float) -> None:
        """Answer those who have waited long enough: nothing happened, go on from there."""
        for key, waiter in list(self._waiters.items()):
            if waiter.deadline <= now:
                self._leave(key)
                self._send(*key, EventPage((), waiter.request.since, False))

    def _leave(self, key: tuple[bytes, int]) -> None:
        del self._waiters[key]
        left = self._waiters_of[key[0]] - 1
        if left:
            self._waiters_of[key[0]] = left
        else:
            del self._waiters_of[key[0]]
