"""The search for an order: Wing and Gong's, with Lowe's memory of what was tried.

A history is linearizable if its calls can be put into one order in which each could have answered
as it did, and in which none stands before a call that had been answered when it was made. The
search takes calls that overlap in any order and goes back where it is stuck; it never tries again
to go on from the same state after the same calls. Histories of one object at a time, because an
order of each gives an order of all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

__all__ = ["UNKNOWN", "Operation", "Unknown", "Verdict", "search"]

_State = TypeVar("_State", bound=Hashable)
_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")


class Unknown(Enum):
    """The answer of a call whose client never heard of it."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class Operation(Generic[_Asked, _Answered]):
    """One call and its answer, by a clock that all clients share."""

    client: str
    called: float
    returned: float
    """`math.inf` if no answer came: it may have been carried out at any time since, or never."""
    asked: _Asked
    answered: _Answered | Unknown


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the search found."""

    linearizable: bool | None
    """None if the time was over before it was decided."""
    longest: tuple[int, ...]
    """The places of the operations in the longest order that was found."""


@dataclass(slots=True, eq=False)
class _Event:
    """A call or a return, in a list that operations are taken out of and put back into."""

    place: int
    is_return: bool
    before: _Event | None = None
    after: _Event | None = None
    mate: _Event | None = None
    """Of a call: its return, if there is one."""


def _linked(operations: Sequence[Operation[_Asked, _Answered]]) -> tuple[_Event, int]:
    """Return the head of the list of events by time, and how many returns it has."""
    moments: list[tuple[float, int, _Event]] = []
    returns = 0
    for place, operation in enumerate(operations):
        call = _Event(place, is_return=False)
        # A return at the very moment of a call counts as before it would be stricter than the
        # clock allows: calls come first.
        moments.append((operation.called, 0, call))
        if operation.returned != math.inf:
            call.mate = _Event(place, is_return=True)
            moments.append((operation.returned, 1, call.mate))
            returns += 1
    moments.sort(key=lambda moment: moment[:2])
    head = last = _Event(-1, is_return=False)
    for _, _, event in moments:
        last.after, event.before = event, last
        last = event
    return head, returns


def _take_out(event: _Event) -> None:
    assert event.before is not None
    event.before.after = event.after
    if event.after is not None:
        event.after.before = event.before


def _put_back(event: _Event) -> None:
    assert event.before is not None
    event.before.after = event
    if event.after is not None:
        event.after.before = event


def search(
    operations: Sequence[Operation[_Asked, _Answered]],
    initial: _State,
    step: Callable[[_State, _Asked, _Answered | Unknown], _State | None],
    seconds_max: float = 60.0,
) -> Verdict:
    """Look for an order of the operations on one object.

    Args:
        initial: the object's state before all of them.
        step: returns the state after an operation that was answered like this, None if it can not
            have been. To `UNKNOWN` every answer is possible.
        seconds_max: after so long it is undecided.
    """
    head, returns_left = _linked(operations)
    state = initial
    done = 0
    tried: set[tuple[int, _State]] = set()
    taken: list[tuple[_Event, _State]] = []
    longest: tuple[int, ...] = ()
    end_at = time.monotonic() + seconds_max
    event = head.after
    steps = 0
    while returns_left:
        steps += 1
        if not steps % 10_000 and time.monotonic() > end_at:
            return Verdict(None, longest)
        if event is not None and not event.is_return:
            operation = operations[event.place]
            following = step(state, operation.asked, operation.answered)
            mark = done | 1 << event.place
            if following is not None and (mark, following) not in tried:
                tried.add((mark, following))
                taken.append((event, state))
                done, state = mark, following
                _take_out(event)
                if event.mate is not None:
                    _take_out(event.mate)
                    returns_left -= 1
                event = head.after
            else:
                event = event.after
            continue
        # Somebody had an answer before anything that is left can be put before it.
        if len(taken) > len(longest):
            longest = tuple(each.place for each, _ in taken)
        if not taken:
            return Verdict(False, longest)
        event, state = taken.pop()
        done &= ~(1 << event.place)
        if event.mate is not None:
            _put_back(event.mate)
            returns_left += 1
        _put_back(event)
        event = event.after
    return Verdict(True, tuple(each.place for each, _ in taken))
