"""A repeated request gets its first answer, refusals included, and nothing is counted twice."""

from __future__ import annotations

from agent_trace_coordinator.core.records import Repeated
from agent_trace_coordinator.core.refusals import REFUSALS_MAX
from agent_trace_protocol import (
    Actor,
    Committed,
    DiscardViolation,
    DocumentType,
    Edit,
    ErrorCode,
    Opened,
    Put,
    Refused,
    Transact,
)
from support.core import Desk

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
