"""How sessions begin, come back, are taken over and end, decided by the core."""

from __future__ import annotations

import pytest

from agent_trace_coordinator.core.inputs import Facts
from agent_trace_coordinator.core.records import SessionEnded, SessionOpened
from agent_trace_protocol import (
    Actor,
    Close,
    Done,
    ErrorCode,
    Heartbeat,
    Open,
    Opened,
    Put,
    Refused,
    Reply,
    SessionKind,
    SessionList,
    Sessions,
    SessionState,
    Stop,
    Transact,
)
from support.core import Desk, Member


def code(reply: Reply | None) -> ErrorCode:
    assert isinstance(reply, Refused), reply
    return reply.error.code


def test_an_agents_session_is_in_the_journal_from_its_begin_to_its_end() -> None:
    desk = Desk()
    agent = desk.member()
    agent.ask(Close())
    assert [type(entry.record.body) for entry in desk.entries] == [SessionOpened, SessionEnded]
    assert code(agent.ask(Heartbeat())) is ErrorCode.SESSION_UNKNOWN


def test_opening_a_session_again_is_coming_back_to_it() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    count = len(desk.entries)
    opened = agent.open()
    assert isinstance(opened, Opened)
    assert (opened.session, opened.next_number) == (agent.session, 2)
    assert len(desk.entries) == count


def test_a_key_can_not_be_used_under_another_name() -> None:
    desk = Desk()
    agent = desk.member()
    assert code(desk.ask(agent.key, 0, Open("other", Actor.AGENT, SessionKind.MCP))) is (
        ErrorCode.INVALID_REQUEST
    )


def test_a_second_session_of_a_live_agent_is_refused_and_names_the_first() -> None:
    desk = Desk()
    first = desk.member()
    reply = Member(desk, "planner", Actor.AGENT).open()
    assert code(reply) is ErrorCode.AGENT_BUSY
    assert isinstance(reply, Refused) and first.session in reply.error.message


def test_two_sessions_of_one_user_live_side_by_side() -> None:
    desk = Desk()
    desk.member("ann", Actor.USER).put("a.md", "one\n")
    desk.member("ann", Actor.USER).put("a.md", "two\n")


@pytest.mark.parametrize("why", ["stale", "gone", "takeover"])
def test_a_successor_takes_the_name_and_the_predecessor_can_change_nothing(why: str) -> None:
    desk = Desk()
    first = desk.member()
    first.put("a.md", "one\n")
    second = Member(desk, "planner", Actor.AGENT)
    if why == "stale":
        desk.tick(11)
        opened = second.open()
    elif why == "gone":
        opened = second.open(Facts(holder_gone=True))
    else:
        opened = second.open(takeover=True)
    assert isinstance(opened, Opened) and opened.predecessor == first.session
    assert code(first.ask(Transact((Put("a.md", b"late\n"),)))) is ErrorCode.SESSION_UNKNOWN
    ended = Facts(session_ended=f"superseded by {second.session}")
    assert code(first.open(ended)) is ErrorCode.SESSION_SUPERSEDED
    assert second.read("a.md") == "one\n"


def test_a_session_that_gives_signs_of_life_stays_live() -> None:
    desk = Desk()
    agent = desk.member()
    for _ in range(30):
        desk.tick(5)
        assert isinstance(agent.ask(Heartbeat()), Done)


def test_a_silent_session_turns_stale_and_then_expires() -> None:
    desk = Desk()
    watcher = desk.member("ann", Actor.USER)
    agent = desk.member()

    def state() -> SessionState | None:
        listed = watcher.ask(Sessions())
        assert isinstance(listed, SessionList)
        return next((each.state for each in listed.sessions if each.id == agent.session), None)

    heard_ms = desk.now().wall_ms
    assert state() is SessionState.LIVE
    desk.tick(9)
    assert state() is SessionState.LIVE
    desk.tick(2)
    assert state() is SessionState.STALE
    for _ in range(6):
        watcher.ask(Heartbeat())
        desk.tick(5)
    assert state() is None
    body = desk.entries[-1].record.body
    assert body == SessionEnded("expired", seen_ms=heard_ms)
    assert desk.entries[-1].record.time_ms - heard_ms > 40_000


def test_time_in_which_the_coordinator_did_not_run_counts_for_nobody() -> None:
    desk = Desk()
    agent = desk.member()
    desk.tick(5)
    desk.time += 3600
    desk.tick(1)
    assert isinstance(agent.ask(Heartbeat()), Done)


def test_a_one_shot_leaves_no_trace_unless_it_writes() -> None:
    desk = Desk()
    reader = Member(desk, "planner", Actor.AGENT, SessionKind.CLI)
    assert isinstance(reader.open(ephemeral=True), Opened)
    reader.ask(Close())
    assert desk.entries == []
    writer = Member(desk, "planner", Actor.AGENT, SessionKind.CLI)
    writer.open(ephemeral=True)
    writer.put("a.md", "one\n")
    assert [type(entry.record.body).__name__ for entry in desk.entries] == [
        "SessionOpened",
        "Changed",
    ]


def test_a_one_shot_does_not_hold_the_name() -> None:
    desk = Desk()
    holder = desk.member()
    one_shot = Member(desk, "planner", Actor.AGENT, SessionKind.CLI)
    assert isinstance(one_shot.open(ephemeral=True), Opened)
    one_shot.put("a.md", "one\n")
    one_shot.ask(Close())
    holder.put("a.md", "two\n")


@pytest.mark.parametrize("name", ["", "Planner", "a b", "a/b", "a\nb", "system", "é", "x" * 65])
def test_a_name_outside_the_law_is_refused(name: str) -> None:
    assert code(Member(Desk(), name, Actor.AGENT).open()) is ErrorCode.INVALID_REQUEST


def test_nobody_opens_a_session_as_the_coordinator_itself() -> None:
    assert code(Member(Desk(), "x", Actor.SYSTEM).open()) is ErrorCode.INVALID_REQUEST


def test_only_a_user_stops_the_coordinator() -> None:
    desk = Desk()
    assert code(desk.member().ask(Stop())) is ErrorCode.PERMISSION_DENIED
    assert isinstance(desk.member("ann", Actor.USER).ask(Stop()), Done)


def test_recorded_times_never_decrease_when_the_wall_clock_does() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    desk.time -= 500
    agent.put("a.md", "two\n")
    times = [entry.record.time_ms for entry in desk.entries]
    assert times == sorted(times)
