"""The event feed by itself: pages from memory and from the journal, waiters, bounds."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from agent_trace_coordinator.core.records import Entry, Record
from agent_trace_coordinator.server import event_feed
from agent_trace_coordinator.server.event_feed import EventFeed
from agent_trace_protocol import Busy, EventPage, Events, Put, Refused, Reply
from support.core import Desk


class Feed:
    """A feed over a list of entries, whose coroutines run at once."""

    def __init__(self, entries: list[Entry], durable: int) -> None:
        self.entries = entries
        self.answers: list[tuple[bytes, int, Reply]] = []
        self.feed = EventFeed(
            durable,
            records_after=self.read,
            commit=lambda seq: f"{seq:040x}",
            send=lambda peer, number, reply: self.answers.append((peer, number, reply)),
            start=self.start,
        )

    async def read(self, seq: int, last: int, limit: int) -> list[Record]:
        return [each.record for each in self.entries[seq:last]][:limit]

    def start(self, work: Callable[[], Awaitable[Reply | None]], peer: bytes, number: int) -> None:
        running = work().__await__()
        with pytest.raises(StopIteration) as done:
            next(running)
        if done.value.value is not None:
            self.answers.append((peer, number, done.value.value))

    def ask(self, request: Events, peer: bytes = b"p", number: int = 1) -> EventPage | None:
        before = len(self.answers)
        self.feed.ask(peer, number, request, 0.0)
        if len(self.answers) == before:
            return None
        reply = self.answers[-1][2]
        assert isinstance(reply, EventPage), reply
        return reply


def history(count: int) -> list[Entry]:
    desk = Desk()
    agent = desk.member()
    draw = random.Random(1)
    while len(desk.entries) < count:
        paths = draw.sample(["a.md", "b.md", "x/c.md", "x/d.md"], draw.randint(1, 3))
        agent.do(*(Put(path, f"{draw.random()}\n".encode()) for path in paths))
    return desk.entries[:count]


@pytest.mark.parametrize("kept", [3, 50, 1000])
@pytest.mark.parametrize("limit", [1, 4, 1000])
@pytest.mark.parametrize("path", ["", "x/*", "nowhere"])
def test_pages_put_together_are_everything_once(
    monkeypatch: pytest.MonkeyPatch, kept: int, limit: int, path: str
) -> None:
    monkeypatch.setattr(event_feed, "RECORDS_KEPT_MAX", kept)
    monkeypatch.setattr(event_feed, "RECORDS_SCANNED_MAX", 7)
    entries = history(60)
    feed = Feed(entries, 20)
    for start in range(20, 60, 8):
        feed.feed.add(entries[start : start + 8])
    told: list[tuple[int, str]] = []
    cursor, more = 0, True
    while more:
        page = feed.ask(Events(cursor, limit, path=path))
        assert page is not None and page.cursor > cursor
        assert all(each.commit == f"{each.seq:040x}" for each in page.events)
        told += [(each.seq, each.path) for each in page.events]
        cursor, more = page.cursor, page.more
    wanted = [
        (entry.record.seq, each.path)
        for entry in entries
        for each in getattr(entry.record.body, "changes", ())
        if path == "" or (path == "x/*" and each.path.startswith("x/"))
    ]
    if path == "":
        wanted.insert(0, (1, ""))
    assert told == wanted
    assert cursor == 60


def test_who_waits_is_answered_with_the_first_batch_that_has_something() -> None:
    entries = history(30)
    feed = Feed(entries, 10)
    request = Events(10, wait_seconds=5, path="x/*")
    assert feed.ask(request) is None
    assert feed.ask(Events(3, wait_seconds=5, author="nobody"), number=2) is None
    for entry in entries[10:]:
        if feed.feed.waiter_count == 2:
            feed.feed.add([entry])
    peer, number, page = feed.answers[0]
    assert (peer, number) == (b"p", 1) and isinstance(page, EventPage)
    assert all(each.path.startswith("x/") for each in page.events) and page.events
    feed.feed.tick(4.9)
    assert len(feed.answers) == 1
    feed.feed.tick(5.0)
    assert feed.answers[1][1] == 2
    last = feed.answers[1][2]
    assert isinstance(last, EventPage) and last.events == () and last.cursor >= page.cursor
    assert feed.feed.waiter_count == 0


def test_waiters_are_bounded_for_all_and_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "WAITERS_MAX", 5)
    monkeypatch.setattr(event_feed, "WAITERS_OF_PEER_MAX", 2)
    feed = Feed(history(10), 10)
    for peer in (b"a", b"b", b"c"):
        for number in range(3):
            feed.feed.ask(peer, number, Events(10, wait_seconds=5), 0.0)
    refused = [(peer, number) for peer, number, reply in feed.answers if isinstance(reply, Refused)]
    assert refused == [(b"a", 2), (b"b", 2), (b"c", 1), (b"c", 2)]
    assert isinstance(feed.answers[0][2], Refused)
    assert feed.answers[0][2].error.code is Busy.code
    # Asked again over the same connection, it is the same request.
    feed.feed.ask(b"a", 1, Events(10, wait_seconds=5), 0.0)
    assert feed.feed.waiter_count == 5
    feed.feed.tick(5.0)
    assert feed.feed.waiter_count == 0
    feed.feed.ask(b"c", 3, Events(10, wait_seconds=5), 0.0)
    assert feed.feed.waiter_count == 1


def test_who_asks_again_while_waiting_does_not_wait_longer() -> None:
    entries = history(3)
    feed = Feed(entries, 3)
    request = Events(since=3, wait_seconds=30.0)
    feed.feed.ask(b"p", 1, request, 0.0)
    feed.feed.ask(b"p", 1, request, 20.0)
    assert feed.feed.waiter_count == 1
    feed.feed.tick(30.0)
    assert feed.answers == [(b"p", 1, EventPage((), 3, False))]
