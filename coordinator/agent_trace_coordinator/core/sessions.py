"""Sessions: how one begins, comes back, is taken over and ends.

An agent's name is held by one session at a time. All timing is the coordinator's monotonic clock;
time in which the coordinator itself did not run counts for nobody.
"""

from __future__ import annotations

from typing import Final

from agent_trace_protocol import (
    Actor,
    AgentBusy,
    InvalidRequest,
    Open,
    SessionInfo,
    SessionKind,
    SessionState,
    SessionSuperseded,
    TooLarge,
    negotiate,
    parse_agent_name,
)
from agent_trace_protocol.limits import TEXT_FIELD_LENGTH_MAX

from .inputs import Facts, Now
from .records import RecordBody, SessionOpened
from .state import SessionEntry, State

__all__ = [
    "TICK_SECONDS",
    "begin",
    "due",
    "extend",
    "hear",
    "info_of",
    "opened_body",
    "session_state",
]

TICK_SECONDS: Final = 1.0
"""How often the shell ticks, at least."""


def session_state(state: State, session: SessionEntry, now: Now) -> SessionState:
    """Return whether an open session is live or stale."""
    idle = now.monotonic - session.seen
    return SessionState.STALE if idle > state.rules.stale_seconds else SessionState.LIVE


def begin(
    state: State, id: str, request: Open, facts: Facts, now: Now
) -> tuple[SessionEntry, SessionEntry | None]:
    """Return the session that `request` opens, and the one it supersedes, if any.

    The new session is not in the state yet.

    Raises:
        InvalidRequest: a name or a field is not allowed.
        SessionSuperseded: this session ended before.
        AgentBusy: another live session holds the agent's name.
    """
    name = parse_agent_name(request.name)
    if request.actor in (Actor.SYSTEM, Actor.UNKNOWN):
        raise InvalidRequest(
            f"nobody opens a session as {request.actor}; open it as user, agent or reader"
        )
    for text in (request.program, request.model, request.host, request.transport):
        if len(text) > TEXT_FIELD_LENGTH_MAX:
            raise TooLarge(
                f"{len(text)} characters in a session's description; the limit is "
                f"{TEXT_FIELD_LENGTH_MAX}"
            )
        if not text.isprintable():
            raise InvalidRequest(f"{text!r} holds characters that can not be shown")
    if facts.session_ended:
        raise SessionSuperseded(f"session {id} ended ({facts.session_ended}); connect anew")
    superseded: SessionEntry | None = None
    if request.actor is Actor.AGENT and not request.ephemeral:
        holder = state.sessions.get(state.holders.get(name, ""))
        if holder is not None:
            stale = session_state(state, holder, now) is SessionState.STALE
            if not (stale or facts.holder_gone or request.takeover):
                idle = now.monotonic - holder.seen
                raise AgentBusy(
                    f"agent {name} is live in session {holder.id} ({holder.program or holder.kind} "
                    f"pid {holder.pid} on {holder.host or 'an unnamed host'}, last seen "
                    f"{idle:.1f} s ago)"
                )
            superseded = holder
    session = SessionEntry(
        id=id,
        actor=request.actor,
        name=name,
        kind=request.kind,
        started_ms=now.wall_ms,
        seen=now.monotonic,
        heard_ms=now.wall_ms,
        program=request.program,
        model=request.model,
        host=request.host,
        pid=request.pid,
        # Who is not seen while it asks, from another container perhaps, is not seen later either,
        # and that says nothing then: without its start nobody looks.
        pid_started=0 if facts.asker_hidden else request.pid_started,
        predecessor=state.latest.get(name, "") if request.actor is Actor.AGENT else "",
        transport=request.transport,
        ephemeral=request.ephemeral,
    )
    return session, superseded


def check_resumed(session: SessionEntry, request: Open) -> None:
    """Refuse a request that opens an open session under another name.

    Raises:
        InvalidRequest: the key belongs to somebody else.
    """
    if session.name != request.name or session.actor is not request.actor:
        raise InvalidRequest(
            f"session {session.id} belongs to {session.actor} {session.name}, "
            f"not to {request.actor} {request.name}"
        )


def check_version(request: Open) -> int:
    """Return the protocol version to speak; raises `UnsupportedVersion`."""
    return negotiate(request.protocol_min, request.protocol_max)


def opened_body(session: SessionEntry) -> RecordBody:
    """Return the record body that makes a session durable."""
    return SessionOpened(
        kind=session.kind,
        program=session.program,
        model=session.model,
        host=session.host,
        pid=session.pid,
        pid_started=session.pid_started,
        predecessor=session.predecessor,
        ephemeral=session.ephemeral,
        transport=session.transport,
        key=session.key,
    )


def hear(session: SessionEntry, now: Now) -> None:
    """Take note of a sign of life."""
    session.seen = now.monotonic
    session.heard_ms = now.wall_ms


def due(state: State, now: Now) -> list[SessionEntry]:
    """Return the sessions that have expired."""
    rules = state.rules
    expired: list[SessionEntry] = []
    for session in state.sessions.values():
        if session.ephemeral:
            grace = 0.0
        elif session.kind is SessionKind.CLI:
            grace = rules.grace_seconds_cli
        else:
            grace = rules.grace_seconds
        if now.monotonic - session.seen > rules.stale_seconds + grace:
            expired.append(session)
    return expired


def extend(state: State, now: Now) -> None:
    """Give every session the time back in which the coordinator did not run.

    Comes before everything else, so the sessions of a state that was just loaded are all loaded
    ones: however long the start took, they have their whole time again.
    """
    if state.ticked is None:
        for session in state.sessions.values():
            session.seen = now.monotonic
        for lease in state.leases.by_token.values():
            lease.renewed = now.monotonic
    else:
        gap = now.monotonic - state.ticked - TICK_SECONDS
        if gap > TICK_SECONDS:
            for session in state.sessions.values():
                session.seen = min(session.seen + gap, now.monotonic)
            for lease in state.leases.by_token.values():
                lease.renewed = min(lease.renewed + gap, now.monotonic)
    state.ticked = now.monotonic


def info_of(state: State, session: SessionEntry, now: Now) -> SessionInfo:
    """Return a session as a listing shows it."""
    return SessionInfo(
        id=session.id,
        actor=session.actor,
        name=session.name,
        kind=session.kind,
        state=session_state(state, session, now),
        started_ms=session.started_ms,
        idle_seconds=max(0.0, now.monotonic - session.seen),
        program=session.program,
        host=session.host,
        pid=session.pid,
        predecessor=session.predecessor,
        model=session.model,
        transport=session.transport,
        last_seen_ms=max(0, now.wall_ms - int(1000 * (now.monotonic - session.seen))),
        leases=len(state.leases.of_session.get(session.id, ())),
    )
