"""A store in memory whose trace is asked as the product does it: over a journal on disk."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agent_trace_coordinator.core.effects import AnswerTrace
from agent_trace_coordinator.core.inputs import Facts, Received
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.server.briefings import Trace
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.trace_index import TraceIndex
from agent_trace_protocol import Brief, Briefing, RecapSession, Refused, Reply, Why

from .core import Desk, Member

__all__ = ["brief", "inquire", "killed", "tracing"]


@contextmanager
def tracing(desk: Desk, path: Path, written: int = 0) -> Generator[Trace]:
    """Write what the desk has done to the journal and open the trace of it.

    `written` is how many of its records are there already.
    """
    journal = Journal(path)
    try:
        if not written:
            journal.begin_life()
        # It knows the rows of open sessions from loading them.
        journal.load(epoch=1, store="test", rules=desk.state.rules, now=desk.time)
        journal.append(desk.entries[written:], [])
    finally:
        journal.close()
    index = TraceIndex(path)
    try:
        yield Trace(index)
    finally:
        index.close()


def killed(desk: Desk, path: Path) -> Desk:
    """Return the desk of the next life: all that it knows was loaded from the journal."""
    journal = Journal(path)
    try:
        epoch, store = journal.begin_life()
        state: State = journal.load(epoch=epoch, store=store, rules=desk.state.rules, now=desk.time)
    finally:
        journal.close()
    return Desk(state, desk.time, contents=desk.contents, entries=list(desk.entries))


def inquire(trace: Trace, member: Member, request: Brief | Why | RecapSession) -> Reply:
    """Return the answer to a question about the trace."""
    member.number += 1
    received = Received(member.session, member.number, b"", request, Facts())
    effects = step(member.desk.state, received, member.desk.now())
    last = effects[-1]
    if isinstance(last, AnswerTrace):
        assert last.after == member.desk.state.seq
        return trace.answer(last)
    reply = member.desk.run(effects)
    assert isinstance(reply, Refused), reply
    return reply


def brief(
    trace: Trace, member: Member, budget: int = 6000, *, since_last: bool = False
) -> Briefing:
    """Return a briefing."""
    reply = inquire(trace, member, Brief(budget, since_last))
    assert isinstance(reply, Briefing), reply
    return reply
