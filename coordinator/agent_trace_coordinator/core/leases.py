"""Leases: who may hold one, when it ends, who is next, and what they mean for a write.

The law: leases of two sessions never overlap, unless both are shared. A token is the seq of the
grant, so a later holder has a higher one, and a write under a lease is accepted only if its token
is that of a lease which its session holds at the write's place in the order. No clock is asked for
that; clocks only decide when a lease ends, and by then its token is worth nothing.

A lease lasts its time from the last sign of life of its session on. It ends before that with its
session, and goes to the session's successor when the same agent comes back. Who finds it taken may
wait: first come, first served, and nobody overtakes somebody who waits for the same.
"""

from __future__ import annotations

from agent_trace_protocol import (
    AcquireLease,
    CancelLease,
    Done,
    InvalidRequest,
    Leased,
    LeaseHeld,
    LeaseList,
    Leases,
    PathPattern,
    ReleaseLease,
    RenewLease,
    StaleLease,
    TooMany,
    WaiterInfo,
    parse_pattern,
)
from agent_trace_protocol.limits import (
    LEASE_SECONDS_MAX,
    LEASE_SECONDS_MIN,
    LEASE_WAIT_SECONDS_MAX,
    LEASE_WAITERS_MAX,
    PAGE_ENTRIES_MAX,
)

from .effects import Answer, Effect
from .inputs import Now, Received
from .lease_queue import (
    answer_waiter,
    check_room,
    circle_of,
    end_lease,
    grant,
    own_lease,
    why_blocked,
)
from .lease_table import LeaseState, Waiter
from .lease_views import describe, holder_of, in_the_way, lease_info, refusal
from .recording import append, introduce
from .records import LeaseExtended, LeaseGranted, Record
from .state import SessionEntry, State

__all__ = ["acquire", "cancel", "hand_over", "list_leases", "release", "renew"]


# ---- asking for one -------------------------------------------------------------------------


def acquire(
    state: State, session: SessionEntry, input: Received, request: AcquireLease, now: Now
) -> list[Effect]:
    """Grant a lease, let the request wait, or refuse it. Whether the session may ask for it at all
    was decided before.

    Raises:
        InvalidRequest: the path, the duration or the time to wait is out of its range.
        LeaseHeld: it is not free, and the request would not wait.
        TooMany: there are as many leases, or requests that wait, as there may be.
    """
    _check_number(input)
    pattern = _pattern_of(state, request.path)
    ttl_ms = _ttl_ms(request.ttl_seconds)
    if request.wait_seconds > LEASE_WAIT_SECONDS_MAX:
        raise InvalidRequest(
            f"a request waits at most {LEASE_WAIT_SECONDS_MAX:g} s, not {request.wait_seconds:g}"
        )
    previous = input.facts.previous
    if previous is not None:
        return [_repeat(state, previous, input, now)]
    key = session.id, input.number
    known = state.waiters.get(key)
    if known is not None:
        # Asked again over another connection: it keeps its place.
        state.waiters[key] = _waiter(input, pattern, request, ttl_ms, known.deadline)
        return []
    own = own_lease(state, session.id, pattern)
    if own is not None and own.shared is request.shared:
        return _extend(state, session, own, ttl_ms, now)
    effects: list[Effect] = []
    if request.steal:
        check_room(state, session.id)
        effects += introduce(state, session, now)
        for lease in in_the_way(state, session.id, pattern, request.shared):
            reason = f"stolen by {session.name}"
            effects.append(end_lease(state, session, lease, reason, now))
    else:
        blocked = why_blocked(state, session, pattern, request.shared, now)
        if blocked is not None and not request.wait_seconds:
            raise blocked
        if blocked is not None:
            if len(state.waiters) >= LEASE_WAITERS_MAX:
                raise TooMany(f"{LEASE_WAITERS_MAX} requests wait for leases; try again later")
            deadline = now.monotonic + request.wait_seconds
            state.waiters[key] = _waiter(input, pattern, request, ttl_ms, deadline)
            return []
        check_room(state, session.id)
    waiter = _waiter(input, pattern, request, ttl_ms, now.monotonic)
    return [*effects, *grant(state, session, waiter, now)]


def _check_number(input: Received) -> None:
    if input.number < 1:
        raise InvalidRequest(f"{input.number} is not a request number; they count from 1")


def _pattern_of(state: State, text: str) -> PathPattern:
    pattern = parse_pattern(text)
    # The lease on a document names it as the document is named.
    path = None if pattern.is_glob else state.by_fold.get(pattern.folded)
    return pattern if path is None else parse_pattern(path)


def _ttl_ms(seconds: float) -> int:
    if not LEASE_SECONDS_MIN <= seconds <= LEASE_SECONDS_MAX:
        raise InvalidRequest(
            f"a lease lasts {LEASE_SECONDS_MIN:g} s to {LEASE_SECONDS_MAX:g} s, which is a day, "
            f"not {seconds:.10g} s"
        )
    return round(seconds * 1000)


def _waiter(
    input: Received, pattern: PathPattern, request: AcquireLease, ttl_ms: int, deadline: float
) -> Waiter:
    return Waiter(
        session=input.session,
        number=input.number,
        fingerprint=input.fingerprint,
        peer=input.peer,
        pattern=pattern,
        shared=request.shared,
        ttl_ms=ttl_ms,
        deadline=deadline,
    )


def _repeat(state: State, previous: Record, input: Received, now: Now) -> Answer:
    """Answer a request for a lease that was granted before."""
    lease = state.leases.by_token.get(previous.seq)
    if lease is None or lease.session != input.session:
        body = previous.body
        path = body.path if isinstance(body, LeaseGranted) else ""
        raise StaleLease(
            f"the lease on {path} was granted as {previous.seq} and has ended since",
            holder_of(state, path, input.session, now),
        )
    return Answer(Leased(lease_info(state, lease, now)), state.seq)


# ---- holding one ----------------------------------------------------------------------------


def _held(state: State, session: SessionEntry, token: int, now: Now) -> LeaseState:
    """Return a lease of the session.

    Raises:
        StaleLease: it has none with this token.
    """
    lease = state.leases.by_token.get(token)
    if lease is None:
        raise StaleLease(f"there is no lease {token}: it has ended, or there never was one")
    if lease.session != session.id:
        raise StaleLease(
            f"lease {token} is not this session's: {describe(state, lease, now)}",
            refusal(state, lease.pattern.text, lease, now),
        )
    return lease


def _extend(
    state: State, session: SessionEntry, lease: LeaseState, ttl_ms: int, now: Now
) -> list[Effect]:
    effects: list[Effect] = []
    if ttl_ms != lease.ttl_ms:
        body = LeaseExtended(lease.token, lease.pattern.text, ttl_ms)
        effects.append(append(state, session, body, now))
    lease.renewed = now.monotonic
    return [*effects, Answer(Leased(lease_info(state, lease, now)), state.seq)]


def renew(state: State, session: SessionEntry, request: RenewLease, now: Now) -> list[Effect]:
    """Let a lease last its whole time from now on.

    Raises:
        StaleLease: the session has none with this token.
    """
    lease = _held(state, session, request.token, now)
    ttl_ms = _ttl_ms(request.ttl_seconds) if request.ttl_seconds else lease.ttl_ms
    return _extend(state, session, lease, ttl_ms, now)


def release(
    state: State, session: SessionEntry, input: Received, request: ReleaseLease, now: Now
) -> list[Effect]:
    """End a lease.

    Raises:
        StaleLease: the session has none with this token.
    """
    _check_number(input)
    if input.facts.previous is not None:
        return [Answer(Done(), input.facts.previous.seq)]
    lease = _held(state, session, request.token, now)
    return [end_lease(state, session, lease, "released", now, input), Answer(Done(), state.seq)]


def cancel(
    state: State, session: SessionEntry, input: Received, request: CancelLease, now: Now
) -> list[Effect]:
    """Undo a request for a lease: nobody waits for its answer any more."""
    _check_number(input)
    waiter = state.waiters.pop((session.id, request.number), None)
    if waiter is not None:
        refused = LeaseHeld(f"the request for {waiter.pattern.text} was cancelled")
        return [answer_waiter(state, waiter, refused), Answer(Done(), state.seq)]
    effects: list[Effect] = [
        end_lease(state, session, lease, "cancelled", now)
        for lease in state.leases.held_by(session.id)
        if lease.request == request.number
    ]
    return [*effects, Answer(Done(), state.seq)]


def hand_over(
    state: State, leases: list[LeaseState], session: SessionEntry, now: Now
) -> list[Effect]:
    """Give the leases that a session had to its successor, each with a new token."""
    return [
        append(
            state,
            session,
            LeaseGranted(
                path=lease.pattern.text,
                shared=lease.shared,
                ttl_ms=lease.ttl_ms,
                previous=lease.token,
            ),
            now,
        )
        for lease in leases
    ]


def list_leases(state: State, request: Leases, now: Now) -> LeaseList:
    """Return a page of the leases, and with the first page who waits.

    Raises:
        InvalidPath: the path is neither a path nor a glob.
        InvalidRequest: the limit is out of its range.
    """
    if not 1 <= request.limit <= PAGE_ENTRIES_MAX:
        raise InvalidRequest(f"a page has 1 to {PAGE_ENTRIES_MAX} entries, not {request.limit}")
    pattern = parse_pattern(request.path) if request.path else None
    if pattern is not None:
        leases = state.leases.overlapping(pattern)
    elif request.session:
        leases = state.leases.held_by(request.session)
    else:
        leases = list(state.leases.by_token.values())
    leases = [
        lease
        for lease in leases
        if lease.token > request.after and request.session in ("", lease.session)
    ]
    waiters = [
        waiter
        for waiter in state.waiters.values()
        if request.session in ("", waiter.session)
        and (pattern is None or waiter.pattern.overlaps(pattern))
    ]
    page = leases[: request.limit]
    return LeaseList(
        leases=tuple(lease_info(state, lease, now) for lease in page),
        waiters=tuple(_waiter_info(state, waiter, now) for waiter in waiters[: request.limit])
        if not request.after
        else (),
        more=len(leases) > len(page),
    )


def _waiter_info(state: State, waiter: Waiter, now: Now) -> WaiterInfo:
    session = state.sessions[waiter.session]
    return WaiterInfo(
        path=waiter.pattern.text,
        shared=waiter.shared,
        name=session.name,
        session=session.id,
        left_seconds=max(0.0, waiter.deadline - now.monotonic),
        deadlock=circle_of(state, session, waiter.pattern, waiter.shared, now, waiter),
    )
