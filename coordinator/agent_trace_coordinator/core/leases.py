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
    Actor,
    AgentTraceError,
    CancelLease,
    Done,
    InvalidRequest,
    Leased,
    LeaseHeld,
    LeaseInfo,
    LeaseList,
    LeaseRefusal,
    Leases,
    PathPattern,
    PermissionDenied,
    Refused,
    ReleaseLease,
    RenewLease,
    RequestReused,
    SessionState,
    SessionSuperseded,
    StaleLease,
    TooMany,
    WaiterInfo,
    fold_path,
    parse_pattern,
)
from agent_trace_protocol.limits import (
    LEASE_SECONDS_MAX,
    LEASE_SECONDS_MIN,
    LEASE_WAIT_SECONDS_MAX,
    LEASE_WAITERS_MAX,
    LEASES_MAX,
    LEASES_OF_SESSION_MAX,
    PAGE_ENTRIES_MAX,
)

from .effects import Addressee, Answer, Effect
from .inputs import Now, Received
from .lease_table import LeaseState, LeaseTable, Waiter
from .recording import append, introduce
from .records import LeaseExtended, LeaseGranted, LeaseReleased, Record
from .sessions import session_state
from .state import SessionEntry, State

__all__ = [
    "Guard",
    "acquire",
    "cancel",
    "check_leases",
    "expire",
    "hand_over",
    "held_info",
    "lease_info",
    "list_leases",
    "release",
    "renew",
    "sessions_waited_for",
    "settle",
    "stop_waiting",
]


# ---- what somebody else holds ---------------------------------------------------------------


def _in_the_way(state: State, session: str, pattern: PathPattern, shared: bool) -> list[LeaseState]:
    """Return the leases of other sessions that can not be held beside this one."""
    return [
        lease
        for lease in state.leases.overlapping(pattern)
        if lease.session != session and not (lease.shared and shared)
    ]


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
            and _is_live(state, waiter.session, now)
        ):
            found.append(waiter)
    return found


def _is_live(state: State, session: str, now: Now) -> bool:
    entry = state.sessions.get(session)
    return entry is not None and session_state(state, entry, now) is SessionState.LIVE


def _left_seconds(state: State, lease: LeaseState, now: Now) -> float:
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
        left_seconds=_left_seconds(state, lease, now),
        granted_ms=lease.granted_ms,
    )


def _describe(state: State, lease: LeaseState, now: Now) -> str:
    """Return who holds a lease and until when, as part of a sentence."""
    kind = "a shared lease" if lease.shared else "a lease"
    return (
        f"{lease.holder} holds {kind} on {lease.pattern.text} (token {lease.token}, session "
        f"{lease.session}) for another {_left_seconds(state, lease, now):.0f} s unless renewed"
    )


def _refusal(state: State, path: str, lease: LeaseState | None, now: Now) -> LeaseRefusal:
    if lease is None:
        return LeaseRefusal(path)
    return LeaseRefusal(
        path=path,
        holder=lease.holder,
        session=lease.session,
        since_seq=lease.token,
        left_seconds=_left_seconds(state, lease, now),
    )


# ---- asking for one -------------------------------------------------------------------------


def acquire(
    state: State, session: SessionEntry, input: Received, request: AcquireLease, now: Now
) -> list[Effect]:
    """Grant a lease, let the request wait, or refuse it.

    Raises:
        InvalidRequest: the path, the duration or the time to wait is out of its range.
        PermissionDenied: a reader holds no lease; only a user takes one away from its holder.
        LeaseHeld: it is not free, and the request would not wait.
        TooMany: there are as many leases, or requests that wait, as there may be.
    """
    _check_number(input)
    if session.actor is Actor.READER:
        raise PermissionDenied("a reader changes nothing, so it keeps nobody from it either")
    pattern = _pattern_of(state, request.path)
    ttl_ms = _ttl_ms(request.ttl_seconds)
    if request.wait_seconds > LEASE_WAIT_SECONDS_MAX:
        raise InvalidRequest(
            f"a request waits at most {LEASE_WAIT_SECONDS_MAX:g} s, not {request.wait_seconds:g}"
        )
    if request.steal and session.actor is not Actor.USER:
        raise PermissionDenied("only a user takes a lease away from its holder")
    previous = input.facts.previous
    if previous is not None:
        return [_repeat(state, previous, input, now)]
    key = session.id, input.number
    known = state.waiters.get(key)
    if known is not None:
        _check_same(known.fingerprint, input)
        # Asked again over another connection: it keeps its place.
        state.waiters[key] = _waiter(input, pattern, request, ttl_ms, known.deadline)
        return []
    own = _own(state, session.id, pattern)
    if own is not None and own.shared is request.shared:
        return _extend(state, session, own, ttl_ms, now)
    effects: list[Effect] = []
    if request.steal:
        _check_room(state, session.id)
        effects += introduce(state, session, now)
        for lease in _in_the_way(state, session.id, pattern, request.shared):
            body = LeaseReleased(lease.token, lease.pattern.text, f"stolen by {session.name}")
            effects.append(append(state, session, body, now))
    else:
        blocked = _why_blocked(state, session, pattern, request.shared, now)
        if blocked is not None and not request.wait_seconds:
            raise blocked
        if blocked is not None:
            if len(state.waiters) >= LEASE_WAITERS_MAX:
                raise TooMany(f"{LEASE_WAITERS_MAX} requests wait for leases; try again later")
            deadline = now.monotonic + request.wait_seconds
            state.waiters[key] = _waiter(input, pattern, request, ttl_ms, deadline)
            return []
        _check_room(state, session.id)
    waiter = _waiter(input, pattern, request, ttl_ms, now.monotonic)
    return [*effects, *_grant(state, session, waiter, now)]


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
            f"a lease lasts {LEASE_SECONDS_MIN:g} to {LEASE_SECONDS_MAX:g} s, not {seconds:g}"
        )
    return round(seconds * 1000)


def _check_room(state: State, session: str) -> None:
    if len(state.leases.by_token) >= LEASES_MAX:
        raise TooMany(f"the store has {LEASES_MAX} leases, and no room for another one")
    if len(state.leases.of_session.get(session, ())) >= LEASES_OF_SESSION_MAX:
        raise TooMany(
            f"this session has {LEASES_OF_SESSION_MAX} leases; release some, or take one on a glob"
        )


def _check_same(fingerprint: bytes, input: Received) -> None:
    if fingerprint != input.fingerprint:
        raise RequestReused(
            f"request {input.number} of session {input.session} was used for other content"
        )


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


def _own(state: State, session: str, pattern: PathPattern) -> LeaseState | None:
    """Return the session's lease on exactly this path or glob."""
    for lease in state.leases.held_by(session):
        same = lease.pattern.folded == pattern.folded
        if same and (not pattern.is_glob or lease.pattern.text == pattern.text):
            return lease
    return None


def _why_blocked(
    state: State,
    session: SessionEntry,
    pattern: PathPattern,
    shared: bool,
    now: Now,
    end: Waiter | None = None,
) -> LeaseHeld | None:
    """Return the error that says who has it or is to have it first; None if it is free."""
    circle = _circle(state, session, pattern, shared, now, end)
    hint = f"; {circle}: one of them has to release first" if circle else ""
    leases = _in_the_way(state, session.id, pattern, shared)
    if leases:
        first = leases[0]
        info = _refusal(state, pattern.text, first, now)
        message = f"{pattern.text} is not free: {_describe(state, first, now)}{hint}"
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


def _grant(state: State, session: SessionEntry, waiter: Waiter, now: Now) -> list[Effect]:
    """Give a lease that is free, and answer the request."""
    effects: list[Effect] = [*introduce(state, session, now)]
    own = _own(state, session.id, waiter.pattern)
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


def _repeat(state: State, previous: Record, input: Received, now: Now) -> Answer:
    """Answer a request for a lease that was granted before."""
    _check_same(previous.fingerprint, input)
    lease = state.leases.by_token.get(previous.seq)
    if lease is None or lease.session != input.session:
        body = previous.body
        path = body.path if isinstance(body, LeaseGranted) else ""
        raise StaleLease(
            f"the lease on {path} was granted as {previous.seq} and has ended since",
            _holder_of(state, path, input.session, now),
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
            f"lease {token} is not this session's: {_describe(state, lease, now)}",
            _refusal(state, lease.pattern.text, lease, now),
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
        _check_same(input.facts.previous.fingerprint, input)
        return [Answer(Done(), input.facts.previous.seq)]
    lease = _held(state, session, request.token, now)
    return [_end(state, session, lease, "released", now, input), Answer(Done(), state.seq)]


def cancel(
    state: State, session: SessionEntry, input: Received, request: CancelLease, now: Now
) -> list[Effect]:
    """Undo a request for a lease: nobody waits for its answer any more."""
    _check_number(input)
    waiter = state.waiters.pop((session.id, request.number), None)
    if waiter is not None:
        refused = LeaseHeld(f"the request for {waiter.pattern.text} was cancelled")
        return [_answer(state, waiter, refused), Answer(Done(), state.seq)]
    effects: list[Effect] = [
        _end(state, session, lease, "cancelled", now, None)
        for lease in state.leases.held_by(session.id)
        if lease.request == request.number
    ]
    return [*effects, Answer(Done(), state.seq)]


def _end(
    state: State,
    session: SessionEntry,
    lease: LeaseState,
    reason: str,
    now: Now,
    input: Received | None,
) -> Effect:
    body = LeaseReleased(lease.token, lease.pattern.text, reason)
    if input is None:
        return append(state, session, body, now)
    return append(state, session, body, now, request=input.number, fingerprint=input.fingerprint)


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


def held_info(state: State, session: str, now: Now) -> tuple[LeaseInfo, ...]:
    """Return a session's leases as it is told of them."""
    return tuple(lease_info(state, lease, now) for lease in state.leases.held_by(session))


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
        deadlock=_circle(state, session, waiter.pattern, waiter.shared, now, waiter),
    )


# ---- waiting --------------------------------------------------------------------------------


def settle(state: State, now: Now) -> list[Effect]:
    """Give what has become free to those who wait for it, in the order in which they came."""
    state.leases.freed = False
    effects: list[Effect] = []
    blocked: list[Waiter] = []
    for key, waiter in list(state.waiters.items()):
        if not _is_live(state, waiter.session, now):
            continue
        if _in_the_way(state, waiter.session, waiter.pattern, waiter.shared) or any(
            other.session != waiter.session
            and not (other.shared and waiter.shared)
            and other.pattern.overlaps(waiter.pattern)
            for other in blocked
        ):
            blocked.append(waiter)
            continue
        del state.waiters[key]
        try:
            _check_room(state, waiter.session)
        except TooMany as error:
            effects.append(_answer(state, waiter, error))
            continue
        effects += _grant(state, state.sessions[waiter.session], waiter, now)
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
            effects.append(_end(state, session, lease, reason, now, None))
    if not state.waiters:
        state.leases.freed = False
        return effects
    effects += settle(state, now)
    for key, waiter in list(state.waiters.items()):
        # Whoever gave way before this one may have let it through.
        if waiter.deadline <= now.monotonic and key in state.waiters:
            session = state.sessions[waiter.session]
            error: AgentTraceError | None = _why_blocked(
                state, session, waiter.pattern, waiter.shared, now, waiter
            )
            # Asked last, so that the answer names everybody who waits in the same circle.
            del state.waiters[key]
            effects.append(_answer(state, waiter, error or LeaseHeld("this session was silent")))
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
            effects.append(_answer(state, waiter, error))
    return effects


def sessions_waited_for(state: State) -> set[str]:
    """Return the sessions that hold what somebody waits for."""
    return {
        lease.session
        for waiter in state.waiters.values()
        for lease in _in_the_way(state, waiter.session, waiter.pattern, waiter.shared)
    }


def _answer(state: State, waiter: Waiter, error: AgentTraceError) -> Answer:
    refused = Refused(error.to_info())
    return Answer(refused, state.seq, to=Addressee(waiter.peer, waiter.number))


def _circle(
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
        for lease in _in_the_way(state, id, pattern, shared):
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


# ---- what leases mean for a write -----------------------------------------------------------


def _holder_of(state: State, path: str, session: str, now: Now) -> LeaseRefusal:
    """Return who holds what a session has lost."""
    others = [
        lease for lease in state.leases.overlapping(parse_pattern(path)) if lease.session != session
    ]
    return _refusal(state, path, others[-1] if others else None, now)


class Guard:
    """Judges the operations of one transaction by the leases on their paths.

    Keeps track of the moves in it, for a lease follows its document at once.
    """

    def __init__(
        self, state: State, session: str, tokens: tuple[int, ...] = (), now: Now | None = None
    ) -> None:
        self._state = state
        self._table: LeaseTable = state.leases
        self._session = session
        self._tokens = frozenset(tokens)
        self._now = now or Now(0.0, 0)
        self._moved: dict[str, set[int]] = {}
        """The leases on single paths that the transaction's moves have changed."""
        self._lost = next(
            (
                token
                for token in tokens
                if token not in self._table.by_token
                or self._table.by_token[token].session != session
            ),
            0,
        )
        self._foreign: dict[int, LeaseState] = {}

    @property
    def warnings(self) -> tuple[LeaseInfo, ...]:
        """The leases of others that were written across, as far as they are only advice."""
        return tuple(
            lease_info(self._state, lease, self._now) for _, lease in sorted(self._foreign.items())
        )

    def check(self, path: str) -> None:
        """Return if the path may be written.

        Raises:
            StaleLease: the transaction names a lease that is no longer its session's, or names
                leases of which none covers this path, while another session's does.
            LeaseHeld: another session holds a lease on it, and leases are enforced.
        """
        if not self._tokens and not self._table.by_token:
            return
        covering = self._covering(fold_path(path))
        foreign = [lease for lease in covering if lease.session != self._session]
        holder = foreign[-1] if foreign else None
        state, now = self._state, self._now
        if self._lost:
            instead = f"; {_describe(state, holder, now)}" if holder is not None else ""
            raise StaleLease(
                f"lease {self._lost}, under which {path} was to be written, is not held by this "
                f"session any more{instead}",
                _refusal(state, path, holder, now),
            )
        if holder is None:
            return
        if self._tokens:
            if any(lease.token in self._tokens for lease in covering):
                return
            raise StaleLease(
                f"no lease that was named covers {path}: {_describe(state, holder, now)}",
                _refusal(state, path, holder, now),
            )
        if len(foreign) < len(covering):
            # A shared lease of its own.
            return
        if state.rules.leases_enforced:
            raise LeaseHeld(
                f"{path} may not be written now: {_describe(state, holder, now)}",
                _refusal(state, path, holder, now),
            )
        for lease in foreign:
            self._foreign[lease.token] = lease

    def follow(self, path: str, new_path: str) -> None:
        """Let the leases on a document follow it, as `apply` will do.

        Raises:
            LeaseHeld: one of them would meet a lease of another session.
        """
        folded, new_folded = fold_path(path), fold_path(new_path)
        moving = self._exact(folded)
        if not moving or folded == new_folded:
            return
        there = self._covering(new_folded)
        for token in sorted(moving):
            lease = self._table.by_token[token]
            for other in there:
                if (
                    other.session != lease.session
                    and token != other.token
                    and not (other.shared and lease.shared)
                ):
                    raise LeaseHeld(
                        f"{path} is leased by {lease.holder} and can not be moved to {new_path}: "
                        f"{_describe(self._state, other, self._now)}",
                        _refusal(self._state, new_path, other, self._now),
                    )
        self._moved[new_folded] = self._exact(new_folded) | moving
        self._moved[folded] = set()

    def _exact(self, folded: str) -> set[int]:
        moved = self._moved.get(folded)
        return set(self._table.paths.get(folded, ())) if moved is None else moved

    def _covering(self, folded: str) -> list[LeaseState]:
        return self._table.at(self._exact(folded), folded)


# ---- what is always true --------------------------------------------------------------------


def check_leases(state: State) -> None:
    """Return if the leases and their maps are whole, and no two contradict each other.

    Raises:
        AssertionError: they are not.
    """
    table = state.leases
    expected = LeaseTable()
    for token, lease in table.by_token.items():
        assert token == lease.token <= state.seq, lease
        session = state.sessions.get(lease.session)
        assert session is not None and session.journaled, f"{lease.session} is not open"
        assert (session.name, session.actor) == (lease.holder, lease.actor), lease
        contradicted = _in_the_way(state, lease.session, lease.pattern, lease.shared)
        assert not contradicted, f"{lease} and {contradicted[0]} overlap"
        expected.enter(lease)
    assert table == expected, "the maps of the leases are not those of the leases"
    assert list(table.by_token) == sorted(table.by_token), "leases are not in the order of tokens"
    for key, waiter in state.waiters.items():
        assert key == (waiter.session, waiter.number)
        assert waiter.session in state.sessions, f"{waiter.session} waits and is not open"
