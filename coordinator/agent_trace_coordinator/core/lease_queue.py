"""Waiting for a lease: who is next, who gets what has become free, and who waits in a circle.

First come, first served, and nobody overtakes somebody who waits for the same. A lease ends here
when its time is over, and goes to who waits for it in the same step, so no moment lies between.
"""

from __future__ import annotations

from agent_trace_protocol import (
    AgentTraceError,
    Leased,
    LeaseHeld,
    LeaseRefusal,
    PathPattern,
    Refused,
    SessionSuperseded,
    TooMany,
)
from agent_trace_protocol.limits import LEASES_MAX, LEASES_OF_SESSION_MAX

from .effects import Addressee, Answer, Effect
from .inputs import Now, Received
from .lease_table import LeaseState, Waiter
from .lease_views import describe, in_the_way, is_live, lease_info, refusal
from .recording import append, introduce
from .records import LeaseGranted, LeaseReleased
from .state import SessionEntry, State

__all__ = [
    "answer_waiter",
    "check_room",
    "circle_of",
    "end_lease",
    "expire",
    "grant",
    "own_lease",
    "sessions_waited_for",
    "settle",
    "stop_waiting",
    "why_blocked",
]


def own_lease(state: State, session: str, pattern: PathPattern) -> LeaseState | None:
    """Return the session's lease on exactly this path or glob."""
    for lease in state.leases.held_by(session):
        same = lease.pattern.folded == pattern.folded
        if same and (not pattern.is_glob or lease.pattern.text == pattern.text):
            return lease
    return None


def check_room(state: State, session: str) -> None:
    if len(state.leases.by_token) >= LEASES_MAX:
        raise TooMany(f"the store has {LEASES_MAX} leases, and no room for another one")
    if len(state.leases.of_session.get(session, ())) >= LEASES_OF_SESSION_MAX:
        raise TooMany(
            f"this session has {LEASES_OF_SESSION_MAX} leases; release some, or take one on a glob"
        )


def _ahead(
    state: State, session: str, pattern: PathPattern, shared: bool, now: Now, end: Waiter | None
) -> list[Waiter]:
    """Return those who wait for what can not be held beside this one, and came before `end`.

    Who gave no sign of life for long is not waited for; it is asked again when it comes back.
    """
    found: list[Waiter] = []
    for waiter in state.waiters.values():
        if waiter is end:
            break
        if (
            waiter.session != session
            and not (waiter.shared and shared)
            and waiter.pattern.overlaps(pattern)
            and is_live(state, waiter.session, now)
        ):
            found.append(waiter)
    return found


def why_blocked(
    state: State,
    session: SessionEntry,
    pattern: PathPattern,
    shared: bool,
    now: Now,
    end: Waiter | None = None,
) -> LeaseHeld | None:
    """Return the error that says who has it or is to have it first; None if it is free."""
    circle = circle_of(state, session, pattern, shared, now, end)
    hint = f"; {circle}: one of them has to release first" if circle else ""
    leases = in_the_way(state, session.id, pattern, shared)
    if leases:
        first = leases[0]
        info = refusal(state, pattern.text, first, now)
        message = f"{pattern.text} is not free: {describe(state, first, now)}{hint}"
    else:
        ahead = _ahead(state, session.id, pattern, shared, now, end)
        if not ahead:
            return None
        name = state.sessions[ahead[0].session].name
        info = LeaseRefusal(pattern.text, name, ahead[0].session)
        message = f"{pattern.text} is not free: {name} has waited for it longer{hint}"
    return LeaseHeld(
        message,
        LeaseRefusal(
            info.path,
            info.holder,
            info.session,
            info.since_seq,
            info.left_seconds,
            deadlock=circle,
        ),
    )


def circle_of(
    state: State,
    session: SessionEntry,
    pattern: PathPattern,
    shared: bool,
    now: Now,
    end: Waiter | None,
) -> str:
    """Return who waits for whom, if a session that wants this would wait for itself in the end."""
    waiters: dict[str, list[Waiter]] = {}
    for waiter in state.waiters.values():
        waiters.setdefault(waiter.session, []).append(waiter)
    if not any(other != session.id for other in waiters):
        return ""

    def steps(
        id: str, pattern: PathPattern, shared: bool, end: Waiter | None
    ) -> list[tuple[str, str]]:
        name = state.sessions[id].name
        found: dict[str, str] = {}
        for lease in in_the_way(state, id, pattern, shared):
            found.setdefault(
                lease.session, f"{name} waits for {lease.holder} ({lease.pattern.text})"
            )
        for other in _ahead(state, id, pattern, shared, now, end):
            ahead = state.sessions[other.session].name
            found.setdefault(other.session, f"{name} waits for {ahead} ({other.pattern.text})")
        return list(found.items())

    # Breadth first, so that the shortest circle is told.
    seen = {session.id}
    paths = [([text], id) for id, text in steps(session.id, pattern, shared, end)]
    while paths:
        texts, id = paths.pop(0)
        if id == session.id:
            return ", ".join(texts)
        if id in seen:
            continue
        seen.add(id)
        for waiter in waiters.get(id, ()):
            paths += (
                ([*texts, text], next_id)
                for next_id, text in steps(id, waiter.pattern, waiter.shared, waiter)
            )
    return ""


def grant(state: State, session: SessionEntry, waiter: Waiter, now: Now) -> list[Effect]:
    """Give a lease that is free, and answer the request."""
    effects: list[Effect] = [*introduce(state, session, now)]
    own = own_lease(state, session.id, waiter.pattern)
    body = LeaseGranted(
        path=waiter.pattern.text,
        shared=waiter.shared,
        ttl_ms=waiter.ttl_ms,
        previous=0 if own is None else own.token,
    )
    granted = append(
        state, session, body, now, request=waiter.number, fingerprint=waiter.fingerprint
    )
    effects.append(granted)
    lease = state.leases.by_token[granted.entry.record.seq]
    to = Addressee(waiter.peer, waiter.number)
    effects.append(Answer(Leased(lease_info(state, lease, now)), state.seq, to=to))
    return effects


def end_lease(
    state: State,
    session: SessionEntry,
    lease: LeaseState,
    reason: str,
    now: Now,
    input: Received | None = None,
) -> Effect:
    """Return the record that ends a lease; `input` is the request that asked for it."""
    body = LeaseReleased(lease.token, lease.pattern.text, reason)
    if input is None:
        return append(state, session, body, now)
    return append(state, session, body, now, request=input.number, fingerprint=input.fingerprint)


def settle(state: State, now: Now) -> list[Effect]:
    """Give what has become free to those who wait for it, in the order in which they came."""
    state.leases.freed = False
    effects: list[Effect] = []
    blocked: list[Waiter] = []
    for key, waiter in list(state.waiters.items()):
        if not is_live(state, waiter.session, now):
            continue
        if in_the_way(state, waiter.session, waiter.pattern, waiter.shared) or any(
            other.session != waiter.session
            and not (other.shared and waiter.shared)
            and other.pattern.overlaps(waiter.pattern)
            for other in blocked
        ):
            blocked.append(waiter)
            continue
        del state.waiters[key]
        try:
            check_room(state, waiter.session)
        except TooMany as error:
            effects.append(answer_waiter(state, waiter, error))
            continue
        effects += grant(state, state.sessions[waiter.session], waiter, now)
    # A session that got what it waited for in another form has left the old form.
    state.leases.freed = False
    return effects


def expire(state: State, gone: frozenset[str], now: Now) -> list[Effect]:
    """End the leases whose time is over, or whose process is, and tell who waited too long."""
    effects: list[Effect] = []
    for lease in list(state.leases.by_token.values()):
        session = state.sessions[lease.session]
        reason = ""
        if lease.session in gone:
            reason = "its process is gone"
        elif now.monotonic - max(lease.renewed, session.seen) > lease.ttl_ms / 1000:
            reason = "expired"
        if reason:
            effects.append(end_lease(state, session, lease, reason, now))
    if not state.waiters:
        state.leases.freed = False
        return effects
    effects += settle(state, now)
    for key, waiter in list(state.waiters.items()):
        # Whoever gave way before this one may have let it through.
        if waiter.deadline <= now.monotonic and key in state.waiters:
            session = state.sessions[waiter.session]
            error: AgentTraceError | None = why_blocked(
                state, session, waiter.pattern, waiter.shared, now, waiter
            )
            # Asked last, so that the answer names everybody who waits in the same circle.
            del state.waiters[key]
            effects.append(
                answer_waiter(state, waiter, error or LeaseHeld("this session was silent"))
            )
            effects += settle(state, now)
    return effects


def stop_waiting(state: State, session: str, reason: str) -> list[Effect]:
    """Answer what an ended session still waits for."""
    effects: list[Effect] = []
    for key, waiter in list(state.waiters.items()):
        if waiter.session == session:
            del state.waiters[key]
            state.leases.freed = True
            error = SessionSuperseded(f"session {session} ended ({reason}); connect anew")
            effects.append(answer_waiter(state, waiter, error))
    return effects


def sessions_waited_for(state: State) -> set[str]:
    """Return the sessions that hold what somebody waits for."""
    return {
        lease.session
        for waiter in state.waiters.values()
        for lease in in_the_way(state, waiter.session, waiter.pattern, waiter.shared)
    }


def answer_waiter(state: State, waiter: Waiter, error: AgentTraceError) -> Answer:
    refused = Refused(error.to_info())
    return Answer(refused, state.seq, to=Addressee(waiter.peer, waiter.number))
