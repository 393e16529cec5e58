"""The table of requests under way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace.correlator import Correlator, InFlight
from agent_trace_protocol import Done, InternalError, Unavailable


def _enter(table: Correlator, body: bytes = b"x") -> InFlight:
    entry = InFlight(body)
    table.enter(entry)
    return entry


def test_numbers_count_from_one_in_the_order_of_entry() -> None:
    table = Correlator()
    assert [_enter(table).number for _ in range(3)] == [1, 2, 3]


def test_a_session_with_a_past_never_uses_a_number_again() -> None:
    table = Correlator()
    table.continue_from(7)
    table.continue_from(3)
    assert _enter(table).number == 7


def test_what_is_not_answered_is_sent_again_in_order_with_the_same_numbers() -> None:
    table = Correlator()
    entries = [_enter(table, bytes([each])) for each in range(5)]
    for number in (2, 4):
        table.answer(number)
    assert [(each.number, each.body) for each in table] == [
        (entries[0].number, b"\x00"),
        (entries[2].number, b"\x02"),
        (entries[4].number, b"\x04"),
    ]


def test_an_answer_counts_once() -> None:
    table = Correlator()
    entry = _enter(table)
    assert table.answer(1) is entry
    assert table.answer(1) is None
    assert table.answer(99) is None


def test_the_waiter_is_told_when_the_answer_is_there() -> None:
    told: list[str] = []
    entry = InFlight(b"x", notify=lambda: told.append("told"))
    entry.finish(Done())
    assert (told, entry.result()) == (["told"], Done())


def test_reading_an_answer_too_early_is_a_fault_of_ours() -> None:
    with pytest.raises(InternalError):
        InFlight(b"x").result()


def test_there_is_room_up_to_the_number_of_requests() -> None:
    table = Correlator(requests_max=2)
    _enter(table)
    assert table.has_room(1)
    _enter(table)
    assert not table.has_room(1)
    table.answer(1)
    assert table.has_room(1)


def test_there_is_room_up_to_the_number_of_bytes_and_always_for_one_alone() -> None:
    table = Correlator(bytes_max=10)
    assert table.has_room(1000)
    _enter(table, b"x" * 6)
    assert table.has_room(4)
    assert not table.has_room(5)


def test_each_caller_gets_an_error_of_its_own() -> None:
    table = Correlator()
    entries = [_enter(table), _enter(table)]
    table.fail_all(Unavailable("gone"))
    errors: list[Unavailable] = []
    for entry in entries:
        with pytest.raises(Unavailable, match="gone") as caught:
            entry.result()
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert (len(table), table.payload_bytes) == (0, 0)


@given(st.lists(st.one_of(st.binary(max_size=8), st.integers(1, 12))))
def test_the_table_agrees_with_a_plain_dictionary(steps: list[bytes | int]) -> None:
    table = Correlator()
    model: dict[int, bytes] = {}
    count = 0
    for step in steps:
        if isinstance(step, bytes):
            count += 1
            model[count] = step
            assert _enter(table, step).number == count
        else:
            answered = table.answer(step)
            assert (answered.body if answered else None) == model.pop(step, None)
        assert [(each.number, each.body) for each in table] == sorted(model.items())
        assert table.payload_bytes == sum(map(len, model.values()))
