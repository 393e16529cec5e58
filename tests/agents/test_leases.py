"""Leases and events as the client asks for them, with a scripted coordinator."""

from __future__ import annotations

import anyio
import pytest

from agent_trace import SessionSuperseded, StaleLease
from agent_trace.testing import ScriptedCoordinator, accept_all, connect_scripted
from agent_trace_protocol import (
    AcquireLease,
    Action,
    Actor,
    CancelLease,
    Done,
    EventPage,
    Events,
    Heartbeat,
    Leased,
    LeaseInfo,
    LeaseRefusal,
    LogEntry,
    ReleaseLease,
    RenewLease,
    Reply,
    Request,
    Transact,
)


def granted(request: AcquireLease, token: int = 7) -> Leased:
    ttl = request.ttl_seconds
    return Leased(
        LeaseInfo(token, request.path, request.shared, Actor.AGENT, "ann", "s", ttl, ttl, 0)
    )


def grant_all(request: Request) -> Reply | None:
    if isinstance(request, AcquireLease):
        return granted(request)
    if isinstance(request, ReleaseLease | CancelLease):
        return Done()
    return accept_all(request)


async def test_writes_carry_the_tokens_of_the_leases_on_their_paths() -> None:
    async with ScriptedCoordinator(grant_all) as coordinator:
        async with connect_scripted(coordinator) as agent:
            async with agent.lease("plans/*.md", ttl_seconds=30) as lease:
                await agent.write("plans/a.md", "one")
                await agent.write("elsewhere.md", "one")
                await agent.move("elsewhere.md", "plans/b.md")
                assert 20 < lease.left_seconds < 23
            await agent.write("plans/a.md", "two")
    sent = [each.leases for each in coordinator.requests if isinstance(each, Transact)]
    assert sent == [(7,), (), (7,), ()]
    assert coordinator.requests[-2] == ReleaseLease(7)


async def test_a_cancelled_request_for_a_lease_is_undone() -> None:
    def script(request: Request) -> Reply | None:
        return None if isinstance(request, AcquireLease) else grant_all(request)

    async with ScriptedCoordinator(script) as coordinator:
        async with connect_scripted(coordinator) as agent:
            with anyio.move_on_after(0.05):
                await agent.acquire("a.md", wait_seconds=60)
            await agent.ping()
    numbers = [number for number, each in coordinator.received if isinstance(each, AcquireLease)]
    assert CancelLease(numbers[0]) in coordinator.requests


async def test_a_lease_that_has_ended_is_told_with_its_holder() -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Transact):
            raise StaleLease("gone", LeaseRefusal("a.md", "ben", "s", 9, 3.0, "draft-8"))
        if isinstance(request, ReleaseLease):
            raise StaleLease("gone")
        return grant_all(request)

    async with ScriptedCoordinator(script) as coordinator:
        async with connect_scripted(coordinator) as agent:
            with pytest.raises(StaleLease) as caught:
                async with agent.lease("a.md"):
                    await agent.write("a.md", "late")
            info = caught.value.info
            assert info is not None and (info.holder, info.draft) == ("ben", "draft-8")


async def test_a_short_lease_makes_the_heart_beat_faster() -> None:
    async with ScriptedCoordinator(grant_all) as coordinator:
        async with connect_scripted(coordinator) as agent:
            with anyio.fail_after(5):
                async with agent.lease("a.md", ttl_seconds=1):
                    while not any(isinstance(each, Heartbeat) for _, each in coordinator.received):
                        await coordinator.wait_received(len(coordinator.received) + 1)


async def test_a_superseded_session_ends_for_everybody_who_uses_it() -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, RenewLease):
            raise SessionSuperseded("superseded by another")
        return None if isinstance(request, AcquireLease) else grant_all(request)

    async with ScriptedCoordinator(script) as coordinator:
        async with connect_scripted(coordinator) as agent:
            ended: list[str] = []

            async def wait_for_lease() -> None:
                with pytest.raises(SessionSuperseded):
                    await agent.acquire("a.md", wait_seconds=60)
                ended.append("waiter")

            async def wait_for_end() -> None:
                with pytest.raises(SessionSuperseded):
                    await agent.wait_ended()
                ended.append("watcher")

            async with anyio.create_task_group() as group:
                group.start_soon(wait_for_lease)
                group.start_soon(wait_for_end)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(SessionSuperseded):
                    await agent.renew(7)
            assert sorted(ended) == ["waiter", "watcher"]
            with pytest.raises(SessionSuperseded):
                await agent.write("a.md", "late")
    assert coordinator.connections_count == 1


async def test_a_session_that_stops_renewing_gives_no_signs_of_life() -> None:
    async with ScriptedCoordinator(grant_all, heartbeat_seconds=0.05) as coordinator:
        async with connect_scripted(coordinator) as agent:
            await coordinator.wait_received(3)
            agent.stop_renewing()
            await agent.ping()
            before = len(coordinator.received)
            with anyio.move_on_after(0.3):
                await coordinator.wait_received(before + 2)
            assert len(coordinator.received) <= before + 1


def event(seq: int) -> LogEntry:
    return LogEntry(seq, 0, Actor.AGENT, "ann", "s", Action.PUT, "a.md", seq, 1, 0, "", "")


async def test_events_go_on_from_the_cursor_of_each_page() -> None:
    pages = [
        EventPage((event(1), event(2)), 5, True),
        EventPage((), 9, True),
        EventPage((event(12),), 12, False),
    ]

    def script(request: Request) -> Reply | None:
        return pages.pop(0) if isinstance(request, Events) else accept_all(request)

    async with ScriptedCoordinator(script) as coordinator:
        async with connect_scripted(coordinator) as agent:
            told = [each.seq async for each in agent.events(0, path="a*", actions=["put"])]
    assert told == [1, 2, 12]
    asked = [each for each in coordinator.requests if isinstance(each, Events)]
    assert [(each.since, each.path, each.actions) for each in asked] == [
        (since, "a*", (Action.PUT,)) for since in (0, 5, 9)
    ]


async def test_a_follower_starts_from_now_and_waits() -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Events):
            return EventPage((event(request.since + 1),), request.since + 1, False)
        return accept_all(request)

    async with ScriptedCoordinator(script) as coordinator:
        async with connect_scripted(coordinator) as agent:
            await agent.ping()
            told: list[int] = []
            following = agent.events(follow=True)
            async for each in following:
                told.append(each.seq)
                if len(told) == 3:
                    break
            await following.aclose()
    assert told == [2, 3, 4]
    asked = [each for each in coordinator.requests if isinstance(each, Events)]
    assert all(each.wait_seconds > 0 for each in asked)
