"""A repeated request gets its first answer, refusals included, and nothing is counted twice."""

from __future__ import annotations

import pytest

from agent_trace_coordinator.core.records import Repeated
from agent_trace_coordinator.core.refusals import REFUSALS_MAX
from agent_trace_protocol import (
    AcquireLease,
    Actor,
    Close,
    Committed,
    DiscardViolation,
    DocumentType,
    Done,
    Edit,
    ErrorCode,
    Leased,
    Open,
    Opened,
    Put,
    Refused,
    ReleaseLease,
    Request,
    Stop,
    Transact,
)
from support.core import Desk
from support.messages import SAMPLES

EDIT = Transact((Edit("a.md", b"two", b"2"),))


def test_a_refusal_that_left_no_record_is_the_same_again() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("a.md", "one\n")
    first = ann.ask(EDIT)
    assert isinstance(first, Refused) and first.error.code is ErrorCode.NO_MATCH
    ben.put("a.md", "two\n")
    assert desk.ask(ann.key, ann.number, EDIT) == first
    other = desk.ask(ann.key, ann.number, Transact((Put("a.md", b"x"),)))
    assert isinstance(other, Refused) and other.error.code is ErrorCode.REQUEST_REUSED
    assert desk.ask(ann.key, ann.number, EDIT) == first
    # Another request is judged by what is there now, also with the same text.
    assert isinstance(ann.ask(EDIT), Committed)


def test_whoever_comes_back_goes_on_after_what_was_refused() -> None:
    """A program that begins anew with a session's key, as each command of a connected agent does,
    must not be given the number of a refusal: its next request would be called another content."""
    desk = Desk()
    ann = desk.member("ann")
    ann.put("a.md", "one\n")
    assert isinstance(ann.ask(EDIT), Refused)
    opened = ann.open()
    assert isinstance(opened, Opened) and opened.next_number == ann.number + 1
    desk.state.refusals.clear()
    opened = ann.open()
    assert isinstance(opened, Opened) and opened.next_number == ann.number + 1


def test_what_is_remembered_is_bounded_and_then_judged_afresh() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("a.md", "one\n")
    ann.ask(EDIT)
    number = ann.number
    ben.put("a.md", "two\n")
    for _ in range(REFUSALS_MAX):
        ben.ask(Transact((Edit("a.md", b"not there", b""),)))
    assert len(desk.state.refusals) == REFUSALS_MAX
    assert isinstance(desk.ask(ann.key, number, EDIT), Committed)


def test_an_attempt_is_counted_once_however_often_its_request_arrives() -> None:
    desk = Desk()
    mia, ann = desk.member("mia", Actor.USER), desk.member("ann")
    mia.do(Put("ref.md", b"one\n", type=DocumentType.REFERENCE))
    request = Transact((Put("ref.md", b"mine\n"),))
    first = ann.ask(request)
    assert isinstance(first, Refused) and first.error.violation
    assert ann.ask(request) == first
    record = desk.entries[-1].record
    assert record.body == Repeated(int(first.error.violation.removeprefix("violation-")), 2)
    assert record.request == ann.number
    count = len(desk.entries)
    # As after a restart: what was in memory only is gone, the record is found by its number.
    for _ in range(3):
        desk.state.refusals.clear()
        assert desk.ask(ann.key, ann.number, request) == first
    assert len(desk.entries) == count
    mia.ask(DiscardViolation(first.error.violation))
    desk.state.refusals.clear()
    gone = desk.ask(ann.key, ann.number, request)
    assert isinstance(gone, Refused) and gone.error.violation == first.error.violation


@pytest.mark.parametrize("actor", [Actor.USER, Actor.AGENT, Actor.READER])
def test_two_records_never_have_the_same_number_whatever_is_asked_under_it(actor: Actor) -> None:
    """Two of them would end the coordinator: the index of the journal takes each number once."""
    desk = Desk()
    member = desk.member("ann", actor)
    requests = [
        each.message
        for each in SAMPLES
        if isinstance(each.message, Request) and not isinstance(each.message, Open | Close)
    ]
    for last in range(1, 9):
        for index, request in enumerate(requests):
            # Each request twice under each of a few numbers, and as after a restart every now and
            # then.
            desk.ask(member.key, index % last + 1, request)
            if index % 3 == 0:
                desk.state.refusals.clear()
            desk.ask(member.key, index % last + 1, request)
    assert isinstance(member.open(), Opened)


def test_a_question_that_was_refused_is_counted_each_time_and_never_under_its_number() -> None:
    desk = Desk()
    ann = desk.member("ann")
    first = ann.ask(Stop())
    assert isinstance(first, Refused) and first.error.violation
    assert [desk.ask(ann.key, ann.number, Stop()) for _ in range(3)] == [first] * 3
    assert [entry.record.request for entry in desk.entries[1:]] == [0, 0, 0]
    assert isinstance(desk.ask(ann.key, ann.number, Transact((Put("a.md", b"1"),))), Committed)


def test_a_number_under_which_a_request_waits_is_not_for_another() -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    held = ann.ask(AcquireLease("a.md"))
    assert isinstance(held, Leased)
    assert ben.ask(AcquireLease("a.md", wait_seconds=60)) is None
    other = desk.ask(ben.key, ben.number, Transact((Put("b.md", b"1"),)))
    assert isinstance(other, Refused) and other.error.code is ErrorCode.REQUEST_REUSED
    assert isinstance(ann.ask(ReleaseLease(held.lease.token)), Done)
    assert isinstance(desk.late[ben.key, ben.number], Leased)
