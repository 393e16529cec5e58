"""What one request may cost everybody else: the work that a hostile text makes is bounded.

Counted, not timed: the lines of our own code that run while a request is decided.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.hunks import LINES_MAX, STEPS_MAX, Hunk, Steps, hunks
from agent_trace_coordinator.core.lines import COMPARED_LINES_MAX, compare
from agent_trace_coordinator.core.merge import merge
from agent_trace_coordinator.core.sections import HEADINGS_MAX, edit_section
from agent_trace_protocol import (
    Actor,
    Append,
    Committed,
    Edit,
    ErrorCode,
    NoMatch,
    Operation,
    Put,
    Refused,
    Restore,
    SectionEdit,
    SectionMode,
    Transact,
)
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX, MIB, OPERATIONS_MAX
from support.core import Desk

LINES_RUN_MAX = 1_200_000
"""Lines of ours that run for one request: some 30 ms without the counting."""

SIZE = MIB - 1024


def lines_run(work: Callable[[], object]) -> int:
    """Return how many lines of Python run, each turn of a loop again."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def words(seed: int, bits: int) -> bytes:
    """Return a document of lines that are all different, or nearly."""
    draw = random.Random(seed)
    count = SIZE // (bits // 4 + 1)
    return b"\n".join(b"%0*x" % (bits // 4, draw.getrandbits(bits)) for _ in range(count)) + b"\n"


def coins(seed: int, count: int) -> bytes:
    """Return lines of which there are two, in no order."""
    draw = random.Random(seed)
    return b"".join(draw.choice((b"a\n", b"b\n")) for _ in range(count))


def edited(seed: int) -> bytes:
    """Return a document with 800 of its lines changed."""
    draw = random.Random(seed)
    lines = words(0, 400).split(b"\n")
    for _ in range(800):
        lines[draw.randrange(len(lines) - 1)] = b"%0100x" % draw.getrandbits(400)
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("first", "theirs", "mine"),
    [
        pytest.param(words(1, 24), words(2, 24), words(3, 24), id="short lines"),
        pytest.param(words(1, 240), words(2, 240), words(3, 240), id="prose"),
        pytest.param(coins(1, 1000), coins(2, 1000), coins(3, 1000), id="two lines"),
        pytest.param(coins(1, SIZE // 2), coins(2, SIZE // 2), coins(3, SIZE // 2), id="many"),
        pytest.param(words(0, 400), edited(1), edited(2), id="many edits"),
        pytest.param(b"\n" * SIZE, b"a\n" * (SIZE // 2), b"b\n" * (SIZE // 2), id="empty lines"),
    ],
)
def test_a_write_that_comes_too_late_costs_others_little(
    first: bytes, theirs: bytes, mine: bytes
) -> None:
    desk = Desk()
    ann, mallory = desk.member("ann"), desk.member("mallory")
    ann.do(Put("x.md", first))
    assert lines_run(lambda: ann.do(Put("x.md", theirs))) < LINES_RUN_MAX
    late = Transact((Put("x.md", mine, if_revision=1),))
    replies: list[object] = []
    assert lines_run(lambda: replies.append(mallory.ask(late))) < LINES_RUN_MAX
    (refused,) = replies
    assert isinstance(refused, Refused) and refused.error.code is ErrorCode.CONFLICT
    # Nothing of it is lost for that: the text is kept.
    assert refused.error.conflict is not None and refused.error.conflict.draft


def many(operation: Callable[[int], Operation]) -> Transact:
    return Transact(tuple(operation(index) for index in range(OPERATIONS_MAX)))


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        (b"a" * SIZE, Transact((Edit("x.md", b"a", b"b" * 2000, all=True),))),
        (b"# " + b" " * (SIZE - 5) + b"x\n", Transact((SectionEdit("x.md", "# no", b""),))),
        (b"# a" + b" #" * (SIZE // 2 - 5) + b"\n", Transact((SectionEdit("x.md", "# no", b""),))),
        (b"a\n", Transact((SectionEdit("x.md", "# " + " " * SIZE + "x", b""),))),
        (b"", Transact((Put("y.md", b"sk-" * (SIZE // 3)),))),
        (words(1, 24), Transact((Put("x.md", words(1, 24) + b"more\n"),))),
        (words(1, 240), many(lambda index: Append("x.md", b"%d\n" % index))),
        (words(1, 240), many(lambda index: Restore("x.md", 1))),
    ],
)
def test_a_large_text_can_not_be_made_to_cost_more_than_its_size(
    text: bytes, request_: Transact
) -> None:
    desk = Desk()
    mallory = desk.member("mallory")
    mallory.do(Put("x.md", text))
    assert lines_run(lambda: mallory.ask(request_)) < LINES_RUN_MAX


def test_what_no_document_can_hold_is_refused_before_it_is_made() -> None:
    desk = Desk()
    mallory = desk.member("mallory")
    mallory.do(Put("x.md", b"a" * SIZE))
    # Two terabytes, if it were made.
    error = mallory.fail(Edit("x.md", b"a", b"b" * (2 * MIB), all=True))
    assert error.code is ErrorCode.TOO_LARGE
    assert f"{2 * MIB * SIZE} bytes" in error.message and str(DOCUMENT_BYTES_MAX) in error.message


def test_a_transaction_that_replaces_too_much_is_refused_and_can_be_divided() -> None:
    desk = Desk()
    ann = desk.member("ann")
    ann.do(Put("x.md", words(1, 240)))
    ann.do(Put("x.md", words(2, 240)))
    before = desk.state.seq
    error = ann.fail(*(Restore("x.md", 1 + index % 2) for index in range(20)))
    assert error.code is ErrorCode.TOO_LARGE and "make it several" in error.message
    assert desk.state.seq == before and ann.read("x.md") == words(2, 240).decode()
    ann.do(*(Restore("x.md", 1 + index % 2) for index in range(5)))
    # Small changes of large documents are as many as a transaction has.
    reply = ann.ask(many(lambda index: Append("x.md", b"%d\n" % index)))
    assert isinstance(reply, Committed) and len(reply.results) == OPERATIONS_MAX


def test_a_document_of_nothing_but_headings_is_edited_by_its_text() -> None:
    desk = Desk()
    ann = desk.member("ann")
    ann.do(Put("x.md", b"# a\n" * (HEADINGS_MAX + 1)))
    refused = ann.fail(SectionEdit("x.md", "# b", b""))
    assert refused.code is ErrorCode.INVALID_REQUEST and "agent-trace edit" in refused.message


def test_in_a_large_document_credentials_are_looked_for_where_it_changed() -> None:
    desk = Desk()
    user, agent = desk.member("ann", Actor.USER), desk.member()
    secret, other = (b"ghp_" + bytes([letter]) * 36 for letter in b"ab")
    head = b"a line of prose that stays as it is\n" * 1000
    user.do(Put("x.md", head + b"key: " + secret + b"\nend\n"), confirm=True)
    agent.do(Append("x.md", b"more\n"))
    agent.do(Edit("x.md", b"end\n", b"the end\n"))
    for text in (other, secret):
        error = agent.fail(Edit("x.md", b"the end\n", b"the end\n\n" + text + b"\n"))
        assert error.code is ErrorCode.PERMISSION_DENIED
        assert "line 1004 of x.md" in error.message
    token = b"token = 0123456789abcdef0123456789abcdefq\n"
    reply = agent.ask(Transact((Edit("x.md", b"the end\n", token),)))
    assert isinstance(reply, Committed)
    (notice,) = reply.notices
    assert "line 1002 of x.md" in notice


def test_more_lines_than_are_compared_count_as_changed() -> None:
    before = b"".join(b"%d\n" % index for index in range(COMPARED_LINES_MAX + 1))
    after = b"first\n" + before[:-2] + b"last\n"
    found = compare(before, after)
    assert len(found.old) == COMPARED_LINES_MAX + 1 and len(found.new) == COMPARED_LINES_MAX + 2
    # At an end it does not matter how many there are.
    assert compare(before, before + b"last\n").new == [b"last"]


# ---- hunks ----------------------------------------------------------------------------------

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"1\n", b"2\n", b"3\n", b"4\n"]))


@given(LINES, LINES, st.sampled_from([STEPS_MAX, 40, 7]))
def test_hunks_make_the_one_text_of_the_other_however_few_steps_there_are(
    base: list[bytes], other: list[bytes], steps: int
) -> None:
    found = hunks(base, other, Steps(steps))
    assert made(base, found) == other
    for hunk, later in zip(found, found[1:], strict=False):
        assert hunk.end < later.start, "two hunks are one"
    assert all(base[hunk.start : hunk.end] != hunk.lines for hunk in found)
    assert hunks(base, other, Steps(steps)) == found


def made(base: list[bytes], found: list[Hunk]) -> list[bytes]:
    result: list[bytes] = []
    position = 0
    for hunk in found:
        result += base[position : hunk.start] + hunk.lines
        position = hunk.end
    return result + base[position:]


def test_edits_far_apart_in_a_large_text_are_hunks_of_their_own() -> None:
    base = [b"%d\n" % index for index in range(LINES_MAX - 1)]
    other = [b"first\n", *base[1:5000], b"middle\n", *base[5000:-1], b"last\n"]
    assert [(hunk.start, hunk.end) for hunk in hunks(base, other)] == [
        (0, 1),
        (5000, 5000),
        (LINES_MAX - 2, LINES_MAX - 1),
    ]


@pytest.mark.parametrize("count", [1000, LINES_MAX])
def test_hunks_that_are_hard_to_find_are_given_up_after_so_many_steps(count: int) -> None:
    base, other = (coins(seed, count).splitlines(keepends=True) for seed in (1, 2))
    found: list[Hunk] = []
    assert lines_run(lambda: found.extend(hunks(base, other))) < LINES_RUN_MAX
    assert made(base, found) == other


@given(LINES, LINES, LINES, LINES, LINES)
def test_what_all_have_around_their_changes_does_not_change_what_is_merged(
    head: list[bytes], base: list[bytes], ours: list[bytes], theirs: list[bytes], tail: list[bytes]
) -> None:
    inner = merge(b"".join(base), b"".join(ours), b"".join(theirs))
    ends = b"head\n" + b"".join(head), b"tail\n" + b"".join(tail)
    outer = merge(*(ends[0] + b"".join(each) + ends[1] for each in (base, ours, theirs)))
    if inner is not None:
        assert outer == ends[0] + inner + ends[1]


# ---- sections -------------------------------------------------------------------------------

_SLOW = re.compile(rb" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\r?\n?")
"""What a heading is, said in one pattern; it takes quadratic time in a long line of blanks."""


@given(st.text("# ab\t\\\x0b", max_size=14), st.sampled_from(["", "\n", "\r\n", "\r"]))
def test_a_heading_is_what_the_slow_pattern_says(line: str, end: str) -> None:
    match = _SLOW.fullmatch((line + end).encode())
    text = (line + end).encode() + b"body"
    if match is None or end == "":
        return
    title = (match[2] or b"").strip().decode()
    asked = f"{match[1].decode()} {title}" if title else match[1].decode()
    if (again := _SLOW.fullmatch(asked.encode())) and (again[2] or b"").strip().decode() == title:
        assert b"new" in edit_section(text, "x.md", asked, b"new", SectionMode.APPEND)


@given(st.text("# ab\t", max_size=10))
def test_what_is_no_heading_is_not_found_as_one(line: str) -> None:
    if _SLOW.fullmatch(line.encode() + b"\n") is None:
        with pytest.raises(NoMatch):
            edit_section(line.encode() + b"\n", "x.md", line, b"new", SectionMode.APPEND)
