"""Leases, events and sessions of real processes: stopped, killed, taken over, evicted."""

from __future__ import annotations

import signal
import sys
import time
import tomllib
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from agent_trace_protocol import (
    AcquireLease,
    Action,
    Actor,
    Append,
    Close,
    Committed,
    Delete,
    Done,
    ErrorCode,
    EventPage,
    Events,
    EvictSession,
    Heartbeat,
    Leased,
    LeaseInfo,
    LeaseList,
    Leases,
    Log,
    LogEntry,
    LogPage,
    Move,
    Opened,
    Put,
    Refused,
    ReleaseLease,
    Reply,
    RequestEnvelope,
    SessionInfo,
    SessionList,
    Sessions,
    SessionState,
    Transact,
    decode_reply,
    decode_reply_envelope,
    encode,
)
from support.coordinator import Coordinator, Peer, running
from support.holder import Holder

pytestmark = pytest.mark.integration

STOPPED_TRIALS = 12
"""Processes that are stopped past their lease, at once."""


@pytest.fixture
def coordinator(tmp_path: Path) -> Generator[Coordinator]:
    with running(tmp_path / "store") as coordinator:
        yield coordinator


def code(reply: Reply) -> ErrorCode:
    assert isinstance(reply, Refused), reply
    return reply.error.code


def lease(peer: Peer, path: str, ttl: float = 10.0, wait: float = 0.0) -> LeaseInfo:
    reply = peer.ask(AcquireLease(path, ttl_seconds=ttl, wait_seconds=wait))
    assert isinstance(reply, Leased), reply
    return reply.lease


def sessions(peer: Peer, **asked: object) -> tuple[SessionInfo, ...]:
    reply = peer.ask(Sessions(**asked))  # type: ignore[arg-type]
    assert isinstance(reply, SessionList), reply
    return reply.sessions


def events(peer: Peer, since: int, **asked: object) -> EventPage:
    reply = peer.ask(Events(since, **asked))  # type: ignore[arg-type]
    assert isinstance(reply, EventPage), reply
    return reply


def send(peer: Peer, request: AcquireLease | Events) -> int:
    """Send a request without waiting for its answer; return its number."""
    peer.number += 1
    envelope = RequestEnvelope(1, peer.key, peer.number)
    peer.socket.send_multipart([encode(envelope), encode(request)])
    return peer.number


def answer(peer: Peer, milliseconds: int = 10_000) -> tuple[int, Reply]:
    assert peer.socket.poll(milliseconds), "no answer"
    envelope, body = peer.socket.recv_multipart()
    return decode_reply_envelope(envelope).number, decode_reply(body)


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "it did not happen"


# ---- leases ---------------------------------------------------------------------------------


def test_leases_are_there_after_a_kill_with_the_same_tokens_and_their_whole_time(
    coordinator: Coordinator,
) -> None:
    with Peer(coordinator.endpoint) as peer, Peer(coordinator.endpoint, "ben") as ben:
        peer.opened().do(Put("a.md", b"one\n"))
        held = lease(peer, "a.md", ttl=30)
        glob = lease(peer, "plans/**", ttl=600)
        peer.do(Move("a.md", "b.md"))
        coordinator.end(signal.SIGKILL)
        coordinator.start()
        peer.connect()
        opened = peer.open()
        assert isinstance(opened, Opened)
        assert [(each.token, each.path) for each in opened.leases] == [
            (held.token, "b.md"),
            (glob.token, "plans/**"),
        ]
        assert all(each.left_seconds > 0.9 * each.ttl_seconds for each in opened.leases)
        ben.connect()
        ben.opened()
        refused = ben.ask(AcquireLease("b.md"))
        assert code(refused) is ErrorCode.LEASE_HELD
        written = peer.ask(Transact((Put("b.md", b"two\n"),), leases=(held.token,)))
        assert isinstance(written, Committed)


def test_a_request_that_was_granted_before_a_kill_is_answered_the_same_after_it(
    coordinator: Coordinator,
) -> None:
    with Peer(coordinator.endpoint) as peer:
        peer.opened()
        held = lease(peer, "a.md")
        coordinator.end(signal.SIGKILL)
        coordinator.start()
        peer.connect()
        peer.opened()
        again = peer.ask_as(1, AcquireLease("a.md"))
        assert isinstance(again, Leased) and again.lease.token == held.token
        assert isinstance(peer.ask(ReleaseLease(held.token)), Done)
        assert code(peer.ask_as(1, AcquireLease("a.md"))) is ErrorCode.STALE_LEASE


def test_who_waits_is_answered_when_the_lease_is_released(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as ann, Peer(coordinator.endpoint, "ben") as ben:
        held = lease(ann.opened(), "a.md")
        ben.opened()
        number = send(ben, AcquireLease("a.md", wait_seconds=30))
        assert not ben.socket.poll(100)
        ann.ask(ReleaseLease(held.token))
        answered, reply = answer(ben)
        assert answered == number and isinstance(reply, Leased)
        assert reply.lease.token > held.token


def test_the_lease_of_a_killed_process_on_this_machine_is_free_within_a_moment(
    coordinator: Coordinator,
) -> None:
    with Peer(coordinator.endpoint, "ben") as ben:
        ben.opened()
        holder = Holder(coordinator.endpoint, "ann", "a.md", 3600, told=True)
        send(ben, AcquireLease("a.md", wait_seconds=30))
        holder.kill()
        _, reply = answer(ben, 5000)
        assert isinstance(reply, Leased) and reply.lease.token > holder.token


def log_of(peer: Peer, path: str) -> list[LogEntry]:
    entries: list[LogEntry] = []
    while True:
        page = peer.ask(Log(path, 1000, entries[-1].seq if entries else 0))
        assert isinstance(page, LogPage), page
        entries += page.entries
        if not page.more:
            return entries[::-1]


def test_processes_that_were_stopped_past_their_lease_change_nothing_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path / "store") as coordinator:
        holders = [
            Holder(coordinator.endpoint, f"holder-{number}", f"{number}.md", 1.0)
            for number in range(STOPPED_TRIALS)
        ]
        takers = [Peer(coordinator.endpoint, f"taker-{number}") for number in range(len(holders))]
        late_count = 0
        for taker, holder in zip(takers, holders, strict=True):
            taker.opened()
            for _ in range(3):
                holder.line()
            send(taker, AcquireLease(holder.path, ttl_seconds=60, wait_seconds=60))
            holder.process.send_signal(signal.SIGSTOP)
        for taker, holder in zip(takers, holders, strict=True):
            _, reply = answer(taker)
            assert isinstance(reply, Leased), reply
            token = reply.lease.token
            assert token > holder.token
            text = b"from the one that holds it now\n"
            for _ in range(3):
                written = taker.ask(Transact((Put(holder.path, text),), leases=(token,)))
                assert isinstance(written, Committed), written
            holder.process.send_signal(signal.SIGCONT)
            *acknowledged, refusal = holder.rest()
            assert refusal == ErrorCode.STALE_LEASE
            entries = [each for each in log_of(taker, holder.path) if each.revision]
            by_holder = [each.seq for each in entries if each.session == holder.session]
            assert set(map(int, acknowledged)) <= set(by_holder)
            late_count += sum(seq > token for seq in by_holder)
            # What came too late is kept.
            drafts = taker.ask(Log(limit=5, session=holder.session, action=Action.DRAFT))
            assert isinstance(drafts, LogPage) and len(drafts.entries) == 1
        for taker in takers:
            taker.close()
    assert late_count == 0
    with capsys.disabled():
        sys.stdout.write(
            f"\nstopped past their lease: {len(holders)} trials, {late_count} late writes\n"
        )


def test_a_stopped_process_whose_session_was_taken_over_is_told_so(
    coordinator: Coordinator,
) -> None:
    holder = Holder(coordinator.endpoint, "ann", "a.md", 60)
    holder.line()
    holder.process.send_signal(signal.SIGSTOP)
    with Peer(coordinator.endpoint, "ann") as successor:
        assert code(successor.open()) is ErrorCode.AGENT_BUSY
        opened = successor.open(takeover=True)
        assert isinstance(opened, Opened) and opened.predecessor == holder.session
        assert [each.path for each in opened.leases] == ["a.md"]
        token = opened.leases[0].token
        assert token > holder.token
        written = successor.ask(Transact((Put("a.md", b"new\n"),), leases=(token,)))
        assert isinstance(written, Committed)
        holder.process.send_signal(signal.SIGCONT)
        assert holder.rest()[-1] == ErrorCode.SESSION_SUPERSEDED
        entries = log_of(successor, "a.md")
        assert entries[-1].seq == written.seq


def test_with_enforced_leases_others_are_refused(tmp_path: Path) -> None:
    with running(tmp_path / "store"):
        config = tmp_path / "store" / ".agent-trace" / "config.toml"
        config.write_text(config.read_text().replace('# leases = "advisory"', 'leases="enforced"'))
    with running(tmp_path / "store") as coordinator:
        with Peer(coordinator.endpoint) as ann, Peer(coordinator.endpoint, "ben") as ben:
            lease(ann.opened(), "a.md")
            ben.opened()
            assert code(ben.ask(Transact((Put("a.md", b"x"),)))) is ErrorCode.LEASE_HELD


# ---- sessions -------------------------------------------------------------------------------


def test_sessions_that_have_ended_are_listed_with_everything(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as peer, Peer(coordinator.endpoint, "mia", Actor.USER) as mia:
        peer.opened().ask(Close("done for today"))
        mia.opened()
        first = sessions(mia, name="planner", ended=True)[0]
        assert (first.state, first.reason) == (SessionState.ENDED, "done for today")
        assert first.started_ms <= first.ended_ms
        again = Peer(coordinator.endpoint)
        opened = again.open()
        assert isinstance(opened, Opened) and opened.predecessor == first.id
        listed = sessions(mia, name="planner", ended=True)
        assert [each.state for each in listed] == [SessionState.LIVE, SessionState.ENDED]
        assert (listed[0].predecessor, listed[0].leases) == (first.id, 0)
        assert sessions(mia, id=first.id[:8], ended=True) == (first,)
        assert [each.name for each in sessions(mia, ended=True, limit=1)] == ["mia"]
        assert code(mia.ask(Sessions(limit=0))) is ErrorCode.INVALID_REQUEST
        again.close()


def test_an_evicted_session_is_told_and_can_not_come_back(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as ann, Peer(coordinator.endpoint, "mia", Actor.USER) as mia:
        opened = ann.open()
        assert isinstance(opened, Opened)
        lease(ann, "a.md")
        assert code(ann.ask(EvictSession(opened.session))) is ErrorCode.PERMISSION_DENIED
        assert isinstance(mia.opened().ask(EvictSession(opened.session, "stuck")), Done)
        refused = ann.ask(Heartbeat())
        assert code(refused) is ErrorCode.SESSION_SUPERSEDED
        assert isinstance(refused, Refused) and "evicted by mia: stuck" in refused.error.message
        assert code(ann.open()) is ErrorCode.SESSION_SUPERSEDED
        listed = mia.ask(Leases())
        assert isinstance(listed, LeaseList) and listed.leases == ()


def test_the_mirror_shows_sessions_and_leases_and_is_never_read(coordinator: Coordinator) -> None:
    mirror = coordinator.root / ".agent-trace" / "locks" / "agent-lock.toml"
    with Peer(coordinator.endpoint) as peer:
        held = lease(peer.opened(), "plans/*")

        def shown() -> bool:
            try:
                shown = tomllib.loads(mirror.read_text())
            except (FileNotFoundError, tomllib.TOMLDecodeError):
                return False
            return [each["token"] for each in shown.get("lease", [])] == [held.token]

        eventually(shown)
        read = tomllib.loads(mirror.read_text())
        assert [each["name"] for each in read["session"]] == ["planner"]
        assert mirror.stat().st_mode & 0o077 == 0
        mirror.write_text("[[lease]\nthis is = not TOML")
        with Peer(coordinator.endpoint, "ben") as ben:
            assert code(ben.opened().ask(AcquireLease("plans/a.md"))) is ErrorCode.LEASE_HELD
            eventually(shown)
            mirror.unlink()
            ben.ask(Close())
        eventually(shown)


# ---- events ---------------------------------------------------------------------------------


def test_events_come_in_order_once_and_across_a_kill(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as writer, Peer(coordinator.endpoint, "ben") as reader:
        writer.opened()
        for number in range(30):
            writer.do(Append("notes.md", f"{number}\n".encode()))
        reader.opened()
        seen: list[LogEntry] = []
        cursor = 0
        while len(seen) < 20:
            page = events(reader, cursor, limit=7)
            seen += page.events
            cursor = page.cursor
        coordinator.end(signal.SIGKILL)
        coordinator.start()
        for peer in (writer, reader):
            peer.connect()
            assert isinstance(peer.open(), Opened)
        for number in range(30, 40):
            writer.do(Append("notes.md", f"{number}\n".encode()))
        while not seen or seen[-1].revision < 40:
            page = events(reader, cursor, limit=7, wait_seconds=5)
            seen += page.events
            cursor = page.cursor
        assert [each.seq for each in seen] == list(range(1, seen[-1].seq + 1))
        changes = [each.revision for each in seen if each.path]
        assert changes == list(range(1, 41))


def test_a_follower_is_answered_when_something_happens(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as writer, Peer(coordinator.endpoint, "ben") as reader:
        start = writer.opened().do(Put("a.md", b"one\n")).seq
        reader.opened()
        everything = send(reader, Events(start + 1, wait_seconds=30))
        plans = send(reader, Events(start + 1, wait_seconds=30, path="plans/*"))
        edits = send(reader, Events(start + 1, wait_seconds=30, actions=(Action.DELETE,)))
        assert not reader.socket.poll(100)
        first = writer.do(Put("b.md", b"one\n")).seq
        number, page = answer(reader)
        assert number == everything and isinstance(page, EventPage)
        assert [each.seq for each in page.events] == [first] and page.cursor == first
        assert not reader.socket.poll(100)
        second = writer.do(Move("b.md", "plans/b.md")).seq
        number, page = answer(reader)
        assert number == plans and isinstance(page, EventPage)
        assert [each.seq for each in page.events] == [second]
        third = writer.do(Delete("plans/b.md"), Delete("a.md")).seq
        number, page = answer(reader)
        assert number == edits and isinstance(page, EventPage)
        assert [(each.seq, each.path) for each in page.events] == [
            (third, "plans/b.md"),
            (third, "a.md"),
        ]


def test_a_follower_that_waited_in_vain_gets_the_cursor_to_go_on_with(
    coordinator: Coordinator,
) -> None:
    with Peer(coordinator.endpoint) as peer:
        seq = peer.opened().do(Put("a.md", b"one\n")).seq
        page = events(peer, 0, path="elsewhere/**", wait_seconds=0.2)
        assert page == EventPage((), seq, False)
        assert code(peer.ask(Events(seq + 1))) is ErrorCode.INVALID_REQUEST
        assert code(peer.ask(Events(0, limit=0))) is ErrorCode.INVALID_REQUEST
        assert code(peer.ask(Events(0, wait_seconds=301))) is ErrorCode.INVALID_REQUEST
        assert code(peer.ask(Events(0, path="../x"))) is ErrorCode.INVALID_PATH


def test_events_tell_of_sessions_leases_and_drafts(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as peer:
        peer.opened()
        held = lease(peer, "plans/*")
        peer.do(Put("plans/a.md", b"one\n"))
        peer.ask(Transact((Put("plans/a.md", b"late\n", 7),)))
        peer.ask(ReleaseLease(held.token))
        told = [(each.action, each.path) for each in events(peer, 0).events]
        assert told == [
            (Action.OPEN, ""),
            (Action.LEASE, "plans/*"),
            (Action.CREATE, "plans/a.md"),
            (Action.DRAFT, "plans/a.md"),
            (Action.RELEASE, "plans/*"),
        ]
        concerning = events(peer, 0, path="plans/a.md").events
        assert [each.action for each in concerning] == [
            Action.LEASE,
            Action.CREATE,
            Action.DRAFT,
            Action.RELEASE,
        ]
        logged = peer.ask(Log())
        assert isinstance(logged, LogPage)
        assert [(each.action, each.path) for each in reversed(logged.entries)] == told
