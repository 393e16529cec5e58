"""Leases, decided by the core: who gets one, when it ends, and what it means for a write."""

from __future__ import annotations

import dataclasses
import random

import pytest

from agent_trace_coordinator.core.effects import Answer
from agent_trace_coordinator.core.effects import Append as AppendEffect
from agent_trace_coordinator.core.inputs import Facts, Now, Received, Tick
from agent_trace_coordinator.core.lease_queue import sessions_waited_for
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.records import (
    Changed,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    SessionClosed,
    SessionEnded,
    SessionOpened,
)
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_protocol import (
    AcceptDraft,
    AcquireLease,
    Actor,
    Append,
    CancelLease,
    Close,
    Committed,
    Delete,
    Done,
    Edit,
    ErrorCode,
    ErrorInfo,
    EvictSession,
    Heartbeat,
    Leased,
    LeaseInfo,
    LeaseList,
    Leases,
    Move,
    Opened,
    Operation,
    Put,
    Refused,
    ReleaseLease,
    RenewLease,
    Reply,
    Request,
    Restore,
    SessionKind,
    ShowViolation,
    Stop,
    Transact,
    Unlock,
    parse_pattern,
)
from agent_trace_protocol.limits import LEASE_WAITERS_MAX, LEASES_MAX, LEASES_OF_SESSION_MAX
from support.core import Desk, Member


def granted(reply: Reply | None) -> LeaseInfo:
    assert isinstance(reply, Leased), reply
    return reply.lease


def refused(reply: Reply | None) -> ErrorInfo:
    assert isinstance(reply, Refused), reply
    return reply.error


def acquire(
    member: Member,
    path: str,
    *,
    shared: bool = False,
    ttl: float = 10.0,
    wait: float = 0.0,
    steal: bool = False,
) -> Reply | None:
    return member.ask(AcquireLease(path, shared, ttl, wait, steal))


def lease(member: Member, path: str, *, shared: bool = False, ttl: float = 10.0) -> LeaseInfo:
    return granted(acquire(member, path, shared=shared, ttl=ttl))


def late(member: Member) -> Reply | None:
    """Return the answer to the member's last request, if it has come by now."""
    return member.desk.late.get((member.key, member.number))


def write(member: Member, path: str, *tokens: int, text: str = "text\n") -> Reply | None:
    return member.ask(Transact((Put(path, text.encode()),), leases=tokens))


def listed(member: Member, path: str = "") -> LeaseList:
    reply = member.ask(Leases(path))
    assert isinstance(reply, LeaseList), reply
    return reply


def bodies(desk: Desk) -> list[str]:
    return [type(entry.record.body).__name__ for entry in desk.entries]


def enforced() -> Desk:
    return Desk(State(epoch=1, store="test", rules=Rules(leases_enforced=True)))


# ---- getting one ----------------------------------------------------------------------------


def test_a_lease_is_a_record_and_its_seq_is_the_token() -> None:
    desk = Desk()
    ann = desk.member("ann")
    info = lease(ann, "plans/*.md", ttl=30)
    record = desk.entries[-1].record
    assert (info.token, record.body) == (record.seq, LeaseGranted("plans/*.md", False, 30_000))
    assert (info.holder, info.session, info.left_seconds) == ("ann", ann.session, 30.0)
    assert listed(ann).leases == (info,)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.md", "a.md"),
        ("a.md", "A.MD"),
        ("plans/*", "plans/a.md"),
        ("plans/**", "**/a.md"),
        ("*.md", "a*"),
        ("straße.md", "STRASSE.md"),
    ],
)
def test_leases_of_two_sessions_do_not_overlap(first: str, second: str) -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, first)
    desk.tick(3)
    error = refused(acquire(ben, second))
    assert error.code is ErrorCode.LEASE_HELD and error.lease is not None
    assert (error.lease.holder, error.lease.session) == ("ann", ann.session)
    assert (error.lease.since_seq, error.lease.left_seconds) == (held.token, 7.0)
    assert "ann" in error.message and "7 s" in error.message
    assert bodies(desk).count("LeaseGranted") == 1


def test_leases_on_other_documents_do_not_disturb_each_other() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    lease(ann, "a/*.md")
    lease(ben, "b/*.md")
    lease(ben, "a/c/d.md")
    lease(ben, "a/x.txt")


def test_shared_leases_stand_beside_each_other_and_keep_exclusive_ones_out() -> None:
    desk = Desk()
    ann, ben, cam = desk.member("ann"), desk.member("ben"), desk.member("cam")
    lease(ann, "plan.md", shared=True)
    lease(ben, "*.md", shared=True)
    assert refused(acquire(cam, "plan.md")).code is ErrorCode.LEASE_HELD
    lease(cam, "plan.md", shared=True)


def test_a_session_that_has_the_lease_gets_it_again() -> None:
    desk = Desk()
    ann = desk.member("ann")
    first = lease(ann, "a.md")
    desk.tick(4)
    assert lease(ann, "a.md") == first
    assert bodies(desk) == ["SessionOpened", "LeaseGranted"]
    assert lease(ann, "a.md", ttl=60).ttl_seconds == 60
    assert desk.entries[-1].record.body == LeaseExtended(first.token, "a.md", 60_000)


def test_another_form_of_the_same_lease_is_a_new_one_in_its_place() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    shared = lease(ann, "a.md", shared=True)
    lease(ben, "a.md", shared=True)
    assert refused(acquire(ann, "a.md")).code is ErrorCode.LEASE_HELD
    ben.ask(Close())
    alone = lease(ann, "a.md")
    assert alone.token > shared.token
    assert [each.token for each in listed(ann).leases] == [alone.token]
    assert refused(write(ann, "a.md", shared.token)).code is ErrorCode.STALE_LEASE


def test_the_lease_on_a_document_names_it_as_the_document_is_named() -> None:
    desk = Desk()
    ann = desk.member("ann")
    ann.put("Plan.md", "one\n")
    assert lease(ann, "PLAN.md").path == "Plan.md"


def test_a_one_shot_is_put_on_record_before_its_lease() -> None:
    desk = Desk()
    one_shot = Member(desk, "ann", Actor.AGENT, SessionKind.CLI)
    one_shot.open(ephemeral=True)
    lease(one_shot, "a.md")
    assert bodies(desk) == ["SessionOpened", "LeaseGranted"]


# ---- losing one -----------------------------------------------------------------------------


def test_a_lease_ends_its_time_after_the_last_sign_of_life() -> None:
    desk = Desk()
    ann = desk.member("ann")
    held = lease(ann, "a.md", ttl=5)
    desk.tick(4)
    ann.ask(Heartbeat())
    desk.tick(5)
    assert held.token in desk.state.leases.by_token
    desk.tick(1)
    assert desk.entries[-1].record.body == LeaseReleased(held.token, "a.md", "expired")
    assert refused(ann.ask(RenewLease(held.token))).code is ErrorCode.STALE_LEASE


def test_a_heartbeat_at_the_moment_of_expiry_comes_in_time() -> None:
    desk = Desk()
    ann = desk.member("ann")
    held = lease(ann, "a.md", ttl=5)
    desk.time += 5.5
    ann.ask(Heartbeat())
    desk.run(step(desk.state, Tick(), desk.now()))
    assert held.token in desk.state.leases.by_token


def test_a_lease_can_be_renewed_for_another_duration() -> None:
    desk = Desk()
    ann = desk.member("ann")
    held = lease(ann, "a.md", ttl=5)
    desk.tick(2)
    assert granted(ann.ask(RenewLease(held.token))) == held
    assert granted(ann.ask(RenewLease(held.token, 300))).left_seconds == 300
    assert desk.entries[-1].record.body == LeaseExtended(held.token, "a.md", 300_000)


def test_a_released_lease_is_free_and_releasing_it_twice_is_told() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "a.md")
    assert isinstance(ann.ask(ReleaseLease(held.token)), Done)
    lease(ben, "a.md")
    assert refused(ann.ask(ReleaseLease(held.token))).code is ErrorCode.STALE_LEASE


@pytest.mark.parametrize("how", ["close", "expire", "evict"])
def test_the_end_of_a_session_is_the_end_of_its_leases(how: str) -> None:
    desk = Desk()
    ann, user = desk.member("ann"), desk.member("mia", Actor.USER)
    lease(ann, "a.md", ttl=3600)
    lease(ann, "b/*", ttl=3600)
    if how == "close":
        ann.ask(Close())
    elif how == "evict":
        assert isinstance(user.ask(EvictSession(ann.session, "it went mad")), Done)
        body = desk.entries[-1].record.body
        assert isinstance(body, SessionEnded) and body.reason == "evicted by mia: it went mad"
    else:
        for _ in range(45):
            user.ask(Heartbeat())
            desk.tick(1)
    assert listed(user).leases == ()
    assert "LeaseReleased" not in bodies(desk)


def test_only_a_user_evicts_and_not_itself() -> None:
    desk = Desk()
    ann, ben, user = desk.member("ann"), desk.member("ben"), desk.member("mia", Actor.USER)
    assert refused(ann.ask(EvictSession(ben.session))).code is ErrorCode.PERMISSION_DENIED
    assert refused(user.ask(EvictSession(user.session))).code is ErrorCode.INVALID_REQUEST
    assert refused(user.ask(EvictSession("nobody"))).code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("why", ["stale", "gone", "takeover"])
def test_a_successor_gets_the_leases_with_new_tokens_before_anybody_who_waits(why: str) -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    first = lease(ann, "a.md", ttl=3600)
    second = lease(ann, "b/*", shared=True, ttl=3600)
    acquire(ben, "a.md", wait=600)
    successor = Member(desk, "ann", Actor.AGENT)
    if why == "stale":
        desk.tick(11)
        ben.ask(Heartbeat())
        opened = successor.open()
    elif why == "gone":
        opened = successor.open(Facts(holder_gone=True))
    else:
        opened = successor.open(takeover=True)
    assert isinstance(opened, Opened)
    assert [(each.path, each.shared) for each in opened.leases] == [("a.md", False), ("b/*", True)]
    assert all(each.token > second.token for each in opened.leases)
    assert [each.record.body for each in desk.entries[-2:]] == [
        LeaseGranted("a.md", False, 3_600_000, first.token),
        LeaseGranted("b/*", True, 3_600_000, second.token),
    ]
    assert len(desk.late) == 0
    assert isinstance(write(successor, "a.md", opened.leases[0].token), Committed)
    ended = Facts(session_ended=f"superseded by {successor.session}")
    error = refused(desk.ask(ann.key, 99, Transact((Put("a.md", b"late"),)), ended))
    assert error.code is ErrorCode.SESSION_SUPERSEDED


def test_time_in_which_the_coordinator_did_not_run_ends_no_lease() -> None:
    desk = Desk()
    ann = desk.member("ann")
    held = lease(ann, "a.md")
    desk.tick(5)
    desk.time += 3600
    desk.tick(1)
    assert held.token in desk.state.leases.by_token
    desk.tick(5)
    assert held.token not in desk.state.leases.by_token


def test_a_user_steals_a_lease_and_it_is_on_record() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    user = desk.member("mia", Actor.USER)
    held = lease(ann, "plans/*")
    assert refused(acquire(ben, "plans/a.md", steal=True)).code is ErrorCode.PERMISSION_DENIED
    acquire(ben, "plans/*", wait=60)
    stolen = granted(acquire(user, "plans/a.md", steal=True))
    assert desk.entries[-2].record.body == LeaseReleased(held.token, "plans/*", "stolen by mia")
    error = refused(write(ann, "plans/a.md", held.token))
    assert error.lease is not None
    assert (error.lease.holder, error.lease.since_seq) == ("mia", stolen.token)
    # Who waited still waits.
    assert late(ben) is None and len(listed(user).waiters) == 1


# ---- waiting --------------------------------------------------------------------------------


def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    desk = Desk()
    ann, ben, cam = desk.member("ann"), desk.member("ben"), desk.member("cam")
    held = lease(ann, "a.md")
    assert acquire(ben, "a.md", wait=60) is None
    assert acquire(cam, "*.md", wait=60) is None
    ann.ask(ReleaseLease(held.token))
    bens = granted(late(ben))
    assert late(cam) is None
    ben.ask(ReleaseLease(bens.token))
    key = cam.key, 1
    assert granted(desk.late[key]).path == "*.md"


def test_nobody_overtakes_somebody_who_waits_for_the_same() -> None:
    desk = Desk()
    ann, ben, cam = desk.member("ann"), desk.member("ben"), desk.member("cam")
    lease(ann, "a.md", shared=True)
    acquire(ben, "a.md", wait=60)
    error = refused(acquire(cam, "a.md", shared=True))
    assert error.code is ErrorCode.LEASE_HELD and "ben has waited" in error.message
    lease(cam, "b.md")


def test_a_waiter_is_told_who_has_it_when_its_time_is_over() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "a.md", ttl=60)
    acquire(ben, "a.md", wait=3)
    desk.tick(2)
    assert late(ben) is None
    desk.tick(1)
    error = refused(late(ben))
    assert error.code is ErrorCode.LEASE_HELD and error.lease is not None
    assert (error.lease.holder, error.lease.since_seq) == ("ann", held.token)
    assert listed(ann).waiters == ()


def test_two_that_wait_for_each_other_are_told_and_the_first_gives_way() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    lease(ann, "a.md", ttl=60)
    bens = lease(ben, "b.md", ttl=60)
    acquire(ann, "b.md", wait=5)
    acquire(ben, "a.md", wait=20)
    circle = "ann waits for ben (b.md), ben waits for ann (a.md)"
    deadlocks = [each.deadlock for each in listed(desk.member("mia", Actor.USER)).waiters]
    assert deadlocks == [circle, "ben waits for ann (a.md), ann waits for ben (b.md)"]
    desk.tick(5)
    error = refused(late(ann))
    assert error.lease is not None and error.lease.deadlock == circle
    assert late(ben) is None
    ann.ask(Close())
    assert granted(late(ben)).path == "a.md"
    assert bens.token in desk.state.leases.by_token


def test_a_deadlock_of_upgrades_is_told_at_once_to_who_does_not_wait() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    lease(ann, "a.md", shared=True)
    lease(ben, "a.md", shared=True)
    acquire(ann, "a.md", wait=60)
    error = refused(acquire(ben, "a.md"))
    assert error.lease is not None
    assert error.lease.deadlock == "ben waits for ann (a.md), ann waits for ben (a.md)"


def test_a_lease_that_expires_goes_to_who_waits_for_it() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    lease(ann, "a.md", ttl=2)
    acquire(ben, "a.md", wait=60)
    desk.tick(3)
    assert granted(late(ben)).holder == "ben"


def test_the_lease_of_a_process_that_is_gone_is_free_at_once() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "a.md", ttl=3600)
    acquire(ben, "a.md", wait=60)
    assert sessions_waited_for(desk.state) == {ann.session}
    desk.run(step(desk.state, Tick(frozenset({ann.session})), desk.now()))
    assert desk.entries[-2].record.body == LeaseReleased(held.token, "a.md", "its process is gone")
    assert granted(late(ben)).holder == "ben"


def test_a_waiter_that_ended_or_fell_silent_gets_nothing_and_blocks_nobody() -> None:
    desk = Desk()
    ann, ben, cam = desk.member("ann"), desk.member("ben"), desk.member("cam")
    dan = desk.member("dan")
    held = lease(ann, "a.md", ttl=3600)
    acquire(ben, "a.md", wait=600)
    acquire(cam, "a.md", wait=600)
    acquire(dan, "a.md", wait=600)
    ben.ask(Close())
    key = ben.key, 1
    assert refused(desk.late[key]).code is ErrorCode.SESSION_SUPERSEDED
    desk.tick(11)
    dan.ask(Heartbeat())
    desk.ask(ann.key, 2, ReleaseLease(held.token))
    assert late(cam) is None
    assert granted(desk.late[dan.key, 1]).holder == "dan"
    # It came back, and goes on waiting.
    cam.ask(Heartbeat())
    desk.ask(dan.key, 3, Close())
    assert granted(desk.late[cam.key, 1]).holder == "cam"


def test_who_waits_and_asks_again_over_another_connection_keeps_its_place() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "a.md")
    request = AcquireLease("a.md", False, 10.0, 60.0)
    assert ben.ask(request) is None
    assert desk.ask(ben.key, ben.number, request) is None
    assert len(listed(ann).waiters) == 1
    error = refused(desk.ask(ben.key, ben.number, AcquireLease("b.md")))
    assert error.code is ErrorCode.REQUEST_REUSED
    ann.ask(ReleaseLease(held.token))
    assert granted(late(ben)).path == "a.md"


def test_a_request_that_nobody_waits_for_any_more_is_undone() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "a.md")
    acquire(ben, "a.md", wait=60)
    assert isinstance(ben.ask(CancelLease(1)), Done)
    assert refused(desk.late[ben.key, 1]).code is ErrorCode.LEASE_HELD
    acquire(ben, "a.md", wait=60)
    number = ben.number
    ann.ask(ReleaseLease(held.token))
    token = granted(late(ben)).token
    ben.ask(CancelLease(number))
    assert desk.entries[-1].record.body == LeaseReleased(token, "a.md", "cancelled")
    assert isinstance(ben.ask(CancelLease(number)), Done)


# ---- repeating ------------------------------------------------------------------------------


def test_a_repeated_request_gets_its_first_answer_and_nothing_is_done_twice() -> None:
    desk = Desk()
    ann = desk.member("ann")
    request = AcquireLease("a.md")
    first = ann.ask(request)
    count = len(desk.entries)
    assert desk.ask(ann.key, 1, request) == first
    held = granted(first)
    release = ReleaseLease(held.token)
    assert isinstance(ann.ask(release), Done)
    assert isinstance(desk.ask(ann.key, 2, release), Done)
    assert len(desk.entries) == count + 1
    assert refused(desk.ask(ann.key, 1, request)).code is ErrorCode.STALE_LEASE
    assert refused(desk.ask(ann.key, 1, AcquireLease("b.md"))).code is ErrorCode.REQUEST_REUSED
    assert refused(desk.ask(ann.key, 2, ReleaseLease(1))).code is ErrorCode.REQUEST_REUSED


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (AcquireLease("a.md", ttl_seconds=0.99), ErrorCode.INVALID_REQUEST),
        (AcquireLease("a.md", ttl_seconds=86_401), ErrorCode.INVALID_REQUEST),
        (AcquireLease("a.md", wait_seconds=3601), ErrorCode.INVALID_REQUEST),
        (AcquireLease("../a.md"), ErrorCode.INVALID_PATH),
        (AcquireLease("a**"), ErrorCode.INVALID_PATH),
        (AcquireLease(".agent-trace/*"), ErrorCode.INVALID_PATH),
        (AcquireLease("a\nSeq: 1"), ErrorCode.INVALID_PATH),
        (RenewLease(4711), ErrorCode.STALE_LEASE),
        (RenewLease(0), ErrorCode.STALE_LEASE),
        (ReleaseLease(4711), ErrorCode.STALE_LEASE),
        (Leases(limit=0), ErrorCode.INVALID_REQUEST),
        (Leases("a//b"), ErrorCode.INVALID_PATH),
    ],
)
def test_bad_input_is_a_typed_error_and_changes_nothing(request_: Request, code: ErrorCode) -> None:
    desk = Desk()
    ann = desk.member("ann")
    count = len(desk.entries)
    assert refused(ann.ask(request_)).code is code
    assert refused(desk.ask(ann.key, 0, request_)).code in {code, ErrorCode.INVALID_REQUEST}
    assert len(desk.entries) == count


def test_a_reader_holds_no_lease() -> None:
    reader = Desk().member("eve", Actor.READER)
    assert refused(acquire(reader, "a.md")).code is ErrorCode.PERMISSION_DENIED


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 201])
def test_a_reason_for_an_eviction_is_one_line(reason: str) -> None:
    desk = Desk()
    ann, user = desk.member("ann"), desk.member("mia", Actor.USER)
    error = refused(user.ask(EvictSession(ann.session, reason)))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert isinstance(ann.ask(Heartbeat()), Done)


def test_jumps_of_the_wall_clock_end_no_lease_and_keep_none() -> None:
    desk = Desk()
    ann = desk.member("ann")
    held = lease(ann, "a.md", ttl=30)
    year_ms = 365 * 86_400_000
    for years in (10, -40, 0):
        desk.time += 9
        now = Now(desk.time, desk.now().wall_ms + years * year_ms)
        desk.run(step(desk.state, Tick(), now))
        assert held.token in desk.state.leases.by_token
        ann.ask(Heartbeat())
    for _ in range(31):
        desk.time += 1
        desk.run(step(desk.state, Tick(), Now(desk.time, 0)))
    assert held.token not in desk.state.leases.by_token


def test_a_session_that_is_not_open_can_do_nothing_with_leases() -> None:
    desk = Desk()
    held = lease(desk.member("ann"), "a.md")
    for request in (AcquireLease("b.md"), RenewLease(held.token), ReleaseLease(held.token)):
        assert refused(desk.ask(bytes(16), 1, request)).code is ErrorCode.SESSION_UNKNOWN


def test_the_lease_of_another_can_be_neither_renewed_nor_released_nor_used() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "a.md")
    for reply in (
        ben.ask(RenewLease(held.token)),
        ben.ask(ReleaseLease(held.token)),
        write(ben, "a.md", held.token),
    ):
        error = refused(reply)
        assert error.code is ErrorCode.STALE_LEASE and error.lease is not None
        assert (error.lease.holder, error.lease.since_seq) == ("ann", held.token)
    assert held.token in desk.state.leases.by_token


def test_there_is_a_limit_on_leases_and_it_is_told() -> None:
    desk = Desk()
    members = [desk.member(f"agent-{number}") for number in range(LEASES_MAX // 1000 + 1)]

    def ask(member: Member, path: str) -> Reply:
        # Without the checks of a desk: each would go through all leases so far.
        member.number += 1
        request = AcquireLease(path)
        received = Received(member.session, member.number, b"", request, Facts(), member.key)
        answer = step(desk.state, received, desk.now())[-1]
        assert isinstance(answer, Answer)
        return answer.reply

    for member in members[:-1]:
        for index in range(LEASES_OF_SESSION_MAX):
            granted(ask(member, f"{member.name}/{index}.md"))
        error = refused(ask(member, "one-more.md"))
        assert error.code is ErrorCode.TOO_MANY
    assert len(desk.state.leases.by_token) == LEASES_MAX
    error = refused(ask(members[-1], "one-more.md"))
    assert error.code is ErrorCode.TOO_MANY and "the store" in error.message


def test_there_is_a_limit_on_those_who_wait() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    lease(ann, "a.md")
    acquire(ben, "a.md", wait=60)
    waiter = next(iter(desk.state.waiters.values()))
    for number in range(2, LEASE_WAITERS_MAX + 1):
        desk.state.waiters[ben.session, number] = dataclasses.replace(waiter, number=number)
    ben.number = LEASE_WAITERS_MAX
    assert refused(acquire(ben, "a.md", wait=60)).code is ErrorCode.TOO_MANY


def test_who_waits_is_not_told_of_the_end_of_its_session_before_that_is_durable() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    lease(ann, "a.md")
    acquire(ben, "a.md", wait=60)
    closing = Received(ben.session, ben.number + 1, b"", Close(), Facts(), ben.key)
    effects = step(desk.state, closing, desk.now())
    (ended,) = [each.entry.record.seq for each in effects if isinstance(each, AppendEffect)]
    assert all(each.after >= ended for each in effects if isinstance(each, Answer))


def test_a_program_that_comes_back_is_told_a_number_that_nothing_waits_under() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    lease(ann, "a.md")
    acquire(ben, "a.md", wait=60)
    opened = ben.open()
    assert isinstance(opened, Opened) and opened.next_number == ben.number + 1


def test_while_the_disk_takes_no_writes_a_refusal_leaves_no_record() -> None:
    desk = Desk()
    user, agent = desk.member("ann", Actor.USER), desk.member("ben")
    user.put("a.md", "one\n")
    user.ask(Unlock("a.md", seconds=1))
    desk.time += 5
    count = len(desk.entries)
    facts = Facts(takes_writes=False)
    for member, request_ in ((agent, Stop()), (agent, ShowViolation("violation-1"))):
        reply = desk.ask(member.key, 99, request_, facts)
        assert refused(reply).code is ErrorCode.PERMISSION_DENIED
        assert refused(reply).violation == ""
    previous = desk.previous(user.session, 1)
    again = Transact((Put("a.md", b"one\n"),))
    desk.ask(user.key, 1, again, Facts(previous=previous, takes_writes=False))
    assert len(desk.entries) == count


# ---- writing --------------------------------------------------------------------------------


def test_a_write_under_a_lease_that_has_ended_is_refused_and_its_text_kept() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("a.md", "one\n")
    held = lease(ann, "a.md")
    ann.ask(ReleaseLease(held.token))
    newer = lease(ben, "a.md")
    error = refused(write(ann, "a.md", held.token, text="two\n"))
    assert error.code is ErrorCode.STALE_LEASE and error.lease is not None
    assert (error.lease.holder, error.lease.session) == ("ben", ben.session)
    assert (error.lease.since_seq, error.lease.path) == (newer.token, "a.md")
    # The same answer, and no second draft, when it is repeated.
    count = len(desk.entries)
    again = desk.ask(ann.key, ann.number, Transact((Put("a.md", b"two\n"),), leases=(held.token,)))
    assert refused(again) == error and len(desk.entries) == count
    ben.ask(ReleaseLease(newer.token))
    ann.do(AcceptDraft(error.lease.draft))
    assert ann.read("a.md") == "two\n"


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (Put("a.md", b"mine\n"), "mine\n"),
        (Append("a.md", b"more\n"), "one\nmore\n"),
        (Edit("a.md", b"one", b"1"), "1\n"),
    ],
)
def test_what_a_late_write_would_have_made_is_kept(operation: Operation, text: str) -> None:
    desk = Desk()
    ann = desk.member("ann")
    ann.put("a.md", "one\n")
    error = refused(ann.ask(Transact((operation,), leases=(4711,))))
    assert error.code is ErrorCode.STALE_LEASE and error.lease is not None
    assert (error.lease.holder, error.lease.since_seq) == ("", 0)
    assert desk.entries[-1].contents[0][1].decode() == text


@pytest.mark.parametrize(
    "operation",
    [
        Delete("a.md"),
        Move("a.md", "b.md"),
        Restore("a.md", 1),
        Edit("a.md", b"not there", b"x"),
    ],
)
def test_a_late_operation_without_a_text_leaves_no_record(operation: Operation) -> None:
    desk = Desk()
    ann = desk.member("ann")
    ann.put("a.md", "one\n")
    count = len(desk.entries)
    error = refused(ann.ask(Transact((operation,), leases=(4711,))))
    assert error.code is ErrorCode.STALE_LEASE
    assert len(desk.entries) == count


def test_a_token_is_checked_for_every_document_of_a_transaction() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "a.md")
    lease(ben, "b.md")
    both = Transact((Put("a.md", b"x"), Put("b.md", b"x")), leases=(held.token,))
    assert refused(ann.ask(both)).code is ErrorCode.STALE_LEASE
    free = Transact((Put("a.md", b"x"), Put("c.md", b"x")), leases=(held.token,))
    assert isinstance(ann.ask(free), Committed)


def test_a_write_across_the_lease_of_another_is_warned_when_leases_are_advice() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = lease(ann, "plans/*")
    reply = write(ben, "plans/a.md")
    assert isinstance(reply, Committed)
    assert reply.warnings == (held,)
    mine = write(ann, "plans/a.md")
    assert isinstance(mine, Committed) and mine.warnings == ()


def test_a_write_across_the_lease_of_another_is_refused_when_leases_are_enforced() -> None:
    desk = enforced()
    ann, ben = desk.member("ann"), desk.member("ben")
    ben.put("plans/a.md", "one\n")
    held = lease(ann, "plans/*")
    operations: tuple[Operation, ...] = (
        Put("plans/a.md", b"x"),
        Put("plans/new.md", b"x"),
        Delete("plans/a.md"),
        Move("plans/a.md", "elsewhere.md"),
        Restore("plans/a.md", 1),
    )
    for operation in operations:
        error = ben.fail(operation)
        assert error.code is ErrorCode.LEASE_HELD and error.lease is not None
        assert error.lease.since_seq == held.token
    assert isinstance(write(ann, "plans/a.md"), Committed)
    assert isinstance(write(ben, "elsewhere.md"), Committed)
    user = desk.member("mia", Actor.USER)
    assert user.fail(Put("plans/a.md", b"x")).code is ErrorCode.LEASE_HELD


def test_holders_of_shared_leases_write_beside_each_other_and_nobody_else_does() -> None:
    desk = enforced()
    ann, ben, cam = desk.member("ann"), desk.member("ben"), desk.member("cam")
    anns, bens = lease(ann, "a.md", shared=True), lease(ben, "a.md", shared=True)
    assert isinstance(write(ann, "a.md", anns.token), Committed)
    assert isinstance(write(ben, "a.md", bens.token), Committed)
    assert isinstance(write(ben, "a.md"), Committed)
    assert cam.fail(Put("a.md", b"x")).code is ErrorCode.LEASE_HELD


def test_a_lease_follows_its_document() -> None:
    desk = enforced()
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("a.md", "one\n")
    held = lease(ann, "a.md")
    ann.do(Move("a.md", "b/c.md"))
    assert [each.path for each in listed(ann).leases] == ["b/c.md"]
    assert ben.fail(Put("b/c.md", b"x")).code is ErrorCode.LEASE_HELD
    assert isinstance(write(ann, "b/c.md", held.token), Committed)
    lease(ben, "a.md")
    assert refused(write(ann, "a.md", held.token)).code is ErrorCode.STALE_LEASE


def test_a_lease_follows_within_a_transaction_too() -> None:
    desk = enforced()
    ann = desk.member("ann")
    ann.put("a.md", "one\n")
    held = lease(ann, "a.md")
    request = Transact((Move("a.md", "b.md"), Put("b.md", b"two\n")), leases=(held.token,))
    assert isinstance(ann.ask(request), Committed)
    assert [each.path for each in listed(ann).leases] == ["b.md"]


@pytest.mark.parametrize(
    "moves",
    [
        (Move("a.md", "x/b.md"),),
        (Move("a.md", "t.md"), Move("t.md", "x/b.md")),
        (Move("a.md", "y.md"),),
    ],
)
def test_a_document_is_not_moved_to_where_its_lease_would_meet_another(
    moves: tuple[Move, ...],
) -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("a.md", "one\n")
    lease(ann, "a.md")
    lease(ben, "x/*")
    lease(ben, "y.md")
    error = desk.member("mia", Actor.USER).fail(*moves)
    assert error.code is ErrorCode.LEASE_HELD and error.lease is not None
    assert error.lease.holder == "ben"


def test_a_waiter_gets_a_path_that_a_lease_has_left_with_its_document() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("a.md", "one\n")
    lease(ann, "a.md")
    acquire(ben, "a.md", wait=60)
    ann.do(Move("a.md", "b.md"))
    assert granted(late(ben)).path == "a.md"


def test_a_lease_stays_where_a_document_was_deleted_and_made_again() -> None:
    desk = enforced()
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("a.md", "one\n")
    held = lease(ann, "a.md")
    ann.do(Delete("a.md"))
    assert ben.fail(Put("a.md", b"x")).code is ErrorCode.LEASE_HELD
    assert isinstance(write(ann, "a.md", held.token), Committed)


# ---- listing --------------------------------------------------------------------------------


def test_leases_are_listed_in_pages_and_by_path_and_session() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    tokens = [lease(ann, f"{number}.md").token for number in range(5)]
    glob = lease(ben, "plans/**")
    first = ann.ask(Leases(limit=3))
    assert isinstance(first, LeaseList) and first.more
    second = ann.ask(Leases(after=first.leases[-1].token, limit=3))
    assert isinstance(second, LeaseList) and not second.more
    seen = [each.token for each in (*first.leases, *second.leases)]
    assert seen == [*tokens, glob.token]
    assert [each.token for each in listed(ann, "plans/a.md").leases] == [glob.token]
    assert [each.token for each in listed(ann, "[0-2].md").leases] == []
    assert [each.token for each in listed(ann, "?.md").leases] == tokens
    of_ben = ann.ask(Leases(session=ben.session))
    assert isinstance(of_ben, LeaseList) and of_ben.leases == (glob,)


# ---- all of it at random --------------------------------------------------------------------


class Model:
    """What the records say about who holds what, the slow and obvious way."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[str, str, bool]] = {}
        self.highest = 0

    def take(self, desk: Desk, first: int) -> None:
        for entry in desk.entries[first:]:
            record = entry.record
            body = record.body
            if isinstance(body, LeaseGranted):
                assert record.seq > self.highest
                self.highest = record.seq
                self.held.pop(body.previous, None)
                self.held[record.seq] = record.session, body.path, body.shared
            elif isinstance(body, LeaseReleased):
                del self.held[body.token]
            elif isinstance(body, SessionClosed):
                self.held = {
                    token: each for token, each in self.held.items() if each[0] != record.session
                }
            elif isinstance(body, Changed):
                for change in body.changes:
                    if change.previous_path:
                        for token, (session, path, shared) in self.held.items():
                            if path == change.previous_path:
                                self.held[token] = session, change.path, shared

    def covering(self, path: str) -> dict[int, tuple[str, bool]]:
        return {
            token: (session, shared)
            for token, (session, pattern, shared) in self.held.items()
            if parse_pattern(pattern).matches(path)
        }


@pytest.mark.parametrize("mode", ["advisory", "enforced"])
@pytest.mark.parametrize("seed", range(40))
def test_no_write_under_a_lease_succeeds_beside_another_holder(seed: int, mode: str) -> None:
    draw = random.Random(seed)
    desk = enforced() if mode == "enforced" else Desk()
    members = [desk.member(name) for name in ("ann", "ben", "cam")]
    tokens: dict[str, list[int]] = {}
    model = Model()
    paths = ["a.md", "b.md", "x/c.md", "x/d.md"]
    written = 0
    for _ in range(300):
        first = len(desk.entries)
        member = draw.choice(members)
        choice = draw.random()
        mine = tokens.setdefault(member.name, [])
        if choice < 0.25:
            pattern = draw.choice([*paths, "x/*", "*.md", "**", "**/c.md"])
            shared, wait = draw.random() < 0.3, draw.choice([0.0, 0.0, 5.0, 30.0])
            reply = acquire(member, pattern, shared=shared, ttl=draw.choice([1, 5, 20]), wait=wait)
            if isinstance(reply, Leased):
                mine.append(reply.lease.token)
        elif choice < 0.35 and mine:
            # Kept in the list: a process may not notice that it has released or lost it.
            member.ask(ReleaseLease(draw.choice(mine)))
        elif choice < 0.65:
            path = draw.choice(paths)
            used = tuple(draw.sample(mine[-4:], min(len(mine), draw.choice([0, 1, 1, 2]))))
            before = model.covering(path)
            reply = write(member, path, *used, text=f"{draw.random()}\n")
            others = {token for token, (session, _) in before.items() if session != member.session}
            if isinstance(reply, Committed) and used:
                written += 1
                assert all(model.held[token][0] == member.session for token in used)
                assert not others or all(before[token][1] for token in others)
                assert not others or before.keys() & set(used)
            if isinstance(reply, Committed) and not used and mode == "advisory":
                warned = {each.token for each in reply.warnings}
                assert warned == (set() if before.keys() - others else others)
            if isinstance(reply, Committed) and not used and mode == "enforced":
                assert not others or before.keys() - others
        elif choice < 0.72:
            member.ask(Transact((Move(draw.choice(paths), draw.choice(paths)),)))
        elif choice < 0.77:
            successor = Member(desk, member.name, Actor.AGENT)
            opened = successor.open(takeover=True)
            assert isinstance(opened, Opened)
            # The old process's tokens go on being used, by the new one: none may work.
            mine += [each.token for each in opened.leases]
            members[members.index(member)] = successor
        else:
            for other in draw.sample(members, draw.randint(0, 3)):
                other.ask(Heartbeat())
            desk.tick(draw.choice([1, 1, 3]))
        for (key, _), reply in desk.late.items():
            if isinstance(reply, Leased):
                name = next((each.name for each in members if each.key == key), "")
                tokens.setdefault(name, []).append(reply.lease.token)
        desk.late.clear()
        model.take(desk, first)
        for index, each in enumerate(members):
            if each.session not in desk.state.sessions:
                members[index] = desk.member(each.name)
        held = {
            token: (each.session, each.pattern.text, each.shared)
            for token, each in desk.state.leases.by_token.items()
        }
        model.take(desk, len(desk.entries))
        assert held == model.held
    assert written > 0
    assert SessionOpened.__name__ in bodies(desk)
