"""Refusals of late, so that a repeated request gets its first answer.

A request that was carried out, or refused on record, is found in the journal for as long as its
session lives. A refusal that left no record is remembered here, in memory, as long as there is
room. Beyond that, and after a restart, its repetition is judged afresh, which doubles nothing: the
refusal changed nothing, and a client repeats only what it got no answer to (decision 11).
"""

from __future__ import annotations

from typing import Final

from agent_trace_protocol import Refused, RequestReused

from .effects import Answer, Effect
from .inputs import RECORDED_REQUESTS, Received
from .records import Repeated, Violated
from .state import State
from .violations import refusal_again

__all__ = ["find_refusal", "note_refusal"]

REFUSALS_MAX: Final = 2048
"""Refusals remembered, of all sessions: many more than requests are under way at once; with the
longest diffs some 14 MB."""


def find_refusal(state: State, input: Received) -> Answer | None:
    """Return what a request was refused with before, if it was and that is remembered or on record.

    Whatever this lets pass may make a record under the request's number: there is none yet, or the
    request is the same one and knows what it did.

    Raises:
        RequestReused: another request had this number, or waits under it.
    """
    if input.number < 1 or not isinstance(input.request, RECORDED_REQUESTS):
        return None
    known = state.refusals.get((input.session, input.number))
    previous = input.facts.previous
    waiter = state.waiters.get((input.session, input.number))
    for earlier in (
        None if known is None else known[0],
        None if previous is None else previous.fingerprint,
        None if waiter is None else waiter.fingerprint,
    ):
        if earlier is not None and earlier != input.fingerprint:
            raise RequestReused(
                f"request {input.number} of session {input.session} was used for other content"
            )
    if known is not None:
        return Answer(known[1], known[2])
    if previous is not None and isinstance(previous.body, (Violated, Repeated)):
        return Answer(Refused(refusal_again(state, previous)), previous.seq)
    return None


def note_refusal(state: State, input: Received, effects: list[Effect]) -> None:
    """Remember the refusal that a request ends with, if it ends with one."""
    answer = effects[-1] if effects else None
    if (
        not isinstance(answer, Answer)
        or not isinstance(answer.reply, Refused)
        or answer.to is not None
        or input.number < 1
        or input.session not in state.sessions
        or not isinstance(input.request, RECORDED_REQUESTS)
    ):
        return
    session = state.sessions[input.session]
    session.refused_high = max(session.refused_high, input.number)
    refusals = state.refusals
    refusals.setdefault(
        (input.session, input.number), (input.fingerprint, answer.reply, answer.after)
    )
    while len(refusals) > REFUSALS_MAX:
        del refusals[next(iter(refusals))]
