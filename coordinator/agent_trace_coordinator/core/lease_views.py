"""What is told of leases: who holds what, until when, and what is in somebody's way.

Reads the state and changes nothing.
"""

from __future__ import annotations

from agent_trace_protocol import (
    LeaseInfo,
    LeaseRefusal,
    PathPattern,
    SessionState,
    parse_pattern,
)

from .inputs import Now
from .lease_table import LeaseState
from .sessions import session_state
from .state import State

__all__ = [
    "describe",
    "held_info",
    "holder_of",
    "in_the_way",
    "is_live",
    "lease_info",
    "left_seconds",
    "refusal",
]


def in_the_way(state: State, session: str, pattern: PathPattern, shared: bool) -> list[LeaseState]:
    """Return the leases of other sessions that can not be held beside this one."""
    return [
        lease
        for lease in state.leases.overlapping(pattern)
        if lease.session != session and not (lease.shared and shared)
    ]


def is_live(state: State, session: str, now: Now) -> bool:
    entry = state.sessions.get(session)
    return entry is not None and session_state(state, entry, now) is SessionState.LIVE


def left_seconds(state: State, lease: LeaseState, now: Now) -> float:
    session = state.sessions[lease.session]
    until = max(lease.renewed, session.seen) + lease.ttl_ms / 1000
    return max(0.0, until - now.monotonic)


def lease_info(state: State, lease: LeaseState, now: Now) -> LeaseInfo:
    """Return a lease as a listing shows it."""
    return LeaseInfo(
        token=lease.token,
        path=lease.pattern.text,
        shared=lease.shared,
        actor=lease.actor,
        holder=lease.holder,
        session=lease.session,
        ttl_seconds=lease.ttl_ms / 1000,
        left_seconds=left_seconds(state, lease, now),
        granted_ms=lease.granted_ms,
    )


def describe(state: State, lease: LeaseState, now: Now) -> str:
    """Return who holds a lease and until when, as part of a sentence."""
    kind = "a shared lease" if lease.shared else "a lease"
    return (
        f"{lease.holder} holds {kind} on {lease.pattern.text} (token {lease.token}, session "
        f"{lease.session}) for another {left_seconds(state, lease, now):.0f} s unless renewed"
    )


def refusal(state: State, path: str, lease: LeaseState | None, now: Now) -> LeaseRefusal:
    if lease is None:
        return LeaseRefusal(path)
    return LeaseRefusal(
        path=path,
        holder=lease.holder,
        session=lease.session,
        since_seq=lease.token,
        left_seconds=left_seconds(state, lease, now),
    )


def holder_of(state: State, path: str, session: str, now: Now) -> LeaseRefusal:
    """Return who holds what a session has lost."""
    others = [
        lease for lease in state.leases.overlapping(parse_pattern(path)) if lease.session != session
    ]
    return refusal(state, path, others[-1] if others else None, now)


def held_info(state: State, session: str, now: Now) -> tuple[LeaseInfo, ...]:
    """Return a session's leases as it is told of them."""
    return tuple(lease_info(state, lease, now) for lease in state.leases.held_by(session))
