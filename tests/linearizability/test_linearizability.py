"""What real clients saw has an order; histories that can have none are refused."""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from agent_trace.launch import create_store, read_endpoint
from linearizability.check import check
from linearizability.models import (
    NEW_DOCUMENT,
    NEW_LEASE,
    Acquire,
    AppendText,
    DocumentAnswer,
    DocumentAsked,
    Granted,
    LeaseAnswer,
    LeaseAsked,
    ReadText,
    Refused,
    Release,
    Released,
    Seen,
    WriteText,
    Written,
    step_document,
    step_lease,
)
from linearizability.record import record
from linearizability.search import UNKNOWN, Operation, Unknown, search


def document(
    called: float, returned: float, asked: DocumentAsked, answered: DocumentAnswer | Unknown
) -> Operation[DocumentAsked, DocumentAnswer]:
    return Operation("", called, returned, asked, answered)


def lease(
    called: float, returned: float, asked: LeaseAsked, answered: LeaseAnswer
) -> Operation[LeaseAsked, LeaseAnswer]:
    return Operation("", called, returned, asked, answered)


def explained(*operations: Operation[DocumentAsked, DocumentAnswer]) -> bool | None:
    return search(operations, NEW_DOCUMENT, step_document).linearizable


FIRST = document(0, 1, WriteText("a", None), Written(1))


@pytest.mark.parametrize(
    ("what", "later"),
    [
        ("a stale read", [document(2, 3, ReadText(), Seen(0, ""))]),
        ("a text that was never written", [document(2, 3, ReadText(), Seen(1, "b"))]),
        ("a lost update", [document(2, 3, WriteText("b", None), Written(1))]),
        ("a forgotten condition", [document(2, 3, WriteText("b", 0), Written(2))]),
        ("a condition that held", [document(2, 3, WriteText("b", 1), Refused(1))]),
        (
            "an append that was done twice",
            [
                document(2, 3, AppendText("b"), Written(2)),
                document(4, 5, ReadText(), Seen(3, "abb")),
            ],
        ),
        (
            "two readers who do not agree on the order",
            [
                document(2, 9, AppendText("b"), UNKNOWN),
                document(3, 4, ReadText(), Seen(2, "ab")),
                document(5, 6, ReadText(), Seen(1, "a")),
            ],
        ),
    ],
)
def test_what_can_not_have_been_is_refused(
    what: str, later: list[Operation[DocumentAsked, DocumentAnswer]]
) -> None:
    assert explained(FIRST, *later) is False, what


def test_calls_that_overlap_may_stand_in_any_order() -> None:
    slow = document(2, 9, AppendText("b"), Written(2))
    before = document(3, 4, ReadText(), Seen(1, "a"))
    after = document(5, 6, ReadText(), Seen(2, "ab"))
    assert explained(FIRST, slow, before, after)
    assert explained(FIRST, slow, after, document(7, 8, ReadText(), Seen(1, "a"))) is False


def test_a_call_that_nobody_answered_may_be_done_late_or_never() -> None:
    lost = document(2, math.inf, AppendText("b"), UNKNOWN)
    assert explained(FIRST, lost, document(3, 4, ReadText(), Seen(1, "a")))
    assert explained(
        FIRST,
        lost,
        document(3, 4, ReadText(), Seen(1, "a")),
        document(5, 6, ReadText(), Seen(2, "ab")),
    )
    assert not explained(FIRST, lost, document(3, 4, ReadText(), Seen(3, "abb")))


def test_a_lease_has_one_holder() -> None:
    first = lease(0, 1, Acquire(), Granted(5))
    let_go = lease(4, 5, Release(5), Released())
    refused = lease(2, 3, Acquire(), Refused())
    second = lease(6, 7, Acquire(), Granted(9))

    def possible(*operations: Operation[LeaseAsked, LeaseAnswer]) -> bool | None:
        return search(operations, NEW_LEASE, step_lease).linearizable

    assert possible(first, refused, let_go, second)
    assert possible(first, lease(2, 3, Acquire(), Granted(9)), let_go) is False
    assert possible(first, let_go, lease(6, 7, Acquire(), Refused())) is False
    assert possible(first, let_go, lease(6, 7, Acquire(), Granted(5))) is False


@pytest.fixture
def store(tmp_path: Path) -> Generator[Path]:
    create_store(tmp_path, nested=True)
    yield tmp_path
    info = read_endpoint(tmp_path)
    if info is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(info.pid, signal.SIGKILL)


@pytest.mark.integration
def test_what_clients_of_a_killed_coordinator_see_has_an_order(store: Path) -> None:
    history = record(store, clients=5, seconds=3.0, seed=7)
    outcome = check(history)
    assert outcome.failures == [] and outcome.undecided == []
    assert history.count > 0 and history.kills > 0

    # The same history with one answer made up has none.
    path, operations = max(history.documents.items(), key=lambda each: len(each[1]))
    place, seen = next(
        (place, operation.answered)
        for place, operation in enumerate(operations)
        if isinstance(operation.answered, Seen) and operation.answered.revision
    )
    honest = operations[place]
    history.documents[path][place] = document(
        honest.called, honest.returned, honest.asked, Seen(seen.revision - 1, seen.text)
    )
    assert check(history).failures
