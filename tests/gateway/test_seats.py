"""Seats are bounded, end when nobody uses them, and come back under the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import anyio
import pytest

from agent_trace import Action, TooMany, Unavailable, connect
from agent_trace.gateway.seats import Client, Seats
from support.mcp import Stage

pytestmark = pytest.mark.integration

PATIENCE_SECONDS: Final = 20.0


@pytest.fixture
def root(stage: Stage) -> Path:
    return stage.root


async def test_a_full_gateway_refuses_until_somebody_has_left(root: Path) -> None:
    seats = Seats(str(root), count_max=2, exact=False)
    async with seats.running():
        first, second = seats.take("1", Client("one")), seats.take("2", Client("two"))
        await first.agent()
        with second.present(), pytest.raises(TooMany, match="2 clients are connected"):
            seats.take("3", Client("three"))
        assert seats.take("1", Client("one")) is first
        # One that has no session and asks for nothing makes room.
        assert seats.take("3", Client("three")) is not second
        assert seats.find("2") is None


async def test_an_idle_session_ends_and_its_successor_has_the_same_name(root: Path) -> None:
    seats = Seats(str(root), idle_seconds_max=0.05, exact=False)
    async with connect(root, user="ada") as user, seats.running():
        seat = seats.take("1", Client("idler"))
        with anyio.fail_after(PATIENCE_SECONDS):
            with seat.present():
                before = (await seat.agent()).session_id
            async for event in user.events(since=0, follow=True, actions=[Action.CLOSE]):
                if event.session == before:
                    break
            with seat.present():
                after = await seat.agent()
                assert (after.name, after.predecessor) == ("idler", before)


async def test_who_was_given_up_gets_no_session_for_what_is_still_under_way(root: Path) -> None:
    seats = Seats(str(root), count_max=2, exact=False)
    async with connect(root, user="ada") as user, seats.running():
        seat = seats.take("1", Client("gone"))
        agent = await seat.agent()
        await seats.give_up("1")
        with pytest.raises(Unavailable, match="this client has left"):
            await seat.agent()
        (session,) = await user.sessions(name="gone", ended=True)
        assert (session.id, session.state) == (agent.session_id, "ended")
        # Whoever comes back has a new seat.
        assert (await seats.take("1", Client("gone")).agent()).predecessor == agent.session_id


async def test_sessions_are_opened_once_and_never_while_leaving(root: Path) -> None:
    seats = Seats(str(root), exact=False)
    async with seats.running():
        seat = seats.take("1", Client("many"))
        found: list[str] = []

        async def open_it() -> None:
            found.append((await seat.agent()).session_id)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(open_it)
        assert len(set(found)) == 1
        await seats.leave()
        with pytest.raises(Unavailable, match="this gateway is leaving"):
            await seat.agent()
